/* SPDX-License-Identifier: MIT */
/*
 * A pack as a checkpoint: its tensors without the padding of their rows, those of int8 followed by their
 * scales; every block decoded where it is compressed, and verified.
 */
#include <stdlib.h>
#include <string.h>

#include "format/reader.h"
#include "format/unit_reader.h"
#include "tools/pack/element.h"
#include "tools/pack/formats.h"
#include "tools/pack/limits.h"

struct pack_repack {
	struct gw_pack *pack;
	struct gw_unit_reader *reader;
	uint64_t block; /* the number of the one in bytes; UINT64_MAX: none */
	uint8_t bytes[GW_BLOCK_BYTES];
};

static int pack_repack_fail(const struct pack_file *file, const struct gw_error *inner,
			    struct gw_error *error)
{
	char quoted[128];

	gw_fail(error, inner->code, inner->offset, "%s: %s",
		gw_quote(file->name, strlen(file->name), quoted, sizeof quoted), inner->message);
	if (error)
		error->sys_errno = inner->sys_errno;
	return inner->code;
}

/* The zero bytes around the tensors, which belong to no block; a compressed pack has none. */
static int pack_repack_gaps(const struct pack_file *file, const struct pack_repack *repack,
			    struct gw_error *error)
{
	const struct gw_pack *pack = repack->pack;
	uint8_t *bytes = malloc(GW_HUGE_PAGE_BYTES); /* no unit is larger */
	struct gw_error inner = GW_ERROR_INIT;
	int code = bytes ? GW_OK : gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");

	for (uint64_t i = pack->superblock.n_blocks;
	     code == GW_OK && i < gw_pack_unit_count(pack); i++)
		if (gw_unit_reader_verify(repack->reader, i, bytes, &inner) != GW_OK)
			code = pack_repack_fail(file, &inner, error);
	free(bytes);
	return code;
}

/* The verified block of that number. */
static int pack_repack_block(const struct pack_file *file, struct pack_repack *repack,
			     uint64_t block, struct gw_error *error)
{
	struct gw_error inner = GW_ERROR_INIT;

	if (repack->block == block)
		return GW_OK;
	repack->block = UINT64_MAX;
	if (gw_unit_reader_verify(repack->reader, block, repack->bytes, &inner) != GW_OK)
		return pack_repack_fail(file, &inner, error);
	repack->block = block;
	return GW_OK;
}

/* Where in the extent the byte at offset of the dense tensor is, and how many lie there together. */
static uint64_t pack_repack_place(const struct gw_tensor *packed, uint64_t offset,
				  uint64_t *out_together)
{
	uint64_t payload = gw_tensor_row_payload(packed), rows = packed->row_count * payload;

	if (offset >= rows) {
		*out_together = rows + packed->scales_bytes - offset;
		return packed->scales_offset - packed->data_offset + (offset - rows);
	}
	if (payload == packed->row_bytes) {
		*out_together = rows - offset;
		return offset;
	}
	*out_together = payload - offset % payload;
	return offset / payload * packed->row_bytes + offset % payload;
}

static int pack_repack_read(const struct pack_source *source, const struct pack_tensor *tensor,
			    uint64_t offset, uint64_t n, uint8_t *out, struct gw_error *error)
{
	struct pack_repack *repack = source->state;
	const struct gw_tensor *packed = &repack->pack->tensors[tensor->detail];
	uint64_t in_block;

	while (n) {
		uint64_t step, at = pack_repack_place(packed, offset, &step);
		int code = pack_repack_block(&source->files[0], repack,
					     packed->first_block + at / GW_BLOCK_BYTES, error);

		if (code != GW_OK)
			return code;
		in_block = at % GW_BLOCK_BYTES;
		if (step > GW_BLOCK_BYTES - in_block)
			step = GW_BLOCK_BYTES - in_block;
		if (step > n)
			step = n;
		memcpy(out, repack->bytes + in_block, step);
		out += step;
		offset += step;
		n -= step;
	}
	return GW_OK;
}

static void pack_repack_close(void *state)
{
	struct pack_repack *repack = state;

	gw_unit_reader_free(repack->reader);
	gw_pack_free(repack->pack);
	free(repack);
}

static const struct pack_reader pack_repack_reader = {
	.read = pack_repack_read,
	.close = pack_repack_close,
};

static int pack_repack_element(unsigned dtype)
{
	return dtype == GW_I8  ? pack_element_q8() :
	       dtype == GW_F32 ? pack_element_find("F32") :
	       dtype == GW_F16 ? pack_element_find("F16") :
				 pack_element_find("BF16");
}

static int pack_repack_list(struct pack_source *source, const struct gw_pack *pack,
			    struct gw_error *error)
{
	int code = GW_OK;

	for (uint32_t i = 0; code == GW_OK && i < pack->superblock.n_tensors; i++) {
		const struct gw_tensor *packed = &pack->tensors[i];
		struct pack_tensor tensor = {
			.name = (char *)(uintptr_t)packed->name,
			.element = pack_repack_element(packed->dtype),
			.rank = packed->rank,
			.size_bytes = gw_tensor_payload(packed),
			.offset_bytes = packed->data_offset,
			.encoded = true,
			.detail = i,
			.canonical = packed == pack->wte ? GW_WTE_NAME :
				     packed == pack->wpe ? GW_WPE_NAME :
							   NULL,
		};

		memcpy(tensor.shape, packed->shape, sizeof tensor.shape);
		code = pack_list_add(&source->tensors, &tensor, error);
	}
	return code;
}

const struct gw_pack *pack_repack_pack(const struct pack_source *source)
{
	const struct pack_repack *repack = source->state;

	return repack->pack;
}

int pack_repack_open(int folder_fd, struct pack_file *file, struct pack_source *source,
		     struct gw_error *error)
{
	struct pack_repack *repack = calloc(1, sizeof *repack);
	struct gw_error inner = GW_ERROR_INIT;
	const struct gw_pack *pack;
	int code;

	(void)folder_fd;
	if (!repack)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	source->format = "gpt2w";
	source->state = repack;
	source->reader = &pack_repack_reader;
	repack->block = UINT64_MAX;
	code = pack_source_take_file(source, file, error);
	if (code != GW_OK)
		return code;
	file = &source->files[0];
	if (gw_pack_open_fd(file->fd, &repack->pack, &inner) != GW_OK)
		return pack_repack_fail(file, &inner, error);
	pack = repack->pack;
	if (gw_unit_reader_new(pack, file->fd, &gw_zstd_linked, &repack->reader, &inner) != GW_OK)
		return pack_repack_fail(file, &inner, error);
	source->held_bytes = sizeof *repack + sizeof *pack +
			     pack->superblock.n_tensors * sizeof(struct gw_tensor) +
			     pack->superblock.n_blocks * sizeof(uint64_t);
	if (pack->stored)
		source->held_bytes += pack->superblock.n_blocks * sizeof *pack->stored +
				      GW_MAX_STORED_BLOCK_BYTES + PACK_DECODER_BYTES;
	source->config.n_layer = pack->superblock.n_layer;
	source->config.n_head = pack->superblock.n_head;
	code = pack->stored ? GW_OK : pack_repack_gaps(file, repack, error);
	return code == GW_OK ? pack_repack_list(source, pack, error) : code;
}
