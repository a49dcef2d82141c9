/* SPDX-License-Identifier: MIT */
#include "inject.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of so many calls with passing errors one gets through. */
#define BURST 8

/* The calls that nobody counts. */
int __real_open64(const char *path, int flags, ...);
ssize_t __real_write(int fd, const void *data, size_t n);
int __real_close(int fd);

extern const char __executable_start[]; /* the linker's */

static enum { OFF, COUNT, ONCE, FROM } mode;
static unsigned long target, variant;
static atomic_ulong calls;
static atomic_uint bursts;
static atomic_bool reported;

static void report(const char *line)
{
	const char *path = getenv("GPT2W_INJECT_REPORT");
	int fd = path ? __real_open64(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;

	if (fd < 0 || __real_write(fd, line, strlen(line)) != (ssize_t)strlen(line))
		abort();
	__real_close(fd);
}

static void finish(void)
{
	char line[64];

	mode = OFF; /* what follows is a leak checker's business */
	snprintf(line, sizeof line, "calls %lu\n", atomic_load(&calls));
	report(line);
}

__attribute__((constructor)) static void start(void)
{
	const char *order = getenv("GPT2W_INJECT");
	char word[8];

	if (!order)
		return;
	if (sscanf(order, "%7[a-z]:%lu:%lu", word, &target, &variant) != 3 || atexit(finish))
		abort();
	mode = strcmp(word, "once") == 0 ? ONCE : strcmp(word, "from") == 0 ? FROM : COUNT;
}

static unsigned length(const int *errors)
{
	unsigned n = 0;

	while (errors[n])
		n++;
	return n;
}

/* How many errors a call can be given in this mode. */
static unsigned variants(const int *lasting, const int *passing)
{
	unsigned n_lasting = length(lasting);

	return mode == FROM && n_lasting ? n_lasting : n_lasting + length(passing);
}

/* 0: this one gets through. */
static int choose(const int *lasting, const int *passing)
{
	unsigned n_lasting = length(lasting), n_passing = length(passing);
	unsigned long at;

	if (mode == FROM && n_lasting)
		return lasting[variant % n_lasting];
	/* in no order, or the same call of a loop would fail each time round */
	if (mode == FROM && (atomic_fetch_add(&bursts, 1) * 2654435761u >> 16) % BURST == 0)
		return 0;
	if (mode == FROM)
		return passing[variant % n_passing];
	at = variant % (n_lasting + n_passing);
	return at < n_lasting ? lasting[at] : passing[at - n_lasting];
}

bool inject_fails(const char *name, const void *caller, const int *lasting, const int *passing,
		  bool spared, int *out_error)
{
	unsigned long call;
	char line[128];

	if (mode == OFF)
		return false;
	call = atomic_fetch_add(&calls, 1) + 1;
	if (mode == COUNT || call < target || (mode == ONCE && call > target) ||
	    (mode == FROM && spared))
		return false;
	*out_error = choose(lasting, passing);
	if (*out_error && !atomic_exchange(&reported, true)) {
		snprintf(line, sizeof line, "failed %lu %s %d %u 0x%lx\n", call, name, *out_error,
			 variants(lasting, passing),
			 (unsigned long)((uintptr_t)caller - (uintptr_t)__executable_start));
		report(line);
	}
	return *out_error != 0;
}
