/* SPDX-License-Identifier: MIT */
/*
 * embed_loop SOCKET MODEL FILE DTYPE WTE_AT WPE_AT N_VOCAB N_POSITIONS N_EMBD IDS: computes embeddings
 * through the library and compares them bit for bit with a plain loop over the raw tables, elements of
 * DTYPE (F32, F16, BF16) at those offsets of FILE, which share nothing with the library. IDS: int32.
 * Of a NaN only that it is one is compared. Says what it compared; the first difference ends it with 1.
 */
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gpt2client.h>

#define SEQ 1024

struct table {
	unsigned char *bytes; /* row-major, without padding, little-endian */
	unsigned element_bytes;
	float (*element)(const unsigned char *at);
};

struct reference {
	struct table wte, wpe;
	size_t n_vocab, n_positions, n_embd;
};

static float float_of(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof value);
	return value;
}

static float element_f32(const unsigned char *at)
{
	return float_of((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
			(uint32_t)at[3] << 24);
}

static float element_bf16(const unsigned char *at)
{
	return float_of((uint32_t)at[0] << 16 | (uint32_t)at[1] << 24);
}

/* By the definition of binary16, IEEE 754-2008, 3.4. */
static float element_f16(const unsigned char *at)
{
	unsigned bits = at[0] | (unsigned)at[1] << 8, exponent = bits >> 10 & 31;
	float fraction = (float)(bits & 1023), sign = bits >> 15 ? -1.0f : 1.0f;

	if (exponent == 0)
		return sign * ldexpf(fraction, -24);
	if (exponent == 31)
		return fraction != 0 ? NAN : sign * INFINITY;
	return sign * ldexpf(1024 + fraction, (int)exponent - 25);
}

static float at(const struct table *table, size_t n_embd, size_t row, size_t column)
{
	return table->element(table->bytes + (row * n_embd + column) * table->element_bytes);
}

static bool read_table(FILE *file, const char *dtype, const char *offset, size_t elements,
		       struct table *out)
{
	out->element = strcmp(dtype, "F32") == 0   ? element_f32 :
		       strcmp(dtype, "F16") == 0   ? element_f16 :
						     element_bf16;
	out->element_bytes = out->element == element_f32 ? 4 : 2;
	out->bytes = malloc(elements * out->element_bytes);
	return out->bytes && fseek(file, strtol(offset, NULL, 10), SEEK_SET) == 0 &&
	       fread(out->bytes, out->element_bytes, elements, file) == elements;
}

/* positions NULL: none is added. */
static bool equal(const struct reference *reference, const char *what, const int32_t *ids,
		  const int32_t *positions, size_t n, const float *out)
{
	const size_t n_embd = reference->n_embd;

	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < n_embd; j++) {
			float sum = at(&reference->wte, n_embd, (size_t)ids[i], j);
			const float *got = out + i * n_embd + j;

			if (positions)
				sum += at(&reference->wpe, n_embd, (size_t)positions[i], j);
			if (memcmp(&sum, got, sizeof sum) != 0 && !(isnan(sum) && isnan(*got))) {
				fprintf(stderr, "embed_loop: %s: token %zu (id %" PRId32 "), "
						"element %zu: %a instead of %a\n",
					what, i, ids[i], j, (double)*got, (double)sum);
				return false;
			}
		}
	}
	printf("%s: %zu tokens\n", what, n);
	return true;
}

/* batch sequences of seq tokens in one call. */
static bool try_embed(const gpt2c_store *store, const struct reference *reference,
		      const char *what, const int32_t *ids, size_t batch, size_t seq, size_t past)
{
	gpt2c_error error = GPT2C_ERROR_INIT;
	float *out = malloc(batch * seq * reference->n_embd * sizeof *out);
	int32_t *positions = malloc(batch * seq * sizeof *positions);
	bool right = false;

	if (!out || !positions || gpt2c_embed(store, ids, batch, seq, past, out, &error)) {
		fprintf(stderr, "embed_loop: %s: %s\n", what, error.message);
	} else {
		for (size_t i = 0; i < batch * seq; i++)
			positions[i] = (int32_t)(past + i % seq);
		right = equal(reference, what, ids, positions, batch * seq, out);
	}
	free(positions);
	free(out);
	return right;
}

/* One position per token, in no order; none: token embeddings alone. */
static bool try_embed_at(const gpt2c_store *store, const struct reference *reference,
			 const char *what, const int32_t *ids, bool with_positions, size_t n)
{
	gpt2c_error error = GPT2C_ERROR_INIT;
	float *out = malloc(n * reference->n_embd * sizeof *out);
	int32_t *positions = malloc(n * sizeof *positions);
	bool right = false;

	if (!out || !positions)
		return false;
	for (size_t i = 0; i < n; i++) /* a stride that is prime to both sizes in use */
		positions[i] = (int32_t)(i * 7919 % reference->n_positions);
	if (gpt2c_embed_at(store, ids, with_positions ? positions : NULL, n, out, &error))
		fprintf(stderr, "embed_loop: %s: %s\n", what, error.message);
	else
		right = equal(reference, what, ids, with_positions ? positions : NULL, n, out);
	free(positions);
	free(out);
	return right;
}

static bool try_all(const gpt2c_store *store, const struct reference *reference,
		    const int32_t *ids, size_t n)
{
	return try_embed(store, reference, "all, in one call", ids, n / SEQ, SEQ, 0) &&
	       try_embed(store, reference, "past 517", ids, 8, reference->n_positions - 517, 517) &&
	       try_embed(store, reference, "sequences of one", ids, 2000, 1, 0) &&
	       try_embed(store, reference, "sequences of one, past 1023", ids, 2000, 1, 1023) &&
	       try_embed_at(store, reference, "a position per token", ids, true, 5000) &&
	       try_embed_at(store, reference, "no positions", ids, false, 5000);
}

static int32_t *read_ids(const char *path, size_t *out_n)
{
	FILE *file = fopen(path, "rb");
	int32_t *ids = NULL;
	long bytes;

	if (!file)
		return NULL;
	if (fseek(file, 0, SEEK_END) == 0 && (bytes = ftell(file)) > 0 &&
	    (ids = malloc((size_t)bytes)) && fseek(file, 0, SEEK_SET) == 0)
		*out_n = fread(ids, sizeof *ids, (size_t)bytes / sizeof *ids, file);
	fclose(file);
	return ids;
}

int main(int argc, char **argv)
{
	gpt2c_error error = GPT2C_ERROR_INIT;
	struct reference reference;
	gpt2c_store *store;
	size_t n = 0;
	int32_t *ids;
	FILE *file;
	bool right;

	if (argc != 11 || !(file = fopen(argv[3], "rb")) || !(ids = read_ids(argv[10], &n)))
		return 2;
	reference = (struct reference){ .n_vocab = strtoul(argv[7], NULL, 10),
					.n_positions = strtoul(argv[8], NULL, 10),
					.n_embd = strtoul(argv[9], NULL, 10) };
	if (!read_table(file, argv[4], argv[5], reference.n_vocab * reference.n_embd,
			&reference.wte) ||
	    !read_table(file, argv[4], argv[6], reference.n_positions * reference.n_embd,
			&reference.wpe)) {
		fprintf(stderr, "embed_loop: cannot read the tables\n");
		return 1;
	}
	fclose(file);
	if (gpt2c_open(argv[1], argv[2], &store, &error)) {
		fprintf(stderr, "embed_loop: %s\n", error.message);
		return 1;
	}
	right = try_all(store, &reference, ids, n);
	gpt2c_close(store);
	free(reference.wte.bytes);
	free(reference.wpe.bytes);
	free(ids);
	return right ? 0 : 1;
}
