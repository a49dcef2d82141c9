/* SPDX-License-Identifier: MIT */
#include "tests/support/fixture.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *only_case;
static int fds_before;

/* Before main, because Check reads its default timeout when a test case is created. glibc gives
 * constructors main's arguments. */
__attribute__((constructor)) static void fixture_start(int argc, char **argv)
{
	setenv("CK_DEFAULT_TIMEOUT", "120", 0);
	only_case = argc > 1 ? argv[1] : NULL;
}

int fixture_main(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int n_run, n_failed;

	srunner_run(runner, NULL, only_case, CK_ENV);
	n_run = srunner_ntests_run(runner);
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	if (n_run == 0) {
		fprintf(stderr, "no test case %s\n", only_case ? only_case : "");
		return EXIT_FAILURE;
	}
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int count_entries(const char *folder)
{
	DIR *dir = opendir(folder);
	int n = 0;

	ck_assert_msg(dir != NULL, "cannot list %s: %s", folder, strerror(errno));
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
		n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	closedir(dir);
	return n;
}

int fixture_count_fds(void)
{
	return count_entries("/proc/self/fd") - 1; /* without the one that lists them */
}

int fixture_count_files(const char *folder)
{
	return count_entries(folder);
}

void fixture_fds_setup(void)
{
	fds_before = fixture_count_fds();
}

void fixture_fds_teardown(void)
{
	ck_assert_int_eq(fixture_count_fds(), fds_before);
}

TCase *fixture_case(Suite *suite, const char *name)
{
	TCase *tcase = tcase_create(name);

	tcase_add_checked_fixture(tcase, fixture_fds_setup, fixture_fds_teardown);
	suite_add_tcase(suite, tcase);
	return tcase;
}

char *fixture_folder_new(void)
{
	const char *parent = getenv("TMPDIR");
	char *folder = NULL;

	ck_assert_int_gt(asprintf(&folder, "%s/gpt2w-test-XXXXXX",
				  parent && *parent ? parent : "/tmp"),
			 0);
	ck_assert_msg(mkdtemp(folder) != NULL, "mkdtemp %s: %s", folder, strerror(errno));
	return folder;
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

void fixture_folder_free(char *folder)
{
	if (folder && nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0)
		ck_abort_msg("cannot remove %s: %s", folder, strerror(errno));
	free(folder);
}

const char *fixture_path(const char *folder, const char *name)
{
	static char buffers[8][4096];
	static unsigned next;
	char *path = buffers[next++ % 8];

	ck_assert_int_lt(snprintf(path, sizeof buffers[0], "%s/%s", folder, name),
			 (int)sizeof buffers[0]);
	return path;
}

uint8_t *fixture_read(const char *path, size_t *out_bytes)
{
	FILE *file = fopen(path, "rbe");
	struct stat st;
	uint8_t *data;

	ck_assert_msg(file != NULL && fstat(fileno(file), &st) == 0, "cannot open %s: %s", path,
		      strerror(errno));
	data = malloc((size_t)st.st_size + 1);
	ck_assert_ptr_nonnull(data);
	ck_assert_uint_eq(fread(data, 1, (size_t)st.st_size + 1, file), (size_t)st.st_size);
	fclose(file);
	*out_bytes = (size_t)st.st_size;
	return data;
}

void fixture_write(const char *path, const void *data, size_t bytes)
{
	FILE *file = fopen(path, "wbe");

	ck_assert_msg(file != NULL, "cannot create %s: %s", path, strerror(errno));
	ck_assert_uint_eq(fwrite(data, 1, bytes, file), bytes);
	ck_assert_int_eq(fclose(file), 0);
}
