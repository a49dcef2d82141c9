/* SPDX-License-Identifier: MIT */
#include "format/reader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/bytes.h"

/* Checks the table of stored blocks and what is between it and the first of them. */
static int decode_stored(struct gw_pack *pack, const uint8_t *meta, struct gw_error *error)
{
	const struct gw_superblock *sb = &pack->superblock;
	const struct gw_stored_regions at = gw_stored_regions(pack->regions.digests_end,
							      sb->n_blocks);
	const struct gw_digest digest = gw_hash128(meta + at.table_offset, at.table_bytes);
	int code;

	if (!gw_digest_equal(&digest, &sb->stored_digest))
		return gw_fail(error, GW_E_STORED_DIGEST, at.table_offset,
			       "the table of stored blocks does not match its digest");
	code = gw_stored_decode(meta + at.table_offset, &at, sb->n_blocks, sb->stored_bytes,
				pack->stored, error);
	if (code)
		return code;
	if (!gw_is_zero(meta + at.table_end, at.blocks_offset - at.table_end))
		return gw_fail(error, GW_E_PADDING, at.table_end,
			       "the bytes before the first stored block are not zero");
	return GW_OK;
}

/* Checks the regions between superblock and data, all of which lie in memory, and fills pack. */
static int decode_regions(struct gw_pack *pack, const uint8_t *meta, struct gw_error *error)
{
	const struct gw_superblock *sb = &pack->superblock;
	const struct gw_regions *at = &pack->regions;
	const uint8_t *directory = meta + GW_DIRECTORY_OFFSET;
	const uint8_t *digests = meta + at->digests_offset;
	struct gw_bytes in = gw_bytes_read(digests, at->digests_bytes);
	struct gw_digest digest;
	int code;

	digest = gw_hash128(directory, at->directory_bytes);
	if (!gw_digest_equal(&digest, &sb->directory_digest))
		return gw_fail(error, GW_E_DIRECTORY_DIGEST, GW_DIRECTORY_OFFSET,
			       "the directory does not match its digest");
	code = gw_directory_decode(directory, sb->n_tensors, sb->n_blocks, sb->image_bytes,
				   pack->tensors, error);
	if (code)
		return code;
	digest = gw_hash128(digests, at->digests_bytes);
	if (!gw_digest_equal(&digest, &sb->digests_digest))
		return gw_fail(error, GW_E_DIGESTS_DIGEST, at->digests_offset,
			       "the block digests do not match their digest");
	digest = gw_hash128_two(directory, at->directory_bytes, digests, at->digests_bytes);
	if (!gw_digest_equal(&digest, &sb->content_id))
		return gw_fail(error, GW_E_CONTENT_ID, GW_SB_CONTENT_ID,
			       "the content id does not match the contents");
	digest = gw_hash128(meta + GW_PROVENANCE_OFFSET, GW_PROVENANCE_BYTES);
	if (!gw_digest_equal(&digest, &sb->provenance_digest))
		return gw_fail(error, GW_E_PROVENANCE_DIGEST, GW_PROVENANCE_OFFSET,
			       "the provenance does not match its digest");
	code = gw_provenance_decode(meta + GW_PROVENANCE_OFFSET, &pack->provenance, error);
	if (code)
		return code;
	if (pack->stored)
		code = decode_stored(pack, meta, error);
	else if (!gw_is_zero(meta + at->digests_end, at->data_offset - at->digests_end))
		code = gw_fail(error, GW_E_PADDING, at->digests_end,
			       "the bytes between block digests and data are not zero");
	if (code)
		return code;
	for (uint64_t i = 0; i < sb->n_blocks; i++)
		pack->digests[i] = gw_get_u64(&in, i * sizeof(uint64_t));
	return GW_OK;
}

/* A pack with room for what a validated superblock announces: at most 46 MiB (limits.h). */
static struct gw_pack *pack_new(const struct gw_superblock *superblock)
{
	struct gw_pack *pack = calloc(1, sizeof *pack);

	if (!pack)
		return NULL;
	pack->superblock = *superblock;
	pack->regions = gw_superblock_regions(superblock->n_tensors, superblock->n_blocks);
	pack->tensors = calloc(superblock->n_tensors, sizeof *pack->tensors);
	pack->digests = calloc(superblock->n_blocks, sizeof *pack->digests);
	if (superblock->compressed)
		pack->stored = calloc(superblock->n_blocks, sizeof *pack->stored);
	if (!pack->tensors || !pack->digests || (superblock->compressed && !pack->stored)) {
		gw_pack_free(pack);
		return NULL;
	}
	return pack;
}

/* meta: everything before the data. */
static int pack_open(const struct gw_superblock *superblock, const uint8_t *meta,
		     struct gw_pack **out_pack, struct gw_error *error)
{
	struct gw_pack *pack = pack_new(superblock);
	int code;

	if (!pack)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory for the directory");
	code = decode_regions(pack, meta, error);
	if (code) {
		gw_pack_free(pack);
		return code;
	}
	for (uint32_t i = 0; i < superblock->n_tensors; i++) {
		if (pack->tensors[i].role == GW_ROLE_WTE)
			pack->wte = &pack->tensors[i];
		else if (pack->tensors[i].role == GW_ROLE_WPE)
			pack->wpe = &pack->tensors[i];
	}
	*out_pack = pack;
	return GW_OK;
}

int gw_pack_open_memory(const uint8_t *image, uint64_t actual_bytes, uint64_t tail_bytes,
			struct gw_pack **out_pack, struct gw_error *error)
{
	struct gw_superblock superblock;
	int code = gw_superblock_decode(image, actual_bytes, tail_bytes, &superblock, error);

	if (code)
		return code;
	if (superblock.compressed)
		return gw_fail(error, GW_E_FEATURE, GW_SB_REQUIRED_FEATURES,
			       "compressed, which an image is not");
	return pack_open(&superblock, image, out_pack, error);
}

int gw_read_at(int fd, void *out, uint64_t n, uint64_t offset, struct gw_error *error)
{
	uint8_t *to = out;

	while (n) {
		/* the kernel moves at most 2 GiB - 4 KiB a call */
		ssize_t got = pread(fd, to, n < (1u << 30) ? n : 1u << 30, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return gw_fail_errno(error, errno, "cannot read at offset %" PRIu64, offset);
		if (got == 0)
			return gw_fail(error, GW_E_CHANGED, offset,
				       "the file ended at %" PRIu64 " while it was read", offset);
		to += got;
		offset += (uint64_t)got;
		n -= (uint64_t)got;
	}
	return GW_OK;
}

/* Bytes before the data, or before the first stored block. */
static uint64_t meta_bytes(const struct gw_superblock *superblock)
{
	struct gw_regions at = gw_superblock_regions(superblock->n_tensors, superblock->n_blocks);

	if (!superblock->compressed)
		return at.data_offset;
	return gw_stored_regions(at.digests_end, superblock->n_blocks).blocks_offset;
}

int gw_pack_open_fd(int fd, struct gw_pack **out_pack, struct gw_error *error)
{
	uint8_t first[GW_SUPERBLOCK_BYTES], *meta;
	struct gw_superblock superblock;
	struct stat status;
	uint64_t size_bytes, n;
	int code;

	if (fstat(fd, &status) < 0)
		return gw_fail_errno(error, errno, "cannot look at the file");
	if (!S_ISREG(status.st_mode))
		return gw_fail(error, GW_E_NOT_FILE, GW_NO_OFFSET, "not a regular file");
	size_bytes = (uint64_t)status.st_size;
	code = gw_read_at(fd, first, size_bytes < sizeof first ? size_bytes : sizeof first, 0,
			  error);
	if (!code)
		code = gw_superblock_decode(first, size_bytes, 0, &superblock, error);
	if (code)
		return code;
	n = meta_bytes(&superblock);
	meta = malloc(n);
	if (!meta)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory for the directory");
	/* the superblock was judged already: judge the same bytes, not what a writer made of them */
	memcpy(meta, first, sizeof first);
	code = gw_read_at(fd, meta + sizeof first, n - sizeof first, sizeof first, error);
	if (!code)
		code = pack_open(&superblock, meta, out_pack, error);
	free(meta);
	return code;
}

int gw_pack_read_head(const struct gw_pack *pack, int fd, uint8_t *out, struct gw_error *error)
{
	const struct gw_regions *at = &pack->regions;
	struct gw_superblock superblock = pack->superblock;
	int code;

	if (!superblock.compressed)
		return gw_read_at(fd, out, at->data_offset, 0, error);
	superblock.compressed = false;
	superblock.file_bytes = superblock.image_bytes;
	superblock.stored_bytes = 0;
	superblock.stored_digest = (struct gw_digest){ 0 };
	gw_superblock_encode(&superblock, out);
	code = gw_read_at(fd, out + GW_SUPERBLOCK_BYTES, at->digests_end - GW_SUPERBLOCK_BYTES,
			  GW_SUPERBLOCK_BYTES, error);
	memset(out + at->digests_end, 0, at->data_offset - at->digests_end);
	return code;
}

void gw_pack_free(struct gw_pack *pack)
{
	if (!pack)
		return;
	free(pack->tensors);
	free(pack->digests);
	free(pack->stored);
	free(pack);
}

const struct gw_tensor *gw_pack_find(const struct gw_pack *pack, const char *name)
{
	size_t low = 0, high = pack->superblock.n_tensors;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(name, pack->tensors[middle].name);

		if (order == 0)
			return &pack->tensors[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

uint64_t gw_pack_unit_count(const struct gw_pack *pack)
{
	return pack->superblock.n_blocks + pack->superblock.n_tensors + 1;
}

/* The tensor that holds a block: the last one whose first block is not after it. */
static const struct gw_tensor *tensor_of_block(const struct gw_pack *pack, uint64_t block)
{
	size_t low = 0, high = pack->superblock.n_tensors;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (pack->tensors[middle].first_block <= block)
			low = middle;
		else
			high = middle;
	}
	return &pack->tensors[low];
}

struct gw_unit gw_pack_unit(const struct gw_pack *pack, uint64_t index)
{
	const struct gw_superblock *sb = &pack->superblock;
	const struct gw_tensor *tensors = pack->tensors;
	struct gw_unit unit = { 0 };
	uint64_t gap, end;

	if (index < sb->n_blocks) {
		uint64_t skip, left;

		unit.tensor = tensor_of_block(pack, index);
		skip = (index - unit.tensor->first_block) * GW_BLOCK_BYTES;
		left = unit.tensor->extent_bytes - skip;
		unit.offset_bytes = unit.tensor->data_offset + skip;
		unit.size_bytes = left < GW_BLOCK_BYTES ? left : GW_BLOCK_BYTES;
		return unit;
	}
	gap = index - sb->n_blocks;
	unit.offset_bytes = gap == 0 ? pack->regions.data_offset :
				       tensors[gap - 1].data_offset + tensors[gap - 1].extent_bytes;
	end = gap == sb->n_tensors ? sb->image_bytes : tensors[gap].data_offset;
	unit.size_bytes = end - unit.offset_bytes;
	return unit;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The offset in bytes of the first one from first to end that is not zero, or end. */
static uint64_t find_nonzero(const uint8_t *bytes, uint64_t first, uint64_t end)
{
	while (first < end && !bytes[first])
		first++;
	return first;
}

/* Whether the bytes that pad a block, after its rows and before the scales, are zero; returns the
 * offset in it of one that is not, or size_bytes. */
static uint64_t find_padding(const struct gw_unit *unit, const uint8_t *bytes)
{
	const struct gw_tensor *tensor = unit->tensor;
	uint64_t payload = gw_tensor_row_payload(tensor), row_bytes = tensor->row_bytes;
	uint64_t skip = unit->offset_bytes - tensor->data_offset; /* of the tensor, before it */
	uint64_t data_end = 0, scales = tensor->extent_bytes - tensor->scales_bytes;
	uint64_t column = skip % row_bytes, at;

	if (skip < tensor->data_bytes)
		data_end = smaller(tensor->data_bytes - skip, unit->size_bytes);
	for (uint64_t i = 0; payload < row_bytes && i < data_end; i += row_bytes - column, column = 0) {
		uint64_t from = i + (column < payload ? payload - column : 0);
		uint64_t to = smaller(i + row_bytes - column, data_end);

		if (from < to && (at = find_nonzero(bytes, from, to)) < to)
			return at;
	}
	scales = scales > skip ? smaller(scales - skip, unit->size_bytes) : 0;
	if (data_end < scales && (at = find_nonzero(bytes, data_end, scales)) < scales)
		return at;
	return unit->size_bytes;
}

char *gw_unit_text(const struct gw_unit *unit, char out[GW_UNIT_TEXT_BYTES])
{
	const struct gw_tensor *tensor = unit->tensor;
	uint64_t first = unit->offset_bytes - tensor->data_offset, end = first + unit->size_bytes;
	uint64_t scales = tensor->extent_bytes - tensor->scales_bytes;
	bool has_scales = tensor->scales_bytes && end > scales;
	size_t n;

	gw_quote(tensor->name, strlen(tensor->name), out, GW_NAME_BYTES);
	n = strlen(out);
	if (first < tensor->data_bytes)
		n += (size_t)snprintf(out + n, GW_UNIT_TEXT_BYTES - n,
				      " rows %" PRIu64 " to %" PRIu64 "%s",
				      first / tensor->row_bytes,
				      (smaller(end, tensor->data_bytes) - 1) / tensor->row_bytes,
				      has_scales ? " and" : "");
	if (has_scales)
		snprintf(out + n, GW_UNIT_TEXT_BYTES - n, " scales %" PRIu64 " to %" PRIu64,
			 first > scales ? (first - scales) / sizeof(float) : 0,
			 (end - scales - 1) / sizeof(float));
	return out;
}

static int fail_block(const struct gw_unit *unit, uint64_t index, struct gw_error *error)
{
	char text[GW_UNIT_TEXT_BYTES];

	return gw_fail(error, GW_E_BLOCK_DIGEST, unit->offset_bytes,
		       "block %" PRIu64 " (bytes %" PRIu64 " to %" PRIu64
		       ", %s) does not match its digest",
		       index, unit->offset_bytes, unit->offset_bytes + unit->size_bytes - 1,
		       gw_unit_text(unit, text));
}

int gw_pack_verify_unit(const struct gw_pack *pack, uint64_t index, const uint8_t *bytes,
			struct gw_error *error)
{
	struct gw_unit unit = gw_pack_unit(pack, index);
	char name[GW_NAME_BYTES];
	uint64_t at;

	if (!unit.tensor) {
		if (gw_is_zero(bytes, unit.size_bytes))
			return GW_OK;
		at = find_nonzero(bytes, 0, unit.size_bytes);
		return gw_fail(error, GW_E_PADDING, unit.offset_bytes + at,
			       "byte %" PRIu64 " between tensors is not zero",
			       unit.offset_bytes + at);
	}
	if (gw_hash64(bytes, unit.size_bytes) != pack->digests[index])
		return fail_block(&unit, index, error);
	at = find_padding(&unit, bytes);
	if (at < unit.size_bytes)
		return gw_fail(error, GW_E_PADDING, unit.offset_bytes + at,
			       "byte %" PRIu64 ", which pads rows of %s, is not zero",
			       unit.offset_bytes + at,
			       gw_quote(unit.tensor->name, strlen(unit.tensor->name), name,
					sizeof name));
	return GW_OK;
}

int gw_pack_verify_memory(const struct gw_pack *pack, const uint8_t *image, uint64_t first,
			  uint64_t count, struct gw_error *error)
{
	for (uint64_t i = first; i < first + count; i++) {
		int code = gw_pack_verify_unit(pack, i, image + gw_pack_unit(pack, i).offset_bytes,
					       error);

		if (code)
			return code;
	}
	return GW_OK;
}
