/* SPDX-License-Identifier: MIT */
/*
 * Packs of both forms on their way into memory: nothing that is not right gets there, whatever reads
 * them, and the page cache is left as it was.
 */
#include "daemon/image.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "format/bytes.h"
#include "format/stored.h"
#include "format/superblock.h"
#include "tests/support/fixture.h"

static char *folder;
static const char *raw_path, *path; /* path: the compressed one */
static uint8_t *raw, *file;
static size_t raw_bytes, file_bytes;
static struct gw_error error;
static atomic_bool cancel;
static struct stat status;

/* wpe [5, 96] bf16 and wte [rows, 96] f32; of 7 rows each is one block, of 30000 wte is 44. */
static void make(uint64_t rows)
{
	const struct gw_tensor tensors[] = {
		fixture_tensor(GW_WPE_NAME, GW_BF16, 5, 96),
		fixture_tensor(GW_WTE_NAME, GW_F32, rows, 96),
	};

	folder = fixture_folder_new();
	raw_path = fixture_path(folder, "raw.gpt2w");
	path = fixture_path(folder, "c.gpt2w");
	raw = fixture_image(tensors, 2, &raw_bytes);
	file = fixture_compress(raw, raw_bytes, &file_bytes);
	fixture_write(raw_path, raw, raw_bytes);
	fixture_write(path, file, file_bytes);
	error = (struct gw_error)GW_ERROR_INIT;
	atomic_store(&cancel, false);
}

static void make_small(void)
{
	make(7);
}

static void make_large(void)
{
	make(30000);
}

static void unmake(void)
{
	free(raw);
	free(file);
	fixture_folder_free(folder);
}

static int load(const char *from, bool small_pages, struct gd_image **out)
{
	const struct gd_image_options options = { WIRE_SHARE_SEALED, small_pages, &cancel };

	return gd_image_load(from, &options, out, &status, &error);
}

/* The code of a load; nothing is kept of it. */
static int try_load(const char *from)
{
	struct gd_image *image = NULL;
	int code = load(from, true, &image);

	ck_assert((code == GW_OK) == (image != NULL));
	gd_image_unref(image);
	return code;
}

static bool image_is(const struct gd_image *image, const uint8_t *bytes, size_t n)
{
	uint8_t *map = mmap(NULL, image->fd_bytes, PROT_READ, MAP_SHARED, image->fd, 0);
	bool same = map != MAP_FAILED && image->pack->superblock.image_bytes == n &&
		    memcmp(map, bytes, n) == 0;

	munmap(map, image->fd_bytes);
	return same;
}

START_TEST(both_forms_give_one_image)
{
	struct gd_image *images[2];

	for (int small_pages = 0; small_pages < 2; small_pages++) {
		ck_assert_code(error, load(raw_path, small_pages, &images[0]), GW_OK);
		ck_assert_code(error, load(path, small_pages, &images[1]), GW_OK);
		for (int i = 0; i < 2; i++) {
			ck_assert(image_is(images[i], raw, raw_bytes));
			ck_assert(!images[i]->pack->superblock.compressed);
			ck_assert_ptr_null(images[i]->pack->stored);
		}
		ck_assert_mem_eq(&images[0]->pack->superblock.content_id,
				 &images[1]->pack->superblock.content_id, GW_DIGEST_BYTES);
		gd_image_unref(images[0]);
		gd_image_unref(images[1]);
	}
}
END_TEST

START_TEST(a_compressed_file_cannot_be_shared)
{
	const struct gd_image_options options = { WIRE_SHARE_FILE, false, &cancel };
	struct gd_image *image = NULL;

	ck_assert_code(error, gd_image_load(path, &options, &image, &status, &error), GW_E_FEATURE);
	ck_assert_ptr_null(image);
	ck_assert_ptr_nonnull(strstr(error.message, "--share sealed"));
}
END_TEST

/* The code that a changed byte at offset must give. */
static int expected_code(bool compressed, uint64_t offset)
{
	const struct gw_regions at = gw_superblock_regions(2, 2);
	const struct gw_stored_regions stored = gw_stored_regions(at.digests_end, 2);
	const uint64_t wpe = at.data_offset, wte = wpe + 4096;

	if (offset < 8)
		return GW_E_MAGIC;
	if (offset < 10)
		return GW_E_VERSION;
	if (offset < GW_SUPERBLOCK_BYTES)
		return GW_E_SUPERBLOCK_DIGEST;
	if (offset < GW_DIRECTORY_OFFSET)
		return GW_E_PROVENANCE_DIGEST;
	if (offset < at.digests_offset)
		return GW_E_DIRECTORY_DIGEST;
	if (offset < at.digests_end)
		return GW_E_DIGESTS_DIGEST;
	if (compressed)
		return offset < stored.table_end     ? GW_E_STORED_DIGEST :
		       offset < stored.blocks_offset ? GW_E_PADDING :
						       GW_E_STORED_BLOCK;
	/* rows of 192 bytes and of 384, without padding */
	if ((offset >= wpe && offset < wpe + 5 * 192) || (offset >= wte && offset < wte + 7 * 384))
		return GW_E_BLOCK_DIGEST;
	return GW_E_PADDING;
}

START_TEST(every_flipped_byte_is_found)
{
	bool compressed = _i;
	const uint8_t *bytes = compressed ? file : raw;
	size_t n = compressed ? file_bytes : raw_bytes;
	const char *at_path = compressed ? path : raw_path;
	int fd = open(at_path, O_RDWR | O_CLOEXEC);

	ck_assert_code(error, try_load(at_path), GW_OK);
	for (uint64_t offset = 0; offset < n; offset++) {
		uint8_t flipped = bytes[offset] ^ (uint8_t)(1 << offset % 8);
		int code;

		ck_assert_int_eq(pwrite(fd, &flipped, 1, (off_t)offset), 1);
		code = try_load(at_path);
		ck_assert_msg(code == expected_code(compressed, offset),
			      "offset %llu: %d instead of %d: %s", (unsigned long long)offset, code,
			      expected_code(compressed, offset), error.message);
		ck_assert_int_eq(pwrite(fd, bytes + offset, 1, (off_t)offset), 1);
	}
	ck_assert_code(error, try_load(at_path), GW_OK);
	close(fd);
}
END_TEST

START_TEST(every_other_length_is_found)
{
	static const size_t more[] = { 1, 2, 4095, 4096, 4097, 2 << 20 };
	const char *at_path = _i ? path : raw_path;
	size_t n = _i ? file_bytes : raw_bytes;
	int fd = open(at_path, O_RDWR | O_CLOEXEC);

	for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
		ck_assert_int_eq(ftruncate(fd, (off_t)(n + more[i])), 0);
		ck_assert_code(error, try_load(at_path), GW_E_TRAILING);
		ck_assert_int_eq(pwrite(fd, "x", 1, (off_t)(n + more[i] - 1)), 1);
		ck_assert_code(error, try_load(at_path), GW_E_TRAILING);
	}
	for (size_t left = n; left-- > 0;) {
		ck_assert_int_eq(ftruncate(fd, (off_t)left), 0);
		ck_assert_code(error, try_load(at_path), GW_E_TRUNCATED);
	}
	close(fd);
}
END_TEST

/* Digests that fit, over contents that do not. */
START_TEST(forged_packs)
{
	const struct gw_regions at = gw_superblock_regions(2, 2);
	const struct gw_stored_regions stored = gw_stored_regions(at.digests_end, 2);
	const struct {
		int code;
		uint64_t offset;
		uint64_t value;
		unsigned bytes;
		const char *words; /* in the sentence */
	} edits[] = {
		{ GW_OK, 0, 0x89, 1, "" },
		{ GW_E_BLOCK_CODE, stored.blocks_offset, 0x7f, 1, "wpe.weight rows 0 to 4" },
		{ GW_E_LIMIT, stored.table_offset + GW_ST_SIZE, 0, 4, "stored block 0" },
		{ GW_E_LIMIT, stored.table_offset + GW_ST_SIZE, UINT32_MAX, 4, "stored block 0" },
		{ GW_E_LAYOUT, stored.table_offset + GW_ST_SIZE, 9, 4, "stored_bytes" },
		{ GW_E_LAYOUT, GW_SB_STORED_BYTES, file_bytes, 8, "" },
		{ GW_E_LIMIT, GW_SB_N_BLOCKS, UINT64_C(1) << 61, 8, "" },
		{ GW_E_LIMIT, GW_SB_IMAGE_BYTES, GW_MAX_IMAGE_BYTES + 4096, 8, "" },
		{ GW_E_FEATURE, GW_SB_REQUIRED_FEATURES, 3, 8, "" },
		/* it decodes, but into other values */
		{ GW_E_BLOCK_DIGEST, at.digests_offset + 8, 1, 8, "wte.weight rows 0 to 6" },
	};
	uint8_t *copy = malloc(file_bytes);

	for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
		struct gw_bytes to = gw_bytes_write(copy, file_bytes);
		int code;

		memcpy(copy, file, file_bytes);
		gw_put(&to, edits[i].offset, edits[i].value, edits[i].bytes);
		fixture_repair(copy, file_bytes);
		fixture_write(path, copy, file_bytes);
		code = try_load(path);
		ck_assert_msg(code == edits[i].code, "edit %zu: %d instead of %d: %s", i, code,
			      edits[i].code, error.message);
		ck_assert_msg(code == GW_OK || strstr(error.message, edits[i].words), "%s",
			      error.message);
	}
	free(copy);
}
END_TEST

/* The lowest bad block is the one that is told of, and where it is. */
START_TEST(the_first_bad_block_is_named)
{
	const struct gw_regions at = gw_superblock_regions(2, 45);
	struct gw_bytes table = gw_bytes_read(file, file_bytes);
	uint64_t offset = gw_stored_regions(at.digests_end, 45).blocks_offset;
	char words[128];

	for (uint64_t i = 0; i < 45; i++) {
		uint64_t n = gw_get_u32(&table, at.digests_end + i * 16 + GW_ST_SIZE);

		if (i == 21 || i == 22 || i > 30)
			file[offset + n / 2] ^= 1;
		if (i == 21)
			snprintf(words, sizeof words,
				 "stored block 21 (bytes %llu to %llu of the file, "
				 "wte.weight rows 13653 to 14335)",
				 (unsigned long long)offset, (unsigned long long)(offset + n - 1));
		offset += n;
	}
	fixture_write(path, file, file_bytes);
	for (int i = 0; i < 20; i++) {
		ck_assert_code(error, try_load(path), GW_E_STORED_BLOCK);
		ck_assert_msg(strncmp(error.message, words, strlen(words)) == 0, "%s not %s",
			      error.message, words);
	}
}
END_TEST

START_TEST(a_stop_ends_it)
{
	atomic_store(&cancel, true);
	ck_assert_code(error, try_load(path), GW_E_CLOSED);
	ck_assert_code(error, try_load(raw_path), GW_E_CLOSED);
}
END_TEST

static int deny(int system_call, unsigned refusal)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)system_call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | refusal),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof filter / sizeof *filter, .filter = filter };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, 2, &program);
}

/* In a child, because a filter stays: 0 loaded, 77 there are no filters here. */
static int load_without(int system_call, unsigned refusal)
{
	int ended;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct gd_image *images[2] = { NULL, NULL };

		if (deny(system_call, refusal))
			_exit(77);
		_exit(load(path, false, &images[0]) || load(raw_path, false, &images[1]) ||
		      !image_is(images[0], raw, raw_bytes) || !image_is(images[1], raw, raw_bytes));
	}
	ck_assert_int_eq(waitpid(pid, &ended, 0), pid);
	ck_assert(WIFEXITED(ended));
	return WEXITSTATUS(ended);
}

/* No ring; a ring that takes nothing; no 2 MiB pages. */
START_TEST(what_the_kernel_refuses_is_not_needed)
{
	static const struct {
		int system_call;
		unsigned refusal;
	} refusals[] = { { SYS_io_uring_setup, EPERM },
			 { SYS_io_uring_setup, ENOSYS },
			 { SYS_io_uring_enter, EPERM },
			 { SYS_madvise, EINVAL } };

	for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
		int ended = load_without(refusals[i].system_call, refusals[i].refusal);

		if (ended == 77) {
			printf("skipped: no seccomp filters on this machine\n");
			return;
		}
		ck_assert_int_eq(ended, 0);
	}
}
END_TEST

#define MOST_PAGES 4096

/* Which pages of a file are in the page cache; returns how many pages it has. */
static size_t resident(const char *of, uint8_t out[MOST_PAGES])
{
	int fd = open(of, O_RDONLY | O_CLOEXEC);
	struct stat size;
	size_t n;
	void *map;

	ck_assert_int_eq(fstat(fd, &size), 0);
	n = ((size_t)size.st_size + 4095) / 4096;
	ck_assert_uint_le(n, MOST_PAGES);
	map = mmap(NULL, n * 4096, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(map, MAP_FAILED);
	ck_assert_int_eq(mincore(map, n * 4096, out), 0);
	munmap(map, n * 4096);
	close(fd);
	for (size_t i = 0; i < n; i++)
		out[i] &= 1;
	return n;
}

/* Has just these pages of a file cached: from first up to end. false: they cannot be dropped here. */
static bool set_resident(const char *of, size_t first, size_t end)
{
	uint8_t pages[MOST_PAGES], byte;
	int fd = open(of, O_RDONLY | O_CLOEXEC);
	size_t n;

	ck_assert_int_eq(fdatasync(fd), 0);
	ck_assert_int_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	ck_assert_int_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM), 0); /* no reading ahead */
	n = resident(of, pages);
	if (memchr(pages, 1, n)) {
		close(fd);
		return false;
	}
	for (size_t i = first; i < end; i++)
		ck_assert_int_eq(pread(fd, &byte, 1, (off_t)i * 4096), 1);
	close(fd);
	return true;
}

/* Loads with pages first to end cached: whether the same are afterwards. -1: cannot be had here. */
static int cache_stays(const char *of, size_t first, size_t end, int expected)
{
	uint8_t before[MOST_PAGES], after[MOST_PAGES];
	size_t n;

	if (!set_resident(of, first, end))
		return -1;
	n = resident(of, before);
	ck_assert_code(error, try_load(of), expected);
	ck_assert_uint_eq(resident(of, after), n);
	return memcmp(before, after, n) == 0;
}

START_TEST(the_page_cache_is_left_as_it_was)
{
	const size_t ranges[][2] = { { 0, 0 }, { 0, 1 }, { 5, 700 }, { 800, 801 }, { 300, 900 } };
	const size_t n = sizeof ranges / sizeof ranges[0];
	const char *at_path = _i ? path : raw_path;

	for (size_t i = 0; i <= n; i++) {
		const size_t *range = ranges[i % n];
		int expected = i < n ? GW_OK : _i ? GW_E_STORED_BLOCK : GW_E_BLOCK_DIGEST;
		int stays = 0;

		if (i == n) { /* and when the load fails */
			int fd = open(at_path, O_WRONLY | O_CLOEXEC);

			ck_assert_int_eq(pwrite(fd, "xyz", 3, 3000000), 3);
			close(fd);
		}
		/* the kernel may take a page at any time; ours would be taken each time */
		for (int attempt = 0; attempt < 10 && !stays; attempt++)
			stays = cache_stays(at_path, range[0], range[1], expected);
		if (stays < 0) {
			printf("skipped: this file system does not drop pages\n");
			return;
		}
		ck_assert_msg(stays, "range %zu", i);
	}
}
END_TEST

/* Fault 29. An image of 400 GiB: a sparse file, whose block digests nobody comes to compare. */
START_TEST(too_large_for_the_machine)
{
	const uint64_t rows = (UINT64_C(400) << 30) / 384;
	const uint64_t n_blocks = 1 + (rows * 384 + GW_BLOCK_BYTES - 1) / GW_BLOCK_BYTES;
	const struct gw_regions at = gw_superblock_regions(2, n_blocks);
	uint64_t wpe = at.data_offset;
	uint64_t wte = (wpe + 5 * 192 + GW_HUGE_PAGE_BYTES - 1) & ~(uint64_t)(GW_HUGE_PAGE_BYTES - 1);
	uint64_t bytes = (wte + rows * 384 + 4095) & ~UINT64_C(4095);
	uint8_t *head = calloc(1, at.data_offset);
	struct gw_bytes to = gw_bytes_write(head, at.data_offset);
	const uint64_t second = GW_DIRECTORY_OFFSET + GW_ENTRY_BYTES;
	char words[64];

	snprintf(words, sizeof words, "no memory for an image of %llu bytes: the ",
		 (unsigned long long)bytes);
	ck_assert_ptr_nonnull(head);
	memcpy(head, raw, GW_DIRECTORY_OFFSET + 2 * GW_ENTRY_BYTES);
	gw_put_u64(&to, GW_SB_IMAGE_BYTES, bytes);
	gw_put_u64(&to, GW_SB_FILE_BYTES, bytes);
	gw_put_u64(&to, GW_SB_N_BLOCKS, n_blocks);
	gw_put_u64(&to, GW_DIRECTORY_OFFSET + GW_DE_DATA_OFFSET, wpe);
	gw_put_u64(&to, second + GW_DE_SHAPE, rows);
	gw_put_u64(&to, second + GW_DE_DATA_OFFSET, wte);
	gw_put_u64(&to, second + GW_DE_DATA_BYTES, rows * 384);
	fixture_repair(head, at.data_offset);
	fixture_write(raw_path, head, at.data_offset);
	free(head);
	if (truncate(raw_path, (off_t)bytes)) {
		printf("skipped: no file of 400 GiB here: %s\n", strerror(errno));
		return;
	}
	ck_assert_code(error, try_load(raw_path), GW_E_MEMORY);
	ck_assert_msg(strncmp(error.message, words, strlen(words)) == 0, "%s", error.message);
	ck_assert_ptr_nonnull(strstr(error.message, " left"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("load");
	TCase *small = fixture_case(suite, "small"), *large = fixture_case(suite, "large");

	tcase_add_checked_fixture(small, make_small, unmake);
	tcase_add_test(small, both_forms_give_one_image);
	tcase_add_test(small, a_compressed_file_cannot_be_shared);
	tcase_add_loop_test(small, every_flipped_byte_is_found, 0, 2);
	tcase_add_loop_test(small, every_other_length_is_found, 0, 2);
	tcase_add_test(small, forged_packs);
	tcase_add_test(small, too_large_for_the_machine);
	tcase_add_checked_fixture(large, make_large, unmake);
	tcase_add_test(large, both_forms_give_one_image);
	tcase_add_test(large, the_first_bad_block_is_named);
	tcase_add_test(large, a_stop_ends_it);
	tcase_add_test(large, what_the_kernel_refuses_is_not_needed);
	tcase_add_loop_test(large, the_page_cache_is_left_as_it_was, 0, 2);
	return fixture_main(suite);
}
