/* SPDX-License-Identifier: MIT */
/* Malformed llm.c checkpoints, one flaw each, and the exact code with which each is refused. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/fixture.h"
#include "tools/pack/element.h"
#include "tools/pack/source.h"

#define MAGIC 20240326

/*
 * Elements of a model of 3 positions, 5 rows of wte (7 padded), 2 layers, 2 heads and 4 columns:
 * (5 + 3 + 2) * 4 + 2 * (12 * 16 + 13 * 4).
 */
#define ELEMENTS 528
#define PADDED (ELEMENTS + 8)

static const struct flaw {
	int32_t fields[8];
	uint64_t bytes; /* of the whole file */
	int code;
	uint64_t offset; /* of the error */
	const char *part;
} flaws[] = {
	/* none */
	{ { MAGIC, 1, 3, 5, 2, 2, 4, 0 }, 1024 + 4 * ELEMENTS, GW_OK, 0, "" },
	{ { MAGIC, 1, 3, 5, 2, 2, 4, 5 }, 1024 + 4 * ELEMENTS, GW_OK, 0, "" },
	{ { MAGIC, 2, 3, 5, 2, 2, 4, 0 }, 1024 + 2 * ELEMENTS, GW_OK, 0, "" },
	{ { MAGIC, 3, 3, 5, 2, 2, 4, 7 }, 1024 + 4 * PADDED, GW_OK, 0, "" },
	{ { MAGIC, 5, 3, 5, 2, 2, 4, 7 }, 1024 + 2 * PADDED, GW_OK, 0, "" },
	{ { MAGIC, 3, 3, 5, 2, 2, 4, 5 }, 1024 + 4 * ELEMENTS, GW_OK, 0, "" },
	{ { MAGIC, 3, 3, 5, 2, 1, 4, 7 }, 1024 + 4 * PADDED, GW_OK, 0, "" },

	/* the header */
	{ { MAGIC, 3, 3, 5, 2, 2, 4, 7 }, 4, GW_E_SOURCE, 4, "only 4 bytes" },
	{ { MAGIC, 3, 3, 5, 2, 2, 4, 7 }, 32, GW_E_SOURCE, 32, "only 32 bytes" },
	{ { MAGIC, 3, 3, 5, 2, 2, 4, 7 }, 1023, GW_E_SOURCE, 1023, "only 1023 bytes" },
	{ { MAGIC, 3, 3, 5, 2, 2, 4, 7 }, 1024, GW_E_SOURCE, 8, "and this one has 1024" },

	/* versions */
	{ { MAGIC, 0, 3, 5, 2, 2, 4, 7 }, 1024 + 4 * PADDED, GW_E_SOURCE, 4, "version 0" },
	{ { MAGIC, 4, 3, 5, 2, 2, 4, 7 }, 1024 + 4 * PADDED, GW_E_SOURCE, 4, "version 4" },
	{ { MAGIC, 6, 3, 5, 2, 2, 4, 7 }, 1024 + 4 * PADDED, GW_E_SOURCE, 4, "version 6" },
	{ { MAGIC, -1, 3, 5, 2, 2, 4, 7 }, 1024 + 4 * PADDED, GW_E_SOURCE, 4, "version -1" },
	{ { MAGIC, INT32_MAX, 3, 5, 2, 2, 4, 7 }, 2000, GW_E_SOURCE, 4, "version 2147483647" },
	{ { MAGIC, 0x03000000, 3, 5, 2, 2, 4, 7 }, 2000, GW_E_SOURCE, 4, "version 50331648" },

	/* fields */
	{ { MAGIC, 3, 0, 5, 2, 2, 4, 7 }, 2000, GW_E_SOURCE, 8, "positions at offset 8 is 0" },
	{ { MAGIC, 3, -3, 5, 2, 2, 4, 7 }, 2000, GW_E_SOURCE, 8, "positions at offset 8 is -3" },
	{ { MAGIC, 3, INT32_MIN, 5, 2, 2, 4, 7 }, 2000, GW_E_SOURCE, 8, "is -2147483648" },
	{ { MAGIC, 3, 3, 0, 2, 2, 4, 7 }, 2000, GW_E_SOURCE, 12, "vocabulary at offset 12 is 0" },
	{ { MAGIC, 3, 3, -5, 2, 2, 4, 7 }, 2000, GW_E_SOURCE, 12, "vocabulary at offset 12 is -5" },
	{ { MAGIC, 3, 3, 5, 0, 2, 4, 7 }, 2000, GW_E_SOURCE, 16, "layers at offset 16 is 0" },
	{ { MAGIC, 3, 3, 5, -2, 2, 4, 7 }, 2000, GW_E_SOURCE, 16, "layers at offset 16 is -2" },
	{ { MAGIC, 3, 3, 5, 5462, 2, 4, 7 }, 2000, GW_E_SOURCE, 16, "not from 1 to 5461" },
	{ { MAGIC, 3, 3, 5, INT32_MAX, 2, 4, 7 }, 2000, GW_E_SOURCE, 16, "is 2147483647" },
	{ { MAGIC, 3, 3, 5, 2, 0, 4, 7 }, 2000, GW_E_SOURCE, 20, "heads at offset 20 is 0" },
	{ { MAGIC, 3, 3, 5, 2, -1, 4, 7 }, 2000, GW_E_SOURCE, 20, "heads at offset 20 is -1" },
	{ { MAGIC, 3, 3, 5, 2, 1000001, 4, 7 }, 2000, GW_E_SOURCE, 20, "from 1 to 1000000" },
	{ { MAGIC, 3, 3, 5, 2, 3, 4, 7 }, 2000, GW_E_SOURCE, 20, "does not divide" },
	{ { MAGIC, 3, 3, 5, 2, 8, 4, 7 }, 2000, GW_E_SOURCE, 20, "does not divide" },
	{ { MAGIC, 3, 3, 5, 2, 2, 0, 7 }, 2000, GW_E_SOURCE, 24, "columns at offset 24 is 0" },
	{ { MAGIC, 3, 3, 5, 2, 2, -4, 7 }, 2000, GW_E_SOURCE, 24, "columns at offset 24 is -4" },
	{ { MAGIC, 3, 3, 5, 2, 2, 16777217, 7 }, 2000, GW_E_SOURCE, 24, "1 to 16777216" },
	{ { MAGIC, 3, 3, 5, 2, 2, INT32_MAX, 7 }, 2000, GW_E_SOURCE, 24, "1 to 16777216" },

	/* padding */
	{ { MAGIC, 3, 3, 5, 2, 2, 4, 0 }, 2000, GW_E_SOURCE, 28, "padded vocabulary at offset 28" },
	{ { MAGIC, 5, 3, 5, 2, 2, 4, 0 }, 2000, GW_E_SOURCE, 28, "padded vocabulary at offset 28" },
	{ { MAGIC, 3, 3, 5, 2, 2, 4, -7 }, 2000, GW_E_SOURCE, 28, "at offset 28 is -7" },
	{ { MAGIC, 3, 3, 5, 2, 2, 4, 4 },
	  2000,
	  GW_E_SOURCE,
	  28,
	  "offset 28 is 4, the vocabulary at offset 12 is 5" },
	{ { MAGIC, 1, 3, 5, 2, 2, 4, 7 }, 1024 + 4 * PADDED, GW_E_SOURCE, 28, "has no padding" },
	{ { MAGIC, 2, 3, 5, 2, 2, 4, 7 }, 1024 + 2 * PADDED, GW_E_SOURCE, 28, "has no padding" },
	{ { MAGIC, 1, 3, 5, 2, 2, 4, 4 }, 1024 + 4 * PADDED, GW_E_SOURCE, 28, "has no padding" },
	{ { MAGIC, 1, 3, 5, 2, 2, 4, -1 }, 1024 + 4 * PADDED, GW_E_SOURCE, 28, "is -1" },

	/* sizes */
	{ { MAGIC, 3, 3, 5, 2, 2, 4, 7 }, 1023 + 4 * PADDED, GW_E_SOURCE, 8, "a file of 3168" },
	{ { MAGIC, 3, 3, 5, 2, 2, 4, 7 }, 1025 + 4 * PADDED, GW_E_SOURCE, 8, "has 3169" },
	{ { MAGIC, 3, 3, 5, 2, 2, 4, 7 }, 1024 + 4 * ELEMENTS, GW_E_SOURCE, 8, "has 3136" },
	{ { MAGIC, 3, 3, 5, 2, 2, 4, 7 }, 1024 + 2 * PADDED, GW_E_SOURCE, 8, "has 2096" },
	{ { MAGIC, 5, 3, 5, 2, 2, 4, 7 }, 1024 + 4 * PADDED, GW_E_SOURCE, 8, "a file of 2096" },
	{ { MAGIC, 2, 3, 5, 2, 2, 4, 0 }, 1024 + 4 * ELEMENTS, GW_E_SOURCE, 8, "a file of 2080" },
	{ { MAGIC, 3, 4, 5, 2, 2, 4, 7 }, 1024 + 4 * PADDED, GW_E_SOURCE, 8, "a file of 3184" },
	{ { MAGIC, 3, 3, 5, 3, 2, 4, 7 }, 1024 + 4 * PADDED, GW_E_SOURCE, 8, "a file of 4144" },
	{ { MAGIC, 3, 3, 5, 2, 2, 8, 7 }, 1024 + 4 * PADDED, GW_E_SOURCE, 8, "a file of" },
	{ { MAGIC, 3, 3, 5, 5461, 1, 16777216, 7 }, 2000, GW_E_SOURCE, 8, "more than 2^64 bytes" },
	{ { MAGIC, 3, INT32_MAX, INT32_MAX, 1, 1, 16777216, INT32_MAX },
	  2000,
	  GW_E_SOURCE,
	  8,
	  "a file of" },
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

static const char *write_file(const int32_t *fields, uint64_t n)
{
	const char *path = fixture_path(folder, "a.bin");
	uint8_t *bytes = calloc(1, n < 1024 ? 1024 : n);

	for (unsigned i = 0; i < 32; i++)
		bytes[i] = (uint8_t)((uint32_t)fields[i / 4] >> i % 4 * 8);
	fixture_write(path, bytes, n);
	free(bytes);
	return path;
}

START_TEST(flaw_is_refused)
{
	const struct flaw *flaw = &flaws[_i];
	struct gw_error error = GW_ERROR_INIT;
	struct pack_source *source = NULL;

	ck_assert_code(error,
		       pack_source_open(write_file(flaw->fields, flaw->bytes), &source, &error),
		       flaw->code);
	pack_source_free(source);
	if (flaw->code == GW_OK)
		return;
	ck_assert_msg(strstr(error.message, flaw->part) != NULL, "\"%s\" lacks \"%s\"",
		      error.message, flaw->part);
	ck_assert_msg(strncmp(error.message, "a.bin: ", 7) == 0, "%s", error.message);
	ck_assert_uint_eq(error.offset, flaw->offset);
}
END_TEST

/* From the whole file down to its mark. */
START_TEST(every_length)
{
	struct gw_error error = GW_ERROR_INIT;
	const char *path = write_file(flaws[3].fields, flaws[3].bytes);

	for (uint64_t n = flaws[3].bytes; n-- > 4;) {
		struct pack_source *source = NULL;

		ck_assert_int_eq(truncate(path, (off_t)n), 0);
		ck_assert_code(error, pack_source_open(path, &source, &error), GW_E_SOURCE);
	}
}
END_TEST

START_TEST(what_is_read)
{
	static const struct {
		size_t i;
		const char *name;
		uint64_t rows, columns, offset; /* in elements, from the end of the header */
	} tensors[] = {
		{ 0, "wte.weight", 5, 4, 0 },
		{ 1, "wpe.weight", 3, 4, 28 }, /* 7 rows of wte */
		{ 2, "h.0.ln_1.weight", 4, 0, 40 },
		{ 3, "h.1.ln_1.weight", 4, 0, 44 },
		{ 4, "h.0.ln_1.bias", 4, 0, 48 },
		{ 6, "h.0.attn.c_attn.weight", 12, 4, 56 },
		{ 7, "h.1.attn.c_attn.weight", 12, 4, 104 },
		{ 8, "h.0.attn.c_attn.bias", 12, 0, 152 },
		{ 10, "h.0.attn.c_proj.weight", 4, 4, 176 },
		{ 12, "h.0.attn.c_proj.bias", 4, 0, 208 },
		{ 14, "h.0.ln_2.weight", 4, 0, 216 },
		{ 16, "h.0.ln_2.bias", 4, 0, 224 },
		{ 18, "h.0.mlp.c_fc.weight", 16, 4, 232 },
		{ 20, "h.0.mlp.c_fc.bias", 16, 0, 360 },
		{ 22, "h.0.mlp.c_proj.weight", 4, 16, 392 },
		{ 25, "h.1.mlp.c_proj.bias", 4, 0, 524 },
		{ 26, "ln_f.weight", 4, 0, 528 },
		{ 27, "ln_f.bias", 4, 0, 532 },
	};
	struct gw_error error = GW_ERROR_INIT;
	struct pack_source *source = NULL;

	ck_assert_code(error,
		       pack_source_open(write_file(flaws[4].fields, flaws[4].bytes), &source,
					&error),
		       GW_OK);
	ck_assert_str_eq(source->format, "llm.c");
	ck_assert_uint_eq(source->config.n_layer, 2);
	ck_assert_uint_eq(source->config.n_head, 2);
	ck_assert_uint_eq(source->config.n_vocab, 5);
	ck_assert_uint_eq(source->config.n_positions, 3);
	ck_assert_uint_eq(source->config.n_embd, 4);
	ck_assert_uint_eq(source->tensors.n, 28);
	for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
		const struct pack_tensor *tensor = &source->tensors.items[tensors[i].i];

		ck_assert_str_eq(tensor->name, tensors[i].name);
		ck_assert_str_eq(pack_element_name(tensor->element), "BF16");
		ck_assert(!tensor->encoded);
		ck_assert_uint_eq(tensor->rank, tensors[i].columns ? 2 : 1);
		ck_assert_uint_eq(tensor->shape[0], tensors[i].rows);
		ck_assert_uint_eq(tensor->shape[1], tensors[i].columns);
		ck_assert_uint_eq(tensor->offset_bytes, 1024 + 2 * tensors[i].offset);
		ck_assert_uint_eq(tensor->size_bytes,
				  2 * tensors[i].rows *
					  (tensors[i].columns ? tensors[i].columns : 1));
	}
	pack_source_free(source);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("llmc");
	TCase *files = fixture_case(suite, "files");

	tcase_add_checked_fixture(files, setup, teardown);
	tcase_add_loop_test(files, flaw_is_refused, 0, sizeof flaws / sizeof flaws[0]);
	tcase_add_test(files, every_length);
	tcase_add_test(files, what_is_read);
	return fixture_main(suite);
}
