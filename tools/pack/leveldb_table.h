/* SPDX-License-Identifier: MIT */
/*
 * LevelDB's sorted table (its doc/table_format.md), as TensorFlow writes it: blocks of keys and
 * values, a meta block without entries, an index block, and a footer of 48 bytes.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "tools/pack/file.h"

#define PACK_LEVELDB_FOOTER_BYTES 48
/* The last 8 bytes of a table, little-endian. */
#define PACK_LEVELDB_MAGIC UINT64_C(0xdb4775248b80fb57)

/* Valid until the visit returns. */
struct pack_leveldb_entry {
	const uint8_t *key, *value;
	size_t key_bytes, value_bytes;
	uint64_t offset; /* in the file: of the entry or, in a compressed block, of the block */
};

/*
 * Calls visit for every entry, in the strictly ascending order of the keys; what it returns but
 * GW_OK ends the walk and is returned. Checked: every block's checksum, that blocks and footer
 * cover the file without hole or overlap, restart points, order, and the index against the blocks.
 * Blocks may be compressed with snappy. Errors: GW_E_SOURCE (offset says where), GW_E_IO,
 * GW_E_CHANGED, GW_E_MEMORY. Memory: the file, which may have PACK_MAX_HEADER_BYTES, and two
 * unpacked blocks of at most as much.
 */
int pack_leveldb_walk(const struct pack_file *file,
		      int (*visit)(void *context, const struct pack_leveldb_entry *entry,
				   struct gw_error *error),
		      void *context, struct gw_error *error);
