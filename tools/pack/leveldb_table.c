/* SPDX-License-Identifier: MIT */
#include "tools/pack/leveldb_table.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/bytes.h"
#include "tools/pack/crc32c.h"
#include "tools/pack/limits.h"
#include "tools/pack/snappy.h"
#include "tools/pack/varint.h"

/* After every block: its compression (0: none, 1: snappy) and a checksum of both. */
#define PACK_TRAILER_BYTES 5
/* The two handles of the footer, padded with zeros. */
#define PACK_HANDLES_BYTES (PACK_LEVELDB_FOOTER_BYTES - 8)

struct pack_leveldb {
	const struct pack_file *file;
	char quoted_file[96];
	uint8_t *bytes; /* the whole file */
	size_t n;
};

/* A handle: where a block is, without its trailer. */
struct pack_extent {
	uint64_t offset, size;
};

/* A block, and where a walk through it is. */
struct pack_block {
	const uint8_t *data;
	size_t entries_end; /* the restart points follow */
	uint32_t n_restarts, next_restart;
	size_t at;
	uint64_t offset;   /* of the block, in the file */
	uint8_t *unpacked; /* owned; NULL: data are in the file's own bytes */
};

struct pack_key {
	uint8_t bytes[PACK_MAX_KEY_BYTES];
	size_t n;
	bool any; /* there was a key before */
};

__attribute__((format(printf, 4, 5))) static int pack_leveldb_fail(const struct pack_leveldb *table,
								   uint64_t offset,
								   struct gw_error *error,
								   const char *format, ...)
{
	char what[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(what, sizeof what, format, arguments);
	va_end(arguments);
	return gw_fail(error, GW_E_SOURCE, offset, "%s, at offset %" PRIu64 ": %s",
		       table->quoted_file, offset, what);
}

static int pack_leveldb_load(struct pack_leveldb *table, struct gw_error *error)
{
	const struct pack_file *file = table->file;

	gw_quote(file->name, strlen(file->name), table->quoted_file, sizeof table->quoted_file);
	if (file->size_bytes < PACK_LEVELDB_FOOTER_BYTES)
		return pack_leveldb_fail(table, 0, error,
					 "the file has %" PRIu64 " bytes, less than the %d of a "
					 "table's footer",
					 file->size_bytes, PACK_LEVELDB_FOOTER_BYTES);
	if (file->size_bytes > PACK_MAX_HEADER_BYTES)
		return pack_leveldb_fail(table, 0, error,
					 "the table has %" PRIu64 " bytes, over this program's "
					 "limit of %" PRIu64 " for the index of a checkpoint",
					 file->size_bytes, PACK_MAX_HEADER_BYTES);
	table->n = file->size_bytes;
	table->bytes = malloc(table->n);
	if (!table->bytes)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	return pack_file_read(file, table->bytes, table->n, 0, error);
}

/* A handle at data[*at]. */
static bool pack_handle(const uint8_t *data, size_t n, size_t *at, struct pack_extent *out)
{
	return pack_varint(data, n, 64, at, &out->offset) &&
	       pack_varint(data, n, 64, at, &out->size);
}

/* The footer: the handles of the meta block and the index, which come last, in this order. */
static int pack_leveldb_footer(const struct pack_leveldb *table, struct pack_extent *out_meta,
			       struct pack_extent *out_index, struct gw_error *error)
{
	struct gw_bytes window = gw_bytes_read(table->bytes, table->n);
	uint64_t offset = table->n - PACK_LEVELDB_FOOTER_BYTES;
	const uint8_t *footer = table->bytes + offset;
	struct pack_extent meta, index;
	size_t at = 0;

	if (gw_get_u64(&window, table->n - 8) != PACK_LEVELDB_MAGIC)
		return pack_leveldb_fail(
			table, table->n - 8, error,
			"the magic number of a table is not there: cut short, or no "
			"index of a TensorFlow checkpoint");
	if (!pack_handle(footer, PACK_HANDLES_BYTES, &at, &meta) ||
	    !pack_handle(footer, PACK_HANDLES_BYTES, &at, &index))
		return pack_leveldb_fail(table, offset, error,
					 "the footer does not hold two handles of blocks");
	if (!gw_is_zero(footer + at, PACK_HANDLES_BYTES - at))
		return pack_leveldb_fail(table, offset, error,
					 "the footer's handles are padded with something else than "
					 "zeros");
	if (index.offset > offset || offset - index.offset < PACK_TRAILER_BYTES ||
	    index.size != offset - index.offset - PACK_TRAILER_BYTES)
		return pack_leveldb_fail(table, offset, error,
					 "the index block (%" PRIu64 " bytes at %" PRIu64
					 ") does not end where the footer begins",
					 index.size, index.offset);
	if (meta.offset > index.offset || index.offset - meta.offset < PACK_TRAILER_BYTES ||
	    meta.size != index.offset - meta.offset - PACK_TRAILER_BYTES)
		return pack_leveldb_fail(table, offset, error,
					 "the meta block (%" PRIu64 " bytes at %" PRIu64
					 ") does not end where the index block begins",
					 meta.size, meta.offset);
	*out_meta = meta;
	*out_index = index;
	return GW_OK;
}

/* extent and its trailer are within the file. */
static int pack_block_unpack(const struct pack_leveldb *table, const struct pack_extent *extent,
			     struct pack_block *block, size_t *n, struct gw_error *error)
{
	size_t size;

	if (!pack_snappy_size(block->data, extent->size, &size) || size > PACK_MAX_HEADER_BYTES)
		return pack_leveldb_fail(table, extent->offset, error,
					 "the compressed block claims a size that it cannot have");
	block->unpacked = malloc(size ? size : 1);
	if (!block->unpacked)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	if (!pack_snappy_unpack(block->data, extent->size, block->unpacked, size))
		return pack_leveldb_fail(table, extent->offset, error,
					 "the block is not what snappy makes");
	block->data = block->unpacked;
	*n = size;
	return GW_OK;
}

/* Fills *out, also on failure: pack_block_close ends it. The extent is within the file. */
static int pack_block_open(const struct pack_leveldb *table, const struct pack_extent *extent,
			   struct pack_block *out, struct gw_error *error)
{
	struct gw_bytes window = gw_bytes_read(table->bytes, table->n);
	uint64_t end = extent->offset + extent->size;
	uint8_t compression = gw_get_u8(&window, end);
	uint32_t crc = gw_get_u32(&window, end + 1);
	uint32_t found =
		pack_crc32c_mask(pack_crc32c(0, table->bytes + extent->offset, extent->size + 1));
	size_t n = extent->size;
	int code;

	*out = (struct pack_block) { .data = table->bytes + extent->offset,
				     .offset = extent->offset };
	if (found != crc)
		return pack_leveldb_fail(table, extent->offset, error,
					 "the block's checksum is %08" PRIx32 ", not %08" PRIx32
					 " as its trailer says: the file is damaged",
					 found, crc);
	if (compression > 1)
		return pack_leveldb_fail(table, end, error,
					 "the block has the unknown compression "
					 "%u",
					 compression);
	if (compression == 1) {
		code = pack_block_unpack(table, extent, out, &n, error);
		if (code != GW_OK)
			return code;
	}
	window = gw_bytes_read(out->data, n);
	if (n >= 4)
		out->n_restarts = gw_get_u32(&window, n - 4);
	if (n < 4 || out->n_restarts == 0 || out->n_restarts > (n - 4) / 4)
		return pack_leveldb_fail(table, extent->offset, error,
					 "the block of %zu bytes cannot hold %" PRIu32
					 " restart points",
					 n, out->n_restarts);
	out->entries_end = n - 4 - (size_t)out->n_restarts * 4;
	return GW_OK;
}

static void pack_block_close(struct pack_block *block)
{
	free(block->unpacked);
	block->unpacked = NULL;
}

/* The offset of the next restart point; SIZE_MAX if all were met. */
static size_t pack_block_restart(const struct pack_block *block)
{
	struct gw_bytes window =
		gw_bytes_read(block->data, block->entries_end + (uint64_t)block->n_restarts * 4);

	return block->next_restart < block->n_restarts
		       ? gw_get_u32(&window, block->entries_end + (uint64_t)block->next_restart * 4)
		       : SIZE_MAX;
}

/* An entry's key: shared bytes of the one before it, then delta. It must be greater. */
static const char *pack_key_set(struct pack_key *key, uint64_t shared, const uint8_t *delta,
				uint64_t n)
{
	size_t rest, common;
	int order;

	if (shared > key->n)
		return "the entry shares more bytes of a key than there are";
	rest = key->n - shared;
	if (n > sizeof key->bytes - shared)
		return "the entry has a key that is longer than this program's limit";
	common = rest < n ? rest : n;
	order = common ? memcmp(delta, key->bytes + shared, common) : 0;
	if (key->any && (order < 0 || (order == 0 && n <= rest)))
		return "the entry's key is not greater than the one before it: a duplicate, or out "
		       "of order";
	if (n)
		memcpy(key->bytes + shared, delta, n);
	key->n = shared + n;
	key->any = true;
	return NULL;
}

/* 1: the next entry of the block, its key also in *key. 0: there is none. Negative: as usual. */
static int pack_block_next(const struct pack_leveldb *table, struct pack_block *block,
			   struct pack_key *key, struct pack_leveldb_entry *out,
			   struct gw_error *error)
{
	size_t begin = block->at, at = begin, restart = pack_block_restart(block);
	uint64_t offset = block->unpacked ? block->offset : block->offset + begin;
	uint64_t shared, fresh, value_bytes;
	const char *flaw;

	if (begin == block->entries_end) {
		/* the one point of a block without entries stands at its end */
		if (restart == SIZE_MAX || (begin == 0 && restart == 0 && block->n_restarts == 1))
			return 0;
		return pack_leveldb_fail(table, block->offset, error,
					 "the block has a restart point where no entry begins");
	}
	if (!pack_varint(block->data, block->entries_end, 32, &at, &shared) ||
	    !pack_varint(block->data, block->entries_end, 32, &at, &fresh) ||
	    !pack_varint(block->data, block->entries_end, 32, &at, &value_bytes) ||
	    fresh > block->entries_end - at || value_bytes > block->entries_end - at - fresh)
		return pack_leveldb_fail(table, offset, error,
					 "the entry goes past the end of its block");
	if (restart < begin || (begin == 0 && restart != 0))
		return pack_leveldb_fail(table, block->offset, error,
					 "the block has a restart point where no entry begins");
	if (restart == begin) {
		if (shared != 0)
			return pack_leveldb_fail(
				table, offset, error,
				"the entry is a restart point, but shares bytes of "
				"the key before it");
		block->next_restart++;
	}
	flaw = pack_key_set(key, shared, block->data + at, fresh);
	if (flaw)
		return pack_leveldb_fail(table, offset, error, "%s", flaw);
	*out = (struct pack_leveldb_entry) {
		.key = key->bytes,
		.key_bytes = key->n,
		.value = block->data + at + fresh,
		.value_bytes = value_bytes,
		.offset = offset,
	};
	block->at = at + fresh + value_bytes;
	return 1;
}

/* All entries of the block at extent, which is within the file. */
static int pack_leveldb_block(const struct pack_leveldb *table, const struct pack_extent *extent,
			      struct pack_key *key,
			      int (*visit)(void *, const struct pack_leveldb_entry *,
					   struct gw_error *),
			      void *context, size_t *out_n, struct gw_error *error)
{
	struct pack_leveldb_entry entry;
	struct pack_block block;
	size_t n = 0;
	int code = pack_block_open(table, extent, &block, error);

	while (code == GW_OK && (code = pack_block_next(table, &block, key, &entry, error)) > 0) {
		code = visit ? visit(context, &entry, error) : GW_OK;
		n++;
	}
	pack_block_close(&block);
	if (code == GW_OK)
		*out_n = n;
	return code;
}

/*
 * The block that an entry of the index describes. The index's key is not less than the block's last
 * one and less than the first one of the block that follows; so it takes that one's place in key.
 */
static int pack_leveldb_indexed(const struct pack_leveldb *table,
				const struct pack_leveldb_entry *entry, uint64_t *next,
				uint64_t end, struct pack_extent *out, struct gw_error *error)
{
	size_t at = 0;

	if (!pack_handle(entry->value, entry->value_bytes, &at, out) || at != entry->value_bytes)
		return pack_leveldb_fail(table, entry->offset, error,
					 "the index's entry is no handle of a block");
	if (out->offset != *next)
		return pack_leveldb_fail(table, entry->offset, error,
					 "the index's entry names a block at offset %" PRIu64
					 ", where %" PRIu64 " is the end of the one before it",
					 out->offset, *next);
	if (end - *next < PACK_TRAILER_BYTES || out->size > end - *next - PACK_TRAILER_BYTES)
		return pack_leveldb_fail(table, entry->offset, error,
					 "the index's entry names a block of %" PRIu64
					 " bytes at offset %" PRIu64
					 ", which goes past the last one's end",
					 out->size, out->offset);
	*next += out->size + PACK_TRAILER_BYTES;
	return GW_OK;
}

static int pack_leveldb_walk_blocks(const struct pack_leveldb *table, struct pack_block *index,
				    uint64_t end, struct pack_key keys[2],
				    int (*visit)(void *, const struct pack_leveldb_entry *,
						 struct gw_error *),
				    void *context, struct gw_error *error)
{
	struct pack_key *index_key = &keys[0], *key = &keys[1];
	struct pack_leveldb_entry entry;
	struct pack_extent extent;
	uint64_t next = 0;
	size_t n = 0;
	int code;

	while ((code = pack_block_next(table, index, index_key, &entry, error)) > 0) {
		size_t common;
		int order;

		code = pack_leveldb_indexed(table, &entry, &next, end, &extent, error);
		if (code == GW_OK)
			code = pack_leveldb_block(table, &extent, key, visit, context, &n, error);
		if (code != GW_OK)
			return code;
		if (n == 0)
			return pack_leveldb_fail(table, extent.offset, error,
						 "the block has no entries");
		common = key->n < index_key->n ? key->n : index_key->n;
		order = common ? memcmp(key->bytes, index_key->bytes, common) : 0;
		if (order > 0 || (order == 0 && key->n > index_key->n))
			return pack_leveldb_fail(table, entry.offset, error,
						 "the index's key is less than the last one of its "
						 "block");
		memcpy(key->bytes, index_key->bytes, index_key->n);
		key->n = index_key->n;
	}
	if (code == GW_OK && next != end)
		return pack_leveldb_fail(table, next, error, "%" PRIu64 " bytes belong to no block",
					 end - next);
	return code;
}

int pack_leveldb_walk(const struct pack_file *file,
		      int (*visit)(void *context, const struct pack_leveldb_entry *entry,
				   struct gw_error *error),
		      void *context, struct gw_error *error)
{
	struct pack_leveldb table = { .file = file };
	struct pack_key *keys = calloc(2, sizeof *keys);
	struct pack_extent meta = { 0 }, index_extent = { 0 };
	struct pack_block index = { 0 };
	size_t n_meta = 0;
	int code = keys ? pack_leveldb_load(&table, error)
			: gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");

	if (code == GW_OK)
		code = pack_leveldb_footer(&table, &meta, &index_extent, error);
	if (code == GW_OK)
		code = pack_leveldb_block(&table, &meta, &keys[0], NULL, NULL, &n_meta, error);
	if (code == GW_OK && n_meta > 0)
		code = pack_leveldb_fail(&table, meta.offset, error,
					 "the meta block has entries (a filter?), which TensorFlow "
					 "does not write");
	if (code == GW_OK)
		code = pack_block_open(&table, &index_extent, &index, error);
	if (code == GW_OK)
		code = pack_leveldb_walk_blocks(&table, &index, meta.offset, keys, visit, context,
						error);
	pack_block_close(&index);
	free(table.bytes);
	free(keys);
	return code;
}
