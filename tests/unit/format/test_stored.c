/* SPDX-License-Identifier: MIT */
/*
 * Compressed packs: the same pack in another form, of which every byte counts and no field is believed.
 * The base is two tensors, three blocks:
 *
 *   0  wpe.weight  [5, 96]     bf16
 *   1  wte.weight  [700, 96]   f32   268,800 bytes: two blocks
 */
#include "format/stored.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/block.h"
#include "format/bytes.h"
#include "format/reader.h"
#include "format/stored_writer.h"
#include "format/unit_reader.h"
#include "tests/support/fixture.h"

static struct gw_error error;
static char *folder;
static const char *path;
static uint8_t *image, *file;
static size_t image_bytes, file_bytes;
static struct gw_pack *pack; /* of the image */
static struct gw_stored_regions at;

static void make(uint64_t rows)
{
	const struct gw_tensor tensors[] = {
		fixture_tensor(GW_WPE_NAME, GW_BF16, 5, 96),
		fixture_tensor(GW_WTE_NAME, GW_F32, rows, 96),
	};

	error = (struct gw_error)GW_ERROR_INIT;
	folder = fixture_folder_new();
	path = fixture_path(folder, "c.gpt2w");
	image = fixture_image(tensors, 2, &image_bytes);
	file = fixture_compress(image, image_bytes, &file_bytes);
	ck_assert_code(error, gw_pack_open_memory(image, image_bytes, 0, &pack, &error), GW_OK);
	at = gw_stored_regions(pack->regions.digests_end, pack->superblock.n_blocks);
}

static void unmake(void)
{
	gw_pack_free(pack);
	free(image);
	free(file);
	fixture_folder_free(folder);
}

static void setup(void)
{
	make(700);
}

static int check_bytes(const uint8_t *data, size_t bytes)
{
	fixture_write(path, data, bytes);
	return fixture_check_file(path, &error);
}

START_TEST(the_same_pack_in_another_form)
{
	struct gw_unit_reader *reader = NULL;
	struct gw_pack *other = NULL;
	uint8_t *buffer = malloc(GW_HUGE_PAGE_BYTES), *head = malloc(pack->regions.data_offset);
	int fd;

	ck_assert_uint_eq(pack->superblock.n_blocks, 3);
	ck_assert_uint_lt(file_bytes, image_bytes);
	fixture_write(path, file, file_bytes);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_code(error, gw_pack_open_fd(fd, &other, &error), GW_OK);
	ck_assert(other->superblock.compressed);
	ck_assert_uint_eq(other->superblock.file_bytes, file_bytes);
	ck_assert_uint_eq(other->superblock.image_bytes, image_bytes);
	ck_assert_uint_eq(other->superblock.stored_bytes, file_bytes - at.blocks_offset);
	ck_assert_mem_eq(&other->superblock.content_id, &pack->superblock.content_id,
			 GW_DIGEST_BYTES);
	ck_assert_mem_eq(&other->provenance, &pack->provenance, sizeof other->provenance);
	ck_assert_uint_eq(other->superblock.n_layer, 12);
	ck_assert_code(error, gw_pack_read_head(other, fd, head, &error), GW_OK);
	ck_assert_mem_eq(head, image, pack->regions.data_offset);
	ck_assert_code(error, gw_unit_reader_new(other, fd, &gw_zstd_linked, &reader, &error),
		       GW_OK);
	for (uint64_t i = 0; i < gw_pack_unit_count(other); i++) {
		struct gw_unit unit = gw_pack_unit(other, i);

		memset(buffer, 0xa5, GW_HUGE_PAGE_BYTES);
		ck_assert_code(error, gw_unit_reader_verify(reader, i, buffer, &error), GW_OK);
		ck_assert_mem_eq(buffer, image + unit.offset_bytes, unit.size_bytes);
		ck_assert_uint_eq(buffer[unit.size_bytes], 0xa5);
	}
	gw_unit_reader_free(reader);
	ck_assert_code(error, gw_unit_reader_new(other, fd, NULL, &reader, &error), GW_E_ARGUMENT);
	gw_pack_free(other);
	close(fd);
	free(buffer);
	free(head);
}
END_TEST

START_TEST(an_uncompressed_pack_is_read_the_same_way)
{
	struct gw_unit_reader *reader = NULL;
	uint8_t *buffer = malloc(GW_HUGE_PAGE_BYTES), *head = malloc(pack->regions.data_offset);
	int fd;

	fixture_write(path, image, image_bytes);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_code(error, gw_pack_read_head(pack, fd, head, &error), GW_OK);
	ck_assert_mem_eq(head, image, pack->regions.data_offset);
	ck_assert_code(error, gw_unit_reader_new(pack, fd, NULL, &reader, &error), GW_OK);
	for (uint64_t i = 0; i < gw_pack_unit_count(pack); i++) {
		struct gw_unit unit = gw_pack_unit(pack, i);

		ck_assert_code(error, gw_unit_reader_verify(reader, i, buffer, &error), GW_OK);
		ck_assert_mem_eq(buffer, image + unit.offset_bytes, unit.size_bytes);
	}
	gw_unit_reader_free(reader);
	close(fd);
	free(buffer);
	free(head);
}
END_TEST

START_TEST(a_compressed_pack_is_no_image)
{
	struct gw_pack *other = NULL;

	ck_assert_code(error, gw_pack_open_memory(file, file_bytes, 0, &other, &error), GW_E_FEATURE);
	ck_assert_uint_eq(error.offset, GW_SB_REQUIRED_FEATURES);
	ck_assert_ptr_null(other);
}
END_TEST

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
		{ at.table_end, GW_E_STORED_DIGEST },
		{ at.blocks_offset, GW_E_PADDING },
	};

	for (size_t i = 0; i < sizeof regions / sizeof regions[0]; i++)
		if (offset < regions[i].end)
			return regions[i].code;
	return GW_E_STORED_BLOCK;
}

/* Opening reads all that is before the blocks, and nothing of them. */
static int open_only(int fd)
{
	struct gw_pack *other = NULL;
	int code = gw_pack_open_fd(fd, &other, &error);

	gw_pack_free(other);
	return code;
}

static int decode_all(struct gw_unit_reader *reader)
{
	static uint8_t buffer[GW_BLOCK_BYTES];
	int code = GW_OK;

	for (uint64_t i = 0; code == GW_OK && i < pack->superblock.n_blocks; i++)
		code = gw_unit_reader_verify(reader, i, buffer, &error);
	return code;
}

START_TEST(every_flipped_byte_is_found)
{
	struct gw_unit_reader *reader = NULL;
	struct gw_pack *other = NULL;
	int fd;

	/* a small one, so that it can be every one */
	unmake();
	make(7);
	fixture_write(path, file, file_bytes);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_code(error, gw_pack_open_fd(fd, &other, &error), GW_OK);
	ck_assert_code(error, gw_unit_reader_new(other, fd, &gw_zstd_linked, &reader, &error), GW_OK);
	ck_assert_code(error, decode_all(reader), GW_OK);
	for (uint64_t offset = 0; offset < file_bytes; offset++) {
		uint8_t flipped = file[offset] ^ (uint8_t)(1 << offset % 8);
		int code;

		ck_assert_int_eq(pwrite(fd, &flipped, 1, (off_t)offset), 1);
		code = offset < at.blocks_offset ? open_only(fd) : decode_all(reader);
		ck_assert_msg(code == expected_code(offset), "offset %llu: %d instead of %d: %s",
			      (unsigned long long)offset, code, expected_code(offset),
			      error.message);
		ck_assert_int_eq(pwrite(fd, file + offset, 1, (off_t)offset), 1);
	}
	ck_assert_code(error, fixture_check_file(path, &error), GW_OK);
	gw_unit_reader_free(reader);
	gw_pack_free(other);
	close(fd);
}
END_TEST

START_TEST(every_other_length_is_found)
{
	int fd;

	unmake();
	make(7);
	fixture_write(path, file, file_bytes);
	fd = open(path, O_RDWR | O_CLOEXEC);
	for (size_t n = file_bytes; n-- > 0;) {
		ck_assert_int_eq(ftruncate(fd, (off_t)n), 0);
		ck_assert_code(error, open_only(fd), GW_E_TRUNCATED);
	}
	fixture_write(path, file, file_bytes);
	for (size_t n = file_bytes + 1; n <= file_bytes + 4097; n += 4096) {
		ck_assert_int_eq(ftruncate(fd, (off_t)n), 0);
		ck_assert_code(error, open_only(fd), GW_E_TRAILING);
		ck_assert_uint_eq(error.offset, file_bytes);
	}
	close(fd);
}
END_TEST

struct edit {
	int code;
	const char *flaw;
	uint64_t offset; /* from the start of the superblock, or of the table */
	unsigned bytes;
	uint64_t value;
};

#define N_EDITS(edits) (sizeof(edits) / sizeof((edits)[0]))

static void refuse_edits(const struct edit *edits, size_t n, uint64_t from)
{
	uint8_t *copy = malloc(file_bytes);

	for (size_t i = 0; i < n; i++) {
		struct gw_bytes to = gw_bytes_write(copy, file_bytes);
		int code;

		memcpy(copy, file, file_bytes);
		gw_put(&to, from + edits[i].offset, edits[i].value, edits[i].bytes);
		fixture_repair(copy, file_bytes);
		code = check_bytes(copy, file_bytes);
		ck_assert_msg(code == edits[i].code, "%s: %d instead of %d: %s", edits[i].flaw, code,
			      edits[i].code, error.message);
	}
	free(copy);
}

START_TEST(the_superblock_is_not_believed)
{
	const uint64_t stored = file_bytes - at.blocks_offset;
	const struct edit edits[] = {
		{ GW_OK, "nothing", GW_SB_MAGIC, 1, 0x89 },
		{ GW_E_LAYOUT, "no stored bytes", GW_SB_STORED_BYTES, 8, 0 },
		{ GW_E_LAYOUT, "a stored byte less", GW_SB_STORED_BYTES, 8, stored - 1 },
		{ GW_E_LAYOUT, "a stored byte more", GW_SB_STORED_BYTES, 8, stored + 1 },
		{ GW_E_LIMIT, "more stored bytes than three blocks have", GW_SB_STORED_BYTES, 8,
		  3 * GW_MAX_STORED_BLOCK_BYTES + 1 },
		{ GW_E_LIMIT, "2^64 - 1 stored bytes", GW_SB_STORED_BYTES, 8, UINT64_MAX },
		{ GW_E_LAYOUT, "file_bytes one less", GW_SB_FILE_BYTES, 8, file_bytes - 1 },
		{ GW_E_LAYOUT, "file_bytes of the image", GW_SB_FILE_BYTES, 8, image_bytes },
		{ GW_E_LAYOUT, "file_bytes 2^64 - 1", GW_SB_FILE_BYTES, 8, UINT64_MAX },
		{ GW_E_LIMIT, "too many blocks", GW_SB_N_BLOCKS, 8, GW_MAX_STORED_BLOCKS + 1 },
		{ GW_E_LIMIT, "2^61 blocks", GW_SB_N_BLOCKS, 8, UINT64_C(1) << 61 },
		{ GW_E_LAYOUT, "most blocks", GW_SB_N_BLOCKS, 8, GW_MAX_STORED_BLOCKS },
		{ GW_E_LIMIT, "image over the limit", GW_SB_IMAGE_BYTES, 8,
		  GW_MAX_IMAGE_BYTES + 4096 },
		{ GW_E_LAYOUT, "image longer than its tensors", GW_SB_IMAGE_BYTES, 8,
		  GW_MAX_IMAGE_BYTES },
		{ GW_E_RESERVED, "not compressed, with stored bytes", GW_SB_REQUIRED_FEATURES, 8, 0 },
		{ GW_E_FEATURE, "feature 1 too", GW_SB_REQUIRED_FEATURES, 8, 3 },
		{ GW_E_RESERVED, "reserved_88", GW_SB_RESERVED_88, 1, 1 },
	};

	refuse_edits(edits, N_EDITS(edits), 0);
}
END_TEST

START_TEST(the_table_is_not_believed)
{
	const struct gw_bytes in = gw_bytes_read(file, file_bytes);
	struct gw_bytes table = in;
	uint32_t first = gw_get_u32(&table, at.table_offset + GW_ST_SIZE);
	const struct edit edits[] = {
		{ GW_E_LIMIT, "size 0", GW_ST_SIZE, 4, 0 },
		{ GW_E_LIMIT, "size over the limit", GW_ST_SIZE, 4, GW_MAX_STORED_BLOCK_BYTES + 1 },
		{ GW_E_LIMIT, "size 2^32 - 1", GW_ST_SIZE, 4, UINT32_MAX },
		{ GW_E_LAYOUT, "size one less", GW_ST_SIZE, 4, first - 1 },
		{ GW_E_LAYOUT, "size one more", GW_ST_SIZE, 4, first + 1 },
		{ GW_E_LAYOUT, "last size one more", 2 * GW_STORED_ENTRY_BYTES + GW_ST_SIZE, 1, 77 },
		{ GW_E_RESERVED, "reserved_12, first", GW_ST_RESERVED_12, 1, 1 },
		{ GW_E_RESERVED, "reserved_12, last", 2 * GW_STORED_ENTRY_BYTES + 15, 1, 0x80 },
	};

	refuse_edits(edits, N_EDITS(edits), at.table_offset);
	file[at.table_end] = 1;
	ck_assert_code(error, check_bytes(file, file_bytes), GW_E_PADDING);
	ck_assert_uint_eq(error.offset, at.table_end);
	file[at.table_end] = 0;
	file[at.blocks_offset - 1] = 1;
	ck_assert_code(error, check_bytes(file, file_bytes), GW_E_PADDING);
	ck_assert_uint_eq(error.offset, at.table_end);
}
END_TEST

/* Digests of stored blocks that fit, over contents that do not. */
START_TEST(stored_blocks_are_not_believed)
{
	struct gw_bytes table = gw_bytes_read(file, file_bytes);
	uint64_t first = at.blocks_offset, n = gw_get_u32(&table, at.table_offset + GW_ST_SIZE);
	char bytes[64];

	file[first] = 0x7f; /* no such mode */
	fixture_repair(file, file_bytes);
	ck_assert_code(error, check_bytes(file, file_bytes), GW_E_BLOCK_CODE);
	ck_assert_uint_eq(error.offset, first);
	snprintf(bytes, sizeof bytes, "stored block 0 (bytes %llu to %llu of the file, wpe.weight rows",
		 (unsigned long long)first, (unsigned long long)(first + n - 1));
	ck_assert_msg(strncmp(error.message, bytes, strlen(bytes)) == 0, "%s", error.message);
}
END_TEST

/* A stored block that decodes, but into other values than those of the digest. */
START_TEST(other_values_are_found)
{
	struct gw_bytes table = gw_bytes_read(file, file_bytes);
	uint64_t first = gw_get_u32(&table, at.table_offset + GW_ST_SIZE);

	file[pack->regions.digests_offset + 8] ^= 1;
	fixture_repair(file, file_bytes);
	ck_assert_code(error, check_bytes(file, file_bytes), GW_E_BLOCK_DIGEST);
	/* where the file has it: in block 1's stored form */
	ck_assert_uint_eq(error.offset, at.blocks_offset + first);
}
END_TEST

START_TEST(the_writer_wants_all_blocks)
{
	struct gw_stored_writer *writer = NULL, *other = NULL;
	struct gw_pack *compressed = NULL;
	uint8_t one = 0;
	int fd;

	fixture_write(path, image, image_bytes);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_code(error,
		       gw_stored_writer_new(pack, fd, fixture_path(folder, "out"), false, &writer,
					    &error),
		       GW_OK);
	ck_assert_code(error, gw_stored_writer_append(writer, &one, 0, &error), GW_E_ARGUMENT);
	ck_assert_code(error,
		       gw_stored_writer_append(writer, &one, GW_MAX_STORED_BLOCK_BYTES + 1, &error),
		       GW_E_ARGUMENT);
	for (int i = 0; i < 3; i++) {
		ck_assert_code(error, gw_stored_writer_finish(writer, NULL, &error), GW_E_ARGUMENT);
		ck_assert_code(error, gw_stored_writer_append(writer, &one, 1, &error), GW_OK);
	}
	ck_assert_code(error, gw_stored_writer_append(writer, &one, 1, &error), GW_E_ARGUMENT);
	gw_stored_writer_free(writer);
	ck_assert_int_eq(fixture_count_files(folder), 1);
	close(fd);
	fixture_write(path, file, file_bytes);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_code(error, gw_pack_open_fd(fd, &compressed, &error), GW_OK);
	ck_assert_code(error,
		       gw_stored_writer_new(compressed, fd, fixture_path(folder, "out"), false,
					    &other, &error),
		       GW_E_ARGUMENT);
	gw_pack_free(compressed);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("stored");
	TCase *tcase = fixture_case(suite, "stored");

	tcase_add_checked_fixture(tcase, setup, unmake);
	tcase_add_test(tcase, the_same_pack_in_another_form);
	tcase_add_test(tcase, an_uncompressed_pack_is_read_the_same_way);
	tcase_add_test(tcase, a_compressed_pack_is_no_image);
	tcase_add_test(tcase, every_flipped_byte_is_found);
	tcase_add_test(tcase, every_other_length_is_found);
	tcase_add_test(tcase, the_superblock_is_not_believed);
	tcase_add_test(tcase, the_table_is_not_believed);
	tcase_add_test(tcase, stored_blocks_are_not_believed);
	tcase_add_test(tcase, other_values_are_found);
	tcase_add_test(tcase, the_writer_wants_all_blocks);
	return fixture_main(suite);
}
