/* SPDX-License-Identifier: MIT */
/*
 * The loops of the block codec over every element. An element is rotated left by one bit, so that an
 * f32's or bf16's exponent is a byte of its own, and then parted; joining undoes that. Planes are
 * numbered from the top byte down. No function reads or writes beyond its n elements; all sets give
 * the same bytes.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct gw_block_join {
	/* [n] elements of 4 and of 2 bytes from as many planes */
	void (*four)(uint8_t *out, const uint8_t *const planes[4], size_t n);
	void (*two)(uint8_t *out, const uint8_t *const planes[2], size_t n);
};

struct gw_block_kernels {
	const char *name;
	/* [1]: out, on a multiple of 64, is written past the caches where the processor can */
	struct gw_block_join join[2];
	/* plane[i] += plane[i - distance] for i from distance on; distance >= 64 */
	void (*sum)(uint8_t *plane, size_t n, size_t distance);
	/* copies n bytes likewise past the caches */
	void (*stream)(uint8_t *out, const uint8_t *in, size_t n);
};

extern const struct gw_block_kernels gw_block_kernels_portable;
#ifdef __x86_64__
extern const struct gw_block_kernels gw_block_kernels_avx2;
extern const struct gw_block_kernels gw_block_kernels_avx512;
#endif

/* The sets that this processor can run, best first; NULL past the last one. */
const struct gw_block_kernels *gw_block_kernels_at(size_t index);
