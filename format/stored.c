/* SPDX-License-Identifier: MIT */
#include "format/stored.h"

#include <inttypes.h>
#include <string.h>

#include "format/bytes.h"
#include "format/limits.h"
#include "format/superblock.h"

struct gw_stored_regions gw_stored_regions(uint64_t digests_end, uint64_t n_blocks)
{
	struct gw_stored_regions regions = {
		.table_offset = digests_end,
		.table_bytes = n_blocks * GW_STORED_ENTRY_BYTES,
	};

	regions.table_end = regions.table_offset + regions.table_bytes;
	regions.blocks_offset = (regions.table_end + GW_PAGE_BYTES - 1) & ~(GW_PAGE_BYTES - 1);
	return regions;
}

int gw_stored_decode(const uint8_t *bytes, const struct gw_stored_regions *at, uint64_t n_blocks,
		     uint64_t stored_bytes, struct gw_stored_block *out, struct gw_error *error)
{
	struct gw_bytes in = gw_bytes_read(bytes, at->table_bytes);
	uint64_t offset = at->blocks_offset; /* below 2^20 × 2^19 from here on */

	for (uint64_t i = 0; i < n_blocks; i++) {
		uint64_t entry = i * GW_STORED_ENTRY_BYTES;
		uint32_t size = gw_get_u32(&in, entry + GW_ST_SIZE);

		if (gw_get_u32(&in, entry + GW_ST_RESERVED_12))
			return gw_fail(error, GW_E_RESERVED,
				       at->table_offset + entry + GW_ST_RESERVED_12,
				       "reserved bytes of stored block %" PRIu64 " are not zero",
				       i);
		if (size < 1 || size > GW_MAX_STORED_BLOCK_BYTES)
			return gw_fail(error, GW_E_LIMIT, at->table_offset + entry + GW_ST_SIZE,
				       "stored block %" PRIu64 " has %" PRIu32
				       " bytes, not 1 to %" PRIu64,
				       i, size, GW_MAX_STORED_BLOCK_BYTES);
		out[i] = (struct gw_stored_block){
			.digest = gw_get_u64(&in, entry + GW_ST_DIGEST),
			.offset_bytes = offset,
			.size_bytes = size,
		};
		offset += size;
	}
	if (offset - at->blocks_offset != stored_bytes)
		return gw_fail(error, GW_E_LAYOUT, GW_SB_STORED_BYTES,
			       "stored_bytes is %" PRIu64 ", but the stored blocks have %" PRIu64,
			       stored_bytes, offset - at->blocks_offset);
	return GW_OK;
}

void gw_stored_encode(const struct gw_stored_block *blocks, uint64_t n_blocks, uint8_t *out)
{
	struct gw_bytes to = gw_bytes_write(out, n_blocks * GW_STORED_ENTRY_BYTES);

	memset(out, 0, n_blocks * GW_STORED_ENTRY_BYTES);
	for (uint64_t i = 0; i < n_blocks; i++) {
		gw_put_u64(&to, i * GW_STORED_ENTRY_BYTES + GW_ST_DIGEST, blocks[i].digest);
		gw_put_u32(&to, i * GW_STORED_ENTRY_BYTES + GW_ST_SIZE, blocks[i].size_bytes);
	}
}
