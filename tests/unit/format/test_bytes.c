/* SPDX-License-Identifier: MIT */
#include "format/bytes.h"

#include <string.h>

#include "tests/support/fixture.h"

START_TEST(integers_are_little_endian)
{
	const uint8_t data[8] = { 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0xf8 };
	struct gw_bytes bytes = gw_bytes_read(data, sizeof data);

	ck_assert_uint_eq(gw_get_u8(&bytes, 7), 0xf8);
	ck_assert_uint_eq(gw_get_u16(&bytes, 1), 0x0302);
	ck_assert_uint_eq(gw_get_u32(&bytes, 2), 0x06050403);
	ck_assert_uint_eq(gw_get_u64(&bytes, 0), UINT64_C(0xf807060504030201));
	ck_assert(!bytes.overrun);
}
END_TEST

START_TEST(put_is_the_inverse_of_get)
{
	uint8_t data[17] = { 0 };
	struct gw_bytes bytes = gw_bytes_write(data, sizeof data);

	gw_put_u8(&bytes, 0, 0x81);
	gw_put_u16(&bytes, 1, 0x8283);
	gw_put_u32(&bytes, 3, 0x84858687);
	gw_put_u64(&bytes, 7, UINT64_C(0x88898a8b8c8d8e8f));
	gw_put_bytes(&bytes, 15, "xy", 2);
	ck_assert_mem_eq(data, "\x81\x83\x82\x87\x86\x85\x84\x8f\x8e\x8d\x8c\x8b\x8a\x89\x88xy",
			 17);
	ck_assert_uint_eq(gw_get_u64(&bytes, 7), UINT64_C(0x88898a8b8c8d8e8f));
	ck_assert(!bytes.overrun);
}
END_TEST

/* Offsets and sizes at which a window of 16 bytes must give nothing. */
static const struct {
	uint64_t offset, n;
} outside[] = {
	{ 16, 1 },
	{ 15, 2 },
	{ 13, 4 },
	{ 9, 8 },
	{ 17, 0 },
	{ UINT64_MAX, 1 },
	{ UINT64_MAX - 6, 8 },
	{ 0, 17 },
	{ 1, UINT64_MAX },
	{ 8, UINT64_MAX - 7 },
};

START_TEST(reads_outside_give_zero_and_are_noticed)
{
	uint8_t data[16] = { 0 }, out[17];
	struct gw_bytes bytes = gw_bytes_read(data, sizeof data);

	memset(data, 0xff, sizeof data);
	ck_assert_ptr_null(gw_bytes_at(&bytes, outside[_i].offset, outside[_i].n));
	ck_assert(bytes.overrun);
	bytes.overrun = false;
	if (outside[_i].n && outside[_i].n <= 8) {
		ck_assert_uint_eq(gw_get(&bytes, outside[_i].offset, (unsigned)outside[_i].n), 0);
		ck_assert(bytes.overrun);
	}
	bytes.overrun = false;
	if (outside[_i].n <= sizeof out) {
		memset(out, 0xee, sizeof out);
		gw_get_bytes(&bytes, outside[_i].offset, out, outside[_i].n);
		ck_assert(bytes.overrun);
		ck_assert(gw_is_zero(out, outside[_i].n));
	}
	ck_assert_uint_eq(gw_get_u8(&bytes, 15), 0xff);
	ck_assert_msg(bytes.overrun || outside[_i].n > sizeof out, "overrun does not stay set");
}
END_TEST

START_TEST(writes_outside_are_dropped_and_noticed)
{
	uint8_t data[24] = { 0 };
	struct gw_bytes bytes = gw_bytes_write(data, 16);

	if (outside[_i].n == 0 || outside[_i].n > 17)
		return;
	if (outside[_i].n <= 8)
		gw_put(&bytes, outside[_i].offset, UINT64_MAX, (unsigned)outside[_i].n);
	else
		gw_put_bytes(&bytes, outside[_i].offset, "0123456789abcdefg", outside[_i].n);
	ck_assert(bytes.overrun);
	ck_assert(gw_is_zero(data, sizeof data));
}
END_TEST

START_TEST(the_end_of_the_window_is_inside)
{
	uint8_t data[16] = { 0 };
	struct gw_bytes bytes = gw_bytes_read(data, sizeof data);
	uint8_t out[16];

	ck_assert_ptr_eq(gw_bytes_at(&bytes, 16, 0), data + 16);
	ck_assert_ptr_eq(gw_bytes_at(&bytes, 8, 8), data + 8);
	gw_get_bytes(&bytes, 0, out, 16);
	ck_assert(!bytes.overrun);
}
END_TEST

START_TEST(zero_means_every_byte)
{
	uint8_t data[67];

	for (unsigned n = 0; n < sizeof data; n++) {
		memset(data, 0, sizeof data);
		data[n] = 1; /* straight after the range */
		ck_assert(gw_is_zero(data, n));
		for (unsigned i = 0; i < n; i++) {
			data[i] = 0x80;
			ck_assert_msg(!gw_is_zero(data, n), "byte %u of %u", i, n);
			data[i] = 0;
		}
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("bytes");
	TCase *tcase = fixture_case(suite, "bytes");
	int n = sizeof outside / sizeof outside[0];

	tcase_add_test(tcase, integers_are_little_endian);
	tcase_add_test(tcase, put_is_the_inverse_of_get);
	tcase_add_loop_test(tcase, reads_outside_give_zero_and_are_noticed, 0, n);
	tcase_add_loop_test(tcase, writes_outside_are_dropped_and_noticed, 0, n);
	tcase_add_test(tcase, the_end_of_the_window_is_inside);
	tcase_add_test(tcase, zero_means_every_byte);
	return fixture_main(suite);
}
