/* SPDX-License-Identifier: MIT */
/* A pack as a checkpoint: rows without their padding, damage noticed wherever it is. */
#include <stdlib.h>
#include <string.h>

#include "format/directory.h"
#include "tests/support/fixture.h"
#include "tools/pack/plan.h"
#include "tools/pack/source.h"

static char *folder;

static void setup(void)
{
	folder = fixture_folder_new();
}

static void teardown(void)
{
	fixture_folder_free(folder);
}

static const struct {
	unsigned dtype;
	uint64_t rows, columns;
} tables[] = {
	{ GW_F32, 50, 16 },
	{ GW_F32, 50, 17 },
	{ GW_F16, 3, 5 },
	{ GW_BF16, 70000, 3 }, /* 64 bytes a row, several blocks */
	{ GW_F32, 5, 70001 },  /* a row is longer than a block */
	{ GW_I8, 50, 64 },
	{ GW_I8, 70000, 3 },   /* as are the scales */
	{ GW_I8, 3, 262145 },  /* and rows of bytes */
};

#define N_TABLES (int)(sizeof tables / sizeof tables[0])

/* Puts the compressed form in place of the pack at path. */
static void compress(const char *path)
{
	size_t n, n_compressed;
	uint8_t *raw = fixture_read(path, &n), *compressed = fixture_compress(raw, n, &n_compressed);

	fixture_write(path, compressed, n_compressed);
	free(raw);
	free(compressed);
}

/* Twice over: of packs as they are, and compressed. */
START_TEST(values)
{
	int which = _i % N_TABLES;
	uint64_t rows = tables[which].rows, columns = tables[which].columns;
	unsigned dtype = tables[which].dtype, width = gw_dtype_bytes(dtype);
	struct gw_tensor packed = fixture_tensor(GW_WTE_NAME, dtype, rows, columns);
	const char *path = fixture_path(folder, "old.gpt2w");
	uint64_t scales_bytes = dtype == GW_I8 ? 4 * rows : 0;
	uint8_t *got = malloc(rows * columns * width + scales_bytes), want[4];
	struct gw_error error = GW_ERROR_INIT;
	struct pack_source *source = NULL;
	const struct pack_tensor *tensor;

	packed.role = GW_ROLE_WTE;
	fixture_pack_tensors(path, &packed, 1);
	if (_i >= N_TABLES)
		compress(path);
	ck_assert_code(error, pack_source_open(path, &source, &error), GW_OK);
	ck_assert_str_eq(source->format, "gpt2w");
	ck_assert_uint_eq(source->tensors.n, 1);
	tensor = &source->tensors.items[0];
	ck_assert(tensor->encoded);
	ck_assert_str_eq(tensor->canonical, GW_WTE_NAME);
	ck_assert_uint_eq(tensor->size_bytes, rows * columns * width + scales_bytes);
	ck_assert_str_eq(pack_tensor_type(tensor), dtype == GW_I8    ? "Q8" :
						   dtype == GW_BF16 ? "BF16" :
						   dtype == GW_F16  ? "F16" :
								      "F32");
	/* in two parts that end within a row */
	ck_assert_code(error,
		       pack_source_read(source, tensor, 0, (columns + 1) * width, got, &error),
		       GW_OK);
	ck_assert_code(error,
		       pack_source_read(source, tensor, (columns + 1) * width,
					tensor->size_bytes - (columns + 1) * width,
					got + (columns + 1) * width, &error),
		       GW_OK);
	for (uint64_t row = 0; row < rows; row++) {
		for (uint64_t column = 0; column < columns; column++) {
			fixture_element(fixture_value(1, row, column), dtype, want);
			/* an assertion for each would take seconds */
			if (memcmp(got + (row * columns + column) * width, want, width) != 0)
				ck_abort_msg("row %d, column %d", (int)row, (int)column);
		}
	}
	for (uint64_t row = 0; dtype == GW_I8 && row < rows; row++) {
		float scale = fixture_scale(1, row);

		ck_assert_mem_eq(got + rows * columns + 4 * row, &scale, 4);
	}
	pack_source_free(source);
	free(got);
}
END_TEST

/* Opens and reads both tables. */
static int read_all(const char *path, struct gw_error *error)
{
	struct pack_source *source = NULL;
	static uint8_t out[1 << 20];
	int code = pack_source_open(path, &source, error);

	for (size_t i = 0; code == GW_OK && i < source->tensors.n; i++)
		code = pack_source_read(source, &source->tensors.items[i], 0,
					source->tensors.items[i].size_bytes, out, error);
	pack_source_free(source);
	return code;
}

/* Each byte is in the header, in a block, or padding outside of all tensors. */
START_TEST(flipped)
{
	const char *path = fixture_path(folder, "old.gpt2w");
	struct gw_error error = GW_ERROR_INIT;
	struct pack_source *source = NULL;
	struct pack_tensor first;
	size_t n, n_damaged = 0;
	uint8_t *bytes;

	fixture_pack(path, 40, 30, 17, _i ? GW_I8 : GW_F32, GW_F32);
	ck_assert_code(error, pack_source_open(path, &source, &error), GW_OK);
	first = source->tensors.items[0];
	pack_source_free(source);
	ck_assert_code(error, read_all(path, &error), GW_OK);
	bytes = fixture_read(path, &n);
	for (size_t i = 0; i < n; i += 251) {
		int code;

		bytes[i] ^= 0x10;
		fixture_write(path, bytes, n);
		code = read_all(path, &error);
		bytes[i] ^= 0x10;
		n_damaged += code == GW_E_BLOCK_DIGEST;
		ck_assert_msg(code < 0, "byte %zu", i);
		if (i >= first.offset_bytes && i < first.offset_bytes + first.size_bytes) {
			ck_assert_int_eq(code, GW_E_BLOCK_DIGEST);
			ck_assert_ptr_nonnull(strstr(error.message, "old.gpt2w: "));
		}
	}
	ck_assert_uint_gt(n_damaged, 10);
	free(bytes);
}
END_TEST

/* The same of a compressed pack, whose first stored block follows its table on the next page. */
START_TEST(flipped_compressed)
{
	const char *path = fixture_path(folder, "old.gpt2w");
	struct gw_error error = GW_ERROR_INIT;
	size_t n, n_damaged = 0;
	uint8_t *bytes;

	fixture_pack(path, 40, 30, 17, _i ? GW_I8 : GW_F32, GW_F32);
	compress(path);
	ck_assert_code(error, read_all(path, &error), GW_OK);
	bytes = fixture_read(path, &n);
	for (size_t i = 0; i < n; i += i < 12288 ? 251 : 11) {
		int code;

		bytes[i] ^= 0x10;
		fixture_write(path, bytes, n);
		code = read_all(path, &error);
		bytes[i] ^= 0x10;
		n_damaged += code == GW_E_STORED_BLOCK;
		ck_assert_msg(code < 0, "byte %zu", i);
		if (i >= 12288)
			ck_assert_int_eq(code, GW_E_STORED_BLOCK);
		if (i >= 12288)
			ck_assert_ptr_nonnull(strstr(error.message, "old.gpt2w: stored block "));
	}
	ck_assert_uint_gt(n_damaged, 10);
	free(bytes);
}
END_TEST

START_TEST(cut_off)
{
	const char *path = fixture_path(folder, "old.gpt2w");
	struct gw_error error = GW_ERROR_INIT;
	uint8_t *bytes;
	size_t n;

	fixture_pack(path, 40, 30, 17, GW_F32, GW_F32);
	if (_i)
		compress(path);
	bytes = fixture_read(path, &n);
	for (size_t i = 6; i < n; i += i < 600 ? 7 : 197) {
		fixture_write(path, bytes, i);
		ck_assert_int_lt(read_all(path, &error), 0);
		ck_assert_ptr_nonnull(strstr(error.message, "old.gpt2w"));
	}
	free(bytes);
}
END_TEST

START_TEST(shortened_while_read)
{
	const char *path = fixture_path(folder, "old.gpt2w");
	struct gw_error error = GW_ERROR_INIT;
	struct pack_source *source = NULL;
	uint8_t out[64];

	fixture_pack(path, 40, 30, 16, GW_F32, GW_F32);
	if (_i)
		compress(path);
	ck_assert_code(error, pack_source_open(path, &source, &error), GW_OK);
	fixture_write(path, "x", 1);
	ck_assert_code(error,
		       pack_source_read(source, &source->tensors.items[0], 0, 64, out, &error),
		       GW_E_CHANGED);
	pack_source_free(source);
}
END_TEST

START_TEST(roles_count)
{
	struct gw_tensor packed[] = { fixture_tensor("a", GW_F32, 3, 4),
				      fixture_tensor(GW_WPE_NAME, GW_F32, 3, 4),
				      fixture_tensor(GW_WTE_NAME, GW_F16, 5, 4) };
	const char *path = fixture_path(folder, "old.gpt2w");
	struct gw_error error = GW_ERROR_INIT;
	struct pack_source *source = NULL;
	struct pack_wish wish = { 0 };
	struct pack_plan plan;

	packed[1].role = GW_ROLE_WPE;
	packed[2].role = GW_ROLE_WTE;
	fixture_pack_tensors(path, packed, 3);
	ck_assert_code(error, pack_source_open(path, &source, &error), GW_OK);
	ck_assert_uint_eq(source->tensors.n, 3);
	ck_assert_code(error, pack_plan_make(source, &wish, &plan, &error), GW_OK);
	ck_assert_str_eq(plan.tables[0].tensor->name, GW_WTE_NAME);
	ck_assert_uint_eq(plan.tables[0].to, GW_F16);
	ck_assert_str_eq(plan.tables[1].tensor->name, GW_WPE_NAME);
	pack_plan_deinit(&plan);
	pack_source_free(source);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("repack");
	TCase *repack = fixture_case(suite, "repack");

	tcase_add_checked_fixture(repack, setup, teardown);
	tcase_add_loop_test(repack, values, 0, 2 * N_TABLES);
	tcase_add_loop_test(repack, flipped, 0, 2);
	tcase_add_loop_test(repack, flipped_compressed, 0, 2);
	tcase_add_loop_test(repack, cut_off, 0, 2);
	tcase_add_loop_test(repack, shortened_while_read, 0, 2);
	tcase_add_test(repack, roles_count);
	return fixture_main(suite);
}
