/* SPDX-License-Identifier: MIT */
/* A pack compressed by any number of threads, a disk that is full, a temporary that does not hold. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "format/reader.h"
#include "tests/support/fixture.h"
#include "tools/common/ordered.h"
#include "tools/pack/compress.h"

static char *folder;
static const char *raw, *small;

static void setup(void)
{
	folder = fixture_folder_new();
	raw = fixture_path(folder, "raw.gpt2w");
	small = fixture_path(folder, "small.gpt2w");
}

static void teardown(void)
{
	fixture_folder_free(folder);
}

static int compress(unsigned n_threads, int level, uint64_t *out_bytes, struct gw_error *error)
{
	struct pack_output output = { .path = small, .replace = true, .quiet = true, .level = level };
	int fd = open(raw, O_RDONLY | O_CLOEXEC);
	int code;

	ck_assert_int_ge(fd, 0);
	code = pack_compress(fd, &output, n_threads, out_bytes, error);
	close(fd);
	return code;
}

START_TEST(any_number_of_threads)
{
	static const unsigned dtypes[] = { GW_F32, GW_F16, GW_BF16, GW_I8 };
	static const unsigned n_threads[] = { 1, 2, 3, 7, TOOL_MAX_THREADS };
	struct gw_error error = GW_ERROR_INIT;
	uint8_t *image, *want, *got;
	size_t n_image, n_want, n_got;
	uint64_t said = 0;

	fixture_pack(raw, 9000, 40, 133, dtypes[_i], GW_F32);
	image = fixture_read(raw, &n_image);
	want = fixture_compress(image, n_image, &n_want);
	for (size_t i = 0; i < sizeof n_threads / sizeof n_threads[0]; i++) {
		ck_assert_code(error, compress(n_threads[i], GW_BLOCK_LEVEL, &said, &error), GW_OK);
		got = fixture_read(small, &n_got);
		ck_assert_uint_eq(n_got, n_want);
		ck_assert_uint_eq(n_got, said);
		ck_assert_mem_eq(got, want, n_want);
		free(got);
	}
	ck_assert_int_eq(fixture_count_files(folder), 2);
	free(image);
	free(want);
}
END_TEST

/* The uncompressed pack is on the disk already, the compressed one does not fit. */
START_TEST(full_disk)
{
	struct rlimit before, limit;
	struct gw_error error = GW_ERROR_INIT;
	uint64_t said = 77;
	int code;

	signal(SIGXFSZ, SIG_IGN);
	fixture_pack(raw, 9000, 40, 133, GW_F32, GW_F32);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = (struct rlimit){ .rlim_cur = 1 << 20, .rlim_max = before.rlim_max };
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	code = compress((unsigned)_i, GW_BLOCK_LEVEL, &said, &error);
	setrlimit(RLIMIT_FSIZE, &before);
	ck_assert_code(error, code, GW_E_IO);
	ck_assert_int_eq(error.sys_errno, EFBIG);
	ck_assert_uint_eq(said, 77);
	ck_assert_int_eq(fixture_count_files(folder), 1);
}
END_TEST

START_TEST(damaged_temporary)
{
	struct gw_error error = GW_ERROR_INIT;
	struct gw_pack *pack = NULL;
	uint64_t said, offset;
	uint8_t *image;
	size_t n;
	int fd;

	fixture_pack(raw, 9000, 40, 133, GW_F32, GW_F32);
	fd = open(raw, O_RDONLY | O_CLOEXEC);
	ck_assert_code(error, gw_pack_open_fd(fd, &pack, &error), GW_OK);
	offset = gw_pack_unit(pack, 5).offset_bytes;
	gw_pack_free(pack);
	close(fd);
	image = fixture_read(raw, &n);
	image[offset + 17] ^= 1;
	fixture_write(raw, image, n);
	ck_assert_code(error, compress((unsigned)_i, GW_BLOCK_LEVEL, &said, &error), GW_E_IO);
	ck_assert_uint_eq(error.offset, offset);
	ck_assert_int_eq(fixture_count_files(folder), 1);
	free(image);
}
END_TEST

START_TEST(levels)
{
	struct gw_error error = GW_ERROR_INIT;
	uint64_t said;

	fixture_pack(raw, 40, 4, 16, GW_F32, GW_F32);
	ck_assert_code(error, compress(2, 0, &said, &error), GW_E_ARGUMENT);
	ck_assert_code(error, compress(2, GW_BLOCK_MAX_LEVEL + 1, &said, &error), GW_E_ARGUMENT);
	ck_assert_code(error, compress(2, GW_BLOCK_MAX_LEVEL, &said, &error), GW_OK);
	ck_assert_code(error, fixture_check_file(small, &error), GW_OK);
}
END_TEST

START_TEST(words)
{
	struct pack_made made = { .file_bytes = 160681984, .image_bytes = 160681984 };
	char text[PACK_MADE_TEXT_BYTES];

	ck_assert_str_eq(pack_made_text(&made, text), "160.7 MB");
	made.file_bytes = 130976459;
	ck_assert_str_eq(pack_made_text(&made, text), "131.0 MB (81.5% of 160.7 MB)");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("compress");
	TCase *compression = fixture_case(suite, "compress");

	tcase_add_checked_fixture(compression, setup, teardown);
	tcase_add_loop_test(compression, any_number_of_threads, 0, 4);
	tcase_add_loop_test(compression, full_disk, 1, 4);
	tcase_add_loop_test(compression, damaged_temporary, 1, 4);
	tcase_add_test(compression, levels);
	tcase_add_test(compression, words);
	return fixture_main(suite);
}
