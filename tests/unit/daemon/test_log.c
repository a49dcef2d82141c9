/* SPDX-License-Identifier: MIT */
/* What is logged, to a journal of the test's own and to standard error; and what is left out. */
#include "daemon/log.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/journal.h"
#include "tests/support/fixture.h"

static char *folder;
static int journal, saved_stderr;

/* Standard error is a file, and a socket stands in for the journal's. */
static void setup(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	folder = fixture_folder_new();
	snprintf(address.sun_path, sizeof address.sun_path, "%s/journal", folder);
	journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(journal, (const struct sockaddr *)&address, sizeof address), 0);
	saved_stderr = dup(STDERR_FILENO);
	fd = open(fixture_path(folder, "stderr"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	ck_assert_int_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	close(fd);
}

static void teardown(void)
{
	gd_log_close();
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	if (journal >= 0)
		close(journal);
	fixture_folder_free(folder);
}

static const char *stream_of(int fd, uint64_t add_dev, uint64_t add_ino)
{
	static char text[64];
	struct stat status;

	ck_assert_int_eq(fstat(fd, &status), 0);
	snprintf(text, sizeof text, "%" PRIu64 ":%" PRIu64, (uint64_t)status.st_dev + add_dev,
		 (uint64_t)status.st_ino + add_ino);
	return text;
}

static void open_log(const char *stream)
{
	gd_log_open(stream, fixture_path(folder, "journal"));
}

static void expect_bytes(const void *expected, size_t n)
{
	char got[GD_JOURNAL_BYTES] = "";

	ck_assert_int_eq(recv(journal, got, sizeof got, MSG_DONTWAIT), (ssize_t)n);
	ck_assert_mem_eq(got, expected, n);
}

static void expect(const char *message)
{
	expect_bytes(message, strlen(message));
}

static void expect_nothing(void)
{
	char byte;

	ck_assert_int_eq(recv(journal, &byte, 1, MSG_DONTWAIT), -1);
}

/* All that standard error has got. */
static void expect_lines(const char *lines)
{
	size_t n;
	uint8_t *got = fixture_read(fixture_path(folder, "stderr"), &n);

	ck_assert_uint_eq(n, strlen(lines));
	ck_assert_mem_eq(got, lines, n);
	free(got);
}

START_TEST(fields)
{
	open_log(stream_of(STDERR_FILENO, 0, 0));
	gd_log("%d packs", 2);
	expect("MESSAGE=2 packs\nPRIORITY=6\nSYSLOG_IDENTIFIER=gpt2d\n");
	gd_log_model(GD_EVENT_LOAD_FAILED, "m", "/p/m.gpt2w", 0, "no");
	expect("MESSAGE=no\nPRIORITY=3\nSYSLOG_IDENTIFIER=gpt2d\n"
	       "MESSAGE_ID=a4713ab571384abb981a612cb53f0d57\n"
	       "GPT2D_MODEL=m\nGPT2D_FILE=/p/m.gpt2w\n");
	gd_log_model(GD_EVENT_SERVING, "m", "/p/m.gpt2w", UINT64_MAX, "yes");
	expect("MESSAGE=yes\nPRIORITY=6\nSYSLOG_IDENTIFIER=gpt2d\n"
	       "MESSAGE_ID=b5d9e78c0b684f9abe0ff68856d89acf\n"
	       "GPT2D_MODEL=m\nGPT2D_FILE=/p/m.gpt2w\nGPT2D_GENERATION=18446744073709551615\n");
	gd_log_peer(GD_EVENT_PEER_ENDED, 0, 42, "uid %u", 0u);
	expect("MESSAGE=uid 0\nPRIORITY=4\nSYSLOG_IDENTIFIER=gpt2d\n"
	       "MESSAGE_ID=09141b2b1ff14771b4b3f39483b00b09\nGPT2D_UID=0\nGPT2D_PID=42\n");
	gd_log_peer(GD_EVENT_NONE, GD_LOG_NOBODY, 0, "who?");
	expect("MESSAGE=who?\nPRIORITY=6\nSYSLOG_IDENTIFIER=gpt2d\n");
	expect_nothing();
	expect_lines("");
}
END_TEST

START_TEST(hostile_text)
{
	static const char text[] = "a\nPRIORITY=0\n\x1b[2J\xff \xc3\xbc \\x41 \xe2\x80\xae";
	static const char quoted[] =
		"a\\x0aPRIORITY=0\\x0a\\x1b[2J\\xff \xc3\xbc \\x41 \\xe2\\x80\\xae";
	static const char begin[] = "MESSAGE=x\nPRIORITY=3\nSYSLOG_IDENTIFIER=gpt2d\n"
				    "MESSAGE_ID=a4713ab571384abb981a612cb53f0d57\n";
	static const char binary[] =
		"GPT2D_MODEL\n\x10\0\0\0\0\0\0\0m\nGPT2D_UID=1234\nGPT2D_FILE=f=\n";
	char line[2048], message[sizeof begin + sizeof binary];

	gd_log("%s", text);
	snprintf(line, sizeof line, "gpt2d: %s\n", quoted);
	expect_lines(line);
	open_log(stream_of(STDERR_FILENO, 0, 0));
	gd_log("%s", text);
	snprintf(line, sizeof line, "MESSAGE=%s\nPRIORITY=6\nSYSLOG_IDENTIFIER=gpt2d\n", quoted);
	expect(line);
	/* a newline in a field makes no field of what follows */
	gd_log_model(GD_EVENT_LOAD_FAILED, "m\nGPT2D_UID=1234", "f=", 0, "x");
	memcpy(message, begin, sizeof begin - 1);
	memcpy(message + sizeof begin - 1, binary, sizeof binary - 1);
	expect_bytes(message, sizeof begin + sizeof binary - 2);
}
END_TEST

START_TEST(long_texts)
{
	char text[GD_JOURNAL_BYTES], line[1100] = "gpt2d: ";

	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	gd_log("%s", text);
	memset(line + 7, 'x', 1020);
	strcpy(line + 7 + 1020, "...\n");
	expect_lines(line);
	ck_assert_int_eq(truncate(fixture_path(folder, "stderr"), 0), 0);
	/* what has no room in a message is a line */
	open_log(stream_of(STDERR_FILENO, 0, 0));
	gd_log_model(GD_EVENT_NONE, "m", text, 0, "long");
	expect_nothing();
	expect_lines("gpt2d: long\n");
	text[4096] = '\0';
	gd_log_model(GD_EVENT_NONE, "m", text, 0, "longest path");
	ck_assert_int_gt(recv(journal, text, sizeof text, MSG_DONTWAIT), 4096);
	expect_lines("gpt2d: long\n");
}
END_TEST

START_TEST(standard_error_that_is_not_the_journals)
{
	static const char *const none[] = { "",      ":",
					    "1",     "x:y",
					    "1:",    ":1",
					    "-1:2",  "1:2 ",
					    "1:2:3", "99999999999999999999999999:1" };

	open_log(NULL);
	gd_log("a");
	for (size_t i = 0; i < sizeof none / sizeof *none; i++)
		open_log(none[i]);
	open_log(stream_of(STDERR_FILENO, 1, 0));
	open_log(stream_of(STDERR_FILENO, 0, 1));
	open_log(stream_of(journal, 0, 0));
	gd_log("b");
	expect_nothing();
	expect_lines("gpt2d: a\ngpt2d: b\n");
}
END_TEST

START_TEST(journal_that_is_gone_or_full)
{
	unsigned sent = 0, lines;
	struct stat status;

	open_log(stream_of(STDERR_FILENO, 0, 0));
	do { /* never waits */
		gd_log("x");
		ck_assert_int_eq(fstat(STDERR_FILENO, &status), 0);
	} while (!status.st_size && ++sent < 100000);
	ck_assert_uint_gt(sent, 0);
	expect_lines("gpt2d: x\n");
	for (lines = 0; lines < sent; lines++)
		expect("MESSAGE=x\nPRIORITY=6\nSYSLOG_IDENTIFIER=gpt2d\n");
	gd_log("y"); /* read again: to the journal again */
	expect("MESSAGE=y\nPRIORITY=6\nSYSLOG_IDENTIFIER=gpt2d\n");
	close(journal);
	journal = -1;
	gd_log("z");
	expect_lines("gpt2d: x\ngpt2d: z\n");
}
END_TEST

/* Reads what waits: the queue of such a socket may be as short as ten messages. */
static void count_messages(unsigned *lines, unsigned *others, unsigned *left_out)
{
	char got[1024], *about;
	ssize_t n;

	while ((n = recv(journal, got, sizeof got - 1, MSG_DONTWAIT)) > 0) {
		got[n] = '\0';
		*lines += strncmp(got, "MESSAGE=line\n", 13) == 0;
		*others += strncmp(got, "MESSAGE=another user\n", 21) == 0;
		about = strstr(got, " lines about uid 7 were left out\nPRIORITY=4\n");
		if (!about)
			continue;
		*left_out += (unsigned)strtoul(got + strlen("MESSAGE="), NULL, 10);
		ck_assert_ptr_nonnull(strstr(about, "af2dd81e0a4742268a727a162ad771c8"));
		ck_assert_ptr_nonnull(strstr(about, "\nGPT2D_UID=7\n"));
	}
}

START_TEST(what_is_left_out_is_told)
{
	const unsigned many = 3 * GD_LOG_USER_BURST;
	unsigned lines = 0, others = 0, left_out = 0;

	open_log(stream_of(STDERR_FILENO, 0, 0));
	for (unsigned i = 0; i < many; i++) {
		gd_log_peer(GD_EVENT_PEER_ENDED, 7, 0, "line");
		count_messages(&lines, &others, &left_out);
	}
	gd_log_peer(GD_EVENT_PEER_ENDED, 8, 0, "another user"); /* is not left out for it */
	gd_log_close();
	gd_log("no journal any more");
	count_messages(&lines, &others, &left_out);
	ck_assert_uint_ge(left_out, 1);
	ck_assert_uint_eq(lines + left_out, many);
	ck_assert_uint_eq(others, 1);
	expect_lines("gpt2d: no journal any more\n");
}
END_TEST

/* The rest of the numbers, without any clock. */
START_TEST(limits)
{
	struct gd_log_limit limit = { 0 };
	uint64_t left_out;
	uid_t uid;

	for (int second = 10; second < 12; second++) {
		for (int i = 0; i < GD_LOG_USER_BURST; i++)
			ck_assert(gd_log_limit_take(&limit, 5, (uint64_t)second));
		ck_assert(!gd_log_limit_take(&limit, 5, (uint64_t)second));
	}
	ck_assert(gd_log_limit_take(&limit, 6, 11));
	ck_assert(!gd_log_limit_take(&limit, 5, 11));
	ck_assert(!gd_log_limit_next(&limit, 11, &uid, &left_out)); /* not while it goes on */
	ck_assert(gd_log_limit_next(&limit, 12, &uid, &left_out));
	ck_assert_uint_eq(uid, 5);
	ck_assert_uint_eq(left_out, 3);
	ck_assert(!gd_log_limit_next(&limit, 12, &uid, &left_out));
	/* all together */
	for (unsigned i = 0; i < GD_LOG_PEERS_BURST; i++)
		ck_assert(gd_log_limit_take(&limit, 100 + i % 20, 20));
	ck_assert(!gd_log_limit_take(&limit, 100, 20));
	ck_assert(!gd_log_limit_take(&limit, GD_LOG_NOBODY, 20));
	for (unsigned i = 0; i < 2; i++) {
		ck_assert(gd_log_limit_next(&limit, 21, &uid, &left_out));
		ck_assert_uint_eq(uid, i ? GD_LOG_NOBODY : 100);
		ck_assert_uint_eq(left_out, 1);
	}
	/* more users than there is place for share one; none is forgotten whose lines are not told of */
	for (unsigned i = 0; i < 4 * GD_LOG_USERS; i++)
		gd_log_limit_take(&limit, 1000 + i % (2 * GD_LOG_USERS), 30);
	for (uid_t i = 1000; i < 1000 + 2 * GD_LOG_USERS; i++)
		ck_assert(!gd_log_limit_take(&limit, i, 30));
	for (left_out = 0; gd_log_limit_next(&limit, 31, &uid, (uint64_t[]) { 0 });)
		left_out++;
	ck_assert_uint_eq(left_out, GD_LOG_USERS + 1);
	ck_assert(gd_log_limit_take(&limit, 5000, 31));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("log");
	TCase *tcase = fixture_case(suite, "log"), *numbers = fixture_case(suite, "limits");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, fields);
	tcase_add_test(tcase, hostile_text);
	tcase_add_test(tcase, long_texts);
	tcase_add_test(tcase, standard_error_that_is_not_the_journals);
	tcase_add_test(tcase, journal_that_is_gone_or_full);
	tcase_add_test(tcase, what_is_left_out_is_told);
	tcase_add_test(numbers, limits);
	return fixture_main(suite);
}
