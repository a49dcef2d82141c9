/* SPDX-License-Identifier: MIT */
#include "daemon/quota.h"

#include <string.h>

#include "tests/support/fixture.h"

START_TEST(users_and_totals_are_counted)
{
	struct gd_quota quota = { .limits = { .max_connections = 5,
					      .max_connections_per_user = 3 } };
	struct gd_user *one[3], *two[2], *over;
	const char *reason = NULL;

	for (int i = 0; i < 3; i++)
		one[i] = gd_quota_connect(&quota, 1000, &reason);
	ck_assert_ptr_nonnull(one[0]);
	ck_assert_ptr_eq(one[0], one[2]);
	ck_assert_ptr_null(reason);
	over = gd_quota_connect(&quota, 1000, &reason);
	ck_assert_ptr_null(over);
	ck_assert_ptr_nonnull(strstr(reason, "this user"));
	for (int i = 0; i < 2; i++)
		two[i] = gd_quota_connect(&quota, 0, &reason);
	ck_assert_ptr_nonnull(two[1]);
	ck_assert_ptr_ne(two[1], one[0]);
	over = gd_quota_connect(&quota, 7, &reason);
	ck_assert_ptr_null(over);
	ck_assert_ptr_nonnull(strstr(reason, "the daemon"));
	ck_assert_uint_eq(quota.connections, 5);

	/* a place that is given back can be taken, by that user and by another */
	gd_quota_disconnect(&quota, one[0]);
	ck_assert_ptr_eq(gd_quota_connect(&quota, 1000, &reason), one[0]);
	for (int i = 0; i < 3; i++)
		gd_quota_disconnect(&quota, one[0]);
	ck_assert_ptr_eq(quota.users, two[0]);
	ck_assert_ptr_null(two[0]->next);
	gd_quota_disconnect(&quota, two[0]);
	gd_quota_disconnect(&quota, two[0]);
	ck_assert_ptr_null(quota.users);
	ck_assert_uint_eq(quota.connections, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("quota");

	tcase_add_test(fixture_case(suite, "quota"), users_and_totals_are_counted);
	return fixture_main(suite);
}
