/* SPDX-License-Identifier: MIT */
/* What a back end of the loop does; private to loop*.c. */
#pragma once

#include "daemon/loop.h"

struct gd_loop_slot {
	struct gd_watch *watch; /* NULL: free */
	uint32_t turn;          /* counts the watches that had this slot; stale events are told by it */
};

struct gd_loop {
	const struct gd_loop_backend *backend;
	void *state; /* the back end's */
	struct gd_loop_slot *slots;
	uint32_t n_slots;
	uint32_t free_hint; /* no free slot below it */
	bool stopped;
	bool (*rest)(void *context); /* after the handlers of a turn; NULL: nothing */
	void *rest_context;
	bool unarmed; /* a watch could not be armed; tried again before the next wait */
	char note[256];
};

/*
 * arm asks for one event of a watch, disarm takes that back, wait blocks until there is at least one
 * event, unless it is to look only, and hands each to gd_loop_dispatch. All return 0 or a gw_status.
 */
struct gd_loop_backend {
	enum wire_backend id;
	int (*open)(struct gd_loop *loop, struct gw_error *error);
	void (*close)(struct gd_loop *loop);
	int (*arm)(struct gd_loop *loop, struct gd_watch *watch, struct gw_error *error);
	void (*disarm)(struct gd_loop *loop, struct gd_watch *watch);
	int (*wait)(struct gd_loop *loop, bool look_only, struct gw_error *error);
};

extern const struct gd_loop_backend gd_loop_uring;
extern const struct gd_loop_backend gd_loop_epoll;

/* Identifies a watch in an event: its slot and that slot's turn. */
uint64_t gd_loop_tag(const struct gd_loop *loop, const struct gd_watch *watch);

/* Calls the watch of that tag unless it is gone, and arms it again. */
void gd_loop_dispatch(struct gd_loop *loop, uint64_t tag, short events);
