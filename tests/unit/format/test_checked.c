/* SPDX-License-Identifier: MIT */
#include "format/checked.h"

#include "tests/support/fixture.h"

#define UNTOUCHED UINT64_C(0x5555555555555555)

START_TEST(sums)
{
	uint64_t out = UNTOUCHED;

	ck_assert(!gw_add(UINT64_MAX, 1, &out));
	ck_assert(!gw_add(1, UINT64_MAX, &out));
	ck_assert(!gw_add(UINT64_C(1) << 63, UINT64_C(1) << 63, &out));
	ck_assert_uint_eq(out, UNTOUCHED);
	ck_assert(gw_add(UINT64_MAX - 1, 1, &out));
	ck_assert_uint_eq(out, UINT64_MAX);
	ck_assert(gw_add(0, 0, &out));
	ck_assert_uint_eq(out, 0);
}
END_TEST

START_TEST(products)
{
	uint64_t out = UNTOUCHED;

	ck_assert(!gw_mul(UINT64_C(1) << 32, UINT64_C(1) << 32, &out));
	ck_assert(!gw_mul(UINT64_MAX, 2, &out));
	/* wraps to exactly 4 */
	ck_assert(!gw_mul((UINT64_C(1) << 62) + 1, 4, &out));
	ck_assert_uint_eq(out, UNTOUCHED);
	ck_assert(gw_mul(UINT64_C(0xffffffff), UINT64_C(0x100000001), &out));
	ck_assert_uint_eq(out, UINT64_MAX);
	ck_assert(gw_mul(UINT64_MAX, 0, &out));
	ck_assert_uint_eq(out, 0);
}
END_TEST

START_TEST(alignment)
{
	uint64_t out = UNTOUCHED;

	ck_assert(!gw_align(UINT64_MAX, 2, &out));
	ck_assert(!gw_align(UINT64_MAX - 4094, 4096, &out));
	ck_assert_uint_eq(out, UNTOUCHED);
	ck_assert(gw_align(UINT64_MAX - 4095, 4096, &out));
	ck_assert_uint_eq(out, UINT64_MAX - 4095);
	ck_assert(gw_align(0, 4096, &out));
	ck_assert_uint_eq(out, 0);
	ck_assert(gw_align(1, 4096, &out));
	ck_assert_uint_eq(out, 4096);
	ck_assert(gw_align(4096, 4096, &out));
	ck_assert_uint_eq(out, 4096);
	ck_assert(gw_align(4097, 1, &out));
	ck_assert_uint_eq(out, 4097);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("checked");
	TCase *tcase = fixture_case(suite, "checked");

	tcase_add_test(tcase, sums);
	tcase_add_test(tcase, products);
	tcase_add_test(tcase, alignment);
	return fixture_main(suite);
}
