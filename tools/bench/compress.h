/* SPDX-License-Identifier: MIT */
/* What the parts of the compression benchmark share: the data, the coders, and how they are timed. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "format/limits.h"
#include "format/status.h"

/* Values to compress, in rows of ROW_ELEMENTS; those of the model measured have 768 columns. */
#define ROW_ELEMENTS 768
#define ELEMENTS (UINT64_C(50257) * ROW_ELEMENTS) /* wte of GPT-2 124M */

struct bench_data {
	const char *name;
	float *values; /* [ELEMENTS], owned */
};

/*
 * All files *.f32 of a folder, one after the other and again from the first until the table is full.
 * They are cut into blocks that are compressed each on its own, so no coder sees a repetition.
 */
int bench_data_read(const char *folder, struct bench_data *out, struct gw_error *error);
/* Normal, deviation 0.02, as `gpt2-pack init` makes them. */
int bench_data_init(struct bench_data *out, struct gw_error *error);
/* The values in dtype (int8: a scale per row, which is left out); free() ends it. NULL: no memory. */
uint8_t *bench_data_convert(const struct bench_data *data, unsigned dtype, size_t *out_bytes);

/* One way to code a block. State is per thread. Both functions return the size, 0 after a failure. */
struct bench_coder {
	const char *name;
	void *(*start)(void);
	void (*end)(void *state);
	/* NULL: stored as it is */
	size_t (*encode)(void *state, unsigned dtype, const uint8_t *raw, size_t bytes,
			 uint8_t *out, size_t room);
	size_t (*decode)(void *state, unsigned dtype, const uint8_t *stored, size_t stored_bytes,
			 uint8_t *out, size_t bytes);
};

enum { BENCH_PLANES, BENCH_ZSTD, BENCH_SHUFFLED, BENCH_MEMCPY, BENCH_N_CODERS };
extern const struct bench_coder bench_coders[BENCH_N_CODERS];
/* Room for any coder's block. */
#define BENCH_ROOM (GW_BLOCK_BYTES + GW_BLOCK_BYTES / 64)
