/* SPDX-License-Identifier: MIT */
#include "format/directory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/superblock.h"
#include "tests/support/fixture.h"

static struct gw_error error = GW_ERROR_INIT;

START_TEST(measures)
{
	static const struct {
		const char *name;
		unsigned dtype;
		uint8_t rank;
		uint64_t shape[GW_MAX_RANK];
		uint64_t row_count, row_elements, row_bytes, data_bytes, block_count, extent_bytes;
	} cases[] = {
		{ "scalar", GW_F32, 0, { 0 }, 1, 1, 4, 4, 1, 4 },
		{ "bias", GW_F16, 1, { 7 }, 1, 7, 14, 14, 1, 14 },
		{ "matrix", GW_BF16, 2, { 3, 5 }, 3, 5, 10, 30, 1, 30 },
		{ "deep", GW_F32, 8, { 2, 1, 2, 1, 2, 1, 2, 3 }, 16, 3, 12, 192, 1, 192 },
		{ "block", GW_F32, 1, { 65536 }, 1, 65536, 262144, 262144, 1, 262144 },
		{ "block and a half", GW_F32, 1, { 65537 }, 1, 65537, 262148, 262148, 2, 262148 },
		{ "wte.weight", GW_F32, 2, { 50257, 768 }, 50257, 768, 3072, 154389504, 589, 154389504 },
		{ "wte.weight", GW_F32, 2, { 70, 24 }, 70, 24, 128, 8960, 1, 8960 },
		{ "wpe.weight", GW_F16, 2, { 5, 24 }, 5, 24, 64, 320, 1, 320 },
		{ "wpe.weight", GW_BF16, 2, { 5, 33 }, 5, 33, 128, 640, 1, 640 },
		/* data, up to 64, four bytes a row */
		{ "scalar", GW_I8, 0, { 0 }, 1, 1, 1, 1, 1, 68 },
		{ "matrix", GW_I8, 2, { 3, 33 }, 3, 33, 33, 99, 1, 140 },
		{ "wpe.weight", GW_I8, 2, { 5, 65 }, 5, 65, 128, 640, 1, 660 },
		{ "block of data", GW_I8, 2, { 1024, 256 }, 1024, 256, 256, 262144, 2, 266240 },
		{ "wte.weight", GW_I8, 2, { 50257, 768 }, 50257, 768, 768, 38597376, 149, 38798404 },
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct gw_tensor tensor = fixture_tensor(cases[i].name, cases[i].dtype, 0, 0);

		tensor.rank = cases[i].rank;
		memcpy(tensor.shape, cases[i].shape, sizeof tensor.shape);
		ck_assert_code(error, gw_tensor_measure(&tensor, GW_NO_OFFSET, &error), GW_OK);
		ck_assert_uint_eq(tensor.row_count, cases[i].row_count);
		ck_assert_uint_eq(tensor.row_elements, cases[i].row_elements);
		ck_assert_uint_eq(tensor.row_bytes, cases[i].row_bytes);
		ck_assert_uint_eq(tensor.data_bytes, cases[i].data_bytes);
		ck_assert_uint_eq(tensor.block_count, cases[i].block_count);
		ck_assert_uint_eq(tensor.extent_bytes, cases[i].extent_bytes);
		ck_assert_uint_eq(tensor.scales_bytes,
				  cases[i].dtype == GW_I8 ? 4 * cases[i].row_count : 0);
		ck_assert_uint_eq(gw_tensor_row_payload(&tensor),
				  cases[i].row_elements * gw_dtype_bytes(cases[i].dtype));
	}
}
END_TEST

static int place(struct gw_tensor *tensors, size_t n, uint64_t *out_n_blocks,
		 uint64_t *out_image_bytes)
{
	for (size_t i = 0; i < n; i++)
		ck_assert_code(error, gw_tensor_measure(&tensors[i], GW_NO_OFFSET, &error), GW_OK);
	return gw_directory_place(tensors, n, out_n_blocks, out_image_bytes, &error);
}

START_TEST(places)
{
	struct gw_tensor tensors[] = {
		fixture_tensor("a", GW_F32, 8388607, 0), /* 32 MiB - 4: on a page */
		fixture_tensor("b", GW_F32, 8388608, 0), /* 32 MiB: on 2 MiB */
		fixture_tensor("c", GW_F16, 1, 0),       /* straight after, on a page */
		fixture_tensor(GW_WPE_NAME, GW_F32, 8191, 64),   /* 2 MiB - 256: on a page */
		fixture_tensor(GW_WTE_NAME, GW_F32, 50257, 64), /* 12 MiB, a table: on 2 MiB */
	};
	const uint64_t mib = UINT64_C(1) << 20;
	uint64_t n_blocks = 0, image_bytes = 0;

	ck_assert_code(error, place(tensors, 5, &n_blocks, &image_bytes), GW_OK);
	/* 8192 + 5 × 384 + 315 × 8 = 12632 */
	ck_assert_uint_eq(n_blocks, 128 + 128 + 1 + 8 + 50);
	ck_assert_uint_eq(tensors[0].data_offset, 16384);
	ck_assert_uint_eq(tensors[1].data_offset, 34 * mib);
	ck_assert_uint_eq(tensors[2].data_offset, 66 * mib);
	ck_assert_uint_eq(tensors[3].data_offset, 66 * mib + 4096);
	ck_assert_uint_eq(tensors[4].data_offset, 70 * mib);
	ck_assert_uint_eq(tensors[4].first_block, 265);
	ck_assert_uint_eq(image_bytes, (70 * mib + 50257 * 256 + 4095) / 4096 * 4096);
}
END_TEST

/* int8: scales on the next cache line after the rows, the next tensor after the scales. */
START_TEST(places_scales)
{
	struct gw_tensor tensors[] = {
		fixture_tensor("a", GW_I8, 3, 33),
		fixture_tensor(GW_WPE_NAME, GW_I8, 1024, 2044), /* 2 MiB with the rows' padding */
		fixture_tensor(GW_WTE_NAME, GW_I8, 1024, 2044),
	};
	uint64_t n_blocks = 0, image_bytes = 0;

	ck_assert_code(error, place(tensors, 3, &n_blocks, &image_bytes), GW_OK);
	ck_assert_uint_eq(n_blocks, 1 + 9 + 9);
	ck_assert_uint_eq(tensors[0].data_offset, 12288);
	ck_assert_uint_eq(tensors[0].scales_offset, 12288 + 128);
	ck_assert_uint_eq(tensors[1].data_offset, GW_HUGE_PAGE_BYTES);
	ck_assert_uint_eq(tensors[1].scales_offset, 2 * GW_HUGE_PAGE_BYTES);
	ck_assert_uint_eq(tensors[2].data_offset, 3 * GW_HUGE_PAGE_BYTES);
	ck_assert_uint_eq(image_bytes, 4 * GW_HUGE_PAGE_BYTES + 4096);
}
END_TEST

START_TEST(places_refuse)
{
	struct gw_tensor wte = fixture_tensor(GW_WTE_NAME, GW_F32, 70, 24);
	struct gw_tensor wpe = fixture_tensor(GW_WPE_NAME, GW_F32, 5, 24);
	struct gw_tensor wide = fixture_tensor(GW_WPE_NAME, GW_F32, 5, 25);
	uint64_t n_blocks = 77, image_bytes = 88;

	ck_assert_code(error, place((struct gw_tensor[]) { wte, wpe }, 2, &n_blocks, &image_bytes),
		       GW_E_NAME);
	ck_assert_uint_eq(error.offset, GW_NO_OFFSET);
	ck_assert_code(error, place((struct gw_tensor[]) { wte, wte }, 2, &n_blocks, &image_bytes),
		       GW_E_NAME);
	ck_assert_code(error, place((struct gw_tensor[]) { wpe }, 1, &n_blocks, &image_bytes),
		       GW_E_ROLE);
	ck_assert_code(error, place((struct gw_tensor[]) { wide, wte }, 2, &n_blocks, &image_bytes),
		       GW_E_ROLE);
	ck_assert_code(error, gw_directory_place(&wte, 0, &n_blocks, &image_bytes, &error),
		       GW_E_LIMIT);
	ck_assert_code(error,
		       gw_directory_place(&wte, GW_MAX_TENSORS + 1, &n_blocks, &image_bytes,
					  &error),
		       GW_E_LIMIT);
	/* each fits, both together do not */
	{
		struct gw_tensor large[] = {
			fixture_tensor("a", GW_F32, GW_MAX_IMAGE_BYTES / 4, 0),
			fixture_tensor("b", GW_F32, GW_MAX_IMAGE_BYTES / 4, 0),
			wte,
		};

		ck_assert_code(error, place(large, 3, &n_blocks, &image_bytes), GW_E_LIMIT);
	}
	ck_assert_uint_eq(n_blocks, 77);
	ck_assert_uint_eq(image_bytes, 88);
}
END_TEST

/* Field by field: structs have padding. */
static void expect_equal(const struct gw_tensor *a, const struct gw_tensor *b)
{
	ck_assert_str_eq(a->name, b->name);
	ck_assert_uint_eq(a->dtype, b->dtype);
	ck_assert_uint_eq(a->role, b->role);
	ck_assert_uint_eq(a->rank, b->rank);
	ck_assert_mem_eq(a->shape, b->shape, sizeof a->shape);
	ck_assert_uint_eq(a->row_bytes, b->row_bytes);
	ck_assert_uint_eq(a->data_offset, b->data_offset);
	ck_assert_uint_eq(a->data_bytes, b->data_bytes);
	ck_assert_uint_eq(a->row_count, b->row_count);
	ck_assert_uint_eq(a->row_elements, b->row_elements);
	ck_assert_uint_eq(a->first_block, b->first_block);
	ck_assert_uint_eq(a->block_count, b->block_count);
}

/* The most tensors that there may be. */
START_TEST(full_directories)
{
	struct gw_tensor *tensors = calloc(GW_MAX_TENSORS, sizeof *tensors);
	struct gw_tensor *decoded = calloc(GW_MAX_TENSORS, sizeof *decoded);
	uint8_t *bytes = malloc(GW_MAX_TENSORS * GW_ENTRY_BYTES);
	uint64_t n_blocks = 0, image_bytes = 0;

	ck_assert(tensors && decoded && bytes);
	for (unsigned i = 0; i + 1 < GW_MAX_TENSORS; i++) {
		tensors[i] = fixture_tensor("x", GW_F32, i + 1, 0);
		snprintf(tensors[i].name, sizeof tensors[i].name, "t%05u", i);
	}
	tensors[GW_MAX_TENSORS - 1] = fixture_tensor(GW_WTE_NAME, GW_BF16, 3, 7);
	ck_assert_code(error, place(tensors, GW_MAX_TENSORS, &n_blocks, &image_bytes), GW_OK);
	gw_directory_encode(tensors, GW_MAX_TENSORS, bytes);
	ck_assert_code(error,
		       gw_directory_decode(bytes, GW_MAX_TENSORS, n_blocks, image_bytes, decoded,
					   &error),
		       GW_OK);
	for (unsigned i = 0; i < GW_MAX_TENSORS; i++)
		expect_equal(&decoded[i], &tensors[i]);
	free(tensors);
	free(decoded);
	free(bytes);
}
END_TEST

/* Whatever bit of a directory is flipped: refused, or it encodes to those very bytes. */
START_TEST(flipped_bits_are_refused_or_mean_something)
{
	struct gw_tensor tensors[] = { fixture_tensor("a", GW_F16, 12, 0),
				       fixture_tensor("b", GW_F32, 3, 5),
				       fixture_tensor(GW_WPE_NAME, GW_BF16, 5, 24),
				       fixture_tensor(GW_WTE_NAME, GW_F32, 70, 24) };
	struct gw_tensor decoded[4];
	uint8_t bytes[4 * GW_ENTRY_BYTES], again[4 * GW_ENTRY_BYTES];
	uint64_t n_blocks = 0, image_bytes = 0;
	unsigned accepted = 0;

	ck_assert_code(error, place(tensors, 4, &n_blocks, &image_bytes), GW_OK);
	gw_directory_encode(tensors, 4, bytes);
	ck_assert_code(error, gw_directory_decode(bytes, 4, n_blocks, image_bytes, decoded, &error),
		       GW_OK);
	for (unsigned i = 0; i < 4; i++)
		expect_equal(&decoded[i], &tensors[i]);
	for (unsigned bit = 0; bit < 8 * sizeof bytes; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (gw_directory_decode(bytes, 4, n_blocks, image_bytes, decoded, NULL) == GW_OK) {
			gw_directory_encode(decoded, 4, again);
			ck_assert_mem_eq(bytes, again, sizeof bytes);
			accepted++;
		}
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	/* other names in order, and f16 for bf16 */
	ck_assert_uint_gt(accepted, 0);
	ck_assert_uint_lt(accepted, 24);
}
END_TEST

START_TEST(string_lengths)
{
	uint8_t field[8] = "1234567";

	ck_assert_int_eq(gw_string_length(field, 8), 7);
	ck_assert_int_eq(gw_string_length(field, 7), -1);
	ck_assert_int_eq(gw_string_length((const uint8_t *)"\0\0\0", 3), 0);
	ck_assert_int_eq(gw_string_length((const uint8_t *)"\0x\0", 3), -1);
	ck_assert_int_eq(gw_string_length((const uint8_t *)"\xc2\x80\0", 3), 2);
	ck_assert_int_eq(gw_string_length((const uint8_t *)"\xed\x9f\xbf\0", 4), 3);
	ck_assert_int_eq(gw_string_length((const uint8_t *)"\xee\x80\x80\0", 4), 3);
	ck_assert_int_eq(gw_string_length((const uint8_t *)"\xf4\x8f\xbf\xbf\0", 5), 4);
	ck_assert_int_eq(gw_string_length((const uint8_t *)"\xe2\x82\0\0", 4), -1);
	ck_assert_int_eq(gw_string_length((const uint8_t *)"\xe2\x28\xa1\0", 4), -1);
	ck_assert_int_eq(gw_string_length((const uint8_t *)"\xf0\x9f\x28\x80\0", 5), -1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("directory");
	TCase *tcase = fixture_case(suite, "directory");

	tcase_add_test(tcase, measures);
	tcase_add_test(tcase, places);
	tcase_add_test(tcase, places_scales);
	tcase_add_test(tcase, places_refuse);
	tcase_add_test(tcase, full_directories);
	tcase_add_test(tcase, flipped_bits_are_refused_or_mean_something);
	tcase_add_test(tcase, string_lengths);
	return fixture_main(suite);
}
