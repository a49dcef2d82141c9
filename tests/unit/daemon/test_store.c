/* SPDX-License-Identifier: MIT */
#include "daemon/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/loop_backend.h"
#include "tests/support/fixture.h"

static char *folder;
static struct gw_error error;
static struct gd_loop *loop;
static struct gd_boards *boards;
static struct gd_store *store;
static unsigned n_published, n_settled, n_removed, settled_wanted;
static uint64_t last_published;

static void on_published(void *context, struct gd_model *model)
{
	(void)context;
	n_published++;
	last_published = model->generation;
}

static void on_settled(void *context, struct gd_model *model)
{
	(void)context;
	ck_assert_str_ne(model->name, "");
	if (++n_settled == settled_wanted)
		gd_loop_stop(loop);
}

static void on_removed(void *context, struct gd_model *model)
{
	(void)context;
	ck_assert(model->removed);
	ck_assert_ptr_null(model->image);
	n_removed++;
}

static void open_store(const char *directory, bool small_pages)
{
	const struct gd_store_options options = { directory, WIRE_SHARE_SEALED, small_pages,
						  UINT64_MAX, UINT64_MAX, UINT64_MAX, NULL, NULL };
	const struct gd_store_events events = { on_published, on_settled, on_removed, NULL };

	ck_assert_code(error, gd_store_new(&options, &events, loop, boards, &store, &error), GW_OK);
}

static void setup(void)
{
	error = (struct gw_error)GW_ERROR_INIT;
	n_published = n_settled = n_removed = settled_wanted = 0;
	folder = fixture_folder_new();
	ck_assert_code(error, gd_loop_new(GD_BACKEND_AUTO, &loop, &error), GW_OK);
	ck_assert_code(error, gd_boards_new(&boards, &error), GW_OK);
}

static void teardown(void)
{
	gd_store_free(store);
	gd_boards_free(boards);
	gd_loop_free(loop);
	fixture_folder_free(folder);
}

/* Runs the loop until n more loads have ended. */
static void settle(unsigned n)
{
	settled_wanted = n_settled + n;
	loop->stopped = false;
	ck_assert_code(error, gd_loop_run(loop, &error), GW_OK);
	ck_assert_uint_eq(n_settled, settled_wanted);
}

static void scan(void)
{
	ck_assert_code(error, gd_store_scan(store, true, &error), GW_OK);
}

static void put_pack(const char *name, uint64_t n_vocab)
{
	fixture_pack(fixture_path(folder, name), n_vocab, 0, 16, GW_F32, GW_DTYPE_NONE);
}

START_TEST(a_directory_is_served)
{
	const char *const ignored[] = { ".hidden.gpt2w", ".b.gpt2w.12345678.tmp", "c.txt", ".gpt2w",
					"b.gpt2w.bak" };

	put_pack("b.gpt2w", 10);
	put_pack("a.gpt2w", 20);
	for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
		put_pack(ignored[i], 5);
	put_pack("\xff.gpt2w", 5); /* no UTF-8: told, not served */
	open_store(folder, true);
	scan();
	ck_assert_uint_eq(gd_store_count(store), 2);
	ck_assert(gd_store_at(store, 0)->loading);
	settle(2);
	ck_assert_str_eq(gd_store_at(store, 0)->name, "a");
	ck_assert_str_eq(gd_store_at(store, 1)->name, "b");
	ck_assert_ptr_null(gd_store_at(store, 2));
	ck_assert_ptr_null(gd_store_find(store, "c"));
	ck_assert_uint_eq(gd_store_find(store, "a")->image->pack->wte->row_count, 20);
	ck_assert_uint_eq(gd_store_find(store, "b")->image->pack->wte->row_count, 10);
	ck_assert_uint_eq(n_published, 2);
	ck_assert_uint_ne(gd_store_at(store, 0)->generation, gd_store_at(store, 1)->generation);
}
END_TEST

START_TEST(what_changed_is_loaded_anew)
{
	struct gd_model *model;
	uint64_t generation;

	put_pack("a.gpt2w", 20);
	open_store(folder, true);
	scan();
	settle(1);
	model = gd_store_at(store, 0);
	generation = model->generation;
	ck_assert_uint_ne(generation, 0);
	ck_assert_uint_eq(model->epoch, 1);
	scan(); /* nothing changed: nothing is done */
	ck_assert(!model->loading);

	put_pack("a.gpt2w", 30);
	scan();
	scan(); /* a second look is kept for when the load is done, and finds nothing new */
	ck_assert(model->again);
	settle(1);
	ck_assert(!model->again && !model->loading);
	ck_assert_uint_gt(model->generation, generation);
	ck_assert_uint_eq(model->epoch, 2);
	ck_assert_uint_eq(model->image->pack->wte->row_count, 30);

	/* a bad pack leaves the generation before in service, and is tried again at every look */
	generation = model->generation;
	fixture_write(fixture_path(folder, "a.gpt2w"), "no pack", 7);
	for (int i = 0; i < 2; i++) {
		scan();
		settle(1);
		ck_assert_uint_eq(model->generation, generation);
		ck_assert_uint_eq(model->epoch, 2);
		ck_assert_str_ne(model->message, "");
		ck_assert_uint_eq(model->image->pack->wte->row_count, 30);
	}
	put_pack("a.gpt2w", 40);
	scan();
	settle(1);
	ck_assert_str_eq(model->message, "");
	ck_assert_uint_eq(model->epoch, 3);
	ck_assert_uint_eq(n_published, 3);
}
END_TEST

START_TEST(what_is_gone_is_withdrawn)
{
	put_pack("a.gpt2w", 20);
	put_pack("b.gpt2w", 20);
	open_store(folder, true);
	scan();
	settle(2);
	ck_assert_int_eq(unlink(fixture_path(folder, "a.gpt2w")), 0);
	scan();
	ck_assert_uint_eq(gd_store_count(store), 1);
	ck_assert_str_eq(gd_store_at(store, 0)->name, "b");
	ck_assert_uint_eq(n_removed, 1);
	ck_assert_uint_eq(n_published, 3);
	ck_assert_uint_eq(last_published, 0);
	/* it comes back as another */
	put_pack("a.gpt2w", 50);
	scan();
	settle(1);
	ck_assert_uint_eq(gd_store_find(store, "a")->epoch, 1);
	/* one that is gone while it is loaded: the load ends unheard */
	put_pack("c.gpt2w", 50);
	scan();
	ck_assert_int_eq(unlink(fixture_path(folder, "c.gpt2w")), 0);
	scan();
	ck_assert_uint_eq(n_removed, 2);
	ck_assert_uint_eq(n_published, 4);
	put_pack("d.gpt2w", 50);
	scan();
	settle(1); /* d's alone; c's job came before it */
	ck_assert_ptr_nonnull(gd_store_find(store, "d")->image);
	/* and one whose job is not done when all ends */
	put_pack("e.gpt2w", 50);
	scan();
	ck_assert_int_eq(unlink(fixture_path(folder, "e.gpt2w")), 0);
	scan();
}
END_TEST

START_TEST(pinned_models_stay)
{
	char path[4096];

	snprintf(path, sizeof path, "%s/elsewhere", folder);
	fixture_pack(path, 7, 3, 16, GW_BF16, GW_F16);
	put_pack("a.gpt2w", 20);
	open_store(folder, true);
	ck_assert_code(error, gd_store_pin(store, "a", path, &error), GW_OK);
	ck_assert_code(error, gd_store_pin(store, "a", path, &error), GW_E_EXISTS);
	ck_assert_code(error, gd_store_pin(store, "", path, &error), GW_E_NAME);
	ck_assert_code(error, gd_store_pin(store, "a\nb", path, &error), GW_E_NAME);
	ck_assert_code(error, gd_store_pin(store, path + 1, path, &error), GW_OK);
	settle(2);
	scan(); /* the directory's a is not taken, the pinned one is not gone */
	ck_assert_uint_eq(gd_store_count(store), 2);
	ck_assert_uint_eq(gd_store_find(store, "a")->image->pack->wte->row_count, 7);
	ck_assert_int_eq(unlink(path), 0);
	scan();
	settle(2);
	ck_assert_uint_eq(gd_store_find(store, "a")->image->pack->wte->row_count, 7);
	ck_assert_str_ne(gd_store_find(store, "a")->message, "");
	ck_assert_uint_eq(n_removed, 0);
}
END_TEST

START_TEST(links_are_followed_anew)
{
	put_pack("one", 11);
	put_pack("two", 12);
	ck_assert_int_eq(symlink("one", fixture_path(folder, "a.gpt2w")), 0);
	open_store(folder, true);
	scan();
	settle(1);
	ck_assert_uint_eq(gd_store_at(store, 0)->image->pack->wte->row_count, 11);
	ck_assert_int_eq(unlink(fixture_path(folder, "a.gpt2w")), 0);
	ck_assert_int_eq(symlink("two", fixture_path(folder, "a.gpt2w")), 0);
	scan();
	settle(1);
	ck_assert_uint_eq(gd_store_at(store, 0)->image->pack->wte->row_count, 12);
	ck_assert_uint_eq(gd_store_at(store, 0)->epoch, 2);
}
END_TEST

START_TEST(a_directory_that_cannot_be_read_changes_nothing)
{
	char moved[4096];

	put_pack("a.gpt2w", 20);
	open_store(folder, true);
	scan();
	settle(1);
	snprintf(moved, sizeof moved, "%s.moved", folder);
	ck_assert_int_eq(rename(folder, moved), 0);
	ck_assert_code(error, gd_store_scan(store, true, &error), GW_E_IO);
	ck_assert_uint_eq(gd_store_count(store), 1);
	ck_assert_ptr_nonnull(gd_store_at(store, 0)->image);
	ck_assert_int_eq(rename(moved, folder), 0);
	scan();
	ck_assert_uint_eq(n_published, 1);
}
END_TEST

START_TEST(a_reload_comes_after_a_collapse)
{
	fixture_pack(fixture_path(folder, "a.gpt2w"), 2000, 0, 768, GW_F32, GW_DTYPE_NONE);
	open_store(folder, false);
	scan();
	settle(1);
	put_pack("a.gpt2w", 20);
	scan(); /* kept if the collapse is under way */
	settle(1);
	ck_assert_uint_eq(gd_store_at(store, 0)->image->pack->wte->row_count, 20);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store");
	TCase *tcase = fixture_case(suite, "store");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_directory_is_served);
	tcase_add_test(tcase, what_changed_is_loaded_anew);
	tcase_add_test(tcase, what_is_gone_is_withdrawn);
	tcase_add_test(tcase, pinned_models_stay);
	tcase_add_test(tcase, links_are_followed_anew);
	tcase_add_test(tcase, a_directory_that_cannot_be_read_changes_nothing);
	tcase_add_test(tcase, a_reload_comes_after_a_collapse);
	return fixture_main(suite);
}
