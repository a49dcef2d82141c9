/* SPDX-License-Identifier: MIT */
#include "daemon/loop.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/loop_backend.h"
#include "tests/support/fixture.h"

/* Every test runs on both back ends: _i is the index. */
static const enum gd_backend backends[] = { GD_BACKEND_IO_URING, GD_BACKEND_EPOLL };

static struct gd_loop *loop;
static struct gw_error error;

/* What a handler saw, and what it is to do. */
struct probe {
	struct gd_watch watch;
	int calls, stop_at;
	short seen;
	bool drain, remove_self, hold;
	short change_to; /* unless 0 */
	struct gd_watch *remove, *add[3];
};

static void on_ready(struct gd_watch *watch, short events)
{
	struct probe *probe = watch->owner;
	char byte;

	probe->calls++;
	probe->seen |= events;
	if (probe->drain)
		ck_assert_int_eq(recv(watch->fd, &byte, 1, MSG_DONTWAIT), 1);
	if (probe->hold)
		gd_loop_hold(watch);
	if (probe->change_to)
		gd_loop_change(loop, watch, probe->change_to);
	if (probe->remove)
		gd_loop_remove(loop, probe->remove);
	if (probe->remove_self)
		gd_loop_remove(loop, watch);
	for (int i = 0; i < 3 && probe->add[i]; i++)
		ck_assert_code(error, gd_loop_add(loop, probe->add[i], &error), GW_OK);
	if (probe->calls == probe->stop_at)
		gd_loop_stop(loop);
}

static void open_loop(int index)
{
	error = (struct gw_error)GW_ERROR_INIT;
	ck_assert_code(error, gd_loop_new(backends[index], &loop, &error), GW_OK);
	ck_assert_int_eq(gd_loop_backend(loop), index ? WIRE_BACKEND_EPOLL : WIRE_BACKEND_IO_URING);
	ck_assert_str_eq(gd_loop_note(loop), "");
}

static void watch(struct probe *probe, int fd, short events)
{
	probe->watch =
		(struct gd_watch) { .fd = fd, .events = events, .ready = on_ready, .owner = probe };
	ck_assert_code(error, gd_loop_add(loop, &probe->watch, &error), GW_OK);
}

static void run(void)
{
	ck_assert_code(error, gd_loop_run(loop, &error), GW_OK);
}

static void make_pair(int pair[2])
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

static void send_byte(int fd)
{
	ck_assert_int_eq(send(fd, "x", 1, 0), 1);
}

static void close_pair(int pair[2])
{
	close(pair[0]);
	close(pair[1]);
}

/* What remains to be done after the handlers of a turn. */
struct remainder {
	struct probe *probe;
	int calls, left;
};

static bool do_rest(void *context)
{
	struct remainder *remainder = context;

	remainder->calls++;
	if (remainder->left) {
		remainder->left--;
		return true;
	}
	ck_assert_int_eq(remainder->probe->calls, 1); /* held: told once, though nothing was read */
	gd_loop_resume(loop, &remainder->probe->watch);
	return false;
}

START_TEST(a_held_watch_waits_for_its_owner)
{
	struct probe probe = { .stop_at = 2, .hold = true };
	struct remainder remainder = { &probe, 0, 5 };
	int pair[2];

	open_loop(_i);
	make_pair(pair);
	send_byte(pair[1]);
	gd_loop_set_rest(loop, do_rest, &remainder);
	watch(&probe, pair[0], POLLIN);
	run(); /* without the rest's work it would wait for ever */
	ck_assert_int_eq(probe.calls, 2);
	ck_assert_int_eq(remainder.left, 0);
	ck_assert_int_ge(remainder.calls, 6);
	gd_loop_remove(loop, &probe.watch);

	probe = (struct probe) { .stop_at = 1 };
	probe.watch = (struct gd_watch) { .fd = pair[0], .events = POLLIN, .ready = on_ready,
					  .owner = &probe, .held = true };
	gd_loop_set_rest(loop, NULL, NULL);
	ck_assert_code(error, gd_loop_add(loop, &probe.watch, &error), GW_OK); /* held from the first */
	ck_assert(!probe.watch.armed);
	gd_loop_resume(loop, &probe.watch);
	loop->stopped = false;
	run();
	ck_assert_int_eq(probe.calls, 1);
	gd_loop_remove(loop, &probe.watch);
	gd_loop_free(loop);
	close_pair(pair);
}
END_TEST

START_TEST(readiness_lasts_as_long_as_its_cause)
{
	struct probe probe = { .stop_at = 3 };
	int pair[2];

	open_loop(_i);
	make_pair(pair);
	send_byte(pair[1]);
	watch(&probe, pair[0], POLLIN);
	run(); /* not read: it is told three times */
	ck_assert_int_eq(probe.calls, 3);
	ck_assert_int_eq(probe.seen & (POLLIN | POLLHUP), POLLIN);
	gd_loop_remove(loop, &probe.watch);
	gd_loop_remove(loop, &probe.watch); /* again is fine */
	gd_loop_free(loop);
	close_pair(pair);
}
END_TEST

START_TEST(each_message_is_told)
{
	struct probe probe = { .stop_at = 2, .drain = true };
	int pair[2];

	open_loop(_i);
	make_pair(pair);
	send_byte(pair[1]);
	send_byte(pair[1]);
	watch(&probe, pair[0], POLLIN);
	run();
	ck_assert_int_eq(probe.calls, 2);
	gd_loop_remove(loop, &probe.watch);
	gd_loop_free(loop);
	close_pair(pair);
}
END_TEST

START_TEST(a_handler_changes_its_events)
{
	/* readable and writable; after the first call only POLLOUT is waited for */
	struct probe probe = { .stop_at = 1, .change_to = POLLOUT };
	int pair[2];

	open_loop(_i);
	make_pair(pair);
	send_byte(pair[1]);
	watch(&probe, pair[0], POLLIN);
	run();
	ck_assert_int_eq(probe.seen, POLLIN);
	gd_loop_remove(loop, &probe.watch);
	gd_loop_free(loop);

	open_loop(_i);
	probe = (struct probe) { .stop_at = 2, .change_to = POLLOUT };
	watch(&probe, pair[0], POLLIN);
	run();
	ck_assert_int_eq(probe.seen, POLLIN | POLLOUT);
	gd_loop_remove(loop, &probe.watch);
	gd_loop_free(loop);
	close_pair(pair);
}
END_TEST

START_TEST(another_watch_is_changed)
{
	struct probe quiet = { 0 }, other = { .stop_at = 5 };
	int pair[2], pair_b[2];

	open_loop(_i);
	make_pair(pair);
	make_pair(pair_b);
	send_byte(pair[1]);
	send_byte(pair_b[1]);
	watch(&quiet, pair[0], POLLIN);
	watch(&other, pair_b[0], POLLIN);
	gd_loop_change(loop, &quiet.watch, 0); /* although it is readable */
	run();
	ck_assert_int_eq(quiet.calls, 0);
	gd_loop_change(loop, &quiet.watch, POLLIN);
	gd_loop_remove(loop, &other.watch);
	gd_loop_remove(loop, &quiet.watch);
	gd_loop_free(loop);
	close_pair(pair);
	close_pair(pair_b);
}
END_TEST

/* Both are ready at once; whichever is told first removes both, so the other's event is stale. */
START_TEST(a_removed_watch_is_not_called)
{
	struct probe a = { .remove_self = true }, b = { .remove_self = true };
	struct probe quiet[2] = { 0 }, last = { .stop_at = 1 };
	int pair[2], pair_b[2], silent[2], event = eventfd(1, EFD_CLOEXEC);

	open_loop(_i);
	make_pair(pair);
	make_pair(pair_b);
	send_byte(pair[1]);
	send_byte(pair_b[1]);
	watch(&a, pair[0], POLLIN);
	watch(&b, pair_b[0], POLLIN);
	a.remove = &b.watch;
	b.remove = &a.watch;
	/* two that are never ready take the slots that became free, one of them with an event under way */
	make_pair(silent);
	for (int i = 0; i < 2; i++) {
		quiet[i].watch = (struct gd_watch) {
			.fd = silent[i], .events = POLLIN, .ready = on_ready, .owner = &quiet[i]
		};
		a.add[i] = b.add[i] = &quiet[i].watch;
	}
	last.watch = (struct gd_watch) {
		.fd = event, .events = POLLIN, .ready = on_ready, .owner = &last
	};
	a.add[2] = b.add[2] = &last.watch;
	run();
	ck_assert_int_eq(a.calls + b.calls, 1);
	ck_assert_int_eq(last.calls, 1);
	ck_assert_int_eq(quiet[0].calls + quiet[1].calls, 0);
	gd_loop_remove(loop, &last.watch);
	gd_loop_remove(loop, &quiet[0].watch);
	gd_loop_remove(loop, &quiet[1].watch);
	gd_loop_free(loop);
	close_pair(pair);
	close_pair(pair_b);
	close_pair(silent);
	close(event);
}
END_TEST

/* A watch that is freed by its own handler; valgrind and ASan would tell. */
static void free_self(struct gd_watch *gone, short events)
{
	(void)events;
	gd_loop_remove(loop, gone);
	close(gone->fd);
	free(gone);
	gd_loop_stop(loop);
}

START_TEST(a_handler_frees_its_watch)
{
	struct gd_watch *gone = calloc(1, sizeof *gone);

	open_loop(_i);
	*gone = (struct gd_watch) { .fd = eventfd(1, EFD_CLOEXEC),
				    .events = POLLIN,
				    .ready = free_self };
	ck_assert_code(error, gd_loop_add(loop, gone, &error), GW_OK);
	run();
	gd_loop_free(loop);
}
END_TEST

/* The descriptor's number comes back for another file before the loop waits again. */
START_TEST(a_number_is_used_again)
{
	struct probe first = { 0 }, second = { .stop_at = 1 };
	int pair[2], fd, event;

	open_loop(_i);
	make_pair(pair);
	fd = pair[0];
	watch(&first, fd, POLLIN);
	gd_loop_remove(loop, &first.watch);
	close_pair(pair);
	event = eventfd(1, EFD_CLOEXEC);
	ck_assert_int_eq(event, fd);
	watch(&second, event, POLLIN);
	ck_assert_uint_eq(second.watch.slot, first.watch.slot);
	run();
	ck_assert_int_eq(first.calls, 0);
	ck_assert_int_eq(second.calls, 1);
	gd_loop_remove(loop, &second.watch);
	gd_loop_free(loop);
	close(event);
}
END_TEST

/* With events 0 a hang-up is told; so is half a one, which io_uring tells unasked. */
START_TEST(a_hang_up_is_always_told)
{
	for (int half = 0; half < 2; half++) {
		struct probe probe = { .stop_at = 1 };
		int pair[2];

		open_loop(_i);
		make_pair(pair);
		send_byte(pair[1]);
		watch(&probe, pair[0], 0);
		if (half)
			ck_assert_int_eq(shutdown(pair[1], SHUT_WR), 0);
		else
			close(pair[1]);
		run();
		ck_assert_int_eq(probe.calls, 1);
		ck_assert_int_eq(probe.seen & (POLLHUP | POLLIN), POLLHUP);
		gd_loop_remove(loop, &probe.watch);
		gd_loop_free(loop);
		close(pair[0]);
		if (half)
			close(pair[1]);
	}
}
END_TEST

/* When a watched peer's end is removed and closed, the other end sees it at the next wait. */
START_TEST(a_removed_watch_lets_go_of_its_file)
{
	struct probe ours = { 0 }, theirs = { .stop_at = 1 };
	int pair[2];

	open_loop(_i);
	make_pair(pair);
	watch(&ours, pair[0], POLLIN);
	watch(&theirs, pair[1], 0);
	gd_loop_remove(loop, &ours.watch);
	close(pair[0]);
	run();
	ck_assert_int_eq(theirs.seen & POLLHUP, POLLHUP);
	gd_loop_remove(loop, &theirs.watch);
	gd_loop_free(loop);
	close(pair[1]);
}
END_TEST

#define MANY 4500

static int many_left;

static void count_down(struct gd_watch *done, short events)
{
	(void)events;
	gd_loop_remove(loop, done);
	if (--many_left == 0)
		gd_loop_stop(loop);
}

/* Fault 28: more of them ready at once than the ring has room to complete. */
START_TEST(thousands_are_watched)
{
	struct gd_watch *many = calloc(MANY, sizeof *many);
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	ck_assert_uint_gt(limit.rlim_cur, MANY + 64);
	open_loop(_i);
	/* twice, so that slots come back in bulk */
	for (int round = 0; round < 2; round++) {
		many_left = MANY;
		for (int i = 0; i < MANY; i++) {
			many[i] = (struct gd_watch) { .fd = eventfd(1, EFD_CLOEXEC),
						      .events = POLLIN,
						      .ready = count_down };
			ck_assert_int_ge(many[i].fd, 0);
			ck_assert_code(error, gd_loop_add(loop, &many[i], &error), GW_OK);
		}
		if (round == 0) { /* changed in bulk: more requests than the ring has entries */
			for (int i = 0; i < MANY; i++)
				gd_loop_change(loop, &many[i], 0);
			for (int i = 0; i < MANY; i++)
				gd_loop_change(loop, &many[i], POLLIN);
			for (int i = 0; i < MANY; i++)
				gd_loop_remove(loop, &many[i]);
		} else {
			run();
			ck_assert_int_eq(many_left, 0);
		}
		for (int i = 0; i < MANY; i++)
			close(many[i].fd);
	}
	gd_loop_free(loop);
	free(many);
}
END_TEST

/* As many descriptors as are open already: io_uring_setup fails, epoll_create1 too. */
START_TEST(a_refused_back_end_says_why)
{
	struct rlimit before, none;
	int code;

	error = (struct gw_error)GW_ERROR_INIT;
	getrlimit(RLIMIT_NOFILE, &before);
	none = (struct rlimit) { 0, before.rlim_max };
	loop = NULL;
	setrlimit(RLIMIT_NOFILE, &none);
	code = gd_loop_new(backends[_i], &loop, &error);
	setrlimit(RLIMIT_NOFILE, &before);
	ck_assert_int_eq(code, GW_E_IO);
	ck_assert_ptr_null(loop);
	ck_assert_ptr_nonnull(strstr(error.message, _i ? "epoll" : "io_uring"));
}
END_TEST

static void refuse_io_uring(void)
{
	struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog filter = { sizeof program / sizeof *program, program };

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
}

/* In a child: a filter stays. */
START_TEST(without_io_uring_it_is_epoll)
{
	pid_t pid = fork();
	int status;

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		bool as_told;

		refuse_io_uring();
		loop = NULL;
		as_told = gd_loop_new(GD_BACKEND_IO_URING, &loop, &error) == GW_E_IO && !loop &&
			  gd_loop_new(GD_BACKEND_AUTO, &loop, &error) == GW_OK &&
			  gd_loop_backend(loop) == WIRE_BACKEND_EPOLL &&
			  strstr(gd_loop_note(loop), "io_uring is refused") &&
			  strstr(gd_loop_note(loop), strerror(EPERM)) &&
			  strstr(gd_loop_note(loop), "epoll");
		gd_loop_free(loop);
		_exit(as_told ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

START_TEST(free_accepts_null)
{
	gd_loop_free(NULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("loop");
	TCase *both = fixture_case(suite, "both back ends"), *one = fixture_case(suite, "one");

	tcase_add_loop_test(both, a_held_watch_waits_for_its_owner, 0, 2);
	tcase_add_loop_test(both, readiness_lasts_as_long_as_its_cause, 0, 2);
	tcase_add_loop_test(both, each_message_is_told, 0, 2);
	tcase_add_loop_test(both, a_handler_changes_its_events, 0, 2);
	tcase_add_loop_test(both, another_watch_is_changed, 0, 2);
	tcase_add_loop_test(both, a_removed_watch_is_not_called, 0, 2);
	tcase_add_loop_test(both, a_handler_frees_its_watch, 0, 2);
	tcase_add_loop_test(both, a_number_is_used_again, 0, 2);
	tcase_add_loop_test(both, a_hang_up_is_always_told, 0, 2);
	tcase_add_loop_test(both, a_removed_watch_lets_go_of_its_file, 0, 2);
	tcase_add_loop_test(both, thousands_are_watched, 0, 2);
	tcase_add_loop_test(both, a_refused_back_end_says_why, 0, 2);
	tcase_add_test(one, without_io_uring_it_is_epoll);
	tcase_add_test(one, free_accepts_null);
	return fixture_main(suite);
}
