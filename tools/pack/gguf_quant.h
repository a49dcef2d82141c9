/* SPDX-License-Identifier: MIT */
/* ggml's tensor types: their numbers in a GGUF file, their blocks, and the values of these. */
#pragma once

#include <stdint.h>

/* Of values, and of bytes, in the largest block of those that can be read. */
#define PACK_GGML_BLOCK_VALUES 256
#define PACK_GGML_BLOCK_BYTES 210

struct pack_ggml_type {
	uint32_t number; /* enum ggml_type */
	const char *name;
	unsigned block_values; /* the smallest whole: so many values … */
	unsigned block_bytes;  /* … take so many bytes */
	const char *element;   /* plain types: the name of pack_element_find; else NULL */
	/*
	 * The block_values values of the block_bytes bytes at block; no alignment is needed. As
	 * ggml's own dequantize_row_*: scales widened to f32, products and sums in f32, in its
	 * order and not fused, so the bits are the same. NULL: plain, or not read by this release.
	 */
	void (*dequantise)(const uint8_t *block, float *out);
};

/* By number; NULL: no such type, or one that ggml has given up. */
const struct pack_ggml_type *pack_ggml_find(uint32_t number);
