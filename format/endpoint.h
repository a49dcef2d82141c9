/* SPDX-License-Identifier: MIT */
/* The Unix socket that both sides use: where it is, connecting, one message in or out. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/limits.h"
#include "format/status.h"
#include "format/wire.h"

#define WIRE_SYSTEM_SOCKET "/run/gpt2d/gpt2d.sock"

/*
 * Where a client looks for the daemon: path if not NULL, else $GPT2D_SOCKET, else
 * $XDG_RUNTIME_DIR/gpt2d.sock where that exists (environment ignored in set-uid programs), else
 * WIRE_SYSTEM_SOCKET. out: WIRE_SOCKET_PATH_BYTES. Errors: GW_E_PATH.
 */
int wire_socket_path(const char *path, char *out, struct gw_error *error);

/*
 * Where a daemon without --socket listens: $XDG_RUNTIME_DIR/gpt2d.sock, as root WIRE_SYSTEM_SOCKET.
 * Errors: GW_E_PATH (not root and no XDG_RUNTIME_DIR).
 */
int wire_daemon_socket_path(char *out, struct gw_error *error);

/* CLOCK_MONOTONIC in milliseconds, and deadlines on it. */
uint64_t wire_now_ms(void);

/*
 * Connects, close-on-exec, before deadline_ms. *out_fd is the caller's. A refused
 * permission names the socket's mode and group. Errors: GW_E_CONNECT, GW_E_IO (EACCES …), GW_E_PATH,
 * GW_E_TIMEOUT.
 */
int wire_connect(const char *path, uint64_t deadline_ms, int *out_fd, struct gw_error *error);

/*
 * Sends one message with n_fds descriptors (borrowed). deadline_ms 0: never waits; then
 * GW_E_TIMEOUT means that the socket's buffer is full. No SIGPIPE. Errors: GW_E_CLOSED,
 * GW_E_TIMEOUT, GW_E_IO.
 */
int wire_send(int fd, const struct wire_message *message, const int *fds, size_t n_fds,
	      uint64_t deadline_ms, struct gw_error *error);

/*
 * Receives one message, before deadline_ms (0: never waits). out_fds: room for max_fds; those that
 * come are the caller's, close-on-exec, *out_n_fds of them; a message with more, or whose
 * descriptors the kernel could not all deliver, is refused with every one closed. On any failure no
 * descriptor is left open. out_foreign (may be NULL) counts descriptors closed so. Errors:
 * GW_E_CLOSED, GW_E_TIMEOUT, GW_E_IO, GW_E_WIRE_*.
 */
int wire_receive(int fd, struct wire_message *out, int *out_fds, size_t max_fds,
		 size_t *out_n_fds, size_t *out_foreign, uint64_t deadline_ms,
		 struct gw_error *error);
