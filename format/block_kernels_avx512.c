/* SPDX-License-Identifier: MIT */
/* Compiled with -mavx512f -mavx512bw and called only where both are there. */
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#define KERNELS gw_block_kernels_avx512
#define KERNELS_NAME "avx512"
#define STEP 64

static inline __m512i load(const uint8_t *p)
{
	return _mm512_loadu_si512(p);
}

static inline void store(uint8_t *p, __m512i v, bool far)
{
	if (far)
		_mm512_stream_si512((__m512i *)(void *)p, v);
	else
		_mm512_storeu_si512(p, v);
}

static inline __m512i rotate2(__m512i v)
{
	return _mm512_or_si512(_mm512_srli_epi16(v, 1), _mm512_slli_epi16(v, 15));
}

static inline void vector_join4(uint8_t *out, const uint8_t *const planes[4], size_t at, bool far)
{
	for (size_t k = 0; k < 64; k += 16) {
		__m512i v = _mm512_setzero_si512();

		for (int p = 0; p < 4; p++) {
			const void *from = planes[p] + at + k;
			__m512i wide = _mm512_cvtepu8_epi32(_mm_loadu_si128(from));

			v = _mm512_or_si512(_mm512_slli_epi32(v, 8), wide);
		}
		store(out + 4 * k, _mm512_ror_epi32(v, 1), far);
	}
}

static inline void vector_join2(uint8_t *out, const uint8_t *const planes[2], size_t at, bool far)
{
	for (size_t k = 0; k < 64; k += 32) {
		const void *top = planes[0] + at + k, *low = planes[1] + at + k;
		__m512i v = _mm512_slli_epi16(_mm512_cvtepu8_epi16(_mm256_loadu_si256(top)), 8);

		v = _mm512_or_si512(v, _mm512_cvtepu8_epi16(_mm256_loadu_si256(low)));
		store(out + 2 * k, rotate2(v), far);
	}
}

static inline void sum64(uint8_t *plane, size_t distance)
{
	store(plane, _mm512_add_epi8(load(plane), load(plane - distance)), false);
}

static inline void stream64(uint8_t *out, const uint8_t *in)
{
	store(out, load(in), true);
}

static inline void stream_end(void)
{
	_mm_sfence();
}

#include "format/block_kernels_template.h"
