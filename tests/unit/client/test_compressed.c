/* SPDX-License-Identifier: MIT */
/* Compressed packs opened without a daemon, and the check of single rows. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/api.h"
#include "format/stored.h"
#include "format/superblock.h"
#include "tests/support/fixture.h"

#define N_VOCAB 3000
#define N_EMBD 96

static char *folder;
static const char *raw_path, *path;
static uint8_t *raw, *compressed;
static size_t raw_bytes, compressed_bytes;
static gpt2c_error error;
static gpt2c_store *const untouched = (gpt2c_store *)(uintptr_t)8;

/* wte [3000, 96] and wpe [8, 96]: in f32 five blocks and one. */
static void setup_dtype(unsigned dtype)
{
	const struct gw_tensor tensors[] = {
		fixture_tensor(GW_WTE_NAME, dtype, N_VOCAB, N_EMBD),
		fixture_tensor(GW_WPE_NAME, GW_F32, 8, N_EMBD),
	};

	folder = fixture_folder_new();
	raw_path = fixture_path(folder, "raw.gpt2w");
	path = fixture_path(folder, "c.gpt2w");
	raw = fixture_image(tensors, 2, &raw_bytes);
	compressed = fixture_compress(raw, raw_bytes, &compressed_bytes);
	fixture_write(raw_path, raw, raw_bytes);
	fixture_write(path, compressed, compressed_bytes);
	error = (gpt2c_error)GPT2C_ERROR_INIT;
}

static void setup(void)
{
	setup_dtype(GW_F32);
}

static void teardown(void)
{
	free(raw);
	free(compressed);
	fixture_folder_free(folder);
}

static int open_flags(const char *file, uint64_t flags, gpt2c_store **out_store)
{
	gpt2c_options options = GPT2C_OPTIONS_INIT;

	options.file = file;
	options.flags = flags;
	return gpt2c_open_with(&options, out_store, &error);
}

START_TEST(test_same_values)
{
	static const uint64_t flags[] = { 0, GPT2C_NO_VERIFY, GPT2C_POPULATE, GPT2C_COPY_ON_WRITE };
	static float out[2][N_EMBD * 6];
	const int32_t ids[6] = { 0, 2999, 683, 682, 1500, 0 };

	for (size_t f = 0; f < sizeof flags / sizeof flags[0]; f++) {
		gpt2c_info info[2] = { { .size = sizeof info[0] }, { .size = sizeof info[1] } };
		gpt2c_store *stores[2] = { NULL, NULL };

		ck_assert_code(error, open_flags(raw_path, flags[f], &stores[0]), GPT2C_OK);
		ck_assert_code(error, open_flags(path, flags[f], &stores[1]), GPT2C_OK);
		for (int s = 0; s < 2; s++) {
			ck_assert_int_eq(gpt2c_get_info(stores[s], &info[s]), GPT2C_OK);
			ck_assert_code(error, gpt2c_embed(stores[s], ids, 2, 3, 5, out[s], &error),
				       GPT2C_OK);
		}
		ck_assert_mem_eq(out[0], out[1], sizeof out[0]);
		ck_assert_uint_eq(info[1].flags, info[0].flags | GPT2C_INFO_EXPANDED);
		info[1].flags = info[0].flags;
		ck_assert_mem_eq(&info[0], &info[1], sizeof info[0]);
		gpt2c_close(stores[0]);
		gpt2c_close(stores[1]);
	}
}
END_TEST

/* What is expanded belongs to nobody else: the file may go. */
START_TEST(test_outlives_the_file)
{
	gpt2c_tensor tensor = { .size = sizeof tensor };
	gpt2c_store *store = NULL;

	ck_assert_code(error, gpt2c_open_file(path, &store, &error), GPT2C_OK);
	ck_assert_int_eq(truncate(path, 0), 0);
	ck_assert_int_eq(gpt2c_get_tensor(store, GW_WTE_NAME, &tensor), GPT2C_OK);
	for (uint64_t r = 0; r < N_VOCAB; r++)
		ck_assert(((const float *)tensor.data)[r * N_EMBD] == fixture_value(1, r, 0));
	gpt2c_close(store);
}
END_TEST

/* Whether the page at address can be written to. */
static bool is_writable(const void *address)
{
	int pipe_fds[2];
	bool writable;

	ck_assert_int_eq(pipe(pipe_fds), 0);
	ck_assert_int_eq(write(pipe_fds[1], address, 1), 1);
	/* the same byte back: EFAULT where it may not be written */
	writable = read(pipe_fds[0], (void *)(uintptr_t)address, 1) == 1;
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	return writable;
}

START_TEST(test_read_only_unless_wanted)
{
	gpt2c_tensor tensor = { .size = sizeof tensor };
	gpt2c_store *store = NULL;

	ck_assert_code(error, open_flags(path, 0, &store), GPT2C_OK);
	ck_assert_int_eq(gpt2c_get_tensor(store, GW_WTE_NAME, &tensor), GPT2C_OK);
	ck_assert(!is_writable(tensor.data));
	gpt2c_close(store);
	ck_assert_code(error, open_flags(path, GPT2C_COPY_ON_WRITE, &store), GPT2C_OK);
	ck_assert_int_eq(gpt2c_get_tensor(store, GW_WTE_NAME, &tensor), GPT2C_OK);
	ck_assert(is_writable(tensor.data));
	gpt2c_close(store);
}
END_TEST

/* Every byte of a small one; which code it is follows from the region. */
START_TEST(test_every_flip)
{
	uint64_t blocks_offset;
	int fd;

	teardown();
	folder = fixture_folder_new();
	path = fixture_path(folder, "c.gpt2w");
	raw = fixture_image((struct gw_tensor[]){ fixture_tensor(GW_WTE_NAME, GW_BF16, 9, 40) }, 1,
			    &raw_bytes);
	compressed = fixture_compress(raw, raw_bytes, &compressed_bytes);
	fixture_write(path, compressed, compressed_bytes);
	blocks_offset = gw_stored_regions(gw_superblock_regions(1, 1).digests_end, 1).blocks_offset;
	fd = open(path, O_RDWR | O_CLOEXEC);
	for (uint64_t at = 0; at < compressed_bytes; at++) {
		uint8_t flipped = compressed[at] ^ (uint8_t)(1 << at % 8);
		gpt2c_store *store = untouched;

		ck_assert_int_eq(pwrite(fd, &flipped, 1, (off_t)at), 1);
		ck_assert_code(error, gpt2c_open_file(path, &store, &error),
			       at < 8	 ? GPT2C_E_NOT_A_PACK :
			       at < 10	 ? GPT2C_E_VERSION :
					   GPT2C_E_CORRUPT);
		ck_assert_ptr_eq(store, untouched);
		if (at >= blocks_offset)
			ck_assert_int_eq(error.index, (int64_t)blocks_offset);
		ck_assert_int_eq(pwrite(fd, compressed + at, 1, (off_t)at), 1);
	}
	for (size_t n = compressed_bytes; n-- > 0;) {
		gpt2c_store *store = untouched;

		ck_assert_int_eq(ftruncate(fd, (off_t)n), 0);
		ck_assert_code(error, gpt2c_open_file(path, &store, &error), GPT2C_E_TRUNCATED);
	}
	close(fd);
}
END_TEST

/* A digest that fits, over a block that cannot be decoded: not even without verification. */
START_TEST(test_malformed_block)
{
	gpt2c_store *store = untouched;
	uint64_t first = gw_stored_regions(gw_superblock_regions(2, 6).digests_end, 6).blocks_offset;

	compressed[first] = 0x7f;
	fixture_repair(compressed, compressed_bytes);
	fixture_write(path, compressed, compressed_bytes);
	for (uint64_t flags = 0; flags <= GPT2C_NO_VERIFY; flags += GPT2C_NO_VERIFY) {
		ck_assert_code(error, open_flags(path, flags, &store), GPT2C_E_MALFORMED);
		ck_assert_int_eq(error.index, (int64_t)first);
	}
	ck_assert_ptr_eq(store, untouched);
}
END_TEST

START_TEST(test_timeout)
{
	gpt2c_options options = GPT2C_OPTIONS_INIT;
	gpt2c_store *store = untouched;
	uint8_t *large;
	size_t n;

	free(raw);
	raw = fixture_image((struct gw_tensor[]){ fixture_tensor(GW_WTE_NAME, GW_F32, 40000, 96) }, 1,
			    &raw_bytes);
	large = fixture_compress(raw, raw_bytes, &n);
	fixture_write(path, large, n);
	options.file = path;
	options.timeout_ms = 1;
	ck_assert_code(error, gpt2c_open_with(&options, &store, &error), GPT2C_E_TIMEOUT);
	options.timeout_ms = 600000;
	ck_assert_code(error, gpt2c_open_with(&options, &store, &error), GPT2C_OK);
	gpt2c_close(store);
	free(large);
}
END_TEST

/* Rows of 384 bytes: block 1 holds the rest of row 682 and the first bytes of row 1365. */
START_TEST(test_rows)
{
	uint64_t wte = gw_superblock_regions(2, 6).data_offset + 4096; /* wpe takes a page */
	gpt2c_store *store = NULL;

	raw[wte + 262144 + 7] ^= 1;
	fixture_write(raw_path, raw, raw_bytes);
	ck_assert_code(error, gpt2c_open_file(raw_path, &store, &error), GPT2C_E_CORRUPT);
	ck_assert_code(error, open_flags(raw_path, GPT2C_NO_VERIFY, &store), GPT2C_OK);
	ck_assert_code(error, gpt2c_verify_rows(store, GW_WTE_NAME, 0, 682, &error), GPT2C_OK);
	ck_assert_code(error, gpt2c_verify_rows(store, GW_WTE_NAME, 682, 1, &error),
		       GPT2C_E_CORRUPT);
	ck_assert_int_eq(error.index, (int64_t)(wte + 262144));
	ck_assert_ptr_nonnull(strstr(error.message, "wte.weight rows 682 to 1365"));
	ck_assert_code(error, gpt2c_verify_rows(store, GW_WTE_NAME, 1365, 1, &error),
		       GPT2C_E_CORRUPT);
	ck_assert_code(error, gpt2c_verify_rows(store, GW_WTE_NAME, 1366, N_VOCAB - 1366, &error),
		       GPT2C_OK);
	ck_assert_code(error, gpt2c_verify_rows(store, GW_WTE_NAME, 0, N_VOCAB, &error),
		       GPT2C_E_CORRUPT);
	ck_assert_code(error, gpt2c_verify_rows(store, GW_WPE_NAME, 0, 8, &error), GPT2C_OK);
	gpt2c_close(store);
}
END_TEST

START_TEST(test_rows_arguments)
{
	gpt2c_store *store = NULL;

	ck_assert_code(error, gpt2c_open_file(path, &store, &error), GPT2C_OK);
	ck_assert_code(error, gpt2c_verify_rows(NULL, "x", 0, 1, &error), GPT2C_E_ARGUMENT);
	ck_assert_code(error, gpt2c_verify_rows(store, NULL, 0, 1, &error), GPT2C_E_ARGUMENT);
	ck_assert_code(error, gpt2c_verify_rows(store, "x", 0, 1, &error), GPT2C_E_NO_TENSOR);
	ck_assert_code(error, gpt2c_verify_rows(store, GW_WTE_NAME, 0, 0, &error), GPT2C_E_SIZE);
	ck_assert_code(error, gpt2c_verify_rows(store, GW_WTE_NAME, N_VOCAB, 1, &error),
		       GPT2C_E_SIZE);
	ck_assert_code(error, gpt2c_verify_rows(store, GW_WTE_NAME, 1, N_VOCAB, &error),
		       GPT2C_E_SIZE);
	ck_assert_code(error, gpt2c_verify_rows(store, GW_WTE_NAME, UINT64_MAX, UINT64_MAX, &error),
		       GPT2C_E_SIZE);
	ck_assert_code(error, gpt2c_verify_rows(store, GW_WTE_NAME, 0, N_VOCAB, &error), GPT2C_OK);
	gpt2c_close(store);
}
END_TEST

/* int8: 3000 rows of 128 bytes are one block and a half, the scales lie in the second. */
START_TEST(test_rows_with_scales)
{
	uint64_t wte = gw_superblock_regions(2, 3).data_offset + 4096;
	gpt2c_store *store = NULL;

	teardown();
	setup_dtype(GW_I8);
	ck_assert_code(error, open_flags(raw_path, 0, &store), GPT2C_OK);
	gpt2c_close(store);
	raw[wte + N_VOCAB * 128] ^= 1; /* the first scale */
	fixture_write(raw_path, raw, raw_bytes);
	ck_assert_code(error, open_flags(raw_path, GPT2C_NO_VERIFY, &store), GPT2C_OK);
	ck_assert_code(error, gpt2c_verify_rows(store, GW_WTE_NAME, 5, 1, &error), GPT2C_E_CORRUPT);
	ck_assert_ptr_nonnull(
		strstr(error.message, "wte.weight rows 2048 to 2999 and scales 0 to 2999"));
	ck_assert_code(error, gpt2c_verify_rows(store, GW_WPE_NAME, 0, 8, &error), GPT2C_OK);
	gpt2c_close(store);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client/compressed");
	TCase *tcase = fixture_case(suite, "compressed");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, test_same_values);
	tcase_add_test(tcase, test_outlives_the_file);
	tcase_add_test(tcase, test_read_only_unless_wanted);
	tcase_add_test(tcase, test_every_flip);
	tcase_add_test(tcase, test_malformed_block);
	tcase_add_test(tcase, test_timeout);
	tcase_add_test(tcase, test_rows);
	tcase_add_test(tcase, test_rows_arguments);
	tcase_add_test(tcase, test_rows_with_scales);
	return fixture_main(suite);
}
