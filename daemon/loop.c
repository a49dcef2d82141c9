/* SPDX-License-Identifier: MIT */
#include "daemon/loop.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/limits.h"
#include "daemon/log.h"
#include "daemon/loop_backend.h"

static int open_backend(struct gd_loop *loop, enum gd_backend wanted, struct gw_error *error)
{
	struct gw_error refused = GW_ERROR_INIT;
	int code;

	if (wanted == GD_BACKEND_EPOLL) {
		loop->backend = &gd_loop_epoll;
		return loop->backend->open(loop, error);
	}
	loop->backend = &gd_loop_uring;
	code = loop->backend->open(loop, &refused);
	if (!code)
		return GW_OK;
	if (wanted == GD_BACKEND_IO_URING)
		return gw_fail(error, code, GW_NO_OFFSET, "%s", refused.message);
	snprintf(loop->note, sizeof loop->note, "%.200s; waiting with epoll", refused.message);
	loop->backend = &gd_loop_epoll;
	return loop->backend->open(loop, error);
}

int gd_loop_new(enum gd_backend wanted, struct gd_loop **out_loop, struct gw_error *error)
{
	struct gd_loop *loop = calloc(1, sizeof *loop);
	int code;

	if (!loop)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory for the event loop");
	code = open_backend(loop, wanted, error);
	if (code) {
		free(loop);
		return code;
	}
	*out_loop = loop;
	return GW_OK;
}

void gd_loop_free(struct gd_loop *loop)
{
	if (!loop)
		return;
	loop->backend->close(loop);
	free(loop->slots);
	free(loop);
}

enum wire_backend gd_loop_backend(const struct gd_loop *loop)
{
	return loop->backend->id;
}

const char *gd_loop_note(const struct gd_loop *loop)
{
	return loop->note;
}

uint64_t gd_loop_tag(const struct gd_loop *loop, const struct gd_watch *watch)
{
	return (uint64_t)loop->slots[watch->slot].turn << 32 | watch->slot;
}

/* A free slot, from a table that doubles. */
static int take_slot(struct gd_loop *loop, uint32_t *out_slot, struct gw_error *error)
{
	struct gd_loop_slot *larger;
	uint32_t n;

	for (uint32_t i = loop->free_hint; i < loop->n_slots; i++) {
		if (!loop->slots[i].watch) {
			*out_slot = i;
			loop->free_hint = i + 1;
			return GW_OK;
		}
	}
	n = loop->n_slots ? 2 * loop->n_slots : 64;
	larger = realloc(loop->slots, n * sizeof *larger);
	if (!larger)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory for %u watches", n);
	memset(larger + loop->n_slots, 0, (n - loop->n_slots) * sizeof *larger);
	*out_slot = loop->n_slots;
	loop->free_hint = loop->n_slots + 1;
	loop->slots = larger;
	loop->n_slots = n;
	return GW_OK;
}

static void release_slot(struct gd_loop *loop, uint32_t slot)
{
	loop->slots[slot].watch = NULL;
	loop->slots[slot].turn++;
	if (slot < loop->free_hint)
		loop->free_hint = slot;
}

static int arm(struct gd_loop *loop, struct gd_watch *watch, struct gw_error *error)
{
	int code = loop->backend->arm(loop, watch, error);

	watch->armed = code == GW_OK;
	return code;
}

/* Arms a watch that is in the table; where that fails it is not forgotten. */
static void arm_later(struct gd_loop *loop, struct gd_watch *watch)
{
	struct gw_error error = GW_ERROR_INIT;

	if (!arm(loop, watch, &error))
		return;
	gd_log_peer(GD_EVENT_NONE, GD_LOG_NOBODY, 0, "cannot watch descriptor %d for now: %s",
		    watch->fd, error.message);
	loop->unarmed = true;
}

int gd_loop_add(struct gd_loop *loop, struct gd_watch *watch, struct gw_error *error)
{
	int code = take_slot(loop, &watch->slot, error);

	if (code)
		return code;
	loop->slots[watch->slot].watch = watch;
	watch->watched = true;
	if (watch->held)
		return GW_OK;
	code = arm(loop, watch, error);
	if (code) {
		watch->watched = false;
		release_slot(loop, watch->slot);
	}
	return code;
}

static void disarm(struct gd_loop *loop, struct gd_watch *watch)
{
	if (watch->armed)
		loop->backend->disarm(loop, watch);
	watch->armed = false;
}

void gd_loop_change(struct gd_loop *loop, struct gd_watch *watch, short events)
{
	if (watch->events == events)
		return;
	watch->events = events;
	if (!watch->armed)
		return; /* its handler is running; it is armed anew after that */
	disarm(loop, watch);
	loop->slots[watch->slot].turn++; /* an event that is under way is of the old kind */
	arm_later(loop, watch);
}

void gd_loop_hold(struct gd_watch *watch)
{
	watch->held = true;
}

void gd_loop_resume(struct gd_loop *loop, struct gd_watch *watch)
{
	if (!watch->held)
		return;
	watch->held = false;
	if (!watch->armed)
		arm_later(loop, watch);
}

void gd_loop_remove(struct gd_loop *loop, struct gd_watch *watch)
{
	if (!watch->watched)
		return;
	disarm(loop, watch);
	watch->watched = false;
	release_slot(loop, watch->slot);
}

void gd_loop_dispatch(struct gd_loop *loop, uint64_t tag, short events)
{
	uint32_t slot = (uint32_t)tag, turn = (uint32_t)(tag >> 32);
	struct gd_watch *watch;

	if (slot >= loop->n_slots || loop->slots[slot].turn != turn || !loop->slots[slot].watch)
		return;
	watch = loop->slots[slot].watch;
	watch->armed = false;
	/* half a hang-up wakes us whether asked for or not: what no handler looks at would spin */
	if (events & POLLRDHUP)
		events |= POLLHUP;
	watch->ready(watch, events);
	/* the handler may have freed the watch, or another may sit in its slot */
	if (loop->slots[slot].watch != watch || loop->slots[slot].turn != turn || watch->armed ||
	    watch->held)
		return;
	arm_later(loop, watch);
}

static void arm_unarmed(struct gd_loop *loop)
{
	loop->unarmed = false;
	for (uint32_t i = 0; i < loop->n_slots; i++) {
		struct gd_watch *watch = loop->slots[i].watch;

		if (watch && !watch->armed && !watch->held)
			arm_later(loop, watch);
	}
}

void gd_loop_set_rest(struct gd_loop *loop, bool (*rest)(void *context), void *context)
{
	loop->rest = rest;
	loop->rest_context = context;
}

int gd_loop_run(struct gd_loop *loop, struct gw_error *error)
{
	bool more = false;
	int code = GW_OK;

	while (!loop->stopped && !code) {
		if (loop->unarmed)
			arm_unarmed(loop);
		code = loop->backend->wait(loop, more, error);
		if (!code && !loop->stopped && loop->rest)
			more = loop->rest(loop->rest_context);
	}
	return code;
}

void gd_loop_stop(struct gd_loop *loop)
{
	loop->stopped = true;
}
