/* SPDX-License-Identifier: MIT */
/* What the daemon's parts share, and the connections. */
#pragma once

#include <stdint.h>

#include "daemon/listen.h"
#include "daemon/loop.h"
#include "daemon/quota.h"
#include "daemon/store.h"
#include "daemon/watch_files.h"
#include "format/wire.h"

struct gd_peer;

struct gd_server {
	struct gd_loop *loop;
	struct gd_store *store;
	struct gd_quota quota;
	struct gd_users ready; /* users with connections that are ready, the next one first (turn.h) */
	struct gd_watch listen_watch;
	struct gd_watch pause_watch; /* a timerfd: accepting, or those that leave, are to be looked at */
	struct gd_peer *peers; /* all connections that are open */
	struct gd_peer *leaving, **leaving_end; /* ended, with descriptors in answers that are not read */
	struct gd_watch_files *files; /* NULL: no directory, or it cannot be watched */
	int spare_fd;          /* given up to take in, and turn away, a connection when there is no other */
	uint64_t start_ms;
	gid_t admin_group; /* GD_KEEP_GROUP: none */
	uint64_t connections_total, attached_total, refused_total, foreign_fds, published_total;
};

/* A connection. */
struct gd_peer {
	struct gd_server *server;
	struct gd_watch watch;
	struct gd_user *user;
	pid_t pid;
	struct gd_model *attached; /* of the last ATTACHED; NULL: none, or it is withdrawn */
	uint64_t generation;       /* of the last ATTACHED; 0: none */
	uint64_t since_ms;         /* when it connected, as wire_now_ms */
	struct gd_model *waiting;  /* whose load is to be answered; NULL: none */
	uint32_t waiting_request;
	unsigned unread_fds; /* descriptors sent that may not have been received yet, or promised */
	unsigned unread_replies; /* answers likewise; without news */
	short events;              /* what it is ready for */
	bool is_ready;
	TAILQ_ENTRY(gd_peer) in_ready, in_unread; /* of its user, while is_ready, unread_replies or unread_fds */
	struct gd_peer *next, **at;
};

/* Takes in what waits at the listening socket. */
void gd_server_accept(struct gd_watch *watch, short events);

/* Goes on taking in after a pause, and lets go of those that have left. */
void gd_server_resume(struct gd_watch *watch, short events);

/* The store's events, with a struct gd_server as context. */
void gd_server_published(void *context, struct gd_model *model);
void gd_server_settled(void *context, struct gd_model *model);
void gd_server_removed(void *context, struct gd_model *model);

/* Looks at all packs again, what failed included, and logs what goes wrong. */
void gd_server_reload(struct gd_server *server);

/* Ends all connections. */
void gd_server_close_peers(struct gd_server *server);

/*
 * Answers one request (request.c). Returns whether the connection goes on.
 */
bool gd_request_answer(struct gd_peer *peer, const struct wire_message *request);
/* Answers a peer that waits for its model's load, which has ended. Likewise. */
bool gd_request_settle(struct gd_peer *peer);
/* The same for what administrators ask, and about generations (request_admin.c). */
bool gd_request_steer(struct gd_peer *peer, const struct wire_message *request);
bool gd_request_generation(struct gd_peer *peer, const struct wire_message *request);
bool gd_request_client(struct gd_peer *peer, const struct wire_message *request);
/* Sends an answer without descriptors. Likewise. */
bool gd_request_send(struct gd_peer *peer, const struct wire_message *message);
/* Says no, and counts it. Likewise. */
bool gd_request_refuse(struct gd_peer *peer, uint32_t request, enum wire_reason reason,
		       const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Counts an answer that is sent to peer, or descriptors, until he has received it (unread.c). */
void gd_peer_count_reply(struct gd_peer *peer);
void gd_peer_count_fds(struct gd_peer *peer);
/* Whether peer's user may be sent one more answer, and two more descriptors, after a look at what he has
 * received meanwhile. */
bool gd_peer_may_have_reply(struct gd_peer *peer);
bool gd_peer_may_have_fds(struct gd_peer *peer);
/* Forgets what peer has received meanwhile. */
void gd_peer_settle(struct gd_peer *peer);
/* Forgets all of it. */
void gd_peer_forget_unread(struct gd_peer *peer);
/* Looks at a connection that is ready and is taken out of its turn (peer.c); it may end. Returns what that
 * cost, as GD_TURN_COST counts. */
int gd_peer_serve(struct gd_peer *peer);
/* Has peer wait for model, and promises him its descriptors. */
void gd_peer_wait(struct gd_peer *peer, struct gd_model *model, uint32_t request);
/* Takes back what was promised to a peer that waits; fine if it does not. */
void gd_peer_stop_waiting(struct gd_peer *peer);
