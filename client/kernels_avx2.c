/* SPDX-License-Identifier: MIT */
/* Eight floats at a time; compiled with -mavx2 -mf16c and called only where both are there. */
#include <immintrin.h>
#include <stdint.h>

#define KERNELS gpt2c_kernels_avx2
#define KERNELS_NAME "avx2"
#define LANES 8
#define VECTOR __m256

static inline __m256 vector_f32(const float *p)
{
	return _mm256_loadu_ps(p);
}

static inline __m256 vector_f16(const uint16_t *p)
{
	return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

static inline __m256 vector_bf16(const uint16_t *p)
{
	__m128i halves = _mm_loadu_si128((const __m128i *)(const void *)p);

	return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

static inline __m256 vector_i8(const int8_t *p)
{
	__m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)p);

	return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}

static inline __m256 vector_scale(__m256 v, float scale)
{
	return _mm256_mul_ps(v, _mm256_set1_ps(scale));
}

static inline __m256 vector_add(__m256 a, __m256 b)
{
	return _mm256_add_ps(a, b);
}

static inline void vector_store(float *p, __m256 v)
{
	_mm256_storeu_ps(p, v);
}

/* p on a boundary of 32 bytes */
static inline void vector_stream(float *p, __m256 v)
{
	_mm256_stream_ps(p, v);
}

static inline void stream_end(void)
{
	_mm_sfence();
}

#include "client/kernels_template.h"
