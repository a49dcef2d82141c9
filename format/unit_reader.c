/* SPDX-License-Identifier: MIT */
#include "format/unit_reader.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "format/block.h"
#include "format/digest.h"

struct gw_unit_reader {
	const struct gw_pack *pack;
	int fd;
	struct gw_block_decoder *decoder; /* NULL: nothing is compressed */
	uint8_t stored[];                 /* GW_MAX_STORED_BLOCK_BYTES, or none then */
};

int gw_unit_reader_new(const struct gw_pack *pack, int fd, const struct gw_zstd *zstd,
		       struct gw_unit_reader **out_reader, struct gw_error *error)
{
	struct gw_unit_reader *reader;
	int code = GW_OK;

	if (pack->stored && !zstd)
		return gw_fail(error, GW_E_ARGUMENT, GW_NO_OFFSET, "a compressed pack needs zstd");
	reader = malloc(sizeof *reader + (pack->stored ? GW_MAX_STORED_BLOCK_BYTES : 0));
	if (!reader)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory to read blocks");
	reader->pack = pack;
	reader->fd = fd;
	reader->decoder = NULL;
	if (pack->stored)
		code = gw_block_decoder_new(zstd, &reader->decoder, error);
	if (code) {
		free(reader);
		return code;
	}
	*out_reader = reader;
	return GW_OK;
}

void gw_unit_reader_free(struct gw_unit_reader *reader)
{
	if (!reader)
		return;
	gw_block_decoder_free(reader->decoder);
	free(reader);
}

/* what: the sentence about the block, which is put after where it is. */
static int fail_stored(const struct gw_unit_reader *reader, uint64_t index, int code,
		       uint64_t offset, const char *what, struct gw_error *error)
{
	const struct gw_stored_block *stored = &reader->pack->stored[index];
	struct gw_unit unit = gw_pack_unit(reader->pack, index);
	char text[GW_UNIT_TEXT_BYTES];

	return gw_fail(error, code, stored->offset_bytes + offset,
		       "stored block %" PRIu64 " (bytes %" PRIu64 " to %" PRIu64 " of the file, %s) %s",
		       index, stored->offset_bytes, stored->offset_bytes + stored->size_bytes - 1,
		       gw_unit_text(&unit, text), what);
}

/* far: out is not read soon. */
static int decode(struct gw_unit_reader *reader, uint64_t index, const uint8_t *stored, uint8_t *out,
		  bool far, struct gw_error *error)
{
	const struct gw_stored_block *block = &reader->pack->stored[index];
	struct gw_unit unit = gw_pack_unit(reader->pack, index);
	struct gw_error cause = GW_ERROR_INIT;
	int code;

	if (gw_hash64(stored, block->size_bytes) != block->digest)
		return fail_stored(reader, index, GW_E_STORED_BLOCK, 0, "does not match its digest",
				   error);
	code = far ? gw_block_decode_far(reader->decoder, unit.tensor->dtype, stored,
					 block->size_bytes, out, unit.size_bytes, NULL, &cause) :
		     gw_block_decode(reader->decoder, unit.tensor->dtype, stored,
				     block->size_bytes, out, unit.size_bytes, &cause);
	if (code)
		return fail_stored(reader, index, cause.code,
				   cause.offset == GW_NO_OFFSET ? 0 : cause.offset, cause.message,
				   error);
	return GW_OK;
}

int gw_unit_reader_decode(struct gw_unit_reader *reader, uint64_t index, const uint8_t *stored,
			  uint8_t *out, struct gw_error *error)
{
	return decode(reader, index, stored, out, true, error);
}

int gw_unit_reader_read(struct gw_unit_reader *reader, uint64_t index, uint8_t *out,
			struct gw_error *error)
{
	const struct gw_pack *pack = reader->pack;
	struct gw_unit unit = gw_pack_unit(pack, index);
	int code;

	if (!pack->stored)
		return gw_read_at(reader->fd, out, unit.size_bytes, unit.offset_bytes, error);
	if (!unit.tensor) {
		memset(out, 0, unit.size_bytes);
		return GW_OK;
	}
	code = gw_read_at(reader->fd, reader->stored, pack->stored[index].size_bytes,
			  pack->stored[index].offset_bytes, error);
	return code ? code : decode(reader, index, reader->stored, out, false, error);
}

int gw_unit_reader_verify(struct gw_unit_reader *reader, uint64_t index, uint8_t *out,
			  struct gw_error *error)
{
	int code = gw_unit_reader_read(reader, index, out, error);

	if (code || !reader->pack->stored || index >= reader->pack->superblock.n_blocks)
		return code ? code : gw_pack_verify_unit(reader->pack, index, out, error);
	code = gw_pack_verify_unit(reader->pack, index, out, NULL);
	return code ? fail_stored(reader, index, code, 0,
				  code == GW_E_PADDING ? "is decoded to padding that is not zero" :
							 "is decoded to what does not match its digest",
				  error) :
		      GW_OK;
}
