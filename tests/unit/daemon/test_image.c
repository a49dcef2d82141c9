/* SPDX-License-Identifier: MIT */
#include "daemon/image.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/memfd.h"
#include "tests/support/fixture.h"

#define N_VOCAB 1200
#define N_POSITIONS 100
#define N_EMBD 768 /* wte has more than 2 MiB: several blocks, and one aligned to 2 MiB */

static char *folder;
static const char *path;
static struct gw_error error;
static atomic_bool cancel;
static struct stat status;

static void setup(void)
{
	folder = fixture_folder_new();
	path = fixture_path(folder, "a.gpt2w");
	fixture_pack(path, N_VOCAB, N_POSITIONS, N_EMBD, GW_F32, GW_F16);
	error = (struct gw_error)GW_ERROR_INIT;
	memset(&status, 0, sizeof status);
	atomic_store(&cancel, false);
}

static void teardown(void)
{
	fixture_folder_free(folder);
}

static int load(const char *from, enum wire_share share, bool small_pages, struct gd_image **out)
{
	const struct gd_image_options options = { share, small_pages, &cancel };

	return gd_image_load(from, &options, out, &status, &error);
}

static const enum wire_share shares[] = { WIRE_SHARE_SEALED, WIRE_SHARE_FILE };

static void refuse(const char *from, enum wire_share share, int expected)
{
	struct gd_image *image = NULL;

	ck_assert_code(error, load(from, share, false, &image), expected);
	ck_assert_ptr_null(image);
}

static void compare(const struct gd_image *image)
{
	size_t n;
	uint8_t *file = fixture_read(path, &n);
	const uint8_t *map = mmap(NULL, image->fd_bytes, PROT_READ, MAP_SHARED, image->fd, 0);

	ck_assert_ptr_ne(map, MAP_FAILED);
	ck_assert_uint_eq(image->pack->superblock.image_bytes, n);
	ck_assert_uint_ge(image->fd_bytes, n);
	ck_assert_mem_eq(map, file, n);
	for (uint64_t i = n; i < image->fd_bytes; i++)
		ck_assert_uint_eq(map[i], 0);
	munmap((void *)(uintptr_t)map, image->fd_bytes);
	free(file);
}

START_TEST(the_image_is_the_file)
{
	struct gd_image *image;
	struct stat seen;

	ck_assert_code(error, load(path, shares[_i], false, &image), GW_OK);
	ck_assert_int_eq(image->share, shares[_i]);
	ck_assert_uint_eq(image->references, 1);
	ck_assert_uint_eq(image->pack->wte->row_count, N_VOCAB);
	ck_assert_int_eq(stat(path, &seen), 0);
	ck_assert_uint_eq(status.st_ino, seen.st_ino);
	ck_assert_uint_eq(fstat(image->fd, &seen), 0);
	ck_assert_int_eq(seen.st_size, (off_t)image->fd_bytes);
	ck_assert_int_eq(fcntl(image->fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	ck_assert_int_eq(fcntl(image->fd, F_GETFD), FD_CLOEXEC);
	compare(image);
	ck_assert_ptr_eq(gd_image_ref(image), image);
	gd_image_unref(image);
	compare(image);
	gd_image_unref(image);
	gd_image_unref(NULL);
}
END_TEST

/* Faults 21 and 24. */
START_TEST(a_sealed_image_cannot_be_changed)
{
	const int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	struct gd_image *image;
	struct stat seen;
	char proc[64];
	int writable, own;

	ck_assert_code(error, load(path, WIRE_SHARE_SEALED, true, &image), GW_OK);
	ck_assert_uint_eq(image->huge_bytes, 0);
	ck_assert_uint_eq(image->fd_bytes, image->pack->superblock.image_bytes);
	ck_assert_int_eq(fcntl(image->fd, F_GET_SEALS) & seals, seals);
	ck_assert_int_eq(fstat(image->fd, &seen), 0);
	ck_assert_int_eq(seen.st_mode & 07777, 0444);
	/* root may reopen it for writing, and still not write */
	snprintf(proc, sizeof proc, "/proc/self/fd/%d", image->fd);
	writable = open(proc, O_RDWR | O_CLOEXEC);
	if (writable >= 0) {
		ck_assert_int_eq(pwrite(writable, "x", 1, 0), -1);
		ck_assert_int_eq(errno, EPERM);
		ck_assert_int_eq(ftruncate(writable, 0), -1);
		ck_assert_int_eq(ftruncate(writable, (off_t)image->fd_bytes * 2), -1);
		ck_assert_int_eq(fallocate(writable, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
					   4096),
				 -1);
		ck_assert_ptr_eq(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, writable, 0), MAP_FAILED);
		close(writable);
	}
	ck_assert_code(error, gd_reopen(image->fd, &own, &error), GW_OK);
	ck_assert_int_eq(lseek(own, 5, SEEK_SET), 5);
	ck_assert_int_eq(lseek(image->fd, 0, SEEK_CUR), 0);
	close(own);
	/* what becomes of the file is no matter */
	ck_assert_int_eq(truncate(path, 0), 0);
	fixture_pack(fixture_path(folder, "b.gpt2w"), N_VOCAB, N_POSITIONS, N_EMBD, GW_F32, GW_F16);
	path = fixture_path(folder, "b.gpt2w");
	compare(image);
	gd_image_unref(image);
}
END_TEST

START_TEST(huge_pages_are_counted)
{
	struct gd_image *image;
	uint64_t huge_bytes;

	ck_assert_code(error, load(path, WIRE_SHARE_SEALED, false, &image), GW_OK);
	ck_assert_uint_le(image->huge_bytes, image->fd_bytes);
	ck_assert_uint_eq(image->huge_bytes % GW_HUGE_PAGE_BYTES, 0);
	huge_bytes = gd_image_collapse(image, &cancel);
	ck_assert_uint_le(huge_bytes, image->fd_bytes);
	ck_assert_uint_eq(huge_bytes % GW_HUGE_PAGE_BYTES, 0);
	compare(image);
	atomic_store(&cancel, true);
	ck_assert_uint_eq(gd_image_collapse(image, &cancel), 0);
	gd_image_unref(image);
}
END_TEST

START_TEST(what_is_no_pack)
{
	const enum wire_share share = shares[_i];
	const char *other = fixture_path(folder, "other");

	refuse(fixture_path(folder, "missing"), share, GW_E_IO);
	ck_assert_int_eq(error.sys_errno, ENOENT);
	ck_assert_uint_eq(status.st_ino, 0); /* not looked at */
	refuse(folder, share, GW_E_NOT_FILE);
	refuse("/dev/zero", share, GW_E_NOT_FILE);
	ck_assert_int_eq(mkfifo(other, 0600), 0);
	refuse(other, share, GW_E_NOT_FILE); /* and does not wait for a writer */
	ck_assert_uint_ne(status.st_ino, 0);
	ck_assert_int_eq(unlink(other), 0);
	ck_assert_int_eq(symlink("other", other), 0);
	refuse(other, share, GW_E_IO);
	ck_assert_int_eq(error.sys_errno, ELOOP);
	ck_assert_int_eq(unlink(other), 0);
	fixture_write(other, "", 0);
	refuse(other, share, GW_E_TRUNCATED);
}
END_TEST

START_TEST(damaged_packs)
{
	const enum wire_share share = shares[_i];
	struct gd_image *image;
	size_t n;
	uint8_t *file = fixture_read(path, &n);
	uint64_t data;

	/* the last element of wte: in its last block */
	ck_assert_code(error, load(path, share, true, &image), GW_OK);
	data = image->pack->wte->data_offset + image->pack->wte->data_bytes - 1;
	gd_image_unref(image);
	file[data] ^= 1;
	fixture_write(path, file, n);
	refuse(path, share, GW_E_BLOCK_DIGEST);
	file[data] ^= 1;
	/* between the tables and before the end, no digest covers: zero is asked for */
	file[data + 1 < n ? data + 1 : n - 1] ^= 1;
	fixture_write(path, file, n);
	error = (struct gw_error)GW_ERROR_INIT;
	ck_assert_int_lt(load(path, share, true, &image), 0);
	file[data + 1 < n ? data + 1 : n - 1] ^= 1;
	file[100] ^= 1;
	fixture_write(path, file, n);
	refuse(path, share, GW_E_SUPERBLOCK_DIGEST);
	file[100] ^= 1;
	fixture_write(path, file, n - 1);
	refuse(path, share, GW_E_TRUNCATED);
	fixture_write(path, file, n);
	ck_assert_int_eq(truncate(path, (off_t)n + 4096), 0); /* it grows while it is served */
	refuse(path, share, GW_E_TRAILING);
	free(file);
}
END_TEST

START_TEST(a_stop_ends_the_load)
{
	atomic_store(&cancel, true);
	refuse(path, shares[_i], GW_E_CLOSED);
}
END_TEST

/* In a child: the limit holds for all its files. Ignoring SIGXFSZ is main's part. */
START_TEST(memory_is_refused)
{
	const struct rlimit limit = { 1 << 20, 1 << 20 };
	int ended;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct gd_image *image = NULL;
		int code;

		signal(SIGXFSZ, SIG_IGN);
		setrlimit(RLIMIT_FSIZE, &limit);
		code = load(path, WIRE_SHARE_SEALED, true, &image);
		_exit(code == GW_E_IO && error.sys_errno == EFBIG && !image ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(pid, &ended, 0), pid);
	ck_assert(WIFEXITED(ended));
	ck_assert_int_eq(WEXITSTATUS(ended), 0);
}
END_TEST

START_TEST(descriptors_are_refused)
{
	struct rlimit before, few;
	int next = dup(0);

	close(next);
	getrlimit(RLIMIT_NOFILE, &before);
	for (int room = 0; room < (shares[_i] == WIRE_SHARE_FILE ? 2 : 3); room++) {
		few = (struct rlimit) { (rlim_t)(next + room), before.rlim_max };
		setrlimit(RLIMIT_NOFILE, &few);
		refuse(path, shares[_i], GW_E_IO);
		setrlimit(RLIMIT_NOFILE, &before);
		ck_assert_int_eq(error.sys_errno, EMFILE);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("image");
	TCase *tcase = fixture_case(suite, "image");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, the_image_is_the_file, 0, 2);
	tcase_add_test(tcase, a_sealed_image_cannot_be_changed);
	tcase_add_test(tcase, huge_pages_are_counted);
	tcase_add_loop_test(tcase, what_is_no_pack, 0, 2);
	tcase_add_loop_test(tcase, damaged_packs, 0, 2);
	tcase_add_loop_test(tcase, a_stop_ends_the_load, 0, 2);
	tcase_add_test(tcase, memory_is_refused);
	tcase_add_loop_test(tcase, descriptors_are_refused, 0, 2);
	return fixture_main(suite);
}
