/* SPDX-License-Identifier: MIT */
/* What each user (SO_PEERCRED) holds of the daemon, and what he may. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

struct gd_limits {
	uint64_t max_connections;          /* of all users together */
	uint64_t max_connections_per_user;
	uint64_t max_unread_fds_per_user;  /* descriptors in answers that he has not read */
	uint64_t max_unread_replies_per_user; /* those answers, with and without descriptors */
	uint64_t max_requests_per_user;    /* requests that wait for a model to be loaded */
};

struct gd_peer;
TAILQ_HEAD(gd_peers, gd_peer);

/* A user with at least one connection. */
struct gd_user {
	uid_t uid;
	uint64_t connections;
	uint64_t unread_fds, unread_replies; /* as last looked at, or promised; no less than there are */
	uint64_t requests;
	struct gd_peers ready;  /* connections to be looked at (turn.h) */
	struct gd_peers unread; /* connections with answers not read, longest not looked at first */
	TAILQ_ENTRY(gd_user) in_turn; /* while there is one that is ready */
	struct gd_user *next;
};

TAILQ_HEAD(gd_users, gd_user);

struct gd_quota {
	struct gd_limits limits;
	uint64_t connections;
	struct gd_user *users;
};

/* A connection of uid, or NULL with *out_reason a sentence: a limit is reached or there is no memory. */
struct gd_user *gd_quota_connect(struct gd_quota *quota, uid_t uid, const char **out_reason);
/* The connection has ended; user may end with it. */
void gd_quota_disconnect(struct gd_quota *quota, struct gd_user *user);
