/* SPDX-License-Identifier: MIT */
/*
 * bench-clients SOCKET: clients of a daemon, as told line by line on standard input; each line is answered
 * by one, when it is done. tools/bench/clients drives it. A hello is what a client does that attaches:
 * connect, ask, receive two descriptors, close.
 *
 *	attach N PAUSE_US	N hellos, one after the other: "P50 P99 LONGEST FAILED", nanoseconds
 *	rate CLIENTS MS		what CLIENTS processes can in MS milliseconds: "HELLOS FAILED NANOSECONDS"
 *	hold N			keeps N more connections open, attached: "HELD"
 *	keep			keeps the descriptors of one more hello: "KEPT"
 *	release			closes all that hold and keep opened: "0"
 *	flood KIND PAUSE_US MS	misbehaves in another process, of the least priority: "0" at once
 *	end			ends the flood early: "ACTS"
 */
#include "tools/bench/clients.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "format/wire.h"

#define MOST_SAMPLES 100000
#define MOST_CLIENTS 64
#define MOST_HELD 65536
#define MOST_FDS 16
/* Who is not answered by then has failed. */
#define PATIENCE_S 1

const char *bench_socket;

/* What processes of ours have done; shared with them. */
static struct {
	uint64_t done[MOST_CLIENTS], failed[MOST_CLIENTS];
} *counts;

static int held[MOST_HELD];
static unsigned n_held;
static pid_t flooder;

uint64_t bench_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void bench_die(const char *what)
{
	fprintf(stderr, "bench-clients: %s: %s\n", what, strerror(errno));
	exit(1);
}

int bench_connect(void)
{
	static const struct timeval patience = { .tv_sec = PATIENCE_S };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof address.sun_path, "%s", bench_socket);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
		int failed = errno;

		close(fd);
		errno = failed;
		return -1;
	}
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	return fd;
}

bool bench_ask(int fd)
{
	const struct wire_message message = { .type = WIRE_ATTACH, .request = 1 };
	uint8_t bytes[WIRE_MAX_MESSAGE_BYTES];
	size_t n = wire_encode(&message, bytes);

	return send(fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)n;
}

/* One message; up to MOST_FDS of its descriptors in fds. Returns how many; -1: none came. */
static int take_fds(int fd, int fds[MOST_FDS])
{
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(MOST_FDS * sizeof(int))];
	uint8_t bytes[WIRE_MAX_MESSAGE_BYTES];
	struct iovec part = { .iov_base = bytes, .iov_len = sizeof bytes };
	struct msghdr header = { .msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof control };
	const struct cmsghdr *rights;
	int n;

	if (recvmsg(fd, &header, MSG_CMSG_CLOEXEC) <= 0)
		return -1;
	rights = CMSG_FIRSTHDR(&header);
	if (!rights || rights->cmsg_type != SCM_RIGHTS)
		return 0;
	n = (int)((rights->cmsg_len - CMSG_LEN(0)) / sizeof(int));
	memcpy(fds, CMSG_DATA(rights), (size_t)n * sizeof(int));
	return n;
}

int bench_take_answer(int fd)
{
	int fds[MOST_FDS], n = take_fds(fd, fds);

	for (int i = 0; i < n; i++)
		close(fds[i]);
	return n;
}

bool bench_hello(void)
{
	int fd = bench_connect();
	bool good;

	if (fd < 0)
		return false;
	good = bench_ask(fd) && bench_take_answer(fd) == WIRE_REPLY_FDS;
	close(fd);
	return good;
}

void bench_raise_fd_limit(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void attach(unsigned n, unsigned pause_us)
{
	static uint64_t samples[MOST_SAMPLES];
	unsigned failed = 0;

	if (n < 1 || n > MOST_SAMPLES)
		bench_die("attach");
	for (unsigned i = 0; i < n; i++) {
		uint64_t start = bench_now_ns();

		failed += !bench_hello();
		samples[i] = bench_now_ns() - start;
		if (pause_us)
			usleep(pause_us);
	}
	qsort(samples, n, sizeof *samples, by_value);
	printf("%llu %llu %llu %u\n", (unsigned long long)samples[n / 2],
	       (unsigned long long)samples[n * 99ull / 100], (unsigned long long)samples[n - 1],
	       failed);
}

static void rate(unsigned n, unsigned ms)
{
	uint64_t start = bench_now_ns(), end = start + ms * UINT64_C(1000000), done = 0, failed = 0;

	if (n < 1 || n > MOST_CLIENTS)
		bench_die("rate");
	for (unsigned i = 0; i < n; i++) {
		counts->done[i] = counts->failed[i] = 0;
		if (fork() == 0) {
			while (bench_now_ns() < end)
				++*(bench_hello() ? &counts->done[i] : &counts->failed[i]);
			_exit(0);
		}
	}
	while (wait(NULL) > 0)
		;
	for (unsigned i = 0; i < n; i++) {
		done += counts->done[i];
		failed += counts->failed[i];
	}
	printf("%llu %llu %llu\n", (unsigned long long)done, (unsigned long long)failed,
	       (unsigned long long)(bench_now_ns() - start));
}

static void hold(unsigned n)
{
	for (; n && n_held < MOST_HELD; n--) {
		int fd = bench_connect();

		if (fd < 0)
			break;
		held[n_held] = fd;
		n_held++;
		if (!bench_ask(fd) || bench_take_answer(fd) != WIRE_REPLY_FDS)
			break;
	}
	printf("%u\n", n_held);
}

static void keep(void)
{
	int fds[MOST_FDS], fd = bench_connect(), n = fd >= 0 && bench_ask(fd) ? take_fds(fd, fds) : -1;

	for (int i = 0; i < n && n_held < MOST_HELD; i++)
		held[n_held++] = fds[i];
	close(fd);
	printf("%u\n", n_held);
}

static void release(void)
{
	while (n_held)
		close(held[--n_held]);
	puts("0");
}

static void start_flood(const char *kind, unsigned pause_us, unsigned ms)
{
	uint64_t end = bench_now_ns() + ms * UINT64_C(1000000);

	if (flooder || !bench_is_flood(kind))
		bench_die(kind);
	counts->done[0] = 0;
	flooder = fork();
	if (flooder == 0) {
		if (nice(40) < 0) /* 19 is the most: the daemon is measured, not who gets a processor */
			bench_die("nice");
		counts->done[0] = bench_flood(kind, pause_us, end);
		_exit(0);
	}
	puts("0");
}

static void end_flood(void)
{
	if (flooder > 0) {
		kill(flooder, SIGUSR1);
		waitpid(flooder, NULL, 0);
		flooder = 0;
	}
	printf("%llu\n", (unsigned long long)counts->done[0]);
}

static void obey(const char *line)
{
	unsigned a = 0, b = 0;
	char kind[32];

	if (sscanf(line, "attach %u %u", &a, &b) == 2)
		attach(a, b);
	else if (sscanf(line, "rate %u %u", &a, &b) == 2)
		rate(a, b);
	else if (sscanf(line, "hold %u", &a) == 1)
		hold(a);
	else if (sscanf(line, "flood %31s %u %u", kind, &a, &b) == 3)
		start_flood(kind, a, b);
	else if (strcmp(line, "keep\n") == 0)
		keep();
	else if (strcmp(line, "release\n") == 0)
		release();
	else if (strcmp(line, "end\n") == 0)
		end_flood();
	else
		bench_die(line);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	char line[128];

	if (argc != 2) {
		fprintf(stderr, "usage: bench-clients SOCKET; see tools/bench/clients\n");
		return 2;
	}
	bench_socket = argv[1];
	signal(SIGPIPE, SIG_IGN);
	bench_raise_fd_limit();
	counts = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counts == MAP_FAILED)
		bench_die("mmap");
	while (fgets(line, sizeof line, stdin))
		obey(line);
	if (flooder > 0)
		kill(flooder, SIGKILL);
	return 0;
}
