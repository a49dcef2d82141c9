/* SPDX-License-Identifier: MIT */
/* Conversions against an independent computation on doubles. */
#include "format/dtype.h"

#include <math.h>

#include "tests/support/fixture.h"

/* The value of a 16-bit pattern with so many exponent and mantissa bits (IEEE 754), not a NaN. */
static double value_of(uint16_t half, int exponent_bits, int mantissa_bits)
{
	int bias = (1 << (exponent_bits - 1)) - 1;
	int exponent = half >> mantissa_bits & ((1 << exponent_bits) - 1);
	int mantissa = half & ((1 << mantissa_bits) - 1);
	double value;

	if (exponent == (1 << exponent_bits) - 1)
		value = HUGE_VAL;
	else if (exponent == 0)
		value = ldexp(mantissa, 1 - bias - mantissa_bits);
	else
		value = ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
	return half & 0x8000 ? -value : value;
}

static int is_nan_pattern(uint16_t half, uint16_t infinity)
{
	return (half & 0x7fff) > infinity;
}

START_TEST(every_f16_widens_exactly_and_comes_back)
{
	for (unsigned bits = 0; bits < 0x10000; bits++) {
		float wide = gw_f16_to_f32((uint16_t)bits);
		double expected;

		if (is_nan_pattern((uint16_t)bits, 0x7c00)) {
			/* quiet, sign and payload kept */
			ck_assert_msg(gw_f32_bits(wide) == ((bits & 0x8000) << 16 | 0x7fc00000 |
							    (bits & 0x3ff) << 13),
				      "0x%04x", bits);
			ck_assert_msg(gw_f32_to_f16(wide) == (bits | 0x200), "0x%04x", bits);
			continue;
		}
		expected = value_of((uint16_t)bits, 5, 10);
		ck_assert_msg((double)wide == expected && !signbit(wide) == !signbit(expected),
			      "0x%04x: %a instead of %a", bits, (double)wide, expected);
		ck_assert_msg(gw_f32_to_f16(wide) == bits, "0x%04x", bits);
	}
}
END_TEST

START_TEST(every_bf16_widens_exactly_and_comes_back)
{
	for (unsigned bits = 0; bits < 0x10000; bits++) {
		float wide = gw_bf16_to_f32((uint16_t)bits);
		double expected;

		if (is_nan_pattern((uint16_t)bits, 0x7f80)) {
			ck_assert_msg(gw_f32_bits(wide) == bits << 16, "0x%04x", bits);
			ck_assert_msg(gw_f32_to_bf16(wide) == (bits | 0x40), "0x%04x", bits);
			continue;
		}
		expected = value_of((uint16_t)bits, 8, 7);
		ck_assert_msg((double)wide == expected && !signbit(wide) == !signbit(expected),
			      "0x%04x: %a instead of %a", bits, (double)wide, expected);
		ck_assert_msg(gw_f32_to_bf16(wide) == bits, "0x%04x", bits);
	}
}
END_TEST

/*
 * The pattern nearest to value, ties to even, by comparing with the two neighbours in doubles: for
 * a finite, positive value. infinity stands for the value one step above the largest.
 */
static uint16_t nearest(double value, uint16_t infinity, int exponent_bits, int mantissa_bits)
{
	uint16_t low = 0, high = infinity;
	double below, above, step;

	while (high - low > 1) {
		uint16_t middle = (uint16_t)((low + high) / 2);

		if (value_of(middle, exponent_bits, mantissa_bits) <= value)
			low = middle;
		else
			high = middle;
	}
	below = value_of(low, exponent_bits, mantissa_bits);
	above = value_of(high, exponent_bits, mantissa_bits);
	if (high == infinity) {
		step = below - value_of((uint16_t)(low - 1), exponent_bits, mantissa_bits);
		above = below + step;
	}
	if (value - below < above - value)
		return low;
	if (value - below > above - value)
		return high;
	return low & 1 ? high : low;
}

static void check_narrowing(uint32_t bits)
{
	float value = gw_f32_from_bits(bits);
	uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
	double magnitude = fabs((double)value);
	uint16_t f16 = nearest(magnitude, 0x7c00, 5, 10) | sign;
	uint16_t bf16 = nearest(magnitude, 0x7f80, 8, 7) | sign;

	ck_assert_msg(gw_f32_to_f16(value) == f16, "f16 of 0x%08x: 0x%04x instead of 0x%04x", bits,
		      gw_f32_to_f16(value), f16);
	ck_assert_msg(gw_f32_to_bf16(value) == bf16, "bf16 of 0x%08x: 0x%04x instead of 0x%04x",
		      bits, gw_f32_to_bf16(value), bf16);
}

START_TEST(narrowing_rounds_to_nearest_even)
{
	/* each exponent, with mantissas at, just below and just above every kind of tie */
	static const uint32_t mantissas[] = { 0,        1,        0x0fff,   0x1000,   0x1001,
					      0x1fff,   0x2000,   0x2fff,   0x3000,   0x3001,
					      0x7fff,   0x8000,   0x8001,   0x17fff,  0x18000,
					      0x18001,  0x3fffff, 0x400000, 0x400001, 0x7fdfff,
					      0x7fefff, 0x7ff000, 0x7ff001, 0x7f7fff, 0x7f8000,
					      0x7f8001, 0x7fffff };

	for (uint32_t exponent = 0; exponent < 255; exponent++)
		for (unsigned m = 0; m < sizeof mantissas / sizeof mantissas[0]; m++)
			for (uint32_t sign = 0; sign < 2; sign++)
				check_narrowing(sign << 31 | exponent << 23 | mantissas[m]);
}
END_TEST

START_TEST(narrowing_of_many_patterns)
{
	/* an odd stride visits patterns of every exponent and mantissa */
	for (uint64_t bits = 0; bits < UINT64_C(1) << 32; bits += 65521 * 7)
		if ((bits & 0x7f800000) != 0x7f800000)
			check_narrowing((uint32_t)bits);
}
END_TEST

START_TEST(f16_subnormals_and_their_ties)
{
	for (unsigned n = 0; n <= 4096; n++) {
		/* n quarters of the smallest subnormal */
		check_narrowing(gw_f32_bits((float)ldexp(n, -26)));
		check_narrowing(gw_f32_bits(nextafterf((float)ldexp(n, -26), 1)));
		if (n)
			check_narrowing(gw_f32_bits(nextafterf((float)ldexp(n, -26), 0)));
	}
}
END_TEST

START_TEST(overflow_infinity_and_nan)
{
	ck_assert_uint_eq(gw_f32_to_f16(65504.0f), 0x7bff);
	ck_assert_uint_eq(gw_f32_to_f16(65519.996f), 0x7bff);
	ck_assert_uint_eq(gw_f32_to_f16(65520.0f), 0x7c00);
	ck_assert_uint_eq(gw_f32_to_f16(-65520.0f), 0xfc00);
	ck_assert_uint_eq(gw_f32_to_f16(HUGE_VALF), 0x7c00);
	ck_assert_uint_eq(gw_f32_to_f16(-HUGE_VALF), 0xfc00);
	ck_assert_uint_eq(gw_f32_to_bf16(0x1.fffffep127f), 0x7f80);
	ck_assert_uint_eq(gw_f32_to_bf16(-0x1.fffffep127f), 0xff80);
	ck_assert_uint_eq(gw_f32_to_bf16(HUGE_VALF), 0x7f80);
	ck_assert_uint_eq(gw_f32_to_bf16(-HUGE_VALF), 0xff80);
	/* the payload is in bits that narrowing drops: still a NaN, a quiet one */
	ck_assert_uint_eq(gw_f32_to_f16(gw_f32_from_bits(0x7f800001)), 0x7e00);
	ck_assert_uint_eq(gw_f32_to_f16(gw_f32_from_bits(0xff800001)), 0xfe00);
	ck_assert_uint_eq(gw_f32_to_f16(gw_f32_from_bits(0x7fffffff)), 0x7fff);
	ck_assert_uint_eq(gw_f32_to_bf16(gw_f32_from_bits(0x7f800001)), 0x7fc0);
	ck_assert_uint_eq(gw_f32_to_bf16(gw_f32_from_bits(0xffffffff)), 0xffff);
}
END_TEST

START_TEST(sizes_and_names)
{
	static const struct {
		unsigned dtype, bytes;
		const char *name;
	} types[] = { { GW_DTYPE_NONE, 0, "none" }, { GW_F32, 4, "f32" }, { GW_F16, 2, "f16" },
		      { GW_BF16, 2, "bf16" },       { GW_I8, 1, "int8" }, { 5, 0, "unknown" },
		      { 255, 0, "unknown" },        { ~0U, 0, "unknown" } };

	for (unsigned i = 0; i < sizeof types / sizeof types[0]; i++) {
		ck_assert_uint_eq(gw_dtype_bytes(types[i].dtype), types[i].bytes);
		ck_assert_str_eq(gw_dtype_name(types[i].dtype), types[i].name);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("dtype");
	TCase *tcase = fixture_case(suite, "dtype");

	tcase_add_test(tcase, every_f16_widens_exactly_and_comes_back);
	tcase_add_test(tcase, every_bf16_widens_exactly_and_comes_back);
	tcase_add_test(tcase, narrowing_rounds_to_nearest_even);
	tcase_add_test(tcase, narrowing_of_many_patterns);
	tcase_add_test(tcase, f16_subnormals_and_their_ties);
	tcase_add_test(tcase, overflow_infinity_and_nan);
	tcase_add_test(tcase, sizes_and_names);
	return fixture_main(suite);
}
