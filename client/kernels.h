/* SPDX-License-Identifier: MIT */
/*
 * The inner loops: gather rows of wte, widen, add rows of wpe. A kernel gets a whole run of tokens,
 * not one row, so that prefetching, reuse of position rows and the order of tokens are its own affair.
 * All sets give the same bits for everything but NaN payloads.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/dtype.h"

/* Rows where they lie. Every id and position of a run has been checked against row_count. */
struct gpt2c_table {
	/* [row_count] rows, row_bytes apart, each on a 64-byte boundary; NULL: none */
	const uint8_t *rows;
	const float *scales; /* [row_count] for GW_I8: an element is int8 * scale; else NULL */
	size_t row_bytes;
	uint64_t row_count;
	uint32_t dtype; /* enum gw_dtype; GW_DTYPE_NONE: no such table */
};

struct gpt2c_run {
	float *out; /* aligned as a float; token s of sequence b is row b * stride + s of n_embd */
	struct gpt2c_table wte, wpe;
	const int32_t *ids; /* likewise, element b * stride + s */
	size_t batch, seq;  /* sequences, and tokens of each; at least 1 */
	size_t stride;      /* tokens from one sequence to the next */
	size_t n_embd;
	const int32_t *positions; /* [seq], and batch is 1; NULL: token s stands at first_position + s */
	size_t first_position;
	/* store past the caches, for an out that they could not keep; only if n_embd is a multiple of
	 * GPT2C_STREAM_FLOATS, so that all rows lie alike to the cache lines */
	bool stream;
	/* bring out closer before it is stored into the caches, for one that L2 has not kept */
};

#define GPT2C_STREAM_FLOATS 16

/* Place in a set: by wte's dtype, then wpe's (GW_DTYPE_NONE: token embeddings alone). */
#define GPT2C_KERNEL_WTE 4
#define GPT2C_KERNEL_WPE 5

struct gpt2c_kernels {
	const char *name;
	void (*run[GPT2C_KERNEL_WTE][GPT2C_KERNEL_WPE])(const struct gpt2c_run *run);
	/* the largest of n values, the negative ones taken as unsigned: so above every valid one */
	uint32_t (*largest)(const int32_t *values, size_t n);
};

extern const struct gpt2c_kernels gpt2c_kernels_portable;
#ifdef __x86_64__
extern const struct gpt2c_kernels gpt2c_kernels_avx2;
extern const struct gpt2c_kernels gpt2c_kernels_avx512;
#elif defined __aarch64__
extern const struct gpt2c_kernels gpt2c_kernels_neon;
#endif

/* The sets that this processor can run, best first; NULL past the last one. */
const struct gpt2c_kernels *gpt2c_kernels_at(size_t index);

static inline void gpt2c_kernels_run(const struct gpt2c_kernels *kernels,
				     const struct gpt2c_run *run)
{
	kernels->run[run->wte.dtype - GW_F32][run->wpe.dtype](run);
}
