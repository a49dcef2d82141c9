/* SPDX-License-Identifier: MIT */
#include "daemon/retired.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "daemon/lease.h"
#include "daemon/limits.h"
#include "daemon/log.h"
#include "format/endpoint.h"

static void arm(struct gd_retired_list *list)
{
	const struct itimerspec every = {
		.it_value = { .tv_sec = GD_RETIRED_LOOK_MS / 1000,
			      .tv_nsec = GD_RETIRED_LOOK_MS % 1000 * 1000000L },
		.it_interval = { .tv_sec = GD_RETIRED_LOOK_MS / 1000,
				 .tv_nsec = GD_RETIRED_LOOK_MS % 1000 * 1000000L },
	};
	const struct itimerspec never = { .it_value = { 0 } };

	timerfd_settime(list->watch.fd, 0, list->first || list->keep_looking ? &every : &never, NULL);
}

static void look(struct gd_watch *watch, short events)
{
	struct gd_retired_list *list = watch->owner;
	uint64_t expirations;
	ssize_t done = read(watch->fd, &expirations, sizeof expirations);

	(void)events;
	(void)done; /* nonblocking; looking is right in any case */
	if (gd_retired_sweep(list) || list->keep_looking)
		list->freed(list->context);
}

int gd_retired_init(struct gd_retired_list *list, struct gd_loop *loop, void (*freed)(void *context),
		    void *context, struct gw_error *error)
{
	int code;

	*list = (struct gd_retired_list){ .freed = freed, .context = context };
	list->watch = (struct gd_watch){
		.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
		.events = POLLIN,
		.ready = look,
		.owner = list,
	};
	if (list->watch.fd < 0)
		return gw_fail_errno(error, errno, "cannot make a timer");
	code = gd_loop_add(loop, &list->watch, error);
	if (code)
		close(list->watch.fd);
	else
		list->loop = loop;
	return code;
}

static void release(struct gd_retired_list *list, struct gd_retired **at)
{
	struct gd_retired *retired = *at;

	*at = retired->next;
	list->count--;
	list->bytes -= retired->image->fd_bytes;
	gd_image_unref(retired->image); /* and retired with it */
}

void gd_retired_deinit(struct gd_retired_list *list)
{
	if (!list->loop)
		return;
	while (list->first)
		release(list, &list->first);
	gd_loop_remove(list->loop, &list->watch);
	close(list->watch.fd);
	list->loop = NULL;
}

void gd_retired_add(struct gd_retired_list *list, const char *model, uint64_t generation,
		    struct gd_image *image)
{
	struct gd_retired **end = &list->first, *retired = &image->retired;

	if (image->share == WIRE_SHARE_FILE || !gd_lease_is_held(image->fd)) {
		gd_image_unref(image);
		return;
	}
	snprintf(retired->model, sizeof retired->model, "%s", model);
	retired->generation = generation;
	retired->since_ms = wire_now_ms();
	retired->image = image;
	retired->next = NULL;
	while (*end)
		end = &(*end)->next;
	*end = retired;
	list->count++;
	list->bytes += image->fd_bytes;
	arm(list);
}

bool gd_retired_sweep(struct gd_retired_list *list)
{
	uint64_t before = list->count;

	for (struct gd_retired **at = &list->first; *at;) {
		if (gd_lease_is_held((*at)->image->fd))
			at = &(*at)->next;
		else
			release(list, at);
	}
	if (list->count != before)
		arm(list);
	return list->count != before;
}

void gd_retired_keep_looking(struct gd_retired_list *list, bool keep_looking)
{
	if (list->keep_looking == keep_looking)
		return;
	list->keep_looking = keep_looking;
	arm(list);
}

void gd_retired_of(const struct gd_retired_list *list, const char *model, uint64_t *out_count,
		   uint64_t *out_bytes)
{
	*out_count = *out_bytes = 0;
	for (const struct gd_retired *retired = list->first; retired; retired = retired->next) {
		if (strcmp(retired->model, model) != 0)
			continue;
		++*out_count;
		*out_bytes += retired->image->fd_bytes;
	}
}
