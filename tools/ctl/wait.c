/* SPDX-License-Identifier: MIT */
#include "tools/ctl/wait.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "format/endpoint.h"

/* Between two questions: short beside what loading takes, long beside what a question costs. */
#define CTL_POLL_MS 50

/* Lets some time go by; whether there is some left. */
static bool ctl_pause(uint64_t deadline_ms)
{
	const struct timespec pause = { .tv_nsec = CTL_POLL_MS * 1000000L };

	if (wire_now_ms() >= deadline_ms)
		return false;
	nanosleep(&pause, NULL);
	return true;
}

/* Leaves the one model of that name, if there is one. */
static void ctl_keep(struct ctl_models *models, const char *model)
{
	size_t kept = 0;

	for (size_t i = 0; i < models->count; i++)
		if (!model[0] || strcmp(models->items[i].model, model) == 0)
			models->items[kept++] = models->items[i];
	models->count = kept;
}

int ctl_wait_idle(const char *socket_path, const char *model, uint64_t deadline_ms,
		  struct ctl_models *out, struct gw_error *error)
{
	struct ctl_models models = { 0 };
	bool busy;
	int ret;

	do {
		ctl_models_deinit(&models);
		ret = ctl_query_list(socket_path, &models, error);
		if (ret)
			return ret;
		ctl_keep(&models, model);
		busy = false;
		for (size_t i = 0; i < models.count; i++)
			busy |= models.items[i].busy != 0;
	} while (busy && ctl_pause(deadline_ms));
	if (busy)
		ret = gw_fail(error, GW_E_TIMEOUT, GW_NO_OFFSET, "still loading when the time was up");
	else if (model[0] && models.count == 0)
		ret = gw_fail(error, GW_E_NAME, GW_NO_OFFSET, "there is no model of that name");
	if (ret)
		ctl_models_deinit(&models);
	else
		*out = models;
	return ret;
}

/* Positive: not yet. */
static int ctl_look(const char *socket_path, const char *model, bool drained, uint64_t generation,
		    struct gw_error *error)
{
	struct ctl_generations all;
	int ret = ctl_query_generations(socket_path, &all, error);
	bool serves = false, lives = false;

	if (ret)
		return ret;
	for (size_t i = 0; i < all.count; i++) {
		const struct wire_generation_reply *item = &all.items[i];

		if (strcmp(item->model, model) != 0)
			continue;
		serves |= item->life == WIRE_LIFE_CURRENT && item->generation >= generation;
		lives |= item->generation == generation;
	}
	free(all.items);
	return drained ? lives : !serves;
}

static int ctl_wait(const char *socket_path, const char *model, bool drained, uint64_t generation,
		    uint64_t deadline_ms, struct gw_error *error)
{
	int ret;

	while ((ret = ctl_look(socket_path, model, drained, generation, error)) > 0)
		if (!ctl_pause(deadline_ms))
			return gw_fail(error, GW_E_TIMEOUT, GW_NO_OFFSET,
				       drained ? "generation %" PRIu64
						 " was still served or held when the time was up"
					       : "generation %" PRIu64
						 " was not served when the time was up",
				       generation);
	return ret;
}

int ctl_wait_generation(const char *socket_path, const char *model, uint64_t generation,
			uint64_t deadline_ms, struct gw_error *error)
{
	return ctl_wait(socket_path, model, false, generation, deadline_ms, error);
}

int ctl_wait_drained(const char *socket_path, const char *model, uint64_t generation,
		     uint64_t deadline_ms, struct gw_error *error)
{
	return ctl_wait(socket_path, model, true, generation, deadline_ms, error);
}
