/* SPDX-License-Identifier: MIT */
/*
 * Answers that are not read yet, and the descriptors in them. They take our memory, and the kernel allows us
 * so many descriptors under way (ETOOMANYREFS), so each user may have a part of them; what he has received
 * is only seen by looking.
 */
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "daemon/limits.h"
#include "daemon/server.h"

static void add(struct gd_peer *peer, unsigned replies, unsigned fds)
{
	if (!peer->unread_replies && !peer->unread_fds)
		TAILQ_INSERT_TAIL(&peer->user->unread, peer, in_unread);
	peer->unread_replies += replies;
	peer->user->unread_replies += replies;
	peer->unread_fds += fds;
	peer->user->unread_fds += fds;
}

static void subtract(struct gd_peer *peer, unsigned replies, unsigned fds)
{
	if (!replies && !fds)
		return;
	peer->unread_replies -= replies;
	peer->user->unread_replies -= replies;
	peer->unread_fds -= fds;
	peer->user->unread_fds -= fds;
	if (!peer->unread_replies && !peer->unread_fds)
		TAILQ_REMOVE(&peer->user->unread, peer, in_unread);
}

void gd_peer_count_reply(struct gd_peer *peer)
{
	add(peer, 1, 0);
}

void gd_peer_count_fds(struct gd_peer *peer)
{
	add(peer, 0, WIRE_REPLY_FDS);
}

void gd_peer_forget_unread(struct gd_peer *peer)
{
	subtract(peer, peer->unread_replies, peer->unread_fds);
}

void gd_peer_wait(struct gd_peer *peer, struct gd_model *model, uint32_t request)
{
	peer->waiting = model;
	peer->waiting_request = request;
	peer->user->requests++;
	/* now, so that all who wait cannot exceed the limit at once */
	gd_peer_count_fds(peer);
}

void gd_peer_stop_waiting(struct gd_peer *peer)
{
	if (!peer->waiting)
		return;
	peer->waiting = NULL;
	peer->user->requests--;
	subtract(peer, 0, WIRE_REPLY_FDS);
}

void gd_peer_settle(struct gd_peer *peer)
{
	int unread_bytes = 0;

	/* what the kernel holds for the peer: 0 once he has received all. Who waits is promised two. */
	if ((peer->unread_replies || peer->unread_fds) &&
	    ioctl(peer->watch.fd, SIOCOUTQ, &unread_bytes) == 0 && !unread_bytes)
		subtract(peer, peer->unread_replies, peer->waiting ? 0 : peer->unread_fds);
}

/*
 * Whether counted, one of the user's counts, leaves room for more below limit. Looks at some of his
 * connections at a time, in turn: who has thousands that read nothing pays for that himself.
 */
static bool has_room(struct gd_user *user, const uint64_t *counted, uint64_t more, uint64_t limit)
{
	for (int i = 0; i < GD_SETTLED_PER_REQUEST && *counted + more > limit; i++) {
		struct gd_peer *first = TAILQ_FIRST(&user->unread);

		if (!first)
			break;
		TAILQ_REMOVE(&user->unread, first, in_unread);
		TAILQ_INSERT_TAIL(&user->unread, first, in_unread);
		gd_peer_settle(first);
	}
	return *counted + more <= limit;
}

bool gd_peer_may_have_fds(struct gd_peer *peer)
{
	gd_peer_settle(peer);
	return has_room(peer->user, &peer->user->unread_fds, WIRE_REPLY_FDS,
			peer->server->quota.limits.max_unread_fds_per_user);
}

bool gd_peer_may_have_reply(struct gd_peer *peer)
{
	/* asking the kernel costs as much as answering: only those who seem to be at the limit */
	if (peer->user->unread_replies >= peer->server->quota.limits.max_unread_replies_per_user)
		gd_peer_settle(peer);
	return has_room(peer->user, &peer->user->unread_replies, 1,
			peer->server->quota.limits.max_unread_replies_per_user);
}
