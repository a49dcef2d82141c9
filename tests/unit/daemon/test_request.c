/* SPDX-License-Identifier: MIT */
/* Connections and answers, on a real socket; driven by hand, so that nothing depends on time. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "daemon/limits.h"
#include "daemon/loop_backend.h"
#include "daemon/memfd.h"
#include "daemon/server.h"
#include "daemon/turn.h"
#include "format/endpoint.h"
#include "tests/support/fixture.h"

static char *folder;
static char path[WIRE_SOCKET_PATH_BYTES];
static struct gw_error error;
static struct gd_server server;
static struct gd_listener listener;
static struct gd_boards *boards;
static unsigned settled_left;

static void on_settled(void *context, struct gd_model *model)
{
	gd_server_settled(context, model);
	if (--settled_left == 0)
		gd_loop_stop(server.loop);
}

static void setup(void)
{
	const struct gd_store_events events = { gd_server_published, on_settled, gd_server_removed,
						&server };
	struct gd_store_options options = { NULL, WIRE_SHARE_SEALED, true, UINT64_MAX,
					    UINT64_MAX, UINT64_MAX, NULL, NULL };

	error = (struct gw_error)GW_ERROR_INIT;
	folder = fixture_folder_new();
	snprintf(path, sizeof path, "%s/socket", folder);
	options.directory = folder;
	server = (struct gd_server) { .start_ms = wire_now_ms(), .admin_group = GD_KEEP_GROUP };
	server.quota.limits = (struct gd_limits) { 8, 6, 5, 2000, 5 };
	server.spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	ck_assert_code(error, gd_loop_new(GD_BACKEND_AUTO, &server.loop, &error), GW_OK);
	gd_turn_init(&server);
	ck_assert_code(error, gd_boards_new(&boards, &error), GW_OK);
	ck_assert_code(error, gd_listener_init(&listener, path, 0600, GD_KEEP_GROUP, &error),
		       GW_OK);
	ck_assert_code(error,
		       gd_store_new(&options, &events, server.loop, boards, &server.store, &error),
		       GW_OK);
	server.listen_watch = (struct gd_watch) {
		.fd = listener.fd, .events = POLLIN, .ready = gd_server_accept, .owner = &server
	};
	ck_assert_code(error, gd_loop_add(server.loop, &server.listen_watch, &error), GW_OK);
	server.pause_watch = (struct gd_watch) {
		.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
		.events = POLLIN,
		.ready = gd_server_resume,
		.owner = &server,
	};
	ck_assert_code(error, gd_loop_add(server.loop, &server.pause_watch, &error), GW_OK);
}

static void teardown(void)
{
	gd_loop_remove(server.loop, &server.listen_watch);
	gd_loop_remove(server.loop, &server.pause_watch);
	close(server.pause_watch.fd);
	gd_listener_deinit(&listener);
	gd_server_close_peers(&server);
	ck_assert_ptr_null(server.quota.users);
	ck_assert_uint_eq(server.quota.connections, 0);
	gd_store_free(server.store);
	gd_boards_free(boards);
	gd_loop_free(server.loop);
	if (server.spare_fd >= 0)
		close(server.spare_fd);
	fixture_folder_free(folder);
}

static void put_pack(const char *name, uint64_t n_vocab)
{
	fixture_pack(fixture_path(folder, name), n_vocab, 3, 16, GW_F32, GW_F16);
}

static void scan(void)
{
	ck_assert_code(error, gd_store_scan(server.store, true, &error), GW_OK);
}

/* Runs the loop until n loads have ended. */
static void settle(unsigned n)
{
	settled_left = n;
	server.loop->stopped = false;
	ck_assert_code(error, gd_loop_run(server.loop, &error), GW_OK);
}

static void serve_pack(const char *name)
{
	put_pack(name, 20);
	scan();
	settle(1);
}

/* Whoever connects is taken in, whoever sent is answered, eight messages of each at the most. */
static void turn(void)
{
	gd_server_accept(&server.listen_watch, POLLIN);
	for (int i = 0; i < 8; i++) {
		for (struct gd_peer *peer = server.peers; peer; peer = peer->next)
			if (!peer->waiting)
				peer->watch.ready(&peer->watch, POLLIN);
		while (gd_turn_serve(&server))
			;
	}
}

static int join(void)
{
	int fd;

	ck_assert_code(error, wire_connect(path, wire_now_ms() + 60000, &fd, &error), GW_OK);
	turn();
	return fd;
}

static void send_message(int fd, uint16_t type, const char *model, uint32_t index)
{
	struct wire_message message = { .type = type, .request = 42 };

	if (type == WIRE_ATTACH)
		wire_put_text(message.attach.model, sizeof message.attach.model, model);
	if (type == WIRE_LIST)
		message.list.index = index;
	ck_assert_code(error, wire_send(fd, &message, NULL, 0, 0, &error), GW_OK);
}

/* The next message at the client; descriptors are checked and closed. */
static struct wire_message receive(int fd, uint16_t type)
{
	struct wire_message message;
	int fds[WIRE_REPLY_FDS];
	size_t n_fds;

	ck_assert_code(error,
		       wire_receive(fd, &message, fds, WIRE_REPLY_FDS, &n_fds, NULL, 0, &error),
		       GW_OK);
	ck_assert_uint_eq(message.type, type);
	ck_assert_uint_eq(message.request, type == WIRE_NEWS ? 0 : 42);
	ck_assert_uint_eq(n_fds, type == WIRE_ATTACHED ? 2 : 0);
	for (size_t i = 0; i < n_fds; i++) {
		ck_assert_int_eq(fcntl(fds[i], F_GETFL) & O_ACCMODE, O_RDONLY);
		close(fds[i]);
	}
	return message;
}

static void expect_end(int fd)
{
	struct wire_message message;
	size_t n_fds;

	ck_assert_code(error, wire_receive(fd, &message, NULL, 0, &n_fds, NULL, 0, &error),
		       GW_E_CLOSED);
}

static struct wire_message ask(int fd, uint16_t type, const char *model, uint32_t index,
			       uint16_t answer)
{
	send_message(fd, type, model, index);
	turn();
	return receive(fd, answer);
}

static void refuse(int fd, const char *model, enum wire_reason reason)
{
	struct wire_message message = ask(fd, WIRE_ATTACH, model, 0, WIRE_REFUSED);

	ck_assert_uint_eq(message.refused.reason, reason);
	ck_assert_str_ne(message.refused.message, "");
}

START_TEST(attaching)
{
	struct wire_message message;
	struct gd_model *model;
	int fd;

	serve_pack("a.gpt2w");
	fd = join();
	model = gd_store_at(server.store, 0);
	for (int i = 0; i < 2; i++) { /* by name, and as the only one */
		message = ask(fd, WIRE_ATTACH, i ? "" : "a", 0, WIRE_ATTACHED);
		ck_assert_str_eq(message.attached.model, "a");
		ck_assert_uint_eq(message.attached.generation, model->generation);
		ck_assert_uint_eq(message.attached.epoch, 1);
		ck_assert_uint_eq(message.attached.share, WIRE_SHARE_SEALED);
		ck_assert_uint_eq(message.attached.image_bytes,
				  model->image->pack->superblock.image_bytes);
		ck_assert(gw_digest_equal(&message.attached.content_id,
					  &model->image->pack->superblock.content_id));
		ck_assert_uint_eq(model->attached, 1);
	}
	ck_assert_uint_eq(model->attached_total, 2);
	close(fd);
	turn();
	ck_assert_uint_eq(model->attached, 0);
	ck_assert_ptr_null(server.peers);
}
END_TEST

START_TEST(refusals)
{
	int fd = join();

	refuse(fd, "", WIRE_REASON_NO_MODEL);
	refuse(fd, "a", WIRE_REASON_NO_MODEL);
	serve_pack("a.gpt2w");
	refuse(fd, "b", WIRE_REASON_UNKNOWN_MODEL);
	fixture_write(fixture_path(folder, "b.gpt2w"), "no", 2);
	scan();
	settle(1);
	refuse(fd, "", WIRE_REASON_NAME_NEEDED);
	refuse(fd, "b", WIRE_REASON_LOAD_FAILED);
	ask(fd, WIRE_ATTACH, "a", 0, WIRE_ATTACHED); /* the connection goes on after all these */
	ck_assert_uint_eq(server.refused_total, 5);
	close(fd);
}
END_TEST

START_TEST(listing)
{
	struct wire_message message;
	int fd = join();

	message = ask(fd, WIRE_LIST, NULL, 0, WIRE_LISTED);
	ck_assert_uint_eq(message.listed.state, WIRE_STATE_NONE);
	ck_assert_uint_eq(message.listed.n_models, 0);
	put_pack("a.gpt2w", 20);
	fixture_write(fixture_path(folder, "b.gpt2w"), "no", 2);
	scan();
	message = ask(fd, WIRE_LIST, NULL, 0, WIRE_LISTED);
	ck_assert_uint_eq(message.listed.state, WIRE_STATE_LOADING);
	settle(2);
	message = ask(fd, WIRE_LIST, NULL, 0, WIRE_LISTED);
	ck_assert_uint_eq(message.listed.state, WIRE_STATE_SERVING);
	ck_assert_uint_eq(message.listed.n_models, 2);
	ck_assert_uint_eq(message.listed.n_vocab, 20);
	ck_assert_uint_eq(message.listed.n_positions, 3);
	ck_assert_uint_eq(message.listed.n_embd, 16);
	ck_assert_uint_eq(message.listed.n_tensors, 2);
	ck_assert_uint_eq(message.listed.wte_dtype, GW_F32);
	ck_assert_uint_eq(message.listed.wpe_dtype, GW_F16);
	ck_assert_str_eq(message.listed.model, "a");
	ck_assert_str_eq(message.listed.file, fixture_path(folder, "a.gpt2w"));
	ck_assert_str_eq(message.listed.message, "");
	message = ask(fd, WIRE_LIST, NULL, 1, WIRE_LISTED);
	ck_assert_uint_eq(message.listed.state, WIRE_STATE_FAILED);
	ck_assert_str_ne(message.listed.message, "");
	message = ask(fd, WIRE_LIST, NULL, UINT32_MAX, WIRE_LISTED);
	ck_assert_uint_eq(message.listed.state, WIRE_STATE_NONE);
	ck_assert_uint_eq(message.listed.index, UINT32_MAX);
	close(fd);
}
END_TEST

START_TEST(status)
{
	struct wire_message message;
	int fd;

	serve_pack("a.gpt2w");
	fd = join();
	ask(fd, WIRE_ATTACH, "", 0, WIRE_ATTACHED);
	refuse(fd, "x", WIRE_REASON_UNKNOWN_MODEL);
	message = ask(fd, WIRE_STATUS, NULL, 0, WIRE_STATUS_REPLY);
	ck_assert_uint_eq(message.status_reply.pid, (uint64_t)getpid());
	ck_assert_uint_eq(message.status_reply.n_models, 1);
	ck_assert_uint_eq(message.status_reply.connections, 1);
	ck_assert_uint_eq(message.status_reply.connections_total, 1);
	ck_assert_uint_eq(message.status_reply.attached_total, 1);
	ck_assert_uint_eq(message.status_reply.refused_total, 1);
	ck_assert_uint_eq(message.status_reply.max_connections, 8);
	ck_assert_uint_eq(message.status_reply.max_connections_per_user, 6);
	ck_assert_uint_eq(message.status_reply.image_bytes,
			  gd_store_at(server.store, 0)->image->pack->superblock.image_bytes);
	ck_assert_str_eq(message.status_reply.release, GW_RELEASE);
	close(fd);
}
END_TEST

static struct wire_message steer(int fd, enum wire_action action, const char *model,
				 uint16_t answer)
{
	struct wire_message message = { .type = WIRE_STEER, .request = 42,
					.steer = { .action = action } };

	wire_put_text(message.steer.model, sizeof message.steer.model, model);
	ck_assert_code(error, wire_send(fd, &message, NULL, 0, 0, &error), GW_OK);
	turn();
	return receive(fd, answer);
}

START_TEST(steering)
{
	struct wire_message message;
	uint64_t generation;
	int fd;

	serve_pack("a.gpt2w");
	fd = join();
	generation = ask(fd, WIRE_ATTACH, "a", 0, WIRE_ATTACHED).attached.generation;
	message = steer(fd, WIRE_ACTION_RELOAD, "", WIRE_STEERED);
	ck_assert_uint_eq(message.steered.n_models, 1);
	ck_assert_uint_eq(ask(fd, WIRE_LIST, NULL, 0, WIRE_LISTED).listed.busy, 0); /* as it was */
	put_pack("a.gpt2w", 30);
	steer(fd, WIRE_ACTION_RELOAD, "a", WIRE_STEERED);
	message = ask(fd, WIRE_LIST, NULL, 0, WIRE_LISTED);
	ck_assert_uint_eq(message.listed.busy, 1);
	ck_assert_uint_eq(message.listed.state, WIRE_STATE_SERVING);
	settle(1);
	ck_assert_uint_gt(receive(fd, WIRE_NEWS).news.generation, generation);
	steer(fd, WIRE_ACTION_UNLOAD, "a", WIRE_NEWS);
	receive(fd, WIRE_STEERED);
	message = ask(fd, WIRE_LIST, NULL, 0, WIRE_LISTED);
	ck_assert_uint_eq(message.listed.state, WIRE_STATE_UNLOADED);
	ck_assert_uint_eq(message.listed.generation, 0);
	ck_assert_ptr_nonnull(strstr(message.listed.message, "unloaded by uid"));
	refuse(fd, "a", WIRE_REASON_LOAD_FAILED);
	steer(fd, WIRE_ACTION_LOAD, "a", WIRE_STEERED);
	settle(1);
	ck_assert_uint_ne(receive(fd, WIRE_NEWS).news.generation, 0);
	/* one that has come meanwhile, and one that nobody knows */
	put_pack("b.gpt2w", 30);
	message = steer(fd, WIRE_ACTION_LOAD, "b", WIRE_STEERED);
	ck_assert_uint_eq(message.steered.n_models, 2);
	settle(1);
	for (int action = WIRE_ACTION_RELOAD; action <= WIRE_ACTION_UNLOAD; action++) {
		message = steer(fd, (enum wire_action)action, "c", WIRE_REFUSED);
		ck_assert_uint_eq(message.refused.reason, WIRE_REASON_UNKNOWN_MODEL);
	}
	close(fd);
}
END_TEST

static struct wire_generation_reply generation(int fd, uint32_t index)
{
	struct wire_message message = { .type = WIRE_GENERATION, .request = 42,
					.generation = { index } };

	ck_assert_code(error, wire_send(fd, &message, NULL, 0, 0, &error), GW_OK);
	turn();
	return receive(fd, WIRE_GENERATION_REPLY).generation_reply;
}

START_TEST(generations)
{
	struct wire_generation_reply reply;
	struct wire_message message;
	uint64_t first, image_bytes;
	int fd, held;

	serve_pack("a.gpt2w");
	fd = join();
	first = ask(fd, WIRE_ATTACH, "a", 0, WIRE_ATTACHED).attached.generation;
	image_bytes = gd_store_at(server.store, 0)->image->fd_bytes;
	ck_assert_code(error, gd_reopen(gd_store_at(server.store, 0)->image->fd, &held, &error),
		       GW_OK);
	put_pack("a.gpt2w", 3000);
	scan();
	settle(1);
	receive(fd, WIRE_NEWS);
	reply = generation(fd, 0);
	ck_assert_uint_eq(reply.n_generations, 2);
	ck_assert_uint_eq(reply.life, WIRE_LIFE_CURRENT);
	ck_assert_uint_eq(reply.attached, 0);
	reply = generation(fd, 1);
	ck_assert_uint_eq(reply.life, WIRE_LIFE_RETIRED);
	ck_assert_uint_eq(reply.generation, first);
	ck_assert_uint_eq(reply.attached, 1);
	ck_assert_uint_eq(reply.image_bytes, image_bytes);
	ck_assert_uint_eq(reply.resident_bytes, image_bytes);
	ck_assert_str_eq(reply.model, "a");
	ck_assert_uint_eq(generation(fd, 2).life, WIRE_LIFE_NONE);
	message = ask(fd, WIRE_STATUS, NULL, 0, WIRE_STATUS_REPLY);
	ck_assert_uint_eq(message.status_reply.retired, 1);
	ck_assert_uint_eq(message.status_reply.retired_bytes, image_bytes);
	ck_assert_uint_eq(message.status_reply.published_total, 2);
	ck_assert_uint_eq(message.status_reply.failed_total, 0);
	message = ask(fd, WIRE_LIST, NULL, 0, WIRE_LISTED);
	ck_assert_uint_eq(message.listed.retired, 1);
	ck_assert_uint_eq(message.listed.retired_bytes, image_bytes);
	close(held);
	reply = generation(fd, 0); /* the first index asks the kernel */
	ck_assert_uint_eq(reply.n_generations, 1);
	close(fd);
}
END_TEST

START_TEST(clients)
{
	struct wire_message message = { .type = WIRE_CLIENT, .request = 42, .client = { 0 } };
	struct wire_client_reply reply;
	int fd;

	serve_pack("a.gpt2w");
	fd = join();
	ask(fd, WIRE_ATTACH, "a", 0, WIRE_ATTACHED);
	ck_assert_code(error, wire_send(fd, &message, NULL, 0, 0, &error), GW_OK);
	turn();
	reply = receive(fd, WIRE_CLIENT_REPLY).client_reply;
	ck_assert_uint_eq(reply.n_clients, 1);
	ck_assert_uint_eq(reply.uid, getuid());
	ck_assert_uint_eq(reply.pid, (uint32_t)getpid());
	ck_assert_uint_eq(reply.generation, gd_store_at(server.store, 0)->generation);
	ck_assert_str_eq(reply.model, "a");
	close(fd);
}
END_TEST

START_TEST(malformed_messages_end_the_connection)
{
	uint8_t bytes[WIRE_MAX_MESSAGE_BYTES];
	struct wire_message message = { .type = WIRE_NEWS, .request = 42, .news = { 1, 1 } };
	int fd = join();

	ck_assert_code(error, wire_send(fd, &message, NULL, 0, 0, &error), GW_OK);
	for (int i = 0; i < 20; i++) /* what else lies there does not eat the refusal */
		send_message(fd, WIRE_STATUS, NULL, 0);
	turn();
	ck_assert_uint_eq(receive(fd, WIRE_REFUSED).refused.reason, WIRE_REASON_MALFORMED);
	expect_end(fd);
	close(fd);

	fd = join();
	message = (struct wire_message) { .type = WIRE_STATUS, .request = 42 };
	ck_assert_uint_eq(wire_encode(&message, bytes), WIRE_HEADER_BYTES);
	bytes[WIRE_HEADER_VERSION_AT] = 9;
	ck_assert_int_eq(send(fd, bytes, WIRE_HEADER_BYTES, 0), WIRE_HEADER_BYTES);
	turn();
	ck_assert_uint_eq(receive(fd, WIRE_REFUSED).refused.reason, WIRE_REASON_VERSION);
	expect_end(fd);
	close(fd);

	fd = join();
	ck_assert_int_eq(send(fd, "x", 1, 0), 1);
	turn();
	ck_assert_int_eq(recv(fd, bytes, sizeof bytes, 0), 24 + 256);
	ck_assert_uint_eq(bytes[WIRE_REFUSED_REASON_AT], WIRE_REASON_MALFORMED);
	expect_end(fd);
	close(fd);

	/* descriptors are closed and counted; the fixture would find one that is kept */
	fd = join();
	ck_assert_code(error, wire_send(fd, &message, (int[]) { 0, fd }, 2, 0, &error), GW_OK);
	turn();
	ck_assert_uint_eq(server.foreign_fds, 2);
	ck_assert_ptr_null(server.peers);
	close(fd);
}
END_TEST

START_TEST(who_waits_is_answered)
{
	int waits, fails, gone, half, removed;

	put_pack("a.gpt2w", 20);
	put_pack("c.gpt2w", 20);
	fixture_write(fixture_path(folder, "b.gpt2w"), "no", 2);
	scan();
	server.quota.limits.max_unread_fds_per_user = 100;
	waits = join();
	fails = join();
	gone = join();
	half = join();
	removed = join();
	ck_assert_str_eq(ask(waits, WIRE_ATTACH, "a", 0, WIRE_LOADING).loading.model, "a");
	ask(fails, WIRE_ATTACH, "b", 0, WIRE_LOADING);
	ask(gone, WIRE_ATTACH, "a", 0, WIRE_LOADING);
	ask(half, WIRE_ATTACH, "a", 0, WIRE_LOADING);
	ask(removed, WIRE_ATTACH, "c", 0, WIRE_LOADING);
	ck_assert_uint_eq(server.quota.users->unread_fds, 10);
	send_message(waits, WIRE_STATUS, NULL, 0); /* not read before its turn */
	close(gone);
	ck_assert_int_eq(shutdown(half, SHUT_WR), 0);
	ck_assert_int_eq(unlink(fixture_path(folder, "c.gpt2w")), 0);
	scan();
	ck_assert_uint_eq(receive(removed, WIRE_REFUSED).refused.reason, WIRE_REASON_LOAD_FAILED);
	settle(2);
	receive(waits, WIRE_ATTACHED);
	turn();
	receive(waits, WIRE_STATUS_REPLY);
	ck_assert_uint_eq(receive(fails, WIRE_REFUSED).refused.reason, WIRE_REASON_LOAD_FAILED);
	ask(fails, WIRE_STATUS, NULL, 0, WIRE_STATUS_REPLY);
	close(half);
	turn();
	ck_assert_uint_eq(server.quota.connections, 3);
	close(waits);
	close(fails);
	close(removed);
}
END_TEST

START_TEST(news)
{
	struct wire_message message;
	uint64_t generation;
	int fd, idle;

	serve_pack("a.gpt2w");
	fd = join();
	idle = join();
	generation = ask(fd, WIRE_ATTACH, "a", 0, WIRE_ATTACHED).attached.generation;
	put_pack("a.gpt2w", 30);
	scan();
	settle(1);
	/* news that lie unread make no answer that was read count as unread */
	ck_assert_uint_eq(server.quota.users->unread_fds, 0);
	ck_assert_uint_eq(server.quota.users->unread_replies, 0);
	message = receive(fd, WIRE_NEWS);
	ck_assert_uint_gt(message.news.generation, generation);
	ck_assert_uint_eq(message.news.epoch, 2);
	ck_assert_int_eq(unlink(fixture_path(folder, "a.gpt2w")), 0);
	scan();
	message = receive(fd, WIRE_NEWS);
	ck_assert_uint_eq(message.news.generation, 0);
	ck_assert_uint_eq(message.news.epoch, 3);
	refuse(fd, "a", WIRE_REASON_NO_MODEL);
	/* who attached nothing hears nothing */
	ask(idle, WIRE_STATUS, NULL, 0, WIRE_STATUS_REPLY);
	close(fd);
	close(idle);
}
END_TEST

START_TEST(unread_descriptors_are_limited)
{
	struct gd_user *user;
	int first, second, third;

	serve_pack("a.gpt2w");
	first = join();
	second = join();
	third = join();
	/* the limit is 5: two answers */
	send_message(first, WIRE_ATTACH, "a", 0);
	send_message(second, WIRE_ATTACH, "a", 0);
	turn();
	user = server.quota.users;
	ck_assert_uint_eq(user->unread_fds, 4);
	refuse(third, "a", WIRE_REASON_LIMIT);
	expect_end(third);
	close(third);
	/* half an end does not make them forgotten, although the connection is over */
	ck_assert_int_eq(shutdown(first, SHUT_RDWR), 0);
	turn();
	ck_assert_ptr_nonnull(server.leaving);
	ck_assert_uint_eq(user->unread_fds, 4);
	third = join();
	refuse(third, "a", WIRE_REASON_LIMIT);
	close(third);
	/* reading does */
	receive(second, WIRE_ATTACHED);
	third = join();
	ask(third, WIRE_ATTACH, "a", 0, WIRE_ATTACHED);
	/* and so does the real end */
	close(first);
	turn();
	ck_assert_ptr_null(server.leaving);
	ask(third, WIRE_ATTACH, "a", 0, WIRE_ATTACHED);
	ask(second, WIRE_ATTACH, "a", 0, WIRE_ATTACHED);
	ck_assert_uint_eq(server.quota.connections, 2);
	close(second);
	close(third);
}
END_TEST

static void expect_limit(int fd, const char *message)
{
	struct wire_message refused = receive(fd, WIRE_REFUSED);

	ck_assert_uint_eq(refused.refused.reason, WIRE_REASON_LIMIT);
	ck_assert_str_eq(refused.refused.message, message);
	expect_end(fd);
	close(fd);
}

START_TEST(unread_answers_are_limited)
{
	const struct gd_user *user;
	int first = join(), second = join(), third = join();

	server.quota.limits.max_unread_replies_per_user = 3;
	user = server.quota.users;
	for (int i = 0; i < 2; i++)
		send_message(first, WIRE_STATUS, NULL, 0);
	send_message(second, WIRE_LIST, NULL, 0);
	turn();
	ck_assert_uint_eq(user->unread_replies, 3);
	send_message(third, WIRE_STATUS, NULL, 0);
	turn();
	expect_limit(third, "this user has 3 answers that are not read");
	/* an end of half of it does not make them forgotten */
	ck_assert_int_eq(shutdown(first, SHUT_WR), 0);
	turn();
	ck_assert_ptr_nonnull(server.leaving);
	third = join(); /* lets go of the other third, which has read all */
	ck_assert_uint_eq(user->unread_replies, 3);
	send_message(third, WIRE_STATUS, NULL, 0);
	turn();
	expect_limit(third, "this user has 3 answers that are not read");
	/* one less is enough, and reading makes it one less */
	receive(second, WIRE_LISTED);
	ask(second, WIRE_LIST, NULL, 0, WIRE_LISTED);
	ask(second, WIRE_LIST, NULL, 0, WIRE_LISTED);
	receive(first, WIRE_STATUS_REPLY); /* one of the two */
	third = join();
	send_message(third, WIRE_STATUS, NULL, 0);
	turn();
	receive(third, WIRE_STATUS_REPLY);
	close(first);
	turn();
	ck_assert_ptr_null(server.leaving);
	ck_assert_uint_eq(server.quota.connections, 2);
	close(second);
	close(third);
}
END_TEST

START_TEST(waiting_requests_are_limited)
{
	int fd[3];

	server.quota.limits.max_unread_fds_per_user = 100;
	server.quota.limits.max_requests_per_user = 2;
	for (int round = 0; round < 2; round++) {
		put_pack(round ? "b.gpt2w" : "a.gpt2w", 20);
		scan();
		for (int i = 0; i < 3; i++)
			fd[i] = join();
		for (int i = 0; i < 2; i++)
			ask(fd[i], WIRE_ATTACH, round ? "b" : "a", 0, WIRE_LOADING);
		ck_assert_uint_eq(server.quota.users->requests, 2);
		send_message(fd[2], WIRE_ATTACH, round ? "b" : "a", 0);
		turn();
		expect_limit(fd[2], "this user has 2 requests that wait for a model to be loaded");
		close(fd[0]); /* he waits no longer, and another may */
		server.peers->next->watch.ready(&server.peers->next->watch, POLLHUP);
		gd_turn_serve(&server);
		ck_assert_uint_eq(server.quota.users->requests, 1);
		fd[0] = join();
		ask(fd[0], WIRE_ATTACH, round ? "b" : "a", 0, WIRE_LOADING);
		settle(1);
		ck_assert_uint_eq(server.quota.users->requests, 0);
		for (int i = 0; i < 2; i++) {
			receive(fd[i], WIRE_ATTACHED);
			close(fd[i]);
		}
		turn();
	}
}
END_TEST

/* Fault 17: who has a thousand connections, and sends on all of them, is served no sooner for that. */
START_TEST(users_take_turns)
{
	enum { N = GD_TURN_COST / GD_ATTACH_COST + 2 };
	const char *reason = NULL;
	struct gd_peer *peer;
	struct gd_user *one;
	int fd[N];

	serve_pack("a.gpt2w");
	server.quota.limits = (struct gd_limits) { N, N, 100, 2000, 5 };
	for (int i = 0; i < N; i++)
		fd[i] = join();
	peer = server.peers; /* the last that came: as if it were another user's */
	one = peer->user;
	gd_quota_disconnect(&server.quota, one);
	peer->user = gd_quota_connect(&server.quota, 7, &reason);
	ck_assert_ptr_nonnull(peer->user);
	ck_assert_ptr_ne(peer->user, one);

	for (int i = 0; i < N; i++)
		send_message(fd[i], WIRE_ATTACH, "a", 0);
	for (struct gd_peer *each = peer->next; each; each = each->next)
		each->watch.ready(&each->watch, POLLIN);
	peer->watch.ready(&peer->watch, POLLIN); /* behind all others */
	ck_assert(gd_turn_serve(&server));
	ck_assert_uint_eq(server.attached_total, GD_TURN_COST / GD_ATTACH_COST);
	ck_assert_uint_eq(peer->user->unread_fds, WIRE_REPLY_FDS);
	ck_assert_uint_eq(one->unread_fds,
			  (GD_TURN_COST / GD_ATTACH_COST - 1) * WIRE_REPLY_FDS);
	receive(fd[N - 1], WIRE_ATTACHED);
	ck_assert(!gd_turn_serve(&server));
	for (int i = 0; i < N; i++) {
		if (i < N - 1)
			receive(fd[i], WIRE_ATTACHED);
		close(fd[i]);
	}
	turn();
	ck_assert_ptr_null(server.peers);
}
END_TEST

START_TEST(who_reads_nothing_is_let_go)
{
	int fd = join();

	for (int i = 0; i < 1000 && server.peers; i++) {
		send_message(fd, WIRE_LIST, NULL, 0);
		turn();
	}
	ck_assert_ptr_null(server.peers);
	receive(fd, WIRE_LISTED); /* what was sent is there */
	close(fd);
}
END_TEST

START_TEST(connections_are_limited)
{
	struct wire_message message;
	int fd[7];
	size_t n_fds;

	for (int i = 0; i < 6; i++)
		fd[i] = join();
	/* told so, although a request of his lies there */
	ck_assert_code(error, wire_connect(path, wire_now_ms() + 60000, &fd[6], &error), GW_OK);
	send_message(fd[6], WIRE_STATUS, NULL, 0);
	turn();
	ck_assert_code(error, wire_receive(fd[6], &message, NULL, 0, &n_fds, NULL, 0, &error),
		       GW_OK);
	ck_assert_uint_eq(message.type, WIRE_REFUSED);
	ck_assert_uint_eq(message.refused.reason, WIRE_REASON_LIMIT);
	expect_end(fd[6]);
	ask(fd[0], WIRE_STATUS, NULL, 0, WIRE_STATUS_REPLY);
	for (int i = 0; i < 7; i++)
		close(fd[i]);
}
END_TEST

static void limit_fds(rlim_t most, struct rlimit *out_before)
{
	struct rlimit few;

	getrlimit(RLIMIT_NOFILE, out_before);
	few = (struct rlimit) { most, out_before->rlim_max };
	setrlimit(RLIMIT_NOFILE, &few);
}

START_TEST(without_descriptors)
{
	struct wire_message message;
	struct rlimit before;
	size_t n_fds;
	int fd, more, room;

	serve_pack("a.gpt2w");
	fd = join();
	for (room = 0; room < 2; room++) { /* for none of the two, and for one */
		int next = dup(0);

		close(next);
		send_message(fd, WIRE_ATTACH, "a", 0);
		limit_fds((rlim_t)(next + room), &before);
		server.peers->watch.ready(&server.peers->watch, POLLIN);
		gd_turn_serve(&server);
		setrlimit(RLIMIT_NOFILE, &before);
		ck_assert_uint_eq(receive(fd, WIRE_REFUSED).refused.reason, WIRE_REASON_RESOURCE);
	}
	ask(fd, WIRE_ATTACH, "a", 0, WIRE_ATTACHED);
	/* a connection that there is no descriptor for is turned away with the spare one */
	ck_assert_code(error, wire_connect(path, wire_now_ms() + 60000, &more, &error), GW_OK);
	room = dup(0);
	close(room);
	limit_fds((rlim_t)room, &before);
	turn();
	setrlimit(RLIMIT_NOFILE, &before);
	ck_assert_code(error, wire_receive(more, &message, NULL, 0, &n_fds, NULL, 0, &error),
		       GW_OK);
	ck_assert_uint_eq(message.refused.reason, WIRE_REASON_LIMIT);
	close(more);
	ck_assert_int_ge(server.spare_fd, 0);
	ck_assert_int_eq(server.listen_watch.events, POLLIN);
	/* without even that one the daemon pauses, and goes on */
	close(server.spare_fd);
	server.spare_fd = -1;
	ck_assert_code(error, wire_connect(path, wire_now_ms() + 60000, &more, &error), GW_OK);
	limit_fds(3, &before);
	gd_server_accept(&server.listen_watch, POLLIN);
	setrlimit(RLIMIT_NOFILE, &before);
	ck_assert_int_eq(server.listen_watch.events, 0);
	gd_server_resume(&server.pause_watch, POLLIN);
	ck_assert_int_eq(server.listen_watch.events, POLLIN);
	turn();
	ask(more, WIRE_STATUS, NULL, 0, WIRE_STATUS_REPLY);
	close(more);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("request");
	TCase *tcase = fixture_case(suite, "requests"), *limits = fixture_case(suite, "limits");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_checked_fixture(limits, setup, teardown);
	tcase_add_test(tcase, attaching);
	tcase_add_test(tcase, refusals);
	tcase_add_test(tcase, listing);
	tcase_add_test(tcase, status);
	tcase_add_test(tcase, steering);
	tcase_add_test(tcase, generations);
	tcase_add_test(tcase, clients);
	tcase_add_test(tcase, malformed_messages_end_the_connection);
	tcase_add_test(tcase, who_waits_is_answered);
	tcase_add_test(tcase, news);
	tcase_add_test(limits, unread_descriptors_are_limited);
	tcase_add_test(limits, unread_answers_are_limited);
	tcase_add_test(limits, waiting_requests_are_limited);
	tcase_add_test(limits, users_take_turns);
	tcase_add_test(limits, who_reads_nothing_is_let_go);
	tcase_add_test(limits, connections_are_limited);
	tcase_add_test(limits, without_descriptors);
	return fixture_main(suite);
}
