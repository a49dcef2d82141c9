/* SPDX-License-Identifier: MIT */
#include "daemon/watch_files.h"

#include <errno.h>
#include <poll.h>
#include <stdalign.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "daemon/limits.h"
#include "daemon/log.h"
#include "daemon/store.h"
#include "format/endpoint.h"

/* IN_CREATE: a symbolic or hard link, which nobody writes to and closes. */
#define WANTED                                                                                     \
	(IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

static void wait_for_calm(struct gd_watch_files *watch)
{
	uint64_t now_ms = wire_now_ms(), wait_ms = GD_CALM_MS;
	struct itimerspec once = { .it_value = { 0 } };

	if (!watch->first_ms)
		watch->first_ms = now_ms;
	if (now_ms + wait_ms > watch->first_ms + GD_CALM_MOST_MS)
		wait_ms = now_ms >= watch->first_ms + GD_CALM_MOST_MS ?
				  1 :
				  watch->first_ms + GD_CALM_MOST_MS - now_ms;
	once.it_value.tv_sec = (time_t)(wait_ms / 1000);
	once.it_value.tv_nsec = (long)(wait_ms % 1000) * 1000000;
	timerfd_settime(watch->calm.fd, 0, &once, NULL);
}

/* Whether an event is about a pack, or about all. */
static bool is_wanted(struct gd_watch_files *watch, const struct inotify_event *event)
{
	if (event->mask & IN_Q_OVERFLOW)
		return true;
	if (event->wd != watch->descriptor)
		return false; /* of a directory that is no longer watched */
	if (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT)) {
		gd_log("%s was moved or removed: its packs stay as they are until the next reload",
		       watch->directory);
		if (!(event->mask & IN_IGNORED))
			inotify_rm_watch(watch->events.fd, watch->descriptor);
		watch->descriptor = -1;
		return false;
	}
	return event->len && gd_store_is_pack(event->name);
}

static void events_ready(struct gd_watch *events, short revents)
{
	struct gd_watch_files *watch = events->owner;
	alignas(struct inotify_event) uint8_t buffer[4096];
	bool wanted = false;
	ssize_t n = read(events->fd, buffer, sizeof buffer);

	(void)revents;
	/* the kernel's own records: whole, aligned, none longer than what was read */
	for (ssize_t at = 0; at < n;) {
		const struct inotify_event *event = (const void *)(buffer + at);

		wanted |= is_wanted(watch, event);
		at += (ssize_t)(sizeof *event + event->len);
	}
	if (wanted)
		wait_for_calm(watch);
}

static void calm_ready(struct gd_watch *calm, short revents)
{
	struct gd_watch_files *watch = calm->owner;
	uint64_t expirations;

	(void)revents;
	if (read(calm->fd, &expirations, sizeof expirations) != sizeof expirations)
		return;
	watch->first_ms = 0;
	watch->changed(watch->context);
}

static int add(struct gd_watch_files *watch, struct gd_watch *which, int fd,
	       void (*ready)(struct gd_watch *, short), struct gw_error *error)
{
	if (fd < 0)
		return gw_fail_errno(error, errno, "cannot watch the directory %s",
				     watch->directory);
	*which = (struct gd_watch){ .fd = fd, .events = POLLIN, .ready = ready, .owner = watch };
	return gd_loop_add(watch->loop, which, error);
}

int gd_watch_files_init(struct gd_watch_files *watch, struct gd_loop *loop, const char *directory,
			void (*changed)(void *context), void *context, struct gw_error *error)
{
	int code;

	*watch = (struct gd_watch_files){ .loop = loop, .directory = directory, .descriptor = -1,
					  .events.fd = -1, .calm.fd = -1,
					  .changed = changed, .context = context };
	code = add(watch, &watch->events, inotify_init1(IN_CLOEXEC | IN_NONBLOCK), events_ready, error);
	if (!code)
		code = add(watch, &watch->calm,
			   timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), calm_ready,
			   error);
	if (!code)
		code = gd_watch_files_renew(watch, error);
	if (code)
		gd_watch_files_deinit(watch);
	return code;
}

void gd_watch_files_deinit(struct gd_watch_files *watch)
{
	struct gd_watch *both[] = { &watch->events, &watch->calm };

	if (!watch->loop)
		return;
	for (int i = 0; i < 2; i++) {
		gd_loop_remove(watch->loop, both[i]);
		if (both[i]->fd >= 0)
			close(both[i]->fd);
	}
	watch->loop = NULL;
}

int gd_watch_files_renew(struct gd_watch_files *watch, struct gw_error *error)
{
	int descriptor = inotify_add_watch(watch->events.fd, watch->directory, WANTED);

	if (descriptor < 0)
		return gw_fail_errno(error, errno, "cannot watch the directory %s",
				     watch->directory);
	if (watch->descriptor >= 0 && watch->descriptor != descriptor)
		inotify_rm_watch(watch->events.fd, watch->descriptor);
	watch->descriptor = descriptor;
	return GW_OK;
}
