/* SPDX-License-Identifier: MIT */
/* Who may steer the daemon: reload, load and unload models, and see who is connected. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/*
 * Whether the process that connected fd (borrowed, a Unix socket) may: root, the daemon's own user, and
 * the members of group (GD_KEEP_GROUP: none), by the groups that it had when it connected.
 */
bool gd_admin_may(int fd, gid_t group);
