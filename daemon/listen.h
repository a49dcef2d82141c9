/* SPDX-License-Identifier: MIT */
/* The listening socket: taken over when it is stale, never from a daemon that lives. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/fdstore.h"
#include "format/limits.h"
#include "format/status.h"

struct gd_listener {
	int fd;      /* listening, non-blocking; -1: not open */
	int lock_fd; /* PATH.lock, locked as long as we live */
	char path[WIRE_SOCKET_PATH_BYTES];
	dev_t dev; /* of the socket file, so that only ours is removed */
	ino_t ino;
	struct gd_kept kept; /* by the service manager */
};

/*
 * Listens at path with that mode and group (GD_KEEP_GROUP: as the system gives it). Errors: GW_E_EXISTS
 * (another daemon serves it, or it is no socket), GW_E_PATH, GW_E_IO.
 */
int gd_listener_init(struct gd_listener *listener, const char *path, mode_t mode, gid_t group,
		     struct gw_error *error);

/*
 * Takes over a socket that the service manager made and goes on listening at. fd: consumed, on success
 * alone. The socket's file is never ours to remove, and there is no lock: the manager hands it to one.
 * Errors: GW_E_PATH (no listening SOCK_SEQPACKET Unix socket with a path), GW_E_IO.
 */
int gd_listener_adopt(struct gd_listener *listener, int fd, struct gw_error *error);

/*
 * Whether a socket that was taken over has that mode and group; (mode_t)-1 and GD_KEEP_GROUP: any. It is
 * not ours to change. Errors: GW_E_ARGUMENT (it has others), GW_E_IO.
 */
int gd_listener_check(const struct gd_listener *listener, mode_t mode, gid_t group,
		      struct gw_error *error);

/*
 * Takes back the socket that a daemon before us made at path, whose file is said to have that
 * device and inode number: locked and given mode and group as by gd_listener_init. fd: consumed, on
 * success alone. Errors: GW_E_FD_OTHER (it is not that socket, or its file is gone), those of the
 * other two.
 */
int gd_listener_take(struct gd_listener *listener, int fd, const char *path, uint64_t device,
		     uint64_t inode, mode_t mode, gid_t group, struct gw_error *error);
/* Has the service manager keep a socket that we made: its file stays when we end. */
void gd_listener_keep(struct gd_listener *listener, struct gd_fdstore *fdstore);

/* Closes, and removes the socket file if it is still ours and not kept. */
void gd_listener_deinit(struct gd_listener *listener);

#define GD_KEEP_GROUP ((gid_t)-1)
