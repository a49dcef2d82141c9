/* SPDX-License-Identifier: MIT */
/*
 * The twenty kernels of one set. Included once by each kernels_<set>.c, which has defined
 *   KERNELS             the name of its struct gpt2c_kernels
 *   KERNELS_NAME        its name as a string
 *   LANES               floats in a VECTOR; divides GPT2C_STREAM_FLOATS
 *   VECTOR              a type of LANES floats
 *   LANES_IN_C          if its functions are many instructions each
 *   vector_f32(p), vector_f16(p), vector_bf16(p), vector_i8(p)
 *                       LANES elements from p, of any alignment, as floats
 *   vector_scale(v, float scale), vector_add(a, b)   each rounded: never one FMA of both
 *   vector_store(float *p, VECTOR v), vector_stream(float *p, VECTOR v)
 *                       the latter past the caches, p on a boundary of a VECTOR
 *   stream_end()        orders what was streamed before all later stores
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "client/kernels.h"
#include "format/dtype.h"

/*
 * Past the caches, tokens that are worked on together, and so brought closer together, one block ahead:
 * the core then has several random rows in flight. Measured with random rows of f32 on a Xeon of 2 MiB L2,
 * against one token at a time with rows 4 ahead: 1.02 to 1.12 times as fast.
 */
#define BLOCK 4
/*
 * Into the caches, one token at a time, with the row of the one so many later brought closer, and the next
 * one's out. In blocks of 4 the same rows took as long when they were random, but 1.1 to 1.9 times as long
 * when they were in the caches already, as those of prose are: 8 places that are read and 4 that are
 * written, at distances of 3 KiB, get into each other's way.
 */
#define AHEAD 4
#define LINE_BYTES 64
/* Elements of each of the block's rows between two groups of prefetches: two cache lines, of int8 one.
 * Single lines of f32 and whole rows were slower. */
#define STEP(dtype) ((size_t)((dtype) == GW_F32 ? 32 : 64))

#define INLINE static inline __attribute__((always_inline))

/* Before a loop over the tokens of a block: whole, so that their pointers need not be looked up. */
#ifdef LANES_IN_C
#define UNROLL
#elif defined __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 4")
#endif

/* One row of a table. */
struct row {
	const uint8_t *bytes;
	float scale; /* of GW_I8 */
};

/* One token: where it goes, and the rows it is the sum of; b only if there is a wpe. */
struct token {
	float *out;
	struct row a, b;
};

/* The token to come, 0 … seq-1 of sequence 0 … batch-1. */
struct cursor {
	size_t sequence, in_sequence;
};

INLINE struct row row_at(const struct gpt2c_table *table, size_t index)
{
	return (struct row){ .bytes = table->rows + index * table->row_bytes,
			     .scale = table->scales ? table->scales[index] : 1 };
}

INLINE VECTOR load_vector(struct row row, size_t i, unsigned dtype)
{
	switch (dtype) {
	case GW_F32:
		return vector_f32((const float *)(const void *)row.bytes + i);
	case GW_F16:
		return vector_f16((const uint16_t *)(const void *)row.bytes + i);
	case GW_BF16:
		return vector_bf16((const uint16_t *)(const void *)row.bytes + i);
	default:
		return vector_scale(vector_i8((const int8_t *)row.bytes + i), row.scale);
	}
}

INLINE float load_element(struct row row, size_t i, unsigned dtype)
{
	switch (dtype) {
	case GW_F32:
		return ((const float *)(const void *)row.bytes)[i];
	case GW_F16:
		return gw_f16_to_f32(((const uint16_t *)(const void *)row.bytes)[i]);
	case GW_BF16:
		return gw_bf16_to_f32(((const uint16_t *)(const void *)row.bytes)[i]);
	default:
		return (float)((const int8_t *)row.bytes)[i] * row.scale;
	}
}

/* LANES elements from i on. wpe_dtype GW_DTYPE_NONE: b is not looked at. */
INLINE VECTOR embed_vector(struct token token, size_t i, unsigned wte_dtype, unsigned wpe_dtype)
{
	VECTOR v = load_vector(token.a, i, wte_dtype);

	return wpe_dtype == GW_DTYPE_NONE ? v : vector_add(v, load_vector(token.b, i, wpe_dtype));
}

/* The same of the elements from `from` up to `to` alone, fewer than LANES, out of the vector at i. */
INLINE void embed_some(struct token token, size_t i, size_t from, size_t to, unsigned wte_dtype,
		       unsigned wpe_dtype)
{
	float values[LANES];

	vector_store(values, embed_vector(token, i, wte_dtype, wpe_dtype));
	memcpy(token.out + from, values + (from - i), (to - from) * sizeof values[0]);
}

INLINE void embed_store(struct token token, size_t i, unsigned wte_dtype, unsigned wpe_dtype,
			bool stream)
{
	VECTOR v = embed_vector(token, i, wte_dtype, wpe_dtype);

	if (stream)
		vector_stream(token.out + i, v);
	else
		vector_store(token.out + i, v);
}

/* What follows the steps: fewer elements than a step has from i on, of a row of LANES or more. */
INLINE void embed_rest(struct token token, size_t i, size_t n, unsigned wte_dtype,
		       unsigned wpe_dtype, bool stream)
{
	for (; i + LANES <= n; i += LANES)
		embed_store(token, i, wte_dtype, wpe_dtype, stream);
	if (i < n)
		embed_some(token, n - LANES, i, n, wte_dtype, wpe_dtype);
}

/* STEP elements of a row from element i on, of which ahead, unless NULL, is brought into L2 (locality 2,
 * PREFETCHT1): into L1 the core runs out of outstanding misses. out_ahead, unless NULL, is brought closer
 * as what will be written (PREFETCHW). */
INLINE void embed_step(struct token token, const uint8_t *ahead, const float *out_ahead, size_t i,
		       unsigned wte_dtype, unsigned wpe_dtype, bool stream)
{
	const size_t element_bytes = gw_dtype_bytes(wte_dtype);

	for (size_t at = 0; ahead && at < STEP(wte_dtype) * element_bytes; at += LINE_BYTES)
		__builtin_prefetch(ahead + i * element_bytes + at, 0, 2);
	for (size_t v = 0; out_ahead && v < STEP(wte_dtype); v += LINE_BYTES / sizeof(float))
		__builtin_prefetch(out_ahead + i + v, 1, 2);
	for (size_t v = 0; v < STEP(wte_dtype); v += LANES)
		embed_store(token, i + v, wte_dtype, wpe_dtype, stream);
}

/*
 * out[n] = a[n] + b[n] of count tokens, a constant, with the rows of as many tokens ahead (NULL: none)
 * brought closer meanwhile, and out_ahead (NULL: nothing), of n elements. The first head elements are those
 * before out's first whole vector. n is at least LANES.
 */
INLINE void embed_block(const struct token *tokens, const struct token *ahead, const size_t count,
			const float *out_ahead, size_t head, size_t n, unsigned wte_dtype,
			unsigned wpe_dtype, bool stream)
{
	const size_t element_bytes = gw_dtype_bytes(wte_dtype);
	const size_t step = STEP(wte_dtype);
	struct token here[BLOCK]; /* out cannot overlap it, as far as the compiler knows */
	const uint8_t *next[BLOCK];
	size_t i = head;

	UNROLL
	for (size_t k = 0; k < count; k++) {
		here[k] = tokens[k];
		next[k] = ahead ? ahead[k].a.bytes : NULL;
	}
	for (size_t k = 0; head && k < count; k++)
		embed_some(tokens[k], 0, 0, head, wte_dtype, wpe_dtype);
	for (; i + step <= n; i += step) {
		UNROLL
		for (size_t k = 0; k < count; k++)
			embed_step(here[k], ahead ? next[k] : NULL, out_ahead, i, wte_dtype,
				   wpe_dtype, stream);
	}
	for (size_t k = 0; i < n && k < count; k++) {
		for (size_t at = i * element_bytes / LINE_BYTES * LINE_BYTES;
		     ahead && at < n * element_bytes; at += LINE_BYTES)
			__builtin_prefetch(ahead[k].a.bytes + at, 0, 2);
		embed_rest(tokens[k], i, n, wte_dtype, wpe_dtype, stream);
	}
}

/*
 * The count tokens at the cursor, which moves on. Into the caches: along a sequence. Past them: all
 * sequences' tokens of one position, whose row of wpe then stays in L1; that has out written in as many
 * places at once, which only streaming stores do not mind (those places share the sets of a cache).
 */
static void next_tokens(const struct gpt2c_run *run, struct cursor *at, struct token *tokens,
			size_t count)
{
	for (size_t k = 0; k < count; k++) {
		size_t index = at->sequence * run->stride + at->in_sequence;
		size_t position = run->positions ? (size_t)run->positions[at->in_sequence]
						 : run->first_position + at->in_sequence;

		tokens[k].out = run->out + index * run->n_embd;
		tokens[k].a = row_at(&run->wte, (size_t)run->ids[index]);
		if (run->wpe.rows)
			tokens[k].b = row_at(&run->wpe, position);
		if (run->stream && ++at->sequence == run->batch)
			*at = (struct cursor){ .in_sequence = at->in_sequence + 1 };
		if (!run->stream && ++at->in_sequence == run->seq)
			*at = (struct cursor){ .sequence = at->sequence + 1 };
	}
}

/* Into the caches. */
INLINE void embed_cached(const struct gpt2c_run *run, unsigned wte_dtype, unsigned wpe_dtype)
{
	size_t n = run->batch * run->seq, t = 0;
	struct token token, coming[AHEAD]; /* of token t+k at (t+k) % AHEAD */
	struct cursor at = { 0 };

	next_tokens(run, &at, coming, n < AHEAD ? n : AHEAD);
	for (; t + AHEAD < n; t++) {
		token = coming[t % AHEAD];
		next_tokens(run, &at, &coming[t % AHEAD], 1);
		embed_block(&token, &coming[t % AHEAD], 1, coming[(t + 1) % AHEAD].out, 0,
			    run->n_embd, wte_dtype, wpe_dtype, false);
	}
	for (; t < n; t++)
		embed_block(&coming[t % AHEAD], NULL, 1, NULL, 0, run->n_embd, wte_dtype, wpe_dtype,
			    false);
}

/* Past them. */
INLINE void embed_streamed(const struct gpt2c_run *run, unsigned wte_dtype, unsigned wpe_dtype)
{
	size_t n = run->batch * run->seq, blocks = n / BLOCK;
	size_t head = -((uintptr_t)run->out / sizeof(float)) % LANES;
	struct token tokens[BLOCK], ahead[BLOCK];
	struct cursor at = { 0 };

	if (blocks)
		next_tokens(run, &at, ahead, BLOCK);
	for (size_t block = 1; block <= blocks; block++) {
		memcpy(tokens, ahead, sizeof tokens);
		/* after the last block it stays the same, and costs little */
		if (block < blocks)
			next_tokens(run, &at, ahead, BLOCK);
		embed_block(tokens, ahead, BLOCK, NULL, head, run->n_embd, wte_dtype, wpe_dtype,
			    true);
	}
	for (size_t t = blocks * BLOCK; t < n; t++) {
		next_tokens(run, &at, tokens, 1);
		embed_block(tokens, NULL, 1, NULL, 0, run->n_embd, wte_dtype, wpe_dtype, false);
	}
	stream_end();
}

/* Rows shorter than a vector. */
static void embed_short(const struct gpt2c_run *run)
{
	struct cursor at = { 0 };
	struct token token;

	for (size_t t = 0; t < run->batch * run->seq; t++) {
		next_tokens(run, &at, &token, 1);
		for (size_t i = 0; i < run->n_embd; i++) {
			float value = load_element(token.a, i, run->wte.dtype);

			if (run->wpe.rows)
				value += load_element(token.b, i, run->wpe.dtype);
			token.out[i] = value;
		}
	}
}

static uint32_t largest(const int32_t *values, size_t n)
{
	uint32_t most = 0;

	for (size_t i = 0; i < n; i++)
		most = (uint32_t)values[i] > most ? (uint32_t)values[i] : most;
	return most;
}

/* wte's dtype, wpe's dtype; constants, so that every pair is a loop of its own */
#define PAIRS(X)                  \
	X(GW_F32, GW_DTYPE_NONE)  \
	X(GW_F32, GW_F32)         \
	X(GW_F32, GW_F16)         \
	X(GW_F32, GW_BF16)        \
	X(GW_F32, GW_I8)          \
	X(GW_F16, GW_DTYPE_NONE)  \
	X(GW_F16, GW_F32)         \
	X(GW_F16, GW_F16)         \
	X(GW_F16, GW_BF16)        \
	X(GW_F16, GW_I8)          \
	X(GW_BF16, GW_DTYPE_NONE) \
	X(GW_BF16, GW_F32)        \
	X(GW_BF16, GW_F16)        \
	X(GW_BF16, GW_BF16)       \
	X(GW_BF16, GW_I8)         \
	X(GW_I8, GW_DTYPE_NONE)   \
	X(GW_I8, GW_F32)          \
	X(GW_I8, GW_F16)          \
	X(GW_I8, GW_BF16)         \
	X(GW_I8, GW_I8)

#define X(wte, wpe)                                                \
	static void run_##wte##_##wpe(const struct gpt2c_run *run) \
	{                                                          \
		if (run->n_embd < LANES)                           \
			embed_short(run);                          \
		else if (run->stream)                              \
			embed_streamed(run, wte, wpe);             \
		else                                               \
			embed_cached(run, wte, wpe);               \
	}
PAIRS(X)
#undef X

#define X(wte, wpe) .run[(wte)-GW_F32][wpe] = run_##wte##_##wpe,
const struct gpt2c_kernels KERNELS = { .name = KERNELS_NAME,
					 .largest = largest,
					 PAIRS(X) };
#undef X
