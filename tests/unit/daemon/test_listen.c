/* SPDX-License-Identifier: MIT */
#include "daemon/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "format/endpoint.h"
#include "tests/support/fixture.h"

static char *folder;
static char path[WIRE_SOCKET_PATH_BYTES], lock[WIRE_SOCKET_PATH_BYTES + 8];
static struct gw_error error;

static void setup(void)
{
	folder = fixture_folder_new();
	snprintf(path, sizeof path, "%s/s", folder);
	snprintf(lock, sizeof lock, "%s.lock", path);
	error = (struct gw_error)GW_ERROR_INIT;
}

static void teardown(void)
{
	fixture_folder_free(folder);
}

static int open_listener(struct gd_listener *listener)
{
	return gd_listener_init(listener, path, 0640, GD_KEEP_GROUP, &error);
}

static void refuse(int expected)
{
	struct gd_listener listener;

	ck_assert_code(error, open_listener(&listener), expected);
	ck_assert_int_eq(listener.fd, -1);
	ck_assert_int_eq(listener.lock_fd, -1);
}

static int plain_socket(int type, bool listening)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path, path, sizeof address.sun_path);
	ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
	if (listening)
		ck_assert_int_eq(listen(fd, 1), 0);
	return fd;
}

START_TEST(it_listens_and_cleans_up)
{
	struct gd_listener listener;
	struct stat status;
	int fd;

	umask(0);
	ck_assert_code(error, open_listener(&listener), GW_OK);
	ck_assert_int_eq(umask(022), 0); /* as it was */
	ck_assert_int_eq(stat(path, &status), 0);
	ck_assert(S_ISSOCK(status.st_mode));
	ck_assert_int_eq(status.st_mode & 07777, 0640);
	ck_assert_code(error, wire_connect(path, wire_now_ms() + 60000, &fd, &error), GW_OK);
	close(fd);
	ck_assert_int_eq(fixture_count_files(folder), 2);
	gd_listener_deinit(&listener);
	ck_assert_int_eq(fixture_count_files(folder), 0);
	gd_listener_deinit(&listener);
}
END_TEST

START_TEST(the_group_is_given)
{
	struct gd_listener listener;
	struct stat status;

	if (getuid() == 0) {
		ck_assert_code(error, gd_listener_init(&listener, path, 0660, 54321, &error),
			       GW_OK);
		ck_assert_int_eq(stat(path, &status), 0);
		ck_assert_uint_eq(status.st_gid, 54321);
		ck_assert_int_eq(status.st_mode & 07777, 0660);
		gd_listener_deinit(&listener);
		ck_assert_int_eq(seteuid(65534) | chdir("/"), 0);
		/* not ours to give; nothing is left behind */
		ck_assert_code(error, gd_listener_init(&listener, path, 0660, 54321, &error),
			       GW_E_IO);
		ck_assert_int_eq(seteuid(0), 0);
		ck_assert_int_eq(chmod(folder, 0777) | seteuid(65534), 0);
		ck_assert_code(error, gd_listener_init(&listener, path, 0660, 54321, &error),
			       GW_E_IO);
		ck_assert_int_eq(error.sys_errno, EPERM);
		ck_assert_int_eq(seteuid(0), 0);
		ck_assert_int_eq(fixture_count_files(folder), 0);
	}
}
END_TEST

START_TEST(a_stale_socket_is_taken_over)
{
	struct gd_listener listener;

	close(plain_socket(SOCK_SEQPACKET, true));
	fixture_write(lock, "", 0); /* a lock file that nobody holds is stale too */
	ck_assert_code(error, open_listener(&listener), GW_OK);
	gd_listener_deinit(&listener);
	ck_assert_int_eq(fixture_count_files(folder), 0);
}
END_TEST

START_TEST(a_living_daemon_keeps_its_socket)
{
	struct gd_listener listener;
	struct stat before, after;
	int fd;

	ck_assert_code(error, open_listener(&listener), GW_OK);
	ck_assert_int_eq(stat(path, &before), 0);
	refuse(GW_E_EXISTS);
	ck_assert_ptr_nonnull(strstr(error.message, "another gpt2d"));
	ck_assert_int_eq(stat(path, &after), 0);
	ck_assert_uint_eq(before.st_ino, after.st_ino);
	ck_assert_code(error, wire_connect(path, wire_now_ms() + 60000, &fd, &error), GW_OK);
	close(fd);
	gd_listener_deinit(&listener);
}
END_TEST

START_TEST(another_programs_socket_is_left_alone)
{
	const int types[] = { SOCK_SEQPACKET, SOCK_STREAM };

	for (size_t i = 0; i < 2; i++) {
		int fd = plain_socket(types[i], true);

		refuse(GW_E_EXISTS);
		ck_assert_int_eq(access(path, F_OK), 0);
		ck_assert_int_ne(access(lock, F_OK), 0);
		close(fd);
		unlink(path);
	}
}
END_TEST

START_TEST(a_file_is_left_alone)
{
	fixture_write(path, "mine", 4);
	refuse(GW_E_EXISTS);
	ck_assert_int_eq(access(path, F_OK), 0);
	unlink(path);
	ck_assert_int_eq(symlink("elsewhere", path), 0);
	refuse(GW_E_EXISTS);
	ck_assert_int_eq(unlink(path), 0);
	/* nor is a link at the lock's name followed */
	ck_assert_int_eq(symlink("elsewhere", lock), 0);
	refuse(GW_E_IO);
	ck_assert_int_eq(fixture_count_files(folder), 1);
}
END_TEST

START_TEST(what_came_after_us_is_not_removed)
{
	struct gd_listener listener;
	int fd;

	ck_assert_code(error, open_listener(&listener), GW_OK);
	/* moved, not removed: its inode must not come back for the other */
	ck_assert_int_eq(rename(path, fixture_path(folder, "moved")), 0);
	fd = plain_socket(SOCK_SEQPACKET, true);
	gd_listener_deinit(&listener);
	ck_assert_int_eq(access(path, F_OK), 0);
	ck_assert_int_ne(access(lock, F_OK), 0);
	close(fd);
}
END_TEST

START_TEST(places_that_cannot_be)
{
	struct gd_listener listener;
	char longer[200];

	memset(longer, 'x', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	ck_assert_code(error, gd_listener_init(&listener, longer, 0600, GD_KEEP_GROUP, &error),
		       GW_E_PATH);
	ck_assert_code(error, gd_listener_init(&listener, "", 0600, GD_KEEP_GROUP, &error),
		       GW_E_PATH);
	snprintf(path, sizeof path, "%s/none/s", folder);
	refuse(GW_E_IO);
	ck_assert_int_eq(error.sys_errno, ENOENT);
}
END_TEST

START_TEST(a_passed_socket_is_adopted)
{
	struct gd_listener listener;
	int fd = plain_socket(SOCK_SEQPACKET, true), client;

	ck_assert_code(error, gd_listener_adopt(&listener, fd, &error), GW_OK);
	ck_assert_int_eq(listener.fd, fd);
	ck_assert_int_eq(listener.lock_fd, -1);
	ck_assert_str_eq(listener.path, path);
	ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_code(error, wire_connect(path, wire_now_ms() + 60000, &client, &error), GW_OK);
	close(client);
	gd_listener_deinit(&listener);
	ck_assert_int_eq(access(path, F_OK), 0); /* the manager's */
}
END_TEST

static void refuse_passed(int fd)
{
	struct gd_listener listener = { .fd = -1 };

	ck_assert_code(error, gd_listener_adopt(&listener, fd, &error), GW_E_PATH);
	ck_assert_int_eq(listener.fd, -1);
	ck_assert_int_eq(close(fd), 0); /* still ours */
	unlink(path);
}

START_TEST(other_passed_descriptors_are_refused)
{
	struct sockaddr_un abstract = { .sun_family = AF_UNIX, .sun_path = "\0gpt2d-test-abstract" };
	int pair[2], fd;

	refuse_passed(plain_socket(SOCK_STREAM, true));
	refuse_passed(plain_socket(SOCK_SEQPACKET, false));
	refuse_passed(plain_socket(SOCK_DGRAM, false));
	refuse_passed(open("/dev/null", O_RDONLY | O_CLOEXEC));
	refuse_passed(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	refuse_passed(pair[0]);
	refuse_passed(pair[1]);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(fd, (const struct sockaddr *)&abstract, sizeof abstract), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	refuse_passed(fd);
	ck_assert_code(error, gd_listener_adopt(&(struct gd_listener){ .fd = -1 }, -1, &error),
		       GW_E_PATH);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("listen");
	TCase *tcase = fixture_case(suite, "listen");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, it_listens_and_cleans_up);
	tcase_add_test(tcase, the_group_is_given);
	tcase_add_test(tcase, a_stale_socket_is_taken_over);
	tcase_add_test(tcase, a_living_daemon_keeps_its_socket);
	tcase_add_test(tcase, another_programs_socket_is_left_alone);
	tcase_add_test(tcase, a_file_is_left_alone);
	tcase_add_test(tcase, what_came_after_us_is_not_removed);
	tcase_add_test(tcase, places_that_cannot_be);
	tcase_add_test(tcase, a_passed_socket_is_adopted);
	tcase_add_test(tcase, other_passed_descriptors_are_refused);
	return fixture_main(suite);
}
