/* SPDX-License-Identifier: MIT */
/* Descriptors that the service manager hands to us: sd_listen_fds(3)'s protocol. */
#pragma once

#include <stddef.h>

/* The first of them, by definition. */
#define GD_ACTIVATION_FIRST_FD 3

struct gd_passed {
	int fd;         /* -1: it was taken */
	char name[256]; /* "" where LISTEN_FDNAMES has none; systemd allows 255 bytes */
};

struct gd_activation {
	struct gd_passed *passed;
	size_t n;
};

/*
 * Takes them, close-on-exec, and forgets the variables, which are for this process alone. To be called
 * before any descriptor is opened. LISTEN_PID that is another's, numbers that are none and descriptors
 * that are not open are left out.
 */
void gd_activation_init(struct gd_activation *activation);
/* Closes those that nobody has taken. */
void gd_activation_deinit(struct gd_activation *activation);
