/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "format/digest.h"
#include "tests/support/fixture.h"
#include "tools/pack/random.h"

/* A changed digest changes what everybody's seeds mean: it must never happen by accident. */
START_TEST(golden)
{
	static const struct {
		uint64_t seed, table, row;
		double stddev;
		uint64_t digest;
	} rows[] = {
		{ 42, 1, 0, 0.02, UINT64_C(0x7590f05709d09078) },
		{ 42, 1, 50256, 0.02, UINT64_C(0x710787267bff8326) },
		{ 42, 2, 0, 0.01, UINT64_C(0x38388d161701a95c) },
		{ 0, 1, 0, 1.0, UINT64_C(0x2141f39a4be3fb57) },
		{ UINT64_MAX, 2, 1023, 1.0, UINT64_C(0x801e98863011b80d) },
	};
	float row[768];

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct pack_random random;
		uint64_t digest;

		pack_random_start(&random, rows[i].seed, rows[i].table, rows[i].row);
		pack_random_normal(&random, rows[i].stddev, row, 768);
		digest = gw_hash64(row, sizeof row);
		ck_assert_msg(digest == rows[i].digest, "row %zu: %016" PRIx64, i, digest);
	}
}
END_TEST

/*
 * The same algorithm in a few lines of Python gave this: xoshiro256** and splitmix64 as published.
 */
START_TEST(stream)
{
	struct pack_random random;

	pack_random_start(&random, 42, 1, 0);
	ck_assert_uint_eq(pack_random_next(&random), UINT64_C(0x7f2481033c03b875));
	ck_assert_uint_eq(pack_random_next(&random), UINT64_C(0xe20c1c6323b6d2ab));
	ck_assert_uint_eq(pack_random_next(&random), UINT64_C(0xc4c23932ac5492a9));
}
END_TEST

START_TEST(odd_counts)
{
	struct pack_random one, other;
	float three[3], four[4];

	pack_random_start(&one, 7, 1, 3);
	pack_random_start(&other, 7, 1, 3);
	pack_random_normal(&one, 1.0, three, 3);
	pack_random_normal(&other, 1.0, four, 4);
	ck_assert_mem_eq(three, four, sizeof three);
}
END_TEST

START_TEST(logarithm)
{
	for (int i = -2000; i <= 2000; i++) {
		double value = exp(i * 0.0373) * (1.0 + i * 1e-5);
		double expected = log(value);

		ck_assert_msg(fabs(pack_random_log(value) - expected) <=
				      4e-16 * fabs(expected) + 1e-17,
			      "log %a is %a, not %a", value, pack_random_log(value), expected);
	}
	ck_assert(pack_random_log(1.0) == 0.0);
}
END_TEST

START_TEST(distribution)
{
	size_t n = 1 << 20, beyond = 0;
	float *values = calloc(n, sizeof *values);
	double sum = 0, squares = 0;
	struct pack_random random;

	for (size_t row = 0; row < n / 1024; row++) {
		pack_random_start(&random, 1, 1, row);
		pack_random_normal(&random, 0.02, values + row * 1024, 1024);
	}
	for (size_t i = 0; i < n; i++) {
		sum += values[i];
		squares += (double)values[i] * values[i];
		beyond += fabs(values[i]) > 0.04;
	}
	/* five standard errors of mean, deviation and share (4.55% lie beyond two sigma) */
	ck_assert_double_le(fabs(sum / (double)n), 5 * 0.02 / 1024);
	ck_assert_double_le(fabs(sqrt(squares / (double)n) - 0.02), 5 * 0.02 / 1448);
	ck_assert_double_le(fabs((double)beyond / (double)n - 0.0455003), 5 * 0.000204);
	free(values);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("random");
	TCase *tcase = fixture_case(suite, "random");

	tcase_add_test(tcase, golden);
	tcase_add_test(tcase, stream);
	tcase_add_test(tcase, odd_counts);
	tcase_add_test(tcase, logarithm);
	tcase_add_test(tcase, distribution);
	return fixture_main(suite);
}
