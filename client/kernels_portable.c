/* SPDX-License-Identifier: MIT */
/*
 * For every machine: four floats at a time in the compilers' own vectors, which become whatever the
 * baseline instruction set has (left to itself, the compiler would have to suspect that out
 * overlaps).
 */
#include <stdint.h>
#include <string.h>

#include "format/dtype.h"

#define KERNELS gpt2c_kernels_portable
#define KERNELS_NAME "portable"
#define LANES 4
#define LANES_IN_C

typedef float vector4 __attribute__((vector_size(16)));
#define VECTOR vector4

static inline vector4 vector_f32(const float *p)
{
	vector4 v;

	memcpy(&v, p, sizeof v);
	return v;
}

static inline vector4 vector_f16(const uint16_t *p)
{
	return (vector4){ gw_f16_to_f32(p[0]), gw_f16_to_f32(p[1]), gw_f16_to_f32(p[2]),
			   gw_f16_to_f32(p[3]) };
}

static inline vector4 vector_bf16(const uint16_t *p)
{
	return (vector4){ gw_bf16_to_f32(p[0]), gw_bf16_to_f32(p[1]), gw_bf16_to_f32(p[2]),
			   gw_bf16_to_f32(p[3]) };
}

static inline vector4 vector_i8(const int8_t *p)
{
	return (vector4){ p[0], p[1], p[2], p[3] };
}

static inline vector4 vector_scale(vector4 v, float scale)
{
	return v * scale;
}

static inline vector4 vector_add(vector4 a, vector4 b)
{
	return a + b;
}

static inline void vector_store(float *p, vector4 v)
{
	memcpy(p, &v, sizeof v);
}

/* C has no stores that pass the caches by. */
static inline void vector_stream(float *p, vector4 v)
{
	vector_store(p, v);
}

static inline void stream_end(void)
{
}

#include "client/kernels_template.h"
