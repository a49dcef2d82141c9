/* SPDX-License-Identifier: MIT */
/*
 * bench-embed SOCKET RAW PROSE: measures what it is told to, so that one driver (run.py) can take turns
 * between it and Python. Standard input, a line each: CANDIDATE MODEL BATCH SEQ IDS CALLS; standard
 * output: nanoseconds per call, or "none" where the candidate cannot do that. Some calls of the same kind
 * go before those that are timed, so that no candidate pays for what the one before it has left in the
 * caches (streaming stores leave nothing of out). Models are the daemon's, named f32, f16, bf16 and q8. RAW is written, the f32 model's two
 * tables as they are, wte before wpe, and mapped. PROSE, a file of int32 ids, may be "-".
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <gpt2client.h>

#include "tools/bench/loops.h"

#define MODELS 4
#define MAX_TOKENS (32 * 1024)
#define POOL (1 << 18) /* ids; more rows than any cache but the largest holds */
#define WARM_CALLS 3
#define HUGE_BYTES ((size_t)2 << 20)

struct bench {
	gpt2c_store *stores[MODELS];
	const float *wte, *wpe;     /* of f32, in the daemon's image */
	const float *raw;           /* the same two, as the raw file's mapping */
	size_t n_vocab, n_positions, n_embd;
	int32_t *uniform, *prose;   /* POOL each; prose may be NULL */
	float *out, *from;          /* MAX_TOKENS rows */
	const void **rows;          /* MAX_TOKENS */
	size_t at;                  /* where in the pool the next call's ids stand */
};

/* One call. */
struct task {
	gpt2c_store *store;
	const int32_t *ids;
	size_t batch, seq;
};

typedef void candidate(struct bench *bench, const struct task *task);

static const char *const models[MODELS] = { "f32", "f16", "bf16", "q8" };
static volatile float sink;

/* The second thread: waits, without sleeping, for a part to do. */
static struct {
	struct bench *bench;
	struct task task;
	atomic_uint asked, done;
} helper;

static void fail(const char *what)
{
	fprintf(stderr, "bench-embed: %s\n", what);
	exit(EXIT_FAILURE);
}

static void check(int result)
{
	if (result < 0)
		fail(gpt2c_strerror(result));
}

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Memory on huge pages where there are any, touched. */
static void *memory_new(size_t bytes)
{
	void *memory = NULL;

	bytes = (bytes + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
	if (posix_memalign(&memory, HUGE_BYTES, bytes))
		fail("no memory");
	madvise(memory, bytes, MADV_HUGEPAGE);
	memset(memory, 1, bytes);
	return memory;
}

static void *help(void *unused)
{
	(void)unused;
	for (unsigned seen = 0;; seen++) {
		while (atomic_load_explicit(&helper.asked, memory_order_acquire) == seen)
			;
		if (helper.task.store)
			check(gpt2c_embed_part(helper.task.store, helper.task.ids,
					       helper.task.batch, helper.task.seq, 0,
					       helper.bench->out, 1, 2, NULL));
		atomic_store_explicit(&helper.done, seen + 1, memory_order_release);
	}
	return NULL;
}

static void ask(struct bench *bench, const struct task *task)
{
	helper.bench = bench;
	helper.task = *task;
	atomic_fetch_add_explicit(&helper.asked, 1, memory_order_release);
}

static void await(void)
{
	unsigned asked = atomic_load_explicit(&helper.asked, memory_order_relaxed);

	while (atomic_load_explicit(&helper.done, memory_order_acquire) != asked)
		;
}

static void embed(struct bench *bench, const struct task *task)
{
	check(gpt2c_embed(task->store, task->ids, task->batch, task->seq, 0, bench->out, NULL));
}

static void embed_two(struct bench *bench, const struct task *task)
{
	ask(bench, task);
	check(gpt2c_embed_part(task->store, task->ids, task->batch, task->seq, 0, bench->out, 0, 2,
			       NULL));
	await();
}

static void read_out(struct bench *bench, const struct task *task)
{
	sink = bench_sum(bench->out, task->batch * task->seq * bench->n_embd);
}

static void embed_read(struct bench *bench, const struct task *task)
{
	embed(bench, task);
	read_out(bench, task);
}

static void embed_two_read(struct bench *bench, const struct task *task)
{
	embed_two(bench, task);
	read_out(bench, task);
}

/* From one core to the other and back. */
static void round_trip(struct bench *bench, const struct task *task)
{
	(void)task;
	ask(bench, &(struct task){ 0 });
	await();
}

static void encoder(struct bench *bench, const struct task *task)
{
	bench_encoder(bench->out, task->ids, bench->wte, bench->wpe, task->batch, task->seq,
		      bench->n_embd);
}

static void encoder_mmap(struct bench *bench, const struct task *task)
{
	bench_encoder(bench->out, task->ids, bench->raw, bench->raw + bench->n_vocab * bench->n_embd,
		      task->batch, task->seq, bench->n_embd);
}

static void copy(struct bench *bench, const struct task *task)
{
	memcpy(bench->out, bench->from, task->batch * task->seq * bench->n_embd * sizeof(float));
}

static void stream(struct bench *bench, const struct task *task)
{
	bench_stream(bench->out, bench->from, task->batch * task->seq * bench->n_embd);
}

static void rows(struct bench *bench, const struct task *task)
{
	check(gpt2c_rows(task->store, task->ids, task->batch * task->seq, bench->rows, NULL));
}

static void read_row(struct bench *bench, size_t i)
{
	sink = bench_sum(bench->rows[i], bench->n_embd);
}

/* Reads every row in place. */
static void rows_read(struct bench *bench, const struct task *task)
{
	rows(bench, task);
	for (size_t i = 0; i < task->batch * task->seq; i++)
		read_row(bench, i);
}

static void rows_prefetch_read(struct bench *bench, const struct task *task)
{
	const size_t ahead = 4;
	size_t n = task->batch * task->seq;

	rows(bench, task);
	for (size_t i = 0; i < n; i++) {
		if (i % ahead == 0 && i + ahead < n)
			check(gpt2c_prefetch(task->store, task->ids + i + ahead,
					     n - i - ahead < ahead ? n - i - ahead : ahead));
		read_row(bench, i);
	}
}

/* One and the same token, so that nothing but the call is in the way. */
static void hot_row(struct bench *bench, const struct task *task)
{
	(void)task;
	bench_row(bench->out, bench->wte, bench->wpe, bench->n_embd);
}

static void hot_embed(struct bench *bench, const struct task *task)
{
	static const int32_t id = 0;

	check(gpt2c_embed(task->store, &id, 1, 1, 0, bench->out, NULL));
}

/* all_models: not for f32 alone */
static const struct {
	const char *name;
	candidate *run;
	bool all_models;
} candidates[] = {
	{ "embed", embed, true },
	{ "embed-2", embed_two, true },
	{ "embed-read", embed_read, true },
	{ "embed-2-read", embed_two_read, true },
	{ "round-trip", round_trip, false },
	{ "encoder", encoder, false },
	{ "encoder-mmap", encoder_mmap, false },
	{ "memcpy", copy, false },
	{ "stream", stream, false },
	{ "rows", rows, true },
	{ "rows-read", rows_read, false },
	{ "rows-prefetch-read", rows_prefetch_read, false },
	{ "hot-row", hot_row, false },
	{ "hot-embed", hot_embed, false },
};

static const int32_t *next_ids(struct bench *bench, const int32_t *pool, size_t n)
{
	if (bench->at + n > POOL)
		bench->at = 0;
	bench->at += n;
	return pool + bench->at - n;
}

/* Nanoseconds per call; negative: it cannot. */
static double measure(struct bench *bench, const char *name, const char *model, size_t batch,
		      size_t seq, const int32_t *pool, size_t calls)
{
	struct task task = { .batch = batch, .seq = seq };
	size_t n = sizeof candidates / sizeof candidates[0], i = 0, m = 0;
	double start;

	while (i < n && strcmp(candidates[i].name, name) != 0)
		i++;
	while (m < MODELS && strcmp(models[m], model) != 0)
		m++;
	if (i == n || m == MODELS || !pool || (m > 0 && !candidates[i].all_models) ||
	    batch * seq > MAX_TOKENS)
		return -1;
	task.store = bench->stores[m];
	task.ids = next_ids(bench, pool, batch * seq);
	for (size_t call = 0; call < WARM_CALLS; call++)
		candidates[i].run(bench, &task);
	start = now_ns();
	for (size_t call = 0; call < calls; call++) {
		task.ids = next_ids(bench, pool, batch * seq);
		candidates[i].run(bench, &task);
	}
	return (now_ns() - start) / (double)calls;
}

static void serve(struct bench *bench)
{
	char name[64], model[64], ids[64];
	size_t batch, seq, calls;
	double ns;

	while (scanf("%63s %63s %zu %zu %63s %zu", name, model, &batch, &seq, ids, &calls) == 6) {
		ns = measure(bench, name, model, batch, seq,
			     strcmp(ids, "prose") == 0 ? bench->prose : bench->uniform, calls);
		if (ns < 0)
			printf("none\n");
		else
			printf("%.1f\n", ns);
		fflush(stdout);
	}
}

static void open_models(struct bench *bench, const char *socket)
{
	gpt2c_tensor wte = { .size = sizeof wte }, wpe = { .size = sizeof wpe };
	gpt2c_error error = GPT2C_ERROR_INIT;

	for (size_t m = 0; m < MODELS; m++)
		if (gpt2c_open(socket, models[m], &bench->stores[m], &error) < 0)
			fail(error.message);
	check(gpt2c_get_tensor(bench->stores[0], "wte.weight", &wte));
	check(gpt2c_get_tensor(bench->stores[0], "wpe.weight", &wpe));
	bench->wte = wte.data;
	bench->wpe = wpe.data;
	bench->n_vocab = wte.shape[0];
	bench->n_positions = wpe.shape[0];
	bench->n_embd = wte.shape[1];
	if (wte.row_bytes != bench->n_embd * sizeof(float) || wpe.row_bytes != wte.row_bytes)
		fail("the rows of f32 have padding");
}

static void write_raw(const struct bench *bench, const char *path)
{
	FILE *file = fopen(path, "we");
	size_t row = bench->n_embd * sizeof(float);

	if (!file || fwrite(bench->wte, row, bench->n_vocab, file) != bench->n_vocab ||
	    fwrite(bench->wpe, row, bench->n_positions, file) != bench->n_positions ||
	    fclose(file))
		fail(path);
}

/* Maps a whole file; its size in *out_bytes. */
static const void *map_file(const char *path, size_t *out_bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *at;

	if (fd < 0 || fstat(fd, &st) < 0)
		fail(path);
	*out_bytes = (size_t)st.st_size;
	at = mmap(NULL, *out_bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		fail(path);
	close(fd);
	return at;
}

static void fill_pools(struct bench *bench, const char *prose)
{
	uint64_t x = UINT64_C(88172645463325252);
	size_t bytes = 0;
	const int32_t *file = strcmp(prose, "-") == 0 ? NULL : map_file(prose, &bytes);

	bench->uniform = memory_new(POOL * sizeof *bench->uniform);
	bench->prose = file ? memory_new(POOL * sizeof *bench->prose) : NULL;
	for (size_t i = 0; i < POOL; i++) {
		/* xorshift64 */
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		bench->uniform[i] = (int32_t)(x % bench->n_vocab);
		if (file)
			bench->prose[i] = file[i % (bytes / sizeof *file)];
	}
}

int main(int argc, char **argv)
{
	struct bench bench = { 0 };
	size_t raw_bytes, out_bytes;
	pthread_t thread;

	if (argc != 4)
		fail("usage: bench-embed SOCKET RAW PROSE");
	open_models(&bench, argv[1]);
	write_raw(&bench, argv[2]);
	bench.raw = map_file(argv[2], &raw_bytes);
	fill_pools(&bench, argv[3]);
	out_bytes = MAX_TOKENS * bench.n_embd * sizeof *bench.out;
	bench.out = memory_new(out_bytes);
	bench.from = memory_new(out_bytes);
	bench.rows = memory_new(MAX_TOKENS * sizeof *bench.rows);
	if (pthread_create(&thread, NULL, help, NULL))
		fail("no thread");
	serve(&bench);
	/* the thread ends with the process */
	for (size_t m = 0; m < MODELS; m++)
		gpt2c_close(bench.stores[m]);
	return EXIT_SUCCESS;
}
