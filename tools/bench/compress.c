/* SPDX-License-Identifier: MIT */
/*
 * bench-compress [--json] [--wall] [--data FOLDER] [--repetitions N]: size and speed of the block format, of
 * plain zstd, of byte-shuffled zstd and of memcpy on the same data, interleaved; medians. GB/s are of
 * raw bytes, by the time that the threads themselves got, divided by their number: on an idle machine
 * that is the clock's, and others on the machine count little. With --wall it is the clock's.
 */
#include <argp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "format/block.h"
#include "format/digest.h"
#include "format/dtype.h"
#include "tools/bench/compress.h"
#include "tools/common/number.h"
#include "tools/common/report.h"

#define MOST_REPETITIONS 1001
#define N_CORES 2

struct options {
	bool json;
	const char *folder;
	uint64_t repetitions;
};

/* One dtype of one set of data, as every coder has stored it. */
struct table {
	unsigned dtype;
	size_t bytes, n_blocks;
	uint8_t *raw, *out;
	struct stored {
		uint8_t *data;   /* [n_blocks], straight after each other */
		size_t *offsets; /* [n_blocks + 1] */
		double encode_s; /* of the thread's time */
		double decode_s[N_CORES][MOST_REPETITIONS];
	} stored[BENCH_N_CODERS];
	double verify_s[N_CORES][MOST_REPETITIONS];
};

/* What threads do to blocks until there are none left. coder NULL: hash them. */
struct job {
	struct table *table;
	const struct bench_coder *coder;
	const struct stored *stored;
	void *states[N_CORES];
	atomic_size_t next;
	atomic_bool failed;
	atomic_uint_fast64_t sink;
};

struct worker {
	struct job *job;
	void *state;
	double seconds; /* of bench_clock */
};

static clockid_t bench_clock = CLOCK_THREAD_CPUTIME_ID;

static double thread_seconds(void)
{
	struct timespec now;

	clock_gettime(bench_clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static size_t block_bytes(const struct table *table, size_t block)
{
	size_t left = table->bytes - block * GW_BLOCK_BYTES;

	return left < GW_BLOCK_BYTES ? left : GW_BLOCK_BYTES;
}

static void *work(void *argument)
{
	struct worker *worker = argument;
	struct job *job = worker->job;
	struct table *table = job->table;
	double start = thread_seconds();
	size_t block;

	while ((block = atomic_fetch_add(&job->next, 1)) < table->n_blocks) {
		size_t bytes = block_bytes(table, block);

		if (!job->coder) {
			atomic_fetch_add(&job->sink,
					 gw_hash64(table->raw + block * GW_BLOCK_BYTES, bytes));
			continue;
		}
		if (job->coder->decode(worker->state, table->dtype,
				       job->stored->data + job->stored->offsets[block],
				       job->stored->offsets[block + 1] -
					       job->stored->offsets[block],
				       table->out + block * GW_BLOCK_BYTES, bytes) != bytes)
			atomic_store(&job->failed, true);
	}
	worker->seconds = thread_seconds() - start;
	return NULL;
}

/* Seconds that all blocks take on so many threads. */
static double run(struct job *job, unsigned n_threads)
{
	struct worker workers[N_CORES];
	pthread_t threads[N_CORES];
	double total = 0;

	for (unsigned i = 0; i < n_threads; i++)
		workers[i] = (struct worker) { .job = job, .state = job->states[i] };
	atomic_store(&job->next, 0);
	for (unsigned i = 1; i < n_threads; i++)
		if (pthread_create(&threads[i], NULL, work, &workers[i])) {
			perror("pthread_create");
			exit(TOOL_FAILED);
		}
	work(&workers[0]);
	for (unsigned i = 1; i < n_threads; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < n_threads; i++)
		total += workers[i].seconds;
	return total / n_threads;
}

static void fail(const char *what, const char *whom)
{
	tool_say("%s: %s", whom, what);
	exit(TOOL_FAILED);
}

/* Memory that is there already, as an image's is, on large pages where there are any. */
static uint8_t *new_pages(size_t bytes)
{
	uint8_t *pages =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pages == MAP_FAILED)
		fail("no memory", "data");
	madvise(pages, bytes, MADV_HUGEPAGE);
	memset(pages, 0, bytes);
	return pages;
}

static void encode(struct table *table, unsigned which)
{
	const struct bench_coder *coder = &bench_coders[which];
	struct stored *stored = &table->stored[which];
	size_t room = table->n_blocks * BENCH_ROOM, at = 0;
	void *state = coder->start();
	double start;

	stored->data = new_pages(room);
	stored->offsets = calloc(table->n_blocks + 1, sizeof *stored->offsets);
	if (!state || !stored->offsets)
		fail("no memory", coder->name);
	start = thread_seconds();
	for (size_t i = 0; i < table->n_blocks; i++) {
		size_t n = coder->encode(state, table->dtype, table->raw + i * GW_BLOCK_BYTES,
					 block_bytes(table, i), stored->data + at, room - at);

		if (n == 0)
			fail("cannot encode", coder->name);
		at += n;
		stored->offsets[i + 1] = at;
	}
	stored->encode_s = thread_seconds() - start;
	coder->end(state);
}

/* One repetition of everything. check: compare what comes out. */
static void decode_all(struct table *table, size_t repetition, void *states[][N_CORES], bool check)
{
	for (unsigned n = 1; n <= N_CORES; n++) {
		struct job hash = { .table = table };

		for (unsigned c = 0; c < BENCH_N_CODERS; c++) {
			struct job job = { .table = table,
					   .coder = &bench_coders[c],
					   .stored = &table->stored[c] };

			memcpy(job.states, states[c], sizeof job.states);
			if (check)
				memset(table->out, 0, table->bytes);
			table->stored[c].decode_s[n - 1][repetition] = run(&job, n);
			if (atomic_load(&job.failed) ||
			    (check && memcmp(table->out, table->raw, table->bytes) != 0))
				fail("does not decode", bench_coders[c].name);
		}
		table->verify_s[n - 1][repetition] = run(&hash, n);
	}
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *values, size_t n)
{
	qsort(values, n, sizeof *values, compare);
	return values[n / 2];
}

/* Median of a's time over b's, repetition by repetition. */
static double ratio(const double *a, const double *b, size_t n)
{
	double ratios[MOST_REPETITIONS];

	for (size_t i = 0; i < n; i++)
		ratios[i] = a[i] / b[i];
	return median(ratios, n);
}

/* Order-0 bound of blocks whose planes are coded each on its own. */
static double entropy_percent(const struct table *table)
{
	unsigned width = gw_block_width(table->dtype);
	double bytes = 0;

	for (size_t i = 0; i < table->n_blocks; i++) {
		struct gw_block_histogram histogram = { 0 };
		size_t n = block_bytes(table, i);

		gw_block_count(&histogram, table->dtype, table->raw + i * GW_BLOCK_BYTES, n);
		for (unsigned p = 0; p < width; p++)
			bytes += gw_plane_entropy(histogram.counts[p]) / 8 * (double)(n / width);
	}
	return bytes / (double)table->bytes * 100;
}

struct line {
	const char *data, *dtype, *coder;
	double percent, encode, decode[N_CORES], verify[N_CORES];
	double speedup; /* over plain zstd's decoding on one core */
	double copy;    /* of memcpy's speed on two cores */
};

static void print_line(const struct line *line, bool json, bool *first)
{
	if (json)
		printf("%s{\"data\":\"%s\",\"dtype\":\"%s\",\"coder\":\"%s\",\"percent\":%.3f,"
		       "\"encode_gbs\":%.3f,\"decode1_gbs\":%.3f,\"decode2_gbs\":%.3f,"
		       "\"verify1_gbs\":%.3f,\"verify2_gbs\":%.3f,\"times_zstd\":%.3f,"
		       "\"of_memcpy\":%.3f}",
		       *first ? "[\n" : ",\n", line->data, line->dtype, line->coder, line->percent,
		       line->encode, line->decode[0], line->decode[1], line->verify[0],
		       line->verify[1], line->speedup, line->copy);
	else
		printf("| %-7s | %-5s | %-16s | %6.2f%% | %6.2f | %6.2f / %6.2f | %5.1f / %5.1f | %5.2f |"
		       " %4.0f%% |\n",
		       line->data, line->dtype, line->coder, line->percent, line->encode,
		       line->decode[0], line->decode[1], line->verify[0], line->verify[1],
		       line->speedup, line->copy * 100);
	*first = false;
}

static void print_table(struct table *table, const char *data, const struct options *options,
			bool *first)
{
	double gb = (double)table->bytes / 1e9, verify[N_CORES];
	struct stored *stored = table->stored;
	struct line lines[BENCH_N_CODERS];
	size_t n = options->repetitions;

	for (unsigned c = 0; c < BENCH_N_CODERS; c++)
		lines[c] = (struct line) {
			.speedup = ratio(stored[BENCH_ZSTD].decode_s[0], stored[c].decode_s[0], n),
			.copy = ratio(stored[BENCH_MEMCPY].decode_s[1], stored[c].decode_s[1], n),
		};
	for (unsigned k = 0; k < N_CORES; k++)
		verify[k] = gb / median(table->verify_s[k], n);
	for (unsigned c = 0; c < BENCH_N_CODERS; c++) {
		struct line *line = &lines[c];

		line->data = data;
		line->dtype = gw_dtype_name(table->dtype);
		line->coder = bench_coders[c].name;
		line->percent =
			100 * (double)stored[c].offsets[table->n_blocks] / (double)table->bytes;
		line->encode = gb / stored[c].encode_s;
		for (unsigned k = 0; k < N_CORES; k++) {
			line->decode[k] = gb / median(stored[c].decode_s[k], n);
			line->verify[k] = verify[k];
		}
		print_line(line, options->json, first);
	}
	if (!options->json)
		printf("| %-7s | %-5s | %-16s | %6.2f%% |        |                 |               |"
		       "       |       |\n",
		       data, gw_dtype_name(table->dtype), "order-0 entropy",
		       entropy_percent(table));
}

static void measure(const struct bench_data *data, unsigned dtype, const struct options *options,
		    bool *first)
{
	struct table *table = calloc(1, sizeof *table);
	void *states[BENCH_N_CODERS][N_CORES];
	uint8_t *raw = NULL;

	if (!table || !(raw = bench_data_convert(data, dtype, &table->bytes)))
		fail("no memory", "data");
	table->dtype = dtype;
	table->n_blocks = (table->bytes + GW_BLOCK_BYTES - 1) / GW_BLOCK_BYTES;
	table->raw = memcpy(new_pages(table->bytes), raw, table->bytes);
	free(raw);
	table->out = new_pages(table->bytes);
	for (unsigned c = 0; c < BENCH_N_CODERS; c++) {
		encode(table, c);
		for (unsigned k = 0; k < N_CORES; k++)
			states[c][k] = bench_coders[c].start();
	}
	decode_all(table, 0, states, true);
	for (size_t i = 0; i < options->repetitions; i++)
		decode_all(table, i, states, false);
	print_table(table, data->name, options, first);
	fflush(stdout);
	for (unsigned c = 0; c < BENCH_N_CODERS; c++) {
		for (unsigned k = 0; k < N_CORES; k++)
			bench_coders[c].end(states[c][k]);
		munmap(table->stored[c].data, table->n_blocks * BENCH_ROOM);
		free(table->stored[c].offsets);
	}
	munmap(table->raw, table->bytes);
	munmap(table->out, table->bytes);
	free(table);
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
	struct options *options = state->input;
	struct gw_error error;

	switch (key) {
	case 'j':
		options->json = true;
		return 0;
	case 'w':
		bench_clock = CLOCK_MONOTONIC;
		return 0;
	case 'd':
		options->folder = argument;
		return 0;
	case 'n':
		if (tool_parse_u64(argument, "--repetitions", 1, MOST_REPETITIONS,
				   &options->repetitions, &error))
			argp_error(state, "%s", error.message);
		return 0;
	case ARGP_KEY_ARG:
		argp_usage(state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option option_list[] = {
	{ "json", 'j', NULL, 0, "One JSON array, of an object for each line of the table", 0 },
	{ "wall", 'w', NULL, 0, "Speeds by the clock, not by processor time", 0 },
	{ "data", 'd', "FOLDER", 0, "Trained weights, *.f32, beside a table like that of init", 0 },
	{ "repetitions", 'n', "N", 0, "Of each measurement; the median counts (11)", 0 },
	{ 0 },
};

int main(int argc, char **argv)
{
	static const struct argp argp = {
		option_list, parse, NULL, "Size and speed of compressed blocks beside others.",
		NULL,        NULL,  NULL
	};
	static const unsigned dtypes[] = { GW_F32, GW_F16, GW_BF16, GW_I8 };
	struct options options = { .repetitions = 11 };
	struct gw_error error = GW_ERROR_INIT;
	bool first = true;

	tool_start("bench-compress");
	argp_parse(&argp, argc, argv, 0, NULL, &options);
	if (!options.json)
		printf("| data | dtype | coder | size | encode, GB/s | decode, GB/s on 1 / 2 cores | verify,"
		       " GB/s on 1 / 2 cores | times zstd -3 | of memcpy, 2 cores |\n"
		       "|---|---|---|---|---|---|---|---|---|\n");
	for (unsigned set = options.folder ? 0 : 1; set < 2; set++) {
		struct bench_data data;
		int r = set == 0 ? bench_data_read(options.folder, &data, &error)
				 : bench_data_init(&data, &error);

		if (r)
			return tool_fail(NULL, &error);
		for (unsigned i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
			measure(&data, dtypes[i], &options, &first);
		free(data.values);
	}
	if (options.json)
		printf("\n]\n");
	return tool_finish(TOOL_DONE);
}
