/* SPDX-License-Identifier: MIT */
#include "format/stored_writer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/stored.h"

struct gw_stored_writer {
	const struct gw_pack *pack;
	int fd;
	struct gw_outfile *out;
	struct gw_stored_regions at;
	struct gw_stored_block *blocks; /* n_blocks, of which n are there */
	uint64_t n;
	uint64_t end; /* of the last of them, in the file */
};

int gw_stored_writer_admit(uint64_t n_blocks, struct gw_error *error)
{
	if (n_blocks <= GW_MAX_STORED_BLOCKS)
		return GW_OK;
	return gw_fail(error, GW_E_LIMIT, GW_NO_OFFSET,
		       "%" PRIu64 " blocks of %" PRIu64
		       " bytes; a compressed pack has at most %" PRIu64,
		       n_blocks, GW_BLOCK_BYTES, GW_MAX_STORED_BLOCKS);
}

int gw_stored_writer_new(const struct gw_pack *pack, int fd, const char *path, bool replace,
			 struct gw_stored_writer **out_writer, struct gw_error *error)
{
	const uint64_t n_blocks = pack->superblock.n_blocks;
	struct gw_stored_writer *writer;
	int code;

	if (pack->stored)
		return gw_fail(error, GW_E_ARGUMENT, GW_NO_OFFSET, "it is compressed already");
	code = gw_stored_writer_admit(n_blocks, error);
	if (code)
		return code;
	writer = calloc(1, sizeof *writer);
	if (!writer)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory");
	writer->pack = pack;
	writer->fd = fd;
	writer->at = gw_stored_regions(pack->regions.digests_end, n_blocks);
	writer->end = writer->at.blocks_offset;
	writer->blocks = calloc(n_blocks, sizeof *writer->blocks);
	if (!writer->blocks)
		code = gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory");
	else
		code = gw_outfile_create(path, replace, &writer->out, error);
	if (code) {
		gw_stored_writer_free(writer);
		return code;
	}
	*out_writer = writer;
	return GW_OK;
}

int gw_stored_writer_append(struct gw_stored_writer *writer, const uint8_t *stored, uint64_t n,
			    struct gw_error *error)
{
	int code;

	if (writer->n == writer->pack->superblock.n_blocks || n < 1 || n > GW_MAX_STORED_BLOCK_BYTES)
		return gw_fail(error, GW_E_ARGUMENT, GW_NO_OFFSET,
			       "no such stored block: %" PRIu64 " of %" PRIu64 " bytes", writer->n,
			       n);
	code = gw_outfile_write(writer->out, stored, n, writer->end, error);
	if (code)
		return code;
	writer->blocks[writer->n++] = (struct gw_stored_block){
		.digest = gw_hash64(stored, n),
		.offset_bytes = writer->end,
		.size_bytes = (uint32_t)n,
	};
	writer->end += n;
	return GW_OK;
}

/* Everything before the blocks, at head, which has room for it. */
static int fill_head(struct gw_stored_writer *writer, uint8_t *head, struct gw_error *error)
{
	struct gw_superblock superblock = writer->pack->superblock;
	uint8_t *table = head + writer->at.table_offset;
	struct gw_error inner = GW_ERROR_INIT;
	int code = gw_read_at(writer->fd, head, writer->pack->regions.digests_end, 0, &inner);

	if (code) {
		gw_fail(error, code, inner.offset, "the temporary file, before compression: %s",
			inner.message);
		if (error)
			error->sys_errno = inner.sys_errno;
		return code;
	}
	gw_stored_encode(writer->blocks, writer->n, table);
	superblock.compressed = true;
	superblock.file_bytes = writer->end;
	superblock.stored_bytes = writer->end - writer->at.blocks_offset;
	superblock.stored_digest = gw_hash128(table, writer->at.table_bytes);
	gw_superblock_encode(&superblock, head);
	return GW_OK;
}

int gw_stored_writer_finish(struct gw_stored_writer *writer, uint64_t *out_bytes,
			    struct gw_error *error)
{
	uint8_t *head;
	int code;

	if (writer->n != writer->pack->superblock.n_blocks)
		return gw_fail(error, GW_E_ARGUMENT, GW_NO_OFFSET,
			       "%" PRIu64 " blocks of %" PRIu64, writer->n,
			       writer->pack->superblock.n_blocks);
	head = calloc(1, writer->at.blocks_offset);
	if (!head)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory");
	code = fill_head(writer, head, error);
	if (!code)
		code = gw_outfile_write(writer->out, head, writer->at.blocks_offset, 0, error);
	free(head);
	if (!code)
		code = gw_outfile_commit(writer->out, error);
	if (!code && out_bytes)
		*out_bytes = writer->end;
	return code;
}

void gw_stored_writer_free(struct gw_stored_writer *writer)
{
	if (!writer)
		return;
	gw_outfile_free(writer->out);
	free(writer->blocks);
	free(writer);
}
