/* SPDX-License-Identifier: MIT */
#include "daemon/turn.h"

#include "daemon/limits.h"

void gd_turn_add(struct gd_peer *peer, short events)
{
	struct gd_user *user = peer->user;

	peer->events = events;
	if (peer->is_ready)
		return;
	if (TAILQ_EMPTY(&user->ready))
		TAILQ_INSERT_TAIL(&peer->server->ready, user, in_turn);
	TAILQ_INSERT_TAIL(&user->ready, peer, in_ready);
	peer->is_ready = true;
}

void gd_turn_remove(struct gd_peer *peer)
{
	struct gd_user *user = peer->user;

	if (!peer->is_ready)
		return;
	peer->is_ready = false;
	TAILQ_REMOVE(&user->ready, peer, in_ready);
	if (TAILQ_EMPTY(&user->ready))
		TAILQ_REMOVE(&peer->server->ready, user, in_turn);
}

/* The next one, of the user that was served longest ago. */
static struct gd_peer *take_next(struct gd_server *server)
{
	struct gd_user *user = TAILQ_FIRST(&server->ready);
	struct gd_peer *peer;

	if (!user)
		return NULL;
	TAILQ_REMOVE(&server->ready, user, in_turn);
	TAILQ_INSERT_TAIL(&server->ready, user, in_turn);
	peer = TAILQ_FIRST(&user->ready);
	gd_turn_remove(peer);
	return peer;
}

bool gd_turn_serve(void *context)
{
	struct gd_server *server = context;
	struct gd_peer *peer;

	for (int left = GD_TURN_COST; left > 0 && (peer = take_next(server)) != NULL;)
		left -= gd_peer_serve(peer);
	return !TAILQ_EMPTY(&server->ready);
}

void gd_turn_init(struct gd_server *server)
{
	TAILQ_INIT(&server->ready);
	gd_loop_set_rest(server->loop, gd_turn_serve, server);
}
