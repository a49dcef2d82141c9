/* SPDX-License-Identifier: MIT */
#include "daemon/admin.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/listen.h"

/* linux/socket.h since 4.13; not in every libc's headers. */
#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif

static bool is_member(int fd, gid_t group)
{
	socklen_t bytes = 0;
	gid_t *groups;
	bool found = false;

	/* with no room it fails and says how much is needed */
	getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &bytes);
	groups = bytes ? malloc(bytes) : NULL;
	if (groups && getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &bytes) == 0)
		for (size_t i = 0; i < bytes / sizeof *groups; i++)
			found |= groups[i] == group;
	free(groups);
	return found;
}

bool gd_admin_may(int fd, gid_t group)
{
	struct ucred credentials;
	socklen_t bytes = sizeof credentials;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) < 0)
		return false;
	if (credentials.uid == 0 || credentials.uid == geteuid())
		return true;
	return group != GD_KEEP_GROUP && (credentials.gid == group || is_member(fd, group));
}
