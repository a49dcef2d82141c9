/* SPDX-License-Identifier: MIT */
#include "daemon/fdstore.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "daemon/limits.h"
#include "daemon/log.h"

struct gd_fdstore_removal {
	struct gd_fdstore_removal *next;
	char name[GD_FDNAME_BYTES];
};

static void arm(struct gd_fdstore *fdstore)
{
	const struct itimerspec soon = { .it_value.tv_nsec = GD_NOTIFY_AGAIN_US * 1000L };

	timerfd_settime(fdstore->watch.fd, 0, &soon, NULL);
}

static bool send_removal(const struct gd_fdstore *fdstore, const char *name)
{
	char text[GD_FDNAME_BYTES + 32];

	snprintf(text, sizeof text, "FDSTOREREMOVE=1\nFDNAME=%s", name);
	return gd_notify_send(&fdstore->notify, text);
}

/* FDPOLL=0: what hangs up (a listening socket may) is not to be dropped for it. */
static bool send_kept(const struct gd_fdstore *fdstore, const struct gd_kept *kept)
{
	char text[GD_FDNAME_BYTES + 32];

	snprintf(text, sizeof text, "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", kept->name);
	return gd_notify_send_fd(&fdstore->notify, text, kept->fd);
}

static void unlink_unsent(struct gd_kept *kept)
{
	*kept->at = kept->next;
	if (kept->next)
		kept->next->at = kept->at;
	kept->at = NULL;
}

/* Removals first: they make room. Whether nothing is left. */
static bool send_all(struct gd_fdstore *fdstore)
{
	while (fdstore->removals) {
		struct gd_fdstore_removal *removal = fdstore->removals;

		if (!send_removal(fdstore, removal->name))
			return false;
		fdstore->removals = removal->next;
		free(removal);
	}
	while (fdstore->unsent) {
		struct gd_kept *kept = fdstore->unsent;

		if (!send_kept(fdstore, kept))
			return false;
		kept->sent = true;
		unlink_unsent(kept);
	}
	return true;
}

static void send_again(struct gd_watch *watch, short events)
{
	struct gd_fdstore *fdstore = watch->owner;
	uint64_t expirations;

	(void)events;
	if (read(watch->fd, &expirations, sizeof expirations) > 0 && !send_all(fdstore))
		arm(fdstore);
}

int gd_fdstore_init(struct gd_fdstore *fdstore, struct gd_loop *loop, const char *address,
		    struct gw_error *error)
{
	int code;

	*fdstore = (struct gd_fdstore){ .loop = loop };
	code = gd_notify_init(&fdstore->notify, address, error);
	if (fdstore->notify.fd < 0)
		return code < 0 ? code : GW_OK;
	fdstore->watch = (struct gd_watch){
		.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
		.events = POLLIN,
		.ready = send_again,
		.owner = fdstore,
	};
	code = fdstore->watch.fd < 0 ? gw_fail_errno(error, errno, "cannot make a timer") :
				       gd_loop_add(loop, &fdstore->watch, error);
	if (code) {
		if (fdstore->watch.fd >= 0)
			close(fdstore->watch.fd);
		gd_notify_deinit(&fdstore->notify);
	}
	return code;
}

void gd_fdstore_deinit(struct gd_fdstore *fdstore)
{
	if (!gd_fdstore_is_there(fdstore))
		return;
	while (fdstore->removals) {
		struct gd_fdstore_removal *removal = fdstore->removals;

		fdstore->removals = removal->next;
		free(removal);
	}
	gd_loop_remove(fdstore->loop, &fdstore->watch);
	close(fdstore->watch.fd);
	gd_notify_deinit(&fdstore->notify);
}

bool gd_fdstore_is_there(const struct gd_fdstore *fdstore)
{
	return fdstore && fdstore->loop && fdstore->notify.fd >= 0;
}

/* Whether kept has a name now. */
static bool begin(struct gd_fdstore *fdstore, struct gd_kept *kept, const struct gd_fdname *name,
		  int fd)
{
	*kept = (struct gd_kept){ .fd = fd };
	if (!gd_fdstore_is_there(fdstore) || fdstore->left)
		return false;
	if (!gd_fdname_format(name, kept->name)) {
		gd_log("%s: the name is too long for the service manager's store: it is loaded "
		       "anew after a restart",
		       name->model);
		return false;
	}
	kept->fdstore = fdstore;
	return true;
}

void gd_fdstore_put(struct gd_fdstore *fdstore, struct gd_kept *kept,
		    const struct gd_fdname *name, int fd)
{
	if (!begin(fdstore, kept, name, fd))
		return;
	kept->sent = send_kept(fdstore, kept);
	if (kept->sent)
		return;
	kept->next = fdstore->unsent;
	kept->at = &fdstore->unsent;
	if (kept->next)
		kept->next->at = &kept->next;
	fdstore->unsent = kept;
	arm(fdstore);
}

void gd_fdstore_put_back(struct gd_fdstore *fdstore, struct gd_kept *kept,
			 const struct gd_fdname *name, int fd)
{
	kept->sent = begin(fdstore, kept, name, fd);
}

void gd_fdstore_drop(struct gd_kept *kept)
{
	struct gd_fdstore *fdstore = kept->fdstore;

	if (!fdstore)
		return;
	if (!kept->sent && kept->at)
		unlink_unsent(kept);
	else if (!fdstore->left)
		gd_fdstore_discard(fdstore, kept->name);
	kept->fdstore = NULL;
}

void gd_fdstore_discard(struct gd_fdstore *fdstore, const char *name)
{
	struct gd_fdstore_removal *removal;

	if (!gd_fdstore_is_there(fdstore) || !gd_fdname_is_valid(name) ||
	    send_removal(fdstore, name))
		return;
	removal = malloc(sizeof *removal);
	if (!removal)
		return; /* it comes back after a restart, and goes then */
	snprintf(removal->name, sizeof removal->name, "%s", name);
	removal->next = fdstore->removals;
	fdstore->removals = removal;
	arm(fdstore);
}

void gd_fdstore_leave(struct gd_fdstore *fdstore)
{
	if (gd_fdstore_is_there(fdstore))
		send_all(fdstore);
	fdstore->left = true;
}
