/* SPDX-License-Identifier: MIT */
#include "format/endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Copies a path if it fits into an address. */
static int put_path(const char *path, const char *rest, const char *from, char *out,
		    struct gw_error *error)
{
	size_t n = strlen(path) + strlen(rest);

	if (*path == '\0')
		return gw_fail(error, GW_E_PATH, GW_NO_OFFSET, "the socket path %sis empty", from);
	if (n >= WIRE_SOCKET_PATH_BYTES)
		return gw_fail(error, GW_E_PATH, GW_NO_OFFSET,
			       "the socket path %shas %zu bytes, at most %d: %.64s...", from, n,
			       WIRE_SOCKET_PATH_BYTES - 1, path);
	memcpy(out, path, strlen(path));
	memcpy(out + strlen(path), rest, strlen(rest) + 1);
	return GW_OK;
}

int wire_socket_path(const char *path, char *out, struct gw_error *error)
{
	const char *value;
	char candidate[WIRE_SOCKET_PATH_BYTES];

	if (path)
		return put_path(path, "", "", out, error);
	value = secure_getenv("GPT2D_SOCKET");
	if (value)
		return put_path(value, "", "in $GPT2D_SOCKET ", out, error);
	value = secure_getenv("XDG_RUNTIME_DIR");
	if (value && *value &&
	    put_path(value, "/gpt2d.sock", "", candidate, NULL) == GW_OK &&
	    access(candidate, F_OK) == 0)
		return put_path(candidate, "", "", out, error);
	return put_path(WIRE_SYSTEM_SOCKET, "", "", out, error);
}

int wire_daemon_socket_path(char *out, struct gw_error *error)
{
	const char *value = secure_getenv("XDG_RUNTIME_DIR");

	if (geteuid() == 0)
		return put_path(WIRE_SYSTEM_SOCKET, "", "", out, error);
	if (!value || !*value)
		return gw_fail(error, GW_E_PATH, GW_NO_OFFSET,
			       "no place for the socket: neither root nor $XDG_RUNTIME_DIR; "
			       "name one with --socket PATH");
	return put_path(value, "/gpt2d.sock", "in $XDG_RUNTIME_DIR ", out, error);
}

uint64_t wire_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Says which group may connect, where the socket can be looked at. */
static int fail_access(const char *path, int sys_errno, struct gw_error *error)
{
	struct stat status;
	struct group group, *found = NULL;
	char buffer[1024];

	if (stat(path, &status) < 0 || !S_ISSOCK(status.st_mode))
		return gw_fail_errno(error, sys_errno, "no permission to connect to %s", path);
	if (getgrgid_r(status.st_gid, &group, buffer, sizeof buffer, &found) != 0)
		found = NULL;
	if (found)
		return gw_fail_errno(error, sys_errno,
				     "no permission to connect to %s (mode %04o): become a member of "
				     "its group, %s",
				     path, status.st_mode & 07777, found->gr_name);
	return gw_fail_errno(error, sys_errno,
			     "no permission to connect to %s (mode %04o): become a member of its "
			     "group, %u",
			     path, status.st_mode & 07777, (unsigned)status.st_gid);
}

static int fail_connect(const char *path, int sys_errno, struct gw_error *error)
{
	switch (sys_errno) {
	case EACCES:
	case EPERM:
		return fail_access(path, sys_errno, error);
	case ENOENT:
	case ENOTDIR:
	case ECONNREFUSED:
	case ENOTSOCK:
	case EPROTOTYPE:
		gw_fail_errno(error, sys_errno, "no gpt2d listens at %s", path);
		if (error)
			error->code = GW_E_CONNECT;
		return GW_E_CONNECT;
	case EAGAIN:
		return gw_fail(error, GW_E_TIMEOUT, GW_NO_OFFSET,
			       "gpt2d at %s did not take the connection in time", path);
	default:
		return gw_fail_errno(error, sys_errno, "cannot connect to %s", path);
	}
}

/* A blocking connect with a limit: the kernel waits for room in the backlog up to SO_SNDTIMEO. */
static int try_connect(int fd, const struct sockaddr_un *address, uint64_t deadline_ms)
{
	for (;;) {
		uint64_t now_ms = wire_now_ms();
		uint64_t left_ms = deadline_ms > now_ms ? deadline_ms - now_ms : 1;
		struct timeval limit = { .tv_sec = (time_t)(left_ms / 1000),
					 .tv_usec = (suseconds_t)(left_ms % 1000 * 1000) };

		if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0)
			return errno;
		if (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0)
			return 0;
		if (errno != EINTR)
			return errno;
	}
}

int wire_connect(const char *path, uint64_t deadline_ms, int *out_fd, struct gw_error *error)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, failed;

	if (*path == '\0' || strlen(path) >= sizeof address.sun_path)
		return put_path(path, "", "", address.sun_path, error) ? GW_E_PATH : GW_E_ARGUMENT;
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return gw_fail_errno(error, errno, "cannot make a socket");
	failed = try_connect(fd, &address, deadline_ms);
	if (failed) {
		close(fd);
		return fail_connect(path, failed, error);
	}
	*out_fd = fd;
	return GW_OK;
}

/* Waits until fd is ready for events. */
static int wait_ready(int fd, short events, uint64_t deadline_ms, struct gw_error *error)
{
	for (;;) {
		struct pollfd poll_fd = { .fd = fd, .events = events };
		uint64_t now_ms = wire_now_ms(), left_ms;
		int ready;

		if (deadline_ms <= now_ms)
			return gw_fail(error, GW_E_TIMEOUT, GW_NO_OFFSET, "no answer in time");
		left_ms = deadline_ms - now_ms;
		ready = poll(&poll_fd, 1, left_ms < INT32_MAX ? (int)left_ms : INT32_MAX);
		if (ready > 0)
			return GW_OK;
		if (ready < 0 && errno != EINTR)
			return gw_fail_errno(error, errno, "cannot wait for the socket");
	}
}

static int fail_transfer(int sys_errno, const char *what, struct gw_error *error)
{
	if (sys_errno == EPIPE || sys_errno == ECONNRESET || sys_errno == ENOTCONN)
		return gw_fail(error, GW_E_CLOSED, GW_NO_OFFSET, "the peer closed the connection");
	return gw_fail_errno(error, sys_errno, "cannot %s a message", what);
}

int wire_send(int fd, const struct wire_message *message, const int *fds, size_t n_fds,
	      uint64_t deadline_ms, struct gw_error *error)
{
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(WIRE_REPLY_FDS * sizeof(int))] = { 0 };
	uint8_t bytes[WIRE_MAX_MESSAGE_BYTES];
	struct iovec part = { .iov_base = bytes, .iov_len = wire_encode(message, bytes) };
	struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1 };

	if (n_fds > WIRE_REPLY_FDS)
		return gw_fail(error, GW_E_ARGUMENT, GW_NO_OFFSET, "%zu descriptors, at most %d",
			       n_fds, WIRE_REPLY_FDS);
	if (n_fds) {
		struct cmsghdr *rights;

		header.msg_control = control;
		header.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		rights = CMSG_FIRSTHDR(&header);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(rights), fds, n_fds * sizeof(int));
	}
	for (;;) {
		int code;

		if (sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
			return GW_OK;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return fail_transfer(errno, "send", error);
		code = wait_ready(fd, POLLOUT, deadline_ms, error);
		if (code)
			return code;
	}
}

/* Takes every descriptor out of a message: the first max_fds into fds; returns how many there were. */
static size_t take_fds(struct msghdr *header, int *fds, size_t max_fds)
{
	size_t n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
		size_t count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++, n++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
			if (n < max_fds)
				fds[n] = fd;
			else
				close(fd);
		}
	}
	return n;
}

/* One recvmsg with room for every descriptor that the kernel can attach. */
static int receive_raw(int fd, uint8_t *bytes, size_t *out_bytes, int *fds, size_t max_fds,
		       size_t *out_n_fds, int *out_flags, uint64_t deadline_ms,
		       struct gw_error *error)
{
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(WIRE_MAX_FDS * sizeof(int))];

	for (;;) {
		struct iovec part = { .iov_base = bytes, .iov_len = WIRE_MAX_MESSAGE_BYTES };
		struct msghdr header = { .msg_iov = &part,
					 .msg_iovlen = 1,
					 .msg_control = control,
					 .msg_controllen = sizeof control };
		ssize_t got = recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		int code;

		if (got >= 0) {
			*out_bytes = (size_t)got;
			*out_n_fds = take_fds(&header, fds, max_fds);
			*out_flags = header.msg_flags;
			return GW_OK;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return fail_transfer(errno, "receive", error);
		code = wait_ready(fd, POLLIN, deadline_ms, error);
		if (code)
			return code;
	}
}

int wire_receive(int fd, struct wire_message *out, int *out_fds, size_t max_fds,
		 size_t *out_n_fds, size_t *out_foreign, uint64_t deadline_ms,
		 struct gw_error *error)
{
	uint8_t bytes[WIRE_MAX_MESSAGE_BYTES];
	int fds[WIRE_REPLY_FDS], flags = 0, code;
	size_t n = 0, n_fds = 0;

	if (max_fds > WIRE_REPLY_FDS)
		return gw_fail(error, GW_E_ARGUMENT, GW_NO_OFFSET, "room for %zu descriptors",
			       max_fds);
	code = receive_raw(fd, bytes, &n, fds, max_fds, &n_fds, &flags, deadline_ms, error);
	if (code)
		return code;
	if (n_fds > max_fds || flags & MSG_CTRUNC)
		code = gw_fail(error, GW_E_WIRE_FDS, GW_NO_OFFSET,
			       flags & MSG_CTRUNC ?
				       "a message whose descriptors did not all fit (%zu came)" :
				       "a message with %zu descriptors too many",
			       flags & MSG_CTRUNC ? n_fds : n_fds - max_fds);
	else if (n == 0 && n_fds == 0)
		code = gw_fail(error, GW_E_CLOSED, GW_NO_OFFSET, "the peer closed the connection");
	else if (flags & MSG_TRUNC)
		code = gw_fail(error, GW_E_WIRE_LENGTH, GW_NO_OFFSET,
			       "a message of more than %d bytes", WIRE_MAX_MESSAGE_BYTES);
	else
		code = wire_decode(bytes, n, out, error);
	if (!code) {
		for (size_t i = 0; i < n_fds; i++)
			out_fds[i] = fds[i];
		*out_n_fds = n_fds;
		return GW_OK;
	}
	for (size_t i = 0; i < n_fds && i < max_fds; i++)
		close(fds[i]);
	if (out_foreign)
		*out_foreign += n_fds;
	return code;
}
