/* SPDX-License-Identifier: MIT */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/error.h"
#include "client/store.h"
#include "format/checked.h"

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

static int check_ids(const gpt2c_store *store, const int32_t *ids, size_t n, gpt2c_error *error)
{
	for (size_t i = 0; i < n; i++)
		if (ids[i] < 0 || (uint64_t)ids[i] >= store->wte.row_count)
			return gpt2c_fail(
				error, GPT2C_E_ID, (int64_t)i,
				"id %d of token %zu does not exist: the model has %llu ids "
				"(0 to %llu)",
				ids[i], i, (unsigned long long)store->wte.row_count,
				(unsigned long long)store->wte.row_count - 1);
	return GPT2C_OK;
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
	for (size_t i = 0; i < n; i++)
		if (positions[i] < 0 || (uint64_t)positions[i] >= store->wpe.row_count)
			return fail_position(store, positions[i], i, error);
	return GPT2C_OK;
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

int gpt2c_embed(const gpt2c_store *store, const int32_t *ids, size_t batch, size_t seq, size_t past,
		float *out, gpt2c_error *error)
{
	struct gpt2c_run run;
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
	run = (struct gpt2c_run){
		.out = out,
		.wte = store->wte,
		.wpe = store->wpe,
		.ids = ids,
		.n = n,
		.n_embd = store->n_embd,
		.first_position = past,
		.seq = seq,
	};
	gpt2c_kernels_run(store->kernels, &run);
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
		.n = n,
		.n_embd = store->n_embd,
		.positions = positions,
		.seq = 1,
	};
	if (positions)
		run.wpe = store->wpe;
	gpt2c_kernels_run(store->kernels, &run);
	return GPT2C_OK;
}
