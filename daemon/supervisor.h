/* SPDX-License-Identifier: MIT */
/* What the service manager is told, and when: readiness, status, that the loop makes progress. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/loop.h"
#include "daemon/notify.h"
#include "daemon/store.h"

struct gd_supervisor {
	struct gd_notify notify;
	struct gd_loop *loop;
	const struct gd_store *store;
	struct gd_watch watch; /* a timerfd */
	uint64_t watchdog_us;  /* 0: none */
	bool ready;            /* READY=1 was sent, and no RELOADING=1 since */
	bool started;          /* READY=1 was sent ever */
	bool soon;             /* something is left to be told, and the timer set to that */
	char status[512];      /* as last sent */
};

/*
 * Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. Without a manager it does nothing, and so do the
 * others. store is borrowed. Errors: GW_E_IO, GW_E_MEMORY.
 */
int gd_supervisor_init(struct gd_supervisor *supervisor, struct gd_loop *loop,
		       const struct gd_store *store, struct gw_error *error);
void gd_supervisor_deinit(struct gd_supervisor *supervisor); /* fine on a zeroed one */

/*
 * Something changed in the store: tells what is new. Ready is who has looked at every pack once, and
 * loaded it or found why not; moving images to 2 MiB pages is not waited for.
 */
void gd_supervisor_changed(struct gd_supervisor *supervisor);
/* Packs are about to be looked at again: not ready until that is done. */
void gd_supervisor_reloading(struct gd_supervisor *supervisor);
/* We are about to end. */
void gd_supervisor_stopping(struct gd_supervisor *supervisor);
