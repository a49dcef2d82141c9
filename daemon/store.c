/* SPDX-License-Identifier: MIT */
#include "daemon/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/log.h"
#include "daemon/store_parts.h"
#include "format/directory.h"
#include "format/endpoint.h"

static void model_free(struct gd_model *model)
{
	if (!model)
		return;
	gd_fdstore_drop(&model->kept_board);
	gd_board_deinit(&model->board);
	gd_image_unref(model->image);
	free(model->path);
	free(model);
}

/* Where a name is, or would be put. */
static size_t place_of(const struct gd_store *store, const char *name)
{
	size_t low = 0, high = store->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(store->models[middle]->name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

size_t gd_store_count(const struct gd_store *store)
{
	return store->n;
}

struct gd_model *gd_store_at(const struct gd_store *store, size_t index)
{
	return index < store->n ? store->models[index] : NULL;
}

struct gd_model *gd_store_find(const struct gd_store *store, const char *name)
{
	struct gd_model *model = gd_store_at(store, place_of(store, name));

	return model && strcmp(model->name, name) == 0 ? model : NULL;
}

static int check_name(const char *name, struct gw_error *error)
{
	char field[WIRE_MODEL_BYTES] = { 0 }, quoted[WIRE_MODEL_BYTES];
	size_t n = strlen(name);

	if (n && n < sizeof field) {
		memcpy(field, name, n);
		if (gw_string_length((const uint8_t *)field, sizeof field) > 0)
			return GW_OK;
	}
	return gw_fail(error, GW_E_NAME, GW_NO_OFFSET,
		       "\"%s\" is no name for a model: 1 to %d bytes of UTF-8 without control bytes",
		       gw_quote(name, n, quoted, sizeof quoted), WIRE_MODEL_BYTES - 1);
}

int gd_store_add(struct gd_store *store, const char *name, const char *path, bool pinned,
		 struct gd_model **out_model, struct gw_error *error)
{
	size_t place = place_of(store, name);
	struct gd_model *model;
	int code = check_name(name, error);

	if (code)
		return code;
	if (store->n == GD_MAX_MODELS)
		return gw_fail(error, GW_E_LIMIT, GW_NO_OFFSET, "at most %d models", GD_MAX_MODELS);
	model = calloc(1, sizeof *model);
	if (model)
		model->path = strdup(path);
	if (!model || !model->path) {
		free(model);
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory for model %s", name);
	}
	snprintf(model->name, sizeof model->name, "%s", name);
	model->pinned = pinned;
	code = gd_store_open_board(store, model, error);
	if (code) {
		free(model->path);
		free(model);
		return code;
	}
	memmove(store->models + place + 1, store->models + place,
		(store->n - place) * sizeof *store->models);
	store->models[place] = model;
	store->n++;
	*out_model = model;
	return GW_OK;
}

/* Microseconds since 1970, so unique across the daemons of a machine; never the same twice in one. */
static uint64_t next_generation(struct gd_store *store)
{
	struct timespec now;
	uint64_t generation;

	clock_gettime(CLOCK_REALTIME, &now);
	generation = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
	if (generation <= store->last_generation)
		generation = store->last_generation + 1;
	store->last_generation = generation;
	return generation;
}

void gd_store_publish(struct gd_store *store, struct gd_model *model, struct gd_image *image)
{
	struct gd_image *before = model->image;

	uint64_t generation = model->generation;

	model->image = image;
	model->generation = image ? next_generation(store) : 0;
	model->taken_back = false;
	model->since_ms = wire_now_ms();
	if (image)
		gd_store_keep_image(store, model, image, model->generation);
	model->epoch = gd_board_publish(&model->board, model->generation);
	if (before)
		gd_retired_add(&store->retired, model->name, generation, before);
	store->events.published(store->events.context, model);
}

void gd_store_forget(struct gd_store *store, struct gd_model *model)
{
	struct gd_model **at = &store->leaving;

	while (*at != model)
		at = &(*at)->next_leaving;
	*at = model->next_leaving;
	model_free(model);
}

int gd_store_new(const struct gd_store_options *options, const struct gd_store_events *events,
		 struct gd_loop *loop, struct gd_boards *boards, struct gd_store **out_store,
		 struct gw_error *error)
{
	struct gd_store *store = calloc(1, sizeof *store);
	int code;

	if (!store)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory for the store");
	store->options = *options;
	store->events = *events;
	store->boards = boards;
	store->last_generation = gd_store_last_taken(options->takeback);
	code = gd_retired_init(&store->retired, loop, gd_store_memory_freed, store, error);
	if (!code)
		code = gd_loader_new(loop, options->share, options->small_pages, gd_store_job_done, store,
				     &store->loader, error);
	if (code) {
		gd_retired_deinit(&store->retired);
		free(store);
		return code;
	}
	*out_store = store;
	return GW_OK;
}

void gd_store_free(struct gd_store *store)
{
	if (!store)
		return;
	gd_loader_free(store->loader);
	for (size_t i = 0; i < store->n; i++)
		model_free(store->models[i]);
	while (store->leaving)
		gd_store_forget(store, store->leaving);
	gd_retired_deinit(&store->retired);
	free(store);
}

int gd_store_pin(struct gd_store *store, const char *name, const char *path,
		 struct gw_error *error)
{
	struct gd_model *model;
	int code;

	if (gd_store_find(store, name))
		return gw_fail(error, GW_E_EXISTS, GW_NO_OFFSET, "model %s is named twice", name);
	code = gd_store_add(store, name, path, true, &model, error);
	if (!code)
		gd_store_refresh(store, model, true);
	return code;
}

void gd_store_withdraw(struct gd_store *store, size_t place)
{
	struct gd_model *model = store->models[place];

	gd_log_model(GD_EVENT_WITHDRAWN, model->name, model->path, model->generation,
		     "%s: %s is gone; no longer served", model->name, model->path);
	store->n--;
	memmove(store->models + place, store->models + place + 1,
		(store->n - place) * sizeof *store->models);
	model->removed = true;
	wire_put_text(model->message, sizeof model->message, "the model was withdrawn");
	if (model->image)
		gd_store_publish(store, model, NULL);
	store->events.removed(store->events.context, model);
	if (!model->loading) {
		model_free(model);
		return;
	}
	model->next_leaving = store->leaving;
	store->leaving = model;
}

void gd_store_reload(struct gd_store *store, struct gd_model *model)
{
	gd_store_refresh(store, model, true);
}

void gd_store_unload(struct gd_store *store, struct gd_model *model, const char *why)
{
	model->unloaded = true;
	model->again = false;
	model->wanted_bytes = 0;
	model->file = (struct stat){ 0 };
	wire_put_text(model->message, sizeof model->message, why);
	gd_log_model(GD_EVENT_WITHDRAWN, model->name, model->path, model->generation, "%s: %s",
		     model->name, why);
	if (model->image)
		gd_store_publish(store, model, NULL);
	gd_store_memory_freed(store);
}

void gd_store_load(struct gd_store *store, struct gd_model *model)
{
	model->unloaded = false;
	gd_store_refresh(store, model, true);
}

void gd_store_sweep(struct gd_store *store)
{
	if (gd_retired_sweep(&store->retired))
		gd_store_memory_freed(store);
}

const struct gd_retired_list *gd_store_retired(const struct gd_store *store)
{
	return &store->retired;
}

const struct gd_store_options *gd_store_options(const struct gd_store *store)
{
	return &store->options;
}

bool gd_store_is_busy(const struct gd_model *model)
{
	return (model->loading && !model->collapsing) || model->again;
}

uint64_t gd_store_failed_total(const struct gd_store *store)
{
	return store->failed_total;
}
