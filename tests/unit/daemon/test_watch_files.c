/* SPDX-License-Identifier: MIT */
/* What is noticed in a directory. That something is not noticed shows by what comes after it. */
#include "daemon/watch_files.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/loop_backend.h"
#include "tests/support/fixture.h"

static char *folder;
static struct gw_error error;
static struct gd_loop *loop;
static struct gd_watch_files files;
static unsigned n_changed;

static void on_changed(void *context)
{
	(void)context;
	n_changed++;
	gd_loop_stop(loop);
}

static void setup(void)
{
	error = (struct gw_error)GW_ERROR_INIT;
	n_changed = 0;
	folder = fixture_folder_new();
	ck_assert_code(error, gd_loop_new(GD_BACKEND_AUTO, &loop, &error), GW_OK);
	ck_assert_code(error, gd_watch_files_init(&files, loop, folder, on_changed, NULL, &error),
		       GW_OK);
}

static void teardown(void)
{
	gd_watch_files_deinit(&files);
	gd_watch_files_deinit(&files); /* twice is fine */
	gd_loop_free(loop);
	fixture_folder_free(folder);
}

static void expect_change(void)
{
	unsigned before = n_changed;

	loop->stopped = false;
	ck_assert_code(error, gd_loop_run(loop, &error), GW_OK);
	ck_assert_uint_eq(n_changed, before + 1);
}

/* Lets the loop's callback see what is there already; whether that is waited on. */
static bool is_noticed(void)
{
	files.events.ready(&files.events, 0);
	return files.first_ms != 0;
}

START_TEST(packs_are_noticed)
{
	char other[4096];
	int fd;

	fixture_write(fixture_path(folder, "a.gpt2w"), "x", 1);
	fixture_write(fixture_path(folder, "b.gpt2w"), "x", 1);
	expect_change(); /* both at once */
	ck_assert(!is_noticed());
	ck_assert_int_eq(rename(fixture_path(folder, "a.gpt2w"), fixture_path(folder, "c.gpt2w")), 0);
	expect_change();
	ck_assert_int_eq(symlink("/nowhere", fixture_path(folder, "l.gpt2w")), 0);
	expect_change();
	snprintf(other, sizeof other, "%s.other", folder);
	ck_assert_int_eq(mkdir(other, 0700), 0);
	/* read, removed, or moved out: nothing new */
	fd = open(fixture_path(folder, "b.gpt2w"), O_RDONLY);
	close(fd);
	ck_assert_int_eq(unlink(fixture_path(folder, "b.gpt2w")), 0);
	ck_assert_int_eq(rename(fixture_path(folder, "c.gpt2w"), fixture_path(other, "c.gpt2w")), 0);
	ck_assert(!is_noticed());
	/* written, and not closed yet */
	fd = open(fixture_path(other, "c.gpt2w"), O_WRONLY);
	ck_assert_int_eq(rename(fixture_path(other, "c.gpt2w"), fixture_path(folder, "c.gpt2w")), 0);
	expect_change();
	ck_assert_int_eq(write(fd, "y", 1), 1);
	ck_assert(!is_noticed());
	close(fd);
	expect_change();
	ck_assert_int_eq(rmdir(other), 0);
}
END_TEST

START_TEST(other_files_are_not)
{
	const char *const ignored[] = { ".a.gpt2w", ".a.gpt2w.12345678.tmp", "a.txt", ".gpt2w" };

	for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
		fixture_write(fixture_path(folder, ignored[i]), "x", 1);
	ck_assert(!is_noticed());
}
END_TEST

START_TEST(another_directory_in_its_place)
{
	char moved[4096];

	snprintf(moved, sizeof moved, "%s.moved", folder);
	ck_assert_int_eq(rename(folder, moved), 0);
	ck_assert_int_eq(mkdir(folder, 0700), 0);
	ck_assert(!is_noticed());
	ck_assert_int_eq(files.descriptor, -1);
	fixture_write(fixture_path(moved, "a.gpt2w"), "x", 1);
	ck_assert(!is_noticed());
	ck_assert_code(error, gd_watch_files_renew(&files, &error), GW_OK);
	ck_assert_code(error, gd_watch_files_renew(&files, &error), GW_OK);
	fixture_write(fixture_path(folder, "a.gpt2w"), "x", 1);
	expect_change();
	ck_assert_int_eq(unlink(fixture_path(folder, "a.gpt2w")), 0);
	ck_assert_int_eq(rmdir(folder), 0);
	ck_assert_code(error, gd_watch_files_renew(&files, &error), GW_E_IO);
	ck_assert_int_eq(rename(moved, folder), 0);
}
END_TEST

START_TEST(a_steady_stream_is_looked_at_too)
{
	fixture_write(fixture_path(folder, "a.gpt2w"), "x", 1);
	ck_assert(is_noticed());
	files.first_ms -= 5000; /* it has gone on for long: not put off any more */
	fixture_write(fixture_path(folder, "b.gpt2w"), "x", 1);
	ck_assert(is_noticed());
	expect_change();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("watch_files");
	TCase *tcase = fixture_case(suite, "files");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, packs_are_noticed);
	tcase_add_test(tcase, other_files_are_not);
	tcase_add_test(tcase, another_directory_in_its_place);
	tcase_add_test(tcase, a_steady_stream_is_looked_at_too);
	return fixture_main(suite);
}
