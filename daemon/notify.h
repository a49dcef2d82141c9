/* SPDX-License-Identifier: MIT */
/* Messages to the service manager: sd_notify(3)'s protocol, which is lines in a datagram. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "format/status.h"

#define GD_NOTIFY_NO_ADDRESS 1

struct gd_notify {
	int fd; /* -1: there is no manager */
	struct sockaddr_un address;
	socklen_t address_bytes;
};

/*
 * address: what NOTIFY_SOCKET says, a path from the root or an abstract name with @; NULL: no manager.
 * Returns GD_NOTIFY_NO_ADDRESS where it is neither, or too long; then there is no manager either.
 * Errors: GW_E_IO.
 */
int gd_notify_init(struct gd_notify *notify, const char *address, struct gw_error *error);
void gd_notify_deinit(struct gd_notify *notify);

/*
 * Sends text, lines of NAME=VALUE. Never waits: a manager that does not read is tried again later. Whether
 * it was sent; true without a manager.
 */
bool gd_notify_send(const struct gd_notify *notify, const char *text);
/* The same with a descriptor, which is borrowed. */
bool gd_notify_send_fd(const struct gd_notify *notify, const char *text, int fd);

/*
 * The microseconds of WATCHDOG_USEC where WATCHDOG_PID names pid, or nobody; 0: no watchdog, or one that
 * nobody can feed (under 4). Both may be
 * NULL, or anything.
 */
uint64_t gd_notify_watchdog_us(const char *usec, const char *watchdog_pid, int64_t pid);
