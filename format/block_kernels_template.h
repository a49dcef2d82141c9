/* SPDX-License-Identifier: MIT */
/*
 * The loops of one set. Included once by each block_kernels_<set>.c, which has defined
 *   KERNELS, KERNELS_NAME   the name of its struct gw_block_kernels, and as a string
 *   STEP                    elements that its vector functions join at once
 *   JOIN_PACKED_READS       bytes of rest that vector_join_packed reads, at least 3 × STEP
 *   vector_join_packed(out, top, rest), vector_join4(out, planes, at), vector_join2(out, planes, at)
 * The remainder of a plane, and all of it where STEP is 0, is joined one element at a time.
 */
#include <stdint.h>
#include <string.h>

#include "format/block_kernels.h"

/* Rotates right by one and stores; the processors this runs on are little-endian. */
static inline void put4(uint8_t *out, uint32_t rotated)
{
	uint32_t bits = rotated >> 1 | rotated << 31;

	memcpy(out, &bits, 4);
}

static inline void put2(uint8_t *out, uint32_t rotated)
{
	uint16_t bits = (uint16_t)(rotated >> 1 | rotated << 15);

	memcpy(out, &bits, 2);
}

static void join_packed(uint8_t *restrict out, const uint8_t *restrict top,
			const uint8_t *restrict rest, size_t n)
{
	size_t i = 0;

#if STEP
	for (; 3 * (n - i) >= JOIN_PACKED_READS; i += STEP)
		vector_join_packed(out + 4 * i, top + i, rest + 3 * i);
#endif
	for (; i < n; i++)
		put4(out + 4 * i, (uint32_t)top[i] << 24 | (uint32_t)rest[3 * i + 2] << 16 |
					  (uint32_t)rest[3 * i + 1] << 8 | rest[3 * i]);
}

static void join4(uint8_t *restrict out, const uint8_t *const planes[4], size_t n)
{
	const uint8_t *restrict a = planes[0], *restrict b = planes[1];
	const uint8_t *restrict c = planes[2], *restrict d = planes[3];
	size_t i = 0;

#if STEP
	for (; n - i >= STEP; i += STEP)
		vector_join4(out + 4 * i, planes, i);
#endif
	for (; i < n; i++)
		put4(out + 4 * i, (uint32_t)a[i] << 24 | (uint32_t)b[i] << 16 |
					  (uint32_t)c[i] << 8 | d[i]);
}

static void join2(uint8_t *restrict out, const uint8_t *const planes[2], size_t n)
{
	const uint8_t *restrict a = planes[0], *restrict b = planes[1];
	size_t i = 0;

#if STEP
	for (; n - i >= STEP; i += STEP)
		vector_join2(out + 2 * i, planes, i);
#endif
	for (; i < n; i++)
		put2(out + 2 * i, (uint32_t)a[i] << 8 | b[i]);
}

/* Sixty-four at a time depend on nothing among themselves, whatever the distance allowed. */
static void sum(uint8_t *plane, size_t n, size_t distance)
{
	size_t i = distance;

	for (; n >= 64 && i <= n - 64; i += 64) {
		uint8_t before[64], here[64];

		memcpy(before, plane + i - distance, 64);
		memcpy(here, plane + i, 64);
		for (size_t k = 0; k < 64; k++)
			here[k] = (uint8_t)(here[k] + before[k]);
		memcpy(plane + i, here, 64);
	}
	for (; i < n; i++)
		plane[i] = (uint8_t)(plane[i] + plane[i - distance]);
}

const struct gw_block_kernels KERNELS = {
	.name = KERNELS_NAME,
	.join_packed = join_packed,
	.join4 = join4,
	.join2 = join2,
	.sum = sum,
};
