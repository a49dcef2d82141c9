/* SPDX-License-Identifier: MIT */
#include "daemon/lease.h"

#include <fcntl.h>

bool gd_lease_is_held(int fd)
{
	/* fcntl(2): a write lease is given on a file that nobody else has open; mappings count as open */
	if (fcntl(fd, F_SETLEASE, F_WRLCK) < 0)
		return true;
	fcntl(fd, F_SETLEASE, F_UNLCK);
	return false;
}
