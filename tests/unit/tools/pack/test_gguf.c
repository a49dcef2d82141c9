/* SPDX-License-Identifier: MIT */
/* Malformed GGUF files, one flaw each, and the exact code with which each is refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/directory.h"
#include "tests/support/fixture.h"
#include "tools/pack/element.h"
#include "tools/pack/gguf_quant.h"
#include "tools/pack/limits.h"
#include "tools/pack/source.h"

/*
 * A file is written as words: u8:N u16:N u32:N u64:N (numbers), s:TEXT (its length and it), r:TEXT
 * (only it), pad:N (zeros up to a multiple of N), zero:N, x:N (a byte N, given in hexadecimal),
 * long:N (a string of N letters).
 */
#define HEAD(tensors, pairs) "r:GGUF u32:3 u64:" #tensors " u64:" #pairs " "
#define PAIR(key, type) "s:" key " u32:" #type " "
#define D1(a) "u32:1 u64:" #a " "
#define D2(a, b) "u32:2 u64:" #a " u64:" #b " "
#define INFO(name, dimensions, type, offset) \
	"s:" name " " dimensions "u32:" #type " u64:" #offset " "
/* Two tables of 3 and 2 rows: 24 and 16 bytes. */
#define WTE INFO("token_embd.weight", D2(2, 3), 0, 0)
#define WPE INFO("position_embd.weight", D2(2, 2), 0, 32)
#define DATA "pad:32 zero:24 pad:32 zero:16"
#define MAX "18446744073709551615"
/* clang-format off */
#define EVERY_TYPE                                                                   \
	PAIR("a", 0) "u8:1 " PAIR("b", 1) "u8:1 " PAIR("c", 2) "u16:1 "              \
	PAIR("d", 3) "u16:1 " PAIR("e", 4) "u32:1 " PAIR("f", 5) "u32:1 "            \
	PAIR("g", 6) "u32:1 " PAIR("h", 7) "u8:1 " PAIR("i", 8) "s:x "               \
	PAIR("j", 9) "u32:8 u64:2 s:x s:y " PAIR("k", 10) "u64:1 "                   \
	PAIR("l", 11) "u64:1 " PAIR("m", 12) "u64:1 "
#define EVERY_ARRAY                                                                  \
	PAIR("a", 9) "u32:7 u64:3 u8:0 u8:1 u8:1 "                                   \
	PAIR("b", 9) "u32:9 u64:2 u32:2 u64:3 zero:6 u32:8 u64:0 "                   \
	PAIR("c", 9) "u32:12 u64:2 zero:16 " PAIR("d", 8) "u64:0 "
/* clang-format on */

static const struct flaw {
	const char *file;
	int code;
	const char *part; /* of the message */
} flaws[] = {
	/* none */
	{ HEAD(2, 0) WTE WPE DATA, GW_OK, "" },
	{ HEAD(2, 0) WTE WPE DATA " pad:32", GW_OK, "" },
	{ HEAD(2, 0) WPE WTE DATA, GW_OK, "" },
	{ "r:GGUF u32:2 u64:2 u64:0 " WTE WPE DATA, GW_OK, "" },
	{ HEAD(0, 0), GW_OK, "" },
	{ HEAD(0, 0) "pad:32", GW_OK, "" },
	{ HEAD(2, 1) PAIR("general.alignment", 4) "u32:32 " WTE WPE DATA, GW_OK, "" },
	{ HEAD(2, 1)
		  PAIR("general.alignment", 4) "u32:8 " WTE INFO("position_embd.weight", D2(2, 2),
								 0, 24) "pad:8 zero:40",
	  GW_OK, "" },
	{ HEAD(2, 1) PAIR("general.alignment", 4) "u32:4096 " WTE INFO("position_embd.weight",
								       D2(2, 2), 0,
								       4096) "pad:4096 zero:4112",
	  GW_OK, "" },
	{ HEAD(1, 0) INFO("a", "u32:0 ", 0, 0) "pad:32 zero:4", GW_OK, "" },
	{ HEAD(1, 0) INFO("a", D1(0), 0, 0), GW_OK, "" },
	{ HEAD(2, 0) INFO("a", D2(0, 5), 0, 0) INFO("b", D1(1), 24, 0) "pad:32 zero:1", GW_OK, "" },
	{ HEAD(1, 0) INFO("a", D2(32, 2), 20, 0) "pad:32 zero:36", GW_OK, "" },
	{ HEAD(1, 0) INFO("a", "u32:4 u64:1 u64:2 u64:3 u64:4 ", 28, 0) "pad:32 zero:192", GW_OK,
	  "" },
	/* a pair of every type, and arrays of every kind */
	{ HEAD(0, 13) EVERY_TYPE, GW_OK, "" },
	{ HEAD(0, 4) EVERY_ARRAY, GW_OK, "" },

	/* the head */
	{ "r:GGUF", GW_E_SOURCE, "the version at offset 4" },
	{ "r:GGUF u32:3", GW_E_SOURCE, "the number of tensors at offset 8" },
	{ "r:GGUF u32:3 u64:0", GW_E_SOURCE, "the number of key/value pairs at offset 16" },
	{ "r:GGUF u32:0 u64:0 u64:0", GW_E_SOURCE, "of version 0 at offset 4" },
	{ "r:GGUF u32:1 u32:0 u32:0", GW_E_SOURCE, "of version 1 at offset 4" },
	{ "r:GGUF u32:4 u64:0 u64:0", GW_E_SOURCE, "of version 4 at offset 4" },
	{ "r:GGUF u32:4294967295 u64:0 u64:0", GW_E_SOURCE, "of version 4294967295 at offset 4" },
	{ "r:GGUF u32:50331648 u64:0 u64:0", GW_E_SOURCE, "big-endian" },
	{ "r:GGUF u32:33554432 u64:0 u64:0", GW_E_SOURCE, "big-endian" },
	{ HEAD(65537, 0), GW_E_SOURCE, "the number of tensors at offset 8 is 65537" },
	{ "r:GGUF u32:3 u64:" MAX " u64:0", GW_E_SOURCE, "the number of tensors at offset 8" },
	{ HEAD(0, 16385), GW_E_SOURCE, "the number of key/value pairs at offset 16 is 16385" },
	{ HEAD(65536, 0), GW_E_SOURCE, "the length of a tensor's name at offset 24" },
	{ HEAD(0, 16384), GW_E_SOURCE, "the length of a key at offset 24" },

	/* keys */
	{ HEAD(0, 1) "u64:0 u32:0 u8:0", GW_E_SOURCE, "the key at offset 24 has 0 bytes" },
	{ HEAD(0, 1) "u64:65536 zero:70000", GW_E_SOURCE, "has 65536 bytes" },
	{ HEAD(0, 1) "u64:" MAX " zero:99", GW_E_SOURCE, "the key at offset 24" },
	{ HEAD(0, 1) "u64:9 r:general", GW_E_SOURCE, "a key at offset 32 takes 9 bytes" },
	{ HEAD(0, 1) "u64:3 r:a x:1b r:b u32:0 u8:0", GW_E_SOURCE, "\"a\\x1bb\": byte 27" },
	{ HEAD(0, 1) "u64:2 x:c3 x:a9 u32:0 u8:0", GW_E_SOURCE, "byte 195" },
	{ HEAD(0, 1) "u64:1 x:0 u32:0 u8:0", GW_E_SOURCE,
	  "byte 0, no printable ASCII, at offset 32" },
	{ HEAD(0, 2) PAIR("a", 0) "u8:1 " PAIR("a", 0) "u8:1", GW_E_SOURCE,
	  "the key at offset 38 is that at 24 again" },
	{ HEAD(0, 1) "s:a", GW_E_SOURCE, "the type of a value at offset 33" },

	/* values */
	{ HEAD(0, 1) PAIR("a", 13) "u8:1", GW_E_SOURCE, "the unknown type 13 at offset 33" },
	{ HEAD(0, 1) PAIR("a", 4294967295) "u8:1", GW_E_SOURCE, "the unknown type 4294967295" },
	{ HEAD(0, 1) PAIR("a", 0), GW_E_SOURCE, "a number at offset 37 takes 1" },
	{ HEAD(0, 1) PAIR("a", 12) "u32:0", GW_E_SOURCE, "a number at offset 37 takes 8" },
	{ HEAD(0, 1) PAIR("a", 7), GW_E_SOURCE, "a truth value at offset 37" },
	{ HEAD(0, 1) PAIR("a", 7) "u8:2", GW_E_SOURCE, "truth value 2, neither 0 nor 1" },
	{ HEAD(0, 1) PAIR("a", 8) "u32:1", GW_E_SOURCE, "the length of a string" },
	{ HEAD(0, 1) PAIR("a", 8) "u64:2 r:x", GW_E_SOURCE, "a string at offset 45 takes 2" },
	{ HEAD(0, 1) PAIR("a", 8) "u64:" MAX " r:x", GW_E_SOURCE, "a string at offset 45" },
	{ HEAD(0, 1) PAIR("a", 9) "u32:13 u64:0", GW_E_SOURCE, "the unknown type 13" },
	{ HEAD(0, 1) PAIR("a", 9) "u32:0", GW_E_SOURCE, "the length of an array" },
	{ HEAD(0, 1) PAIR("a", 9) "u16:0", GW_E_SOURCE, "the type of a value" },
	{ HEAD(0, 1) PAIR("a", 9) "u32:2 u64:2 u8:0 u16:0", GW_E_SOURCE, "an array of 2 values" },
	{ HEAD(0, 1) PAIR("a", 9) "u32:12 u64:2305843009213693952", GW_E_SOURCE,
	  "an array of 2305843009213693952 values" },
	{ HEAD(0, 1) PAIR("a", 9) "u32:8 u64:2305843009213693953 u64:0", GW_E_SOURCE,
	  "an array of 2305843009213693953 values" },
	{ HEAD(0, 1) PAIR("a", 9) "u32:0 u64:" MAX, GW_E_SOURCE, "an array of " MAX },
	{ HEAD(0, 1) PAIR("a", 9) "u32:8 u64:2 u64:8 zero:15", GW_E_SOURCE, "past the end" },
	{ HEAD(0, 1) PAIR("a", 9) "u32:7 u64:3 u8:0 u8:1 u8:255", GW_E_SOURCE, "truth value 255" },
	{ HEAD(0, 1) PAIR("a", 9) "u32:9 u64:1 u32:9 u64:1 u32:9 u64:1 u32:9 u64:1 u32:9 u64:1 "
				  "u32:9 u64:1 u32:9 u64:1 u32:9 u64:1 u32:0 u64:1 u8:0",
	  GW_E_SOURCE, "nested more than 8 deep" },

	/* values that count */
	{ HEAD(0, 1) PAIR("general.alignment", 4) "u32:0", GW_E_SOURCE, "no power of two" },
	{ HEAD(0, 1) PAIR("general.alignment", 4) "u32:4", GW_E_SOURCE, "4, no power of two" },
	{ HEAD(0, 1) PAIR("general.alignment", 4) "u32:24", GW_E_SOURCE, "24, no power of two" },
	{ HEAD(0, 1) PAIR("general.alignment", 10) "u64:32", GW_E_SOURCE,
	  "the type 10 instead of 4" },
	{ HEAD(0, 1) PAIR("general.alignment", 8) "s:32", GW_E_SOURCE, "the type 8 instead of 4" },
	{ HEAD(0, 1) PAIR("general.alignment", 4), GW_E_SOURCE, "past the end" },
	{ HEAD(0, 1) PAIR("general.architecture", 4) "u32:1", GW_E_SOURCE, "instead of 8" },
	{ HEAD(0, 1) PAIR("general.architecture", 8) "u64:4 r:gpt", GW_E_SOURCE, "past the end" },
	{ HEAD(0, 1) PAIR("general.architecture", 8) "u64:5 r:gpt", GW_E_SOURCE, "past the end" },
	{ HEAD(0, 1) PAIR("general.architecture", 8), GW_E_SOURCE, "past the end" },
	{ HEAD(0, 1) PAIR("gpt2.block_count", 6) "u32:1", GW_E_SOURCE, "the type 6, no whole" },
	{ HEAD(0, 1) PAIR("gpt2.block_count", 9) "u32:4 u64:1 u32:1", GW_E_SOURCE,
	  "no whole number" },
	{ HEAD(0, 1) PAIR("gpt2.block_count", 5) "u32:4294967295", GW_E_SOURCE,
	  "a number below 0" },
	{ HEAD(0, 1) PAIR("gpt2.attention.head_count", 1) "u8:128", GW_E_SOURCE, "below 0" },
	{ HEAD(0, 1) PAIR("gpt2.block_count", 4) "u32:1000001", GW_E_SOURCE, "more than 1000000" },
	{ HEAD(0, 1) PAIR("gpt2.embedding_length", 10) "u64:" MAX, GW_E_SOURCE, "more than" },
	{ HEAD(0, 1) PAIR("gpt2.context_length", 4), GW_E_SOURCE, "past the end" },

	/* names */
	{ HEAD(1, 0) INFO("", D1(1), 0, 0) "pad:32 zero:4", GW_E_SOURCE, "has 0 bytes" },
	{ HEAD(1, 0) "long:256 " D1(1) "u32:0 u64:0 pad:32 zero:4", GW_E_SOURCE, "has 256 bytes" },
	{ HEAD(1, 0) "u64:" MAX " zero:99", GW_E_SOURCE, "the tensor's name at offset 24" },
	{ HEAD(1, 0) "u64:5 r:wte", GW_E_SOURCE, "a tensor's name at offset 32" },
	{ HEAD(1, 0) "u64:1 x:ff " D1(1) "u32:0 u64:0 pad:32 zero:4", GW_E_SOURCE, "\"\\xff\"" },
	{ HEAD(1, 0) "u64:2 r:a x:1b " D1(1) "u32:0 u64:0 pad:32 zero:4", GW_E_SOURCE,
	  "control bytes" },
	{ HEAD(1, 0) "u64:3 r:a x:0 r:b " D1(1) "u32:0 u64:0 pad:32 zero:4", GW_E_SOURCE,
	  "control" },
	{ HEAD(2, 0) INFO("a", D1(1), 0, 0) INFO("a", D1(1), 0, 32) "pad:32 zero:36", GW_E_SOURCE,
	  "two tensors \"a\"" },

	/* shapes and types */
	{ HEAD(1, 0) "s:a", GW_E_SOURCE, "the number of dimensions" },
	{ HEAD(1, 0) INFO("a", "u32:5 u64:1 u64:1 u64:1 u64:1 u64:1 ", 0, 0) "pad:32 zero:4",
	  GW_E_SOURCE, "5 dimensions" },
	{ HEAD(1, 0) "s:a u32:4294967295 zero:99", GW_E_SOURCE, "4294967295 dimensions" },
	{ HEAD(1, 0) "s:a u32:2 u64:1", GW_E_SOURCE, "a dimension at offset 45" },
	{ HEAD(1, 0) INFO("a", D2(4294967296, 4294967296), 0, 0), GW_E_SOURCE, "product" },
	{ HEAD(1, 0) INFO("a", D1(4611686018427387904), 0, 0), GW_E_SOURCE,
	  "size that does not fit" },
	{ HEAD(1, 0) INFO("a", D1(4611686018427387904), 2, 0), GW_E_SOURCE,
	  "size that does not fit" },
	{ HEAD(1, 0) "s:a " D1(1), GW_E_SOURCE, "a tensor's type at offset 45" },
	{ HEAD(1, 0) "s:a " D1(1) "u32:0", GW_E_SOURCE, "the offset of a tensor" },
	{ HEAD(1, 0) INFO("a", D1(1), 4, 0) "pad:32 zero:4", GW_E_SOURCE, "has the type 4," },
	{ HEAD(1, 0) INFO("a", D1(1), 31, 0) "pad:32 zero:4", GW_E_SOURCE, "has the type 31," },
	{ HEAD(1, 0) INFO("a", D1(1), 4294967295, 0) "pad:32 zero:4", GW_E_SOURCE, "4294967295" },
	{ HEAD(1, 0) INFO("a", D2(16, 2), 2, 0) "pad:32 zero:18", GW_E_SOURCE,
	  "rows of 16 values, no multiple of Q4_0's 32" },
	{ HEAD(1, 0) INFO("a", D2(32, 8), 12, 0) "pad:32 zero:144", GW_E_SOURCE,
	  "rows of 32 values, no multiple of Q4_K's 256" },
	{ HEAD(1, 0) INFO("a", "u32:0 ", 8, 0) "pad:32 zero:34", GW_E_SOURCE, "rows of 1 values" },

	/* places */
	{ HEAD(1, 0) INFO("a", D1(1), 0, 16) "pad:32 zero:20", GW_E_SOURCE,
	  "byte 16 of the data, no multiple of the alignment, 32" },
	{ HEAD(1, 1)
		  PAIR("general.alignment", 4) "u32:64 " INFO("a", D1(1), 0, 32) "pad:64 zero:36",
	  GW_E_SOURCE, "no multiple of the alignment, 64" },
	{ HEAD(1, 0) INFO("a", D1(1), 0, 32) "pad:32 zero:36", GW_E_SOURCE, "a hole before it" },
	{ HEAD(2, 0) WTE INFO("b", D1(1), 0, 64) "pad:32 zero:68", GW_E_SOURCE,
	  "a hole before it, of 32 bytes" },
	{ HEAD(2, 0) INFO("a", D1(9), 0, 0) INFO("b", D1(1), 0, 32) "pad:32 zero:36", GW_E_SOURCE,
	  "overlaps" },
	{ HEAD(2, 0) WTE INFO("b", D2(2, 3), 0, 0) "pad:32 zero:24", GW_E_SOURCE, "overlaps" },
	{ HEAD(2, 0) INFO("a", D1(1), 24, 0) INFO("b", D1(1), 24, 0) "pad:32 zero:1", GW_E_SOURCE,
	  "overlaps" },
	{ HEAD(2, 0) WTE WPE "pad:32 zero:47", GW_E_SOURCE, "past the end of the file" },
	{ HEAD(2, 0) WTE WPE, GW_E_SOURCE, "past the end of the file" },
	{ HEAD(1, 0) INFO("a", D1(1), 0, 18446744073709551584) "pad:32 zero:4", GW_E_SOURCE,
	  "past the end of the file" },
	{ HEAD(1, 0) INFO("a", D1(1), 0, 9223372036854775808) "pad:32 zero:4", GW_E_SOURCE,
	  "past the end of the file" },
	{ HEAD(1, 0) INFO("a", D2(32, 2), 20, 0) "pad:32 zero:35", GW_E_SOURCE, "past the end" },
	{ HEAD(1, 0) INFO("a", D2(256, 1), 15, 0) "pad:32 zero:291", GW_E_SOURCE, "past the end" },
	{ HEAD(1, 0) WTE "pad:32 zero:33", GW_E_SOURCE, "1 trailing bytes" },
	{ HEAD(0, 0) "pad:32 zero:1", GW_E_SOURCE, "1 trailing bytes from offset 32" },
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

struct made {
	uint8_t *bytes;
	size_t n, room;
};

static void put(struct made *made, const void *data, size_t n)
{
	if (made->n + n >= made->room) {
		made->room = 2 * (made->n + n) + 1;
		made->bytes = realloc(made->bytes, made->room);
	}
	if (data)
		memcpy(made->bytes + made->n, data, n);
	else
		memset(made->bytes + made->n, 0, n);
	made->n += n;
}

static void put_number(struct made *made, uint64_t value, size_t n)
{
	uint8_t bytes[8];

	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)(value >> 8 * i);
	put(made, bytes, n);
}

static void put_word(struct made *made, const char *word, size_t n)
{
	const char *colon = memchr(word, ':', n);
	const char *text = colon + 1;
	size_t text_bytes = n - (size_t)(text - word);
	uint64_t value = strtoull(text, NULL, word[0] == 'x' ? 16 : 10);

	if (word[0] == 'u')
		put_number(made, value, strtoul(word + 1, NULL, 10) / 8);
	if (word[0] == 'x')
		put_number(made, value, 1);
	if (word[0] == 's' || word[0] == 'r') {
		if (word[0] == 's')
			put_number(made, text_bytes, 8);
		put(made, text, text_bytes);
	}
	if (word[0] == 'p')
		put(made, NULL, (value - made->n % value) % value);
	if (word[0] == 'z')
		put(made, NULL, value);
	if (word[0] == 'l') {
		put_number(made, value, 8);
		put(made, NULL, value);
		memset(made->bytes + made->n - value, 'a', value);
	}
}

/* The file that words say. */
static const char *write_words(const char *words)
{
	const char *path = fixture_path(folder, "a.gguf");
	struct made made = { 0 };

	while (*words) {
		size_t n = strcspn(words, " ");

		if (n)
			put_word(&made, words, n);
		words += n + strspn(words + n, " ");
	}
	fixture_write(path, made.bytes, made.n);
	free(made.bytes);
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

	ck_assert_code(error, open_code(write_words(flaw->file), &error), flaw->code);
	ck_assert_msg(strstr(error.message, flaw->part) != NULL, "\"%s\" lacks \"%s\"",
		      error.message, flaw->part);
	if (flaw->code != GW_OK)
		ck_assert_msg(strncmp(error.message, "a.gguf: ", 8) == 0, "%s", error.message);
}
END_TEST

/* Every beginning of a good file that is shorter than its data is refused. */
START_TEST(cut_short)
{
	struct gw_error error = GW_ERROR_INIT;
	const char *path = write_words(HEAD(2, 3) PAIR("general.architecture", 8) "s:gpt2 " PAIR(
		"general.alignment",
		4) "u32:16 " PAIR("list",
				  9) "u32:9 u64:1 u32:8 u64:2 s:ab s:c " INFO("token_embd.weight",
									      D2(2, 4), 0, 0)
					       INFO("position_embd.weight", D2(2, 2), 0,
						    32) "pad:16 zero:48");
	size_t n = 0;
	uint8_t *bytes = fixture_read(path, &n);

	ck_assert_code(error, open_code(path, &error), GW_OK);
	for (size_t i = 4; i < n; i++) {
		fixture_write(path, bytes, i);
		ck_assert_msg(open_code(path, &error) == GW_E_SOURCE, "%zu bytes: %s", i,
			      error.message);
	}
	free(bytes);
}
END_TEST

START_TEST(what_is_read)
{
	struct gw_error error = GW_ERROR_INIT;
	struct pack_source *source = NULL;
	const struct pack_tensor *tensors;
	/* the data: 108 bytes, padded to 128; 256 more; 17, padded to 32; 2, padded to 32; 8 */
	const char *path = write_words(
		HEAD(5, 6) PAIR("general.architecture", 8) "s:gpt2 " PAIR("gpt2.block_count", 4) "u32:12 " PAIR(
			"gpt2.attention.head_count",
			5) "u32:6 " PAIR("gpt2.embedding_length",
					 10) "u64:64 " PAIR("gpt2.context_length",
							    2) "u16:2 " PAIR("gpt2.vocab_size",
									     0) "u8:3 " INFO("unread",
											     D1(32),
											     39,
											     384)
			INFO("token_embd.weight", D2(64, 3), 2, 0) INFO("position_embd.weight",
									D2(64, 2), 1, 128)
				INFO("output.weight", D1(1), 30, 416)
					INFO("wte.weight", D1(1), 28, 448) "pad:32 zero:456");

	ck_assert_code(error, pack_source_open(path, &source, &error), GW_OK);
	ck_assert_str_eq(source->format, "gguf");
	ck_assert_uint_eq(source->config.n_layer, 12);
	ck_assert_uint_eq(source->config.n_head, 6);
	ck_assert_uint_eq(source->config.n_embd, 64);
	ck_assert_uint_eq(source->config.n_positions, 2);
	ck_assert_uint_eq(source->config.n_vocab, 3);
	ck_assert_uint_eq(source->tensors.n, 5);
	tensors = source->tensors.items;
	/* in the order of the data */
	ck_assert_str_eq(tensors[0].name, "token_embd.weight");
	ck_assert_str_eq(tensors[0].canonical, GW_WTE_NAME);
	ck_assert_str_eq(pack_tensor_type(&tensors[0]), "Q4_0");
	ck_assert_str_eq(pack_element_name(tensors[0].element), "F32");
	ck_assert(tensors[0].encoded);
	ck_assert_uint_eq(tensors[0].rank, 2);
	ck_assert_uint_eq(tensors[0].shape[0], 3);
	ck_assert_uint_eq(tensors[0].shape[1], 64);
	ck_assert_uint_eq(tensors[0].size_bytes, 768);
	ck_assert_uint_eq(tensors[0].offset_bytes % 32, 0);
	ck_assert_str_eq(tensors[1].canonical, GW_WPE_NAME);
	ck_assert_str_eq(pack_tensor_type(&tensors[1]), "F16");
	ck_assert(!tensors[1].encoded);
	ck_assert_uint_eq(tensors[1].size_bytes, 256);
	ck_assert_uint_eq(tensors[1].offset_bytes, tensors[0].offset_bytes + 128);
	ck_assert_str_eq(pack_tensor_type(&tensors[2]), "MXFP4");
	ck_assert_int_eq(tensors[2].element, PACK_ELEMENT_UNKNOWN);
	ck_assert_str_eq(pack_element_name(tensors[2].element), "unknown");
	ck_assert_uint_eq(pack_element_bits(tensors[2].element), 0);
	ck_assert_uint_eq(tensors[2].size_bytes, 17);
	ck_assert_str_eq(tensors[3].canonical, "lm_head.weight");
	ck_assert_str_eq(pack_tensor_type(&tensors[3]), "BF16");
	ck_assert_ptr_null(tensors[4].canonical);
	ck_assert_str_eq(pack_tensor_type(&tensors[4]), "F64");
	pack_source_free(source);
}
END_TEST

/* What other models call so are not GPT-2's tables, unless the user says it. */
START_TEST(other_architecture)
{
	static const char *const names[] = { "bert", "llama" };

	for (size_t i = 0; i < 2; i++) {
		struct gw_error error = GW_ERROR_INIT;
		struct pack_source *source = NULL;
		char words[512];

		snprintf(words, sizeof words, "%s%s%s",
			 HEAD(2, 1) PAIR("general.architecture", 8) "s:", names[i],
			 " " WTE WPE DATA);
		ck_assert_code(error, pack_source_open(write_words(words), &source, &error), GW_OK);
		ck_assert_ptr_null(source->tensors.items[0].canonical);
		pack_source_free(source);
	}
}
END_TEST

/* A tokenizer as it is: its strings lie across the borders of what is read at once. */
START_TEST(long_arrays)
{
	struct gw_error error = GW_ERROR_INIT;
	struct made made = { 0 };
	const char *path = fixture_path(folder, "a.gguf");

	put(&made, "GGUF\3\0\0\0", 8);
	put_number(&made, 1, 8);
	put_number(&made, 3, 8);
	put_word(&made, "s:tokenizer.ggml.tokens", 23);
	put_number(&made, 9, 4);
	put_number(&made, 8, 4);
	put_number(&made, 50257, 8);
	for (unsigned i = 0; i < 50257; i++) {
		put_number(&made, i % 13, 8);
		put(&made, "0123456789abc", i % 13);
	}
	put_word(&made, "s:text", 6);
	put_number(&made, 8, 4);
	put_number(&made, 300000, 8);
	put(&made, NULL, 300000);
	put_number(&made, 65535, 8);
	put(&made, NULL, 65535);
	memset(made.bytes + made.n - 65535, 'k', 65535);
	put_number(&made, 0, 4);
	put_number(&made, 7, 1);
	put_word(&made, "s:token_embd.weight", 19);
	put_number(&made, 1, 4);
	put_number(&made, 2, 8);
	put_number(&made, 0, 4);
	put_number(&made, 0, 8);
	put_word(&made, "pad:32", 6);
	put(&made, NULL, 8);
	fixture_write(path, made.bytes, made.n);
	free(made.bytes);
	ck_assert_code(error, open_code(path, &error), GW_OK);
}
END_TEST

/* A number wherever the end of what is read at once, at 65,536 bytes and a little, cuts it. */
START_TEST(numbers_across_borders)
{
	for (unsigned shift = 0; shift < 80; shift++) {
		struct gw_error error = GW_ERROR_INIT;
		struct pack_source *source = NULL;
		char words[256];

		snprintf(words, sizeof words,
			 HEAD(0, 2) PAIR("a", 8) "long:%u " PAIR("gpt2.embedding_length",
								 10) "u64:72623859790382856",
			 65450 + shift);
		ck_assert_code(error, pack_source_open(write_words(words), &source, &error), GW_OK);
		ck_assert_uint_eq(source->config.n_embd, UINT64_C(0x0102030405060708));
		pack_source_free(source);
	}
}
END_TEST

/* A sparse file of 1 TiB whose pairs never end. */
START_TEST(endless_metadata)
{
	struct gw_error error = GW_ERROR_INIT;
	const char *path = write_words(HEAD(0, 1) PAIR("a", 9) "u32:8 u64:100000000000");

	ck_assert_int_eq(truncate(path, INT64_C(1) << 40), 0);
	ck_assert_code(error, open_code(path, &error), GW_E_SOURCE);
	ck_assert_ptr_nonnull(strstr(error.message, "an array of 100000000000 values"));
	path = write_words(HEAD(0, 1) PAIR("a", 8) "u64:200000000");
	ck_assert_int_eq(truncate(path, INT64_C(1) << 40), 0);
	ck_assert_code(error, open_code(path, &error), GW_E_SOURCE);
	ck_assert_ptr_nonnull(strstr(error.message, "over this program's limit of 134217728"));
}
END_TEST

static const uint32_t read_types[] = { 2, 3, 6, 7, 8, 12, 14 };

/* Any range gives what the whole gives there. */
START_TEST(ranges)
{
	const struct pack_ggml_type *type = pack_ggml_find(read_types[_i]);
	/* 120 rows of two blocks of 256: more than is read at once */
	const uint64_t n = UINT64_C(120) * 512;
	struct gw_error error = GW_ERROR_INIT;
	struct pack_source *source = NULL;
	const struct pack_tensor *tensor;
	uint8_t *whole = malloc(n * 4), *part = malloc(n * 4);
	float *values = malloc(n * 4);
	struct made made = { 0 };
	const char *path = fixture_path(folder, "a.gguf");
	uint64_t seed = 1;

	put(&made, "GGUF\3\0\0\0", 8);
	put_number(&made, 1, 8);
	put_number(&made, 0, 8);
	put_word(&made, "s:token_embd.weight", 19);
	put_number(&made, 2, 4);
	put_number(&made, 512, 8);
	put_number(&made, 120, 8);
	put_number(&made, type->number, 4);
	put_number(&made, 0, 8);
	put_word(&made, "pad:32", 6);
	for (uint64_t i = 0; i < n / type->block_values * type->block_bytes; i++) {
		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407U;
		put_number(&made, seed >> 56 & 0x3f, 1); /* no infinite scale */
	}
	fixture_write(path, made.bytes, made.n);
	ck_assert_code(error, pack_source_open(path, &source, &error), GW_OK);
	tensor = &source->tensors.items[0];
	ck_assert_uint_eq(tensor->size_bytes, n * 4);
	for (uint64_t i = 0; i < n / type->block_values; i++)
		type->dequantise(made.bytes + tensor->offset_bytes + i * type->block_bytes,
				 values + i * type->block_values);
	ck_assert_code(error, pack_source_read(source, tensor, 0, n * 4, whole, &error), GW_OK);
	ck_assert_int_eq(memcmp(whole, values, n * 4), 0);
	for (int i = 0; i < 400; i++) {
		uint64_t first, count;

		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407U;
		first = (seed >> 20) % n;
		count = (seed >> 40) % (i % 2 ? n - first : 40) % (n - first) + 1;
		ck_assert_code(error,
			       pack_source_read(source, tensor, first * 4, count * 4, part, &error),
			       GW_OK);
		ck_assert_int_eq(memcmp(part, whole + first * 4, count * 4), 0);
	}
	/* an empty one */
	ck_assert_code(error, pack_source_read(source, tensor, n * 4, 0, part, &error), GW_OK);
	ck_assert_int_eq(truncate(path, (off_t)made.n - 1), 0);
	ck_assert_code(error, pack_source_read(source, tensor, 0, n * 4, part, &error),
		       GW_E_CHANGED);
	pack_source_free(source);
	free(made.bytes);
	free(values);
	free(whole);
	free(part);
}
END_TEST

START_TEST(unread_type)
{
	struct gw_error error = GW_ERROR_INIT;
	struct pack_source *source = NULL;
	uint8_t bytes[128];

	ck_assert_code(error,
		       pack_source_open(write_words(HEAD(1, 0) INFO("token_embd.weight", D2(32, 1),
								    20, 0) "pad:32 zero:18"),
					&source, &error),
		       GW_OK);
	ck_assert_code(error,
		       pack_source_read(source, &source->tensors.items[0], 0, 128, bytes, &error),
		       GW_E_SOURCE);
	ck_assert_ptr_nonnull(strstr(error.message, "\"token_embd.weight\" has the type IQ4_NL"));
	pack_source_free(source);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("gguf");
	TCase *files = fixture_case(suite, "files");

	tcase_add_checked_fixture(files, setup, teardown);
	tcase_add_loop_test(files, flaw_is_refused, 0, sizeof flaws / sizeof flaws[0]);
	tcase_add_test(files, cut_short);
	tcase_add_test(files, what_is_read);
	tcase_add_test(files, other_architecture);
	tcase_add_test(files, long_arrays);
	tcase_add_test(files, numbers_across_borders);
	tcase_add_test(files, endless_metadata);
	tcase_add_loop_test(files, ranges, 0, sizeof read_types / sizeof read_types[0]);
	tcase_add_test(files, unread_type);
	return fixture_main(suite);
}
