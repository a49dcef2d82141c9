/* SPDX-License-Identifier: MIT */
/* What is shared: a verified pack in sealed memory, or the pack's own file. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "daemon/fdstore.h"
#include "format/reader.h"
#include "format/status.h"
#include "format/wire.h"

/* A generation that is served no longer (retired.h); in its image, so that keeping account of what is
 * still held needs no memory that there may not be. */
struct gd_retired {
	char model[WIRE_MODEL_BYTES];
	uint64_t generation;
	uint64_t since_ms; /* as wire_now_ms */
	struct gd_image *image;
	struct gd_retired *next;
};

struct gd_image {
	int fd; /* read-only; handed out reopened */
	enum wire_share share;
	uint64_t fd_bytes;   /* size of what fd is; more than the image on hugetlb pages */
	uint64_t huge_bytes; /* of it on 2 MiB pages; 0 may change once, by gd_image_collapse's caller */
	struct gw_pack *pack;
	struct gd_kept kept; /* by the service manager, until the last reference goes */
	unsigned references; /* loop thread only */
	struct gd_retired retired;
};

struct gd_image_options {
	enum wire_share share;
	bool small_pages;          /* no 2 MiB pages, neither hugetlb nor collapsed */
	const atomic_bool *cancel; /* polled; ends the load with GW_E_CLOSED */
};

/* Opens what may be a pack; *out_fd is the caller's. Waits for nobody. Errors: GW_E_IO. */
int gd_image_open_file(const char *path, int *out_fd, struct stat *out_status,
		       struct gw_error *error);

/*
 * Loads and verifies the pack at path with a thread per processor. *out_image has one reference;
 * *out_status is what the file was when it was opened, also on failure if it could be opened. Called
 * off the loop; blocks. Of a file that is copied, pages that only the load brought into the page cache are
 * dropped from it. Errors: GW_E_IO, _NOT_FILE, _MEMORY, _CLOSED, _FEATURE (compressed, and its file is to
 * be shared), those of gw_pack_open_fd, gw_unit_reader_read and gw_pack_verify_unit.
 */
int gd_image_load(const char *path, const struct gd_image_options *options,
		  struct gd_image **out_image, struct stat *out_status, struct gw_error *error);

/*
 * The sealed image that a daemon before us verified and stored by that name, once it is checked:
 * kind, seals, inode number, and all of it but the tensors, whose bytes the seals have kept as they
 * were (image_take.c). fd: consumed, on success alone. *out_image has one reference. Errors:
 * GW_E_FD_KIND, _FD_SEALS, _FD_OTHER, _IO, _MEMORY, _PADDING, those of gw_pack_open_memory.
 */
int gd_image_take(int fd, const struct gd_fdname *name, struct gd_image **out_image,
		  struct gw_error *error);
/* The name by which a sealed image is stored, as a model's generation at an epoch of its board. */
int gd_image_name(const struct gd_image *image, const char *model, uint64_t generation,
		  uint32_t epoch, struct gd_fdname *out, struct gw_error *error);

/*
 * Moves a sealed image to 2 MiB pages where the kernel can (MADV_COLLAPSE, Linux 6.1), under its
 * readers. Called off the loop; blocks. Returns the bytes that then lie on such pages; touches nothing
 * of image.
 */
uint64_t gd_image_collapse(const struct gd_image *image, const atomic_bool *cancel);

struct gd_image *gd_image_ref(struct gd_image *image);
void gd_image_unref(struct gd_image *image); /* NULL is fine */
