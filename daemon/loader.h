/* SPDX-License-Identifier: MIT */
/* The thread on which packs are loaded, so that a load never delays a client. */
#pragma once

#include <stdint.h>
#include <sys/stat.h>

#include "daemon/image.h"
#include "daemon/look.h"
#include "daemon/loop.h"

struct gd_loader;
struct gd_model;

enum gd_job_kind { GD_JOB_LOOK, GD_JOB_LOAD, GD_JOB_COLLAPSE };

/* What is to be done, and what came of it. */
struct gd_job {
	enum gd_job_kind kind;
	struct gd_model *model; /* the submitter's; not looked at here */
	char *path;             /* GD_JOB_LOOK, _LOAD: the pack; freed with the job */
	struct gd_image *image; /* out of GD_JOB_LOAD (NULL: failed), into the others (GD_JOB_LOOK: what
				 * is served, may be NULL); a reference */
	bool head_only;         /* into GD_JOB_LOOK: see gd_look_at */
	struct stat file;       /* out of GD_JOB_LOOK, _LOAD: what was opened; st_ino 0 if nothing was */
	struct gd_look look;    /* out of GD_JOB_LOOK, unless error says that it failed */
	uint64_t load_us;       /* how long it took */
	uint64_t huge_bytes;    /* out of GD_JOB_COLLAPSE */
	struct gw_error error;
	struct gd_job *next;
};

/*
 * Starts the thread. done is called on the loop for every job that is finished and owns the job from
 * then on (gd_job_free). share, small_pages: see struct gd_image_options. Errors: GW_E_MEMORY, GW_E_IO.
 */
int gd_loader_new(struct gd_loop *loop, enum wire_share share, bool small_pages,
		  void (*done)(void *context, struct gd_job *job), void *context,
		  struct gd_loader **out_loader, struct gw_error *error);

/* Breaks off what is under way, waits for the thread and frees all jobs; NULL is fine. */
void gd_loader_free(struct gd_loader *loader);

/* A job with a copy of path (may be NULL), and a reference to image (may be NULL); NULL: no memory. */
struct gd_job *gd_job_new(enum gd_job_kind kind, struct gd_model *model, const char *path,
			  struct gd_image *image);
void gd_job_free(struct gd_job *job);

/* Takes job. Looks and loads come before collapses, otherwise first come, first served. */
void gd_loader_submit(struct gd_loader *loader, struct gd_job *job);
