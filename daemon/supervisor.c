/* SPDX-License-Identifier: MIT */
#include "daemon/supervisor.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "daemon/limits.h"
#include "daemon/log.h"

static size_t count_busy(const struct gd_store *store)
{
	size_t n = 0;

	for (size_t i = 0; i < gd_store_count(store); i++)
		n += gd_store_is_busy(gd_store_at(store, i));
	return n;
}

/* One line: "Serving 2 models, 314.1 MB; loading 1; gpt2: it is not a pack". */
static void describe(const struct gd_store *store, char *out, size_t out_bytes)
{
	const struct gd_model *failed = NULL;
	size_t served = 0, taken = 0, busy = count_busy(store), n_failed = 0, used;

	for (size_t i = 0; i < gd_store_count(store); i++) {
		const struct gd_model *model = gd_store_at(store, i);

		served += model->image != NULL;
		taken += model->taken_back;
		if (model->message[0] && n_failed++ == 0)
			failed = model;
	}
	used = (size_t)snprintf(out, out_bytes, "Serving %zu model%s, %.1f MB in memory", served,
				served == 1 ? "" : "s",
				(double)gd_store_served_bytes(store) / 1e6);
	if (taken)
		used += (size_t)snprintf(out + used, out_bytes - used, ", %zu taken back", taken);
	if (busy)
		used += (size_t)snprintf(out + used, out_bytes - used, "; loading %zu", busy);
	if (n_failed)
		snprintf(out + used, out_bytes - used, "; %zu failed, %.64s: %.200s", n_failed,
			 failed->name, failed->message);
	/* a file's name may hold anything, and a line of its own would be an order */
	for (char *at = out; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			*at = '?';
}

/* Whether the manager knows all that there is to know. */
static bool tell(struct gd_supervisor *supervisor)
{
	const bool ready = count_busy(supervisor->store) == 0;
	char status[sizeof supervisor->status], text[sizeof status + 64];

	describe(supervisor->store, status, sizeof status);
	if (ready <= supervisor->ready && strcmp(status, supervisor->status) == 0)
		return ready;
	snprintf(text, sizeof text, "%sSTATUS=%s", ready ? "READY=1\n" : "", status);
	if (!gd_notify_send(&supervisor->notify, text))
		return false;
	memcpy(supervisor->status, status, sizeof status);
	supervisor->ready |= ready;
	supervisor->started |= ready;
	return ready;
}

static void set_timer(struct gd_supervisor *supervisor, uint64_t us)
{
	const struct itimerspec when = { .it_value = { .tv_sec = (time_t)(us / 1000000),
						       .tv_nsec = (long)(us % 1000000) * 1000 } };

	timerfd_settime(supervisor->watch.fd, 0, &when, NULL);
}

/* Soon where something is left to be told; else as the watchdog wants it, four times in its time. */
static void set_next(struct gd_supervisor *supervisor, bool told)
{
	uint64_t us = supervisor->watchdog_us / 4;

	supervisor->soon = !told;
	if (!told && (!us || us > GD_NOTIFY_AGAIN_US))
		us = GD_NOTIFY_AGAIN_US;
	set_timer(supervisor, us);
}

/* Called by the loop: that this is reached is the progress that the watchdog asks for. */
static void tick(struct gd_watch *watch, short events)
{
	struct gd_supervisor *supervisor = watch->owner;
	uint64_t expirations;
	char text[64];

	(void)events;
	if (read(watch->fd, &expirations, sizeof expirations) < 0)
		return;
	if (supervisor->watchdog_us)
		gd_notify_send(&supervisor->notify, "WATCHDOG=1");
	if (!supervisor->started) {
		snprintf(text, sizeof text, "EXTEND_TIMEOUT_USEC=%d", GD_NOTIFY_EXTEND_US);
		gd_notify_send(&supervisor->notify, text);
	}
	set_next(supervisor, tell(supervisor));
}

int gd_supervisor_init(struct gd_supervisor *supervisor, struct gd_loop *loop,
		       const struct gd_store *store, struct gw_error *error)
{
	int code;

	*supervisor = (struct gd_supervisor){ .loop = loop, .store = store, .watch.fd = -1 };
	code = gd_notify_init(&supervisor->notify, getenv("NOTIFY_SOCKET"), error);
	if (code < 0)
		return code;
	if (code == GD_NOTIFY_NO_ADDRESS)
		gd_log("NOTIFY_SOCKET is no address of a socket; the service manager is told nothing");
	if (supervisor->notify.fd < 0)
		return GW_OK;
	supervisor->watchdog_us = gd_notify_watchdog_us(getenv("WATCHDOG_USEC"),
							getenv("WATCHDOG_PID"), getpid());
	supervisor->watch = (struct gd_watch){
		.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
		.events = POLLIN,
		.ready = tick,
		.owner = supervisor,
	};
	if (supervisor->watch.fd < 0) {
		gw_fail_errno(error, errno, "cannot make a timer");
		gd_notify_deinit(&supervisor->notify);
		return GW_E_IO;
	}
	code = gd_loop_add(loop, &supervisor->watch, error);
	if (code)
		gd_supervisor_deinit(supervisor);
	else
		set_next(supervisor, tell(supervisor));
	return code;
}

void gd_supervisor_deinit(struct gd_supervisor *supervisor)
{
	if (!supervisor->loop || supervisor->notify.fd < 0)
		return;
	gd_loop_remove(supervisor->loop, &supervisor->watch);
	close(supervisor->watch.fd);
	gd_notify_deinit(&supervisor->notify);
}

static bool has_manager(const struct gd_supervisor *supervisor)
{
	return supervisor->loop && supervisor->notify.fd >= 0;
}

void gd_supervisor_changed(struct gd_supervisor *supervisor)
{
	/* set once, not anew with every change: it would never go off while much changes */
	if (has_manager(supervisor) && !tell(supervisor) && !supervisor->soon)
		set_next(supervisor, false);
}

void gd_supervisor_reloading(struct gd_supervisor *supervisor)
{
	struct timespec now;
	char text[128];

	if (!has_manager(supervisor) || !supervisor->ready)
		return;
	/* the time is for managers that wait for it (systemd 253); others take no notice */
	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
		 (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
	if (gd_notify_send(&supervisor->notify, text))
		supervisor->ready = false;
}

void gd_supervisor_stopping(struct gd_supervisor *supervisor)
{
	if (has_manager(supervisor))
		gd_notify_send(&supervisor->notify, "STOPPING=1\nSTATUS=Stopping");
}
