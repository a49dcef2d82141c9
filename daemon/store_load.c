/* SPDX-License-Identifier: MIT */
/* Looking at packs and loading them: what is asked for, whether there is room, what came of it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/lease.h"
#include "daemon/log.h"
#include "daemon/store_parts.h"

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
	gd_log_model(GD_EVENT_LOAD_FAILED, model->name, model->path, model->generation,
		     "%s: cannot load %s: %s%s", model->name, model->path, message,
		     model->image ? "; the generation before stays in service" : "");
}

static bool submit(struct gd_store *store, struct gd_model *model, enum gd_job_kind kind)
{
	struct gd_job *job = gd_job_new(kind, model, kind == GD_JOB_COLLAPSE ? NULL : model->path,
					kind == GD_JOB_LOAD ? NULL : model->image);

	if (job)
		job->head_only = model->taken_back && !model->file.st_ino;
	model->loading = job != NULL;
	model->collapsing = job && kind == GD_JOB_COLLAPSE;
	if (job)
		gd_loader_submit(store->loader, job);
	return job != NULL;
}

void gd_store_refresh(struct gd_store *store, struct gd_model *model, bool retry)
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
	gd_log_model(GD_EVENT_SERVING, model->name, model->path, model->generation,
		     "%s: serving generation %" PRIu64 ": wte [%" PRIu64 ", %" PRIu64
		     "] %s, %s; %.1f MB %s%s, verified in %.0f ms",
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
	gd_log_model(GD_EVENT_NONE, model->name, model->path, model->generation,
		     "%s: %s has the contents that are served: generation %" PRIu64 " stays",
		     model->name, model->path, model->generation);
}

/* What was found out about a pack decides whether it is loaded. */
static void look_done(struct gd_store *store, struct gd_model *model, struct gd_job *job)
{
	struct gw_error *error = &job->error;

	model->file = job->file;
	model->wanted_bytes = 0;
	if (!error->code && job->look.same && model->image == job->image) {
		say_unchanged(model);
		if (job->head_only)
			submit_collapse(store, model);
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
		gd_store_publish(store, model, image);
		log_serving(store, model);
		submit_collapse(store, model);
	}
	store->events.settled(store->events.context, model);
}

/* What was asked for while a job was under way. */
static void look_again(struct gd_store *store, struct gd_model *model)
{
	if (!model->again || model->loading)
		return;
	model->again = false;
	gd_store_refresh(store, model, false); /* what was under way was the retry */
}

void gd_store_memory_freed(void *context)
{
	struct gd_store *store = context;
	bool wanted = false;

	for (size_t i = 0; i < store->n; i++) {
		struct gd_model *model = store->models[i];

		if (model->wanted_bytes && !admit(store, model, model->wanted_bytes, NULL))
			gd_store_refresh(store, model, true);
		else
			wanted |= model->wanted_bytes != 0;
	}
	gd_retired_keep_looking(&store->retired, wanted);
}

void gd_store_job_done(void *context, struct gd_job *job)
{
	struct gd_store *store = context;
	struct gd_model *model = job->model;

	model->loading = model->collapsing = false;
	model->promised_bytes = 0;
	if (model->removed) {
		gd_job_free(job);
		gd_store_forget(store, model);
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
