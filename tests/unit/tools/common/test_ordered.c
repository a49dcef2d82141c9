/* SPDX-License-Identifier: MIT */
/* Items are worked on by any thread, and taken in order whatever the threads do. */
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "tests/support/fixture.h"
#include "tools/common/ordered.h"

#define NEVER UINT64_MAX

struct worker {
	struct load *load;
	unsigned busy; /* no atomic: ThreadSanitizer watches it */
	uint64_t n;
};

struct load {
	struct tool_ordered job;
	struct worker workers[TOOL_MAX_THREADS];
	void *pointers[TOOL_MAX_THREADS];
	uint64_t work_fails[2], take_fails; /* at these items */
	_Atomic uint64_t begun, taken;
	_Atomic int taking;
};

struct result {
	uint64_t index;
	char text[61];
};

/* Some items take long: an item's neighbours overtake it. */
static void dawdle(uint64_t index)
{
	struct timespec pause = { .tv_nsec = 300000 };

	if (index % 7 == 0)
		nanosleep(&pause, NULL);
	else if (index % 3 == 0)
		sched_yield();
}

static int work(void *argument, uint64_t index, void *out, struct gw_error *error)
{
	struct worker *worker = argument;
	struct load *load = worker->load;
	struct result *result = out;

	/* from here to the end of the taking an item counts as one that waits */
	ck_assert_uint_le(atomic_fetch_add(&load->begun, 1) + 1 - atomic_load(&load->taken),
			  load->job.n_results);
	ck_assert_uint_eq(worker->busy++, 0);
	worker->n++;
	result->index = index;
	memset(result->text, 'a' + (int)(index % 26), sizeof result->text);
	dawdle(index);
	ck_assert_uint_eq(--worker->busy, 0);
	for (int i = 0; i < 2; i++)
		if (index == load->work_fails[i])
			return gw_fail(error, GW_E_IO, index, "work %d", (int)index);
	return GW_OK;
}

static int take(void *context, uint64_t index, const void *in, struct gw_error *error)
{
	const struct result *result = in;
	struct load *load = context;

	ck_assert_int_eq(atomic_exchange(&load->taking, 1), 0);
	ck_assert_uint_eq(result->index, index);
	ck_assert_uint_eq(atomic_load(&load->taken), index);
	for (size_t i = 0; i < sizeof result->text; i++)
		ck_assert_int_eq(result->text[i], 'a' + (int)(index % 26));
	dawdle(index + 1);
	ck_assert_int_eq(atomic_exchange(&load->taking, 0), 1);
	if (index == load->take_fails)
		return gw_fail(error, GW_E_EXISTS, index, "take %d", (int)index);
	atomic_fetch_add(&load->taken, 1);
	return GW_OK;
}

static void load_init(struct load *load, uint64_t n_items, unsigned n_threads, unsigned n_results)
{
	*load = (struct load){ .work_fails = { NEVER, NEVER }, .take_fails = NEVER };
	for (unsigned i = 0; i < TOOL_MAX_THREADS; i++) {
		load->workers[i].load = load;
		load->pointers[i] = &load->workers[i];
	}
	load->job = (struct tool_ordered){
		.n_items = n_items,
		.n_threads = n_threads,
		.workers = load->pointers,
		.n_results = n_results,
		.result_bytes = sizeof(struct result),
		.work = work,
		.take = take,
		.context = load,
	};
}

static const struct {
	unsigned threads, results;
} shapes[] = { { 1, 1 }, { 1, 4 }, { 2, 1 }, { 2, 4 }, { 3, 2 }, { 5, 10 }, { 16, 32 } };

#define N_SHAPES (int)(sizeof shapes / sizeof shapes[0])

START_TEST(all_items)
{
	static const uint64_t counts[] = { 0, 1, 2, 3, 500 };
	struct gw_error error = GW_ERROR_INIT;
	struct load load;

	for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
		uint64_t n = 0;

		load_init(&load, counts[i], shapes[_i].threads, shapes[_i].results);
		ck_assert_code(error, tool_ordered_run(&load.job, &error), GW_OK);
		ck_assert_uint_eq(load.taken, counts[i]);
		for (unsigned k = 0; k < TOOL_MAX_THREADS; k++) {
			n += load.workers[k].n;
			ck_assert(k < shapes[_i].threads || !load.workers[k].n);
		}
		ck_assert_uint_eq(n, counts[i]);
	}
}
END_TEST

/* The later of two failures is often there first. */
START_TEST(lowest_failure)
{
	struct gw_error error = GW_ERROR_INIT;
	struct load load;

	for (uint64_t first = 35; first < 49; first++) {
		load_init(&load, 1000, shapes[_i].threads, shapes[_i].results);
		load.work_fails[0] = first;
		load.work_fails[1] = first + 1;
		ck_assert_code(error, tool_ordered_run(&load.job, &error), GW_E_IO);
		ck_assert_uint_eq(error.offset, first);
		ck_assert_uint_eq(load.taken, first);
		ck_assert_uint_le(load.begun, first + shapes[_i].results);
	}
}
END_TEST

START_TEST(failure_of_taking)
{
	struct gw_error error = GW_ERROR_INIT;
	struct load load;

	load_init(&load, 1000, shapes[_i].threads, shapes[_i].results);
	load.take_fails = 50;
	load.work_fails[0] = 52;
	ck_assert_code(error, tool_ordered_run(&load.job, &error), GW_E_EXISTS);
	ck_assert_str_eq(error.message, "take 50");
	ck_assert_uint_eq(load.taken, 50);
	ck_assert_uint_le(load.begun, 51 + shapes[_i].results);
	/* nobody wants to know */
	load_init(&load, 1000, shapes[_i].threads, shapes[_i].results);
	load.work_fails[0] = 0;
	ck_assert_int_eq(tool_ordered_run(&load.job, NULL), GW_E_IO);
	ck_assert_uint_eq(load.taken, 0);
}
END_TEST

START_TEST(processors)
{
	cpu_set_t all, one;

	ck_assert_uint_ge(tool_processors(), 1);
	ck_assert_uint_le(tool_processors(), TOOL_MAX_THREADS);
	ck_assert_int_eq(sched_getaffinity(0, sizeof all, &all), 0);
	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &one);
	ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
	ck_assert_uint_eq(tool_processors(), 1);
	sched_setaffinity(0, sizeof all, &all);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ordered");
	TCase *ordered = fixture_case(suite, "ordered");

	tcase_add_loop_test(ordered, all_items, 0, N_SHAPES);
	tcase_add_loop_test(ordered, lowest_failure, 0, N_SHAPES);
	tcase_add_loop_test(ordered, failure_of_taking, 0, N_SHAPES);
	tcase_add_test(ordered, processors);
	return fixture_main(suite);
}
