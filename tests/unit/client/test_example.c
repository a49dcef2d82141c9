/* SPDX-License-Identifier: MIT */
/* The example of the manual page, run on a pack with ids up to the largest that it asks for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/fixture.h"

START_TEST(test_example)
{
	static const int ids[] = { 15496, 11, 995 };
	char *folder = fixture_folder_new();
	const char *path = fixture_path(folder, "p.gpt2w");
	const char *program = getenv("GPT2C_EXAMPLE");
	char command[8192], line[256], wanted[256];
	FILE *output;

	ck_assert_msg(program != NULL, "GPT2C_EXAMPLE names the program");
	fixture_pack(path, 15497, 3, 5, GW_F32, GW_F32);
	snprintf(command, sizeof command, "'%s' '%s'", program, path);
	output = popen(command, "re");
	ck_assert_ptr_nonnull(output);
	for (uint64_t t = 0; t < 3; t++) {
		float first = fixture_value(1, (uint64_t)ids[t], 0) + fixture_value(2, t, 0);
		float second = fixture_value(1, (uint64_t)ids[t], 1) + fixture_value(2, t, 1);

		snprintf(wanted, sizeof wanted, "%d: %g %g ...\n", ids[t], first, second);
		ck_assert_ptr_nonnull(fgets(line, sizeof line, output));
		ck_assert_str_eq(line, wanted);
	}
	ck_assert_ptr_null(fgets(line, sizeof line, output));
	ck_assert_int_eq(pclose(output), 0);

	snprintf(command, sizeof command, "'%s' '%s/none' 2>&1", program, folder);
	output = popen(command, "re");
	ck_assert_ptr_nonnull(output);
	ck_assert_ptr_nonnull(fgets(line, sizeof line, output));
	ck_assert_ptr_nonnull(strstr(line, "No such file"));
	ck_assert_int_ne(pclose(output), 0);
	fixture_folder_free(folder);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client/example");
	TCase *tcase = fixture_case(suite, "example");

	tcase_add_test(tcase, test_example);
	return fixture_main(suite);
}
