/* SPDX-License-Identifier: MIT */
#include "format/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/fixture.h"

static char *folder;
static const char *target;
static struct gw_error error;

static void setup(void)
{
	folder = fixture_folder_new();
	target = fixture_path(folder, "out.gpt2w");
	error = (struct gw_error)GW_ERROR_INIT;
}

static void teardown(void)
{
	fixture_folder_free(folder);
}

static struct gw_outfile *create(bool replace)
{
	struct gw_outfile *out = NULL;

	ck_assert_code(error, gw_outfile_create(target, replace, &out, &error), GW_OK);
	return out;
}

static void refuse(const char *path, bool replace, int code)
{
	struct gw_outfile *out = NULL;
	int files = fixture_count_files(folder);

	ck_assert_code(error, gw_outfile_create(path, replace, &out, &error), code);
	ck_assert_ptr_null(out);
	ck_assert_int_eq(fixture_count_files(folder), files);
}

static void expect_contents(const char *text, size_t n)
{
	size_t bytes;
	uint8_t *data = fixture_read(target, &bytes);

	ck_assert_uint_eq(bytes, n);
	ck_assert_mem_eq(data, text, n);
	free(data);
}

START_TEST(appears_whole_at_commit_only)
{
	struct gw_outfile *out = create(false);

	ck_assert_int_eq(access(target, F_OK), -1);
	ck_assert_int_eq(fixture_count_files(folder), 1);
	ck_assert_code(error, gw_outfile_resize(out, 6, &error), GW_OK);
	ck_assert_code(error, gw_outfile_write(out, "cd", 2, 2, &error), GW_OK);
	ck_assert_code(error, gw_outfile_write(out, "", 0, 100, &error), GW_OK);
	ck_assert_int_eq(access(target, F_OK), -1);
	ck_assert_code(error, gw_outfile_commit(out, &error), GW_OK);
	gw_outfile_free(out);
	expect_contents("\0\0cd\0\0", 6);
	ck_assert_int_eq(fixture_count_files(folder), 1);
}
END_TEST

START_TEST(nothing_is_left_without_commit)
{
	struct gw_outfile *out = create(false);

	ck_assert_code(error, gw_outfile_write(out, "ab", 2, 0, &error), GW_OK);
	gw_outfile_free(out);
	ck_assert_int_eq(fixture_count_files(folder), 0);
	gw_outfile_free(NULL);
}
END_TEST

static const mode_t masks[] = { 0, 022, 027, 077, 0177 };

START_TEST(permissions_are_those_that_umask_leaves)
{
	mode_t before = umask(masks[_i]);
	struct gw_outfile *out = create(false);
	struct stat st;

	umask(before);
	ck_assert_code(error, gw_outfile_commit(out, &error), GW_OK);
	gw_outfile_free(out);
	ck_assert_int_eq(stat(target, &st), 0);
	ck_assert_uint_eq(st.st_mode, S_IFREG | (0666 & ~masks[_i]));
}
END_TEST

START_TEST(an_existing_file_is_kept_or_replaced)
{
	struct gw_outfile *out;

	fixture_write(target, "old", 3);
	refuse(target, false, GW_E_EXISTS);
	out = create(true);
	ck_assert_code(error, gw_outfile_write(out, "newer", 5, 0, &error), GW_OK);
	expect_contents("old", 3);
	ck_assert_code(error, gw_outfile_commit(out, &error), GW_OK);
	gw_outfile_free(out);
	expect_contents("newer", 5);
	ck_assert_int_eq(fixture_count_files(folder), 1);
}
END_TEST

START_TEST(a_file_that_appears_meanwhile_is_kept)
{
	struct gw_outfile *out = create(false);

	fixture_write(target, "theirs", 6);
	ck_assert_code(error, gw_outfile_commit(out, &error), GW_E_EXISTS);
	gw_outfile_free(out);
	expect_contents("theirs", 6);
	ck_assert_int_eq(fixture_count_files(folder), 1);
}
END_TEST

START_TEST(what_is_no_regular_file_is_refused)
{
	char name[300];

	for (int replace = 0; replace < 2; replace++) {
		ck_assert_int_eq(symlink("elsewhere", target), 0);
		refuse(target, replace, GW_E_OUTPUT);
		ck_assert_int_eq(unlink(target), 0);
		ck_assert_int_eq(symlink("/dev/null", target), 0);
		refuse(target, replace, GW_E_OUTPUT);
		ck_assert_int_eq(unlink(target), 0);
		ck_assert_int_eq(mkdir(target, 0700), 0);
		refuse(target, replace, GW_E_OUTPUT);
		ck_assert_int_eq(rmdir(target), 0);
		ck_assert_int_eq(mkfifo(target, 0600), 0);
		refuse(target, replace, GW_E_OUTPUT);
		ck_assert_int_eq(unlink(target), 0);
		refuse("/dev/null", replace, GW_E_OUTPUT);
		refuse("", replace, GW_E_OUTPUT);
		refuse("/", replace, GW_E_OUTPUT);
		refuse("..", replace, GW_E_OUTPUT);
		refuse(fixture_path(folder, "."), replace, GW_E_OUTPUT);
		refuse(fixture_path(folder, "no/such/folder"), replace, GW_E_IO);
		ck_assert_int_eq(error.sys_errno, ENOENT);
	}
	memset(name, 'n', sizeof name);
	name[242] = '\0';
	refuse(fixture_path(folder, name), false, GW_E_OUTPUT);
	name[241] = '\0';
	target = fixture_path(folder, name);
	gw_outfile_free(create(false));
}
END_TEST

START_TEST(names_relative_to_the_current_folder)
{
	struct gw_outfile *out = NULL;

	ck_assert_int_eq(chdir(folder), 0);
	ck_assert_code(error, gw_outfile_create("here", false, &out, &error), GW_OK);
	/* the folder is held open: a change of directory does not move the output */
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert_code(error, gw_outfile_commit(out, &error), GW_OK);
	gw_outfile_free(out);
	ck_assert_int_eq(access(fixture_path(folder, "here"), F_OK), 0);
}
END_TEST

/* The temporary's name is not to be guessed; were it, O_EXCL refuses what stands there. Here the
 * one in use is replaced by a link to a victim, which must keep its contents. */
START_TEST(a_planted_link_is_not_followed)
{
	const char *victim = fixture_path(folder, "victim");
	struct gw_outfile *out = create(false);
	char command[8300];

	fixture_write(victim, "precious", 8);
	snprintf(command, sizeof command,
		 "cd '%s' && for t in .*.tmp; do ln -sf victim \"$t\"; done", folder);
	ck_assert_int_eq(system(command), 0);
	ck_assert_code(error, gw_outfile_write(out, "written", 7, 0, &error), GW_OK);
	gw_outfile_free(out);
	target = victim;
	expect_contents("precious", 8);
	ck_assert_int_eq(fixture_count_files(folder), 1);
}
END_TEST

START_TEST(two_at_once_have_temporaries_of_their_own)
{
	struct gw_outfile *first = create(true), *second = create(true);

	ck_assert_int_eq(fixture_count_files(folder), 2);
	ck_assert_code(error, gw_outfile_write(first, "first", 5, 0, &error), GW_OK);
	ck_assert_code(error, gw_outfile_write(second, "second", 6, 0, &error), GW_OK);
	ck_assert_code(error, gw_outfile_commit(second, &error), GW_OK);
	ck_assert_code(error, gw_outfile_commit(first, &error), GW_OK);
	gw_outfile_free(first);
	gw_outfile_free(second);
	expect_contents("first", 5);
	ck_assert_int_eq(fixture_count_files(folder), 1);
}
END_TEST

START_TEST(a_limit_of_file_size_is_an_error)
{
	const struct rlimit limit = { 100, RLIM_INFINITY };
	struct rlimit before;
	struct gw_outfile *out = create(false);
	char data[200] = { 0 };

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	ck_assert_code(error, gw_outfile_resize(out, 101, &error), GW_E_IO);
	ck_assert_int_eq(error.sys_errno, EFBIG);
	/* the first 100 bytes go, a short write; the rest does not */
	ck_assert_code(error, gw_outfile_write(out, data, sizeof data, 0, &error), GW_E_IO);
	ck_assert_int_eq(error.sys_errno, EFBIG);
	setrlimit(RLIMIT_FSIZE, &before);
	gw_outfile_free(out);
	ck_assert_int_eq(fixture_count_files(folder), 0);
}
END_TEST

START_TEST(remove_all_takes_what_is_open_only)
{
	struct gw_outfile *done = create(false), *open_one, *other;

	ck_assert_code(error, gw_outfile_commit(done, &error), GW_OK);
	target = fixture_path(folder, "second");
	open_one = create(false);
	target = fixture_path(folder, "third");
	other = create(false);
	gw_outfile_free(other);
	ck_assert_int_eq(fixture_count_files(folder), 2);
	gw_outfile_remove_all();
	ck_assert_int_eq(fixture_count_files(folder), 1);
	ck_assert_int_eq(access(fixture_path(folder, "out.gpt2w"), F_OK), 0);
	gw_outfile_remove_all();
	/* what is gone cannot be committed */
	ck_assert_code(error, gw_outfile_commit(open_one, &error), GW_E_IO);
	gw_outfile_free(open_one);
	gw_outfile_free(done);
	ck_assert_int_eq(fixture_count_files(folder), 1);
}
END_TEST

START_TEST(more_files_than_slots)
{
	struct gw_outfile *outs[20];

	for (int i = 0; i < 20; i++)
		outs[i] = create(true);
	for (int i = 0; i < 20; i++)
		gw_outfile_free(outs[i]);
	ck_assert_int_eq(fixture_count_files(folder), 0);
}
END_TEST

START_TEST(the_input_is_not_an_output)
{
	struct stat st;

	fixture_write(target, "in", 2);
	ck_assert_int_eq(stat(target, &st), 0);
	ck_assert_int_eq(link(target, fixture_path(folder, "hard")), 0);
	ck_assert_int_eq(symlink("out.gpt2w", fixture_path(folder, "soft")), 0);
	ck_assert_code(error, gw_outfile_refuse_same(target, st.st_dev, st.st_ino, &error),
		       GW_E_OUTPUT);
	ck_assert_code(error,
		       gw_outfile_refuse_same(fixture_path(folder, "hard"), st.st_dev, st.st_ino,
					      &error),
		       GW_E_OUTPUT);
	ck_assert_code(error,
		       gw_outfile_refuse_same(fixture_path(folder, "soft"), st.st_dev, st.st_ino,
					      &error),
		       GW_E_OUTPUT);
	ck_assert_code(error, gw_outfile_refuse_same(folder, st.st_dev, st.st_ino, &error), GW_OK);
	ck_assert_code(error,
		       gw_outfile_refuse_same(fixture_path(folder, "none"), st.st_dev, st.st_ino,
					      &error),
		       GW_OK);
}
END_TEST

START_TEST(a_folder_that_cannot_be_written)
{
	struct gw_outfile *out = NULL;

	/* root writes everywhere but here */
	ck_assert_code(error, gw_outfile_create("/proc/x.gpt2w", false, &out, &error), GW_E_IO);
	ck_assert_ptr_null(out);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("outfile");
	TCase *tcase = fixture_case(suite, "outfile");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, appears_whole_at_commit_only);
	tcase_add_test(tcase, nothing_is_left_without_commit);
	tcase_add_loop_test(tcase, permissions_are_those_that_umask_leaves, 0, 5);
	tcase_add_test(tcase, an_existing_file_is_kept_or_replaced);
	tcase_add_test(tcase, a_file_that_appears_meanwhile_is_kept);
	tcase_add_test(tcase, what_is_no_regular_file_is_refused);
	tcase_add_test(tcase, names_relative_to_the_current_folder);
	tcase_add_test(tcase, a_planted_link_is_not_followed);
	tcase_add_test(tcase, two_at_once_have_temporaries_of_their_own);
	tcase_add_test(tcase, a_limit_of_file_size_is_an_error);
	tcase_add_test(tcase, remove_all_takes_what_is_open_only);
	tcase_add_test(tcase, more_files_than_slots);
	tcase_add_test(tcase, the_input_is_not_an_output);
	tcase_add_test(tcase, a_folder_that_cannot_be_written);
	return fixture_main(suite);
}
