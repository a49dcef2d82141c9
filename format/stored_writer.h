/* SPDX-License-Identifier: MIT */
/*
 * Writes a compressed pack: the same pack uncompressed is there already, its blocks are stored one after
 * the other. Whoever calls it encodes them (block.h). Memory: 24 bytes a block.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/outfile.h"
#include "format/reader.h"

struct gw_stored_writer;

/* GW_E_LIMIT if a pack of so many blocks cannot be compressed (GW_MAX_STORED_BLOCKS). */
int gw_stored_writer_admit(uint64_t n_blocks, struct gw_error *error);

/*
 * Starts the compressed form of pack, which was opened from fd and is not compressed, at path
 * (gw_outfile_create's rules and errors). pack and fd are borrowed until the writer ends. *out_writer is
 * the caller's. Also GW_E_ARGUMENT, GW_E_LIMIT (more than GW_MAX_STORED_BLOCKS), GW_E_MEMORY.
 */
int gw_stored_writer_new(const struct gw_pack *pack, int fd, const char *path, bool replace,
			 struct gw_stored_writer **out_writer, struct gw_error *error);

/* The next block, stored in n bytes. Errors: GW_E_ARGUMENT (n, or a block too many), GW_E_IO. */
int gw_stored_writer_append(struct gw_stored_writer *writer, const uint8_t *stored, uint64_t n,
			    struct gw_error *error);

/*
 * Writes what is before the blocks and puts the pack under its name. *out_bytes (may be NULL): its size.
 * Errors: GW_E_ARGUMENT (not all blocks), GW_E_IO, GW_E_CHANGED, GW_E_EXISTS, GW_E_MEMORY.
 */
int gw_stored_writer_finish(struct gw_stored_writer *writer, uint64_t *out_bytes,
			    struct gw_error *error);

/* Ends the writer; without a successful finish nothing is left behind. NULL is fine. */
void gw_stored_writer_free(struct gw_stored_writer *writer);
