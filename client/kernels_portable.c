/* SPDX-License-Identifier: MIT */
/* Plain C, for every machine; the compiler makes of it what the baseline instruction set has. */
#include <stdint.h>

#include "format/dtype.h"

#define KERNELS gpt2c_kernels_portable
#define KERNELS_NAME "portable"
#define LANES 1
#define VECTOR float

static inline float vector_f32(const float *p)
{
	return *p;
}

static inline float vector_f16(const uint16_t *p)
{
	return gw_f16_to_f32(*p);
}

static inline float vector_bf16(const uint16_t *p)
{
	return gw_bf16_to_f32(*p);
}

static inline float vector_add(float a, float b)
{
	return a + b;
}

static inline void vector_store(float *p, float v)
{
	*p = v;
}

#include "client/kernels_template.h"
