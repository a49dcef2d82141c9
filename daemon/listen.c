/* SPDX-License-Identifier: MIT */
#include "daemon/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/limits.h"
#include "format/endpoint.h"

/* How long a socket may seem to be alive. The kernel ends the rings of a process that was killed, and
 * closes the sockets that they hold, some milliseconds after the process is gone. */
#define PROBE_MS 1000

static void lock_path(const struct gd_listener *listener, char *out, size_t out_bytes)
{
	snprintf(out, out_bytes, "%s.lock", listener->path);
}

/*
 * Takes PATH.lock. Of several daemons that start at once one gets it; it ends with its holder, however
 * that ends. A lock file that was removed between opening and locking is not the one that others see.
 */
static int take_lock(struct gd_listener *listener, struct gw_error *error)
{
	char path[WIRE_SOCKET_PATH_BYTES + 8];
	struct stat locked, seen;

	lock_path(listener, path, sizeof path);
	for (int tries = 0; tries < 16; tries++) {
		int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

		if (fd < 0)
			return gw_fail_errno(error, errno, "cannot open %s", path);
		if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
			int failed = errno;

			close(fd);
			if (failed == EWOULDBLOCK)
				return gw_fail(error, GW_E_EXISTS, GW_NO_OFFSET,
					       "another gpt2d serves %s (it holds %s)",
					       listener->path, path);
			return gw_fail_errno(error, failed, "cannot lock %s", path);
		}
		if (fstat(fd, &locked) == 0 && stat(path, &seen) == 0 &&
		    locked.st_dev == seen.st_dev && locked.st_ino == seen.st_ino) {
			listener->lock_fd = fd;
			return GW_OK;
		}
		close(fd);
	}
	return gw_fail(error, GW_E_IO, GW_NO_OFFSET, "%s is replaced again and again", path);
}

/* Whether the other end of a connection says something, or is still there at the deadline. */
static bool is_alive(int fd, uint64_t deadline_ms)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	uint64_t now_ms = wire_now_ms();
	char byte;

	if (poll(&poll_fd, 1, deadline_ms > now_ms ? (int)(deadline_ms - now_ms) : 0) == 0)
		return true;
	return recv(fd, &byte, sizeof byte, MSG_DONTWAIT) > 0;
}

/* Whether nobody listens at a socket; *probe says what else was found. */
static bool is_stale(const char *path, struct gw_error *probe)
{
	const uint64_t deadline_ms = wire_now_ms() + PROBE_MS;
	bool alive = false;
	int fd;

	while (!alive && wire_now_ms() < deadline_ms) {
		int code = wire_connect(path, deadline_ms, &fd, probe);

		if (code)
			return code == GW_E_CONNECT && probe->sys_errno == ECONNREFUSED;
		alive = is_alive(fd, deadline_ms);
		close(fd);
	}
	return false;
}

/* Removes a socket that nobody listens at; refuses to touch anything else. */
static int clear_stale(const struct gd_listener *listener, struct gw_error *error)
{
	struct gw_error probe = GW_ERROR_INIT;
	struct stat status;

	if (lstat(listener->path, &status) < 0)
		return errno == ENOENT ?
			       GW_OK :
			       gw_fail_errno(error, errno, "cannot look at %s", listener->path);
	if (!S_ISSOCK(status.st_mode))
		return gw_fail(error, GW_E_EXISTS, GW_NO_OFFSET, "%s exists and is no socket",
			       listener->path);
	if (!is_stale(listener->path, &probe))
		return gw_fail(error, GW_E_EXISTS, GW_NO_OFFSET,
			       "another program listens at %s%s%s", listener->path,
			       probe.code ? ": " : "", probe.message);
	if (unlink(listener->path) < 0)
		return gw_fail_errno(error, errno, "cannot remove the stale socket %s",
				     listener->path);
	return GW_OK;
}

static int give_access(const struct gd_listener *listener, mode_t mode, gid_t group,
		       struct gw_error *error)
{
	if (group != GD_KEEP_GROUP && lchown(listener->path, (uid_t)-1, group) < 0)
		return gw_fail_errno(error, errno, "cannot give %s to group %u", listener->path,
				     (unsigned)group);
	if (chmod(listener->path, mode) < 0)
		return gw_fail_errno(error, errno, "cannot give %s its mode", listener->path);
	return GW_OK;
}

static int bind_socket(struct gd_listener *listener, mode_t mode, gid_t group,
		       struct gw_error *error)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat status;
	mode_t mask;
	int failed;

	memcpy(address.sun_path, listener->path, sizeof address.sun_path);
	/* nobody may connect before group and mode are what they should be */
	mask = umask(0777);
	failed = bind(listener->fd, (const struct sockaddr *)&address, sizeof address);
	umask(mask);
	if (failed)
		return gw_fail_errno(error, errno, "cannot bind %s", listener->path);
	if (lstat(listener->path, &status) < 0)
		return gw_fail_errno(error, errno, "cannot look at %s", listener->path);
	listener->dev = status.st_dev;
	listener->ino = status.st_ino;
	if (listen(listener->fd, GD_BACKLOG) < 0)
		return gw_fail_errno(error, errno, "cannot listen at %s", listener->path);
	return give_access(listener, mode, group, error);
}

int gd_listener_init(struct gd_listener *listener, const char *path, mode_t mode, gid_t group,
		     struct gw_error *error)
{
	int code;

	*listener = (struct gd_listener){ .fd = -1, .lock_fd = -1 };
	code = wire_socket_path(path, listener->path, error);
	if (!code)
		code = take_lock(listener, error);
	if (!code)
		code = clear_stale(listener, error);
	if (!code) {
		listener->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		code = listener->fd < 0 ? gw_fail_errno(error, errno, "cannot make a socket") :
					  bind_socket(listener, mode, group, error);
	}
	if (code)
		gd_listener_deinit(listener);
	return code;
}

static bool socket_option_is(int fd, int option, int expected)
{
	int value = -1;
	socklen_t bytes = sizeof value;

	return getsockopt(fd, SOL_SOCKET, option, &value, &bytes) == 0 && value == expected;
}

int gd_listener_adopt(struct gd_listener *listener, int fd, struct gw_error *error)
{
	struct sockaddr_un address = { 0 };
	socklen_t bytes = sizeof address;
	int flags;

	if (!socket_option_is(fd, SO_DOMAIN, AF_UNIX) ||
	    !socket_option_is(fd, SO_TYPE, SOCK_SEQPACKET) ||
	    !socket_option_is(fd, SO_ACCEPTCONN, 1))
		return gw_fail(error, GW_E_PATH, GW_NO_OFFSET,
			       "it is no listening Unix socket of type SOCK_SEQPACKET");
	/* an abstract name has no mode and no group: everybody could connect */
	if (getsockname(fd, (struct sockaddr *)&address, &bytes) < 0 ||
	    bytes <= offsetof(struct sockaddr_un, sun_path) || !address.sun_path[0] ||
	    strnlen(address.sun_path, sizeof address.sun_path) >= sizeof listener->path)
		return gw_fail(error, GW_E_PATH, GW_NO_OFFSET, "it has no path");
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return gw_fail_errno(error, errno, "cannot make it non-blocking");
	*listener = (struct gd_listener){ .fd = fd, .lock_fd = -1 };
	snprintf(listener->path, sizeof listener->path, "%s", address.sun_path);
	return GW_OK;
}

int gd_listener_check(const struct gd_listener *listener, mode_t mode, gid_t group,
		      struct gw_error *error)
{
	struct stat status;

	if (stat(listener->path, &status) < 0)
		return gw_fail_errno(error, errno, "cannot look at %s", listener->path);
	if (mode != (mode_t)-1 && (status.st_mode & 0777) != mode)
		return gw_fail(error, GW_E_ARGUMENT, GW_NO_OFFSET,
			       "socket-mode is %04o, but %s was passed with %04o: see SocketMode= "
			       "of its unit",
			       (unsigned)mode, listener->path, (unsigned)status.st_mode & 0777);
	if (group != GD_KEEP_GROUP && status.st_gid != group)
		return gw_fail(error, GW_E_ARGUMENT, GW_NO_OFFSET,
			       "socket-group is %u, but %s was passed with %u: see SocketGroup= "
			       "of its unit",
			       (unsigned)group, listener->path, (unsigned)status.st_gid);
	return GW_OK;
}

/* Whether what lies at the socket's path is that file. */
static bool is_file(const struct gd_listener *listener, uint64_t device, uint64_t inode)
{
	struct stat status;

	return lstat(listener->path, &status) == 0 && S_ISSOCK(status.st_mode) &&
	       status.st_dev == device && status.st_ino == inode;
}

static int take(struct gd_listener *listener, uint64_t device, uint64_t inode, mode_t mode,
		gid_t group, struct gw_error *error)
{
	int code = take_lock(listener, error);

	if (code)
		return code;
	if (!is_file(listener, device, inode))
		return gw_fail(error, GW_E_FD_OTHER, GW_NO_OFFSET,
			       "%s is not this socket any more", listener->path);
	listener->dev = (dev_t)device;
	listener->ino = (ino_t)inode;
	return give_access(listener, mode, group, error);
}

int gd_listener_take(struct gd_listener *listener, int fd, const char *path, uint64_t device,
		     uint64_t inode, mode_t mode, gid_t group, struct gw_error *error)
{
	struct gd_listener taken = { .fd = -1, .lock_fd = -1 };
	int code = gd_listener_adopt(&taken, fd, error);

	if (code)
		return code;
	if (strcmp(taken.path, path) != 0)
		return gw_fail(error, GW_E_FD_OTHER, GW_NO_OFFSET,
			       "it listens elsewhere, at %.107s", taken.path);
	code = take(&taken, device, inode, mode, group, error);
	if (code) {
		taken.fd = -1;	/* the caller's */
		taken.ino = 0; /* not ours to remove */
		gd_listener_deinit(&taken);
		return code;
	}
	*listener = taken;
	return GW_OK;
}

void gd_listener_keep(struct gd_listener *listener, struct gd_fdstore *fdstore)
{
	const struct gd_fdname name = { .kind = GD_FDNAME_SOCKET,
					.device = listener->dev,
					.inode = listener->ino };

	gd_fdstore_put(fdstore, &listener->kept, &name, listener->fd);
}

void gd_listener_deinit(struct gd_listener *listener)
{
	char path[WIRE_SOCKET_PATH_BYTES + 8];

	if (listener->ino && !listener->kept.sent &&
	    is_file(listener, listener->dev, listener->ino))
		unlink(listener->path);
	gd_fdstore_drop(&listener->kept);
	if (listener->fd >= 0)
		close(listener->fd);
	if (listener->lock_fd >= 0) {
		lock_path(listener, path, sizeof path);
		unlink(path); /* while it is locked: see take_lock */
		close(listener->lock_fd);
	}
	*listener = (struct gd_listener){ .fd = -1, .lock_fd = -1 };
}
