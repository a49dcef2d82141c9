/* SPDX-License-Identifier: MIT */
#include "tools/pack/gguf_quant.h"

#include <stddef.h>

#include "format/dtype.h"

static uint16_t pack_u16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static float pack_f16(const uint8_t *bytes)
{
	return gw_f16_to_f32(pack_u16(bytes));
}

static uint32_t pack_u32(const uint8_t *bytes)
{
	return pack_u16(bytes) | (uint32_t)pack_u16(bytes + 2) << 16;
}

/* f16 scale, 16 bytes of two 4-bit values: the low ones are the first half of the block. */
static void pack_q4_0(const uint8_t *block, float *out)
{
	float scale = pack_f16(block);
	const uint8_t *q = block + 2;

	for (int i = 0; i < 16; i++) {
		out[i] = (float)((q[i] & 15) - 8) * scale;
		out[i + 16] = (float)((q[i] >> 4) - 8) * scale;
	}
}

/* f16 scale, f16 minimum, 16 bytes as above. */
static void pack_q4_1(const uint8_t *block, float *out)
{
	float scale = pack_f16(block), minimum = pack_f16(block + 2);
	const uint8_t *q = block + 4;

	for (int i = 0; i < 16; i++) {
		out[i] = (float)(q[i] & 15) * scale + minimum;
		out[i + 16] = (float)(q[i] >> 4) * scale + minimum;
	}
}

/* Value i of 32 whose low 4 bits are in q as above, and whose fifth is bit i of high. */
static int pack_5bits(const uint8_t *q, uint32_t high, int i)
{
	int low = i < 16 ? q[i] & 15 : q[i - 16] >> 4;

	return low | (int)(high >> i & 1) << 4;
}

/* f16 scale, 32 fifth bits, 16 bytes as above. */
static void pack_q5_0(const uint8_t *block, float *out)
{
	float scale = pack_f16(block);
	uint32_t high = pack_u32(block + 2);

	for (int i = 0; i < 32; i++)
		out[i] = (float)(pack_5bits(block + 6, high, i) - 16) * scale;
}

/* f16 scale, f16 minimum, 32 fifth bits, 16 bytes as above. */
static void pack_q5_1(const uint8_t *block, float *out)
{
	float scale = pack_f16(block), minimum = pack_f16(block + 2);
	uint32_t high = pack_u32(block + 4);

	for (int i = 0; i < 32; i++)
		out[i] = (float)pack_5bits(block + 8, high, i) * scale + minimum;
}

/* f16 scale, 32 signed bytes. */
static void pack_q8_0(const uint8_t *block, float *out)
{
	float scale = pack_f16(block);

	for (int i = 0; i < 32; i++)
		out[i] = (float)(int8_t)block[2 + i] * scale;
}

/*
 * The 6-bit scale and minimum of sub-block i of 8. Of the 12 bytes at packed, 0 to 3 hold the
 * first four scales and 4 to 7 the first four minimums in their low 6 bits; 8 to 11 hold the low 4
 * bits of the last four scales and minimums, whose high 2 bits are those left over in 0 to 7.
 */
static void pack_q4_k_scale(const uint8_t *packed, int i, int *out_scale, int *out_minimum)
{
	if (i < 4) {
		*out_scale = packed[i] & 63;
		*out_minimum = packed[i + 4] & 63;
	} else {
		*out_scale = (packed[i + 4] & 15) | packed[i - 4] >> 6 << 4;
		*out_minimum = packed[i + 4] >> 4 | packed[i] >> 6 << 4;
	}
}

/*
 * f16 scale of scales, f16 scale of minimums, 12 bytes of these, 128 bytes of 4-bit values: each 32
 * bytes are two sub-blocks of 32 values, the low halves first.
 */
static void pack_q4_k(const uint8_t *block, float *out)
{
	float scale = pack_f16(block), scale_of_minimums = pack_f16(block + 2);
	const uint8_t *q = block + 16;

	for (int i = 0; i < 8; i++) {
		int sub_scale, sub_minimum;
		float step, minimum;

		pack_q4_k_scale(block + 4, i, &sub_scale, &sub_minimum);
		step = scale * (float)sub_scale;
		minimum = scale_of_minimums * (float)sub_minimum;
		for (int j = 0; j < 32; j++) {
			int value = i % 2 ? q[i / 2 * 32 + j] >> 4 : q[i / 2 * 32 + j] & 15;

			out[i * 32 + j] = step * (float)value - minimum;
		}
	}
}

/*
 * 128 bytes of low 4 bits, 64 bytes of high 2 bits, 16 signed scales (one for 16 values), f16 scale
 * of scales. Each half of 128 values takes 64, 32 and 8 of these: its quarters of 32 values have
 * the low bits in the low halves of bytes 0 to 31 and of bytes 32 to 63, then in the high halves,
 * and the high bits in bits 0 and 1, 2 and 3, 4 and 5, 6 and 7 of the same 32 bytes.
 */
static void pack_q6_k(const uint8_t *block, float *out)
{
	float scale = pack_f16(block + 208);

	for (int i = 0; i < 256; i++) {
		int half = i / 128, quarter = i % 128 / 32, column = i % 32;
		uint8_t low = block[half * 64 + quarter % 2 * 32 + column];
		uint8_t high = block[128 + half * 32 + column];
		int sub_scale = (int8_t)block[192 + i / 16];
		int value = (quarter < 2 ? low & 15 : low >> 4) | (high >> 2 * quarter & 3) << 4;

		out[i] = scale * (float)sub_scale * (float)(value - 32);
	}
}

/* Numbers, names and sizes: enum ggml_type and the block structs of ggml. 4, 5, 31 to 33 and 36 to
 * 38 were given up and are in no file of versions 2 and 3 that its programs still read. */
static const struct pack_ggml_type pack_ggml_types[] = {
	{ 0, "F32", 1, 4, "F32", NULL },
	{ 1, "F16", 1, 2, "F16", NULL },
	{ 2, "Q4_0", 32, 18, NULL, pack_q4_0 },
	{ 3, "Q4_1", 32, 20, NULL, pack_q4_1 },
	{ 6, "Q5_0", 32, 22, NULL, pack_q5_0 },
	{ 7, "Q5_1", 32, 24, NULL, pack_q5_1 },
	{ 8, "Q8_0", 32, 34, NULL, pack_q8_0 },
	{ 9, "Q8_1", 32, 36, NULL, NULL },
	{ 10, "Q2_K", 256, 84, NULL, NULL },
	{ 11, "Q3_K", 256, 110, NULL, NULL },
	{ 12, "Q4_K", 256, 144, NULL, pack_q4_k },
	{ 13, "Q5_K", 256, 176, NULL, NULL },
	{ 14, "Q6_K", 256, 210, NULL, pack_q6_k },
	{ 15, "Q8_K", 256, 292, NULL, NULL },
	{ 16, "IQ2_XXS", 256, 66, NULL, NULL },
	{ 17, "IQ2_XS", 256, 74, NULL, NULL },
	{ 18, "IQ3_XXS", 256, 98, NULL, NULL },
	{ 19, "IQ1_S", 256, 50, NULL, NULL },
	{ 20, "IQ4_NL", 32, 18, NULL, NULL },
	{ 21, "IQ3_S", 256, 110, NULL, NULL },
	{ 22, "IQ2_S", 256, 82, NULL, NULL },
	{ 23, "IQ4_XS", 256, 136, NULL, NULL },
	{ 24, "I8", 1, 1, "I8", NULL },
	{ 25, "I16", 1, 2, "I16", NULL },
	{ 26, "I32", 1, 4, "I32", NULL },
	{ 27, "I64", 1, 8, "I64", NULL },
	{ 28, "F64", 1, 8, "F64", NULL },
	{ 29, "IQ1_M", 256, 56, NULL, NULL },
	{ 30, "BF16", 1, 2, "BF16", NULL },
	{ 34, "TQ1_0", 256, 54, NULL, NULL },
	{ 35, "TQ2_0", 256, 66, NULL, NULL },
	{ 39, "MXFP4", 32, 17, NULL, NULL },
};

const struct pack_ggml_type *pack_ggml_find(uint32_t number)
{
	for (size_t i = 0; i < sizeof pack_ggml_types / sizeof pack_ggml_types[0]; i++) {
		if (pack_ggml_types[i].number == number)
			return &pack_ggml_types[i];
	}
	return NULL;
}
