/* SPDX-License-Identifier: MIT */
#include "daemon/notify.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/fixture.h"

static void expect(int manager, const char *text)
{
	char got[128] = "";

	ck_assert_int_eq(recv(manager, got, sizeof got - 1, MSG_DONTWAIT), (int)strlen(text));
	ck_assert_str_eq(got, text);
}

static int bind_manager(const struct sockaddr_un *address, size_t bytes)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (const struct sockaddr *)address, (socklen_t)bytes), 0);
	return fd;
}

START_TEST(a_path_and_an_abstract_name)
{
	static const char name[] = "gpt2d-test-notify";
	char *folder = fixture_folder_new();
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct gd_notify notify;
	int manager;

	snprintf(address.sun_path, sizeof address.sun_path, "%s/n", folder);
	manager = bind_manager(&address, sizeof address);
	ck_assert_int_eq(gd_notify_init(&notify, address.sun_path, NULL), GW_OK);
	ck_assert(gd_notify_send(&notify, "READY=1"));
	expect(manager, "READY=1");
	close(manager);
	ck_assert(!gd_notify_send(&notify, "READY=1")); /* nobody is there any more */
	gd_notify_deinit(&notify);
	fixture_folder_free(folder);

	memset(&address.sun_path, 0, sizeof address.sun_path);
	memcpy(address.sun_path + 1, name, strlen(name));
	manager = bind_manager(&address,
			       offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
	ck_assert_int_eq(gd_notify_init(&notify, "@gpt2d-test-notify", NULL), GW_OK);
	ck_assert(gd_notify_send(&notify, "STATUS=x"));
	expect(manager, "STATUS=x");
	/* a manager that does not read is not waited for */
	while (gd_notify_send(&notify, "WATCHDOG=1"))
		;
	close(manager);
	gd_notify_deinit(&notify);
}
END_TEST

START_TEST(hostile_addresses)
{
	struct gd_notify notify;
	char longest[110];

	ck_assert_int_eq(gd_notify_init(&notify, NULL, NULL), GW_OK);
	ck_assert_int_eq(notify.fd, -1);
	ck_assert(gd_notify_send(&notify, "READY=1"));
	memset(longest, 'x', sizeof longest);
	for (size_t i = 0; i < 2; i++) {
		size_t most = i ? 108 : 107; /* an abstract name ends without a NUL */

		longest[0] = i ? '@' : '/';
		longest[most + 1] = '\0';
		ck_assert_int_eq(gd_notify_init(&notify, longest, NULL), GD_NOTIFY_NO_ADDRESS);
		ck_assert_int_eq(notify.fd, -1);
		longest[most] = '\0';
		ck_assert_int_eq(gd_notify_init(&notify, longest, NULL), GW_OK);
		ck_assert(!gd_notify_send(&notify, "READY=1"));
		gd_notify_deinit(&notify);
		longest[most] = longest[most + 1] = 'x';
	}
	ck_assert_int_eq(gd_notify_init(&notify, "", NULL), GD_NOTIFY_NO_ADDRESS);
	ck_assert_int_eq(gd_notify_init(&notify, "/", NULL), GD_NOTIFY_NO_ADDRESS);
	ck_assert_int_eq(gd_notify_init(&notify, "@", NULL), GD_NOTIFY_NO_ADDRESS);
	ck_assert_int_eq(gd_notify_init(&notify, "run/notify", NULL), GD_NOTIFY_NO_ADDRESS);
	ck_assert_int_eq(gd_notify_init(&notify, "vsock:2:1234", NULL), GD_NOTIFY_NO_ADDRESS);
}
END_TEST

START_TEST(watchdogs)
{
	static const struct {
		const char *usec, *pid;
		uint64_t expected;
	} cases[] = {
		{ NULL, NULL, 0 },	   { "3000000", NULL, 3000000 }, { "3000000", "42", 3000000 },
		{ "3000000", "43", 0 },	   { "3000000", "", 0 },	 { "3000000", "-42", 0 },
		{ "", NULL, 0 },	   { "-1", NULL, 0 },		 { " 5000", NULL, 0 },
		{ "5000us", NULL, 0 },	   { "0", NULL, 0 },		 { "3", NULL, 0 },
		{ "4", NULL, 4 },	   { "18446744073709551616", NULL, 0 },
		{ "9223372036854775807", NULL, 0 },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		ck_assert_uint_eq(gd_notify_watchdog_us(cases[i].usec, cases[i].pid, 42),
				  cases[i].expected);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("notify");
	TCase *tcase = fixture_case(suite, "notify");

	tcase_add_test(tcase, a_path_and_an_abstract_name);
	tcase_add_test(tcase, hostile_addresses);
	tcase_add_test(tcase, watchdogs);
	return fixture_main(suite);
}
