/* SPDX-License-Identifier: MIT */
/* From a pack's file, compressed or not, into the memory of its image. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "format/reader.h"

/*
 * Fills map, superblock.image_bytes of zeros, with the image of pack, which was opened from fd, on a thread
 * per processor, each reading ahead of what it decodes. Nothing is verified but what decoding takes.
 * Blocks. Errors: GW_E_MEMORY, _CLOSED, those of gw_pack_read_head and gw_unit_reader_read.
 */
int gd_fill(const struct gw_pack *pack, int fd, uint8_t *map, const atomic_bool *cancel,
	    struct gw_error *error);
