/* SPDX-License-Identifier: MIT */
/* Clients that misbehave. Each act is bounded, and they end by themselves. */
#include "tools/bench/clients.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "format/wire.h"

/* The most descriptors that one message can carry (SCM_MAX_FD). */
#define MOST_SENT_FDS 253
/* Connections that a flooder has open at once. */
#define OPEN 200

static volatile sig_atomic_t ended;
static int open_fds[OPEN];
static unsigned next_open;

static void end_now(int number)
{
	(void)number;
	ended = 1;
}

/* A connection in the place of the oldest. */
static int another(void)
{
	int *fd = &open_fds[next_open];

	next_open = (next_open + 1) % OPEN;
	if (*fd >= 0)
		close(*fd);
	*fd = bench_connect();
	return *fd;
}

/* Asks until the daemon or the socket takes no more, and reads nothing. */
static void never_read(void)
{
	int fd = another();

	for (int i = 0; i < 100 && fd >= 0 && bench_ask(fd); i++)
		;
}

static void garbage(void)
{
	static uint8_t bytes[4096];
	static uint32_t random = 1;
	int fd = another();

	for (size_t i = 0; i < sizeof bytes; i++) {
		random = random * 1664525 + 1013904223;
		bytes[i] = (uint8_t)(random >> 24);
	}
	for (int i = 0; i < 4 && fd >= 0; i++)
		send(fd, bytes, 1 + random % sizeof bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void descriptors(void)
{
	_Alignas(struct cmsghdr) static uint8_t control[CMSG_SPACE(MOST_SENT_FDS * sizeof(int))];
	char byte = 0;
	struct iovec part = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr header = { .msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof control };
	struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
	int fds[MOST_SENT_FDS], fd = another();

	memset(fds, 0, sizeof fds); /* standard input, all of them */
	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(sizeof fds);
	memcpy(CMSG_DATA(rights), fds, sizeof fds);
	for (int i = 0; i < 4 && fd >= 0; i++)
		sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* One byte on the oldest of many connections that say nothing else, a new one for it. */
static void loris(void)
{
	int fd = open_fds[next_open];

	if (fd >= 0)
		send(fd, "G", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	another();
}

/* The questions whose answers cost the daemon most, as fast as it answers. */
static void questions(void)
{
	static const struct wire_message asked[] = { { .type = WIRE_STATUS, .request = 1 },
						     { .type = WIRE_GENERATION, .request = 2 },
						     { .type = WIRE_LIST, .request = 3 } };
	uint8_t bytes[WIRE_MAX_MESSAGE_BYTES];
	int fd = open_fds[0];

	if (fd < 0) {
		next_open = 0;
		fd = another();
	}
	for (int i = 0; i < 3 && fd >= 0; i++)
		if (send(fd, bytes, wire_encode(&asked[i], bytes), MSG_NOSIGNAL) < 0)
			open_fds[0] = (close(fd), -1);
	for (int i = 0; i < 3 && open_fds[0] >= 0; i++)
		if (bench_take_answer(fd) < 0)
			open_fds[0] = (close(fd), -1);
}

/* Talks to nobody: what a busy neighbour costs whoever the daemon is. */
static void spin(void)
{
}

static void storm(void)
{
	int fd = bench_connect();

	if (fd >= 0)
		close(fd);
}

static const struct {
	const char *kind;
	void (*act)(void);
} floods[] = { { "never-read", never_read },
	       { "garbage", garbage },
	       { "descriptors", descriptors },
	       { "loris", loris },
	       { "questions", questions },
	       { "spin", spin },
	       { "storm", storm } };

#define N_FLOODS (sizeof floods / sizeof *floods)

bool bench_is_flood(const char *kind)
{
	for (size_t i = 0; i < N_FLOODS; i++)
		if (strcmp(floods[i].kind, kind) == 0)
			return true;
	return false;
}

uint64_t bench_flood(const char *kind, unsigned pause_us, uint64_t end_ns)
{
	uint64_t acts = 0;

	signal(SIGUSR1, end_now);
	memset(open_fds, -1, sizeof open_fds);
	for (size_t i = 0; i < N_FLOODS; i++) {
		if (strcmp(floods[i].kind, kind) != 0)
			continue;
		for (; !ended && bench_now_ns() < end_ns; acts++) {
			floods[i].act();
			if (pause_us)
				usleep(pause_us);
		}
	}
	return acts;
}
