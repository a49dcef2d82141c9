/* SPDX-License-Identifier: MIT */
/*
 * One of the quick start's two processes: quickstart-client SOCKET MODEL PACK.
 *
 * Attaches to the daemon, embeds ids [2,8], and compares every value with a loop of its own over
 * rows that it reads from the pack file, by FORMAT.md alone: it shares no code with the library.
 * Prints what it found as "name value" lines, then "ready"; on a line from standard input it prints
 * its private memory, and it ends when standard input does. So two of them can run at once.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <gpt2client.h>

#define BATCH 2
#define SEQ 8
#define MAX_EMBD 16384
/* The time to attach is the median of so many. */
#define ATTACHES 11
/* FORMAT.md: superblock, directory */
#define DIRECTORY_AT 8192
#define ENTRY_BYTES 384

/* A table in the pack file. */
struct table {
	unsigned dtype;
	uint64_t offset, row_bytes;
};

static void end(const char *what)
{
	fprintf(stderr, "quickstart-client: %s\n", what);
	exit(EXIT_FAILURE);
}

static uint64_t get(const unsigned char *bytes, int n)
{
	return n ? bytes[0] | get(bytes + 1, n - 1) << 8 : 0;
}

static struct table find_table(int fd, const char *name)
{
	unsigned char entry[ENTRY_BYTES], n_tensors[4];
	struct table table = { 0 };

	if (pread(fd, n_tensors, sizeof n_tensors, 56) != sizeof n_tensors)
		end("cannot read the pack");
	for (uint64_t i = 0; i < get(n_tensors, 4); i++) {
		if (pread(fd, entry, ENTRY_BYTES, (off_t)(DIRECTORY_AT + i * ENTRY_BYTES)) !=
		    ENTRY_BYTES)
			end("cannot read the pack's directory");
		if (strncmp((char *)entry, name, 256) != 0)
			continue;
		table.dtype = entry[256];
		table.row_bytes = get(entry + 328, 8);
		table.offset = get(entry + 336, 8);
	}
	return table;
}

static float widen(const unsigned char *at, unsigned dtype)
{
	uint32_t bits = (uint32_t)get(at, dtype == GPT2C_F32 ? 4 : 2);
	int exponent = (int)(bits >> 10 & 0x1f);
	float value;

	if (dtype == GPT2C_F16) {
		value = exponent == 0x1f ? (bits & 0x3ff ? NAN : INFINITY)
			: exponent       ? ldexpf((float)(bits & 0x3ff) + 1024, exponent - 25)
					 : ldexpf((float)(bits & 0x3ff), -24);
		return bits & 0x8000 ? -value : value;
	}
	bits = dtype == GPT2C_BF16 ? bits << 16 : bits;
	memcpy(&value, &bits, sizeof value);
	return value;
}

static void read_row(int fd, const struct table *table, uint64_t row, size_t n, float *out)
{
	static unsigned char bytes[MAX_EMBD * 4];
	unsigned width = table->dtype == GPT2C_F32 ? 4 : 2;

	if (pread(fd, bytes, n * width, (off_t)(table->offset + row * table->row_bytes)) !=
	    (ssize_t)(n * width))
		end("cannot read a row of the pack");
	for (size_t i = 0; i < n; i++)
		out[i] = widen(bytes + i * width, table->dtype);
}

/* Values of out, [BATCH, SEQ, n_embd], that differ in any bit from the loop's. */
static uint64_t compare(const char *pack, const int32_t *ids, size_t n_embd, const float *out)
{
	static float token[MAX_EMBD], position[MAX_EMBD];
	struct table wte, wpe;
	uint64_t n_different = 0;
	int fd = open(pack, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		end("cannot open the pack");
	wte = find_table(fd, "wte.weight");
	wpe = find_table(fd, "wpe.weight");
	if (wte.dtype < GPT2C_F32 || wte.dtype > GPT2C_BF16 || wpe.dtype > GPT2C_BF16)
		end("the pack has no wte.weight of a type known here");
	for (size_t i = 0; i < BATCH * SEQ; i++) {
		read_row(fd, &wte, (uint64_t)ids[i], n_embd, token);
		if (wpe.dtype)
			read_row(fd, &wpe, i % SEQ, n_embd, position);
		for (size_t j = 0; j < n_embd; j++) {
			float sum = wpe.dtype ? token[j] + position[j] : token[j];

			n_different += memcmp(&sum, &out[i * n_embd + j], sizeof sum) != 0;
		}
	}
	close(fd);
	return n_different;
}

/* Memory that this process shares with nobody, from /proc/self/smaps_rollup. */
static uint64_t private_bytes(void)
{
	FILE *file = fopen("/proc/self/smaps_rollup", "re");
	char line[256];
	uint64_t total = 0, kib;

	while (file && fgets(line, sizeof line, file))
		if (sscanf(line, "Private_Clean: %" SCNu64, &kib) == 1 ||
		    sscanf(line, "Private_Dirty: %" SCNu64, &kib) == 1)
			total += kib * 1024;
	if (file)
		fclose(file);
	return total;
}

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static int compare_times(const void *a, const void *b)
{
	const uint64_t *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

/* Attaches some times, keeps the last store, and returns the median time. */
static uint64_t attach(const char *socket_path, const char *model, gpt2c_store **out_store)
{
	gpt2c_error error = GPT2C_ERROR_INIT;
	uint64_t times_us[ATTACHES];

	for (int i = 0; i < ATTACHES; i++) {
		gpt2c_close(*out_store);
		*out_store = NULL;
		times_us[i] = now_us();
		if (gpt2c_open(socket_path, model, out_store, &error))
			end(error.message);
		times_us[i] = now_us() - times_us[i];
	}
	qsort(times_us, ATTACHES, sizeof times_us[0], compare_times);
	return times_us[ATTACHES / 2];
}

/* "Hello, I'm a language model," and "The quick brown fox jumps over the lazy" in GPT-2's encoding;
 * folded into smaller vocabularies. */
static void choose_ids(uint64_t n_vocab, int32_t *out)
{
	static const int32_t ids[BATCH * SEQ] = {
		15496, 11,   314,  1101,  257,   3303, 2746, 11,
		464,   2068, 7586, 21831, 18045, 625,  262,  16931,
	};

	for (size_t i = 0; i < BATCH * SEQ; i++)
		out[i] = (int32_t)((uint64_t)ids[i] % n_vocab);
}

/* Waits until the other process is ready too, measures while both hold the tables, waits again. */
static void hold(void)
{
	char line[16];

	puts("ready");
	fflush(stdout);
	if (!fgets(line, sizeof line, stdin))
		end("nobody waits for me");
	printf("private_bytes %" PRIu64 "\nmeasured\n", private_bytes());
	fflush(stdout);
	while (fgets(line, sizeof line, stdin))
		;
}

int main(int argc, char **argv)
{
	gpt2c_error error = GPT2C_ERROR_INIT;
	gpt2c_info info = { .size = sizeof info };
	gpt2c_store *store = NULL;
	int32_t ids[BATCH * SEQ];
	uint64_t attach_us;
	float *out;

	if (argc != 4)
		end("usage: quickstart-client SOCKET MODEL PACK");
	attach_us = attach(argv[1], argv[2], &store);
	gpt2c_get_info(store, &info);
	out = info.n_embd <= MAX_EMBD ? malloc(BATCH * SEQ * info.n_embd * sizeof *out) : NULL;
	if (!out)
		end("no memory, or vectors too wide for this program");
	choose_ids(info.n_vocab, ids);
	if (gpt2c_embed(store, ids, BATCH, SEQ, 0, out, &error))
		end(error.message);
	printf("attach_us %" PRIu64 "\nimage_bytes %" PRIu64 "\nn_vocab %" PRIu64 "\n", attach_us,
	       info.image_bytes, info.n_vocab);
	printf("shape ids [%d,%d] -> [%d,%d,%" PRIu64 "]\n", BATCH, SEQ, BATCH, SEQ, info.n_embd);
	printf("sealed %d\n", (info.flags & GPT2C_INFO_SEALED) != 0);
	printf("first %.6f %.6f %.6f\n", (double)out[0], (double)out[1], (double)out[2]);
	printf("values %" PRIu64 "\ndifferent %" PRIu64 "\n", BATCH * SEQ * info.n_embd,
	       compare(argv[3], ids, info.n_embd, out));
	hold();
	free(out);
	gpt2c_close(store);
	return EXIT_SUCCESS;
}
