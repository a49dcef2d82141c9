/* SPDX-License-Identifier: MIT */
/* Codes, words, and errors of every size. */
#include "client/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/fixture.h"

static const struct {
	int status, sys_errno, code;
} codes[] = {
	{ GW_OK, 0, 0 },
	{ GW_E_ARGUMENT, 0, -1 },
	{ GW_E_MEMORY, 0, -2 },
	{ GW_E_IO, EIO, -3 },
	{ GW_E_IO, EMFILE, -3 },
	{ GW_E_IO, ENOMEM, -2 },
	{ GW_E_IO, EACCES, -21 },
	{ GW_E_IO, EPERM, -21 },
	{ GW_E_IO, ENOENT, -40 },
	{ GW_E_IO, ENOTDIR, -40 },
	{ GW_E_EXISTS, 0, -3 },
	{ GW_E_NOT_FILE, 0, -41 },
	{ GW_E_CHANGED, 0, -43 },
	{ GW_E_OUTPUT, 0, -3 },
	{ GW_E_TRUNCATED, 0, -43 },
	{ GW_E_TRAILING, 0, -43 },
	{ GW_E_MAGIC, 0, -41 },
	{ GW_E_VERSION, 0, -42 },
	{ GW_E_FEATURE, 0, -42 },
	{ GW_E_RESERVED, 0, -44 },
	{ GW_E_SUPERBLOCK_DIGEST, 0, -44 },
	{ GW_E_LIMIT, 0, -45 },
	{ GW_E_LAYOUT, 0, -45 },
	{ GW_E_DIRECTORY_DIGEST, 0, -44 },
	{ GW_E_DIGESTS_DIGEST, 0, -44 },
	{ GW_E_PROVENANCE_DIGEST, 0, -44 },
	{ GW_E_CONTENT_ID, 0, -44 },
	{ GW_E_NAME, 0, -45 },
	{ GW_E_DTYPE, 0, -42 },
	{ GW_E_SHAPE, 0, -45 },
	{ GW_E_ROLE, 0, -45 },
	{ GW_E_STRIDE, 0, -45 },
	{ GW_E_ALIGNMENT, 0, -45 },
	{ GW_E_BOUNDS, 0, -45 },
	{ GW_E_OVERLAP, 0, -45 },
	{ GW_E_PADDING, 0, -44 },
	{ GW_E_BLOCK_DIGEST, 0, -44 },
	{ GW_E_BLOCK_CODE, 0, -45 },
	{ GW_E_STORED_DIGEST, 0, -44 },
	{ GW_E_STORED_BLOCK, 0, -44 },
	{ GW_E_PATH, 0, -1 },
	{ GW_E_CONNECT, 0, -20 },
	{ GW_E_TIMEOUT, 0, -22 },
	{ GW_E_CLOSED, 0, -28 },
	{ GW_E_WIRE_LENGTH, 0, -27 },
	{ GW_E_WIRE_MAGIC, 0, -27 },
	{ GW_E_WIRE_VERSION, 0, -27 },
	{ GW_E_WIRE_TYPE, 0, -27 },
	{ GW_E_WIRE_FIELD, 0, -27 },
	{ GW_E_WIRE_FDS, 0, -27 },
	{ GW_E_FD_KIND, 0, -3 },
	{ GW_E_FD_SEALS, 0, -3 },
	{ GW_E_FD_OTHER, 0, -3 },
	{ GW_E_SOURCE, 0, -3 },
	{ GW_E_SOURCE_KIND, 0, -3 },
	{ GW_E_SOURCE_TABLES, 0, -3 },
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

START_TEST(test_codes)
{
	for (size_t i = 0; i < COUNT(codes); i++)
		ck_assert_msg(gpt2c_code(codes[i].status, codes[i].sys_errno) == codes[i].code,
			      "%d: %d", codes[i].status,
			      gpt2c_code(codes[i].status, codes[i].sys_errno));
}
END_TEST

/* Every status that has words of its own is in the table. */
START_TEST(test_codes_complete)
{
	for (int status = 0; status > -200; status--) {
		bool known = strcmp(gw_strstatus(status), gw_strstatus(-9999)) != 0;
		bool listed = false;

		for (size_t i = 0; i < COUNT(codes); i++)
			listed |= codes[i].status == status;
		ck_assert_msg(known == listed, "%d: %s", status, gw_strstatus(status));
	}
}
END_TEST

START_TEST(test_strerror)
{
	static const int known[] = { 0,   -1,  -2,  -3,  -10, -11, -12, -13, -20,
				     -21, -22, -23, -24, -25, -26, -27, -28, -30,
				     -31, -40, -41, -42, -43, -44, -45 };

	for (size_t i = 0; i < COUNT(known); i++) {
		ck_assert_str_ne(gpt2c_strerror(known[i]), "unknown error");
		for (size_t j = 0; j < i; j++)
			ck_assert_str_ne(gpt2c_strerror(known[i]), gpt2c_strerror(known[j]));
	}
	ck_assert_str_eq(gpt2c_strerror(1), "unknown error");
	ck_assert_str_eq(gpt2c_strerror(-46), "unknown error");
	ck_assert_str_eq(gpt2c_strerror(INT32_MIN), "unknown error");
}
END_TEST

START_TEST(test_version)
{
	char text[32];

	snprintf(text, sizeof text, "%d.%d.%d", GPT2C_VERSION_MAJOR, GPT2C_VERSION_MINOR,
		 GPT2C_VERSION_PATCH);
	ck_assert_str_eq(gpt2c_version(), text);
	ck_assert_str_eq(gpt2c_version(), GW_RELEASE);
}
END_TEST

/* _i: the size that the caller says; what lies beyond stays, what fits is written. */
START_TEST(test_error_size)
{
	union {
		gpt2c_error error;
		uint8_t bytes[sizeof(gpt2c_error) + 64];
	} u;
	size_t size = (size_t)_i, touched;

	memset(&u, 0xa5, sizeof u);
	u.error.size = size;
	errno = 4242;
	ck_assert_int_eq(gpt2c_fail(&u.error, -12, 7, "%0400d", 1), -12);
	ck_assert_int_eq(errno, 4242);
	ck_assert_uint_eq(u.error.size, size);
	touched = size < 12 ? 8 : size < 16 ? 12 : size < 24 ? 16 : size < 280 ? size : 280;
	for (size_t i = touched; i < sizeof u; i++)
		ck_assert_uint_eq(u.bytes[i], 0xa5);
	if (size >= 12)
		ck_assert_int_eq(u.error.code, -12);
	if (size >= 16)
		ck_assert_int_eq(u.error.sys_errno, 0);
	if (size >= 24)
		ck_assert_int_eq(u.error.index, 7);
	if (size > 24) {
		size_t room = size < 280 ? size - 24 : 256;

		ck_assert_uint_eq(strnlen(u.error.message, room), room - 1);
	}
}
END_TEST

START_TEST(test_fail)
{
	struct gw_error cause = GW_ERROR_INIT;
	gpt2c_error error = GPT2C_ERROR_INIT;

	ck_assert_int_eq(gpt2c_fail(NULL, -12, 7, "x"), -12);
	ck_assert_int_eq(gpt2c_fail_errno(NULL, -3, EIO, "x"), -3);
	ck_assert_int_eq(gpt2c_fail_errno(&error, -3, EIO, "cannot %s", "x"), -3);
	ck_assert_str_eq(error.message, "cannot x: Input/output error");
	ck_assert_int_eq(error.sys_errno, EIO);
	ck_assert_int_eq(error.index, -1);
	gw_fail(&cause, GW_E_BLOCK_DIGEST, 4096, "bad");
	ck_assert_int_eq(gpt2c_fail_cause(&error, &cause, "p"), -44);
	ck_assert_str_eq(error.message, "p: bad");
	ck_assert_int_eq(error.index, 4096);
	ck_assert_int_eq(error.sys_errno, 0);
	gw_fail_errno(&cause, EACCES, "no");
	ck_assert_int_eq(gpt2c_fail_cause(&error, &cause, NULL), -21);
	ck_assert_int_eq(error.sys_errno, EACCES);
	ck_assert_int_eq(error.index, -1);
	ck_assert_int_eq(strncmp(error.message, "no: ", 4), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client/error");
	TCase *tcase = fixture_case(suite, "error");

	tcase_add_test(tcase, test_codes);
	tcase_add_test(tcase, test_codes_complete);
	tcase_add_test(tcase, test_strerror);
	tcase_add_test(tcase, test_version);
	tcase_add_loop_test(tcase, test_error_size, 1, sizeof(gpt2c_error) + 40);
	tcase_add_test(tcase, test_fail);
	return fixture_main(suite);
}
