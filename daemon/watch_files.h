/* SPDX-License-Identifier: MIT */
/* Notices packs that come or change in the directory. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/loop.h"

struct gd_watch_files {
	struct gd_loop *loop;
	const char *directory;
	struct gd_watch events; /* an inotify */
	struct gd_watch calm;   /* a timerfd: runs out when nothing has happened for a while */
	uint64_t first_ms;      /* when what is waited for began; 0: nothing */
	int descriptor;         /* inotify's, of the directory; -1: not watched */
	void (*changed)(void *context);
	void *context;
};

/*
 * Calls changed on the loop once things are calm after a *.gpt2w was closed after writing, renamed to or
 * linked: GD_CALM_MS after the last event, at the latest GD_CALM_MOST_MS after the
 * first. directory: borrowed. What happens behind a symbolic link, or on another machine's side of a
 * network file system, is not noticed. Errors: GW_E_IO, GW_E_MEMORY.
 */
int gd_watch_files_init(struct gd_watch_files *watch, struct gd_loop *loop, const char *directory,
			void (*changed)(void *context), void *context, struct gw_error *error);
void gd_watch_files_deinit(struct gd_watch_files *watch); /* fine on a zeroed one */

/* Watches what is at the directory's path now, in case it is another than before. Errors: GW_E_IO. */
int gd_watch_files_renew(struct gd_watch_files *watch, struct gw_error *error);
