/* SPDX-License-Identifier: MIT */
/* Eight floats at a time, in two registers: every AArch64 has them, and stores past the caches (STNP)
 * take two. */
#include <arm_neon.h>
#include <stdint.h>

#define KERNELS gpt2c_kernels_neon
#define KERNELS_NAME "neon"
#define LANES 8

struct vector8 {
	float32x4_t low, high;
};
#define VECTOR struct vector8

static inline struct vector8 vector_f32(const float *p)
{
	return (struct vector8){ vld1q_f32(p), vld1q_f32(p + 4) };
}

static inline struct vector8 vector_f16(const uint16_t *p)
{
	float16x8_t halves = vreinterpretq_f16_u16(vld1q_u16(p));

	return (struct vector8){ vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves) };
}

static inline struct vector8 vector_bf16(const uint16_t *p)
{
	uint16x8_t halves = vld1q_u16(p);

	return (struct vector8){ vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(halves), 16)),
				 vreinterpretq_f32_u32(vshll_high_n_u16(halves, 16)) };
}

static inline struct vector8 vector_i8(const int8_t *p)
{
	int16x8_t words = vmovl_s8(vld1_s8(p));

	return (struct vector8){ vcvtq_f32_s32(vmovl_s16(vget_low_s16(words))),
				 vcvtq_f32_s32(vmovl_high_s16(words)) };
}

static inline struct vector8 vector_scale(struct vector8 v, float scale)
{
	return (struct vector8){ vmulq_n_f32(v.low, scale), vmulq_n_f32(v.high, scale) };
}

static inline struct vector8 vector_add(struct vector8 a, struct vector8 b)
{
	return (struct vector8){ vaddq_f32(a.low, b.low), vaddq_f32(a.high, b.high) };
}

static inline void vector_store(float *p, struct vector8 v)
{
	vst1q_f32(p, v.low);
	vst1q_f32(p + 4, v.high);
}

static inline void vector_stream(float *p, struct vector8 v)
{
	__asm__("stnp %q1, %q2, %0" : "=Q"(*(float(*)[8])p) : "w"(v.low), "w"(v.high));
}

/* STNP is ordered like any other store. */
static inline void stream_end(void)
{
}

#include "client/kernels_template.h"
