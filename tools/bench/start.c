/* SPDX-License-Identifier: MIT */
/*
 * bench-start GPT2D RAW.gpt2w [REPETITIONS]: how long gpt2d takes from its exec until a client has the
 * model, for a raw pack and for its compressed form, with the file in the page cache and without; beside
 * a plain copy of the raw file's bytes by two threads into memory of the same kind, and XXH3 over it.
 * Medians, interleaved; and what processor time each took, which other programs disturb less.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/api.h"
#include "format/block.h"
#include "format/digest.h"
#include "format/limits.h"
#include "format/reader.h"
#include "format/stored_writer.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define MOST_REPETITIONS 101
#define PIECE_BYTES (UINT64_C(1) << 20)
#define COLLAPSE_BYTES (UINT64_C(32) << 20)
/* Between two attempts to connect. */
#define PAUSE_NS 100000

extern char **environ;

enum { PLAIN_SMALL, PLAIN_HUGE, RAW, COMPRESSED, N_KINDS };
static const char *const kinds[N_KINDS] = { "plain copy + XXH3, 4 KiB pages",
					    "plain copy + XXH3, 2 MiB pages", "gpt2d, raw pack",
					    "gpt2d, compressed pack" };

struct times {
	double wall_ms[MOST_REPETITIONS], cpu_ms[MOST_REPETITIONS];
};

static double clock_ms(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void die(const char *what, const char *why)
{
	fprintf(stderr, "bench-start: %s: %s\n", what, why);
	exit(1);
}

/* What two threads do, piece by piece. */
struct copy {
	int fd;
	uint8_t *map;
	uint64_t bytes, piece_bytes;
	_Atomic uint64_t next;
	_Atomic uint64_t sum; /* of the digests, so that they are computed */
	void (*piece)(struct copy *copy, uint64_t at, uint64_t n);
};

static void collapse_piece(struct copy *copy, uint64_t at, uint64_t n)
{
	n &= ~(uint64_t)(GW_HUGE_PAGE_BYTES - 1);
	for (uint64_t i = 0; i < n; i += GW_HUGE_PAGE_BYTES)
		madvise(copy->map + at + i, GW_PAGE_BYTES, MADV_POPULATE_WRITE);
	if (n && madvise(copy->map + at, n, MADV_COLLAPSE) < 0)
		die("MADV_COLLAPSE", strerror(errno));
}

static void copy_piece(struct copy *copy, uint64_t at, uint64_t n)
{
	struct gw_error error = GW_ERROR_INIT;

	if (gw_read_at(copy->fd, copy->map + at, n, at, &error))
		die("cannot read the pack", error.message);
}

static void hash_piece(struct copy *copy, uint64_t at, uint64_t n)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < n; i += GW_BLOCK_BYTES)
		sum += gw_hash64(copy->map + at + i,
				 n - i < GW_BLOCK_BYTES ? n - i : GW_BLOCK_BYTES);
	atomic_fetch_add(&copy->sum, sum);
}

static void *do_pieces(void *argument)
{
	struct copy *copy = argument;
	uint64_t at;

	while ((at = atomic_fetch_add(&copy->next, copy->piece_bytes)) < copy->bytes)
		copy->piece(copy, at,
			    copy->bytes - at < copy->piece_bytes ? copy->bytes - at
								 : copy->piece_bytes);
	return NULL;
}

static void by_two(struct copy *copy, void (*piece)(struct copy *copy, uint64_t at, uint64_t n),
		   uint64_t piece_bytes)
{
	pthread_t thread;

	copy->piece = piece;
	copy->piece_bytes = piece_bytes;
	atomic_store(&copy->next, 0);
	if (pthread_create(&thread, NULL, do_pieces, copy))
		die("pthread_create", "no thread");
	do_pieces(copy);
	pthread_join(thread, NULL);
}

/* The plain copy: what gpt2d cannot do without, and nothing else. */
static void measure_plain(const char *path, bool huge, double *out_ms, double *out_cpu_ms)
{
	double start = clock_ms(CLOCK_MONOTONIC), cpu = clock_ms(CLOCK_PROCESS_CPUTIME_ID);
	struct copy copy = { .fd = open(path, O_RDONLY | O_CLOEXEC) };
	uint8_t *room;
	struct stat status;
	uint64_t room_bytes;
	int fd = memfd_create("plain", MFD_CLOEXEC);

	if (copy.fd < 0 || fstat(copy.fd, &status) < 0 || fd < 0)
		die(path, strerror(errno));
	copy.bytes = (uint64_t)status.st_size;
	room_bytes = copy.bytes + GW_HUGE_PAGE_BYTES;
	room = mmap(NULL, room_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (room == MAP_FAILED || ftruncate(fd, status.st_size) < 0)
		die("memory", strerror(errno));
	copy.map = room + (-(uintptr_t)room & (GW_HUGE_PAGE_BYTES - 1));
	if (mmap(copy.map, copy.bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
	    MAP_FAILED)
		die("mmap", strerror(errno));
	if (huge)
		by_two(&copy, collapse_piece, COLLAPSE_BYTES);
	by_two(&copy, copy_piece, PIECE_BYTES);
	by_two(&copy, hash_piece, PIECE_BYTES);
	*out_ms = clock_ms(CLOCK_MONOTONIC) - start;
	*out_cpu_ms = clock_ms(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	munmap(room, room_bytes);
	close(fd);
	close(copy.fd);
}

/* Tries until the daemon is there; it answers when the model is loaded. */
static void attach(const char *socket)
{
	const struct timespec pause = { 0, PAUSE_NS };
	double limit = clock_ms(CLOCK_MONOTONIC) + 60e3;
	gpt2c_error error = GPT2C_ERROR_INIT;
	gpt2c_store *store;

	while (gpt2c_open(socket, "m", &store, &error) < 0) {
		if (clock_ms(CLOCK_MONOTONIC) > limit)
			die("cannot attach", error.message);
		nanosleep(&pause, NULL);
	}
	gpt2c_close(store);
}

static void measure_daemon(const char *program, const char *folder, const char *path,
			   double *out_ms, double *out_cpu_ms)
{
	char socket[256], model[4200];
	char *const words[] = { (char *)(uintptr_t)program, (char *)(uintptr_t) "--socket", socket,
				(char *)(uintptr_t) "--model", model, NULL };
	posix_spawn_file_actions_t actions;
	struct rusage usage;
	double start;
	pid_t pid;
	int status;

	snprintf(socket, sizeof socket, "%s/s", folder);
	snprintf(model, sizeof model, "m=%s", path);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	start = clock_ms(CLOCK_MONOTONIC);
	if (posix_spawn(&pid, program, &actions, NULL, words, environ))
		die(program, "cannot be started");
	attach(socket);
	*out_ms = clock_ms(CLOCK_MONOTONIC) - start;
	posix_spawn_file_actions_destroy(&actions);
	kill(pid, SIGTERM);
	if (wait4(pid, &status, 0, &usage) != pid || status)
		die(program, "did not end well");
	*out_cpu_ms = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e3 +
		      (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e3;
}

/* Has the file in the page cache, or out of it. */
static void set_cache(const char *path, bool cached)
{
	static uint8_t buffer[PIECE_BYTES];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die(path, strerror(errno));
	if (cached)
		while (read(fd, buffer, sizeof buffer) > 0)
			;
	else if (fdatasync(fd) < 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
		die(path, "cannot be dropped from the page cache");
	close(fd);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, unsigned n)
{
	qsort(values, n, sizeof *values, by_value);
	return values[n / 2];
}

static void measure(const char *program, const char *folder, const char *const paths[N_KINDS],
		    bool cached, unsigned n)
{
	static struct times times[N_KINDS];
	double medians[N_KINDS];

	for (unsigned i = 0; i < n; i++) {
		for (int k = 0; k < N_KINDS; k++) {
			double *wall = &times[k].wall_ms[i], *cpu = &times[k].cpu_ms[i];

			set_cache(paths[k], cached);
			if (k < RAW)
				measure_plain(paths[k], k == PLAIN_HUGE, wall, cpu);
			else
				measure_daemon(program, folder, paths[k], wall, cpu);
		}
	}
	printf("%s page cache, %u repetitions\n", cached ? "warm" : "cold", n);
	for (int k = 0; k < N_KINDS; k++) {
		medians[k] = median(times[k].wall_ms, n);
		printf("  %-32s %7.1f ms (%.1f to %.1f), processors %6.1f ms\n", kinds[k],
		       medians[k], times[k].wall_ms[n / 10], times[k].wall_ms[n - 1 - n / 10],
		       median(times[k].cpu_ms, n));
	}
	printf("  raw / plain: %.2f on 4 KiB pages, %.2f on 2 MiB pages; compressed / raw: %.2f\n",
	       medians[RAW] / medians[PLAIN_SMALL], medians[RAW] / medians[PLAIN_HUGE],
	       medians[COMPRESSED] / medians[RAW]);
}

static int compress_blocks(struct gw_stored_writer *writer, const struct gw_pack *pack, int fd,
			   struct gw_error *error)
{
	static uint8_t raw[GW_BLOCK_BYTES], stored[GW_BLOCK_BOUND(GW_BLOCK_BYTES)];
	struct gw_block_encoder *encoder = NULL;
	int code = gw_block_encoder_new(GW_BLOCK_LEVEL, &encoder, error);

	for (uint64_t i = 0; i < pack->superblock.n_blocks && !code; i++) {
		struct gw_unit unit = gw_pack_unit(pack, i);
		size_t n;

		code = gw_read_at(fd, raw, unit.size_bytes, unit.offset_bytes, error);
		if (!code)
			code = gw_block_encode(encoder, unit.tensor->dtype, unit.tensor->row_bytes,
					       raw, unit.size_bytes, stored, sizeof stored, &n,
					       error);
		if (!code)
			code = gw_stored_writer_append(writer, stored, n, error);
	}
	gw_block_encoder_free(encoder);
	return code;
}

/* The compressed form of the pack at path, at out. */
static void compress(const char *path, const char *out)
{
	struct gw_error error = GW_ERROR_INIT;
	struct gw_stored_writer *writer = NULL;
	struct gw_pack *pack = NULL;
	uint64_t bytes = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC), code;

	if (fd < 0)
		die(path, strerror(errno));
	code = gw_pack_open_fd(fd, &pack, &error);
	if (!code)
		code = gw_stored_writer_new(pack, fd, out, false, &writer, &error);
	if (!code)
		code = compress_blocks(writer, pack, fd, &error);
	if (!code)
		code = gw_stored_writer_finish(writer, &bytes, &error);
	if (code)
		die(path, error.message);
	printf("%.1f MB raw, %.1f MB compressed\n", (double)pack->superblock.image_bytes / 1e6,
	       (double)bytes / 1e6);
	gw_stored_writer_free(writer);
	gw_pack_free(pack);
	close(fd);
}

int main(int argc, char **argv)
{
	const char *folder_of = getenv("TMPDIR");
	unsigned n = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 11;
	char folder[200], compressed[256];

	if (argc < 3 || n < 1 || n > MOST_REPETITIONS) {
		fprintf(stderr, "usage: bench-start GPT2D RAW.gpt2w [REPETITIONS, at most %d]\n",
			MOST_REPETITIONS);
		return 2;
	}
	snprintf(folder, sizeof folder, "%s/bench-start-XXXXXX", folder_of ? folder_of : "/tmp");
	if (!mkdtemp(folder))
		die(folder, strerror(errno));
	snprintf(compressed, sizeof compressed, "%s/c.gpt2w", folder);
	compress(argv[2], compressed);
	const char *const paths[N_KINDS] = { argv[2], argv[2], argv[2], compressed };

	measure(argv[1], folder, paths, true, n);
	measure(argv[1], folder, paths, false, n);
	unlink(compressed);
	rmdir(folder);
	return 0;
}
