/* SPDX-License-Identifier: MIT */
#include "daemon/fill.h"

#include <stdlib.h>

#include "daemon/limits.h"
#include "daemon/read_ahead.h"
#include "daemon/workers.h"
#include "format/unit_reader.h"
#include "format/zstd.h"

/* Stored blocks that are read at once; of a file that is an image, GD_COPY_BYTES are. */
#define BLOCKS_PER_PART 4
#define PART_BYTES (BLOCKS_PER_PART * GW_MAX_STORED_BLOCK_BYTES)

struct fill {
	const struct gw_pack *pack;
	int fd;
	uint8_t *map;
};

/* What one thread has. */
struct member {
	const struct fill *fill;
	struct gd_reads *reads;
	struct gw_unit_reader *reader; /* NULL: nothing is compressed */
	uint8_t *buffers[GD_READS];    /* of PART_BYTES; NULL: not needed so far */
	uint64_t parts[GD_READS];      /* what is read into each */
	bool busy[GD_READS];
	unsigned n; /* of them */
};

static uint64_t part_count(const struct gw_pack *pack)
{
	if (pack->stored)
		return (pack->superblock.n_blocks + BLOCKS_PER_PART - 1) / BLOCKS_PER_PART;
	return (pack->superblock.image_bytes + GD_COPY_BYTES - 1) / GD_COPY_BYTES;
}

/* Where a part lies in the file. */
static void part_extent(const struct gw_pack *pack, uint64_t part, uint64_t *out_offset,
			uint64_t *out_bytes)
{
	uint64_t first = part * BLOCKS_PER_PART, last = first + BLOCKS_PER_PART - 1, left;

	if (pack->stored) {
		if (last >= pack->superblock.n_blocks)
			last = pack->superblock.n_blocks - 1;
		*out_offset = pack->stored[first].offset_bytes;
		*out_bytes = pack->stored[last].offset_bytes + pack->stored[last].size_bytes -
			     *out_offset;
		return;
	}
	*out_offset = part * GD_COPY_BYTES;
	left = pack->superblock.image_bytes - *out_offset;
	*out_bytes = left < GD_COPY_BYTES ? left : GD_COPY_BYTES;
}

static int decode_part(const struct member *member, uint64_t part, const uint8_t *stored,
		       struct gw_error *error)
{
	const struct gw_pack *pack = member->fill->pack;
	uint64_t first = part * BLOCKS_PER_PART, from = pack->stored[first].offset_bytes;
	int code = GW_OK;

	for (uint64_t i = first;
	     i < first + BLOCKS_PER_PART && i < pack->superblock.n_blocks && !code; i++)
		code = gw_unit_reader_decode(member->reader, i,
					     stored + (pack->stored[i].offset_bytes - from),
					     member->fill->map + gw_pack_unit(pack, i).offset_bytes,
					     error);
	return code;
}

/* Starts to read part: an image's bytes into place, stored blocks into a buffer. */
static int start_part(struct member *member, uint64_t part, struct gw_error *error)
{
	const struct fill *fill = member->fill;
	uint64_t offset, bytes;
	unsigned slot = 0;
	uint8_t *out;
	int code;

	while (member->busy[slot])
		slot++;
	part_extent(fill->pack, part, &offset, &bytes);
	out = fill->map + offset;
	if (member->reader) {
		if (!member->buffers[slot])
			member->buffers[slot] = malloc(PART_BYTES);
		out = member->buffers[slot];
		if (!out)
			return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory for a buffer");
	}
	code = gd_reads_submit(member->reads, slot, out, bytes, offset, error);
	if (code)
		return code;
	member->parts[slot] = part;
	member->busy[slot] = true;
	member->n++;
	return GW_OK;
}

/* Takes one that was read; *out_part says which, also on failure. */
static int finish_part(struct member *member, uint64_t *out_part, struct gw_error *error)
{
	uint64_t slot = GD_READS;
	int code = gd_reads_take(member->reads, &slot, error);

	*out_part = UINT64_MAX;
	if (slot == GD_READS) /* the wait failed: nothing will be taken any more */
		return code;
	*out_part = member->parts[slot];
	if (!code && member->reader)
		code = decode_part(member, *out_part, member->buffers[slot], error);
	member->busy[slot] = false;
	member->n--;
	return code;
}

/*
 * What is in the page cache has been read when it was asked for: it is decoded at once, while it is in
 * the processor's cache. What is not is waited for with all reads under way. After a failure what was
 * begun is finished, so that the lowest bad part is found.
 */
static void fill_parts(struct member *member, struct gd_crew *crew)
{
	struct gw_error error = GW_ERROR_INIT;
	uint64_t part;

	for (;;) {
		bool some = member->n < GD_READS && gd_crew_next(crew, &part);

		if (some && start_part(member, part, &error))
			gd_crew_fail(crew, part, &error);
		if (!some && !member->n)
			return;
		if (!some || gd_reads_ready(member->reads)) {
			if (finish_part(member, &part, &error))
				gd_crew_fail(crew, part, &error);
			if (part == UINT64_MAX)
				return;
		}
	}
}

static int start_member(struct member *member, struct gw_error *error)
{
	const struct fill *fill = member->fill;
	int code = gd_reads_new(fill->fd, GD_READS, &member->reads, error);

	if (!code && fill->pack->stored)
		code = gw_unit_reader_new(fill->pack, fill->fd, &gw_zstd_linked, &member->reader,
					  error);
	return code;
}

static void run_member(void *context, struct gd_crew *crew)
{
	struct member member = { .fill = context };
	struct gw_error error = GW_ERROR_INIT;

	if (start_member(&member, &error))
		gd_crew_fail(crew, UINT64_MAX, &error);
	else
		fill_parts(&member, crew);
	gd_reads_free(member.reads); /* first: it may still write into the buffers */
	gw_unit_reader_free(member.reader);
	for (unsigned i = 0; i < GD_READS; i++)
		free(member.buffers[i]);
}

int gd_fill(const struct gw_pack *pack, int fd, uint8_t *map, const atomic_bool *cancel,
	    struct gw_error *error)
{
	struct fill fill = { .pack = pack, .fd = fd, .map = map };
	int code = GW_OK;

	if (pack->stored)
		code = gw_pack_read_head(pack, fd, map, error);
	return code ? code : gd_crew_run(part_count(pack), run_member, &fill, cancel, error);
}
