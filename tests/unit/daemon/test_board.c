/* SPDX-License-Identifier: MIT */
#include "daemon/board.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/limits.h"
#include "daemon/memfd.h"
#include "format/endpoint.h"
#include "tests/support/fixture.h"

static struct gw_error error;

static struct gd_boards *new_boards(void)
{
	struct gd_boards *boards;

	error = (struct gw_error)GW_ERROR_INIT;
	ck_assert_code(error, gd_boards_new(&boards, &error), GW_OK);
	return boards;
}

static const uint8_t *map_board(int fd)
{
	const uint8_t *page = mmap(NULL, WIRE_BOARD_BYTES, PROT_READ, MAP_SHARED, fd, 0);

	ck_assert_ptr_ne(page, MAP_FAILED);
	return page;
}

static void unmap(const uint8_t *page)
{
	munmap((void *)(uintptr_t)page, WIRE_BOARD_BYTES);
}

static uint64_t load(const uint8_t *page, unsigned at)
{
	return atomic_load((const _Atomic uint64_t *)(const void *)(page + at));
}

START_TEST(a_board_says_who_and_which)
{
	struct gd_boards *boards = new_boards();
	struct gd_board board;
	const uint8_t *page;
	uint64_t word;

	ck_assert_code(error, gd_board_init(&board, boards, &error), GW_OK);
	page = map_board(board.fd);
	ck_assert_mem_eq(page, "GW2BOARD", 8);
	word = load(page, WIRE_BOARD_OWNER_AT);
	ck_assert_uint_eq(wire_board_owner(word), (uint32_t)gettid());
	ck_assert_uint_eq(wire_board_epoch(word), 0);
	ck_assert_uint_eq(load(page, WIRE_BOARD_GENERATION_AT), 0);

	ck_assert_uint_eq(gd_board_publish(&board, UINT64_C(0x123456789abcdef0)), 1);
	ck_assert_uint_eq(gd_board_publish(&board, 77), 2);
	word = load(page, WIRE_BOARD_OWNER_AT);
	ck_assert_uint_eq(wire_board_owner(word), (uint32_t)gettid());
	ck_assert_uint_eq(wire_board_epoch(word), 2);
	ck_assert_uint_eq(load(page, WIRE_BOARD_GENERATION_AT), 77);
	ck_assert_uint_eq(gd_board_publish(&board, 0), 3);
	ck_assert_uint_eq(load(page, WIRE_BOARD_GENERATION_AT), 0);

	gd_board_deinit(&board);
	ck_assert_uint_ne(wire_board_owner(load(page, WIRE_BOARD_OWNER_AT)) & WIRE_OWNER_DIED, 0);
	gd_board_deinit(&board); /* again is fine */
	gd_boards_free(boards);
	unmap(page);
}
END_TEST

START_TEST(nobody_else_writes_it)
{
	struct gd_boards *boards = new_boards();
	struct gd_board board;
	struct stat status;
	char path[64];
	int seals, own;

	ck_assert_code(error, gd_board_init(&board, boards, &error), GW_OK);
	seals = fcntl(board.fd, F_GET_SEALS);
	ck_assert_int_eq(seals & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
			 F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	ck_assert_int_eq(fstat(board.fd, &status), 0);
	ck_assert_int_eq(status.st_mode & 07777, 0444);
	ck_assert_int_eq(status.st_size, WIRE_BOARD_BYTES);
	ck_assert_int_eq(fcntl(board.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	ck_assert_int_eq(fcntl(board.fd, F_GETFD), FD_CLOEXEC);
	ck_assert_ptr_eq(mmap(NULL, WIRE_BOARD_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, board.fd,
			      0),
			 MAP_FAILED);
	ck_assert_int_eq(ftruncate(board.fd, 0), -1);
	snprintf(path, sizeof path, "/proc/self/fd/%d", board.fd);
	if (getuid() == 0) { /* root may open anything: as somebody else */
		ck_assert_int_eq(seteuid(65534), 0);
		own = open(path, O_RDWR | O_CLOEXEC);
		ck_assert_int_eq(errno, EACCES);
		ck_assert_int_eq(fchmod(board.fd, 0666), -1);
		ck_assert_int_eq(seteuid(0), 0);
		ck_assert_int_eq(own, -1);
	}
	/* descriptions are separate: an offset moved here is not moved there */
	ck_assert_code(error, gd_reopen(board.fd, &own, &error), GW_OK);
	ck_assert_int_eq(lseek(own, 100, SEEK_SET), 100);
	ck_assert_int_eq(lseek(board.fd, 0, SEEK_CUR), 0);
	close(own);
	gd_board_deinit(&board);
	gd_boards_free(boards);
}
END_TEST

enum end { END_KILL, END_EXIT, END_EXEC, END_THREAD, N_ENDS };

#define N_BOARDS 5

/* Makes boards, removes one in the middle and one at each end, adds one, and sends the descriptors. */
static void child_boards(int socket)
{
	static struct gd_board board[N_BOARDS + 3];
	struct gd_boards *boards;
	struct wire_message message = { .type = WIRE_LOADING };

	if (gd_boards_new(&boards, NULL))
		_exit(9);
	for (int i = 0; i < N_BOARDS + 2; i++)
		if (gd_board_init(&board[i], boards, NULL))
			_exit(9);
	gd_board_deinit(&board[3]);
	gd_board_deinit(&board[0]);
	if (gd_board_init(&board[N_BOARDS + 2], boards, NULL))
		_exit(9);
	gd_board_deinit(&board[N_BOARDS + 1]);
	for (int i = 0; i < N_BOARDS + 3; i++) {
		if (!board[i].boards)
			continue;
		gd_board_publish(&board[i], (uint64_t)i + 1);
		if (wire_send(socket, &message, &board[i].fd, 1, wire_now_ms() + 60000, NULL))
			_exit(9);
	}
}

static void wait_for_go(int socket)
{
	char byte;

	if (recv(socket, &byte, 1, 0) != 1)
		_exit(9);
}

static void *thread_main(void *argument)
{
	int socket = *(const int *)argument;

	child_boards(socket);
	wait_for_go(socket);
	return NULL;
}

static void child(int socket, enum end end)
{
	pthread_t thread;

	if (end == END_THREAD) {
		if (pthread_create(&thread, NULL, thread_main, &socket))
			_exit(9);
		pthread_join(thread, NULL);
		if (send(socket, "x", 1, 0) != 1)
			_exit(9);
		wait_for_go(socket);
		_exit(0);
	}
	child_boards(socket);
	wait_for_go(socket);
	if (end == END_KILL)
		kill(getpid(), SIGKILL);
	if (end == END_EXEC)
		execl("/bin/true", "true", (char *)NULL);
	_exit(0);
}

START_TEST(the_kernel_marks_the_boards)
{
	const uint8_t *page[N_BOARDS + 3];
	int pair[2], n = 0, status;
	char byte;
	pid_t pid;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		child(pair[1], (enum end)_i);
	for (; n < N_BOARDS; n++) {
		struct wire_message message;
		size_t n_fds;
		int fd;

		ck_assert_code(error,
			       wire_receive(pair[0], &message, &fd, 1, &n_fds, NULL,
					    wire_now_ms() + 60000, &error),
			       GW_OK);
		ck_assert_uint_eq(n_fds, 1);
		page[n] = map_board(fd);
		close(fd);
	}
	for (int i = 0; i < n; i++) {
		uint32_t owner = wire_board_owner(load(page[i], WIRE_BOARD_OWNER_AT));

		ck_assert_uint_ne(owner & WIRE_OWNER_TID_MASK, 0);
		ck_assert_uint_eq(owner & WIRE_OWNER_DIED, 0);
	}
	ck_assert_int_eq(send(pair[0], "x", 1, 0), 1);
	if (_i == END_THREAD) { /* the process lives on */
		ck_assert_int_eq(recv(pair[0], &byte, 1, 0), 1);
	} else {
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		if (_i == END_KILL)
			ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		else
			ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	for (int i = 0; i < n; i++) {
		uint64_t word = load(page[i], WIRE_BOARD_OWNER_AT);

		ck_assert_msg(wire_board_owner(word) & WIRE_OWNER_DIED, "board %d of end %d", i,
			      _i);
		ck_assert_uint_eq(wire_board_epoch(word), 1);
		unmap(page[i]);
	}
	if (_i == END_THREAD) {
		ck_assert_int_eq(send(pair[0], "x", 1, 0), 1);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	}
	close(pair[0]);
	close(pair[1]);
}
END_TEST

START_TEST(prepared_reopening_is_the_same)
{
	struct stat first, second;
	int fd, own;

	ck_assert_code(error, gd_memfd_new("test", 0, 4096, &fd, &error), GW_OK);
	gd_reopen_prepare();
	ck_assert_code(error, gd_reopen(fd, &own, &error), GW_OK);
	ck_assert_int_eq(fcntl(own, F_GETFL) & O_ACCMODE, O_RDONLY);
	ck_assert_int_eq(fcntl(own, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(fstat(fd, &first) | fstat(own, &second), 0);
	ck_assert_uint_eq(first.st_ino, second.st_ino);
	close(own);
	close(fd);
	ck_assert_code(error, gd_reopen(fd, &own, &error), GW_E_IO); /* there is none any more */
	gd_reopen_release();
	gd_reopen_release();
}
END_TEST

START_TEST(there_are_1024)
{
	struct gd_board *board = calloc(GD_MAX_MODELS + 1, sizeof *board);
	struct gd_boards *boards = new_boards();
	struct rlimit limit;
	const uint8_t *page;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	for (int i = 0; i < GD_MAX_MODELS; i++)
		ck_assert_code(error, gd_board_init(&board[i], boards, &error), GW_OK);
	ck_assert_code(error, gd_board_init(&board[GD_MAX_MODELS], boards, &error), GW_E_LIMIT);
	gd_board_deinit(&board[GD_MAX_MODELS]); /* leaves the others alone */
	page = map_board(board[0].fd);
	ck_assert_uint_eq(wire_board_owner(load(page, WIRE_BOARD_OWNER_AT)), (uint32_t)gettid());
	unmap(page);
	gd_board_deinit(&board[500]);
	ck_assert_code(error, gd_board_init(&board[500], boards, &error), GW_OK);
	ck_assert_uint_eq(board[500].slot, 500);
	ck_assert_uint_eq(gd_board_publish(&board[500], 9), 1); /* a new page, counted anew */
	for (int i = 0; i < GD_MAX_MODELS; i++)
		gd_board_deinit(&board[i]);
	gd_boards_free(boards);
	free(board);
}
END_TEST

START_TEST(without_descriptors_the_slot_comes_back)
{
	struct gd_boards *boards = new_boards();
	struct gd_board board;
	struct rlimit before, few;

	getrlimit(RLIMIT_NOFILE, &before);
	/* room for none, then for the memory but not for its reopening */
	for (int room = 0; room < 2; room++) {
		int next = dup(0);

		close(next);
		few = (struct rlimit) { (rlim_t)(next + room), before.rlim_max };
		setrlimit(RLIMIT_NOFILE, &few);
		ck_assert_code(error, gd_board_init(&board, boards, &error), GW_E_IO);
		setrlimit(RLIMIT_NOFILE, &before);
		ck_assert_int_eq(error.sys_errno, EMFILE);
	}
	ck_assert_code(error, gd_board_init(&board, boards, &error), GW_OK);
	ck_assert_uint_eq(board.slot, 0);
	gd_board_deinit(&board);
	gd_boards_free(boards);
	gd_boards_free(NULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("board");
	TCase *tcase = fixture_case(suite, "boards"), *end = fixture_case(suite, "end");

	tcase_add_test(tcase, a_board_says_who_and_which);
	tcase_add_test(tcase, nobody_else_writes_it);
	tcase_add_test(tcase, prepared_reopening_is_the_same);
	tcase_add_test(tcase, there_are_1024);
	tcase_add_test(tcase, without_descriptors_the_slot_comes_back);
	tcase_add_loop_test(end, the_kernel_marks_the_boards, 0, N_ENDS);
	return fixture_main(suite);
}
