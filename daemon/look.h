/* SPDX-License-Identifier: MIT */
/* A look at a pack before it is loaded: how large its image is, and whether it is the one served. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "daemon/image.h"
#include "format/status.h"

struct gd_look {
	uint64_t image_bytes;
	bool same; /* nothing in the file, or its head, differs from the image that is served */
};

/* Whether readers of one could tell that they have the other: all but where the packs came from. */
bool gd_look_is_same(const struct gw_superblock *a, const struct gw_superblock *b);

/*
 * Reads the head of the pack at path and, where that is the same as served's (may be NULL), verifies
 * the file block by block in little memory: a damaged file is found, an untouched one needs no second
 * image. A compressed file is not read further (same is false). head_only: nor is any other, and
 * same is what the heads say. out_status: as gd_image_load. Called off the loop; blocks. Errors: as
 * gd_image_load.
 */
int gd_look_at(const char *path, const struct gd_image *served, bool head_only,
	       const atomic_bool *cancel, struct gd_look *out, struct stat *out_status,
	       struct gw_error *error);
