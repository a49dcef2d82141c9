/* SPDX-License-Identifier: MIT */
/* What the tools share. */
#include <string.h>

#include "tests/support/fixture.h"
#include "tools/common/number.h"
#include "tools/common/report.h"

#define UNTOUCHED UINT64_C(0x5a5a)

static const struct {
	const char *text;
	uint64_t min, max;
	int code;
	uint64_t value;
} numbers[] = {
	{ "0", 0, 9, GW_OK, 0 },
	{ "007", 0, 9, GW_OK, 7 },
	{ "18446744073709551615", 0, UINT64_MAX, GW_OK, UINT64_MAX },
	{ "18446744073709551616", 0, UINT64_MAX, GW_E_ARGUMENT, UNTOUCHED },
	{ "99999999999999999999999", 0, UINT64_MAX, GW_E_ARGUMENT, UNTOUCHED },
	{ "10", 0, 9, GW_E_ARGUMENT, UNTOUCHED },
	{ "0", 1, 9, GW_E_ARGUMENT, UNTOUCHED },
	{ "", 0, 9, GW_E_ARGUMENT, UNTOUCHED },
	{ " 1", 0, 9, GW_E_ARGUMENT, UNTOUCHED },
	{ "1 ", 0, 9, GW_E_ARGUMENT, UNTOUCHED },
	{ "+1", 0, 9, GW_E_ARGUMENT, UNTOUCHED },
	{ "-1", 0, UINT64_MAX, GW_E_ARGUMENT, UNTOUCHED },
	{ "1K", 0, UINT64_MAX, GW_E_ARGUMENT, UNTOUCHED },
	{ "0x1", 0, 9, GW_E_ARGUMENT, UNTOUCHED },
	{ "1.0", 0, 9, GW_E_ARGUMENT, UNTOUCHED },
};

START_TEST(unsigned_numbers)
{
	struct gw_error error = GW_ERROR_INIT;
	uint64_t value = UNTOUCHED;

	ck_assert_code(error,
		       tool_parse_u64(numbers[_i].text, "--n", numbers[_i].min, numbers[_i].max,
				      &value, &error),
		       numbers[_i].code);
	ck_assert_uint_eq(value, numbers[_i].value);
}
END_TEST

START_TEST(signed_numbers)
{
	struct gw_error error = GW_ERROR_INIT;
	int64_t value = 5;

	ck_assert_code(error,
		       tool_parse_i64("-9223372036854775808", "id", INT64_MIN, INT64_MAX, &value,
				      &error),
		       GW_OK);
	ck_assert(value == INT64_MIN);
	ck_assert_code(error,
		       tool_parse_i64("9223372036854775807", "id", INT64_MIN, INT64_MAX, &value,
				      &error),
		       GW_OK);
	ck_assert(value == INT64_MAX);
	ck_assert_code(error, tool_parse_i64("-0", "id", 0, 1, &value, &error), GW_OK);
	ck_assert(value == 0);
	value = 5;
	ck_assert_code(error,
		       tool_parse_i64("9223372036854775808", "id", INT64_MIN, INT64_MAX, &value,
				      &error),
		       GW_E_ARGUMENT);
	ck_assert_code(error,
		       tool_parse_i64("-9223372036854775809", "id", INT64_MIN, INT64_MAX, &value,
				      &error),
		       GW_E_ARGUMENT);
	ck_assert_code(error, tool_parse_i64("-1", "id", 0, 9, &value, &error), GW_E_ARGUMENT);
	ck_assert_code(error, tool_parse_i64("-", "id", -9, 9, &value, &error), GW_E_ARGUMENT);
	ck_assert_code(error, tool_parse_i64("--1", "id", -9, 9, &value, &error), GW_E_ARGUMENT);
	ck_assert(value == 5);
	ck_assert_str_eq(error.message, "id: \"--1\" is not a number from -9 to 9");
}
END_TEST

START_TEST(sizes)
{
	struct gw_error error = GW_ERROR_INIT;
	uint64_t value = 0;
	char text[TOOL_SIZE_TEXT_BYTES];

	ck_assert_code(error, tool_parse_size("3M", "--n", 0, UINT64_MAX, &value, &error), GW_OK);
	ck_assert_uint_eq(value, 3 << 20);
	ck_assert_code(error, tool_parse_size("2T", "--n", 0, UINT64_MAX, &value, &error), GW_OK);
	ck_assert_uint_eq(value, UINT64_C(2) << 40);
	ck_assert_code(error, tool_parse_size("16777216T", "--n", 0, UINT64_MAX, &value, &error),
		       GW_E_ARGUMENT);
	ck_assert_code(error, tool_parse_size("3MB", "--n", 0, UINT64_MAX, &value, &error),
		       GW_E_ARGUMENT);
	ck_assert_code(error, tool_parse_size("K", "--n", 0, UINT64_MAX, &value, &error),
		       GW_E_ARGUMENT);
	ck_assert_str_eq(tool_size_text(999, text), "999 bytes");
	ck_assert_str_eq(tool_size_text(1000, text), "1.0 kB");
	ck_assert_str_eq(tool_size_text(999960, text), "1.0 MB");
	ck_assert_str_eq(tool_size_text(154389504, text), "154.4 MB");
	ck_assert_str_eq(tool_size_text(UINT64_C(1) << 40, text), "1.1 TB");
}
END_TEST

START_TEST(exit_codes)
{
	static const struct {
		int status;
		enum tool_exit code;
	} codes[] = {
		{ GW_OK, TOOL_DONE },
		{ GW_E_ARGUMENT, TOOL_USAGE },
		{ GW_E_MEMORY, TOOL_FAILED },
		{ GW_E_IO, TOOL_IO },
		{ GW_E_EXISTS, TOOL_FAILED },
		{ GW_E_OUTPUT, TOOL_FAILED },
		{ GW_E_NOT_FILE, TOOL_INPUT },
		{ GW_E_CHANGED, TOOL_INPUT },
		{ GW_E_TRUNCATED, TOOL_VERIFY },
		{ GW_E_TRAILING, TOOL_VERIFY },
		{ GW_E_MAGIC, TOOL_INPUT },
		{ GW_E_VERSION, TOOL_INPUT },
		{ GW_E_FEATURE, TOOL_INPUT },
		{ GW_E_RESERVED, TOOL_VERIFY },
		{ GW_E_BLOCK_DIGEST, TOOL_VERIFY },
		{ GW_E_CONNECT, TOOL_IO },
		{ GW_E_PATH, TOOL_USAGE },
		{ GW_E_WIRE_FIELD, TOOL_FAILED },
		{ GW_E_SOURCE, TOOL_INPUT },
		{ GW_E_SOURCE_KIND, TOOL_INPUT },
		{ GW_E_SOURCE_TABLES, TOOL_INPUT },
		{ -12345, TOOL_FAILED },
	};

	for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
		ck_assert_msg(tool_exit_code(codes[i].status) == codes[i].code, "%d gives %u",
			      codes[i].status, tool_exit_code(codes[i].status));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("common");
	TCase *tcase = fixture_case(suite, "common");

	tcase_add_loop_test(tcase, unsigned_numbers, 0, sizeof numbers / sizeof numbers[0]);
	tcase_add_test(tcase, signed_numbers);
	tcase_add_test(tcase, sizes);
	tcase_add_test(tcase, exit_codes);
	return fixture_main(suite);
}
