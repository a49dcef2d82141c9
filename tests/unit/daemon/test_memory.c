/* SPDX-License-Identifier: MIT */
#include "daemon/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/fixture.h"

static char *root;

static void setup(void)
{
	root = fixture_folder_new();
}

static void teardown(void)
{
	fixture_folder_free(root);
}

/* A file below root, with the folders that lead to it. */
static void put(const char *path, const char *text)
{
	char full[4096];

	snprintf(full, sizeof full, "%s%s", root, path);
	for (char *slash = full + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(full, 0755);
		*slash = '/';
	}
	fixture_write(full, text, strlen(text));
}

START_TEST(nothing_to_read)
{
	ck_assert_uint_eq(gd_memory_limit(root), UINT64_MAX);
}
END_TEST

START_TEST(a_share_of_the_machine)
{
	put("/proc/meminfo", "MemFree: 7 kB\nMemTotal:      1000 kB\nMemTotal: 5 kB\n");
	ck_assert_uint_eq(gd_memory_limit(root), 1000 * 1024 / 100 * 75);
	put("/proc/self/cgroup", "0::/\n");
	ck_assert_uint_eq(gd_memory_limit(root), 1000 * 1024 / 100 * 75);
	put("/sys/fs/cgroup/memory.max", "max\n");
	ck_assert_uint_eq(gd_memory_limit(root), 1000 * 1024 / 100 * 75);
}
END_TEST

START_TEST(the_lowest_of_the_groups)
{
	put("/proc/meminfo", "MemTotal: 1000000 kB\n");
	put("/proc/self/cgroup", "0::/system.slice/gpt2d.service\n");
	put("/sys/fs/cgroup/system.slice/gpt2d.service/memory.max", "max\n");
	put("/sys/fs/cgroup/system.slice/memory.max", "500000\n");
	ck_assert_uint_eq(gd_memory_limit(root), 500000);
	put("/sys/fs/cgroup/system.slice/gpt2d.service/memory.max", "400000\n");
	ck_assert_uint_eq(gd_memory_limit(root), 400000);
	put("/sys/fs/cgroup/memory.max", "300000\n");
	ck_assert_uint_eq(gd_memory_limit(root), 300000);
	/* version 1 says a number that no machine has where there is no limit */
	put("/proc/self/cgroup", "x\n5:cpu:/a\n4:memory:/a\n");
	put("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n");
	ck_assert_uint_eq(gd_memory_limit(root), UINT64_C(1000000) * 1024 / 100 * 75);
	put("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "200000\n");
	ck_assert_uint_eq(gd_memory_limit(root), 200000);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("memory");
	TCase *tcase = fixture_case(suite, "memory");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, nothing_to_read);
	tcase_add_test(tcase, a_share_of_the_machine);
	tcase_add_test(tcase, the_lowest_of_the_groups);
	return fixture_main(suite);
}
