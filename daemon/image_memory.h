/* SPDX-License-Identifier: MIT */
/* The memory of a sealed image, before it is sealed. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "format/status.h"

struct gd_image_memory {
	int fd;              /* a memfd, read and write */
	uint8_t *map;        /* all of it, at a multiple of 2 MiB */
	uint64_t fd_bytes;   /* more than the image on hugetlb pages */
	uint64_t huge_bytes; /* of it on 2 MiB pages: all that can be, or 0 */
};

/*
 * Zeros for an image of image_bytes, all of which is taken: what is not to be had is an error here, and a
 * signal when it is touched. On 2 MiB pages unless small_pages: reserved ones where there are enough,
 * else such as the kernel makes at once (MADV_COLLAPSE, Linux 6.1), else none. Blocks; uses a thread per
 * processor. Errors: GW_E_MEMORY (gd_memory_check), _IO, _CLOSED (*cancel was set). out is ended by
 * gd_image_memory_deinit; after a failure it needs no end.
 */
int gd_image_memory_init(struct gd_image_memory *out, uint64_t image_bytes, bool small_pages,
			 const atomic_bool *cancel, struct gw_error *error);
void gd_image_memory_deinit(struct gd_image_memory *memory);

/* Maps size bytes of fd so that 2 MiB pages fit; *out_map ends with munmap. Errors: GW_E_IO. */
int gd_map_aligned(int fd, uint64_t size_bytes, int protection, uint8_t **out_map,
		   struct gw_error *error);
