/* SPDX-License-Identifier: MIT */
/* The superblock and the provenance: encode, decode, validate (FORMAT.md). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/digest.h"
#include "format/limits.h"
#include "format/status.h"

/* FORMAT.md's table "superblock": name, offset, size. */
#define GW_SUPERBLOCK_FIELDS(X)                                                                    \
	X(MAGIC, 0, 8)                                                                             \
	X(VERSION_MAJOR, 8, 2)                                                                     \
	X(VERSION_MINOR, 10, 2)                                                                    \
	X(BLOCK_BYTES, 12, 4)                                                                      \
	X(REQUIRED_FEATURES, 16, 8)                                                                \
	X(INFORMATIONAL_FLAGS, 24, 8)                                                              \
	X(IMAGE_BYTES, 32, 8)                                                                      \
	X(FILE_BYTES, 40, 8)                                                                       \
	X(N_BLOCKS, 48, 8)                                                                         \
	X(N_TENSORS, 56, 4)                                                                        \
	X(RESERVED_60, 60, 4)                                                                      \
	X(N_LAYER, 64, 8)                                                                          \
	X(N_HEAD, 72, 8)                                                                           \
	X(STORED_BYTES, 80, 8)                                                                     \
	X(RESERVED_88, 88, 8)                                                                      \
	X(CONTENT_ID, 96, 16)                                                                      \
	X(DIRECTORY_DIGEST, 112, 16)                                                               \
	X(DIGESTS_DIGEST, 128, 16)                                                                 \
	X(PROVENANCE_DIGEST, 144, 16)                                                              \
	X(STORED_DIGEST, 160, 16)                                                                  \
	X(RESERVED_176, 176, 3904)                                                                 \
	X(SUPERBLOCK_DIGEST, 4080, 16)

/* FORMAT.md's table "provenance". */
#define GW_PROVENANCE_FIELDS(X)                                                                    \
	X(SOURCE_FORMAT, 0, 32)                                                                    \
	X(SOURCE_NAME, 32, 256)                                                                    \
	X(TOOL, 288, 64)                                                                           \
	X(SOURCE_BYTES, 352, 8)                                                                    \
	X(SOURCE_DIGEST, 360, 16)                                                                  \
	X(NOTE, 376, 256)                                                                          \
	X(RESERVED_632, 632, 3464)

#define X(name, offset, size) GW_SB_##name = (offset), GW_SB_##name##_SIZE = (size),
enum gw_superblock_field { GW_SUPERBLOCK_FIELDS(X) };
#undef X
#define X(name, offset, size) GW_PV_##name = (offset), GW_PV_##name##_SIZE = (size),
enum gw_provenance_field { GW_PROVENANCE_FIELDS(X) };
#undef X

#define GW_SUPERBLOCK_BYTES UINT64_C(4096)
#define GW_PROVENANCE_OFFSET GW_SUPERBLOCK_BYTES
#define GW_PROVENANCE_BYTES UINT64_C(4096)
#define GW_DIRECTORY_OFFSET (GW_PROVENANCE_OFFSET + GW_PROVENANCE_BYTES)

#define GW_VERSION_MAJOR 1
#define GW_VERSION_MINOR 0

/* Bits of required_features. */
#define GW_FEATURE_STORED_BLOCKS (UINT64_C(1) << 0)
/* What this release implements. */
#define GW_SUPPORTED_FEATURES GW_FEATURE_STORED_BLOCKS

struct gw_superblock {
	uint16_t version_minor;
	bool compressed; /* GW_FEATURE_STORED_BLOCKS: a file of stored blocks, no image */
	uint32_t n_tensors;
	uint64_t informational_flags;
	uint64_t image_bytes;
	uint64_t file_bytes;
	uint64_t n_blocks;
	uint64_t n_layer, n_head;   /* 0: unknown */
	uint64_t stored_bytes;      /* of all stored blocks; 0 unless compressed */
	struct gw_digest content_id; /* XXH3-128 of directory and block digests */
	struct gw_digest directory_digest;
	struct gw_digest digests_digest;
	struct gw_digest provenance_digest;
	struct gw_digest stored_digest; /* of the table of stored blocks; 0 unless compressed */
};

struct gw_provenance {
	char source_format[GW_PV_SOURCE_FORMAT_SIZE];
	char source_name[GW_PV_SOURCE_NAME_SIZE];
	char tool[GW_PV_TOOL_SIZE];
	char note[GW_PV_NOTE_SIZE];
	uint64_t source_bytes;
	struct gw_digest source_digest;
};

/* Where the regions lie; derived, never stored. Offsets in bytes. */
struct gw_regions {
	uint64_t directory_bytes;
	uint64_t digests_offset, digests_bytes;
	uint64_t digests_end; /* zero from here to data_offset */
	uint64_t data_offset;
};

/* n_tensors and n_blocks within their limits. */
struct gw_regions gw_superblock_regions(uint64_t n_tensors, uint64_t n_blocks);

/*
 * Decodes and validates the superblock of a file or image of actual_bytes. bytes: the first
 * min(actual_bytes, GW_SUPERBLOCK_BYTES) of it. tail_bytes: by how much the whole may be longer than
 * it says (0 for a file, less than 2 MiB for an image). *out is untouched on failure.
 * Errors: GW_E_TRUNCATED, _MAGIC, _VERSION, _SUPERBLOCK_DIGEST, _RESERVED, _FEATURE, _LIMIT, _LAYOUT,
 * _TRAILING.
 */
int gw_superblock_decode(const uint8_t *bytes, uint64_t actual_bytes, uint64_t tail_bytes,
			 struct gw_superblock *out, struct gw_error *error);

/* out: GW_SUPERBLOCK_BYTES; computes the superblock's digest. */
void gw_superblock_encode(const struct gw_superblock *superblock, uint8_t *out);

/* bytes: GW_PROVENANCE_BYTES, whose digest the caller has checked. Errors: GW_E_NAME, _RESERVED. */
int gw_provenance_decode(const uint8_t *bytes, struct gw_provenance *out, struct gw_error *error);

/* out: GW_PROVENANCE_BYTES. Bytes that a string may not hold become '?'. */
void gw_provenance_encode(const struct gw_provenance *provenance, uint8_t *out);
