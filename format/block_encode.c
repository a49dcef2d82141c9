/* SPDX-License-Identifier: MIT */
#include "format/block.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "format/bytes.h"

#define FRAME_ROOM ZSTD_COMPRESSBOUND(GW_BLOCK_BYTES)

/* A plane's best form so far. */
struct coded {
	unsigned kind; /* enum gw_plane_kind */
	size_t bytes;
	const uint8_t *data;
};

struct gw_block_encoder {
	ZSTD_CCtx *literals, *matches;
	uint8_t planes[GW_BLOCK_BYTES];
	uint8_t differences[GW_BLOCK_BYTES];
	/* for each plane, its best form and the one being tried; u32 of distance before the frame */
	uint8_t *frames[GW_BLOCK_MAX_PLANES];
	uint8_t *trial;
};

/*
 * Planes of exponents are coded fastest, and as small, with Huffman-coded literals and no match: the
 * fast strategy with a step beyond any plane looks for none. Given that step, it would not code
 * literals either, unless told to by a parameter that libzstd calls experimental; where that is
 * refused, a small table and long matches do nearly the same.
 */
static bool set_literals(ZSTD_CCtx *context)
{
	static const struct {
		ZSTD_cParameter parameter;
		int value;
	} settings[] = {
		{ ZSTD_c_compressionLevel, 1 },  { ZSTD_c_strategy, ZSTD_fast },
		{ ZSTD_c_hashLog, 6 },		 { ZSTD_c_minMatch, 7 },
		{ ZSTD_c_checksumFlag, 0 },
	};
	const int literal_compression_mode = ZSTD_c_experimentalParam5;
	const int step = 131072; /* ZSTD_TARGETLENGTH_MAX */

	for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
		if (ZSTD_isError(ZSTD_CCtx_setParameter(context, settings[i].parameter,
							settings[i].value)))
			return false;
	if (ZSTD_isError(ZSTD_CCtx_setParameter(context, literal_compression_mode, 1)))
		return true;
	return !ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_targetLength, step));
}

int gw_block_encoder_new(int level, struct gw_block_encoder **out_encoder, struct gw_error *error)
{
	struct gw_block_encoder *encoder;
	size_t room = FRAME_ROOM + 4;

	if (level < 1 || level > GW_BLOCK_MAX_LEVEL)
		return gw_fail(error, GW_E_ARGUMENT, GW_NO_OFFSET, "level %d is not 1 to %d", level,
			       GW_BLOCK_MAX_LEVEL);
	encoder = calloc(1, sizeof *encoder + (GW_BLOCK_MAX_PLANES + 1) * room);
	if (!encoder)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory for a block encoder");
	for (unsigned i = 0; i < GW_BLOCK_MAX_PLANES; i++)
		encoder->frames[i] = (uint8_t *)(encoder + 1) + i * room;
	encoder->trial = (uint8_t *)(encoder + 1) + GW_BLOCK_MAX_PLANES * room;
	encoder->literals = ZSTD_createCCtx();
	encoder->matches = ZSTD_createCCtx();
	if (!encoder->literals || !encoder->matches || !set_literals(encoder->literals) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(encoder->matches, ZSTD_c_compressionLevel, level))) {
		gw_block_encoder_free(encoder);
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory for a block encoder");
	}
	*out_encoder = encoder;
	return 0;
}

void gw_block_encoder_free(struct gw_block_encoder *encoder)
{
	if (!encoder)
		return;
	ZSTD_freeCCtx(encoder->literals);
	ZSTD_freeCCtx(encoder->matches);
	free(encoder);
}

/* Parts raw into width planes of n bytes, top byte first. */
static void part(const uint8_t *raw, unsigned width, uint8_t *planes, size_t n)
{
	uint8_t *restrict a = planes, *restrict b = planes + n;
	uint8_t *restrict c = planes + 2 * n, *restrict d = planes + 3 * n;

	if (width == 1)
		memcpy(a, raw, n);
	for (size_t i = 0; width == 2 && i < n; i++) {
		uint16_t bits;

		memcpy(&bits, raw + 2 * i, 2);
		bits = (uint16_t)(bits << 1 | bits >> 15);
		a[i] = (uint8_t)(bits >> 8);
		b[i] = (uint8_t)bits;
	}
	for (size_t i = 0; width == 4 && i < n; i++) {
		uint32_t bits;

		memcpy(&bits, raw + 4 * i, 4);
		bits = bits << 1 | bits >> 31;
		a[i] = (uint8_t)(bits >> 24);
		b[i] = (uint8_t)(bits >> 16);
		c[i] = (uint8_t)(bits >> 8);
		d[i] = (uint8_t)bits;
	}
}

/*
 * Tries one more form of a plane of n bytes: *best becomes it where it is smaller by more than one
 * part in 1 << shift, and within what decoders accept. A form that gains less is not worth its time
 * to decode.
 */
static int try_frame(struct gw_block_encoder *encoder, ZSTD_CCtx *context, const uint8_t *plane,
		     size_t n, uint32_t distance, unsigned shift, uint8_t **frame,
		     struct coded *best, struct gw_error *error)
{
	struct gw_bytes bytes = gw_bytes_write(encoder->trial, 4);
	size_t prefix = distance ? 4 : 0;
	uint8_t *swap = encoder->trial;
	size_t frame_bytes = ZSTD_compress2(context, encoder->trial + prefix, FRAME_ROOM, plane, n);

	if (ZSTD_isError(frame_bytes))
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "zstd cannot encode a block: %s",
			       ZSTD_getErrorName(frame_bytes));
	if (n / GW_FRAME_MAX_RATIO > frame_bytes ||
	    prefix + frame_bytes >= best->bytes - (best->bytes >> shift))
		return 0;
	if (distance)
		gw_put_u32(&bytes, 0, distance);
	*best = (struct coded){ .kind = distance ? GW_PLANE_DIFFERENCES : GW_PLANE_ZSTD,
				.bytes = prefix + frame_bytes,
				.data = encoder->trial };
	encoder->trial = *frame;
	*frame = swap;
	return 0;
}

/* plane[i] - plane[i - distance], and the first ones as they are. */
static void differ(const uint8_t *plane, size_t n, size_t distance, uint8_t *restrict out)
{
	memcpy(out, plane, distance);
	for (size_t i = distance; i < n; i++)
		out[i] = (uint8_t)(plane[i] - plane[i - distance]);
}

/* The smallest form of a plane; its data live until the next block. */
static int encode_plane(struct gw_block_encoder *encoder, const uint8_t *plane, size_t n,
			size_t distance, uint8_t **frame, struct coded *out, struct gw_error *error)
{
	struct coded best = { .kind = GW_PLANE_RAW, .bytes = n, .data = plane };
	int r;

	if (n > 1 && memcmp(plane, plane + 1, n - 1) == 0) {
		*out = (struct coded){ .kind = GW_PLANE_CONSTANT, .bytes = 1, .data = plane };
		return 0;
	}
	r = try_frame(encoder, encoder->literals, plane, n, 0, 6, frame, &best, error);
	if (!r && distance >= GW_PLANE_MIN_DISTANCE && distance < n) {
		differ(plane, n, distance, encoder->differences);
		r = try_frame(encoder, encoder->literals, encoder->differences, n,
			      (uint32_t)distance, 6, frame, &best, error);
	}
	if (!r)
		r = try_frame(encoder, encoder->matches, plane, n, 0, 5, frame, &best, error);
	if (!r)
		*out = best;
	return r;
}

static size_t put_plane(struct gw_bytes *out, unsigned number, size_t at, const struct coded *plane)
{
	uint64_t header = GW_BLOCK_HEADER_BYTES + GW_PLANE_HEADER_BYTES * number;

	gw_put_u8(out, header, (uint8_t)plane->kind);
	gw_put_u32(out, header + 1, (uint32_t)plane->bytes);
	gw_put_bytes(out, at, plane->data, plane->bytes);
	return at + plane->bytes;
}

/* Writes the planes; returns the stored size. */
static size_t put_planes(const struct coded *planes, unsigned width, struct gw_bytes *out)
{
	size_t at = GW_BLOCK_HEADER_BYTES + GW_PLANE_HEADER_BYTES * width;

	gw_put_u8(out, 0, GW_BLOCK_PLANES);
	for (unsigned i = 0; i < width; i++)
		at = put_plane(out, i, at, &planes[i]);
	return at;
}

int gw_block_encode(struct gw_block_encoder *encoder, unsigned dtype, uint64_t row_bytes,
		    const uint8_t *raw, size_t raw_bytes, uint8_t *out, size_t room,
		    size_t *out_bytes, struct gw_error *error)
{
	unsigned width = gw_block_width(dtype);
	struct coded planes[GW_BLOCK_MAX_PLANES];
	struct gw_bytes bytes = gw_bytes_write(out, room);
	size_t n, distance, total, stored;

	if (!width || !raw_bytes || raw_bytes > GW_BLOCK_BYTES || raw_bytes % width ||
	    room < GW_BLOCK_BOUND(raw_bytes))
		return gw_fail(error, GW_E_ARGUMENT, GW_NO_OFFSET,
			       "a block of %zu bytes of dtype %u, and room for %zu", raw_bytes,
			       dtype, room);
	n = raw_bytes / width;
	distance = row_bytes % width || row_bytes > raw_bytes ? 0 : (size_t)(row_bytes / width);
	total = GW_BLOCK_HEADER_BYTES + GW_PLANE_HEADER_BYTES * width;
	part(raw, width, encoder->planes, n);
	for (unsigned i = 0; i < width; i++) {
		int r = encode_plane(encoder, encoder->planes + i * n, n, distance,
				     &encoder->frames[i], &planes[i], error);

		if (r)
			return r;
		total += planes[i].bytes;
	}
	if (total > raw_bytes) {
		gw_put_u8(&bytes, 0, GW_BLOCK_RAW);
		gw_put_bytes(&bytes, 1, raw, raw_bytes);
		stored = GW_BLOCK_BOUND(raw_bytes);
	} else {
		stored = put_planes(planes, width, &bytes);
	}
	assert(!bytes.overrun);
	*out_bytes = stored;
	return 0;
}
