/* SPDX-License-Identifier: MIT */
/* The table of stored blocks: where a compressed pack has what a block is decoded from (FORMAT.md). */
#pragma once

#include <stdint.h>

#include "format/status.h"

/* FORMAT.md's table "stored": name, offset, size. */
#define GW_STORED_FIELDS(X)     \
	X(DIGEST, 0, 8)         \
	X(SIZE, 8, 4)           \
	X(RESERVED_12, 12, 4)

#define X(name, offset, size) GW_ST_##name = (offset), GW_ST_##name##_SIZE = (size),
enum gw_stored_field { GW_STORED_FIELDS(X) };
#undef X

#define GW_STORED_ENTRY_BYTES UINT64_C(16)

/* One block as it lies in the file. */
struct gw_stored_block {
	uint64_t digest;       /* XXH3-64 of its size_bytes */
	uint64_t offset_bytes; /* in the file; derived */
	uint32_t size_bytes;   /* 1 to GW_MAX_STORED_BLOCK_BYTES */
};

/* Where the regions that only a compressed pack has lie; derived, never stored. Offsets in bytes. */
struct gw_stored_regions {
	uint64_t table_offset, table_bytes;
	uint64_t table_end;     /* zero from here to blocks_offset */
	uint64_t blocks_offset; /* of the first stored block, to the end of the file */
};

/* digests_end: where the block digests end (struct gw_regions); n_blocks within its limits. */
struct gw_stored_regions gw_stored_regions(uint64_t digests_end, uint64_t n_blocks);

/*
 * Decodes and validates the table of n_blocks entries at bytes, whose digest the caller has checked.
 * stored_bytes: the superblock's, which must be the sum of all sizes. out: room for n_blocks. Errors:
 * GW_E_RESERVED, _LIMIT, _LAYOUT.
 */
int gw_stored_decode(const uint8_t *bytes, const struct gw_stored_regions *at, uint64_t n_blocks,
		     uint64_t stored_bytes, struct gw_stored_block *out, struct gw_error *error);

/* out: n_blocks × GW_STORED_ENTRY_BYTES. */
void gw_stored_encode(const struct gw_stored_block *blocks, uint64_t n_blocks, uint8_t *out);
