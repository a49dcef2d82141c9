/* SPDX-License-Identifier: MIT */
/* Malformed safetensors files, one flaw each, and the exact code with which each is refused. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/fixture.h"
#include "tools/pack/element.h"
#include "tools/pack/limits.h"
#include "tools/pack/source.h"

/* A description of a tensor. */
#define T(name, dtype, shape, begin, end)                                                     \
	"\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin \
	"," #end "]}"
/* Two tables of 2 and 3 rows: 16 and 24 bytes. */
#define WTE T("wte.weight", "F32", "[2,2]", 0, 16)
#define WPE T("wpe.weight", "F32", "[3,2]", 16, 40)

#define OWN_LENGTH UINT64_MAX

static const struct flaw {
	const char *header;
	uint64_t data_bytes;
	uint64_t length; /* what the first 8 bytes say; OWN_LENGTH: the truth */
	int code;
	const char *part; /* of the message */
} flaws[] = {
	/* none */
	{ "{" WTE "," WPE "}", 40, OWN_LENGTH, GW_OK, "" },
	{ "{" WPE "," WTE "}", 40, OWN_LENGTH, GW_OK, "" },
	{ "{\"__metadata__\":{\"format\":\"pt\"}," WTE "," WPE "}", 40, OWN_LENGTH, GW_OK, "" },
	{ "{" WTE "," WPE "}   \n", 40, OWN_LENGTH, GW_OK, "" },
	{ "{}", 0, OWN_LENGTH, GW_OK, "" },
	{ "{" T("a", "U8", "[]", 0, 1) "," T("b", "F64", "[1]", 1, 9) "}", 9, OWN_LENGTH, GW_OK,
	  "" },
	{ "{" T("a", "BOOL", "[3]", 0, 3) "," T("b", "F8_E4M3", "[0,5]", 3, 3) "}", 3, OWN_LENGTH,
	  GW_OK, "" },
	{ "{" T("a", "F4", "[3,2]", 0, 3) "}", 3, OWN_LENGTH, GW_OK, "" },

	/* the length */
	{ "{}", 0, 0, GW_E_SOURCE, "is 0" },
	{ "{}", 0, 1, GW_E_SOURCE, "less than the 2 bytes" },
	{ "{}", 0, 3, GW_E_SOURCE, "past the end" },
	{ "{}", 0, UINT64_MAX - 7, GW_E_SOURCE, "past the end" },
	{ "{}", 0, UINT64_C(1) << 63, GW_E_SOURCE, "past the end" },
	{ "{}", PACK_MAX_HEADER_BYTES, PACK_MAX_HEADER_BYTES + 1, GW_E_SOURCE,
	  "over this program" },

	/* the text */
	{ " {}", 0, OWN_LENGTH, GW_E_SOURCE, "does not begin with '{'" },
	{ "[]", 0, OWN_LENGTH, GW_E_SOURCE, "does not begin with '{'" },
	{ "{} x", 0, OWN_LENGTH, GW_E_SOURCE, "malformed JSON" },
	{ "{\"a\":", 0, OWN_LENGTH, GW_E_SOURCE, "malformed JSON" },
	{ "{" WTE "," WTE "}", 16, OWN_LENGTH, GW_E_SOURCE, "duplicate" },
	{ "{" WTE ",\"wte\\u002eweight\":{}}", 16, OWN_LENGTH, GW_E_SOURCE, "duplicate" },
	{ "{" T("\xff", "U8", "[1]", 0, 1) "}", 1, OWN_LENGTH, GW_E_SOURCE, "malformed JSON" },
	{ "{" T("\\ud800", "U8", "[1]", 0, 1) "}", 1, OWN_LENGTH, GW_E_SOURCE, "malformed JSON" },
	{ "{" T("a\\u0000b", "U8", "[1]", 0, 1) "}", 1, OWN_LENGTH, GW_E_SOURCE, "malformed JSON" },
	{ "{" T("a", "U8", "[1e400]", 0, 1) "}", 1, OWN_LENGTH, GW_E_SOURCE, "malformed JSON" },
	{ "{" T("a", "U8", "[NaN]", 0, 1) "}", 1, OWN_LENGTH, GW_E_SOURCE, "malformed JSON" },
	{ "{" T("a", "U8", "[18446744073709551616]", 0, 1) "}", 1, OWN_LENGTH, GW_E_SOURCE,
	  "malformed JSON" },
	{ "{\"__metadata__\":[]}", 0, OWN_LENGTH, GW_E_SOURCE, "__metadata__ is no object" },
	{ "{\"__metadata__\":{\"a\":1}}", 0, OWN_LENGTH, GW_E_SOURCE, "value that is no string" },

	/* a description */
	{ "{\"a\":1}", 0, OWN_LENGTH, GW_E_SOURCE, "described by no object" },
	{ "{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, OWN_LENGTH, GW_E_SOURCE,
	  "no dtype" },
	{ "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, OWN_LENGTH, GW_E_SOURCE,
	  "no shape" },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, OWN_LENGTH, GW_E_SOURCE,
	  "no data_offsets" },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":0}}", 1, OWN_LENGTH,
	  GW_E_SOURCE, "unknown member \"x\"" },
	{ "{\"a\":{\"dtype\":8,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, OWN_LENGTH, GW_E_SOURCE,
	  "no string" },
	{ "{" T("a", "F33", "[1]", 0, 1) "}", 1, OWN_LENGTH, GW_E_SOURCE, "unknown dtype \"F33\"" },
	{ "{" T("a", "f32", "[1]", 0, 4) "}", 4, OWN_LENGTH, GW_E_SOURCE, "unknown dtype \"f32\"" },

	/* shapes */
	{ "{" T("a", "U8", "1", 0, 1) "}", 1, OWN_LENGTH, GW_E_SOURCE, "shape that is no array" },
	{ "{" T("a", "U8", "[1,1,1,1,1,1,1,1,1]", 0, 1) "}", 1, OWN_LENGTH, GW_E_SOURCE,
	  "9 dimensions" },
	{ "{" T("a", "U8", "[-1]", 0, 1) "}", 1, OWN_LENGTH, GW_E_SOURCE, "no whole number" },
	{ "{" T("a", "U8", "[1.0]", 0, 1) "}", 1, OWN_LENGTH, GW_E_SOURCE, "no whole number" },
	{ "{" T("a", "U8", "[\"1\"]", 0, 1) "}", 1, OWN_LENGTH, GW_E_SOURCE, "no whole number" },
	{ "{" T("a", "U8", "[true]", 0, 1) "}", 1, OWN_LENGTH, GW_E_SOURCE, "no whole number" },
	/* 2^32 × 2^32 wraps to 0; 2^62 elements of 4 bytes too */
	{ "{" T("a", "U8", "[4294967296,4294967296]", 0, 0) "}", 0, OWN_LENGTH, GW_E_SOURCE,
	  "product" },
	{ "{" T("a", "F32", "[4611686018427387904]", 0, 0) "}", 0, OWN_LENGTH, GW_E_SOURCE,
	  "does not fit 64 bits" },
	{ "{" T("a", "F4", "[3]", 0, 1) "}", 1, OWN_LENGTH, GW_E_SOURCE, "whole number of bytes" },

	/* offsets */
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1, OWN_LENGTH,
	  GW_E_SOURCE, "not two whole numbers" },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1, OWN_LENGTH,
	  GW_E_SOURCE, "not two whole numbers" },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":{}}}", 1, OWN_LENGTH,
	  GW_E_SOURCE, "not two whole numbers" },
	{ "{" T("a", "U8", "[1]", -1, 0) "}", 1, OWN_LENGTH, GW_E_SOURCE, "not two whole numbers" },
	{ "{" T("a", "U8", "[1]", 0, 1.5) "}", 1, OWN_LENGTH, GW_E_SOURCE,
	  "not two whole numbers" },
	{ "{" T("a", "U8", "[1]", 1, 0) "}", 1, OWN_LENGTH, GW_E_SOURCE, "ends before that" },
	{ "{" T("a", "U8", "[9]", 0, 9) "}", 8, OWN_LENGTH, GW_E_SOURCE,
	  "past the end of the data" },
	{ "{" T("a", "U8", "[1]", 9223372036854775806, 9223372036854775807) "}", 8, OWN_LENGTH,
	  GW_E_SOURCE, "past the end of the data" },
	{ "{" T("a", "F32", "[2]", 0, 4) "}", 4, OWN_LENGTH, GW_E_SOURCE, "need 8" },
	{ "{" T("a", "F16", "[2]", 0, 8) "}", 8, OWN_LENGTH, GW_E_SOURCE, "need 4" },
	{ "{" T("a", "U8", "[4]", 0, 4) "," T("b", "U8", "[4]", 3, 7) "}", 7, OWN_LENGTH,
	  GW_E_SOURCE, "overlaps" },
	{ "{" T("a", "U8", "[4]", 0, 4) "," T("b", "U8", "[4]", 0, 4) "}", 4, OWN_LENGTH,
	  GW_E_SOURCE, "overlaps" },
	{ "{" T("a", "U8", "[4]", 0, 4) "," T("b", "U8", "[4]", 5, 9) "}", 9, OWN_LENGTH,
	  GW_E_SOURCE, "hole" },
	{ "{" T("a", "U8", "[4]", 1, 5) "}", 5, OWN_LENGTH, GW_E_SOURCE, "hole" },
	{ "{" T("a", "U8", "[4]", 0, 4) "}", 5, OWN_LENGTH, GW_E_SOURCE, "1 trailing bytes" },
	{ "{}", 7, OWN_LENGTH, GW_E_SOURCE, "7 trailing bytes" },
};

static char *folder;

static void setup(void)
{
	folder = fixture_folder_new();
}

static void teardown(void)
{
	fixture_folder_free(folder);
}

/* A safetensors file of that header; n_data zero bytes follow. */
static const char *write_file(const char *name, uint64_t length, const char *header,
			      size_t header_bytes, uint64_t n_data)
{
	const char *path = fixture_path(folder, name);
	uint8_t *file = calloc(1, 8 + header_bytes + n_data);

	for (unsigned i = 0; i < 8; i++)
		file[i] = (uint8_t)(length >> 8 * i);
	memcpy(file + 8, header, header_bytes);
	fixture_write(path, file, 8 + header_bytes + n_data);
	free(file);
	return path;
}

static int open_code(const char *path, struct gw_error *error)
{
	struct pack_source *source = NULL;
	int code = pack_source_open(path, &source, error);

	ck_assert_int_eq(code == GW_OK, source != NULL);
	pack_source_free(source);
	return code;
}

START_TEST(flaw_is_refused)
{
	const struct flaw *flaw = &flaws[_i];
	struct gw_error error = GW_ERROR_INIT;
	size_t n = strlen(flaw->header);
	const char *path =
		write_file("a.safetensors", flaw->length == OWN_LENGTH ? n : flaw->length,
			   flaw->header, n, flaw->data_bytes);

	ck_assert_code(error, open_code(path, &error), flaw->code);
	ck_assert_msg(strstr(error.message, flaw->part) != NULL, "\"%s\" lacks \"%s\"",
		      error.message, flaw->part);
}
END_TEST

/* A header of n bytes, generated; the code is always GW_E_SOURCE. */
static void refused(const char *header, size_t n, uint64_t n_data, const char *part)
{
	struct gw_error error = GW_ERROR_INIT;
	const char *path = write_file("g.safetensors", n, header, n, n_data);

	ck_assert_code(error, open_code(path, &error), GW_E_SOURCE);
	ck_assert_msg(strstr(error.message, part) != NULL, "%s", error.message);
}

START_TEST(nul_bytes)
{
	static const char after_number[] = "{" T("a", "U8", "[1\0]", 0, 1) "}";
	static const char at_end[] = "{}\0";

	refused(after_number, sizeof after_number - 1, 1, "NUL byte");
	refused(at_end, sizeof at_end - 1, 0, "NUL byte at offset 10");
}
END_TEST

START_TEST(memory_budget)
{
	size_t n = 4000000;
	char *header = malloc(n);

	/* 2 million numbers */
	for (size_t i = 0; i < n; i++)
		header[i] = i % 2 ? ',' : '0';
	memcpy(header, "{\"a\":[", 6);
	memcpy(header + n - 3, "0]}", 3);
	refused(header, n, 0, "needs more than 32 MiB");
	free(header);
}
END_TEST

/* The budget ends within a long string: numbers leave room for only a part of it. */
START_TEST(budget_ends_in_a_string)
{
	size_t n = 4190000;

	/* few numbers leave room for all of the string, which then is no tensor's name */
	for (size_t n_numbers = 100000; n_numbers < 1400000; n_numbers += 50000) {
		char *header = malloc(n);

		for (size_t i = 0; i < n; i++)
			header[i] = i < 2 * n_numbers ? (i % 2 ? ',' : '0') : (i % 2 ? 'n' : '\\');
		memcpy(header, "{\"a\":[", 6);
		memcpy(header + 2 * n_numbers, "0],\"", 4);
		memcpy(header + n - 4, "\":0}", 4);
		refused(header, n, 0, n_numbers < 300000 ? "described by no object" : n_numbers > 600000 ? "32 MiB" : "");
		free(header);
	}
}
END_TEST

START_TEST(depth)
{
	size_t n = 200000;
	char *header = malloc(n);

	memset(header, '[', n);
	memcpy(header, "{\"a\":", 5);
	refused(header, n, 0, "malformed JSON");
	free(header);
}
END_TEST

/* 26,000 tensors fit the budget; one more byte than their range makes all of them overlap. */
START_TEST(many_tensors_over_one_range)
{
	size_t room = 26000 * 80, n = 1;
	char *header = malloc(room);

	header[0] = '{';
	for (int i = 0; i < 26000; i++)
		n += (size_t)snprintf(header + n, room - n,
				      "%s\"%d\":{\"dtype\":\"U8\",\"shape\":[8],"
				      "\"data_offsets\":[0,8]}",
				      i ? "," : "", i);
	header[n++] = '}';
	refused(header, n, 8, "overlaps");
	free(header);
}
END_TEST

START_TEST(names_are_quoted)
{
	static const char header[] =
		"{" T("\\u001b[31m\\n", "U8", "[2]", 0, 2) "," T("b", "U8", "[2]", 3, 5) "}";
	static const char bad[] = "{" T("\\u001b[31m\\n", "U8", "[2]", 0, 3) "}";

	refused(header, sizeof header - 1, 5, "hole");
	refused(bad, sizeof bad - 1, 3, "\"\\x1b[31m\\x0a\"");
}
END_TEST

START_TEST(what_is_read)
{
	static const char header[] = "{" WPE "," T("x", "I64", "[1]", 40, 48) "," WTE "}";
	struct gw_error error = GW_ERROR_INIT;
	struct pack_source *source = NULL;
	const char *path =
		write_file("a.safetensors", sizeof header - 1, header, sizeof header - 1, 48);

	ck_assert_code(error, pack_source_open(path, &source, &error), GW_OK);
	ck_assert_str_eq(source->format, "safetensors");
	ck_assert_str_eq(pack_source_name(source), "a.safetensors");
	ck_assert_uint_eq(pack_source_bytes(source), 8 + sizeof header - 1 + 48);
	ck_assert_uint_eq(source->tensors.n, 3);
	/* in the order of the data */
	ck_assert_str_eq(source->tensors.items[0].name, "wte.weight");
	ck_assert_str_eq(source->tensors.items[1].name, "wpe.weight");
	ck_assert_str_eq(source->tensors.items[2].name, "x");
	ck_assert_str_eq(pack_element_name(source->tensors.items[2].element), "I64");
	ck_assert_uint_eq(source->tensors.items[1].rank, 2);
	ck_assert_uint_eq(source->tensors.items[1].shape[0], 3);
	ck_assert_uint_eq(source->tensors.items[1].shape[1], 2);
	ck_assert_uint_eq(source->tensors.items[1].offset_bytes, 8 + sizeof header - 1 + 16);
	ck_assert_uint_eq(source->tensors.items[1].size_bytes, 24);
	pack_source_free(source);
}
END_TEST

START_TEST(not_a_file)
{
	struct gw_error error = GW_ERROR_INIT;
	const char *fifo = fixture_path(folder, "fifo"), *loop = fixture_path(folder, "loop");

	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
	ck_assert_int_eq(symlink("loop", loop), 0);
	ck_assert_code(error, open_code(fifo, &error), GW_E_NOT_FILE);
	ck_assert_ptr_nonnull(strstr(error.message, "FIFO"));
	ck_assert_code(error, open_code("/dev/zero", &error), GW_E_NOT_FILE);
	ck_assert_ptr_nonnull(strstr(error.message, "character device"));
	ck_assert_code(error, open_code(loop, &error), GW_E_IO);
	ck_assert_code(error, open_code(fixture_path(folder, "nothing"), &error), GW_E_IO);
	ck_assert_code(error, open_code(folder, &error), GW_E_SOURCE_KIND);
	fixture_write(fixture_path(folder, "tf_model.h5"), "x", 1);
	ck_assert_code(error, open_code(folder, &error), GW_E_SOURCE_KIND);
	ck_assert_ptr_nonnull(strstr(error.message, "tf_model.h5"));
}
END_TEST

START_TEST(file_types)
{
	static const struct {
		mode_t mode;
		const char *phrase;
	} types[] = {
		{ S_IFREG | 0600, "a regular file" }, { S_IFDIR, "a directory" },
		{ S_IFIFO, "a FIFO or pipe" },        { S_IFSOCK, "a socket" },
		{ S_IFCHR, "a character device" },    { S_IFBLK, "a block device" },
		{ S_IFLNK, "something else" },
	};

	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
		ck_assert_str_eq(pack_file_type(types[i].mode), types[i].phrase);
}
END_TEST

static const struct {
	const char *bytes;
	size_t n;
	int code;
	const char *part;
} kinds[] = {
#define KIND(text, code, part)                    \
	{                                         \
		text, sizeof text - 1, code, part \
	}
	KIND("", GW_E_SOURCE_KIND, "an empty file"),
	KIND("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", GW_E_SOURCE_KIND, "LFS"),
	KIND("\n<!DOCTYPE HTML><html>", GW_E_SOURCE_KIND, "HTML"),
	KIND("PK\3\4\0\0\0\0\0\0{\0", GW_E_SOURCE, "no end record of a zip"),
	KIND("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", GW_E_SOURCE,
	     "a pickle without an end"),
	KIND("\x80\x04\x95\x10\0\0\0\0\0\0\0}", GW_E_SOURCE_KIND, "pickle"),
	KIND("GGUF\3\0\0\0\0\0\0\0", GW_E_SOURCE, "past the end"),
	KIND("\x93NUMPY\1\0", GW_E_SOURCE, "cut off at byte 8"),
	KIND("\x89HDF\r\n\x1a\n", GW_E_SOURCE_KIND, "HDF5"),
	KIND("\xc6\xd7\x34\x01\3\0\0\0", GW_E_SOURCE, "only 8 bytes"),
	KIND("\x89GPT2W\r\n", GW_E_TRUNCATED, ""),
	KIND("\x1f\x8b\x08\0", GW_E_SOURCE_KIND, "compressed"),
	KIND("\x08\x07\x12\x07pytorch\x1a\x03" "1.9:\x99\x80\x02\x0a\x05", GW_E_SOURCE_KIND, "ONNX"),
	KIND("\x08\x04\x42\x02\x10\x0d:\x10\x12\x01g", GW_E_SOURCE_KIND, "ONNX"),
	KIND("\x08\x04(\x01:\x10\x2a\x08", GW_E_SOURCE_KIND, "ONNX"),
	/* no version, a field that is no model's, a field past the end, an empty graph, no graph */
	KIND("\x08\x40(\x01:\x10\x2a\x08", GW_E_SOURCE, "past the end"),
	KIND("\x08\x04\x4a\x01xxxxx:\x10\x2a\x08", GW_E_SOURCE, "past the end"),
	KIND("\x08\x04\x12\x7fxxxxx:\x10\x2a\x08", GW_E_SOURCE, "past the end"),
	KIND("\x08\x04(\x01:\x01\x2a\x08", GW_E_SOURCE, "past the end"),
	KIND("\x08\x04(\x01(\x01(\x01", GW_E_SOURCE, "past the end"),
	KIND("\x08\x04\x12\xff\xff\xff\xff\xff\xff", GW_E_SOURCE, "past the end"),
	KIND("\x81\xa3wte\x81\xa9" "embedding\xc9\0\0\1\0\1\x93", GW_E_SOURCE_KIND, "Flax"),
	KIND("\xde\0\x10\xa3wte\xc7\x40\1\x93", GW_E_SOURCE_KIND, "Flax"),
	/* another extension, a number, an empty key, no key */
	KIND("\x81\xa3wte\x81\xa9" "embedding\xc9\0\0\1\0\2\x93", GW_E_SOURCE, "past the end"),
	KIND("\x81\xa3wte\1\1\1\1", GW_E_SOURCE, "past the end"),
	KIND("\x81\xa0\xc7\x10\1\0\1\1", GW_E_SOURCE, "past the end"),
	KIND("\x81\xa7wte", GW_E_SOURCE_KIND, "a text"),
	KIND("\x81\xa3w\te\xc7\x10\1\0\1\1", GW_E_SOURCE, "past the end"),
	KIND("hello world\n", GW_E_SOURCE_KIND, "a text"),
	KIND("\x01\x02\x03", GW_E_SOURCE, "has only 3 bytes"),
	KIND("\0\0\0\0\0\0\0\0", GW_E_SOURCE, "is 0"),
	/* a length of 123 is '{', one of 0x280 looks like a pickle */
	KIND("{\0\0\0\0\0\0\0", GW_E_SOURCE, "past the end"),
	KIND("\x80\2\0\0\0\0\0\0", GW_E_SOURCE, "past the end"),
	KIND("{}", GW_E_SOURCE, "no weight_map"),
#undef KIND
};

START_TEST(kind_is_named)
{
	struct gw_error error = GW_ERROR_INIT;
	const char *path = fixture_path(folder, "model.safetensors");

	fixture_write(path, kinds[_i].bytes, kinds[_i].n);
	ck_assert_code(error, open_code(path, &error), kinds[_i].code);
	ck_assert_msg(strstr(error.message, kinds[_i].part) != NULL, "%s", error.message);
}
END_TEST

#define MAP(members) "{\"weight_map\":{" members "}}"

static const struct {
	const char *index;
	int code;
	const char *part;
} indexes[] = {
	{ "{\"weight_map\":{\"wte.weight\":\"1.st\",\"wpe.weight\":\"2.st\"}}", GW_OK, "" },
	{ "{\"metadata\":{},\"weight_map\":{\"wte.weight\":\"1.st\"}}", GW_OK, "" },
	{ "{\"weight_map\":{}}", GW_E_SOURCE, "empty" },
	{ "{\"weight_map\":[]}", GW_E_SOURCE, "no weight_map" },
	{ "{\"weight_map\":{\"wte.weight\":1}}", GW_E_SOURCE, "no string" },
	{ "{\"weight_map\":{\"wte.weight\":\"3.st\"}}", GW_E_SOURCE, "missing: cannot open 3.st" },
	{ "{\"weight_map\":{\"wte.weight\":\"2.st\"}}", GW_E_SOURCE,
	  "\"wte.weight\" is missing in 2.st" },
	{ "{\"weight_map\":{\"wte.weight\":\"../1.st\"}}", GW_E_SOURCE, "not a plain name" },
	{ "{\"weight_map\":{\"wte.weight\":\"/etc/passwd\"}}", GW_E_SOURCE, "not a plain name" },
	{ "{\"weight_map\":{\"wte.weight\":\"..\"}}", GW_E_SOURCE, "not a plain name" },
	{ "{\"weight_map\":{\"wte.weight\":\".\"}}", GW_E_SOURCE, "not a plain name" },
	{ "{\"weight_map\":{\"wte.weight\":\"\"}}", GW_E_SOURCE, "not a plain name" },
	{ "{\"weight_map\":{\"wte.weight\":\"folder\"}}", GW_E_SOURCE, "is a directory" },
	{ "{\"weight_map\":{\"wte.weight\":\"bad.st\"}}", GW_E_SOURCE, "has only 1 bytes" },
	{ "{\"weight_map\":{\"a\":\"1.st\",\"a\":\"1.st\"}}", GW_E_SOURCE, "duplicate" },
	{ MAP("\"a\":\"1.st\",\"\\u0061\":\"1.st\""), GW_E_SOURCE, "duplicate" },
	{ "{\"weight_map\":{\"wte.weight\":\"1.st\"},\"weight_map\":{}}", GW_E_SOURCE, "duplicate" },
	/* the text */
	{ "{", GW_E_SOURCE, "malformed JSON" },
	{ "{}", GW_E_SOURCE, "no weight_map" },
	{ "{\"weight_map\":null}", GW_E_SOURCE, "no weight_map" },
	{ "{\"weight_map\":\"1.st\"}", GW_E_SOURCE, "no weight_map" },
	{ "{\"weight_map\":3}", GW_E_SOURCE, "no weight_map" },
	{ "{\"Weight_map\":{\"wte.weight\":\"1.st\"}}", GW_E_SOURCE, "no weight_map" },
	{ "{\"metadata\":{\"weight_map\":{}}}", GW_E_SOURCE, "no weight_map" },
	{ MAP("\"wte.weight\":\"1.st\"") "x", GW_E_SOURCE, "malformed JSON" },
	{ MAP("\"wte.weight\":\"1.st\"") "{}", GW_E_SOURCE, "malformed JSON" },
	{ MAP("\"wte.weight\":\"1.st\","), GW_E_SOURCE, "malformed JSON" },
	{ MAP("\"wte.weight\" \"1.st\""), GW_E_SOURCE, "malformed JSON" },
	{ MAP("wte:\"1.st\""), GW_E_SOURCE, "malformed JSON" },
	{ MAP("\"\xff\":\"1.st\""), GW_E_SOURCE, "malformed JSON" },
	{ MAP("\"a\\u0000\":\"1.st\""), GW_E_SOURCE, "malformed JSON" },
	{ MAP("\"wte.weight\":\"1.st\\u0000\""), GW_E_SOURCE, "malformed JSON" },
	{ MAP("\"wte.weight\":\"\xff\""), GW_E_SOURCE, "malformed JSON" },
	{ MAP("\"wte.weight\":1e400"), GW_E_SOURCE, "malformed JSON" },
	/* files */
	{ MAP("\"wte.weight\":null"), GW_E_SOURCE, "no string" },
	{ MAP("\"wte.weight\":true"), GW_E_SOURCE, "no string" },
	{ MAP("\"wte.weight\":[\"1.st\"]"), GW_E_SOURCE, "no string" },
	{ MAP("\"wte.weight\":{\"file\":\"1.st\"}"), GW_E_SOURCE, "no string" },
	{ MAP("\"a\\u001b\":1"), GW_E_SOURCE, "\"a\\x1b\" a file that is no string" },
	{ MAP("\"wte.weight\":\"folder/1.st\""), GW_E_SOURCE, "not a plain name" },
	{ MAP("\"wte.weight\":\"./1.st\""), GW_E_SOURCE, "not a plain name" },
	{ MAP("\"wte.weight\":\"/\""), GW_E_SOURCE, "not a plain name" },
	{ MAP("\"wte.weight\":\"1.st/\""), GW_E_SOURCE, "not a plain name" },
	{ MAP("\"wte.weight\":\"\\u001b[31m\""), GW_E_SOURCE, "cannot open \\x1b[31m" },
	{ MAP("\"wte.weight\":\"1.ST\""), GW_E_SOURCE, "missing: cannot open 1.ST" },
	{ MAP("\"wte.weight\":\"1.st \""), GW_E_SOURCE, "missing: cannot open 1.st " },
	/* what they hold */
	{ MAP("\"wte.weight\":\"1.st\",\"wpe.weight\":\"1.st\""), GW_E_SOURCE,
	  "\"wpe.weight\" is missing in 1.st" },
	{ MAP("\"wte.weight\":\"1.st\",\"x\":\"2.st\""), GW_E_SOURCE, "\"x\" is missing in 2.st" },
	{ MAP("\"wte\":\"1.st\""), GW_E_SOURCE, "\"wte\" is missing in 1.st" },
	{ MAP("\"\":\"1.st\""), GW_E_SOURCE, "\"\" is missing in 1.st" },
	{ MAP("\"wte.weight\":\"1.st\",\"wpe.weight\":\"bad.st\""), GW_E_SOURCE,
	  "bad.st has only 1 bytes" },
};

START_TEST(index_is_checked)
{
	static const char first[] = "{" WTE "}";
	static const char second[] = "{" T("wpe.weight", "F32", "[3,2]", 0, 24) "}";
	struct gw_error error = GW_ERROR_INIT;
	const char *path = fixture_path(folder, "model.safetensors.index.json");

	write_file("1.st", sizeof first - 1, first, sizeof first - 1, 16);
	write_file("2.st", sizeof second - 1, second, sizeof second - 1, 24);
	fixture_write(fixture_path(folder, "bad.st"), "x", 1);
	ck_assert_int_eq(mkdir(fixture_path(folder, "folder"), 0700), 0);
	fixture_write(path, indexes[_i].index, strlen(indexes[_i].index));
	ck_assert_code(error, open_code(path, &error), indexes[_i].code);
	ck_assert_msg(strstr(error.message, indexes[_i].part) != NULL, "%s", error.message);
	/* and as a directory */
	ck_assert_code(error, open_code(folder, &error), indexes[_i].code);
}
END_TEST

static const struct {
	const char *config;
	int code;
} configs[] = {
	{ "{\"n_layer\":12,\"n_head\":12,\"vocab_size\":2,\"n_ctx\":9,"
	  "\"n_positions\":3,\"n_embd\":2}",
	  GW_OK },
	{ "{\"n_layer\":null}", GW_OK },
	{ "{\"n_layer\":-1}", GW_E_SOURCE },
	{ "{\"n_head\":1e3}", GW_E_SOURCE },
	{ "{\"n_layer\":1000001}", GW_E_SOURCE },
	{ "{\"n_embd\":\"768\"}", GW_E_SOURCE },
	{ "[]", GW_E_SOURCE },
	{ "", GW_E_SOURCE },
};

START_TEST(config_is_read)
{
	static const char header[] = "{" WTE "," WPE "}";
	struct gw_error error = GW_ERROR_INIT;
	struct pack_source *source = NULL;

	write_file("model.safetensors", sizeof header - 1, header, sizeof header - 1, 40);
	fixture_write(fixture_path(folder, "config.json"), configs[_i].config,
		      strlen(configs[_i].config));
	ck_assert_code(error, pack_source_open(folder, &source, &error), configs[_i].code);
	if (_i == 0) {
		ck_assert_uint_eq(source->config.n_layer, 12);
		ck_assert_uint_eq(source->config.n_vocab, 2);
		ck_assert_uint_eq(source->config.n_positions, 3);
		ck_assert_uint_eq(source->config.n_embd, 2);
	}
	pack_source_free(source);
}
END_TEST

START_TEST(config_is_no_file)
{
	static const char header[] = "{" WTE "," WPE "}";
	struct gw_error error = GW_ERROR_INIT;
	const char *path = fixture_path(folder, "config.json");

	write_file("model.safetensors", sizeof header - 1, header, sizeof header - 1, 40);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_code(error, open_code(folder, &error), GW_E_NOT_FILE);
	ck_assert_str_eq(error.message, "config.json is a directory, not a regular file");
	ck_assert_int_eq(rmdir(path), 0);
	fixture_write(path, "{}", 2);
	ck_assert_int_eq(truncate(path, (off_t)PACK_MAX_HEADER_BYTES + 1), 0);
	ck_assert_code(error, open_code(folder, &error), GW_E_SOURCE);
	ck_assert_str_eq(error.message, "config.json has 4194305 bytes, at most 4194304");
	/* one byte less: no JSON, but read */
	ck_assert_int_eq(truncate(path, (off_t)PACK_MAX_HEADER_BYTES), 0);
	ck_assert_code(error, open_code(folder, &error), GW_E_SOURCE);
	ck_assert_str_eq(error.message,
			 "config.json: the JSON text holds a NUL byte at offset 2");
}
END_TEST

START_TEST(change_is_noticed)
{
	static const char header[] = "{" WTE "," WPE "}";
	struct gw_error error = GW_ERROR_INIT;
	struct pack_source *source = NULL;
	uint8_t bytes[16];
	const char *path =
		write_file("a.safetensors", sizeof header - 1, header, sizeof header - 1, 40);

	ck_assert_code(error, pack_source_open(path, &source, &error), GW_OK);
	ck_assert_code(error, pack_file_unchanged(&source->files[0], &error), GW_OK);
	ck_assert_int_eq(truncate(path, 20), 0);
	ck_assert_code(error, pack_file_unchanged(&source->files[0], &error), GW_E_CHANGED);
	ck_assert_code(error, pack_file_read(&source->files[0], bytes, 16, 10, &error),
		       GW_E_CHANGED);
	pack_source_free(source);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("source");
	TCase *files = fixture_case(suite, "files");

	tcase_add_checked_fixture(files, setup, teardown);
	tcase_add_loop_test(files, flaw_is_refused, 0, sizeof flaws / sizeof flaws[0]);
	tcase_add_test(files, nul_bytes);
	tcase_add_test(files, memory_budget);
	tcase_add_test(files, budget_ends_in_a_string);
	tcase_add_test(files, depth);
	tcase_add_test(files, many_tensors_over_one_range);
	tcase_add_test(files, names_are_quoted);
	tcase_add_test(files, what_is_read);
	tcase_add_test(files, not_a_file);
	tcase_add_test(files, file_types);
	tcase_add_loop_test(files, kind_is_named, 0, sizeof kinds / sizeof kinds[0]);
	tcase_add_loop_test(files, index_is_checked, 0, sizeof indexes / sizeof indexes[0]);
	tcase_add_loop_test(files, config_is_read, 0, sizeof configs / sizeof configs[0]);
	tcase_add_test(files, config_is_no_file);
	tcase_add_test(files, change_is_noticed);
	return fixture_main(suite);
}
