/* SPDX-License-Identifier: MIT */
#include "tools/pack/convert.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "format/dtype.h"

static inline float pack_load(unsigned from, const uint8_t *in, size_t i)
{
	uint16_t half;
	float value;

	if (from == GW_F32) {
		memcpy(&value, in + 4 * i, 4);
		return value;
	}
	memcpy(&half, in + 2 * i, 2);
	return from == GW_F16 ? gw_f16_to_f32(half) : gw_bf16_to_f32(half);
}

/* Whether a value that was finite became infinite. */
static inline bool pack_store(unsigned to, float value, uint8_t *out, size_t i)
{
	bool finite = (gw_f32_bits(value) & 0x7f800000) != 0x7f800000;
	uint16_t half;

	if (to == GW_F32) {
		memcpy(out + 4 * i, &value, 4);
		return false;
	}
	half = to == GW_F16 ? gw_f32_to_f16(value) : gw_f32_to_bf16(value);
	memcpy(out + 2 * i, &half, 2);
	return finite && (half & 0x7fff) == (to == GW_F16 ? 0x7c00 : 0x7f80);
}

/*
 * The f32 next to value towards zero, its last bit set if that is not value itself. Bits below the
 * last one of f16 and bf16 then say what a rounding of value itself would need to know, so that the
 * rounding to these from here is the only one (Boldo and Melquiond, "Emulation of FMA and correctly
 * rounded sums: proved algorithms using rounding to odd", 2008).
 */
static float pack_round_to_odd(double value)
{
	float near = (float)value;
	uint32_t bits = gw_f32_bits(near);

	if (isnan(value) || (double)near == value)
		return near;
	/* below a power of two, or the infinity, the bits count on */
	if (fabs((double)near) > fabs(value))
		bits--;
	return gw_f32_from_bits(bits | 1);
}

/* Whether a value that was finite became infinite. */
static inline bool pack_store_f64(unsigned to, const uint8_t *in, uint8_t *out, size_t i)
{
	double value;
	float near;

	memcpy(&value, in + 8 * i, 8);
	if (to != GW_F32) {
		/* finite values stay finite when they are rounded to odd */
		return pack_store(to, pack_round_to_odd(value), out, i);
	}
	near = (float)value;
	memcpy(out + 4 * i, &near, 4);
	return isfinite(value) && !isfinite(near);
}

unsigned pack_type_bytes(unsigned type)
{
	return type == PACK_F64 ? 8 : gw_dtype_bytes(type);
}

const char *pack_type_name(unsigned type)
{
	return type == PACK_F64 ? "f64" : gw_dtype_name(type);
}

uint64_t pack_convert(unsigned from, unsigned to, const uint8_t *in, size_t n, uint8_t *out)
{
	uint64_t n_overflowed = 0;

	if (from == to) {
		memcpy(out, in, n * gw_dtype_bytes(from));
		return 0;
	}
	for (size_t i = 0; from == PACK_F64 && i < n; i++)
		n_overflowed += pack_store_f64(to, in, out, i);
	for (size_t i = 0; from != PACK_F64 && i < n; i++)
		n_overflowed += pack_store(to, pack_load(from, in, i), out, i);
	return n_overflowed;
}
