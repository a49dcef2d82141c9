/* SPDX-License-Identifier: MIT */
/* The models: which packs there are, what of them is served, and when they change. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "daemon/board.h"
#include "daemon/image.h"
#include "daemon/loop.h"
#include "daemon/retired.h"
#include "daemon/takeback.h"
#include "format/limits.h"
#include "format/wire.h"

struct gd_store;

struct gd_model {
	char name[WIRE_MODEL_BYTES];
	char *path;
	bool pinned;  /* by --model: stays although its file is gone */
	bool found;   /* by the scan under way */
	bool loading; /* a job is under way */
	bool collapsing; /* and it is about pages alone */
	bool again;   /* look at the file once more when it is done */
	uint64_t wanted_bytes; /* there was no room for its image of that size: tried again when there is */
	bool unloaded; /* by an administrator: not served before he says so */
	bool removed; /* no longer in the store; freed when its job is done */
	struct gd_model *next_leaving;
	struct stat file; /* as last tried; st_ino 0: not yet */
	struct gd_image *image; /* what is served; NULL: nothing */
	uint64_t generation;    /* 0: none */
	uint64_t since_ms;      /* when it was published, as wire_now_ms */
	uint64_t promised_bytes; /* of the image that is being loaded */
	uint32_t epoch;
	uint64_t load_us;
	uint64_t attached;       /* connections whose last answer was this model */
	uint64_t attached_total;
	char message[WIRE_MESSAGE_TEXT_BYTES]; /* why the last load failed; "" if it did not */
	bool taken_back; /* the image is that of a daemon before us */
	struct gd_board board;
	struct gd_kept kept_board; /* by the service manager */
};

struct gd_store_options {
	const char *directory; /* of *.gpt2w files, or NULL; borrowed */
	enum wire_share share;
	bool small_pages;
	uint64_t max_bytes;         /* of all images, retired ones included */
	uint64_t max_retired_bytes; /* of generations that are served no longer and still held */
	uint64_t max_retired;       /* their number: each takes a descriptor */
	struct gd_fdstore *fdstore; /* that keeps images and boards, or NULL; borrowed */
	struct gd_takeback *takeback; /* what a daemon before us left, or NULL; borrowed */
};

/* What the store tells its owner, on the loop. */
struct gd_store_events {
	/* a model's generation changed (0: no longer served); the model may be about to end */
	void (*published)(void *context, struct gd_model *model);
	/* a look at a pack, or its load, ended, well or badly: who waits for it can be answered */
	void (*settled)(void *context, struct gd_model *model);
	/* the model ends with this call */
	void (*removed)(void *context, struct gd_model *model);
	void *context;
};

/* options and events are copied. Errors: GW_E_MEMORY, GW_E_IO. */
int gd_store_new(const struct gd_store_options *options, const struct gd_store_events *events,
		 struct gd_loop *loop, struct gd_boards *boards, struct gd_store **out_store,
		 struct gw_error *error);
void gd_store_free(struct gd_store *store); /* tells no events; NULL is fine */

/* Whether a file of the directory is served: NAME.gpt2w, not hidden. */
bool gd_store_is_pack(const char *file);

/* Adds a model that stays, named name, of the pack at path. Errors: GW_E_NAME, _EXISTS, _LIMIT, _MEMORY. */
int gd_store_pin(struct gd_store *store, const char *name, const char *path,
		 struct gw_error *error);

/*
 * Looks at the directory and all files again: what is new or has changed is loaded. thorough, when
 * somebody asks for it: what failed is tried again although it has not changed, and what is gone is no
 * longer served. Errors: GW_E_IO (the directory cannot be read: nothing is changed).
 */
int gd_store_scan(struct gd_store *store, bool thorough, struct gw_error *error);

/*
 * Takes back the generations that a daemon before us served no longer and that somebody still
 * holds. To be called when all models that there are have been added, as what they serve is taken
 * first.
 */
void gd_store_take_retired(struct gd_store *store);

/* Likewise one model, retried. */
void gd_store_reload(struct gd_store *store, struct gd_model *model);
/* No longer serves a model, although its pack is there, until gd_store_load. why: for who asks for it. */
void gd_store_unload(struct gd_store *store, struct gd_model *model, const char *why);
void gd_store_load(struct gd_store *store, struct gd_model *model);

/* Whether a model's pack is being looked at or loaded, or will be. */
bool gd_store_is_busy(const struct gd_model *model);
/* Loads that failed or were refused. */
uint64_t gd_store_failed_total(const struct gd_store *store);

/* What is in memory. */
uint64_t gd_store_served_bytes(const struct gd_store *store);
/* Asks the kernel anew which old generations are held, so that gd_store_retired is the truth. */
void gd_store_sweep(struct gd_store *store);
const struct gd_retired_list *gd_store_retired(const struct gd_store *store);
const struct gd_store_options *gd_store_options(const struct gd_store *store);

/* Models in ascending order of name. */
size_t gd_store_count(const struct gd_store *store);
struct gd_model *gd_store_at(const struct gd_store *store, size_t index);
struct gd_model *gd_store_find(const struct gd_store *store, const char *name); /* NULL: none */
