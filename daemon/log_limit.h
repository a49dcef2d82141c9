/* SPDX-License-Identifier: MIT */
/* Which lines about peers are logged: so many a second about each user, and about all. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/limits.h"

/* Stands for those whose user is not known, and for all that there is no place for. */
#define GD_LOG_NOBODY ((uid_t)-1)

/* All zero at first. */
struct gd_log_limit {
	struct gd_log_user {
		uid_t uid;
		bool used;
		uint64_t second; /* of the last line */
		uint64_t lines;  /* in it */
		uint64_t left_out, left_out_second;
	} users[GD_LOG_USERS + 1]; /* the last: GD_LOG_NOBODY */
	uint64_t second, lines;    /* of all */
};

/* Whether a line about uid may be logged now; if not it is counted. second: of any clock. */
bool gd_log_limit_take(struct gd_log_limit *limit, uid_t uid, uint64_t second);

/*
 * A user of whom lines were left out before this second, and how many since this was last asked; false:
 * there is none (more).
 */
bool gd_log_limit_next(struct gd_log_limit *limit, uint64_t second, uid_t *out_uid,
		       uint64_t *out_left_out);
