/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/fixture.h"
#include "tools/common/guarded.h"

/* A page of a file that has ended before it. */
static volatile const char *gone;
static int fd = -1;

static void setup(void)
{
	fd = memfd_create("gone", MFD_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	gone = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne((void *)(uintptr_t)gone, MAP_FAILED);
}

static void teardown(void)
{
	munmap((void *)(uintptr_t)gone, 4096);
	close(fd);
}

static void touch(void *context)
{
	*(char *)context = *gone;
}

static void count(void *context)
{
	++*(int *)context;
}

static void *touch_often(void *argument)
{
	char got;

	(void)argument;
	for (int i = 0; i < 1000; i++)
		ck_assert(!tool_guarded(touch, &got));
	return NULL;
}

START_TEST(gone_and_there)
{
	pthread_t threads[4];
	char got = 'x';
	int n = 0;

	ck_assert(tool_guard_begin());
	ck_assert(tool_guarded(count, &n));
	ck_assert_int_eq(n, 1);
	for (int i = 0; i < 3; i++)
		ck_assert(!tool_guarded(touch, &got));
	ck_assert_int_eq(got, 'x');
	for (size_t i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, touch_often, NULL), 0);
	for (size_t i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	ck_assert_int_eq(ftruncate(fd, 4096), 0);
	ck_assert(tool_guarded(touch, &got));
	ck_assert_int_eq(got, 0);
	tool_guard_end();
}
END_TEST

static void end_with(int number)
{
	_exit(number == SIGBUS ? 42 : 43);
}

/* What is not guarded has the effect that it had before: before, between and after guarded reads. */
START_TEST(outside)
{
	pid_t child = fork();
	int status;
	char got;

	if (child == 0) {
		signal(SIGBUS, end_with);
		if (_i > 0 && !tool_guard_begin())
			_exit(1);
		if (_i > 0 && tool_guarded(touch, &got))
			_exit(2);
		if (_i > 1)
			tool_guard_end();
		touch(&got);
		_exit(3);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 42);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("guarded");
	TCase *guarded = fixture_case(suite, "guarded");

	tcase_add_checked_fixture(guarded, setup, teardown);
	tcase_add_test(guarded, gone_and_there);
	tcase_add_loop_test(guarded, outside, 0, 3);
	return fixture_main(suite);
}
