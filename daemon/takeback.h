/* SPDX-License-Identifier: MIT */
/*
 * What a daemon before us left in the service manager's store, until it is known what of it is
 * wanted. A descriptor is trusted for nothing: who takes it has checked it (board.h, image.h,
 * listen.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "daemon/activation.h"
#include "daemon/fdname.h"
#include "daemon/fdstore.h"

struct gd_takeback_entry;

struct gd_takeback {
	struct gd_activation *activation;
	struct gd_fdstore *fdstore;
	struct gd_takeback_entry *entries; /* one for each that was passed; NULL: no memory */
};

/* Reads the names of what was passed. Both are borrowed. */
void gd_takeback_init(struct gd_takeback *takeback, struct gd_activation *activation,
		      struct gd_fdstore *fdstore);
/*
 * Closes what nobody has taken, and has the manager forget it; where a name is also that of one
 * that was taken, that stays. Tells of each. Nothing is there any more afterwards. Fine twice, and
 * on a zeroed one.
 */
void gd_takeback_deinit(struct gd_takeback *takeback);

/*
 * The next one from *at on that is of a kind, and of a model (NULL: any), and neither taken nor
 * refused; *at is then where it is. NULL: none. takeback: may be NULL.
 */
const struct gd_fdname *gd_takeback_next(const struct gd_takeback *takeback,
					 enum gd_fdname_kind kind, const char *model, size_t *at);
/* The descriptor; borrowed until gd_takeback_take. */
int gd_takeback_fd(const struct gd_takeback *takeback, size_t at);
/* It has a new owner. */
void gd_takeback_take(struct gd_takeback *takeback, size_t at);
/* It is not what it should be: logged, and not found any more. */
void gd_takeback_refuse(struct gd_takeback *takeback, size_t at, const char *why);
