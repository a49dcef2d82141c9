/* SPDX-License-Identifier: MIT */
/* Units of a pack's image (reader.h) from its file, whether they lie there as they are or compressed. */
#pragma once

#include <stdint.h>

#include "format/reader.h"
#include "format/zstd.h"

/* One per thread: it holds a decoder and room for a stored block. */
struct gw_unit_reader;

/*
 * pack, fd (which pack was opened from) and zstd are borrowed for the reader's life; zstd may be NULL
 * for a pack that is not compressed. *out_reader is the caller's. Errors: GW_E_MEMORY, GW_E_ARGUMENT
 * (compressed, and no zstd).
 */
int gw_unit_reader_new(const struct gw_pack *pack, int fd, const struct gw_zstd *zstd,
		       struct gw_unit_reader **out_reader, struct gw_error *error);
void gw_unit_reader_free(struct gw_unit_reader *reader); /* NULL is fine */

/*
 * The bytes of unit index, as the image has them, at out (gw_pack_unit's size_bytes of room), not yet
 * verified: that is gw_pack_verify_unit. Gaps of a compressed pack are zero and not in the file.
 * Errors: GW_E_IO, GW_E_CHANGED; of stored blocks GW_E_STORED_BLOCK, GW_E_BLOCK_CODE, with the block, its
 * tensor and rows, and where it lies in the file. out's bytes are unspecified after a failure.
 */
int gw_unit_reader_read(struct gw_unit_reader *reader, uint64_t index, uint8_t *out,
			struct gw_error *error);

/* The same, verified. Also the errors of gw_pack_verify_unit; of stored blocks with where they lie in the
 * file. */
int gw_unit_reader_verify(struct gw_unit_reader *reader, uint64_t index, uint8_t *out,
			  struct gw_error *error);

/*
 * Of a stored block that was read by other means: its stored bytes into unit index, a block's, past the
 * caches (gw_block_decode_far): for an image of many blocks. Errors: as gw_unit_reader_read, of stored
 * blocks.
 */
int gw_unit_reader_decode(struct gw_unit_reader *reader, uint64_t index, const uint8_t *stored,
			  uint8_t *out, struct gw_error *error);
