/* SPDX-License-Identifier: MIT */
/* Compiled with -mavx2 and called only where it is there. */
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#define KERNELS gw_block_kernels_avx2
#define KERNELS_NAME "avx2"
#define STEP 32

static inline __m256i load(const uint8_t *p)
{
	return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

static inline void store(uint8_t *p, __m256i v, bool far)
{
	if (far)
		_mm256_stream_si256((__m256i *)(void *)p, v);
	else
		_mm256_storeu_si256((__m256i *)(void *)p, v);
}

static inline __m256i rotate4(__m256i v)
{
	return _mm256_or_si256(_mm256_srli_epi32(v, 1), _mm256_slli_epi32(v, 31));
}

static inline __m256i rotate2(__m256i v)
{
	return _mm256_or_si256(_mm256_srli_epi16(v, 1), _mm256_slli_epi16(v, 15));
}

static inline void vector_join4(uint8_t *out, const uint8_t *const planes[4], size_t at, bool far)
{
	__m256i a = load(planes[0] + at), b = load(planes[1] + at);
	__m256i c = load(planes[2] + at), d = load(planes[3] + at);
	__m256i high0 = _mm256_unpacklo_epi8(b, a), high1 = _mm256_unpackhi_epi8(b, a);
	__m256i low0 = _mm256_unpacklo_epi8(d, c), low1 = _mm256_unpackhi_epi8(d, c);
	/* elements 0-3 and 16-19, 4-7 and 20-23, ... */
	__m256i v0 = rotate4(_mm256_unpacklo_epi16(low0, high0));
	__m256i v1 = rotate4(_mm256_unpackhi_epi16(low0, high0));
	__m256i v2 = rotate4(_mm256_unpacklo_epi16(low1, high1));
	__m256i v3 = rotate4(_mm256_unpackhi_epi16(low1, high1));

	store(out, _mm256_permute2x128_si256(v0, v1, 0x20), far);
	store(out + 32, _mm256_permute2x128_si256(v2, v3, 0x20), far);
	store(out + 64, _mm256_permute2x128_si256(v0, v1, 0x31), far);
	store(out + 96, _mm256_permute2x128_si256(v2, v3, 0x31), far);
}

static inline void vector_join2(uint8_t *out, const uint8_t *const planes[2], size_t at, bool far)
{
	__m256i a = load(planes[0] + at), b = load(planes[1] + at);
	__m256i v0 = rotate2(_mm256_unpacklo_epi8(b, a));
	__m256i v1 = rotate2(_mm256_unpackhi_epi8(b, a));

	store(out, _mm256_permute2x128_si256(v0, v1, 0x20), far);
	store(out + 32, _mm256_permute2x128_si256(v0, v1, 0x31), far);
}

static inline void sum64(uint8_t *plane, size_t distance)
{
	for (size_t k = 0; k < 64; k += 32)
		store(plane + k, _mm256_add_epi8(load(plane + k), load(plane + k - distance)),
		      false);
}

static inline void stream64(uint8_t *out, const uint8_t *in)
{
	store(out, load(in), true);
	store(out + 32, load(in + 32), true);
}

static inline void stream_end(void)
{
	_mm_sfence();
}

#include "format/block_kernels_template.h"
