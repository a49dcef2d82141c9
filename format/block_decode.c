/* SPDX-License-Identifier: MIT */
#include "format/block.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "format/block_kernels.h"
#include "format/bytes.h"
#include "format/digest.h"

/* RFC 8878, 3.1.1: magic number, frame header descriptor. */
#define FRAME_MAGIC UINT32_C(0xfd2fb528)
#define FRAME_SINGLE_SEGMENT 0x20u
/* everything else of the descriptor but the size of the content size field */
#define FRAME_FLAGS 0x3fu

/* Stays in L1 between being joined, hashed and written. */
#define NEAR_BYTES 8192

struct gw_block_decoder {
	const struct gw_zstd *zstd;
	const struct gw_block_kernels *kernels;
	struct gw_hasher *hasher;
	void *context;
	uint8_t near[NEAR_BYTES]; /* what is joined and still to be written past the caches */
	uint8_t scratch[GW_BLOCK_BYTES]; /* planes that are not used where they lie */
};

/* One plane of a stored block; [elements] bytes once it is expanded. */
struct plane {
	unsigned number;
	unsigned kind;       /* enum gw_plane_kind */
	uint32_t bytes;      /* stored */
	uint64_t at;         /* where it is in the stored block */
	const uint8_t *data; /* stored, then expanded */
};

int gw_block_decoder_new(const struct gw_zstd *zstd, struct gw_block_decoder **out_decoder,
			 struct gw_error *error)
{
	struct gw_block_decoder *decoder = malloc(sizeof *decoder);

	if (decoder) {
		decoder->zstd = zstd;
		decoder->kernels = gw_block_kernels_at(0);
		decoder->context = zstd->create_dctx();
		decoder->hasher = gw_hasher_new();
		if (decoder->context && decoder->hasher) {
			*out_decoder = decoder;
			return 0;
		}
	}
	gw_block_decoder_free(decoder);
	return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory for a block decoder");
}

void gw_block_decoder_free(struct gw_block_decoder *decoder)
{
	if (!decoder)
		return;
	decoder->zstd->free_dctx(decoder->context);
	gw_hasher_free(decoder->hasher);
	free(decoder);
}

static int fail_frame(const struct plane *plane, const char *what, struct gw_error *error)
{
	return gw_fail(error, GW_E_BLOCK_CODE, plane->at, "plane %u of a stored block: %s",
		       plane->number, what);
}

/*
 * Whether frame is the header of a frame of exactly n bytes that needs no dictionary and no window
 * but its own content. The content's size has one form for each value: the shortest, as encoders
 * write it.
 */
static int check_frame_header(const struct plane *plane, const uint8_t *frame, size_t frame_bytes,
			      size_t n, struct gw_error *error)
{
	struct gw_bytes bytes = gw_bytes_read(frame, frame_bytes);
	uint32_t magic = gw_get_u32(&bytes, 0);
	unsigned descriptor = gw_get_u8(&bytes, 4);
	unsigned size_bytes = n < 256 ? 1 : n < 65536 + 256 ? 2 : 4;
	unsigned size_code = n < 256 ? 0 : n < 65536 + 256 ? 1 : 2;
	uint64_t size = gw_get(&bytes, 5, size_bytes) + (size_bytes == 2 ? 256 : 0);

	if (bytes.overrun)
		return fail_frame(plane, "its frame has no whole header", error);
	if (magic != FRAME_MAGIC)
		return fail_frame(plane, "no zstd frame", error);
	if ((descriptor & FRAME_FLAGS) != FRAME_SINGLE_SEGMENT)
		return fail_frame(
			plane, "its frame has a window, a checksum, a dictionary or reserved bits",
			error);
	if (descriptor >> 6 != size_code || size != n)
		return fail_frame(plane, "its frame declares another size", error);
	return 0;
}

static int decode_frame(struct gw_block_decoder *decoder, const struct plane *plane,
			const uint8_t *frame, size_t frame_bytes, uint8_t *out, size_t n,
			struct gw_error *error)
{
	const struct gw_zstd *zstd = decoder->zstd;
	size_t size;
	int r;

	r = check_frame_header(plane, frame, frame_bytes, n, error);
	if (r)
		return r;
	if (n / GW_FRAME_MAX_RATIO > frame_bytes)
		return fail_frame(plane, "its frame expands too far", error);
	size = zstd->find_frame_compressed_size(frame, frame_bytes);
	if (zstd->is_error(size))
		return fail_frame(plane, zstd->get_error_name(size), error);
	if (size != frame_bytes)
		return fail_frame(plane, "bytes after its frame", error);
	size = zstd->decompress_dctx(decoder->context, out, n, frame, frame_bytes);
	if (zstd->is_error(size))
		return fail_frame(plane, zstd->get_error_name(size), error);
	if (size != n)
		return fail_frame(plane, "its frame is shorter than it declares", error);
	return 0;
}

static int decode_differences(struct gw_block_decoder *decoder, const struct plane *plane,
			      uint8_t *out, size_t n, struct gw_error *error)
{
	struct gw_bytes bytes = gw_bytes_read(plane->data, plane->bytes);
	uint32_t distance = gw_get_u32(&bytes, 0);
	int r;

	if (bytes.overrun || distance < GW_PLANE_MIN_DISTANCE || distance >= n)
		return fail_frame(plane, "differences at a distance out of range", error);
	r = decode_frame(decoder, plane, plane->data + 4, plane->bytes - 4, out, n, error);
	if (r)
		return r;
	decoder->kernels->sum(out, n, distance);
	return 0;
}

/* Expands plane of n bytes into out, or leaves it where it lies; plane->data is where it then is. */
static int expand_plane(struct gw_block_decoder *decoder, struct plane *plane, uint8_t *out,
			size_t n, struct gw_error *error)
{
	int r = 0;

	switch (plane->kind) {
	case GW_PLANE_RAW:
		return 0;
	case GW_PLANE_CONSTANT:
		memset(out, plane->data[0], n);
		break;
	case GW_PLANE_ZSTD:
		r = decode_frame(decoder, plane, plane->data, plane->bytes, out, n, error);
		break;
	default:
		r = decode_differences(decoder, plane, out, n, error);
	}
	plane->data = out;
	return r;
}

/* Whether the stored size is one that a plane of n bytes and this kind has. */
static int check_plane(const struct plane *plane, size_t n, struct gw_error *error)
{
	switch (plane->kind) {
	case GW_PLANE_RAW:
		return plane->bytes == n ? 0 : fail_frame(plane, "raw, and of another size", error);
	case GW_PLANE_CONSTANT:
		return plane->bytes == 1 ? 0
					 : fail_frame(plane, "constant, and not one byte", error);
	case GW_PLANE_ZSTD:
	case GW_PLANE_DIFFERENCES:
		return plane->bytes < n ? 0 : fail_frame(plane, "coded, and not smaller", error);
	default:
		return fail_frame(plane, "of an unknown kind", error);
	}
}

/* Reads the headers of n_planes planes of n bytes each, and places them; they end the block. */
static int read_planes(const uint8_t *stored, size_t stored_bytes, struct plane *planes, size_t n,
		       unsigned n_planes, struct gw_error *error)
{
	struct gw_bytes bytes = gw_bytes_read(stored, stored_bytes);
	uint64_t at = GW_BLOCK_HEADER_BYTES + GW_PLANE_HEADER_BYTES * n_planes;
	int r;

	if (at > stored_bytes)
		return gw_fail(error, GW_E_BLOCK_CODE, stored_bytes,
			       "a stored block ends in its header");
	for (unsigned i = 0; i < n_planes; i++) {
		uint64_t header = GW_BLOCK_HEADER_BYTES + GW_PLANE_HEADER_BYTES * i;
		struct plane *plane = &planes[i];

		plane->number = i;
		plane->at = header;
		plane->kind = gw_get_u8(&bytes, header);
		plane->bytes = gw_get_u32(&bytes, header + 1);
		r = check_plane(plane, n, error);
		if (r)
			return r;
		plane->at = at;
		plane->data = gw_bytes_at(&bytes, at, plane->bytes);
		if (!plane->data)
			return fail_frame(plane, "reaches past the block's end", error);
		at += plane->bytes;
	}
	if (at != stored_bytes)
		return gw_fail(error, GW_E_BLOCK_CODE, at,
			       "%zu bytes after a stored block's planes",
			       stored_bytes - (size_t)at);
	return 0;
}

/* A block whose planes are expanded: what joining them takes. */
struct parts {
	unsigned width; /* bytes of an element */
	unsigned mode;  /* enum gw_block_mode */
	/* raw: [raw_bytes] in the first; planes: [n] each */
	const uint8_t *data[GW_BLOCK_MAX_PLANES];
};

/* One plane for each byte of an element. */
static int expand_planes(struct gw_block_decoder *decoder, const uint8_t *stored,
			 size_t stored_bytes, size_t n, struct parts *parts, struct gw_error *error)
{
	struct plane planes[GW_BLOCK_MAX_PLANES];
	int r;

	r = read_planes(stored, stored_bytes, planes, n, parts->width, error);
	for (unsigned i = 0; !r && i < parts->width; i++) {
		r = expand_plane(decoder, &planes[i], decoder->scratch + i * n, n, error);
		parts->data[i] = planes[i].data;
	}
	return r;
}

/* Checks a stored block and expands its planes; what parts points to is in stored or in scratch. */
static int expand(struct gw_block_decoder *decoder, unsigned dtype, const uint8_t *stored,
		  size_t stored_bytes, size_t raw_bytes, struct parts *parts,
		  struct gw_error *error)
{
	unsigned width = gw_block_width(dtype);

	if (!width || !raw_bytes || raw_bytes > GW_BLOCK_BYTES || raw_bytes % width)
		return gw_fail(error, GW_E_ARGUMENT, GW_NO_OFFSET,
			       "a block of %zu bytes of dtype %u", raw_bytes, dtype);
	if (!stored_bytes)
		return gw_fail(error, GW_E_BLOCK_CODE, 0, "a stored block is empty");
	parts->width = width;
	parts->mode = stored[0];
	if (parts->mode == GW_BLOCK_RAW) {
		parts->data[0] = stored + 1;
		if (stored_bytes - 1 == raw_bytes)
			return 0;
		return gw_fail(error, GW_E_BLOCK_CODE, 0,
			       "a stored block has %zu raw bytes, not %zu", stored_bytes - 1,
			       raw_bytes);
	}
	if (stored_bytes > raw_bytes)
		return gw_fail(error, GW_E_BLOCK_CODE, 0,
			       "a stored block of %zu bytes is coded, and its raw size is %zu",
			       stored_bytes, raw_bytes);
	if (parts->mode == GW_BLOCK_PLANES)
		return expand_planes(decoder, stored, stored_bytes, raw_bytes / width, parts,
				     error);
	return gw_fail(error, GW_E_BLOCK_CODE, 0, "a stored block has mode %u", parts->mode);
}

/* Joins elements first to first + n of the block. far: past the caches, out on a multiple of 64. */
static void join(const struct gw_block_decoder *decoder, const struct parts *parts, size_t first,
		 size_t n, bool far, uint8_t *out)
{
	const struct gw_block_join *kernels = &decoder->kernels->join[far];
	const uint8_t *at[GW_BLOCK_MAX_PLANES];

	if (parts->mode == GW_BLOCK_RAW || parts->width == 1) {
		const uint8_t *from = parts->data[0] + first * parts->width;

		if (far)
			decoder->kernels->stream(out, from, n * parts->width);
		else
			memcpy(out, from, n * parts->width);
		return;
	}
	for (unsigned i = 0; i < parts->width; i++)
		at[i] = parts->data[i] + first;
	if (parts->width == 4)
		kernels->four(out, at, n);
	else
		kernels->two(out, at, n);
}

int gw_block_decode(struct gw_block_decoder *decoder, unsigned dtype, const uint8_t *stored,
		    size_t stored_bytes, uint8_t *out_raw, size_t raw_bytes, struct gw_error *error)
{
	struct parts parts;
	int r = expand(decoder, dtype, stored, stored_bytes, raw_bytes, &parts, error);

	if (!r)
		join(decoder, &parts, 0, raw_bytes / parts.width, false, out_raw);
	return r;
}

/* Piece by piece in L1: joined, hashed, written. */
static uint64_t join_hashed(struct gw_block_decoder *decoder, const struct parts *parts,
			    size_t raw_bytes, bool far, uint8_t *out)
{
	gw_hasher_reset(decoder->hasher);
	for (size_t at = 0; at < raw_bytes; at += NEAR_BYTES) {
		size_t n = raw_bytes - at < NEAR_BYTES ? raw_bytes - at : NEAR_BYTES;

		join(decoder, parts, at / parts->width, n / parts->width, false, decoder->near);
		gw_hasher_update(decoder->hasher, decoder->near, n);
		if (far)
			decoder->kernels->stream(out + at, decoder->near, n);
		else
			memcpy(out + at, decoder->near, n);
	}
	return gw_hasher_digest64(decoder->hasher);
}

int gw_block_decode_far(struct gw_block_decoder *decoder, unsigned dtype, const uint8_t *stored,
			size_t stored_bytes, uint8_t *out_raw, size_t raw_bytes,
			uint64_t *out_digest, struct gw_error *error)
{
	bool far = (uintptr_t)out_raw % 64 == 0;
	struct parts parts;
	int r = expand(decoder, dtype, stored, stored_bytes, raw_bytes, &parts, error);

	if (r)
		return r;
	if (out_digest)
		*out_digest = join_hashed(decoder, &parts, raw_bytes, far, out_raw);
	else
		join(decoder, &parts, 0, raw_bytes / parts.width, far, out_raw);
	return 0;
}
