/* SPDX-License-Identifier: MIT */
/* Sixteen floats at a time; compiled with -mavx512f and called only where that is there. */
#include <immintrin.h>
#include <stdint.h>

#define KERNELS gpt2c_kernels_avx512
#define KERNELS_NAME "avx512"
#define LANES 16
#define VECTOR __m512

static inline __m512 vector_f32(const float *p)
{
	return _mm512_loadu_ps(p);
}

static inline __m512 vector_f16(const uint16_t *p)
{
	return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

static inline __m512 vector_bf16(const uint16_t *p)
{
	__m256i halves = _mm256_loadu_si256((const __m256i *)(const void *)p);

	return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

static inline __m512 vector_i8(const int8_t *p)
{
	__m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);

	return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}

static inline __m512 vector_scale(__m512 v, float scale)
{
	return _mm512_mul_ps(v, _mm512_set1_ps(scale));
}

static inline __m512 vector_add(__m512 a, __m512 b)
{
	return _mm512_add_ps(a, b);
}

static inline void vector_store(float *p, __m512 v)
{
	_mm512_storeu_ps(p, v);
}

/* p on a boundary of 64 bytes */
static inline void vector_stream(float *p, __m512 v)
{
	_mm512_stream_ps(p, v);
}

static inline void stream_end(void)
{
	_mm_sfence();
}

#include "client/kernels_template.h"
