/* SPDX-License-Identifier: MIT */
/*
 * bench-clients-minimal SOCKET: the least that can hand out two descriptors a hello, to compare gpt2d with:
 * accepts, waits with epoll, receives a message, reopens two memfds read-only, sends them with the message
 * that gpt2d would send, and closes when the client does. It checks and counts nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/limits.h"
#include "format/wire.h"

#define EVENTS 64

static struct {
	int epoll, listener;
	int shared[WIRE_REPLY_FDS];
	uint8_t answer[WIRE_MAX_MESSAGE_BYTES];
	size_t answer_bytes;
} minimal;

static void die(const char *what)
{
	fprintf(stderr, "bench-clients-minimal: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void share_memory(void)
{
	struct wire_message message = { .type = WIRE_ATTACHED,
					.request = 1,
					.attached = { .generation = 1, .share = 1, .model = "m" } };

	for (int i = 0; i < WIRE_REPLY_FDS; i++) {
		minimal.shared[i] = memfd_create("minimal", MFD_CLOEXEC);
		if (minimal.shared[i] < 0 || ftruncate(minimal.shared[i], 4096) < 0)
			die("memfd_create");
	}
	minimal.answer_bytes = wire_encode(&message, minimal.answer);
}

static void watch(int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	if (epoll_ctl(minimal.epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll_ctl");
}

static void listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	minimal.epoll = epoll_create1(EPOLL_CLOEXEC);
	minimal.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (minimal.epoll < 0 || minimal.listener < 0 ||
	    bind(minimal.listener, (const struct sockaddr *)&address, sizeof address) < 0 ||
	    chmod(path, 0666) < 0 || listen(minimal.listener, GD_BACKLOG) < 0)
		die(path);
	watch(minimal.listener);
}

static void accept_some(void)
{
	for (int i = 0; i < GD_ACCEPTS_PER_TURN; i++) {
		int fd = accept4(minimal.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0)
			return;
		watch(fd);
	}
}

static void answer(int fd)
{
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(WIRE_REPLY_FDS * sizeof(int))] = { 0 };
	struct iovec part = { .iov_base = minimal.answer, .iov_len = minimal.answer_bytes };
	struct msghdr header = { .msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof control };
	struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
	int fds[WIRE_REPLY_FDS];

	for (int i = 0; i < WIRE_REPLY_FDS; i++) {
		char path[32];

		snprintf(path, sizeof path, "/proc/self/fd/%d", minimal.shared[i]);
		fds[i] = open(path, O_RDONLY | O_CLOEXEC);
	}
	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(sizeof fds);
	memcpy(CMSG_DATA(rights), fds, sizeof fds);
	sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
	for (int i = 0; i < WIRE_REPLY_FDS; i++)
		close(fds[i]);
}

static void serve(int fd)
{
	uint8_t request[WIRE_MAX_MESSAGE_BYTES];

	if (recv(fd, request, sizeof request, MSG_DONTWAIT) > 0)
		answer(fd);
	else
		close(fd);
}

int main(int argc, char **argv)
{
	struct rlimit limit;

	if (argc != 2) {
		fprintf(stderr, "usage: bench-clients-minimal SOCKET\n");
		return 2;
	}
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	share_memory();
	listen_at(argv[1]);
	for (;;) {
		struct epoll_event events[EVENTS];
		int n = epoll_wait(minimal.epoll, events, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			if (events[i].data.fd == minimal.listener)
				accept_some();
			else
				serve(events[i].data.fd);
		}
	}
}
