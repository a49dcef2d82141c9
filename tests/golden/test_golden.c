/* SPDX-License-Identifier: MIT */
/*
 * Packs of earlier releases are read, value for value, and written again, byte for byte. They were
 * written once, by the first release that had their layout, and are never written again. For a new
 * layout: add it to the table and run GOLDEN_MAKE=tests/golden test_golden make, which writes what
 * is missing.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/dtype.h"
#include "format/reader.h"
#include "tests/support/fixture.h"

#define GOLDEN_COUNT 5
#define GOLDEN_TENSORS 4

struct golden {
	const char *name;       /* of the file */
	const char *content_id; /* 32 hexadecimal digits */
	struct {
		const char *name;
		unsigned dtype;
		uint64_t rows, columns; /* columns 0: rank 1 */
	} tensors[GOLDEN_TENSORS];
};

static const struct golden golden_packs[GOLDEN_COUNT] = {
	{ "f32.gpt2w",
	  "1656186df8df34b43c6c37592d6f57b0",
	  { { "wpe.weight", GW_F32, 5, 64 }, { "wte.weight", GW_F32, 70, 64 } } },
	{ "f16-padded.gpt2w",
	  "c5bf47e5d86a9bcb15dca1434dfeb986",
	  { { "wpe.weight", GW_F16, 5, 24 }, { "wte.weight", GW_F16, 70, 24 } } },
	{ "bf16-no-wpe.gpt2w",
	  "3dd4f7cc58f4a6bb9bd2f19a30377b7c",
	  { { "wte.weight", GW_BF16, 70, 24 } } },
	{ "others.gpt2w",
	  "3cbe27a8e82990570bbd58257397edc3",
	  { { "h.0.ln_1.bias", GW_F32, 24, 0 },
	    { "h.0.mlp.c_fc.weight", GW_F16, 24, 96 },
	    { "wpe.weight", GW_F32, 5, 24 },
	    { "wte.weight", GW_BF16, 70, 24 } } },
	{ "i8.gpt2w",
	  "0c6b94c9a3855e57212aa829f2adeb68",
	  { { "h.0.mlp.c_fc.weight", GW_I8, 24, 33 },
	    { "wpe.weight", GW_I8, 5, 24 },
	    { "wte.weight", GW_I8, 70, 24 } } },
};

/* The tensors to declare, with values of fixture_value; returns how many. */
static size_t golden_tensors(const struct golden *pack_of, struct gw_tensor out[GOLDEN_TENSORS])
{
	size_t n = 0;

	for (; n < GOLDEN_TENSORS && pack_of->tensors[n].name; n++)
		out[n] = fixture_tensor(pack_of->tensors[n].name, pack_of->tensors[n].dtype,
					pack_of->tensors[n].rows, pack_of->tensors[n].columns);
	return n;
}

static const struct golden *golden;
static uint8_t *file;
static size_t file_bytes;
static struct gw_pack *pack;

static void load(int index)
{
	struct gw_error error = GW_ERROR_INIT;

	golden = &golden_packs[index];
	file = fixture_read(fixture_path(FIXTURE_SOURCE_ROOT "/tests/golden", golden->name),
			    &file_bytes);
	ck_assert_code(error, fixture_check(file, file_bytes, &error), GW_OK);
	ck_assert_code(error, gw_pack_open_memory(file, file_bytes, 0, &pack, &error), GW_OK);
}

static void unload(void)
{
	gw_pack_free(pack);
	free(file);
}

/* Each element's bytes where they must lie, and zero after each row. */
static void check_values(const struct gw_tensor *tensor, uint64_t seed)
{
	unsigned element_bytes = gw_dtype_bytes(tensor->dtype);

	for (uint64_t r = 0; r < tensor->row_count; r++) {
		const uint8_t *row = file + tensor->data_offset + r * tensor->row_bytes;

		for (uint64_t c = 0; c < tensor->row_elements; c++) {
			uint8_t expected[4];

			fixture_element(fixture_value(seed, r, c), tensor->dtype, expected);
			ck_assert_mem_eq(row + c * element_bytes, expected, element_bytes);
		}
		for (uint64_t i = tensor->row_elements * element_bytes; i < tensor->row_bytes; i++)
			ck_assert_uint_eq(row[i], 0);
	}
	for (uint64_t r = 0; tensor->dtype == GW_I8 && r < tensor->row_count; r++) {
		float scale = fixture_scale(seed, r);

		ck_assert_mem_eq(file + tensor->scales_offset + r * sizeof scale, &scale,
				 sizeof scale);
	}
}

START_TEST(earlier_packs_are_read)
{
	char id[GW_DIGEST_TEXT_BYTES];
	struct gw_tensor tensors[GOLDEN_TENSORS];
	size_t n;

	load(_i);
	n = golden_tensors(golden, tensors);
	ck_assert_uint_eq(pack->superblock.n_tensors, n);
	ck_assert_str_eq(gw_digest_text(&pack->superblock.content_id, id), golden->content_id);
	ck_assert_uint_eq(pack->superblock.n_layer, 12);
	ck_assert_uint_eq(pack->superblock.n_head, 12);
	ck_assert_str_eq(pack->provenance.source_format, "fixture");
	ck_assert_str_eq(pack->provenance.tool, "tests");
	ck_assert_str_eq(pack->provenance.note, "test tables");
	for (size_t i = 0; i < n; i++) {
		const struct gw_tensor *tensor = gw_pack_find(pack, tensors[i].name);

		ck_assert_ptr_eq(tensor, &pack->tensors[i]);
		ck_assert_uint_eq(tensor->dtype, tensors[i].dtype);
		ck_assert_uint_eq(tensor->role, tensors[i].role);
		ck_assert_uint_eq(tensor->rank, tensors[i].rank);
		ck_assert_mem_eq(tensor->shape, tensors[i].shape, sizeof tensor->shape);
		check_values(tensor, tensor->role ? tensor->role : 3);
	}
	unload();
}
END_TEST

START_TEST(the_same_bytes_are_written_again)
{
	struct gw_tensor tensors[GOLDEN_TENSORS];
	size_t bytes;
	uint8_t *again;

	load(_i);
	again = fixture_image(tensors, golden_tensors(golden, tensors), &bytes);
	ck_assert_uint_eq(bytes, file_bytes);
	ck_assert_mem_eq(again, file, bytes);
	free(again);
	unload();
}
END_TEST

/* The values themselves, as bytes, so that the fixture and the packs cannot change together. */
START_TEST(first_values_are_pinned)
{
	static const uint8_t first[16] = { 0x00, 0x00, 0x2f, 0xc1, 0x00, 0x00, 0xab, 0xbb,
					   0x00, 0x00, 0x2c, 0x42, 0x00, 0x00, 0x08, 0xc0 };

	load(0);
	ck_assert_mem_eq(file + pack->wte->data_offset, first, sizeof first);
	unload();
}
END_TEST

START_TEST(missing_packs_are_made)
{
	struct gw_tensor tensors[GOLDEN_TENSORS];
	const char *path = fixture_path(getenv("GOLDEN_MAKE"), golden_packs[_i].name);

	if (access(path, F_OK) != 0)
		fixture_pack_tensors(path, tensors, golden_tensors(&golden_packs[_i], tensors));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("golden");
	TCase *tcase = fixture_case(suite, "golden");

	tcase_add_loop_test(tcase, earlier_packs_are_read, 0, GOLDEN_COUNT);
	tcase_add_loop_test(tcase, the_same_bytes_are_written_again, 0, GOLDEN_COUNT);
	tcase_add_test(tcase, first_values_are_pinned);
	if (getenv("GOLDEN_MAKE"))
		tcase_add_loop_test(fixture_case(suite, "make"), missing_packs_are_made, 0,
				    GOLDEN_COUNT);
	return fixture_main(suite);
}
