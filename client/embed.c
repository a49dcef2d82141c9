/* SPDX-License-Identifier: MIT */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/error.h"
#include "client/part.h"
#include "client/store.h"
#include "format/checked.h"

/* Rows start on such a boundary, and end before one. */
#define LINE_BYTES 64

/* A range of the caller's memory. */
struct gpt2c_span {
	uintptr_t start;
	uint64_t size_bytes;
};

static struct gpt2c_span span_of(const void *start, uint64_t size_bytes)
{
	return (struct gpt2c_span){ .start = (uintptr_t)start, .size_bytes = size_bytes };
}

static bool spans_overlap(struct gpt2c_span a, struct gpt2c_span b)
{
	return a.start < b.start ? b.start - a.start < a.size_bytes
				 : a.start - b.start < b.size_bytes;
}

static bool aligned(const void *p, size_t bytes)
{
	return (uintptr_t)p % bytes == 0;
}

/* n tokens of element_bytes each. No object is larger than PTRDIFF_MAX. */
static int check_size(uint64_t n, uint64_t element_bytes, uint64_t *out_bytes, gpt2c_error *error)
{
	uint64_t bytes;

	if (n == 0)
		return gpt2c_fail(error, GPT2C_E_SIZE, -1, "there are no tokens");
	if (!gw_mul(n, element_bytes, &bytes) || bytes > PTRDIFF_MAX)
		return gpt2c_fail(error, GPT2C_E_SIZE, -1,
				  "%llu tokens of %llu bytes are more than any array holds",
				  (unsigned long long)n, (unsigned long long)element_bytes);
	*out_bytes = bytes;
	return GPT2C_OK;
}

/* out: what is written, in elements of out_align bytes; in (may be NULL): n int32_t that are
 * read. */
static int check_arrays(struct gpt2c_span out, size_t out_align, const int32_t *in, size_t n,
			const char *name, gpt2c_error *error)
{
	if (!out.start || out.start % out_align != 0)
		return gpt2c_fail(error, GPT2C_E_ARGUMENT, -1, "the output is NULL or not aligned");
	if (!aligned(in, sizeof *in))
		return gpt2c_fail(error, GPT2C_E_ARGUMENT, -1, "%s is not aligned", name);
	/* writing would change what has been checked */
	if (in && spans_overlap(out, span_of(in, n * sizeof *in)))
		return gpt2c_fail(error, GPT2C_E_ARGUMENT, -1, "the output overlaps %s", name);
	return GPT2C_OK;
}

static size_t first_not_below(const int32_t *values, size_t n, uint64_t count)
{
	size_t i = 0;

	while (i < n && values[i] >= 0 && (uint64_t)values[i] < count)
		i++;
	return i;
}

static int check_ids(const gpt2c_store *store, const int32_t *ids, size_t n, gpt2c_error *error)
{
	unsigned long long count = store->wte.row_count;
	size_t at;

	if (store->kernels->largest(ids, n) < count)
		return GPT2C_OK;
	at = first_not_below(ids, n, count);
	return gpt2c_fail(error, GPT2C_E_ID, (int64_t)at,
			  "id %d of token %zu does not exist: the model has %llu ids (0 to %llu)",
			  ids[at], at, count, count - 1);
}

static int fail_position(const gpt2c_store *store, long long position, size_t token,
			 gpt2c_error *error)
{
	unsigned long long count = store->wpe.row_count;

	if (count == 0)
		return gpt2c_fail(error, GPT2C_E_POSITION, (int64_t)token,
				  "position %lld of token %zu does not exist: the model has no "
				  "position table; positions must be NULL",
				  position, token);
	return gpt2c_fail(error, GPT2C_E_POSITION, (int64_t)token,
			  "position %lld of token %zu does not exist: the model has %llu positions "
			  "(0 to %llu)",
			  position, token, count, count - 1);
}

static int check_positions(const gpt2c_store *store, const int32_t *positions, size_t n,
			   gpt2c_error *error)
{
	size_t at;

	if (store->kernels->largest(positions, n) < store->wpe.row_count)
		return GPT2C_OK;
	at = first_not_below(positions, n, store->wpe.row_count);
	return fail_position(store, positions[at], at, error);
}

/* Positions past to past + seq - 1, of which the first that does not exist is reported. */
static int check_past(const gpt2c_store *store, size_t past, size_t seq, gpt2c_error *error)
{
	uint64_t count = store->wpe.row_count;

	if (past < count && seq <= count - past)
		return GPT2C_OK;
	if (past < count)
		return fail_position(store, (long long)count, (size_t)(count - past), error);
	if (past > INT64_MAX)
		return gpt2c_fail(error, GPT2C_E_POSITION, 0,
				  "position %zu of token 0 does not exist: the model has %llu "
				  "positions (0 to %llu)",
				  past, (unsigned long long)count, (unsigned long long)count - 1);
	return fail_position(store, (long long)past, 0, error);
}

static int fail_null(const char *name, gpt2c_error *error)
{
	return gpt2c_fail(error, GPT2C_E_ARGUMENT, -1, "%s is NULL", name);
}

int gpt2c_rows(const gpt2c_store *store, const int32_t *ids, size_t n, const void **out_rows,
	       gpt2c_error *error)
{
	uint64_t out_bytes = 0;
	int result;

	if (!gpt2c_error_usable(error))
		return GPT2C_E_ARGUMENT;
	if (!store)
		return fail_null("store", error);
	result = check_size(n, sizeof *out_rows, &out_bytes, error);
	if (result < 0)
		return result;
	if (!ids)
		return fail_null("ids", error);
	result = check_arrays(span_of(out_rows, out_bytes), _Alignof(const void *), ids, n, "ids",
			      error);
	if (result == 0)
		result = check_ids(store, ids, n, error);
	if (result < 0)
		return result;
	for (size_t i = 0; i < n; i++)
		out_rows[i] = store->wte.rows + (size_t)ids[i] * store->wte.row_bytes;
	return GPT2C_OK;
}

int gpt2c_prefetch(const gpt2c_store *store, const int32_t *ids, size_t n)
{
	const struct gpt2c_table *wte;

	if (!store || (!ids && n > 0) || !aligned(ids, sizeof *ids))
		return GPT2C_E_ARGUMENT;
	wte = &store->wte;
	if (n > 0 && store->kernels->largest(ids, n) >= wte->row_count)
		return GPT2C_E_ID;
	for (size_t i = 0; i < n; i++) {
		const uint8_t *row = wte->rows + (size_t)ids[i] * wte->row_bytes;

		if (wte->scales)
			__builtin_prefetch(wte->scales + ids[i], 0, 2);
		for (size_t at = 0; at < wte->row_bytes; at += LINE_BYTES)
			__builtin_prefetch(row + at, 0, 2);
	}
	return GPT2C_OK;
}

/* Whether an output of that size is to be stored past the caches. */
static bool streams(const gpt2c_store *store, uint64_t out_bytes)
{
	return out_bytes > store->stream_above && store->n_embd % GPT2C_STREAM_FLOATS == 0;
}

/* What both forms of the forward pass check of n tokens before they look at positions. */
static int check_tokens(const gpt2c_store *store, const int32_t *ids, size_t n, const float *out,
			uint64_t *out_bytes, gpt2c_error *error)
{
	int result = check_size(n, store->n_embd * sizeof *out, out_bytes, error);

	if (result < 0)
		return result;
	if (!ids)
		return fail_null("ids", error);
	result = check_arrays(span_of(out, *out_bytes), _Alignof(float), ids, n, "ids", error);
	return result < 0 ? result : check_ids(store, ids, n, error);
}

/* The forward pass of [batch, seq] tokens, checked; in out_run. */
static int prepare(const gpt2c_store *store, const int32_t *ids, size_t batch, size_t seq,
		   size_t past, float *out, struct gpt2c_run *out_run, gpt2c_error *error)
{
	uint64_t n, out_bytes = 0;
	int result;

	if (!gpt2c_error_usable(error))
		return GPT2C_E_ARGUMENT;
	if (!store)
		return fail_null("store", error);
	if (!gw_mul(batch, seq, &n))
		return gpt2c_fail(error, GPT2C_E_SIZE, -1,
				  "%zu sequences of %zu tokens are more than any array holds",
				  batch, seq);
	result = check_tokens(store, ids, n, out, &out_bytes, error);
	if (result == 0 && store->wpe.rows)
		result = check_past(store, past, seq, error);
	if (result < 0)
		return result;
	*out_run = (struct gpt2c_run){
		.out = out,
		.wte = store->wte,
		.wpe = store->wpe,
		.ids = ids,
		.batch = batch,
		.seq = seq,
		.stride = seq,
		.n_embd = store->n_embd,
		.first_position = past,
		.stream = streams(store, out_bytes),
	};
	return GPT2C_OK;
}

int gpt2c_embed(const gpt2c_store *store, const int32_t *ids, size_t batch, size_t seq, size_t past,
		float *out, gpt2c_error *error)
{
	struct gpt2c_run run;
	int result = prepare(store, ids, batch, seq, past, out, &run, error);

	if (result == 0)
		gpt2c_kernels_run(store->kernels, &run);
	return result;
}

int gpt2c_embed_part(const gpt2c_store *store, const int32_t *ids, size_t batch, size_t seq,
		     size_t past, float *out, size_t part, size_t n_parts, gpt2c_error *error)
{
	struct gpt2c_run run;
	int result = prepare(store, ids, batch, seq, past, out, &run, error);

	if (result < 0)
		return result;
	if (part >= n_parts)
		return gpt2c_fail(error, GPT2C_E_ARGUMENT, -1, "there is no part %zu of %zu", part,
				  n_parts);
	gpt2c_part_run(store->kernels, &run, part, n_parts);
	return GPT2C_OK;
}

int gpt2c_embed_at(const gpt2c_store *store, const int32_t *ids, const int32_t *positions, size_t n,
		   float *out, gpt2c_error *error)
{
	struct gpt2c_run run;
	uint64_t out_bytes = 0;
	int result;

	if (!gpt2c_error_usable(error))
		return GPT2C_E_ARGUMENT;
	if (!store)
		return fail_null("store", error);
	result = check_tokens(store, ids, n, out, &out_bytes, error);
	if (result == 0 && positions)
		result = check_arrays(span_of(out, out_bytes), _Alignof(float), positions, n,
				      "positions", error);
	if (result == 0 && positions)
		result = check_positions(store, positions, n, error);
	if (result < 0)
		return result;
	run = (struct gpt2c_run){
		.out = out,
		.wte = store->wte,
		.ids = ids,
		.batch = 1,
		.seq = n,
		.stride = n,
		.n_embd = store->n_embd,
		.positions = positions,
		.stream = streams(store, out_bytes),
	};
	if (positions)
		run.wpe = store->wpe;
	gpt2c_kernels_run(store->kernels, &run);
	return GPT2C_OK;
}
