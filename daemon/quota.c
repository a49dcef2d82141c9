/* SPDX-License-Identifier: MIT */
#include "daemon/quota.h"

#include <stdlib.h>

struct gd_user *gd_quota_connect(struct gd_quota *quota, uid_t uid, const char **out_reason)
{
	struct gd_user *user = quota->users;

	if (quota->connections >= quota->limits.max_connections) {
		*out_reason = "the daemon has as many connections as it takes";
		return NULL;
	}
	while (user && user->uid != uid)
		user = user->next;
	if (user && user->connections >= quota->limits.max_connections_per_user) {
		*out_reason = "this user has as many connections as one user may";
		return NULL;
	}
	if (!user) {
		user = calloc(1, sizeof *user);
		if (!user) {
			*out_reason = "no memory";
			return NULL;
		}
		user->uid = uid;
		TAILQ_INIT(&user->ready);
		TAILQ_INIT(&user->unread);
		user->next = quota->users;
		quota->users = user;
	}
	user->connections++;
	quota->connections++;
	return user;
}

void gd_quota_disconnect(struct gd_quota *quota, struct gd_user *user)
{
	quota->connections--;
	if (--user->connections)
		return;
	for (struct gd_user **at = &quota->users; *at; at = &(*at)->next) {
		if (*at == user) {
			*at = user->next;
			free(user);
			return;
		}
	}
}
