/* SPDX-License-Identifier: MIT */
/* Element types, and exact conversions between the 16-bit ones and f32. */
#pragma once

#include <stdint.h>
#include <string.h>

/* Values of the directory's dtype field (FORMAT.md); the public GPT2C_F32 … are the same. */
enum gw_dtype {
	GW_DTYPE_NONE = 0,
	GW_F32 = 1,
	GW_F16 = 2,
	GW_BF16 = 3,
	GW_I8 = 4, /* int8 with one f32 scale per row: a value is the two multiplied */
};

/* Bytes of an element, without its row's scale; 0 for a type that this release does not read. */
static inline unsigned gw_dtype_bytes(unsigned dtype)
{
	switch (dtype) {
	case GW_F32:
		return 4;
	case GW_F16:
	case GW_BF16:
		return 2;
	case GW_I8:
		return 1;
	default:
		return 0;
	}
}

/* "f32", "f16", "bf16", "int8", "none" or "unknown". */
const char *gw_dtype_name(unsigned dtype);

static inline uint32_t gw_f32_bits(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof bits);
	return bits;
}

static inline float gw_f32_from_bits(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof value);
	return value;
}

static inline float gw_bf16_to_f32(uint16_t half)
{
	return gw_f32_from_bits((uint32_t)half << 16);
}

/* Exact for every value: binary32 holds all of binary16, its subnormals as normals. A NaN stays one
 * and is made quiet, as the processors' own conversion does. */
static inline float gw_f16_to_f32(uint16_t half)
{
	uint32_t sign = (uint32_t)(half & 0x8000) << 16;
	uint32_t exponent = half >> 10 & 0x1f;
	uint32_t mantissa = half & 0x3ff;

	if (exponent == 0x1f)
		return gw_f32_from_bits(sign | 0x7f800000 | mantissa << 13 |
					(mantissa ? 0x400000 : 0));
	if (exponent)
		return gw_f32_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
	/* subnormal or zero: mantissa × 2^-24, exact in f32 */
	return gw_f32_from_bits(sign | gw_f32_bits((float)mantissa * 0x1p-24f));
}

/* Round to nearest even; overflow to infinity; a NaN stays a quiet NaN. */
static inline uint16_t gw_f32_to_bf16(float value)
{
	uint32_t bits = gw_f32_bits(value);

	if ((bits & 0x7fffffff) > 0x7f800000)
		return (uint16_t)(bits >> 16 | 0x40);
	return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Round to nearest even; overflow to infinity; a NaN stays a quiet NaN. */
static inline uint16_t gw_f32_to_f16(float value)
{
	uint32_t bits = gw_f32_bits(value);
	uint32_t sign = bits >> 16 & 0x8000;
	uint32_t magnitude = bits & 0x7fffffff;
	uint32_t rounded;

	if (magnitude > 0x7f800000)
		return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
	if (magnitude >= 0x477ff000) /* 65520 and above round to infinity */
		return (uint16_t)(sign | 0x7c00);
	if (magnitude < 0x38800000) /* below 2^-14: adding 0.5 leaves the rounded multiple of 2^-24 */
		return (uint16_t)(sign | (gw_f32_bits(gw_f32_from_bits(magnitude) + 0.5f) - 0x3f000000));
	rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
	return (uint16_t)(sign | ((rounded >> 13) - (112 << 10)));
}
