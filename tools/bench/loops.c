/* SPDX-License-Identifier: MIT */
#include "tools/bench/loops.h"

#include <string.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

void bench_encoder(float *out, const int32_t *ids, const float *wte, const float *wpe, size_t batch,
		   size_t seq, size_t n_embd)
{
	for (size_t b = 0; b < batch; b++)
		for (size_t t = 0; t < seq; t++) {
			float *row = out + (b * seq + t) * n_embd;
			const float *token = wte + (size_t)ids[b * seq + t] * n_embd;
			const float *position = wpe + t * n_embd;

			for (size_t i = 0; i < n_embd; i++)
				row[i] = token[i] + position[i];
		}
}

void bench_row(float *out, const float *a, const float *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = a[i] + b[i];
}

#if defined __AVX512F__
#define STREAM(to, from) _mm512_stream_ps(to, _mm512_load_ps(from))
#elif defined __AVX__
#define STREAM(to, from)                                             \
	do {                                                         \
		_mm256_stream_ps(to, _mm256_load_ps(from));          \
		_mm256_stream_ps((to) + 8, _mm256_load_ps((from) + 8)); \
	} while (0)
#endif

void bench_stream(float *out, const float *from, size_t n)
{
#ifdef STREAM
	for (size_t i = 0; i < n; i += 16)
		STREAM(out + i, from + i);
	_mm_sfence();
#else
	memcpy(out, from, n * sizeof *out);
#endif
}

float bench_sum(const float *from, size_t n)
{
	float lanes[64] = { 0 }, sum = 0;
	size_t i = 0;

	for (; i + 64 <= n; i += 64)
		for (size_t k = 0; k < 64; k++)
			lanes[k] += from[i + k];
	for (; i < n; i++)
		sum += from[i];
	for (size_t k = 0; k < 64; k++)
		sum += lanes[k];
	return sum;
}
