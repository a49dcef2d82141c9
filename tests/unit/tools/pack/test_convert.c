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

int main(void)
{
	Suite *suite = suite_create("convert");
	TCase *convert = fixture_case(suite, "convert");

	tcase_add_test(convert, f16_round_trip);
	tcase_add_test(convert, bf16_round_trip);
	tcase_add_loop_test(convert, rounding, 0, sizeof values / sizeof values[0]);
	tcase_add_test(convert, between_the_16_bit_types);
	tcase_add_test(convert, unaligned);
	return fixture_main(suite);
}
