/* SPDX-License-Identifier: MIT */
/*
 * Every byte of a pack is covered: flip any one, cut at any length, append anything, and reading
 * fails with the code of the region that was hit. Digests are not repaired here; test_forged does
 * that.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/limits.h"
#include "format/reader.h"
#include "tests/support/fixture.h"

#define N_TENSORS_MAX 4

static const struct recipe {
	const char *what;
	unsigned stride; /* of flips and cuts in the data, away from the ends of blocks */
	struct {
		const char *name;
		unsigned dtype;
		uint64_t rows, columns;
	} tensors[N_TENSORS_MAX];
} recipes[] = {
	{ "padded f32", 1, { { "wte.weight", GW_F32, 70, 24 }, { "wpe.weight", GW_F32, 5, 24 } } },
	{ "f16 and f32", 1, { { "wte.weight", GW_F16, 70, 24 }, { "wpe.weight", GW_F32, 5, 24 } } },
	{ "int8", 1, { { "a", GW_I8, 3, 33 }, { "wte.weight", GW_I8, 70, 24 } } },
	{ "int8, several blocks", 251, { { "wte.weight", GW_I8, 70000, 8 } } },
	{ "bf16, no wpe", 1, { { "wte.weight", GW_BF16, 70, 24 } } },
	{ "others around",
	  1,
	  { { "a", GW_F32, 3, 0 },
	    { "wpe.weight", GW_BF16, 5, 24 },
	    { "wte.weight", GW_F16, 70, 24 },
	    { "z.bias", GW_F16, 7, 3 } } },
	{ "several blocks",
	  251,
	  { { "wte.weight", GW_F32, 1800, 96 }, { "wpe.weight", GW_F32, 5, 96 } } },
	{ "huge alignment",
	  4093,
	  { { "a", GW_F16, 100, 0 }, { "wte.weight", GW_F32, 8200, 64 }, { "z", GW_F32, 9, 0 } } },
};
#define N_RECIPES (int)(sizeof recipes / sizeof recipes[0])

static uint8_t *image;
static size_t image_bytes;
static struct gw_pack *pack;
static const struct recipe *recipe;

static void make(int index)
{
	struct gw_tensor tensors[N_TENSORS_MAX];
	struct gw_error error = GW_ERROR_INIT;
	size_t n = 0;

	recipe = &recipes[index];
	for (; n < N_TENSORS_MAX && recipe->tensors[n].name; n++)
		tensors[n] = fixture_tensor(recipe->tensors[n].name, recipe->tensors[n].dtype,
					    recipe->tensors[n].rows, recipe->tensors[n].columns);
	image = fixture_image(tensors, n, &image_bytes);
	ck_assert_code(error, gw_pack_open_memory(image, image_bytes, 0, &pack, &error), GW_OK);
	ck_assert_code(error,
		       gw_pack_verify_memory(pack, image, 0, gw_pack_unit_count(pack), &error),
		       GW_OK);
}

static void unmake(void)
{
	gw_pack_free(pack);
	free(image);
}

/* The tensor that holds a byte of the data, NULL between tensors. */
static const struct gw_tensor *tensor_at(uint64_t offset)
{
	for (uint32_t i = 0; i < pack->superblock.n_tensors; i++) {
		const struct gw_tensor *tensor = &pack->tensors[i];

		if (offset >= tensor->data_offset &&
		    offset - tensor->data_offset < tensor->extent_bytes)
			return tensor;
	}
	return NULL;
}

/* The code that a changed byte at offset must give: one for each region. */
static int expected_code(uint64_t offset)
{
	const struct {
		uint64_t end;
		int code;
	} regions[] = {
		{ 8, GW_E_MAGIC },
		{ 10, GW_E_VERSION },
		{ GW_SUPERBLOCK_BYTES, GW_E_SUPERBLOCK_DIGEST },
		{ GW_DIRECTORY_OFFSET, GW_E_PROVENANCE_DIGEST },
		{ pack->regions.digests_offset, GW_E_DIRECTORY_DIGEST },
		{ pack->regions.digests_end, GW_E_DIGESTS_DIGEST },
		{ pack->regions.data_offset, GW_E_PADDING },
	};

	for (size_t i = 0; i < sizeof regions / sizeof regions[0]; i++)
		if (offset < regions[i].end)
			return regions[i].code;
	return tensor_at(offset) ? GW_E_BLOCK_DIGEST : GW_E_PADDING;
}

/*
 * Checks of one flip: of the metadata by opening, of the data by the one unit that holds the byte
 * (opening reads none of them, which bytes_are_in_one_unit_each pins).
 */
static int check_flip(uint64_t offset, struct gw_error *error)
{
	struct gw_pack *other = NULL;
	int r;

	if (offset < pack->regions.data_offset) {
		r = gw_pack_open_memory(image, image_bytes, 0, &other, error);
		ck_assert(r == GW_OK || other == NULL);
		gw_pack_free(other);
		return r;
	}
	for (uint64_t u = 0; u < gw_pack_unit_count(pack); u++) {
		struct gw_unit unit = gw_pack_unit(pack, u);

		if (offset >= unit.offset_bytes && offset - unit.offset_bytes < unit.size_bytes)
			return gw_pack_verify_unit(pack, u, image + unit.offset_bytes, error);
	}
	return GW_OK;
}

/* Whether a byte is worth a flip: all of small packs; of large ones metadata and ends of units. */
static bool is_tried(uint64_t offset)
{
	uint64_t in_block = offset % GW_BLOCK_BYTES;

	return recipe->stride == 1 || offset < pack->regions.data_offset + 256 ||
	       offset % recipe->stride == 0 || in_block < 64 || in_block >= GW_BLOCK_BYTES - 64 ||
	       image_bytes - offset <= 256 ||
	       (tensor_at(offset) == NULL) != (tensor_at(offset + 1) == NULL);
}

START_TEST(any_flipped_byte_is_found)
{
	uint64_t tried = 0;

	make(_i);
	for (uint64_t offset = 0; offset < image_bytes; offset++) {
		struct gw_error error = GW_ERROR_INIT;
		uint8_t mask = (uint8_t)(1 << (offset * 7 + offset / 8) % 8);
		int r;

		if (!is_tried(offset))
			continue;
		image[offset] ^= mask;
		r = check_flip(offset, &error);
		image[offset] ^= mask;
		tried++;
		ck_assert_msg(r == expected_code(offset), "%s, byte %zu: %d instead of %d (%s)",
			      recipe->what, (size_t)offset, r, expected_code(offset),
			      error.message);
		ck_assert_int_eq(error.code, r);
		ck_assert_str_ne(error.message, "");
	}
	ck_assert_uint_gt(tried, pack->regions.data_offset);
	unmake();
}
END_TEST

START_TEST(any_flipped_bit_of_the_metadata_is_found)
{
	make(_i);
	for (uint64_t bit = 0; bit < 8 * pack->regions.data_offset; bit++) {
		struct gw_error error = GW_ERROR_INIT;
		int r;

		image[bit / 8] ^= (uint8_t)(1 << bit % 8);
		r = check_flip(bit / 8, &error);
		image[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ck_assert_msg(r == expected_code(bit / 8), "%s, bit %zu: %d (%s)", recipe->what,
			      (size_t)bit, r, error.message);
	}
	unmake();
}
END_TEST

/* Units cover the data without hole or overlap, so one flip concerns exactly one of them. */
START_TEST(bytes_are_in_one_unit_each)
{
	uint8_t *seen;

	make(_i);
	seen = calloc(1, image_bytes);
	ck_assert_ptr_nonnull(seen);
	memset(seen, 1, pack->regions.data_offset);
	for (uint64_t u = 0; u < gw_pack_unit_count(pack); u++) {
		struct gw_unit unit = gw_pack_unit(pack, u);

		ck_assert_uint_le(unit.size_bytes,
				  unit.tensor ? GW_BLOCK_BYTES : GW_HUGE_PAGE_BYTES - 1);
		ck_assert_uint_le(unit.offset_bytes + unit.size_bytes, image_bytes);
		ck_assert_ptr_eq(unit.tensor,
				 unit.size_bytes ? tensor_at(unit.offset_bytes) : unit.tensor);
		for (uint64_t i = 0; i < unit.size_bytes; i++)
			ck_assert_msg(seen[unit.offset_bytes + i]++ == 0, "byte %zu twice",
				      (size_t)(unit.offset_bytes + i));
	}
	ck_assert_ptr_null(memchr(seen, 0, image_bytes));
	free(seen);
	unmake();
}
END_TEST

START_TEST(any_cut_is_found)
{
	make(_i);
	for (uint64_t length = 0; length < image_bytes; length++) {
		struct gw_error error = GW_ERROR_INIT;
		struct gw_pack *other = NULL;
		uint8_t *copy;

		if (recipe->stride > 1 && length > pack->regions.data_offset + 16 &&
		    length % recipe->stride && image_bytes - length > 16)
			continue;
		if (length > GW_SUPERBLOCK_BYTES + 64 && length % 64) {
			ck_assert_code(error, gw_pack_open_memory(image, length, 0, &other, &error),
				       GW_E_TRUNCATED);
			continue;
		}
		/* in memory of just that size, so that AddressSanitizer sees a read beyond */
		copy = malloc(length ? length : 1);
		ck_assert_ptr_nonnull(copy);
		memcpy(copy, image, length);
		ck_assert_code(error, gw_pack_open_memory(copy, length, 0, &other, &error),
			       GW_E_TRUNCATED);
		ck_assert_ptr_null(other);
		free(copy);
	}
	unmake();
}
END_TEST

static const uint64_t tails[] = { 1, 7, 4096, 2097151, 2097152 };

START_TEST(anything_appended_is_found)
{
	struct gw_error error = GW_ERROR_INIT;
	struct gw_pack *other = NULL;

	make(_i);
	for (size_t t = 0; t < sizeof tails / sizeof tails[0]; t++) {
		uint8_t *longer = calloc(1, image_bytes + tails[t]);

		ck_assert_ptr_nonnull(longer);
		memcpy(longer, image, image_bytes);
		ck_assert_code(error,
			       gw_pack_open_memory(longer, image_bytes + tails[t], 0, &other,
						   &error),
			       GW_E_TRAILING);
		ck_assert_code(error,
			       gw_pack_open_memory(longer, image_bytes + tails[t], tails[t] - 1,
						   &other, &error),
			       GW_E_TRAILING);
		ck_assert_code(error,
			       gw_pack_open_memory(longer, image_bytes + tails[t], tails[t], &other,
						   &error),
			       GW_OK);
		gw_pack_free(other);
		free(longer);
	}
	unmake();
}
END_TEST

/* All units through a file, as the tools read it. */
static int check_file(int fd, struct gw_error *error)
{
	struct gw_pack *other = NULL;
	int r = gw_pack_open_fd(fd, &other, error);
	uint8_t *buffer = malloc(GW_HUGE_PAGE_BYTES);

	ck_assert_ptr_nonnull(buffer);
	for (uint64_t u = 0; r == GW_OK && u < gw_pack_unit_count(other); u++) {
		struct gw_unit unit = gw_pack_unit(other, u);

		r = gw_read_at(fd, buffer, unit.size_bytes, unit.offset_bytes, error);
		if (r == GW_OK)
			r = gw_pack_verify_unit(other, u, buffer, error);
	}
	free(buffer);
	gw_pack_free(other);
	return r;
}

START_TEST(files_give_the_same_codes)
{
	FILE *file = tmpfile();
	struct gw_error error = GW_ERROR_INIT;
	int fd;

	make(_i);
	ck_assert_ptr_nonnull(file);
	fd = fileno(file);
	ck_assert_int_eq(pwrite(fd, image, image_bytes, 0), (ssize_t)image_bytes);
	ck_assert_code(error, check_file(fd, &error), GW_OK);
	for (uint64_t offset = 0; offset < image_bytes; offset += image_bytes / 97) {
		uint8_t flipped = image[offset] ^ 0x10;

		ck_assert_int_eq(pwrite(fd, &flipped, 1, (off_t)offset), 1);
		ck_assert_code(error, check_file(fd, &error), expected_code(offset));
		ck_assert_int_eq(pwrite(fd, image + offset, 1, (off_t)offset), 1);
	}
	ck_assert_int_eq(pwrite(fd, "", 1, (off_t)image_bytes), 1);
	ck_assert_code(error, check_file(fd, &error), GW_E_TRAILING);
	for (uint64_t length = image_bytes; length-- > 0; length -= length / 13) {
		ck_assert_int_eq(ftruncate(fd, (off_t)length), 0);
		ck_assert_code(error, check_file(fd, &error), GW_E_TRUNCATED);
	}
	fclose(file);
	unmake();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mutants");
	TCase *tcase = fixture_case(suite, "mutants");

	tcase_add_loop_test(tcase, any_flipped_byte_is_found, 0, N_RECIPES);
	tcase_add_loop_test(tcase, any_flipped_bit_of_the_metadata_is_found, 0, 1);
	tcase_add_loop_test(tcase, bytes_are_in_one_unit_each, 0, N_RECIPES);
	tcase_add_loop_test(tcase, any_cut_is_found, 0, N_RECIPES);
	tcase_add_loop_test(tcase, anything_appended_is_found, 0, N_RECIPES);
	tcase_add_loop_test(tcase, files_give_the_same_codes, 0, N_RECIPES);
	return fixture_main(suite);
}
