/* SPDX-License-Identifier: MIT */
/* The ids reader: every kind of input, and every way in which one can be wrong. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/fixture.h"
#include "tools/embed/ids.h"
#include "tools/embed/npy.h"

#define VOCAB 50257

static char *folder;

static void setup(void)
{
	fixture_fds_setup();
	folder = fixture_folder_new();
}

static void teardown(void)
{
	fixture_folder_free(folder);
	fixture_fds_teardown();
}

/* Reads n bytes as a file of that name. */
static int read_bytes(const char *name, const void *data, size_t n, struct embed_ids *ids,
		      struct gw_error *error)
{
	struct embed_source source;
	const char *path = fixture_path(folder, name);
	int ret;

	fixture_write(path, data, n);
	embed_ids_init(ids, VOCAB);
	ret = embed_source_open(path, &source, error);
	if (ret)
		return ret;
	ret = embed_ids_from_source(ids, &source, error);
	embed_source_close(&source);
	return ret;
}

static void expect_ids(const char *name, const void *data, size_t n, const int32_t *want,
		       size_t count)
{
	struct gw_error error = GW_ERROR_INIT;
	struct embed_ids ids;

	ck_assert_code(error, read_bytes(name, data, n, &ids, &error), GW_OK);
	ck_assert_uint_eq(ids.count, count);
	for (size_t i = 0; i < count; i++)
		ck_assert_int_eq(ids.values[i], want[i]);
	embed_ids_deinit(&ids);
}

static void expect_error(const char *name, const void *data, size_t n, int code, const char *says)
{
	struct gw_error error = GW_ERROR_INIT;
	struct embed_ids ids;

	ck_assert_code(error, read_bytes(name, data, n, &ids, &error), code);
	ck_assert_msg(strstr(error.message, says), "\"%s\" lacks \"%s\"", error.message, says);
	embed_ids_deinit(&ids);
}

/* A .npy file: magic, version, header (padded by the caller or not at all), n bytes of data. */
static size_t make_npy(uint8_t *out, unsigned major, const char *header, const void *data, size_t n)
{
	size_t length = strlen(header);
	size_t at = 8;

	memcpy(out, "\x93NUMPY", 6);
	out[6] = (uint8_t)major;
	out[7] = 0;
	for (unsigned i = 0; i < (major == 1 ? 2u : 4u); i++)
		out[at++] = (uint8_t)(length >> 8 * i);
	memcpy(out + at, header, length);
	if (n > 0)
		memcpy(out + at + length, data, n);
	return at + length + n;
}

/* Text */

static const struct {
	const char *text;
	int code; /* 0: the ids 1 20 50256 */
	const char *says;
} text_cases[] = {
	{ "1 20 50256", 0, "" },
	{ "1,20,50256\n", 0, "" },
	{ " 1 ,\t20\r\n, 50256,\n", 0, "" },
	{ "+1 0020 50256", 0, "" },
	{ "0000000000000000000000000000000000000000000001 20 50256", 0, "" },
	{ "+0000000000000000000000000000000000000000000001 20 50256", 0, "" },
	{ "", EMBED_E_COUNT, "no ids" },
	{ " \n", EMBED_E_COUNT, "no ids" },
	{ "1 -1", EMBED_E_ID, "id -1 at index 1 is outside 0 to 50256" },
	{ "1 2 50257", EMBED_E_ID, "id 50257 at index 2" },
	{ "2147483648", EMBED_E_ID, "id 2147483648 at index 0" },
	{ "4294967296", EMBED_E_ID, "id 4294967296 at index 0" },
	{ "9223372036854775808", EMBED_E_ID, "id 9223372036854775808 at index 0" },
	{ "-9223372036854775808", EMBED_E_ID, "id -9223372036854775808 at index 0" },
	{ "18446744073709551616", EMBED_E_ID, "id 18446744073709551616 at index 0" },
	{ "18446744073709551617", EMBED_E_ID, "at index 0" },
	{ "1 99999999999999999999999999999999999999999999999999", EMBED_E_ID, "..." },
	{ "1,,2", EMBED_E_TEXT, "comma at byte 2" },
	{ ",1", EMBED_E_TEXT, "comma at byte 0" },
	{ "1 2 , , 3", EMBED_E_TEXT, "comma at byte 6" },
	{ "1 2.5", EMBED_E_TEXT, "\"2.5\" at byte 2 is not a decimal id" },
	{ "0x10", EMBED_E_TEXT, "\"0x10\"" },
	{ "1e3", EMBED_E_TEXT, "\"1e3\"" },
	{ "-", EMBED_E_TEXT, "\"-\"" },
	{ "1 - 2", EMBED_E_TEXT, "\"-\" at byte 2" },
	{ "1-2", EMBED_E_TEXT, "\"1-2\"" },
	{ "12345678901234567890123456789012345x", EMBED_E_TEXT, "byte 35" },
	{ "1 \x1b[31m", EMBED_E_TEXT, "byte 2 (0x1b) is no text" },
	{ "1 \xe2\x82\xac", EMBED_E_TEXT, "byte 2 (0xe2) is no text" },
};

START_TEST(test_text)
{
	static const int32_t want[] = { 1, 20, 50256 };
	const char *text = text_cases[_i].text;

	if (text_cases[_i].code == 0) {
		expect_ids("ids.txt", text, strlen(text), want, 3);
	} else {
		expect_error("ids.txt", text, strlen(text), text_cases[_i].code,
			     text_cases[_i].says);
	}
}
END_TEST

START_TEST(test_text_negative_zero)
{
	static const char text[] = "-0000000000000000000000000000000000000000";
	static const int32_t zero = 0;

	expect_ids("ids", text, strlen(text), &zero, 1);
}
END_TEST

START_TEST(test_text_with_nul)
{
	expect_error("ids", "1\0", 3, EMBED_E_TEXT, "byte 1 (0x00)");
}
END_TEST

/* Numbers that lie across the reader's buffers. */
START_TEST(test_text_long)
{
	size_t n = 40000, bytes = 0;
	char *text = malloc(n * 6 + 1);
	int32_t *want = malloc(n * sizeof *want);

	for (size_t i = 0; i < n; i++) {
		want[i] = (int32_t)(i * 7919 % VOCAB);
		bytes += (size_t)sprintf(text + bytes, "%d ", want[i]);
	}
	ck_assert_uint_gt(bytes, 2 * EMBED_SOURCE_BUFFER_BYTES);
	expect_ids("ids.txt", text, bytes, want, n);
	free(text);
	free(want);
}
END_TEST

START_TEST(test_arguments)
{
	char *const good[] = { (char[]) { "5,6" }, (char[]) { "7" }, (char[]) { "8," } };
	char *const bad[] = { (char[]) { "5" }, (char[]) { "-6" } };
	struct gw_error error = GW_ERROR_INIT;
	struct embed_ids ids;

	embed_ids_init(&ids, VOCAB);
	ck_assert_code(error, embed_ids_from_arguments(&ids, good, 3, &error), GW_OK);
	ck_assert_uint_eq(ids.count, 4);
	ck_assert_int_eq(ids.values[3], 8);
	embed_ids_deinit(&ids);
	embed_ids_init(&ids, VOCAB);
	ck_assert_code(error, embed_ids_from_arguments(&ids, bad, 2, &error), EMBED_E_ID);
	ck_assert_ptr_nonnull(strstr(error.message, "id -6 at index 1"));
	embed_ids_deinit(&ids);
	embed_ids_init(&ids, VOCAB);
	ck_assert_code(error, embed_ids_from_arguments(&ids, NULL, 0, &error), EMBED_E_COUNT);
	embed_ids_deinit(&ids);
}
END_TEST

/* Raw values */

START_TEST(test_i32)
{
	static const int32_t want[] = { 1, 50256, 0 };
	static const uint8_t high[] = { 1, 0, 0, 0, 0, 0, 0, 0x80 };

	expect_ids("a.i32", want, 12, want, 3);
	expect_error("a.i32", want, 11, EMBED_E_SIZE, "the id at byte 8 is cut off: 3 of 4 bytes");
	expect_error("a.i32", want, 0, EMBED_E_COUNT, "no ids");
	expect_error("a.i32", high, 8, EMBED_E_ID, "id -2147483648 at index 1");
}
END_TEST

START_TEST(test_nanogpt_bin)
{
	static const uint8_t data[] = { 1, 0, 0x50, 0xc4, 0x51, 0xc4, 9 };
	static const int32_t want[] = { 1, 50256 };

	expect_ids("train.bin", data, 4, want, 2);
	expect_error("train.bin", data, 6, EMBED_E_ID, "id 50257 at index 2");
	expect_error("train.bin", data, 3, EMBED_E_SIZE,
		     "the id at byte 2 is cut off: 1 of 2 bytes");
}
END_TEST

static size_t make_llmc(uint8_t *out, uint32_t version, uint32_t count, size_t bytes)
{
	static const uint8_t magic[] = { 0x88, 0xd8, 0x34, 0x01 };

	memset(out, 0, 1024 + bytes);
	memcpy(out, magic, 4);
	for (unsigned i = 0; i < 4; i++) {
		out[4 + i] = (uint8_t)(version >> 8 * i);
		out[8 + i] = (uint8_t)(count >> 8 * i);
	}
	for (size_t i = 0; i < bytes; i += 2)
		out[1024 + i] = (uint8_t)(i / 2 + 1);
	return 1024 + bytes;
}

START_TEST(test_llmc_bin)
{
	static const int32_t want[] = { 1, 2, 3 };
	uint8_t data[1100];

	/* known by its magic, whatever its name */
	expect_ids("tokens.dat", data, make_llmc(data, 1, 3, 6), want, 3);
	expect_error("t.bin", data, make_llmc(data, 1, 3, 5), EMBED_E_SIZE, "5 bytes follow");
	expect_error("t.bin", data, make_llmc(data, 1, 3, 8), EMBED_E_SIZE, "8 bytes follow");
	expect_error("t.bin", data, make_llmc(data, 1, 0, 0), EMBED_E_COUNT, "0 ids");
	expect_error("t.bin", data, make_llmc(data, 1, UINT32_MAX, 6), EMBED_E_COUNT, "4294967295");
	expect_error("t.bin", data, make_llmc(data, 7, 3, 6), EMBED_E_KIND, "version 7");
	expect_error("t.bin", data, make_llmc(data, 1, 3, 6) - 7, EMBED_E_SIZE, "cut off at");
}
END_TEST

/* .npy */

static const struct {
	const char *header;
	size_t data_bytes;
	int code;
	const char *says;
} npy_cases[] = {
	{ "{'descr': '<i4', 'fortran_order': False, 'shape': (4,), }   \n", 16, 0, "" },
	{ "{\"shape\":(4,),\"descr\":\"<i4\",\"fortran_order\":False}\n", 16, 0, "" },
	{ "{'descr': '<i4', 'fortran_order': True, 'shape': (4,)}\n", 16, 0, "" },
	{ "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 2)}\n", 16, 0, "" },
	{ "{'descr': '<i4', 'fortran_order': False, 'shape': (4,)}\n", 15, EMBED_E_SIZE,
	  "15 bytes" },
	{ "{'descr': '<i4', 'fortran_order': False, 'shape': (4,)}\n", 17, EMBED_E_SIZE,
	  "17 bytes" },
	{ "{'descr': '<i4', 'fortran_order': False, 'shape': (3,)}\n", 16, EMBED_E_SIZE, "(3 ids" },
	{ "{'descr': '<i4', 'fortran_order': False, 'shape': ()}\n", 4, EMBED_E_KIND,
	  "0 dimensions" },
	{ "{'descr': '<i4', 'fortran_order': False, 'shape': (1, 2, 2)}\n", 16, EMBED_E_KIND,
	  "3 dimensions" },
	{ "{'descr': '<i4', 'fortran_order': False, 'shape': (0,)}\n", 0, EMBED_E_COUNT, "no ids" },
	{ "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 0)}\n", 0, EMBED_E_COUNT,
	  "no ids" },
	{ "{'descr': '<i4', 'fortran_order': False, 'shape': (4294967296, 4294967297)}\n", 16,
	  EMBED_E_COUNT, "too many ids" },
	{ "{'descr': '<i4', 'fortran_order': False, 'shape': (67108865,)}\n", 16, EMBED_E_COUNT,
	  "too many" },
	{ "{'descr': '<i4', 'fortran_order': False, 'shape': (18446744073709551620,)}\n", 16,
	  EMBED_E_NPY, "beyond 2^64" },
	{ "{'descr': '<f4', 'fortran_order': False, 'shape': (4,)}\n", 16, EMBED_E_KIND,
	  "\"<f4\"" },
	{ "{'descr': '<u4', 'fortran_order': False, 'shape': (4,)}\n", 16, EMBED_E_KIND,
	  "\"<u4\"" },
	{ "{'descr': '|i4', 'fortran_order': False, 'shape': (4,)}\n", 16, EMBED_E_KIND,
	  "\"|i4\"" },
	{ "{'descr': '<i4\x1b', 'fortran_order': False, 'shape': (4,)}\n", 16, EMBED_E_KIND,
	  "\\x1b" },
	{ "{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (4,)}\n", 16, EMBED_E_KIND,
	  "structured" },
	{ "{'descr': '<i4', 'fortran_order': 0, 'shape': (4,)}\n", 16, EMBED_E_NPY,
	  "fortran_order" },
	{ "{'descr': '<i4', 'fortran_order': False, 'shape': (4)}\n", 16, EMBED_E_NPY, "a number" },
	{ "{'descr': '<i4', 'fortran_order': False, 'shape': (-4,)}\n", 16, EMBED_E_NPY,
	  "no dimension" },
	{ "{'descr': '<i4', 'fortran_order': False, 'shape': (2 2)}\n", 16, EMBED_E_NPY,
	  "no comma" },
	{ "{'descr': '<i4', 'fortran_order': False, 'shape': [4]}\n", 16, EMBED_E_NPY, "no shape" },
	{ "{'descr': '<i4', 'fortran_order': False, 'shape': (4,", 16, EMBED_E_NPY,
	  "no dimension" },
	{ "{'descr': '<i4', 'descr': '<i4', 'shape': (4,)}\n", 16, EMBED_E_NPY, "a key twice" },
	{ "{'descr': '<i4', 'fortran_order': False}\n", 16, EMBED_E_NPY, "missing" },
	{ "{'descr': '<i4', 'fortran_order': False, 'shape': (4,), 'x': 1}\n", 16, EMBED_E_NPY,
	  "unknown key" },
	{ "{'descr': '<i4' 'fortran_order': False, 'shape': (4,)}\n", 16, EMBED_E_NPY, "no comma" },
	{ "{'descr' '<i4'}\n", 16, EMBED_E_NPY, "no colon" },
	{ "{'descr': '<i4}\n", 16, EMBED_E_NPY, "without end" },
	{ "{'de\\x73cr': '<i4'}\n", 16, EMBED_E_NPY, "escape" },
	{ "{4: '<i4'}\n", 16, EMBED_E_NPY, "no string" },
	{ "[]\n", 16, EMBED_E_NPY, "no dictionary" },
	{ "", 16, EMBED_E_NPY, "no dictionary" },
	{ "{'descr': '<i4', 'fortran_order': False, 'shape': (4,)}", 16, EMBED_E_NPY, "newline" },
	{ "{'descr': '<i4', 'fortran_order': False, 'shape': (4,)} x\n", 16, EMBED_E_NPY,
	  "newline" },
	{ "{'descr': '<i4', 'fortran_order': False, 'shape': (4,)}\n\n", 16, EMBED_E_NPY,
	  "newline" },
};

START_TEST(test_npy)
{
	static const int32_t want[] = { 7, 50256, 0, 9, 1 };
	uint8_t data[512];
	size_t n;

	for (unsigned major = 1; major <= 3; major++) {
		n = make_npy(data, major, npy_cases[_i].header, want, npy_cases[_i].data_bytes);
		if (npy_cases[_i].code == 0)
			expect_ids("ids.npy", data, n, want, 4);
		else
			expect_error("ids.npy", data, n, npy_cases[_i].code, npy_cases[_i].says);
	}
}
END_TEST

START_TEST(test_npy_preamble)
{
	static const char header[] = "{'descr': '<i4', 'fortran_order': False, 'shape': (1,)}\n";
	uint8_t data[512];
	size_t n = make_npy(data, 1, header, "\1\0\0\0", 4);

	expect_error("a.npy", "1 2 3", 5, EMBED_E_NPY, "does not begin like a .npy");
	expect_error("a.npy", data, 9, EMBED_E_NPY, "cut off at byte 9");
	expect_error("a.npy", data, 30, EMBED_E_NPY, "cut off at byte 30");
	data[6] = 4;
	expect_error("a.npy", data, n, EMBED_E_NPY, "version 4.0");
	data[6] = 1;
	data[7] = 1;
	expect_error("a.npy", data, n, EMBED_E_NPY, "version 1.1");
	n = make_npy(data, 2, header, "\1\0\0\0", 4);
	memset(data + 8, 0xff, 4);
	expect_error("a.npy", data, n, EMBED_E_NPY, "header of 4294967295 bytes");
}
END_TEST

/* Every type, and the sizes of a file with two dimensions. */
START_TEST(test_npy_types)
{
	static const struct {
		const char *descr, *data;
		size_t bytes;
	} types[] = {
		{ "<i4", "\1\0\0\0\0\1\0\0", 8 },
		{ ">i4", "\0\0\0\1\0\0\1\0", 8 },
		{ "<i8", "\1\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0", 16 },
		{ ">i8", "\0\0\0\0\0\0\0\1\0\0\0\0\0\0\1\0", 16 },
	};
	static const int32_t want[] = { 1, 256 };
	uint8_t data[512];
	char header[128];

	for (size_t i = 0; i < 4; i++) {
		snprintf(header, sizeof header,
			 "{'descr': '%s', 'fortran_order': False, 'shape': (2,), }\n",
			 types[i].descr);
		expect_ids("x", data, make_npy(data, 1, header, types[i].data, types[i].bytes),
			   want, 2);
	}
}
END_TEST

START_TEST(test_npy_wide_ids)
{
	static const char header[] = "{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }\n";
	uint8_t data[512];

	/* 2^32 + 1 must not become 1, 2^63 not something positive */
	expect_error("x", data, make_npy(data, 1, header, "\1\0\0\0\0\0\0\0\1\0\0\0\1\0\0\0", 16),
		     EMBED_E_ID, "id 4294967297 at index 1");
	expect_error("x", data, make_npy(data, 1, header, "\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x80", 16),
		     EMBED_E_ID, "id -9223372036854775808 at index 1");
}
END_TEST

START_TEST(test_npy_fortran)
{
	static const char header[] = "{'descr': '<i4', 'fortran_order': True, 'shape': (2, 3), }\n";
	int32_t values[] = { 1, 4, 2, 5, 3, 6 };
	struct gw_error error = GW_ERROR_INIT;
	struct embed_ids ids;
	uint8_t data[512];
	size_t n = make_npy(data, 1, header, values, sizeof values);

	ck_assert_code(error, read_bytes("x", data, n, &ids, &error), GW_OK);
	ck_assert_uint_eq(ids.batch, 2);
	ck_assert_uint_eq(ids.seq, 3);
	for (int i = 0; i < 6; i++)
		ck_assert_int_eq(ids.values[i], i + 1);
	embed_ids_deinit(&ids);
	values[3] = -1; /* element [1,1], index 4 of [2,3] */
	n = make_npy(data, 1, header, values, sizeof values);
	expect_error("x", data, n, EMBED_E_ID, "id -1 at index 4");
}
END_TEST

START_TEST(test_npy_written)
{
	uint8_t header[EMBED_NPY_OUT_BYTES];

	embed_npy_write_header(UINT64_MAX, UINT64_MAX, UINT64_MAX, header);
	ck_assert_mem_eq(header, "\x93NUMPY\1\0\xb6\0{'descr': '<f4', 'fortran_order': False", 49);
	ck_assert_ptr_nonnull(memchr(header, '}', sizeof header));
	ck_assert_int_eq(header[sizeof header - 1], '\n');
	ck_assert_int_eq(sizeof header % 64, 0);
}
END_TEST

/* Sources */

START_TEST(test_not_a_file)
{
	struct gw_error error = GW_ERROR_INIT;
	struct embed_source source;
	const char *fifo = fixture_path(folder, "fifo");

	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
	ck_assert_code(error, embed_source_open(fifo, &source, &error), GW_E_NOT_FILE);
	ck_assert_code(error, embed_source_open(folder, &source, &error), GW_E_NOT_FILE);
	ck_assert_code(error, embed_source_open("/dev/zero", &source, &error), GW_E_NOT_FILE);
	ck_assert_code(error, embed_source_open("/nonexistent", &source, &error), GW_E_IO);
	ck_assert_int_eq(symlink("loop", fixture_path(folder, "loop")), 0);
	ck_assert_code(error, embed_source_open(fixture_path(folder, "loop"), &source, &error),
		       GW_E_IO);
}
END_TEST

/* Reads what came through a pipe as standard input, and puts the old one back. */
static int read_pipe(const void *data, size_t n, struct embed_ids *ids, struct gw_error *error)
{
	struct embed_source source;
	int ends[2], before = dup(STDIN_FILENO);
	int ret;

	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(write(ends[1], data, n), (ssize_t)n);
	close(ends[1]);
	dup2(ends[0], STDIN_FILENO);
	close(ends[0]);
	embed_ids_init(ids, VOCAB);
	ret = embed_source_open("-", &source, error);
	if (!ret)
		ret = embed_ids_from_source(ids, &source, error);
	embed_source_close(&source);
	dup2(before, STDIN_FILENO);
	close(before);
	return ret;
}

START_TEST(test_standard_input)
{
	static const char header[] = "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }\n";
	struct gw_error error = GW_ERROR_INIT;
	struct embed_ids ids;
	uint8_t data[512];
	size_t n = make_npy(data, 1, header, "\1\0\0\0\2\0\0\0x", 9);

	ck_assert_code(error, read_pipe("1 2\n", 4, &ids, &error), GW_OK);
	ck_assert_uint_eq(ids.count, 2);
	embed_ids_deinit(&ids);
	ck_assert_code(error, read_pipe(data, n - 1, &ids, &error), GW_OK);
	ck_assert_uint_eq(ids.count, 2);
	embed_ids_deinit(&ids);
	ck_assert_code(error, read_pipe(data, n, &ids, &error), EMBED_E_SIZE);
	embed_ids_deinit(&ids);
	ck_assert_code(error, read_pipe(data, n - 2, &ids, &error), EMBED_E_SIZE);
	ck_assert_ptr_nonnull(strstr(error.message, "after 1 of 2 ids"));
	embed_ids_deinit(&ids);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("embed ids");
	TCase *tc = tcase_create("ids");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, test_text, 0, sizeof text_cases / sizeof text_cases[0]);
	tcase_add_test(tc, test_text_negative_zero);
	tcase_add_test(tc, test_text_with_nul);
	tcase_add_test(tc, test_text_long);
	tcase_add_test(tc, test_arguments);
	tcase_add_test(tc, test_i32);
	tcase_add_test(tc, test_nanogpt_bin);
	tcase_add_test(tc, test_llmc_bin);
	tcase_add_loop_test(tc, test_npy, 0, sizeof npy_cases / sizeof npy_cases[0]);
	tcase_add_test(tc, test_npy_preamble);
	tcase_add_test(tc, test_npy_types);
	tcase_add_test(tc, test_npy_wide_ids);
	tcase_add_test(tc, test_npy_fortran);
	tcase_add_test(tc, test_npy_written);
	tcase_add_test(tc, test_not_a_file);
	tcase_add_test(tc, test_standard_input);
	suite_add_tcase(suite, tc);
	return fixture_main(suite);
}
