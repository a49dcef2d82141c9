/* SPDX-License-Identifier: MIT */
/* The temporary file of values, where system calls fail or do only a part; linked with --wrap. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "tests/support/fixture.h"
#include "tools/pack/spool.h"

static char *folder;
static int open_errno;    /* of the next open; 0: it is done */
static int write_errno;   /* of the next write */
static bool write_short;  /* each write does one byte */
static long failing = -1; /* the allocation that fails, counted down */

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
	if (!open_errno)
		return __real_open64(path, flags, 0600);
	errno = open_errno;
	return -1;
}

ssize_t __real_pwrite64(int fd, const void *bytes, size_t n, off64_t offset);
ssize_t __wrap_pwrite64(int fd, const void *bytes, size_t n, off64_t offset);
ssize_t __wrap_pwrite64(int fd, const void *bytes, size_t n, off64_t offset)
{
	if (write_errno) {
		errno = write_errno;
		write_errno = 0;
		return errno == ENODATA ? 0 : -1; /* ENODATA: nothing is written, and nothing fails */
	}
	return __real_pwrite64(fd, bytes, write_short && n ? 1 : n, offset);
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	if (failing < 0 || failing-- > 0)
		return __real_malloc(size);
	errno = ENOMEM;
	return NULL;
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	if (failing < 0 || failing-- > 0)
		return __real_calloc(n, size);
	errno = ENOMEM;
	return NULL;
}

static void setup(void)
{
	folder = fixture_folder_new();
	ck_assert_int_eq(setenv("TMPDIR", folder, 1), 0);
	open_errno = write_errno = 0;
	write_short = false;
	failing = -1;
}

static void teardown(void)
{
	open_errno = 0;
	unsetenv("TMPDIR");
	fixture_folder_free(folder);
}

/* What is added comes back, and the folder stays empty. */
static void check_spool(void)
{
	struct gw_error error = GW_ERROR_INIT;
	struct pack_spool *spool = NULL;
	char out[8] = "";

	ck_assert_code(error, pack_spool_new(&spool, &error), GW_OK);
	open_errno = 0;
	ck_assert_int_eq(fixture_count_files(folder), 0);
	ck_assert_code(error, pack_spool_add(spool, "abcd", 4, &error), GW_OK);
	write_errno = EINTR;
	ck_assert_code(error, pack_spool_add(spool, "efgh", 4, &error), GW_OK);
	ck_assert_code(error, pack_spool_read(spool, 2, 5, out, &error), GW_OK);
	ck_assert_str_eq(out, "cdefg");
	pack_spool_free(spool);
}

START_TEST(what_is_added_comes_back)
{
	check_spool();
	write_short = true;
	check_spool();
	ck_assert_int_eq(setenv("TMPDIR", "", 1), 0); /* /var/tmp */
	check_spool();
}
END_TEST

/* File systems without O_TMPFILE say so in either way. */
START_TEST(without_o_tmpfile)
{
	open_errno = EOPNOTSUPP;
	check_spool();
	open_errno = EISDIR;
	check_spool();
}
END_TEST

START_TEST(refused)
{
	struct gw_error error = GW_ERROR_INIT;
	struct pack_spool *spool = NULL;

	open_errno = EACCES;
	ck_assert_code(error, pack_spool_new(&spool, &error), GW_E_IO);
	ck_assert_int_eq(error.sys_errno, EACCES);
	ck_assert_ptr_nonnull(strstr(error.message, folder));
	open_errno = 0;
	ck_assert_int_eq(setenv("TMPDIR", "/nowhere/\x1b", 1), 0);
	ck_assert_code(error, pack_spool_new(&spool, &error), GW_E_IO);
	ck_assert_int_eq(error.sys_errno, ENOENT);
	ck_assert_ptr_nonnull(strstr(error.message, "/nowhere/\\x1b"));
	failing = 0;
	ck_assert_code(error, pack_spool_new(&spool, &error), GW_E_MEMORY);
	/* the second allocation is for the name that stands in for O_TMPFILE */
	open_errno = EOPNOTSUPP;
	failing = 1;
	ck_assert_code(error, pack_spool_new(&spool, &error), GW_E_IO);
	ck_assert_int_eq(error.sys_errno, ENOMEM);
	ck_assert_ptr_null(spool);
	pack_spool_free(NULL);
}
END_TEST

START_TEST(disk_full)
{
	struct gw_error error = GW_ERROR_INIT;
	struct pack_spool *spool = NULL;

	ck_assert_code(error, pack_spool_new(&spool, &error), GW_OK);
	write_errno = ENOSPC;
	ck_assert_code(error, pack_spool_add(spool, "a", 1, &error), GW_E_IO);
	ck_assert_int_eq(error.sys_errno, ENOSPC);
	ck_assert_ptr_nonnull(strstr(error.message, "TMPDIR names another place"));
	write_errno = ENODATA;
	ck_assert_code(error, pack_spool_add(spool, "a", 1, &error), GW_E_IO);
	ck_assert_int_eq(error.sys_errno, ENOSPC);
	pack_spool_free(spool);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("spool");
	TCase *files = fixture_case(suite, "files");

	tcase_add_checked_fixture(files, setup, teardown);
	tcase_add_test(files, what_is_added_comes_back);
	tcase_add_test(files, without_o_tmpfile);
	tcase_add_test(files, refused);
	tcase_add_test(files, disk_full);
	return fixture_main(suite);
}
