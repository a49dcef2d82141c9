/* SPDX-License-Identifier: MIT */
#include "tools/pack/convert.h"

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

uint64_t pack_convert(unsigned from, unsigned to, const uint8_t *in, size_t n, uint8_t *out)
{
	uint64_t n_overflowed = 0;

	if (from == to) {
		memcpy(out, in, n * gw_dtype_bytes(from));
		return 0;
	}
	for (size_t i = 0; i < n; i++)
		n_overflowed += pack_store(to, pack_load(from, in, i), out, i);
	return n_overflowed;
}
