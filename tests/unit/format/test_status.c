/* SPDX-License-Identifier: MIT */
#include "format/status.h"

#include <errno.h>
#include <string.h>

#include "tests/support/fixture.h"

static const int codes[] = {
	0,   -1,  -2,  -3,  -4,  -5,  -6,  -7,  -10, -11, -12, -13, -14, -15, -16,
	-17, -18, -19, -20, -21, -22, -23, -24, -25, -26, -27, -28, -29, -30, -31,
	-32, -33, -50, -51, -52, -53, -54, -55, -56, -57, -58, -59, -80, -81, -82,
};
#define N_CODES (sizeof codes / sizeof codes[0])

START_TEST(each_code_has_words_of_its_own)
{
	const char *unknown = gw_strstatus(-1000);

	ck_assert_str_eq(gw_strstatus(1), unknown);
	ck_assert_str_eq(gw_strstatus(-8), unknown);
	for (size_t i = 0; i < N_CODES; i++) {
		ck_assert_str_ne(gw_strstatus(codes[i]), "");
		ck_assert_str_ne(gw_strstatus(codes[i]), unknown);
		for (size_t j = 0; j < i; j++)
			ck_assert_str_ne(gw_strstatus(codes[i]), gw_strstatus(codes[j]));
	}
}
END_TEST

START_TEST(values_are_pinned)
{
	ck_assert_int_eq(GW_E_OUTPUT, -7);
	ck_assert_int_eq(GW_E_TRUNCATED, -10);
	ck_assert_int_eq(GW_E_BLOCK_DIGEST, -32);
	ck_assert_int_eq(GW_E_BLOCK_CODE, -33);
	ck_assert_int_eq(GW_E_PATH, -50);
	ck_assert_int_eq(GW_E_WIRE_FDS, -59);
	ck_assert_int_eq(GW_E_FD_KIND, -70);
	ck_assert_int_eq(GW_E_FD_OTHER, -72);
	ck_assert_int_eq(GW_E_SOURCE, -80);
	ck_assert_int_eq(GW_E_SOURCE_TABLES, -82);
}
END_TEST

START_TEST(fail_fills_and_returns)
{
	struct gw_error error = GW_ERROR_INIT;

	ck_assert_uint_eq(error.offset, GW_NO_OFFSET);
	error.sys_errno = 99;
	ck_assert_int_eq(gw_fail(&error, GW_E_LIMIT, 56, "%u of %s", 7, "them"), GW_E_LIMIT);
	ck_assert_int_eq(error.code, GW_E_LIMIT);
	ck_assert_int_eq(error.sys_errno, 0);
	ck_assert_uint_eq(error.offset, 56);
	ck_assert_str_eq(error.message, "7 of them");
	ck_assert_int_eq(gw_fail(NULL, GW_E_NAME, 0, "nobody reads this"), GW_E_NAME);
}
END_TEST

START_TEST(fail_errno_appends_the_words)
{
	struct gw_error error = GW_ERROR_INIT;

	ck_assert_int_eq(gw_fail_errno(&error, ENOSPC, "cannot write %s", "x"), GW_E_IO);
	ck_assert_int_eq(error.code, GW_E_IO);
	ck_assert_int_eq(error.sys_errno, ENOSPC);
	ck_assert_uint_eq(error.offset, GW_NO_OFFSET);
	ck_assert_str_eq(error.message, "cannot write x: No space left on device");
	ck_assert_int_eq(gw_fail_errno(NULL, EIO, "nobody reads this"), GW_E_IO);
	ck_assert_int_eq(gw_fail_errno(&error, 99999, "odd"), GW_E_IO);
	ck_assert_int_eq(strncmp(error.message, "odd: ", 5), 0);
	ck_assert_uint_gt(strlen(error.message), 5);
}
END_TEST

START_TEST(long_messages_are_cut)
{
	struct gw_error error = GW_ERROR_INIT;
	char text[2000];

	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	gw_fail(&error, GW_E_NAME, 0, "%s", text);
	ck_assert_uint_eq(strlen(error.message), sizeof error.message - 1);
	gw_fail_errno(&error, EACCES, "%s", text);
	ck_assert_uint_eq(strlen(error.message), sizeof error.message - 1);
	text[sizeof error.message - 5] = '\0';
	gw_fail_errno(&error, EACCES, "%s", text);
	ck_assert_uint_eq(strlen(error.message), sizeof error.message - 1);
}
END_TEST

#define TEXT(s) s, sizeof(s) - 1

static const struct {
	const char *text;
	size_t bytes;
	const char *quoted;
} quotes[] = {
	{ TEXT(""), "" },
	{ TEXT("wte.weight"), "wte.weight" },
	{ TEXT("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"),
	  "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80" },
	{ TEXT("a\nb\tc\r"), "a\\x0ab\\x09c\\x0d" },
	{ TEXT("\x1b[2J\x1b]0;title\x07"), "\\x1b[2J\\x1b]0;title\\x07" },
	{ TEXT("nul\0inside"), "nul\\x00inside" },
	{ TEXT("\x7f"), "\\x7f" },
	/* what looks like an escape must not pass for one */
	{ TEXT("\\x1b"), "\\x5cx1b" },
	/* lone, truncated, overlong, surrogate, past the end of Unicode */
	{ TEXT("\x80"), "\\x80" },
	{ TEXT("\xff\xfe"), "\\xff\\xfe" },
	{ TEXT("\xc3"), "\\xc3" },
	{ TEXT("\xe2\x82"), "\\xe2\\x82" },
	{ TEXT("\xc0\xaf"), "\\xc0\\xaf" },
	{ TEXT("\xe0\x80\xaf"), "\\xe0\\x80\\xaf" },
	{ TEXT("\xf0\x80\x80\xaf"), "\\xf0\\x80\\x80\\xaf" },
	{ TEXT("\xed\xa0\x80"), "\\xed\\xa0\\x80" },
	{ TEXT("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80" },
	{ TEXT("\xf5\x80\x80\x80"), "\\xf5\\x80\\x80\\x80" },
	{ TEXT("\xc3\x28"), "\\xc3(" },
	/* CSI as a C1 control; marks that reorder or hide text */
	{ TEXT("\xc2\x9b"
	       "31m"),
	  "\\xc2\\x9b31m" },
	{ TEXT("\xe2\x80\xae"
	       "abc"),
	  "\\xe2\\x80\\xaeabc" },
	{ TEXT("\xe2\x81\xa6"), "\\xe2\\x81\\xa6" },
	{ TEXT("\xef\xbb\xbf"), "\\xef\\xbb\\xbf" },
};

START_TEST(hostile_text_is_quoted)
{
	char out[256];

	ck_assert_ptr_eq(gw_quote(quotes[_i].text, quotes[_i].bytes, out, sizeof out), out);
	ck_assert_str_eq(out, quotes[_i].quoted);
}
END_TEST

/* Whatever the room: terminated, within it, a prefix of the whole, and marked where it was cut. */
START_TEST(long_text_is_cut_at_every_length)
{
	const char *text = quotes[_i].text;
	char out[258];

	for (size_t room = 1; room < 64; room++) {
		size_t length;

		memset(out, '#', sizeof out);
		gw_quote(text, quotes[_i].bytes, out, room);
		length = strlen(out);
		ck_assert_uint_lt(length, room);
		ck_assert_msg(out[room] == '#', "written past %zu bytes", room);
		if (strcmp(out, quotes[_i].quoted) == 0)
			continue;
		/* room for the dots is kept until the last character */
		ck_assert_uint_gt(strlen(quotes[_i].quoted) + 4, room);
		if (room >= 4) {
			ck_assert_str_eq(out + length - 3, "...");
			ck_assert_int_eq(strncmp(out, quotes[_i].quoted, length - 3), 0);
		}
	}
	out[0] = '#';
	gw_quote(text, quotes[_i].bytes, out, 0);
	ck_assert_int_eq(out[0], '#');
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("status");
	TCase *tcase = fixture_case(suite, "status");
	int n = sizeof quotes / sizeof quotes[0];

	tcase_add_test(tcase, each_code_has_words_of_its_own);
	tcase_add_test(tcase, values_are_pinned);
	tcase_add_test(tcase, fail_fills_and_returns);
	tcase_add_test(tcase, fail_errno_appends_the_words);
	tcase_add_test(tcase, long_messages_are_cut);
	tcase_add_loop_test(tcase, hostile_text_is_quoted, 0, n);
	tcase_add_loop_test(tcase, long_text_is_cut_at_every_length, 0, n);
	return fixture_main(suite);
}
