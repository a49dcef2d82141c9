/* SPDX-License-Identifier: MIT */
#include "daemon/store.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/lease.h"
#include "daemon/limits.h"
#include "daemon/loader.h"
#include "daemon/log.h"
#include "format/directory.h"
#include "format/endpoint.h"

#define PACK_SUFFIX ".gpt2w"

struct gd_store {
	struct gd_store_options options;
	struct gd_store_events events;
	struct gd_boards *boards;
	struct gd_loader *loader;
	struct gd_model *models[GD_MAX_MODELS]; /* ascending by name */
	size_t n;
	struct gd_model *leaving; /* removed while a job was under way; freed when that is done */
	uint64_t last_generation;
	struct gd_retired_list retired;
	uint64_t failed_total;
};

static void model_free(struct gd_model *model)
{
	if (!model)
		return;
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

static int model_add(struct gd_store *store, const char *name, const char *path, bool pinned,
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
	code = gd_board_init(&model->board, store->boards, error);
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

/* Takes image (NULL: none) as what is served from now on. */
static void publish(struct gd_store *store, struct gd_model *model, struct gd_image *image)
{
	struct gd_image *before = model->image;

	uint64_t generation = model->generation;

	model->image = image;
	model->generation = image ? next_generation(store) : 0;
	model->since_ms = wire_now_ms();
	model->epoch = gd_board_publish(&model->board, model->generation);
	if (before)
		gd_retired_add(&store->retired, model->name, generation, before);
	store->events.published(store->events.context, model);
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static void fail_load(struct gd_store *store, struct gd_model *model, const char *message)
{
	store->failed_total++;
	wire_put_text(model->message, sizeof model->message, message);
	gd_log("%s: cannot load %s: %s%s", model->name, model->path, message,
	       model->image ? "; the generation before stays in service" : "");
}

static bool submit(struct gd_store *store, struct gd_model *model, enum gd_job_kind kind)
{
	struct gd_job *job = gd_job_new(kind, model, kind == GD_JOB_COLLAPSE ? NULL : model->path,
					kind == GD_JOB_LOAD ? NULL : model->image);

	model->loading = job != NULL;
	model->collapsing = job && kind == GD_JOB_COLLAPSE;
	if (job)
		gd_loader_submit(store->loader, job);
	return job != NULL;
}

/* Looks at a model's file if it is not the one that was tried last, or, with retry, that one failed. */
static void refresh(struct gd_store *store, struct gd_model *model, bool retry)
{
	struct stat now;

	if (model->unloaded)
		return;
	if (model->loading) {
		model->again = true;
		return;
	}
	if (!(retry && model->message[0]) && model->file.st_ino && stat(model->path, &now) == 0 &&
	    same_file(&now, &model->file))
		return;
	if (!submit(store, model, GD_JOB_LOOK))
		fail_load(store, model, "no memory");
}

uint64_t gd_store_served_bytes(const struct gd_store *store)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < store->n; i++)
		if (store->models[i]->image && store->options.share == WIRE_SHARE_SEALED)
			bytes += store->models[i]->image->fd_bytes;
	return bytes;
}

static uint64_t promised_bytes(const struct gd_store *store)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < store->n; i++)
		bytes += store->models[i]->promised_bytes;
	return bytes;
}

/*
 * Whether there is room for an image of image_bytes of model's, and, where somebody holds the one that
 * is served, for that one among the retired. Errors: GW_E_LIMIT, with the sizes.
 */
static int admit(struct gd_store *store, const struct gd_model *model, uint64_t image_bytes,
		 struct gw_error *error)
{
	const struct gd_store_options *options = &store->options;
	uint64_t taken;

	if (options->share == WIRE_SHARE_FILE)
		return GW_OK;
	gd_retired_sweep(&store->retired);
	/* each at most 2^39, and not many: the sums fit */
	taken = gd_store_served_bytes(store) + promised_bytes(store) + store->retired.bytes;
	if (taken + image_bytes > options->max_bytes)
		return gw_fail(error, GW_E_LIMIT, GW_NO_OFFSET,
			       "no room for an image of %" PRIu64 " bytes: images take %" PRIu64
			       ", %" PRIu64 " of them of old generations that are still held; "
			       "--memory-max is %" PRIu64,
			       image_bytes, taken, store->retired.bytes, options->max_bytes);
	if (!model->image || !gd_lease_is_held(model->image->fd))
		return GW_OK;
	taken = store->retired.bytes + model->image->fd_bytes;
	if (taken > options->max_retired_bytes)
		return gw_fail(error, GW_E_LIMIT, GW_NO_OFFSET,
			       "the generation before would stay in memory, as programs hold it: then "
			       "%" PRIu64 " bytes of old generations; --retired-max is %" PRIu64,
			       taken, options->max_retired_bytes);
	if (store->retired.count >= options->max_retired)
		return gw_fail(error, GW_E_LIMIT, GW_NO_OFFSET,
			       "programs hold %" PRIu64 " old generations, as many as may be",
			       store->retired.count);
	return GW_OK;
}

static void log_serving(const struct gd_store *store, const struct gd_model *model)
{
	const struct gw_pack *pack = model->image->pack;
	char positions[64] = "no position table";

	if (pack->wpe)
		snprintf(positions, sizeof positions, "wpe [%" PRIu64 ", %" PRIu64 "] %s",
			 pack->wpe->row_count, pack->wpe->row_elements,
			 gw_dtype_name(pack->wpe->dtype));
	gd_log("%s: serving generation %" PRIu64 ": wte [%" PRIu64 ", %" PRIu64 "] %s, %s; "
	       "%.1f MB %s%s, verified in %.0f ms",
	       model->name, model->generation, pack->wte->row_count, pack->wte->row_elements,
	       gw_dtype_name(pack->wte->dtype), positions,
	       (double)pack->superblock.image_bytes / 1e6,
	       store->options.share == WIRE_SHARE_SEALED ? "sealed" : "shared from its file",
	       model->image->huge_bytes ? " on 2 MiB pages" : "",
	       (double)model->load_us / 1e3);
}

/* Asks for 2 MiB pages; without memory for the job it does without. */
static void submit_collapse(struct gd_store *store, struct gd_model *model)
{
	if (store->options.share == WIRE_SHARE_SEALED && !store->options.small_pages &&
	    !model->image->huge_bytes)
		submit(store, model, GD_JOB_COLLAPSE);
}

static void say_unchanged(struct gd_model *model)
{
	model->message[0] = '\0';
	gd_log("%s: %s has the contents that are served: generation %" PRIu64 " stays", model->name,
	       model->path, model->generation);
}

/* What was found out about a pack decides whether it is loaded. */
static void look_done(struct gd_store *store, struct gd_model *model, struct gd_job *job)
{
	struct gw_error *error = &job->error;

	model->file = job->file;
	model->wanted_bytes = 0;
	if (!error->code && job->look.same && model->image == job->image) {
		say_unchanged(model);
	} else if (error->code || admit(store, model, job->look.image_bytes, error)) {
		if (error->code == GW_E_LIMIT)
			model->wanted_bytes = job->look.image_bytes; /* 0: the file is beyond a limit */
		if (model->wanted_bytes)
			gd_retired_keep_looking(&store->retired, true);
		fail_load(store, model, error->message);
	} else if (submit(store, model, GD_JOB_LOAD)) {
		if (store->options.share == WIRE_SHARE_SEALED)
			model->promised_bytes = job->look.image_bytes;
		return;
	} else {
		fail_load(store, model, "no memory");
	}
	store->events.settled(store->events.context, model);
}

static void load_done(struct gd_store *store, struct gd_model *model, struct gd_job *job)
{
	struct gd_image *image = job->image;

	model->file = job->file;
	if (!image) {
		fail_load(store, model, job->error.message);
	} else if (model->image && image->share == WIRE_SHARE_SEALED &&
		   gd_look_is_same(&image->pack->superblock, &model->image->pack->superblock)) {
		say_unchanged(model); /* it was compressed, or changed back meanwhile */
	} else {
		job->image = NULL;
		model->message[0] = '\0';
		model->load_us = job->load_us;
		publish(store, model, image);
		log_serving(store, model);
		submit_collapse(store, model);
	}
	store->events.settled(store->events.context, model);
}

/* Frees a model that was removed and whose last job is done. */
static void forget(struct gd_store *store, struct gd_model *model)
{
	struct gd_model **at = &store->leaving;

	while (*at != model)
		at = &(*at)->next_leaving;
	*at = model->next_leaving;
	model_free(model);
}

/* What was asked for while a job was under way. */
static void look_again(struct gd_store *store, struct gd_model *model)
{
	if (!model->again || model->loading)
		return;
	model->again = false;
	refresh(store, model, false); /* what was under way was the retry */
}

/* What was refused for want of room is tried again once there is some. */
static void memory_freed(void *context)
{
	struct gd_store *store = context;
	bool wanted = false;

	for (size_t i = 0; i < store->n; i++) {
		struct gd_model *model = store->models[i];

		if (model->wanted_bytes && !admit(store, model, model->wanted_bytes, NULL))
			refresh(store, model, true);
		else
			wanted |= model->wanted_bytes != 0;
	}
	gd_retired_keep_looking(&store->retired, wanted);
}

static void job_done(void *context, struct gd_job *job)
{
	struct gd_store *store = context;
	struct gd_model *model = job->model;

	model->loading = model->collapsing = false;
	model->promised_bytes = 0;
	if (model->removed) {
		gd_job_free(job);
		forget(store, model);
		return;
	}
	if (job->kind == GD_JOB_COLLAPSE)
		job->image->huge_bytes = job->huge_bytes;
	else if (model->unloaded)
		store->events.settled(store->events.context, model);
	else if (job->kind == GD_JOB_LOOK)
		look_done(store, model, job);
	else
		load_done(store, model, job);
	gd_job_free(job);
	look_again(store, model);
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
	code = gd_retired_init(&store->retired, loop, memory_freed, store, error);
	if (!code)
		code = gd_loader_new(loop, options->share, options->small_pages, job_done, store,
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
		forget(store, store->leaving);
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
	code = model_add(store, name, path, true, &model, error);
	if (!code)
		refresh(store, model, true);
	return code;
}

/* Takes a model out of the store; its readers keep their images. */
static void withdraw(struct gd_store *store, size_t place)
{
	struct gd_model *model = store->models[place];

	gd_log("%s: %s is gone; no longer served", model->name, model->path);
	store->n--;
	memmove(store->models + place, store->models + place + 1,
		(store->n - place) * sizeof *store->models);
	model->removed = true;
	wire_put_text(model->message, sizeof model->message, "the model was withdrawn");
	if (model->image)
		publish(store, model, NULL);
	store->events.removed(store->events.context, model);
	if (!model->loading) {
		model_free(model);
		return;
	}
	model->next_leaving = store->leaving;
	store->leaving = model;
}

bool gd_store_is_pack(const char *file)
{
	size_t n = strlen(file), suffix = strlen(PACK_SUFFIX);

	return file[0] != '.' && n > suffix && strcmp(file + n - suffix, PACK_SUFFIX) == 0;
}

/* One file of the directory. */
static void scan_entry(struct gd_store *store, const char *file)
{
	size_t n = strlen(file), suffix = strlen(PACK_SUFFIX);
	struct gw_error error = GW_ERROR_INIT;
	struct gd_model *model;
	char name[WIRE_MODEL_BYTES], quoted[WIRE_MODEL_BYTES];
	char *path;

	if (!gd_store_is_pack(file))
		return;
	snprintf(name, sizeof name, "%.*s", (int)(n - suffix), file);
	model = gd_store_find(store, name);
	if (model && model->pinned)
		return; /* --model decides */
	if (!model) {
		if (asprintf(&path, "%s/%s", store->options.directory, file) < 0) {
			gd_log("no memory for a path");
			return;
		}
		if (model_add(store, name, path, false, &model, &error))
			gd_log("%s is not served: %s", gw_quote(file, n, quoted, sizeof quoted),
			       error.message);
		free(path);
	}
	if (model)
		model->found = true;
}

int gd_store_scan(struct gd_store *store, bool thorough, struct gw_error *error)
{
	DIR *directory = NULL;
	struct dirent *entry;

	for (size_t i = 0; i < store->n; i++)
		store->models[i]->found = store->models[i]->pinned;
	if (store->options.directory) {
		directory = opendir(store->options.directory);
		if (!directory)
			return gw_fail_errno(error, errno, "cannot read the directory %s",
					     store->options.directory);
		while ((errno = 0, entry = readdir(directory)))
			scan_entry(store, entry->d_name);
		if (errno) {
			gw_fail_errno(error, errno, "cannot read the directory %s",
				      store->options.directory);
			closedir(directory);
			/* what is new was added above, and would else wait for a load that never comes */
			for (size_t i = 0; i < store->n; i++)
				if (store->models[i]->found && !store->models[i]->image)
					refresh(store, store->models[i], thorough);
			return GW_E_IO;
		}
		closedir(directory);
	}
	for (size_t i = store->n; i-- > 0;) {
		if (store->models[i]->found)
			refresh(store, store->models[i], thorough);
		else if (thorough)
			withdraw(store, i);
	}
	return GW_OK;
}

void gd_store_reload(struct gd_store *store, struct gd_model *model)
{
	refresh(store, model, true);
}

void gd_store_unload(struct gd_store *store, struct gd_model *model, const char *why)
{
	model->unloaded = true;
	model->again = false;
	model->wanted_bytes = 0;
	model->file = (struct stat){ 0 };
	wire_put_text(model->message, sizeof model->message, why);
	gd_log("%s: %s", model->name, why);
	if (model->image)
		publish(store, model, NULL);
	memory_freed(store);
}

void gd_store_load(struct gd_store *store, struct gd_model *model)
{
	model->unloaded = false;
	refresh(store, model, true);
}

void gd_store_sweep(struct gd_store *store)
{
	if (gd_retired_sweep(&store->retired))
		memory_freed(store);
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
