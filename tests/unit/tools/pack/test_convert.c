/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "format/dtype.h"
#include "tests/support/fixture.h"
#include "tools/pack/convert.h"

static uint8_t in[65536 * 4], wide[65536 * 4], back[65536 * 4];

/* Every pattern of 16 bits survives the way through f32; a signalling NaN comes back quiet. */
static void round_trip(unsigned dtype, uint16_t quiet, uint16_t infinity)
{
	for (uint32_t i = 0; i < 65536; i++) {
		uint16_t half = (uint16_t)i;

		memcpy(in + 2 * i, &half, 2);
	}
	ck_assert_uint_eq(pack_convert(dtype, GW_F32, in, 65536, wide), 0);
	ck_assert_uint_eq(pack_convert(GW_F32, dtype, wide, 65536, back), 0);
	for (uint32_t i = 0; i < 65536; i++) {
		uint16_t expected = (uint16_t)i, half;

		if ((i & 0x7fff) > infinity)
			expected |= quiet;
		memcpy(&half, back + 2 * i, 2);
		ck_assert_msg(half == expected, "%04x became %04x", i, half);
	}
	/* and of one type into itself nothing changes at all */
	ck_assert_uint_eq(pack_convert(dtype, dtype, in, 65536, back), 0);
	ck_assert_mem_eq(in, back, 65536 * 2);
}

START_TEST(f16_round_trip)
{
	round_trip(GW_F16, 0x200, 0x7c00);
}
END_TEST

START_TEST(bf16_round_trip)
{
	round_trip(GW_BF16, 0x40, 0x7f80);
}
END_TEST

static const struct {
	uint32_t bits;
	uint16_t f16, bf16;
	unsigned f16_overflows, bf16_overflows;
} values[] = {
	{ 0x00000000, 0x0000, 0x0000, 0, 0 },
	{ 0x80000000, 0x8000, 0x8000, 0, 0 },
	{ 0x3f800000, 0x3c00, 0x3f80, 0, 0 },
	/* ties: to the even neighbour, below and above */
	{ 0x3f801000, 0x3c00, 0x3f80, 0, 0 },
	{ 0x3f803000, 0x3c02, 0x3f80, 0, 0 },
	{ 0x3f801001, 0x3c01, 0x3f80, 0, 0 },
	{ 0x3f808000, 0x3c04, 0x3f80, 0, 0 },
	{ 0x3f818000, 0x3c0c, 0x3f82, 0, 0 },
	{ 0x3f808001, 0x3c04, 0x3f81, 0, 0 },
	/* 65504, the largest f16; 65519.996; 65520 */
	{ 0x477fe000, 0x7bff, 0x4780, 0, 0 },
	{ 0x477fefff, 0x7bff, 0x4780, 0, 0 },
	{ 0x477ff000, 0x7c00, 0x4780, 1, 0 },
	{ 0xc77ff000, 0xfc00, 0xc780, 1, 0 },
	/* 2^-24, the smallest f16; half of it; a bit more than half */
	{ 0x33800000, 0x0001, 0x3380, 0, 0 },
	{ 0x33000000, 0x0000, 0x3300, 0, 0 },
	{ 0x33000001, 0x0001, 0x3300, 0, 0 },
	/* the largest f32 */
	{ 0x7f7fffff, 0x7c00, 0x7f80, 1, 1 },
	{ 0x7f7f7fff, 0x7c00, 0x7f7f, 1, 0 },
	/* infinity is no overflow */
	{ 0x7f800000, 0x7c00, 0x7f80, 0, 0 },
	{ 0xff800000, 0xfc00, 0xff80, 0, 0 },
};

START_TEST(rounding)
{
	uint16_t half;
	uint8_t bytes[4];

	memcpy(bytes, &values[_i].bits, 4);
	ck_assert_uint_eq(pack_convert(GW_F32, GW_F16, bytes, 1, back), values[_i].f16_overflows);
	memcpy(&half, back, 2);
	ck_assert_uint_eq(half, values[_i].f16);
	ck_assert_uint_eq(pack_convert(GW_F32, GW_BF16, bytes, 1, back), values[_i].bf16_overflows);
	memcpy(&half, back, 2);
	ck_assert_uint_eq(half, values[_i].bf16);
}
END_TEST

START_TEST(between_the_16_bit_types)
{
	const uint16_t large = 0x7f00, one = 0x3c00; /* bf16 1.7e38, f16 1 */
	uint16_t half;

	memcpy(in, &large, 2);
	ck_assert_uint_eq(pack_convert(GW_BF16, GW_F16, in, 1, back), 1);
	memcpy(in, &one, 2);
	ck_assert_uint_eq(pack_convert(GW_F16, GW_BF16, in, 1, back), 0);
	memcpy(&half, back, 2);
	ck_assert_uint_eq(half, 0x3f80);
}
END_TEST

START_TEST(unaligned)
{
	const float numbers[] = { 1.5f, -2.25f, 1e-3f };

	memcpy(in + 1, numbers, sizeof numbers);
	pack_convert(GW_F32, GW_BF16, in + 1, 3, wide + 3);
	pack_convert(GW_BF16, GW_F32, wide + 3, 2, back + 5);
	ck_assert_mem_eq(back + 5, numbers, 8);
}
END_TEST

static uint16_t from_f64(unsigned dtype, double value, uint64_t *out_overflows)
{
	uint16_t half;

	memcpy(in + 3, &value, 8);
	*out_overflows = pack_convert(PACK_F64, dtype, in + 3, 1, back);
	memcpy(&half, back, 2);
	return half;
}

/*
 * Between every two neighbours of a 16-bit type: the middle goes to the even one, the next f64 on
 * either side of it to the one that is nearer, which a rounding through f32 would get wrong.
 */
static void f64_rounds_once(unsigned dtype, uint16_t infinity)
{
	uint64_t overflows;

	for (uint16_t i = 0; i < infinity; i++) {
		uint16_t next = (uint16_t)(i + 1);
		double low = (double)(dtype == GW_F16 ? gw_f16_to_f32(i) : gw_bf16_to_f32(i));
		double high = (double)(dtype == GW_F16 ? gw_f16_to_f32(next) : gw_bf16_to_f32(next));
		double middle;

		/* the infinity begins where the next number would be */
		if (next == infinity)
			high = dtype == GW_F16 ? 65536 : 0x1p128;
		middle = low + (high - low) / 2;
		ck_assert_uint_eq(from_f64(dtype, low, &overflows), i);
		ck_assert_uint_eq(from_f64(dtype, middle, &overflows), i % 2 ? next : i);
		ck_assert_uint_eq(from_f64(dtype, -middle, &overflows), (i % 2 ? next : i) | 0x8000);
		ck_assert_uint_eq(overflows, next == infinity);
		ck_assert_uint_eq(from_f64(dtype, nextafter(middle, 0), &overflows), i);
		ck_assert_uint_eq(overflows, 0);
		ck_assert_uint_eq(from_f64(dtype, nextafter(middle, INFINITY), &overflows), next);
		ck_assert_uint_eq(overflows, next == infinity);
	}
	ck_assert_uint_eq(from_f64(dtype, 1e300, &overflows), infinity);
	ck_assert_uint_eq(overflows, 1);
	ck_assert_uint_eq(from_f64(dtype, (double)-INFINITY, &overflows), infinity | 0x8000);
	ck_assert_uint_eq(overflows, 0);
	ck_assert_uint_eq(from_f64(dtype, 5e-324, &overflows), 0);
	ck_assert_uint_eq(from_f64(dtype, -5e-324, &overflows), 0x8000);
	ck_assert_uint_gt(from_f64(dtype, (double)NAN, &overflows) & 0x7fff, infinity);
	ck_assert_uint_eq(overflows, 0);
}

START_TEST(f64_to_16_bits)
{
	f64_rounds_once(GW_F16, 0x7c00);
	f64_rounds_once(GW_BF16, 0x7f80);
}
END_TEST

START_TEST(f64_to_f32)
{
	static const struct {
		double value;
		uint32_t bits;
		unsigned overflows;
	} cases[] = {
		{ 1.0, 0x3f800000, 0 },
		{ -0.0, 0x80000000, 0 },
		{ 0x1.000001p0, 0x3f800000, 0 }, /* ties */
		{ 0x1.000003p0, 0x3f800002, 0 },
		{ 0x1.0000010000001p0, 0x3f800001, 0 },
		{ 0x1.fffffefffffffp127, 0x7f7fffff, 0 },
		{ 0x1.ffffffp127, 0x7f800000, 1 },
		{ (double)INFINITY, 0x7f800000, 0 },
		{ 0x1p-150, 0x00000000, 0 },
		{ 0x1.0000000000001p-150, 0x00000001, 0 },
	};
	uint32_t bits;

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		ck_assert_uint_eq(pack_convert(PACK_F64, GW_F32, (const uint8_t *)&cases[i].value, 1,
					       back),
				  cases[i].overflows);
		memcpy(&bits, back, 4);
		ck_assert_uint_eq(bits, cases[i].bits);
	}
	ck_assert_uint_eq(pack_type_bytes(PACK_F64), 8);
	ck_assert_uint_eq(pack_type_bytes(GW_F16), 2);
	ck_assert_str_eq(pack_type_name(PACK_F64), "f64");
	ck_assert_str_eq(pack_type_name(GW_BF16), "bf16");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("convert");
	TCase *convert = fixture_case(suite, "convert");

	tcase_add_test(convert, f16_round_trip);
	tcase_add_test(convert, bf16_round_trip);
	tcase_add_loop_test(convert, rounding, 0, sizeof values / sizeof values[0]);
	tcase_add_test(convert, between_the_16_bit_types);
	tcase_add_test(convert, unaligned);
	tcase_add_test(convert, f64_to_16_bits);
	tcase_add_test(convert, f64_to_f32);
	return fixture_main(suite);
}
