/* SPDX-License-Identifier: MIT */
/* What the parts of the store share: store.c, store_load.c, store_scan.c, store_take.c. */
#pragma once

#include "daemon/limits.h"
#include "daemon/loader.h"
#include "daemon/store.h"

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

/* Adds a model that nothing of is loaded yet. Errors: GW_E_NAME, _LIMIT, _MEMORY, _IO. */
int gd_store_add(struct gd_store *store, const char *name, const char *path, bool pinned,
		 struct gd_model **out_model, struct gw_error *error);
/* Takes a model out of the store; its readers keep their images. */
void gd_store_withdraw(struct gd_store *store, size_t place);
/* Frees a model that was removed and whose last job is done. */
void gd_store_forget(struct gd_store *store, struct gd_model *model);
/* Takes image (NULL: none) as what is served from now on. */
void gd_store_publish(struct gd_store *store, struct gd_model *model, struct gd_image *image);

/* Looks at a model's file if it is not the one that was tried last, or, with retry, that one failed. */
void gd_store_refresh(struct gd_store *store, struct gd_model *model, bool retry);
/* The loader's answer. context: the store. */
void gd_store_job_done(void *context, struct gd_job *job);
/* What was refused for want of room is tried again once there is some. context: the store. */
void gd_store_memory_freed(void *context);

/* The model's notice board and image, those of the daemon before us where it has left any. */
int gd_store_open_board(struct gd_store *store, struct gd_model *model, struct gw_error *error);
/* Has the service manager keep them for the daemon after us: an image before it is published. */
void gd_store_keep_board(struct gd_store *store, struct gd_model *model);
void gd_store_keep_image(struct gd_store *store, const struct gd_model *model,
			 struct gd_image *image, uint64_t generation);
/* The newest generation among what was left; 0: none. */
uint64_t gd_store_last_taken(const struct gd_takeback *takeback);
