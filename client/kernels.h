/* SPDX-License-Identifier: MIT */
/*
 * The inner loops: gather rows of wte, widen, add rows of wpe. A kernel gets a whole run of tokens,
 * not one row, so that prefetching, reuse of position rows and streaming stores are its own affair.
 * All sets give the same bits for everything but NaN payloads.
 */
#pragma once

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
	float *out; /* [n, n_embd], aligned as a float */
	struct gpt2c_table wte, wpe;
	const int32_t *ids; /* [n] */
	size_t n;           /* tokens, at least 1 */
	size_t n_embd;
	const int32_t *positions; /* [n]; NULL: token t stands at first_position + t % seq */
	size_t first_position;
	size_t seq; /* tokens of one sequence, at least 1 */
};

/* Place in a set: by wte's dtype, then wpe's (GW_DTYPE_NONE: token embeddings alone). */
#define GPT2C_KERNEL_WTE 4
#define GPT2C_KERNEL_WPE 5

struct gpt2c_kernels {
	const char *name;
	void (*run[GPT2C_KERNEL_WTE][GPT2C_KERNEL_WPE])(const struct gpt2c_run *run);
};

extern const struct gpt2c_kernels gpt2c_kernels_portable;
#ifdef __x86_64__
extern const struct gpt2c_kernels gpt2c_kernels_avx2;
extern const struct gpt2c_kernels gpt2c_kernels_avx512;
#endif

/* The sets that this processor can run, best first; NULL past the last one. */
const struct gpt2c_kernels *gpt2c_kernels_at(size_t index);

static inline void gpt2c_kernels_run(const struct gpt2c_kernels *kernels,
				     const struct gpt2c_run *run)
{
	kernels->run[run->wte.dtype - GW_F32][run->wpe.dtype](run);
}
