/* SPDX-License-Identifier: MIT */
/*
 * bench-verify PACK [REPETITIONS]: how fast gpt2-pack verify reads an uncompressed pack that is in the page
 * cache, beside reading the same bytes in other ways, on one and two threads; medians, interleaved.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "format/digest.h"
#include "tools/pack/verify.h"

#define MOST_REPETITIONS 101
#define N_THREADS 2
#define STEP (UINT64_C(1) << 20) /* what a thread takes at once */

enum way { SUM, HASH, READ_SUM, READ_HASH, MAPPED_SUM, MAPPED_HASH, VERIFY, N_WAYS };
static const char *const way_names[N_WAYS] = {
	[SUM] = "sum of memory (2 MiB pages)",
	[HASH] = "XXH3 of memory",
	[READ_SUM] = "pread of 256 KiB, sum",
	[READ_HASH] = "pread of 256 KiB, XXH3",
	[MAPPED_SUM] = "mmap, sum, munmap",
	[MAPPED_HASH] = "mmap, XXH3, munmap",
	[VERIFY] = "gpt2-pack verify",
};

static struct {
	int fd;
	uint64_t bytes;
	struct gw_pack *pack;
	const uint8_t *memory; /* bytes; what is in the file */
	const uint8_t *mapped;
	uint8_t *buffers[N_THREADS];
	enum way way;
	_Atomic uint64_t next, sink;
} bench;

static uint64_t sum(const uint8_t *bytes, uint64_t n)
{
	typedef uint64_t lane __attribute__((vector_size(32), aligned(1), may_alias));
	lane a = { 0 }, b = a, c = a, d = a;

	for (; n >= 128; n -= 128, bytes += 128) {
		a += *(const lane *)(const void *)bytes;
		b += *(const lane *)(const void *)(bytes + 32);
		c += *(const lane *)(const void *)(bytes + 64);
		d += *(const lane *)(const void *)(bytes + 96);
	}
	a += b + c + d;
	return a[0] + a[1] + a[2] + a[3];
}

static uint64_t digest(const uint8_t *bytes, uint64_t n)
{
	uint64_t all = 0;

	for (uint64_t at = 0; at < n; at += GW_BLOCK_BYTES)
		all += gw_hash64(bytes + at, n - at < GW_BLOCK_BYTES ? n - at : GW_BLOCK_BYTES);
	return all;
}

static void *work(void *argument)
{
	const enum way way = bench.way;
	const bool mapped = way == MAPPED_SUM || way == MAPPED_HASH;
	uint64_t all = 0, at;

	while ((at = atomic_fetch_add(&bench.next, STEP)) < bench.bytes) {
		uint64_t n = bench.bytes - at < STEP ? bench.bytes - at : STEP;

		for (uint64_t i = 0; i < n; i += GW_BLOCK_BYTES) {
			uint64_t m = n - i < GW_BLOCK_BYTES ? n - i : GW_BLOCK_BYTES;
			const uint8_t *from = (mapped ? bench.mapped : bench.memory) + at + i;

			if (way == READ_SUM || way == READ_HASH) {
				from = argument;
				if (gw_read_at(bench.fd, argument, m, at + i, NULL))
					abort();
			}
			all += way == SUM || way == READ_SUM || way == MAPPED_SUM ? sum(from, m) : digest(from, m);
		}
	}
	atomic_fetch_add(&bench.sink, all);
	return NULL;
}

static void fail_bad(void *context, const struct gw_error *error)
{
	(void)context;
	fprintf(stderr, "%s\n", error->message);
	exit(1);
}

static void run(enum way way, unsigned n_threads)
{
	struct tool_progress progress = { 0 };
	struct gw_error error = GW_ERROR_INIT;
	pthread_t other;
	void *mapped = NULL;
	uint64_t n;

	if (way == VERIFY) {
		if (pack_verify(bench.pack, bench.fd, n_threads, fail_bad, NULL, &progress, &n, &error))
			fail_bad(NULL, &error);
		return;
	}
	if (way == MAPPED_SUM || way == MAPPED_HASH) {
		mapped = mmap(NULL, bench.bytes, PROT_READ, MAP_SHARED, bench.fd, 0);
		if (mapped == MAP_FAILED)
			abort();
		bench.mapped = mapped;
	}
	bench.way = way;
	bench.next = 0;
	if (n_threads == 2 && pthread_create(&other, NULL, work, bench.buffers[1]))
		abort();
	work(bench.buffers[0]);
	if (n_threads == 2)
		pthread_join(other, NULL);
	if (mapped)
		munmap(mapped, bench.bytes);
}

static double now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec + 1e-9 * (double)at.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	const double *left = a, *right = b;

	return *left < *right ? -1 : *left > *right;
}

static void measure(unsigned n_threads, size_t repetitions)
{
	static double seconds[N_WAYS][MOST_REPETITIONS];

	for (size_t i = 0; i < repetitions; i++) {
		for (enum way way = 0; way < N_WAYS; way++) {
			double start = now();

			run(way, n_threads);
			seconds[way][i] = now() - start;
		}
	}
	for (enum way way = 0; way < N_WAYS; way++)
		qsort(seconds[way], repetitions, sizeof(double), compare);
	printf("| %u thread%s | GB/s | best | of memory | of pread | of the file mapped |\n|---|---|---|---|---|---|\n",
	       n_threads, n_threads > 1 ? "s" : "");
	for (enum way way = 0; way < N_WAYS; way++)
		printf("| %s | %.1f | %.1f | %.2f | %.2f | %.2f |\n", way_names[way],
		       (double)bench.bytes / 1e9 / seconds[way][repetitions / 2],
		       (double)bench.bytes / 1e9 / seconds[way][0],
		       seconds[SUM][repetitions / 2] / seconds[way][repetitions / 2],
		       seconds[READ_SUM][repetitions / 2] / seconds[way][repetitions / 2],
		       seconds[MAPPED_SUM][repetitions / 2] / seconds[way][repetitions / 2]);
	putchar('\n');
}

int main(int argc, char **argv)
{
	size_t repetitions = argc > 2 ? strtoul(argv[2], NULL, 10) : 21;
	struct gw_error error = GW_ERROR_INIT;
	uint8_t *memory;

	bench.fd = argc > 1 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;
	if (bench.fd < 0 || repetitions < 1 || repetitions > MOST_REPETITIONS) {
		fprintf(stderr, "usage: bench-verify PACK [REPETITIONS, up to %d]\n", MOST_REPETITIONS);
		return 2;
	}
	if (gw_pack_open_fd(bench.fd, &bench.pack, &error))
		fail_bad(NULL, &error);
	bench.bytes = bench.pack->superblock.file_bytes;
	memory = aligned_alloc(GW_HUGE_PAGE_BYTES, (bench.bytes | (GW_HUGE_PAGE_BYTES - 1)) + 1);
	for (unsigned i = 0; i < N_THREADS; i++)
		bench.buffers[i] = aligned_alloc(GW_HUGE_PAGE_BYTES, GW_HUGE_PAGE_BYTES);
	if (!memory || !bench.buffers[0] || !bench.buffers[1])
		return 1;
	madvise(memory, bench.bytes, MADV_HUGEPAGE);
	if (gw_read_at(bench.fd, memory, bench.bytes, 0, &error))
		fail_bad(NULL, &error);
	bench.memory = memory;
	for (unsigned n = 1; n <= N_THREADS; n++)
		measure(n, repetitions);
	gw_pack_free(bench.pack);
	free(memory);
	for (unsigned i = 0; i < N_THREADS; i++)
		free(bench.buffers[i]);
	close(bench.fd);
	return 0;
}
