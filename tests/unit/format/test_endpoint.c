/* SPDX-License-Identifier: MIT */
#include "format/endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/fixture.h"

static int pair[2];
static struct gw_error error;

static void setup(void)
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	error = (struct gw_error)GW_ERROR_INIT;
}

static void teardown(void)
{
	for (int i = 0; i < 2; i++)
		if (pair[i] >= 0)
			close(pair[i]);
}

static struct wire_message news(void)
{
	return (struct wire_message) { .type = WIRE_NEWS, .news = { 5, 6 } };
}

/* Sends a NEWS with n copies of a descriptor, which wire_send would not. */
static void send_fds(int fd, int n)
{
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(WIRE_MAX_FDS * sizeof(int))] = { 0 };
	uint8_t bytes[WIRE_MAX_MESSAGE_BYTES];
	struct wire_message message = news();
	struct iovec part = { bytes, wire_encode(&message, bytes) };
	struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1 };

	if (n) {
		struct cmsghdr *rights;

		header.msg_control = control;
		header.msg_controllen = CMSG_SPACE((size_t)n * sizeof(int));
		rights = CMSG_FIRSTHDR(&header);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN((size_t)n * sizeof(int));
		for (int i = 0; i < n; i++)
			memcpy(CMSG_DATA(rights) + (size_t)i * sizeof(int), &fd, sizeof fd);
	}
	ck_assert_int_eq(sendmsg(pair[0], &header, 0), (ssize_t)part.iov_len);
}

/* Receives; fails with code, leaving the outputs alone and no descriptor open. */
static void refuse(size_t max_fds, int code, size_t foreign)
{
	struct wire_message out, before;
	int fds[2] = { -7, -7 }, n_open = fixture_count_fds();
	size_t n_fds = 99, counted = 1000;

	memset(&out, 0x5a, sizeof out);
	memcpy(&before, &out, sizeof out);
	ck_assert_code(error,
		       wire_receive(pair[1], &out, fds, max_fds, &n_fds, &counted, 0, &error),
		       code);
	ck_assert_mem_eq(&out, &before, sizeof out);
	ck_assert_int_eq(fds[0], -7);
	ck_assert_uint_eq(n_fds, 99);
	ck_assert_uint_eq(counted, 1000 + foreign);
	ck_assert_int_eq(fixture_count_fds(), n_open);
}

START_TEST(messages_carry_their_descriptors)
{
	struct wire_message message = news(), out;
	int files[2] = { open("/dev/null", O_RDONLY | O_CLOEXEC),
			 open("/dev/zero", O_RDONLY | O_CLOEXEC) };

	for (size_t n = 0; n <= 2; n++) {
		int fds[2] = { -1, -1 };
		size_t n_fds = 99, foreign = 0;

		ck_assert_code(error, wire_send(pair[0], &message, files, n, 0, &error), GW_OK);
		ck_assert_code(error,
			       wire_receive(pair[1], &out, fds, 2, &n_fds, &foreign,
					    wire_now_ms() + 60000, &error),
			       GW_OK);
		ck_assert_uint_eq(n_fds, n);
		ck_assert_uint_eq(foreign, 0);
		ck_assert_uint_eq(out.type, WIRE_NEWS);
		ck_assert_uint_eq(out.news.generation, 5);
		for (size_t i = 0; i < n; i++) {
			struct stat sent, received;

			ck_assert_int_eq(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
			ck_assert_int_eq(fstat(files[i], &sent) | fstat(fds[i], &received), 0);
			ck_assert_uint_eq(sent.st_rdev, received.st_rdev);
			close(fds[i]);
		}
	}
	close(files[0]);
	close(files[1]);
}
END_TEST

START_TEST(too_many_to_send)
{
	struct wire_message message = news(), out;
	int fds[3] = { 0, 0, 0 };
	size_t n_fds;

	ck_assert_code(error, wire_send(pair[0], &message, fds, 3, 0, &error), GW_E_ARGUMENT);
	ck_assert_code(error, wire_receive(pair[1], &out, fds, 3, &n_fds, NULL, 0, &error),
		       GW_E_ARGUMENT);
	/* nothing went */
	refuse(2, GW_E_TIMEOUT, 0);
}
END_TEST

START_TEST(any_number_of_foreign_descriptors_is_closed)
{
	for (int n = 1; n <= WIRE_MAX_FDS; n++) {
		for (size_t room = 0; room <= 2 && room < (size_t)n; room++) {
			send_fds(0, n);
			refuse(room, GW_E_WIRE_FDS, (size_t)n);
		}
	}
}
END_TEST

START_TEST(a_full_descriptor_table)
{
	struct rlimit before, limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	for (int n = 2; n <= WIRE_MAX_FDS; n += 83) {
		int n_open = fixture_count_fds(), next = dup(0);
		struct wire_message out;
		size_t n_fds = 99, foreign = 0;
		int fds[2] = { -7, -7 };

		close(next);
		limit = (struct rlimit) { (rlim_t)next + 1, before.rlim_max };
		send_fds(0, n);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
		ck_assert_code(error,
			       wire_receive(pair[1], &out, fds, 2, &n_fds, &foreign, 0, &error),
			       GW_E_WIRE_FDS);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
		/* one fitted, and was closed */
		ck_assert_uint_eq(foreign, 1);
		ck_assert_int_eq(fds[0], -7);
		ck_assert_int_eq(fixture_count_fds(), n_open);
	}
}
END_TEST

START_TEST(refused_messages_keep_no_descriptor)
{
	struct wire_message message = news();
	uint8_t bytes[WIRE_MAX_MESSAGE_BYTES + 1] = { 0 };
	uint32_t n = wire_encode(&message, bytes);

	bytes[0] ^= 1;
	ck_assert_int_eq(send(pair[0], bytes, n, 0), n);
	refuse(2, GW_E_WIRE_MAGIC, 0);
	bytes[0] ^= 1;
	ck_assert_int_eq(send(pair[0], bytes, n - 1, 0), n - 1);
	refuse(2, GW_E_WIRE_LENGTH, 0);
	ck_assert_int_eq(send(pair[0], bytes, sizeof bytes, 0), sizeof bytes);
	refuse(2, GW_E_WIRE_LENGTH, 0);
	ck_assert_int_eq(send(pair[0], bytes, 1, 0), 1);
	refuse(2, GW_E_WIRE_LENGTH, 0);
}
END_TEST

START_TEST(descriptors_of_a_bad_message_are_closed)
{
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(2 * sizeof(int))] = { 0 };
	struct iovec part = { (void *)(uintptr_t) "garbage of some bytes", 21 };
	struct msghdr header = { .msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof control };
	struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
	const int fds[2] = { 0, 0 };

	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(sizeof fds);
	memcpy(CMSG_DATA(rights), fds, sizeof fds);
	ck_assert_int_eq(sendmsg(pair[0], &header, 0), 21);
	refuse(2, GW_E_WIRE_MAGIC, 2);
}
END_TEST

START_TEST(a_silent_peer_is_not_waited_for)
{
	struct wire_message message = news();
	int sent = 0, r;

	refuse(2, GW_E_TIMEOUT, 0);
	/* a buffer that fills up */
	while ((r = wire_send(pair[0], &message, NULL, 0, 0, &error)) == GW_OK)
		ck_assert_int_lt(sent++, 1000000);
	ck_assert_int_eq(r, GW_E_TIMEOUT);
	ck_assert_int_gt(sent, 0);
	ck_assert_code(error, wire_send(pair[0], &message, NULL, 0, wire_now_ms() + 20, &error),
		       GW_E_TIMEOUT);
	ck_assert_code(error, wire_send(pair[0], &message, NULL, 0, 1, &error), GW_E_TIMEOUT);
}
END_TEST

START_TEST(waiting_ends_at_the_deadline)
{
	struct wire_message out;
	int fds[2];
	size_t n_fds;

	ck_assert_code(error,
		       wire_receive(pair[1], &out, fds, 2, &n_fds, NULL, wire_now_ms() + 20,
				    &error),
		       GW_E_TIMEOUT);
}
END_TEST

START_TEST(a_message_that_comes_while_waiting)
{
	struct wire_message message = news(), out;
	int fds[2], status;
	size_t n_fds;
	pid_t child = fork();

	if (child == 0) {
		usleep(20000);
		_exit(wire_send(pair[0], &message, NULL, 0, 0, NULL) != GW_OK);
	}
	ck_assert_code(error,
		       wire_receive(pair[1], &out, fds, 2, &n_fds, NULL, wire_now_ms() + 60000,
				    &error),
		       GW_OK);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(closed_peers)
{
	struct wire_message message = news();

	ck_assert_code(error, wire_send(pair[0], &message, NULL, 0, 0, &error), GW_OK);
	close(pair[0]);
	pair[0] = -1;
	/* what was sent before is still read */
	{
		struct wire_message out;
		int fds[2];
		size_t n_fds;

		ck_assert_code(error, wire_receive(pair[1], &out, fds, 2, &n_fds, NULL, 0, &error),
			       GW_OK);
	}
	refuse(2, GW_E_CLOSED, 0);
	refuse(2, GW_E_CLOSED, 0);
	/* no SIGPIPE */
	ck_assert_code(error, wire_send(pair[1], &message, NULL, 0, 0, &error), GW_E_CLOSED);
}
END_TEST

START_TEST(not_a_socket)
{
	struct wire_message message = news(), out;
	int fds[2], fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	size_t n_fds;

	ck_assert_code(error, wire_send(fd, &message, NULL, 0, 0, &error), GW_E_IO);
	ck_assert_int_eq(error.sys_errno, ENOTSOCK);
	ck_assert_code(error, wire_receive(fd, &out, fds, 2, &n_fds, NULL, 0, &error), GW_E_IO);
	close(fd);
}
END_TEST

static void expect_path(const char *path, const char *expected)
{
	char out[WIRE_SOCKET_PATH_BYTES];

	ck_assert_code(error, wire_socket_path(path, out, &error), GW_OK);
	ck_assert_str_eq(out, expected);
}

START_TEST(where_the_socket_is)
{
	char *folder = fixture_folder_new(), out[WIRE_SOCKET_PATH_BYTES] = "untouched", name[120];
	char *socket_path = strdup(fixture_path(folder, "gpt2d.sock"));

	unsetenv("GPT2D_SOCKET");
	unsetenv("XDG_RUNTIME_DIR");
	expect_path(NULL, "/run/gpt2d/gpt2d.sock");
	setenv("XDG_RUNTIME_DIR", folder, 1);
	expect_path(NULL, "/run/gpt2d/gpt2d.sock"); /* nothing is there yet */
	fixture_write(socket_path, "", 0);
	expect_path(NULL, socket_path);
	setenv("XDG_RUNTIME_DIR", "", 1);
	expect_path(NULL, "/run/gpt2d/gpt2d.sock");
	memset(name, 'x', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	setenv("XDG_RUNTIME_DIR", name, 1);
	expect_path(NULL, "/run/gpt2d/gpt2d.sock");
	setenv("GPT2D_SOCKET", "/from/environment", 1);
	expect_path(NULL, "/from/environment");
	expect_path("/named", "/named");
	name[107] = '\0';
	expect_path(name, name);
	name[107] = 'x';
	name[108] = '\0';
	ck_assert_code(error, wire_socket_path(name, out, &error), GW_E_PATH);
	ck_assert_code(error, wire_socket_path("", out, &error), GW_E_PATH);
	setenv("GPT2D_SOCKET", name, 1);
	ck_assert_code(error, wire_socket_path(NULL, out, &error), GW_E_PATH);
	ck_assert_ptr_nonnull(strstr(error.message, "$GPT2D_SOCKET"));
	ck_assert_str_eq(out, "untouched");
	free(socket_path);
	fixture_folder_free(folder);
}
END_TEST

START_TEST(where_the_daemon_listens)
{
	char out[WIRE_SOCKET_PATH_BYTES] = "untouched", name[120];

	setenv("XDG_RUNTIME_DIR", "/run/user/1", 1);
	if (geteuid() == 0) {
		ck_assert_code(error, wire_daemon_socket_path(out, &error), GW_OK);
		ck_assert_str_eq(out, "/run/gpt2d/gpt2d.sock");
		/* the rest as nobody; this process ends with the test */
		if (seteuid(65534) != 0)
			return;
		strcpy(out, "untouched");
	}
	unsetenv("XDG_RUNTIME_DIR");
	ck_assert_code(error, wire_daemon_socket_path(out, &error), GW_E_PATH);
	setenv("XDG_RUNTIME_DIR", "", 1);
	ck_assert_code(error, wire_daemon_socket_path(out, &error), GW_E_PATH);
	memset(name, 'x', sizeof name - 1);
	name[97] = '\0';
	setenv("XDG_RUNTIME_DIR", name, 1);
	ck_assert_code(error, wire_daemon_socket_path(out, &error), GW_E_PATH);
	ck_assert_str_eq(out, "untouched");
	setenv("XDG_RUNTIME_DIR", "/run/user/1", 1);
	ck_assert_code(error, wire_daemon_socket_path(out, &error), GW_OK);
	ck_assert_str_eq(out, "/run/user/1/gpt2d.sock");
	if (getuid() == 0)
		ck_assert_int_eq(seteuid(0), 0);
}
END_TEST

/* A listener at path, of any type. */
static int listener(const char *path, int type, int backlog)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
	ck_assert_int_eq(listen(fd, backlog), 0);
	return fd;
}

static void refuse_connect(const char *path, uint64_t deadline_ms, int code)
{
	int fd = -7;

	ck_assert_code(error, wire_connect(path, deadline_ms, &fd, &error), code);
	ck_assert_int_eq(fd, -7);
	ck_assert_int_eq(error.code, code);
}

START_TEST(connecting)
{
	char *folder = fixture_folder_new(), name[120];
	const char *path = fixture_path(folder, "s");
	uint64_t deadline_ms = wire_now_ms() + 60000;
	int server, fd = -1;

	refuse_connect(path, deadline_ms, GW_E_CONNECT);
	ck_assert_int_eq(error.sys_errno, ENOENT);
	fixture_write(path, "", 0);
	refuse_connect(path, deadline_ms, GW_E_CONNECT);
	unlink(path);
	server = listener(path, SOCK_STREAM, 1);
	refuse_connect(path, deadline_ms, GW_E_CONNECT);
	close(server);
	unlink(path);
	server = listener(path, SOCK_SEQPACKET, 1);
	ck_assert_code(error, wire_connect(path, deadline_ms, &fd, &error), GW_OK);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
	close(server);
	/* stale */
	refuse_connect(path, deadline_ms, GW_E_CONNECT);
	ck_assert_int_eq(error.sys_errno, ECONNREFUSED);
	memset(name, 'x', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	refuse_connect(name, deadline_ms, GW_E_PATH);
	name[108] = '\0';
	refuse_connect(name, deadline_ms, GW_E_PATH);
	refuse_connect("", deadline_ms, GW_E_PATH);
	name[107] = '\0';
	refuse_connect(name, deadline_ms, GW_E_CONNECT);
	fixture_folder_free(folder);
}
END_TEST

START_TEST(a_full_backlog_is_waited_for_until_the_deadline)
{
	char *folder = fixture_folder_new();
	const char *path = fixture_path(folder, "s");
	int server = listener(path, SOCK_SEQPACKET, 0), fds[8], n = 0, r;

	while (n < 8 && (r = wire_connect(path, wire_now_ms() + 20, &fds[n], &error)) == GW_OK)
		n++;
	ck_assert_int_gt(n, 0);
	ck_assert_int_eq(r, GW_E_TIMEOUT);
	refuse_connect(path, 1, GW_E_TIMEOUT);
	while (n)
		close(fds[--n]);
	close(server);
	fixture_folder_free(folder);
}
END_TEST

START_TEST(no_permission_names_the_group)
{
	char *folder = fixture_folder_new();
	const char *path = fixture_path(folder, "s");
	int server = listener(path, SOCK_SEQPACKET, 1);

	ck_assert_int_eq(chmod(folder, 0755) | chmod(path, 0660), 0);
	if (geteuid() == 0) {
		/* a login shell's root is a member of the group root too */
		ck_assert_int_eq(setgroups(0, NULL), 0);
		ck_assert_int_eq(setegid(65534) | seteuid(65534), 0);
		refuse_connect(path, wire_now_ms() + 60000, GW_E_IO);
		ck_assert_int_eq(error.sys_errno, EACCES);
		ck_assert_ptr_nonnull(strstr(error.message, "0660"));
		ck_assert_ptr_nonnull(strstr(error.message, "group, root"));
		ck_assert_int_eq(seteuid(0) | setegid(0) | chown(path, 0, 54321), 0);
		ck_assert_int_eq(setegid(65534) | seteuid(65534), 0);
		refuse_connect(path, wire_now_ms() + 60000, GW_E_IO);
		ck_assert_ptr_nonnull(strstr(error.message, "group, 54321"));
		ck_assert_int_eq(seteuid(0) | setegid(0) | chmod(folder, 0700), 0);
		ck_assert_int_eq(setegid(65534) | seteuid(65534), 0);
		/* the socket itself cannot be looked at */
		refuse_connect(path, wire_now_ms() + 60000, GW_E_IO);
		ck_assert_int_eq(seteuid(0) | setegid(0), 0);
	}
	close(server);
	fixture_folder_free(folder);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("endpoint");
	TCase *tcase = fixture_case(suite, "messages"), *paths = fixture_case(suite, "paths");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, messages_carry_their_descriptors);
	tcase_add_test(tcase, too_many_to_send);
	tcase_add_test(tcase, any_number_of_foreign_descriptors_is_closed);
	tcase_add_test(tcase, a_full_descriptor_table);
	tcase_add_test(tcase, refused_messages_keep_no_descriptor);
	tcase_add_test(tcase, descriptors_of_a_bad_message_are_closed);
	tcase_add_test(tcase, a_silent_peer_is_not_waited_for);
	tcase_add_test(tcase, waiting_ends_at_the_deadline);
	tcase_add_test(tcase, a_message_that_comes_while_waiting);
	tcase_add_test(tcase, closed_peers);
	tcase_add_test(tcase, not_a_socket);
	tcase_add_test(paths, where_the_socket_is);
	tcase_add_test(paths, where_the_daemon_listens);
	tcase_add_test(paths, connecting);
	tcase_add_test(paths, a_full_backlog_is_waited_for_until_the_deadline);
	tcase_add_test(paths, no_permission_names_the_group);
	return fixture_main(suite);
}
