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

/* Fault 29: a memory control group smaller than the tables. */
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

static struct gw_error error;

static void refuse(uint64_t bytes, const char *who)
{
	error = (struct gw_error)GW_ERROR_INIT;
	ck_assert_code(error, gd_memory_check(root, bytes, &error), GW_E_MEMORY);
	ck_assert_str_eq(error.message, who);
}

START_TEST(what_the_machine_has_left)
{
	ck_assert_code(error, gd_memory_check(root, UINT64_MAX, &error), GW_OK);
	put("/proc/meminfo", "MemTotal:      1000 kB\nMemAvailable:     10 kB\n");
	ck_assert_code(error, gd_memory_check(root, 10240, &error), GW_OK);
	refuse(10241, "no memory for an image of 10241 bytes: the machine has 10240 left");
	put("/proc/self/cgroup", "0::/\n");
	put("/sys/fs/cgroup/memory.max", "max\n");
	refuse(10241, "no memory for an image of 10241 bytes: the machine has 10240 left");
}
END_TEST

START_TEST(what_the_groups_have_left)
{
	put("/proc/meminfo", "MemAvailable: 10 kB\n");
	put("/proc/self/cgroup", "0::/a/b\n");
	put("/sys/fs/cgroup/a/b/memory.max", "9000\n");
	refuse(9001, "no memory for an image of 9001 bytes: the control group has 9000 left");
	put("/sys/fs/cgroup/a/b/memory.current", "2000\n");
	refuse(7001, "no memory for an image of 7001 bytes: the control group has 7000 left");
	/* files give way, but no more than there is */
	put("/sys/fs/cgroup/a/b/memory.stat", "file 7\ninactive_file 300\nactive_file 200\nx 1\n");
	ck_assert_code(error, gd_memory_check(root, 7500, &error), GW_OK);
	refuse(7501, "no memory for an image of 7501 bytes: the control group has 7500 left");
	put("/sys/fs/cgroup/a/b/memory.stat", "inactive_file 30000\n");
	refuse(9001, "no memory for an image of 9001 bytes: the control group has 9000 left");
	/* the group above is shared with others */
	put("/sys/fs/cgroup/a/memory.max", "50000\n");
	put("/sys/fs/cgroup/a/memory.current", "49000\n");
	ck_assert_code(error, gd_memory_check(root, 1000, &error), GW_OK);
	refuse(1001, "no memory for an image of 1001 bytes: the control group has 1000 left");
	put("/sys/fs/cgroup/a/memory.current", "60000\n");
	refuse(1, "no memory for an image of 1 bytes: the control group has 0 left");
	/* version 1 */
	put("/proc/self/cgroup", "4:cpu,memory:/a\n4:memory:/c\n");
	put("/sys/fs/cgroup/memory/c/memory.limit_in_bytes", "3000\n");
	put("/sys/fs/cgroup/memory/c/memory.usage_in_bytes", "1000\n");
	put("/sys/fs/cgroup/memory/c/memory.stat", "inactive_file 1\ntotal_inactive_file 400\n");
	refuse(2401, "no memory for an image of 2401 bytes: the control group has 2400 left");
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
	tcase_add_test(tcase, what_the_machine_has_left);
	tcase_add_test(tcase, what_the_groups_have_left);
	return fixture_main(suite);
}
