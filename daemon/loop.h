/* SPDX-License-Identifier: MIT */
/* The event loop: one thread that waits on descriptors, by io_uring or, where it is refused, epoll. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/status.h"
#include "format/wire.h"

struct gd_loop;

/*
 * What is waited for, embedded in its owner. ready is called with the poll events that hold, again and
 * again while they hold (level-triggered); it may change, remove or free the watch. A peer that closed
 * its sending half counts as POLLHUP.
 */
struct gd_watch {
	int fd;         /* borrowed; stays open while watched */
	short events;   /* POLLIN …; 0: only hang-up and error */
	void (*ready)(struct gd_watch *watch, short events);
	void *owner;
	bool held;     /* its owner has it in hand: not waited for until gd_loop_resume */
	uint32_t slot; /* the loop's */
	bool watched, armed;
};

enum gd_backend { GD_BACKEND_AUTO = 0, GD_BACKEND_IO_URING = 1, GD_BACKEND_EPOLL = 2 };

/*
 * GD_BACKEND_AUTO takes io_uring and falls back on epoll; the others are taken or fail. Errors: GW_E_IO,
 * GW_E_MEMORY.
 */
int gd_loop_new(enum gd_backend wanted, struct gd_loop **out_loop, struct gw_error *error);
void gd_loop_free(struct gd_loop *loop); /* NULL is fine; nothing may be watched any more */

enum wire_backend gd_loop_backend(const struct gd_loop *loop);
/* Why io_uring is not used, or ""; lives as long as loop. */
const char *gd_loop_note(const struct gd_loop *loop);

/*
 * Starts watching; fd, events, ready and owner are set, and held where waiting is to start later. Errors:
 * GW_E_MEMORY, GW_E_IO.
 */
int gd_loop_add(struct gd_loop *loop, struct gd_watch *watch, struct gw_error *error);
/* Waits for other events from now on. */
void gd_loop_change(struct gd_loop *loop, struct gd_watch *watch, short events);
/* In ready: the watch is not waited for when it returns, until it is resumed. */
void gd_loop_hold(struct gd_watch *watch);
void gd_loop_resume(struct gd_loop *loop, struct gd_watch *watch);
/* Stops watching, before fd is closed; fine if it is not watched. */
void gd_loop_remove(struct gd_loop *loop, struct gd_watch *watch);

/*
 * Calls rest after the handlers of each turn; while it returns that it has not done all, the loop does not
 * wait for events but looks whether there are any. NULL: nothing is called.
 */
void gd_loop_set_rest(struct gd_loop *loop, bool (*rest)(void *context), void *context);
/* Runs until gd_loop_stop, or until waiting fails. Errors: GW_E_IO. */
int gd_loop_run(struct gd_loop *loop, struct gw_error *error);
void gd_loop_stop(struct gd_loop *loop);
