/* SPDX-License-Identifier: MIT */
/*
 * The loops of one set. Included once by each block_kernels_<set>.c, which has defined
 *   KERNELS, KERNELS_NAME   the name of its struct gw_block_kernels, and as a string
 *   STEP                    elements that its vector functions join at once
 *   vector_join4(out, planes, at, far), vector_join2(out, planes, at, far)
 *                           far, a constant: stored past the caches, out on 64 bytes
 *   sum64(plane, distance)  adds the 64 bytes at plane - distance to those at plane
 *   stream64(out, in)       copies 64 bytes past the caches, out on a multiple of 64
 *   stream_end()            after the last of them
 * The remainder of a plane, and all of it where STEP is 0, is joined one element at a time.
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "format/block_kernels.h"

#define INLINE static inline __attribute__((always_inline))

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

INLINE void join4(uint8_t *restrict out, const uint8_t *const planes[4], size_t n, bool far)
{
	const uint8_t *restrict a = planes[0], *restrict b = planes[1];
	const uint8_t *restrict c = planes[2], *restrict d = planes[3];
	size_t i = 0;

#if STEP
	for (; n - i >= STEP; i += STEP)
		vector_join4(out + 4 * i, planes, i, far);
#endif
	for (; i < n; i++)
		put4(out + 4 * i,
		     (uint32_t)a[i] << 24 | (uint32_t)b[i] << 16 | (uint32_t)c[i] << 8 | d[i]);
	if (far)
		stream_end();
}

INLINE void join2(uint8_t *restrict out, const uint8_t *const planes[2], size_t n, bool far)
{
	const uint8_t *restrict a = planes[0], *restrict b = planes[1];
	size_t i = 0;

#if STEP
	for (; n - i >= STEP; i += STEP)
		vector_join2(out + 2 * i, planes, i, far);
#endif
	for (; i < n; i++)
		put2(out + 2 * i, (uint32_t)a[i] << 8 | b[i]);
	if (far)
		stream_end();
}

#define FAR_AND_NEAR(suffix, far)                                                          \
	static void join4_##suffix(uint8_t *out, const uint8_t *const planes[4], size_t n) \
	{                                                                                  \
		join4(out, planes, n, far);                                                \
	}                                                                                  \
	static void join2_##suffix(uint8_t *out, const uint8_t *const planes[2], size_t n) \
	{                                                                                  \
		join2(out, planes, n, far);                                                \
	}
FAR_AND_NEAR(near, false)
FAR_AND_NEAR(far, true)
#undef FAR_AND_NEAR

/* Sixty-four at a time depend on nothing among themselves, whatever the distance allowed. */
static void sum(uint8_t *plane, size_t n, size_t distance)
{
	size_t i = distance;

	for (; n >= 64 && i <= n - 64; i += 64)
		sum64(plane + i, distance);
	for (; i < n; i++)
		plane[i] = (uint8_t)(plane[i] + plane[i - distance]);
}

static void stream(uint8_t *restrict out, const uint8_t *restrict in, size_t n)
{
	size_t i = 0;

	for (; n - i >= 64; i += 64)
		stream64(out + i, in + i);
	memcpy(out + i, in + i, n - i);
	stream_end();
}

const struct gw_block_kernels KERNELS = {
	.name = KERNELS_NAME,
	.join = { { join4_near, join2_near }, { join4_far, join2_far } },
	.sum = sum,
	.stream = stream,
};
