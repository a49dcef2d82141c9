/* SPDX-License-Identifier: MIT */
/* The detectors detect: suites that must fail, run by the runner itself. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "format/dtype.h"
#include "tests/support/fixture.h"

START_TEST(leaks_a_descriptor)
{
	ck_assert_int_ge(open("/dev/null", O_RDONLY | O_CLOEXEC), 0);
}
END_TEST

START_TEST(closes_one_too_many)
{
	close(STDIN_FILENO);
}
END_TEST

START_TEST(has_another_code)
{
	struct gw_error error = GW_ERROR_INIT;

	ck_assert_code(error, GW_E_NAME, GW_E_DTYPE);
}
END_TEST

START_TEST(values_are_scrambled_and_exact_everywhere)
{
	for (unsigned seed = 1; seed < 3; seed++)
		for (unsigned r = 0; r < 64; r++)
			for (unsigned c = 0; c < 64; c++) {
				float value = fixture_value(seed, r, c);

				ck_assert(gw_bf16_to_f32(gw_f32_to_bf16(value)) == value);
				ck_assert(gw_f16_to_f32(gw_f32_to_f16(value)) == value);
			}
	ck_assert(fixture_value(1, 2, 3) != fixture_value(1, 3, 2));
	ck_assert(fixture_value(1, 2, 3) != fixture_value(2, 2, 3));
}
END_TEST

static int run(const TTest *test)
{
	Suite *suite = suite_create("fixture");

	tcase_add_test(fixture_case(suite, "fixture"), test);
	return fixture_main(suite);
}

int main(void)
{
	const struct {
		const TTest *test;
		int exit_code;
		const char *what;
	} runs[] = {
		{ values_are_scrambled_and_exact_everywhere, EXIT_SUCCESS, "good test" },
		{ leaks_a_descriptor, EXIT_FAILURE, "leaked descriptor" },
		{ closes_one_too_many, EXIT_FAILURE, "lost descriptor" },
		{ has_another_code, EXIT_FAILURE, "wrong code" },
	};
	int exit_code = EXIT_SUCCESS;

	/* these tests fail on purpose: no report, and each in a process of its own */
	setenv("CK_VERBOSITY", "silent", 1);
	setenv("CK_FORK", "yes", 1);
	for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++)
		if (run(runs[i].test) != runs[i].exit_code) {
			fprintf(stderr, "the runner misjudged: %s\n", runs[i].what);
			exit_code = EXIT_FAILURE;
		}
	return exit_code;
}
