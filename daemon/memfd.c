/* SPDX-License-Identifier: MIT */
#include "daemon/memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* linux/memfd.h since 6.3; Debian 12's headers are older than its users' kernels. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

int gd_memfd_new(const char *name, unsigned flags, uint64_t size_bytes, int *out_fd,
		 struct gw_error *error)
{
	int fd;

	flags |= MFD_CLOEXEC | MFD_ALLOW_SEALING;
	fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, flags);
	if (fd < 0)
		return gw_fail_errno(error, errno, "cannot make shared memory");
	if (ftruncate(fd, (off_t)size_bytes) < 0) {
		gw_fail_errno(error, errno, "cannot make shared memory of %" PRIu64 " bytes",
			      size_bytes);
		close(fd);
		return GW_E_IO;
	}
	*out_fd = fd;
	return GW_OK;
}

int gd_memfd_seal(int fd, int seals, struct gw_error *error)
{
	if (fchmod(fd, 0444) < 0)
		return gw_fail_errno(error, errno, "cannot make shared memory read-only");
	if (fcntl(fd, F_ADD_SEALS, seals) < 0)
		return gw_fail_errno(error, errno, "cannot seal shared memory");
	return GW_OK;
}

/* Whether it is shared memory that gd_memfd_seal sealed, rather than a pack's file, whose mode is not
 * ours to change. */
static bool is_ours(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return seals >= 0 && seals & F_SEAL_SHRINK;
}

/* /proc/self/fd; AT_FDCWD: not prepared */
static int own_fds = AT_FDCWD;

void gd_reopen_prepare(void)
{
	int fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		own_fds = fd;
}

void gd_reopen_release(void)
{
	if (own_fds != AT_FDCWD)
		close(own_fds);
	own_fds = AT_FDCWD;
}

/* A client of our own user may have changed the mode: that is put right. */
int gd_reopen(int fd, int *out_fd, struct gw_error *error)
{
	char path[32];
	int reopened;

	snprintf(path, sizeof path, own_fds == AT_FDCWD ? "/proc/self/fd/%d" : "%d", fd);
	reopened = openat(own_fds, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (reopened < 0 && errno == EACCES && is_ours(fd) && fchmod(fd, 0444) == 0)
		reopened = openat(own_fds, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (reopened < 0)
		return gw_fail_errno(error, errno, "cannot reopen %s", path);
	*out_fd = reopened;
	return GW_OK;
}

static int fail_kind(struct gw_error *error, const char *why)
{
	return gw_fail(error, GW_E_FD_KIND, GW_NO_OFFSET, "%s", why);
}

int gd_memfd_check(int fd, uint64_t inode, int wanted, int unwanted, struct stat *out_status,
		   struct gw_error *error)
{
	int seals = fcntl(fd, F_GET_SEALS), flags = fcntl(fd, F_GETFL);

	/* a memfd has no name, ever: an unlinked file has no seals but SEAL */
	if (fstat(fd, out_status) < 0 || !S_ISREG(out_status->st_mode) || seals < 0 ||
	    out_status->st_nlink != 0)
		return fail_kind(error, "it is no shared memory");
	if (flags < 0 || flags & O_PATH || (flags & O_ACCMODE) != O_RDONLY)
		return fail_kind(error, "it is not open for reading only");
	if ((seals & wanted) != wanted || seals & unwanted)
		return gw_fail(error, GW_E_FD_SEALS, GW_NO_OFFSET, "its seals are %#x",
			       (unsigned)seals);
	if (out_status->st_uid != geteuid())
		return fail_kind(error, "it is another user's");
	if (out_status->st_ino != inode)
		return gw_fail(error, GW_E_FD_OTHER, GW_NO_OFFSET,
			       "it is not the memory that its name says");
	/* changed by a client of our own user, or a daemon that was killed in gd_board_take */
	if ((out_status->st_mode & 07777) != 0444 && fchmod(fd, 0444) < 0)
		return gw_fail_errno(error, errno, "cannot make it read-only");
	return GW_OK;
}
