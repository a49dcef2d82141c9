/* SPDX-License-Identifier: MIT */
/* What the library is measured against, compiled for this machine alone (-O3 -march=native). */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The forward pass as it is usually written: out [batch, seq, n_embd], all in f32. */
void bench_encoder(float *out, const int32_t *ids, const float *wte, const float *wpe, size_t batch,
		   size_t seq, size_t n_embd);

/* One row's sum, and nothing checked. */
void bench_row(float *out, const float *a, const float *b, size_t n);

/* Copies past the caches; both on 64-byte boundaries, n a multiple of 16. */
void bench_stream(float *out, const float *from, size_t n);

/* The sum of n elements, eight at a time: a reader of an output, or of rows in place. */
float bench_sum(const float *from, size_t n);
