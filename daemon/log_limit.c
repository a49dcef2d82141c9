/* SPDX-License-Identifier: MIT */
#include "daemon/log_limit.h"

#include <stddef.h>

/* The place of uid, a new one if need be; nobody's where all are taken. */
static struct gd_log_user *find(struct gd_log_limit *limit, uid_t uid, uint64_t second)
{
	struct gd_log_user *nobody = limit->users + GD_LOG_USERS, *idle = NULL;

	if (uid == GD_LOG_NOBODY)
		return nobody;
	for (struct gd_log_user *user = limit->users; user < nobody; user++) {
		if (user->used && user->uid == uid)
			return user;
		if (!user->used || (user->second != second && !user->left_out))
			idle = user;
	}
	if (!idle)
		return nobody;
	*idle = (struct gd_log_user) { .uid = uid, .used = true };
	return idle;
}

bool gd_log_limit_take(struct gd_log_limit *limit, uid_t uid, uint64_t second)
{
	struct gd_log_user *user = find(limit, uid, second);

	if (user->second != second) {
		user->second = second;
		user->lines = 0;
	}
	if (limit->second != second) {
		limit->second = second;
		limit->lines = 0;
	}
	if (user->lines >= GD_LOG_USER_BURST || limit->lines >= GD_LOG_PEERS_BURST) {
		user->left_out++;
		user->left_out_second = second;
		return false;
	}
	user->lines++;
	limit->lines++;
	return true;
}

bool gd_log_limit_next(struct gd_log_limit *limit, uint64_t second, uid_t *out_uid,
		       uint64_t *out_left_out)
{
	for (struct gd_log_user *user = limit->users; user <= limit->users + GD_LOG_USERS; user++) {
		if (!user->left_out || user->left_out_second == second)
			continue;
		*out_uid = user->used ? user->uid : GD_LOG_NOBODY;
		*out_left_out = user->left_out;
		user->left_out = 0;
		return true;
	}
	return false;
}
