/* SPDX-License-Identifier: MIT */
/* Generations live as long as somebody holds them, and what they take is limited. */
#include "daemon/retired.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/lease.h"
#include "daemon/loop_backend.h"
#include "daemon/memfd.h"
#include "daemon/store.h"
#include "format/endpoint.h"
#include "tests/support/fixture.h"

static char *folder;
static struct gw_error error;
static struct gd_loop *loop;
static struct gd_boards *boards;
static struct gd_store *store;
static struct gd_model *model;

static void on_published(void *context, struct gd_model *published)
{
	(void)context;
	(void)published;
}

static void on_settled(void *context, struct gd_model *settled)
{
	(void)context;
	(void)settled;
	gd_loop_stop(loop);
}

static void put_pack(uint64_t n_vocab)
{
	fixture_pack(fixture_path(folder, "a.gpt2w"), n_vocab, 0, 16, GW_F32, GW_DTYPE_NONE);
}

static bool is_busy(void)
{
	bool busy = false;

	for (size_t i = 0; i < gd_store_count(store); i++)
		busy |= gd_store_is_busy(gd_store_at(store, i));
	return busy;
}

/* Runs the loop until something has settled and nothing is busy. */
static void settle(void)
{
	do {
		loop->stopped = false;
		ck_assert_code(error, gd_loop_run(loop, &error), GW_OK);
	} while (is_busy());
}

static void scan(void)
{
	ck_assert_code(error, gd_store_scan(store, true, &error), GW_OK);
	settle();
}

static void open_store(enum wire_share share, uint64_t max_bytes, uint64_t max_retired_bytes,
		       uint64_t max_retired)
{
	const struct gd_store_options options = { folder, share, true, max_bytes, max_retired_bytes,
						  max_retired, NULL, NULL };
	const struct gd_store_events events = { on_published, on_settled, on_published, NULL };

	ck_assert_code(error, gd_store_new(&options, &events, loop, boards, &store, &error), GW_OK);
	scan();
	model = gd_store_at(store, 0);
}

static void setup(void)
{
	error = (struct gw_error)GW_ERROR_INIT;
	signal(SIGIO, SIG_IGN);
	folder = fixture_folder_new();
	ck_assert_code(error, gd_loop_new(GD_BACKEND_AUTO, &loop, &error), GW_OK);
	ck_assert_code(error, gd_boards_new(&boards, &error), GW_OK);
	put_pack(20);
}

static void teardown(void)
{
	gd_store_free(store);
	gd_boards_free(boards);
	gd_loop_free(loop);
	fixture_folder_free(folder);
}

/* A description of a client's own, of what is served. */
static int hold(void)
{
	int fd = -1;

	ck_assert_code(error, gd_reopen(model->image->fd, &fd, &error), GW_OK);
	return fd;
}

static const struct gd_retired_list *retired(void)
{
	return gd_store_retired(store);
}

START_TEST(who_holds_a_file)
{
	int fd, own, pair[2], passed;
	struct wire_message message = { .type = WIRE_STATUS };
	size_t n_fds;
	void *map;

	ck_assert_code(error, gd_memfd_new("test", 0, 4096, &fd, &error), GW_OK);
	ck_assert_code(error,
		       gd_memfd_seal(fd, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL,
				     &error),
		       GW_OK);
	ck_assert_code(error, gd_reopen(fd, &own, &error), GW_OK);
	close(fd);
	ck_assert(!gd_lease_is_held(own));
	ck_assert(!gd_lease_is_held(own)); /* asking leaves nothing behind */
	/* a mapping of our own is ours; one of another's description is not, closed or not */
	map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, own, 0);
	ck_assert(!gd_lease_is_held(own));
	munmap(map, 4096);
	ck_assert_code(error, gd_reopen(own, &fd, &error), GW_OK);
	map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	ck_assert(gd_lease_is_held(own));
	munmap(map, 4096);
	ck_assert(!gd_lease_is_held(own));
	/* in a message that nobody has read */
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_code(error, gd_reopen(own, &fd, &error), GW_OK);
	ck_assert_code(error, wire_send(pair[0], &message, &fd, 1, 0, &error), GW_OK);
	close(fd);
	ck_assert(gd_lease_is_held(own));
	ck_assert_code(error, wire_receive(pair[1], &message, &passed, 1, &n_fds, NULL, 0, &error),
		       GW_OK);
	ck_assert(gd_lease_is_held(own));
	close(passed);
	ck_assert(!gd_lease_is_held(own));
	close(pair[0]);
	close(pair[1]);
	close(own);
}
END_TEST

START_TEST(held_generations_stay)
{
	uint64_t first, count, bytes, first_bytes;
	int fd;

	open_store(WIRE_SHARE_SEALED, UINT64_MAX, UINT64_MAX, 10);
	first = model->generation;
	first_bytes = model->image->fd_bytes;
	fd = hold();
	put_pack(30);
	scan();
	ck_assert_uint_eq(retired()->count, 1);
	ck_assert_uint_eq(retired()->bytes, first_bytes);
	ck_assert_uint_eq(retired()->first->generation, first);
	gd_retired_of(retired(), "a", &count, &bytes);
	ck_assert(count == 1 && bytes == first_bytes);
	gd_retired_of(retired(), "b", &count, &bytes);
	ck_assert(count == 0 && bytes == 0);
	gd_store_sweep(store);
	ck_assert_uint_eq(retired()->count, 1);
	put_pack(40); /* nobody holds the second: it is gone at once */
	scan();
	ck_assert_uint_eq(retired()->count, 1);
	close(fd);
	gd_store_sweep(store);
	ck_assert_uint_eq(retired()->count, 0);
	ck_assert_uint_eq(retired()->bytes, 0);
	ck_assert_ptr_null(retired()->first);
}
END_TEST

START_TEST(retired_bytes_are_limited)
{
	uint64_t generation;
	char sizes[64];
	int fd;

	fixture_pack(fixture_path(folder, "a.gpt2w"), 5000, 0, 16, GW_F32, GW_DTYPE_NONE);
	open_store(WIRE_SHARE_SEALED, UINT64_MAX, 4096, 10);
	generation = model->generation;
	fd = hold();
	put_pack(30);
	scan();
	ck_assert_uint_eq(model->generation, generation);
	ck_assert_uint_eq(model->image->pack->wte->row_count, 5000);
	snprintf(sizes, sizeof sizes, "%llu bytes", (unsigned long long)model->image->fd_bytes);
	ck_assert_ptr_nonnull(strstr(model->message, sizes));
	ck_assert_ptr_nonnull(strstr(model->message, "--retired-max is 4096"));
	ck_assert_uint_ne(model->wanted_bytes, 0);
	close(fd);
	settle(); /* nobody holds it any more: found out without being asked */
	ck_assert_uint_eq(model->image->pack->wte->row_count, 30);
	ck_assert_str_eq(model->message, "");
	ck_assert_uint_eq(model->wanted_bytes, 0);
	ck_assert(!retired()->keep_looking);
}
END_TEST

START_TEST(their_number_is_limited)
{
	int fd[2];

	open_store(WIRE_SHARE_SEALED, UINT64_MAX, UINT64_MAX, 1);
	fd[0] = hold();
	put_pack(30);
	scan();
	fd[1] = hold();
	put_pack(40);
	scan();
	ck_assert_uint_eq(model->image->pack->wte->row_count, 30);
	ck_assert_ptr_nonnull(strstr(model->message, "1 old generations"));
	/* when the first ends, the timer sees it and the reload goes on by itself */
	close(fd[0]);
	settle();
	ck_assert_uint_eq(model->image->pack->wte->row_count, 40);
	ck_assert_uint_eq(retired()->count, 1);
	close(fd[1]);
}
END_TEST

START_TEST(all_bytes_are_limited)
{
	uint64_t most;
	char sizes[64];

	fixture_pack(fixture_path(folder, "b.gpt2w"), 5000, 0, 16, GW_F32, GW_DTYPE_NONE);
	most = 1 << 20;
	open_store(WIRE_SHARE_SEALED, most, most, 10);
	ck_assert_ptr_nonnull(gd_store_find(store, "a")->image);
	ck_assert_ptr_nonnull(gd_store_find(store, "b")->image);
	fixture_pack(fixture_path(folder, "b.gpt2w"), 15000, 0, 16, GW_F32, GW_DTYPE_NONE);
	scan();
	model = gd_store_find(store, "b");
	ck_assert_uint_eq(model->image->pack->wte->row_count, 5000);
	snprintf(sizes, sizeof sizes, "images take %llu",
		 (unsigned long long)gd_store_served_bytes(store));
	ck_assert_ptr_nonnull(strstr(model->message, sizes));
	ck_assert_ptr_nonnull(strstr(model->message, "--memory-max is 1048576"));
	/* one that has room without the one that is served, and only so */
	fixture_pack(fixture_path(folder, "b.gpt2w"), 12000, 0, 16, GW_F32, GW_DTYPE_NONE);
	scan();
	ck_assert_uint_eq(model->image->pack->wte->row_count, 5000);
	gd_store_unload(store, model, "to make room");
	gd_store_load(store, model);
	settle();
	ck_assert_uint_eq(model->image->pack->wte->row_count, 12000);
}
END_TEST

START_TEST(files_take_no_memory)
{
	int fd;

	open_store(WIRE_SHARE_FILE, 1, 0, 0);
	ck_assert_str_eq(model->message, "");
	fd = hold();
	/* replaced, as packs are: never written in place */
	fixture_pack(fixture_path(folder, "next"), 30, 0, 16, GW_F32, GW_DTYPE_NONE);
	ck_assert_int_eq(rename(fixture_path(folder, "next"), fixture_path(folder, "a.gpt2w")), 0);
	scan();
	ck_assert_uint_eq(model->image->pack->wte->row_count, 30);
	ck_assert_uint_eq(retired()->count, 0);
	close(fd);
}
END_TEST

START_TEST(equal_contents_are_no_generation)
{
	uint64_t generation;
	size_t n;
	uint8_t *bytes;

	open_store(WIRE_SHARE_SEALED, UINT64_MAX, UINT64_MAX, 10);
	generation = model->generation;
	put_pack(20); /* the same, written again */
	scan();
	ck_assert_uint_eq(model->generation, generation);
	ck_assert_uint_eq(model->epoch, 1);
	/* not for a moment is a damaged file taken for the same */
	bytes = fixture_read(fixture_path(folder, "a.gpt2w"), &n);
	bytes[model->image->pack->wte->data_offset] ^= 1;
	fixture_write(fixture_path(folder, "a.gpt2w"), bytes, n);
	free(bytes);
	scan();
	ck_assert_uint_eq(model->generation, generation);
	ck_assert_ptr_nonnull(strstr(model->message, "wte.weight"));
	put_pack(20);
	scan();
	ck_assert_str_eq(model->message, "");
	ck_assert_uint_eq(model->epoch, 1);
}
END_TEST

START_TEST(unloaded_and_loaded)
{
	uint64_t generation;

	open_store(WIRE_SHARE_SEALED, UINT64_MAX, UINT64_MAX, 10);
	generation = model->generation;
	gd_store_unload(store, model, "unloaded by uid 7");
	ck_assert_ptr_null(model->image);
	ck_assert_uint_eq(model->generation, 0);
	ck_assert_uint_eq(model->epoch, 2);
	ck_assert_str_eq(model->message, "unloaded by uid 7");
	put_pack(30);
	ck_assert_code(error, gd_store_scan(store, true, &error), GW_OK);
	ck_assert(!model->loading); /* stays so */
	gd_store_load(store, model);
	settle();
	ck_assert_uint_gt(model->generation, generation);
	ck_assert_uint_eq(model->epoch, 3);
	ck_assert_str_eq(model->message, "");
	/* unloaded and loaded again while a look is under way, which found nothing new */
	put_pack(30);
	ck_assert_code(error, gd_store_scan(store, true, &error), GW_OK);
	ck_assert(model->loading);
	gd_store_unload(store, model, "again");
	gd_store_load(store, model);
	settle();
	ck_assert_ptr_nonnull(model->image);
	/* and unloaded while it is loaded */
	put_pack(40);
	ck_assert_code(error, gd_store_scan(store, true, &error), GW_OK);
	gd_store_unload(store, model, "for good");
	settle();
	ck_assert_ptr_null(model->image);
	ck_assert(!gd_store_is_busy(model));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("retired");
	TCase *tcase = fixture_case(suite, "lease"), *kept = fixture_case(suite, "retired");

	tcase_add_test(tcase, who_holds_a_file);
	tcase_add_checked_fixture(kept, setup, teardown);
	tcase_add_test(kept, held_generations_stay);
	tcase_add_test(kept, retired_bytes_are_limited);
	tcase_add_test(kept, their_number_is_limited);
	tcase_add_test(kept, all_bytes_are_limited);
	tcase_add_test(kept, files_take_no_memory);
	tcase_add_test(kept, equal_contents_are_no_generation);
	tcase_add_test(kept, unloaded_and_loaded);
	return fixture_main(suite);
}
