/* SPDX-License-Identifier: MIT */
/* Connections: taken in, read, told news, ended. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "daemon/limits.h"
#include "daemon/log.h"
#include "daemon/server.h"
#include "daemon/turn.h"
#include "format/endpoint.h"

/*
 * Ends a connection so that what was sent last is read: the kernel answers a close over unread messages
 * with ECONNRESET, ahead of all that waits for the peer. Who has sent more than is drained here is told
 * less. Descriptors in what is thrown away end with it.
 */
static void drain(int fd)
{
	uint8_t byte;

	for (int i = 0; i < GD_DRAINED_MESSAGES; i++)
		if (recv(fd, &byte, sizeof byte, MSG_DONTWAIT | MSG_TRUNC) <= 0)
			break;
}

static void peer_attach(struct gd_peer *peer, struct gd_model *model)
{
	if (peer->attached)
		peer->attached->attached--;
	peer->attached = model;
	if (model)
		model->attached++;
}

static void peer_free(struct gd_peer *peer)
{
	close(peer->watch.fd);
	gd_peer_forget_unread(peer);
	gd_quota_disconnect(&peer->server->quota, peer->user);
	free(peer);
}

/* Has gd_server_resume called; returns whether it will be. */
static bool look_later(struct gd_server *server, unsigned ms)
{
	const struct itimerspec once = { .it_value.tv_nsec = ms * 1000000L };

	return server->pause_watch.watched &&
	       timerfd_settime(server->pause_watch.fd, 0, &once, NULL) == 0;
}

static void put_leaving(struct gd_server *server, struct gd_peer *peer)
{
	if (!server->leaving) {
		server->leaving_end = &server->leaving;
		look_later(server, GD_LEAVING_LOOK_MS);
	}
	peer->next = NULL;
	*server->leaving_end = peer;
	server->leaving_end = &peer->next;
}

/*
 * Ends a connection. Answers that lie unread at the other end take our memory, and the descriptors in
 * them use up what the kernel allows us, whether our end is open or not: until they are read or thrown
 * away, which only our end can tell, the connection goes on counting as its user's. Else whoever keeps
 * connecting, asking and misbehaving could use up everybody's.
 */
static void peer_end(struct gd_peer *peer, bool has_ended)
{
	struct gd_server *server = peer->server;

	gd_turn_remove(peer);
	gd_loop_remove(server->loop, &peer->watch);
	gd_peer_stop_waiting(peer);
	peer_attach(peer, NULL);
	*peer->at = peer->next;
	if (peer->next)
		peer->next->at = peer->at;
	gd_peer_settle(peer);
	/* who has ended it himself is told nothing by this; at worst a reset ahead of the last answer */
	if (!has_ended || peer->unread_replies) {
		shutdown(peer->watch.fd, SHUT_RDWR);
		drain(peer->watch.fd);
	}
	if (peer->unread_replies)
		put_leaving(server, peer);
	else
		peer_free(peer);
}

/* Lets go of those whose answers are read by now; most of them at a time, so that many delay nobody. */
static void let_leave(struct gd_server *server, int most)
{
	struct gd_peer *last = NULL;

	for (int i = 0; i < most && server->leaving != last; i++) {
		struct gd_peer *peer = server->leaving;

		server->leaving = peer->next;
		gd_peer_settle(peer);
		if (!peer->unread_replies) {
			peer_free(peer);
			continue;
		}
		put_leaving(server, peer);
		if (!last)
			last = peer;
	}
}

/* A message that is none: says so where that is of use, and ends the connection. */
static void peer_malformed(struct gd_peer *peer, int code, uint32_t request,
			   const struct gw_error *error)
{
	if (code == GW_E_CLOSED) /* the usual end */
		return;
	gd_log_peer(GD_EVENT_PEER_ENDED, peer->user->uid, peer->pid, "uid %u, pid %d: %s",
		    (unsigned)peer->user->uid, (int)peer->pid, error->message);
	gd_request_refuse(peer, request,
			  code == GW_E_WIRE_VERSION ? WIRE_REASON_VERSION : WIRE_REASON_MALFORMED,
			  "%s", error->message);
}

/* A peer who waits for a load is not read: his answers come in order. */
static void peer_watch(struct gd_peer *peer)
{
	gd_loop_change(peer->server->loop, &peer->watch, peer->waiting ? 0 : POLLIN);
}

static void peer_ready(struct gd_watch *watch, short events)
{
	gd_loop_hold(watch);
	gd_turn_add(watch->owner, events);
}

/* Reads one message and answers it; who has sent more is ready again. */
int gd_peer_serve(struct gd_peer *peer)
{
	struct gd_server *server = peer->server;
	struct gw_error error = GW_ERROR_INIT;
	struct wire_message message = { 0 };
	size_t n_fds, foreign = 0;
	int code;

	if (peer->waiting && peer->events & (POLLHUP | POLLERR)) {
		peer_end(peer, false);
		return GD_END_COST;
	}
	code = peer->waiting ? GW_E_TIMEOUT :
			       wire_receive(peer->watch.fd, &message, NULL, 0, &n_fds, &foreign, 0,
					    &error);
	server->foreign_fds += foreign;
	if (code && code != GW_E_TIMEOUT)
		peer_malformed(peer, code, message.request, &error);
	if (code != GW_E_TIMEOUT && (code || !gd_request_answer(peer, &message))) {
		peer_end(peer, code == GW_E_CLOSED);
		return code == GW_E_CLOSED ? GD_END_COST : GD_TURN_COST;
	}
	peer_watch(peer);
	gd_loop_resume(server->loop, &peer->watch);
	return code				    ? GD_END_COST :
	       message.type == WIRE_ATTACH ? GD_ATTACH_COST :
					     GD_TURN_COST;
}

/* Says no to a connection that is not taken in; best effort. */
static void turn_away(struct gd_server *server, int fd, const char *why)
{
	struct wire_message message = { .type = WIRE_REFUSED,
					.refused = { .reason = WIRE_REASON_LIMIT } };

	server->refused_total++;
	wire_put_text(message.refused.message, sizeof message.refused.message, why);
	wire_send(fd, &message, NULL, 0, 0, NULL);
	drain(fd);
	close(fd);
}

static void peer_new(struct gd_server *server, int fd)
{
	const int send_buffer_bytes = GD_SEND_BUFFER_BYTES;
	struct gw_error error = GW_ERROR_INIT;
	struct ucred credentials = { .uid = (uid_t)-1 };
	socklen_t size = sizeof credentials;
	const char *reason = "no memory";
	struct gd_peer *peer = calloc(1, sizeof *peer);

	server->connections_total++;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
		reason = "unknown user";
	else if (peer)
		peer->user = gd_quota_connect(&server->quota, credentials.uid, &reason);
	if (!peer || !peer->user) {
		if (peer)
			gd_log_peer(GD_EVENT_PEER_REFUSED, credentials.uid, credentials.pid,
				    "uid %u is turned away: %s", (unsigned)credentials.uid, reason);
		turn_away(server, fd, reason);
		free(peer);
		return;
	}
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_buffer_bytes, sizeof send_buffer_bytes);
	peer->server = server;
	peer->pid = credentials.pid;
	peer->since_ms = wire_now_ms();
	peer->watch = (struct gd_watch){ .fd = fd, .events = POLLIN, .ready = peer_ready,
					 .owner = peer, .held = true };
	if (gd_loop_add(server->loop, &peer->watch, &error)) {
		gd_log_peer(GD_EVENT_PEER_REFUSED, credentials.uid, credentials.pid,
			    "uid %u is turned away: %s", (unsigned)credentials.uid, error.message);
		gd_quota_disconnect(&server->quota, peer->user);
		turn_away(server, fd, error.message);
		free(peer);
		return;
	}
	peer->next = server->peers;
	peer->at = &server->peers;
	if (peer->next)
		peer->next->at = &peer->next;
	server->peers = peer;
	/* who connects has something to say, or has gone: that is most often there already */
	gd_turn_add(peer, POLLIN);
}

/* Accepting fails for reasons that may last (ENFILE, ENOBUFS): looks again after a while instead of
 * being woken at once, for ever. Without a timer there is nothing for it but to go on. */
static void pause_accepting(struct gd_server *server)
{
	if (look_later(server, GD_ACCEPT_PAUSE_MS))
		gd_loop_change(server->loop, &server->listen_watch, 0);
}

void gd_server_resume(struct gd_watch *watch, short events)
{
	struct gd_server *server = watch->owner;
	uint64_t expirations;
	ssize_t done = read(watch->fd, &expirations, sizeof expirations);

	(void)events;
	(void)done; /* nonblocking; looking is right in any case */
	let_leave(server, GD_LEAVING_PER_LOOK);
	if (server->leaving)
		look_later(server, GD_LEAVING_LOOK_MS);
	gd_loop_change(server->loop, &server->listen_watch, POLLIN);
}

/* No descriptor is left: with the one kept for this, the connection is taken in and turned away, so
 * that it does not wake the loop for ever. */
static void accept_with_spare(struct gd_server *server)
{
	int fd;

	if (server->spare_fd >= 0)
		close(server->spare_fd);
	fd = accept4(server->listen_watch.fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		turn_away(server, fd, "the daemon has no descriptor left");
	else if (errno != EAGAIN)
		pause_accepting(server); /* another thread was quicker */
	server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	gd_log_peer(GD_EVENT_PEER_REFUSED, GD_LOG_NOBODY, 0,
		    "a connection is turned away: no descriptor left");
}

void gd_server_accept(struct gd_watch *watch, short events)
{
	struct gd_server *server = watch->owner;

	(void)events;
	gd_log_left_out();
	let_leave(server, GD_LEAVING_PER_TURN);
	for (int i = 0; i < GD_ACCEPTS_PER_TURN; i++) {
		int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd >= 0) {
			peer_new(server, fd);
		} else if (errno == EMFILE || errno == ENFILE) {
			accept_with_spare(server);
			return;
		} else if (errno != EINTR && errno != ECONNABORTED) {
			if (errno != EAGAIN) {
				gd_log_peer(GD_EVENT_NONE, GD_LOG_NOBODY, 0, "accept failed: %s",
					    strerror(errno));
				pause_accepting(server);
			}
			return;
		}
	}
}

void gd_server_published(void *context, struct gd_model *model)
{
	struct gd_server *server = context;
	struct wire_message news = { .type = WIRE_NEWS,
				     .news = { .generation = model->generation,
					       .epoch = model->epoch } };

	server->published_total += model->generation != 0;
	/* who does not read his news goes without: the notice board says the same */
	for (struct gd_peer *peer = server->peers; peer; peer = peer->next) {
		if (peer->attached != model)
			continue;
		gd_peer_settle(peer); /* news that he does not read hide that he has read the rest */
		wire_send(peer->watch.fd, &news, NULL, 0, 0, NULL);
	}
}

void gd_server_settled(void *context, struct gd_model *model)
{
	struct gd_server *server = context;
	struct gd_peer *next;

	for (struct gd_peer *peer = server->peers; peer; peer = next) {
		next = peer->next;
		if (peer->waiting != model)
			continue;
		if (gd_request_settle(peer))
			peer_watch(peer);
		else
			peer_end(peer, false);
	}
}

void gd_server_removed(void *context, struct gd_model *model)
{
	struct gd_server *server = context;

	gd_server_settled(context, model);
	for (struct gd_peer *peer = server->peers; peer; peer = peer->next)
		if (peer->attached == model)
			peer_attach(peer, NULL);
}

void gd_server_close_peers(struct gd_server *server)
{
	while (server->peers)
		peer_end(server->peers, false);
	while (server->leaving) {
		struct gd_peer *peer = server->leaving;

		server->leaving = peer->next;
		peer_free(peer);
	}
}
