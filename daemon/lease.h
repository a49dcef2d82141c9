/* SPDX-License-Identifier: MIT */
/* Whether anybody but us holds an image: the kernel knows, connections do not. */
#pragma once

#include <stdbool.h>

/*
 * Whether another open description of fd's file exists, in whatever process: open, mapped, or on its way
 * in a message (but not the one that memfd_create returned, which the kernel does not count). fd:
 * borrowed, read-only, the daemon's only one of a file that is its own. A kernel that cannot tell says yes. While it looks, an open by another is a lease break, so SIGIO must be ignored.
 */
bool gd_lease_is_held(int fd);
