/* SPDX-License-Identifier: MIT */
/*
 * One block of a tensor, raw or stored (FORMAT.md, A stored block): the elements' bytes are parted
 * into planes, and the planes that shrink are zstd frames. Blocks know nothing of each other.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "format/limits.h"
#include "format/status.h"
#include "format/zstd.h"

/* First byte of a stored block. */
enum gw_block_mode {
	GW_BLOCK_RAW = 0,    /* the raw bytes follow */
	GW_BLOCK_PLANES = 1, /* one plane for each byte of an element */
};

/* How one plane is stored. */
enum gw_plane_kind {
	GW_PLANE_RAW = 0,
	GW_PLANE_CONSTANT = 1,    /* the byte that all of it is */
	GW_PLANE_ZSTD = 2,        /* a zstd frame */
	GW_PLANE_DIFFERENCES = 3, /* u32 distance, zstd frame of the differences at that distance */
};

#define GW_BLOCK_MAX_PLANES 4
/* mode; kind and stored size of each plane */
#define GW_BLOCK_HEADER_BYTES 1
#define GW_PLANE_HEADER_BYTES 5
/* Below it neighbours would depend on each other within one vector; rows are longer anyway. */
#define GW_PLANE_MIN_DISTANCE 64
/* A frame may expand so many times at most. What shrinks further is a constant plane, or stored with
 * literals alone, which cannot. */
#define GW_FRAME_MAX_RATIO 1024
/* zstd's own default; where exponents are coded as literals, levels differ by less than a point. */
#define GW_BLOCK_LEVEL 3
#define GW_BLOCK_MAX_LEVEL 22

/* Room that a stored block can take: its raw bytes and one. */
#define GW_BLOCK_BOUND(raw_bytes) ((size_t)(raw_bytes) + GW_BLOCK_HEADER_BYTES)

/* Bytes of an element, which are its planes; 0: no such dtype. GW_I8 has 1: int8 rows and the f32
 * scales after them are coded as bytes. */
unsigned gw_block_width(unsigned dtype);

/*
 * The encoder; in format_zstd_lib. One per thread: it holds contexts and scratch for all blocks.
 * level is 1 to GW_BLOCK_MAX_LEVEL. GW_E_ARGUMENT: another level; GW_E_MEMORY.
 */
struct gw_block_encoder;
int gw_block_encoder_new(int level, struct gw_block_encoder **out_encoder, struct gw_error *error);
void gw_block_encoder_free(struct gw_block_encoder *encoder);

/*
 * Stores raw (raw_bytes, 1 to GW_BLOCK_BYTES, whole elements of dtype) in out, which has room for
 * `room` bytes, at least GW_BLOCK_BOUND(raw_bytes). row_bytes is the distance between the rows of
 * the tensor, 0 where it has none: neighbouring rows that resemble each other are stored as
 * differences. The same input, level and libzstd give the same bytes.
 * GW_E_ARGUMENT: a size that breaks this; GW_E_MEMORY: libzstd has none.
 */
int gw_block_encode(struct gw_block_encoder *encoder, unsigned dtype, uint64_t row_bytes,
		    const uint8_t *raw, size_t raw_bytes, uint8_t *out, size_t room,
		    size_t *out_bytes, struct gw_error *error);

/*
 * The decoder. One per thread; decoding allocates nothing. zstd is borrowed and must outlive it.
 * GW_E_MEMORY.
 */
struct gw_block_decoder;
int gw_block_decoder_new(const struct gw_zstd *zstd, struct gw_block_decoder **out_decoder,
			 struct gw_error *error);
void gw_block_decoder_free(struct gw_block_decoder *decoder);

/*
 * Expands a stored block, which nobody has vouched for, into exactly raw_bytes (1 to GW_BLOCK_BYTES,
 * whole elements of dtype) at out_raw. Reads no byte beyond stored_bytes, writes none beyond
 * raw_bytes; after a failure out_raw's bytes are unspecified.
 * GW_E_ARGUMENT: raw_bytes or dtype break this. GW_E_BLOCK_CODE: the block is malformed, or not raw_bytes
 * long; the error's offset counts from the stored block's first byte.
 */
int gw_block_decode(struct gw_block_decoder *decoder, unsigned dtype, const uint8_t *stored,
		    size_t stored_bytes, uint8_t *out_raw, size_t raw_bytes,
		    struct gw_error *error);

/*
 * The same for memory that nobody reads soon, an image of many blocks: out_raw is written past the
 * caches, which spares reading it first, and because of that *out_digest gets the raw bytes' XXH3-64
 * on the way (NULL: not wanted). Fast where out_raw is on a multiple of 64, right everywhere. After a
 * failure *out_digest is untouched.
 */
int gw_block_decode_far(struct gw_block_decoder *decoder, unsigned dtype, const uint8_t *stored,
			size_t stored_bytes, uint8_t *out_raw, size_t raw_bytes,
			uint64_t *out_digest, struct gw_error *error);

/* What a tensor's planes consist of, the top byte's plane first; begins as zeros, adds up over blocks. */
struct gw_block_histogram {
	uint64_t counts[GW_BLOCK_MAX_PLANES][256];
};

/* Adds raw's bytes, parted as the encoder parts them; raw_bytes holds whole elements, of any number. */
void gw_block_count(struct gw_block_histogram *histogram, unsigned dtype, const uint8_t *raw,
		    size_t raw_bytes);
/* Order-0 entropy of a plane in bits per byte, 0 to 8; 0 where it is empty. Needs libm. */
double gw_plane_entropy(const uint64_t counts[256]);
