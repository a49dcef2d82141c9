/* SPDX-License-Identifier: MIT */
#include "format/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/dtype.h"
#include "tests/support/fixture.h"

static struct gw_error error = GW_ERROR_INIT;

/* Compared as bytes of the format: structs have padding. */
static void expect_same_meta(const struct gw_pack *a, const struct gw_pack *b)
{
	uint8_t left[GW_SUPERBLOCK_BYTES], right[GW_SUPERBLOCK_BYTES];

	gw_superblock_encode(&a->superblock, left);
	gw_superblock_encode(&b->superblock, right);
	ck_assert_mem_eq(left, right, sizeof left);
	gw_provenance_encode(&a->provenance, left);
	gw_provenance_encode(&b->provenance, right);
	ck_assert_mem_eq(left, right, sizeof left);
	ck_assert_uint_le(a->superblock.n_tensors * GW_ENTRY_BYTES, sizeof left);
	gw_directory_encode(a->tensors, a->superblock.n_tensors, left);
	gw_directory_encode(b->tensors, b->superblock.n_tensors, right);
	ck_assert_mem_eq(left, right, a->superblock.n_tensors * GW_ENTRY_BYTES);
}

START_TEST(files_and_memory_give_the_same_view)
{
	char *folder = fixture_folder_new();
	const char *path = fixture_path(folder, "p.gpt2w");
	struct gw_pack *from_file = NULL, *from_memory = NULL;
	uint8_t *image;
	size_t bytes;
	int fd;

	fixture_pack(path, 70, 5, 24, GW_F32, GW_F16);
	image = fixture_read(path, &bytes);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_code(error, gw_pack_open_fd(fd, &from_file, &error), GW_OK);
	ck_assert_int_eq((int)lseek(fd, 0, SEEK_CUR), 0); /* the offset is the caller's */
	ck_assert_code(error, gw_pack_open_memory(image, bytes, 0, &from_memory, &error), GW_OK);
	memset(image, 0xee, bytes); /* nothing of it is kept */
	expect_same_meta(from_file, from_memory);
	ck_assert_mem_eq(from_file->digests, from_memory->digests,
			 from_file->superblock.n_blocks * sizeof(uint64_t));
	ck_assert_uint_eq(from_memory->superblock.image_bytes, bytes);
	ck_assert_str_eq(from_memory->wte->name, GW_WTE_NAME);
	ck_assert_str_eq(from_memory->wpe->name, GW_WPE_NAME);
	ck_assert_uint_eq(from_memory->wte->shape[0], 70);
	ck_assert_uint_eq(from_memory->wpe->dtype, GW_F16);
	gw_pack_free(from_file);
	gw_pack_free(from_memory);
	gw_pack_free(NULL);
	close(fd);
	free(image);
	fixture_folder_free(folder);
}
END_TEST

START_TEST(without_positions)
{
	struct gw_tensor wte = fixture_tensor(GW_WTE_NAME, GW_BF16, 70, 24);
	struct gw_pack *pack = NULL;
	size_t bytes;
	uint8_t *image = fixture_image(&wte, 1, &bytes);

	ck_assert_code(error, gw_pack_open_memory(image, bytes, 0, &pack, &error), GW_OK);
	ck_assert_ptr_null(pack->wpe);
	ck_assert_ptr_eq(pack->wte, pack->tensors);
	gw_pack_free(pack);
	free(image);
}
END_TEST

START_TEST(tensors_are_found_by_name)
{
	static const char *const names[] = { "a",          "b.c",        "h.10", "h.2",
					     "wpe.weight", "wte.weight", "z" };
	static const char *const absent[] = { "",     "A",   "aa",          "b", "h.1",
					      "h.20", "wte", "wte.weight ", "zz" };
	struct gw_tensor tensors[7];
	struct gw_pack *pack = NULL;
	size_t bytes;
	uint8_t *image;

	for (size_t i = 0; i < 7; i++)
		tensors[i] = fixture_tensor(names[i], GW_F32, 3, i == 4 || i == 5 ? 4 : 0);
	image = fixture_image(tensors, 7, &bytes);
	ck_assert_code(error, gw_pack_open_memory(image, bytes, 0, &pack, &error), GW_OK);
	for (size_t i = 0; i < 7; i++)
		ck_assert_ptr_eq(gw_pack_find(pack, names[i]), &pack->tensors[i]);
	for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++)
		ck_assert_ptr_null(gw_pack_find(pack, absent[i]));
	gw_pack_free(pack);
	free(image);
}
END_TEST

START_TEST(a_bad_block_is_named)
{
	/* 900 rows of 384 bytes: 345600 bytes, two blocks; row 682 lies across the border */
	struct gw_tensor wte = fixture_tensor(GW_WTE_NAME, GW_F32, 900, 96);
	struct gw_pack *pack = NULL;
	size_t bytes;
	uint8_t *image = fixture_image(&wte, 1, &bytes);

	ck_assert_code(error, gw_pack_open_memory(image, bytes, 0, &pack, &error), GW_OK);
	ck_assert_uint_eq(gw_pack_unit_count(pack), 2 + 1 + 1);
	image[pack->wte->data_offset + 700 * 384] ^= 1;
	ck_assert_code(error, gw_pack_verify_memory(pack, image, 0, 1, &error), GW_OK);
	ck_assert_code(error, gw_pack_verify_memory(pack, image, 0, 4, &error), GW_E_BLOCK_DIGEST);
	ck_assert_uint_eq(error.offset, pack->wte->data_offset + GW_BLOCK_BYTES);
	ck_assert_ptr_nonnull(strstr(error.message, "wte.weight rows 682 to 899"));
	ck_assert_code(error, gw_pack_verify_memory(pack, image, 2, 2, &error), GW_OK);
	ck_assert_code(error, gw_pack_verify_memory(pack, image, 1, 0, &error), GW_OK);
	gw_pack_free(pack);
	free(image);
}
END_TEST

START_TEST(what_is_not_a_pack_file)
{
	struct gw_pack *pack = NULL;
	int pipes[2], fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	ck_assert_code(error, gw_pack_open_fd(fd, &pack, &error), GW_E_NOT_FILE);
	close(fd);
	ck_assert_code(error, gw_pack_open_fd(fd, &pack, &error), GW_E_IO);
	ck_assert_int_eq(error.sys_errno, EBADF);
	fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	ck_assert_code(error, gw_pack_open_fd(fd, &pack, &error), GW_E_NOT_FILE);
	close(fd);
	ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
	ck_assert_code(error, gw_pack_open_fd(pipes[0], &pack, &error), GW_E_NOT_FILE);
	close(pipes[0]);
	close(pipes[1]);
	fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	ck_assert_code(error, gw_pack_open_fd(fd, &pack, &error), GW_E_MAGIC);
	close(fd);
	ck_assert_ptr_null(pack);
}
END_TEST

START_TEST(reading_at_an_offset)
{
	char *folder = fixture_folder_new(), out[4] = "";
	const char *path = fixture_path(folder, "f");
	int fd;

	fixture_write(path, "0123456789", 10);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_code(error, gw_read_at(fd, out, 3, 7, &error), GW_OK);
	ck_assert_str_eq(out, "789");
	ck_assert_code(error, gw_read_at(fd, out, 0, 99, &error), GW_OK);
	ck_assert_code(error, gw_read_at(fd, out, 3, 8, &error), GW_E_CHANGED);
	ck_assert_uint_eq(error.offset, 10);
	close(fd);
	ck_assert_code(error, gw_read_at(fd, out, 1, 0, &error), GW_E_IO);
	fixture_folder_free(folder);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("reader");
	TCase *tcase = fixture_case(suite, "reader");

	tcase_add_test(tcase, files_and_memory_give_the_same_view);
	tcase_add_test(tcase, without_positions);
	tcase_add_test(tcase, tensors_are_found_by_name);
	tcase_add_test(tcase, a_bad_block_is_named);
	tcase_add_test(tcase, what_is_not_a_pack_file);
	tcase_add_test(tcase, reading_at_an_offset);
	return fixture_main(suite);
}
