/* SPDX-License-Identifier: MIT */
/* Generations that are served no longer and that somebody still holds. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/image.h"
#include "daemon/loop.h"
#include "format/wire.h"

struct gd_retired_list {
	struct gd_loop *loop;
	struct gd_watch watch; /* a timerfd, armed while there are any: the kernel tells nobody of the end */
	void (*freed)(void *context); /* memory came back, or may have */
	void *context;
	struct gd_retired *first; /* oldest first */
	uint64_t count, bytes;
	bool keep_looking;
};

/* Errors: GW_E_IO, GW_E_MEMORY. */
int gd_retired_init(struct gd_retired_list *list, struct gd_loop *loop, void (*freed)(void *context),
		    void *context, struct gw_error *error);
void gd_retired_deinit(struct gd_retired_list *list); /* fine on a zeroed one */

/*
 * Takes over a reference to an image that model no longer serves: kept, and counted, while anybody
 * holds it, so that its memory is accounted for; released at once if nobody does. An image that is
 * a file takes no memory of ours and is always released.
 */
void gd_retired_add(struct gd_retired_list *list, const char *model, uint64_t generation,
		    struct gd_image *image);

/* Releases those that nobody holds any more; whether there were any. Does not call freed. */
bool gd_retired_sweep(struct gd_retired_list *list);

/* Calls freed at every look, until false: somebody waits for an image that is served to be let go. */
void gd_retired_keep_looking(struct gd_retired_list *list, bool keep_looking);

/* Of one model. */
void gd_retired_of(const struct gd_retired_list *list, const char *model, uint64_t *out_count,
		   uint64_t *out_bytes);
