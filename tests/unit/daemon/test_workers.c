/* SPDX-License-Identifier: MIT */
#include "daemon/workers.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/fixture.h"

#define PARTS 1000

struct job {
	_Atomic unsigned calls[PARTS];
	_Atomic unsigned total;
	uint64_t fail_from, fail_every; /* 0: never */
	uint64_t cancel_at;
	atomic_bool cancel;
	uint64_t buffer_bytes;
	atomic_bool misaligned;
};

static int part(void *context, uint64_t index, uint8_t *buffer, struct gw_error *error)
{
	struct job *job = context;

	job->calls[index]++;
	job->total++;
	memset(buffer, (int)index, job->buffer_bytes);
	if ((uintptr_t)buffer % 64)
		job->misaligned = true;
	if (job->cancel_at && index == job->cancel_at)
		job->cancel = true;
	if (job->fail_every && index >= job->fail_from && index % job->fail_every == 0)
		return gw_fail(error, GW_E_BLOCK_DIGEST, index, "part %u", (unsigned)index);
	return GW_OK;
}

static struct gw_error error;

static int run(struct job *job, uint64_t count)
{
	error = (struct gw_error)GW_ERROR_INIT;
	return gd_workers_run(count, job->buffer_bytes, part, job, &job->cancel, &error);
}

START_TEST(each_part_is_done_once)
{
	const uint64_t counts[] = { 0, 1, 2, 17, PARTS };

	for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
		struct job job = { .buffer_bytes = 100 };

		ck_assert_code(error, run(&job, counts[i]), GW_OK);
		ck_assert_uint_eq(job.total, counts[i]);
		for (uint64_t k = 0; k < counts[i]; k++)
			ck_assert_uint_eq(job.calls[k], 1);
		ck_assert(!job.misaligned);
	}
}
END_TEST

/* Parts are handed out in order, so whatever the threads do the first bad one is always tried. */
START_TEST(the_lowest_failure_is_told)
{
	for (int round = 0; round < 200; round++) {
		struct job job = { .buffer_bytes = 64, .fail_from = 300, .fail_every = 1 };

		ck_assert_code(error, run(&job, PARTS), GW_E_BLOCK_DIGEST);
		ck_assert_uint_eq(error.offset, 300);
		ck_assert_str_eq(error.message, "part 300");
		ck_assert_uint_lt(job.total, PARTS);
	}
}
END_TEST

START_TEST(cancel_ends_it)
{
	struct job job = { .buffer_bytes = 64, .cancel_at = 5 };

	ck_assert_code(error, run(&job, PARTS), GW_E_CLOSED);
	ck_assert_uint_lt(job.total, PARTS);
	job.total = 0;
	ck_assert_code(error, run(&job, PARTS), GW_E_CLOSED);
	ck_assert_uint_eq(job.total, 0);
}
END_TEST

START_TEST(no_error_is_wanted)
{
	struct job job = { .buffer_bytes = 64, .fail_every = 1 };

	ck_assert_int_eq(gd_workers_run(3, 64, part, &job, &job.cancel, NULL), GW_E_BLOCK_DIGEST);
}
END_TEST

/* The sanitizers' allocators end the program where malloc returns NULL. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ALLOCATIONS_FAIL 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define ALLOCATIONS_FAIL 0
#endif
#endif
#ifndef ALLOCATIONS_FAIL
#define ALLOCATIONS_FAIL 1
#endif

START_TEST(no_memory_for_buffers)
{
	struct job job = { .buffer_bytes = UINT64_C(1) << 62 };

	ck_assert_code(error, run(&job, 4), GW_E_MEMORY);
	ck_assert_uint_eq(job.total, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("workers");
	TCase *tcase = fixture_case(suite, "workers");

	tcase_add_test(tcase, each_part_is_done_once);
	tcase_add_test(tcase, the_lowest_failure_is_told);
	tcase_add_test(tcase, cancel_ends_it);
	tcase_add_test(tcase, no_error_is_wanted);
	if (ALLOCATIONS_FAIL)
		tcase_add_test(tcase, no_memory_for_buffers);
	return fixture_main(suite);
}
