/* SPDX-License-Identifier: MIT */
/*
 * What the service manager keeps for the daemon that comes after us: descriptors, each with a name
 * of fdname.h (FDSTORE=1 of sd_notify(3)). The manager may drop any of them and tells nobody.
 * Messages that it does not take at once are sent again later. Loop thread only.
 */
#pragma once

#include <stdbool.h>

#include "daemon/fdname.h"
#include "daemon/loop.h"
#include "daemon/notify.h"
#include "format/status.h"

struct gd_fdstore_removal; /* of a name, that is still to be sent */

struct gd_fdstore {
	struct gd_notify notify;
	struct gd_loop *loop;
	struct gd_watch watch;  /* a timerfd, armed while something is to be sent */
	bool left;              /* we are ending: what is kept is not ours to remove any more */
	struct gd_kept *unsent; /* newest first */
	struct gd_fdstore_removal *removals;
};

/* Something that is kept, or is to be; part of what owns the descriptor. Zeroed: nothing. */
struct gd_kept {
	struct gd_fdstore *fdstore; /* NULL: nothing is kept */
	int fd;                     /* borrowed */
	char name[GD_FDNAME_BYTES];
	bool sent;
	struct gd_kept *next, **at; /* of those that are not sent */
};

/*
 * address: what NOTIFY_SOCKET says. Where that is no address, or NULL, nothing is ever kept, and
 * all calls are fine. Errors: GW_E_IO, GW_E_MEMORY.
 */
int gd_fdstore_init(struct gd_fdstore *fdstore, struct gd_loop *loop, const char *address,
		    struct gw_error *error);
void gd_fdstore_deinit(struct gd_fdstore *fdstore); /* nothing may be kept that is ever dropped */

/* Whether there is a manager to keep anything. */
bool gd_fdstore_is_there(const struct gd_fdstore *fdstore);

/*
 * Has the manager keep fd by that name, at once if it can take it. fd stays the caller's, who keeps
 * it open until gd_fdstore_drop. A name that does not fit is not kept. fdstore: may be NULL.
 */
void gd_fdstore_put(struct gd_fdstore *fdstore, struct gd_kept *kept,
		    const struct gd_fdname *name, int fd);
/* The same for what came from the manager by that name and is kept already. */
void gd_fdstore_put_back(struct gd_fdstore *fdstore, struct gd_kept *kept,
			 const struct gd_fdname *name, int fd);
/* No longer kept; before fd is closed. Fine if it was not, and after gd_fdstore_leave. */
void gd_fdstore_drop(struct gd_kept *kept);
/* Has the manager forget what it has by that name. */
void gd_fdstore_discard(struct gd_fdstore *fdstore, const char *name);

/* We end: what is kept stays for who comes after us. */
void gd_fdstore_leave(struct gd_fdstore *fdstore);
