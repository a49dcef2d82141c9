/* SPDX-License-Identifier: MIT */
/*
 * The n-th allocation or system call of an open fails, for every n. Linked with --wrap, so that the
 * library's own calls come here first; glibc's names of the calls with 64-bit offsets end in 64.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "gpt2client.h"
#include "tests/support/fixture.h"
#include "tests/unit/client/rogue.h"

/* Only the thread that opens is hurt, not the daemon beside it. */
static _Thread_local long countdown = -1;
static _Thread_local int failure;

static bool fails(void)
{
	if (countdown < 0 || countdown-- > 0)
		return false;
	errno = failure;
	return true;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__real_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
	return fails() ? MAP_FAILED : __real_mmap64(at, size, protection, flags, fd, offset);
}

int __real_madvise(void *at, size_t size, int advice);
int __wrap_madvise(void *at, size_t size, int advice);
int __wrap_madvise(void *at, size_t size, int advice)
{
	return fails() ? -1 : __real_madvise(at, size, advice);
}

int __real_fstat64(int fd, struct stat *out);
int __wrap_fstat64(int fd, struct stat *out);
int __wrap_fstat64(int fd, struct stat *out)
{
	return fails() ? -1 : __real_fstat64(fd, out);
}

int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...)
{
	va_list arguments;
	int argument;

	va_start(arguments, command);
	argument = va_arg(arguments, int);
	va_end(arguments);
	return fails() ? -1 : __real_fcntl64(fd, command, argument);
}

ssize_t __real_pread64(int fd, void *out, size_t n, off_t offset);
ssize_t __wrap_pread64(int fd, void *out, size_t n, off_t offset);
ssize_t __wrap_pread64(int fd, void *out, size_t n, off_t offset)
{
	return fails() ? -1 : __real_pread64(fd, out, n, offset);
}

int __real_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol)
{
	return fails() ? -1 : __real_socket(domain, type, protocol);
}

ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
	return fails() ? -1 : __real_sendmsg(fd, message, flags);
}

ssize_t __real_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
	return fails() ? -1 : __real_recvmsg(fd, message, flags);
}

/* A clock that a test can make run: a second each time that it is read. */
static _Thread_local uint64_t hurried_ms;

uint64_t __real_wire_now_ms(void);
uint64_t __wrap_wire_now_ms(void);
uint64_t __wrap_wire_now_ms(void)
{
	return hurried_ms ? (hurried_ms += 1000) : __real_wire_now_ms();
}

static gpt2c_store *const untouched = (gpt2c_store *)(uintptr_t)8;

static const int failures[] = { ENOMEM, EIO, EACCES, EFAULT, EAGAIN };
#define N_FAILURES ((int)(sizeof failures / sizeof failures[0]))

/* Some failures an open gets over: EAGAIN from a socket, no place on a 2 MiB boundary. */
static void check_outcome(int result, gpt2c_store *store, const gpt2c_error *error)
{
	if (result == GPT2C_OK) {
		float out[33];
		int32_t id = 1;

		ck_assert_int_eq(gpt2c_embed(store, &id, 1, 1, 0, out, NULL), GPT2C_OK);
		gpt2c_close(store);
	} else {
		ck_assert_ptr_eq(store, untouched);
		ck_assert_int_eq(error->code, result);
		ck_assert_str_ne(error->message, "");
	}
}

/* Opens until nothing is left to fail; returns how often something did. */
static long open_with_faults(const gpt2c_options *options, int sys_errno)
{
	bool reached = true;
	long n = 0;

	for (; reached; n++) {
		gpt2c_error error = GPT2C_ERROR_INIT;
		gpt2c_store *store = untouched;
		int result;

		failure = sys_errno;
		countdown = n;
		errno = 4242;
		result = gpt2c_open_with(options, &store, &error);
		reached = countdown < 0;
		countdown = -1;
		ck_assert_int_eq(errno, 4242);
		check_outcome(result, store, &error);
		ck_assert(reached || result == GPT2C_OK);
		ck_assert_int_lt(n, 1000);
	}
	return n - 1;
}

/* _i: which error. Descriptors are counted round the test. */
START_TEST(test_file)
{
	char *folder = fixture_folder_new();
	gpt2c_options options = GPT2C_OPTIONS_INIT;

	options.file = fixture_path(folder, "p.gpt2w");
	options.flags = GPT2C_POPULATE;
	/* wte over 2 MiB, so that its place in memory matters */
	fixture_pack(options.file, 16000, 4, 33, GW_F32, GW_F32);
	ck_assert_int_ge(open_with_faults(&options, failures[_i]), 15);
	fixture_folder_free(folder);
}
END_TEST

START_TEST(test_daemon)
{
	gpt2c_options options = GPT2C_OPTIONS_INIT;
	struct rogue_offer offer;
	struct rogue rogue;

	rogue_offer_init(&offer);
	rogue_start(&rogue, rogue_serve_offer, &offer);
	options.socket_path = rogue.path;
	options.flags = GPT2C_POPULATE;
	ck_assert_int_ge(open_with_faults(&options, failures[_i]), 15);
	rogue_stop(&rogue);
	rogue_offer_deinit(&offer);
}
END_TEST

/* The limit of time holds for a file too: not every unit is verified within three seconds. */
START_TEST(test_file_timeout)
{
	char *folder = fixture_folder_new();
	gpt2c_options options = GPT2C_OPTIONS_INIT;
	gpt2c_error error = GPT2C_ERROR_INIT;
	gpt2c_store *store = untouched;
	static const uint64_t limits_ms[] = { 3000, 1000000, UINT64_MAX };

	options.file = fixture_path(folder, "p.gpt2w");
	fixture_pack(options.file, 16000, 4, 33, GW_F32, GW_F32);
	for (int i = 0; i < 3; i++) {
		options.timeout_ms = limits_ms[i];
		hurried_ms = 1;
		ck_assert_code(error, gpt2c_open_with(&options, &store, &error),
			       i == 0 ? GPT2C_E_TIMEOUT : GPT2C_OK);
		hurried_ms = 0;
		if (i > 0)
			gpt2c_close(store);
		else
			ck_assert_ptr_eq(store, untouched);
	}
	fixture_folder_free(folder);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client/faults");
	TCase *tcase = fixture_case(suite, "faults");

	tcase_add_loop_test(tcase, test_file, 0, N_FAILURES);
	tcase_add_loop_test(tcase, test_daemon, 0, N_FAILURES);
	tcase_add_test(tcase, test_file_timeout);
	return fixture_main(suite);
}
