/* SPDX-License-Identifier: MIT */
/* Tensors: name, role, dtype, shape, extent (FORMAT.md, Directory and Blocks). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "format/dtype.h"
#include "format/limits.h"
#include "format/status.h"

/* FORMAT.md's table "directory": name, offset, size. */
#define GW_DIRECTORY_FIELDS(X)                                                                     \
	X(NAME, 0, 256)                                                                            \
	X(DTYPE, 256, 1)                                                                           \
	X(ROLE, 257, 1)                                                                            \
	X(RANK, 258, 1)                                                                            \
	X(RESERVED_259, 259, 5)                                                                    \
	X(SHAPE, 264, 64)                                                                          \
	X(ROW_BYTES, 328, 8)                                                                       \
	X(DATA_OFFSET, 336, 8)                                                                     \
	X(DATA_BYTES, 344, 8)                                                                      \
	X(SCALES_OFFSET, 352, 8)                                                                   \
	X(SCALES_BYTES, 360, 8)                                                                    \
	X(RESERVED_368, 368, 16)

#define X(name, offset, size) GW_DE_##name = (offset), GW_DE_##name##_SIZE = (size),
enum gw_directory_field { GW_DIRECTORY_FIELDS(X) };
#undef X

#define GW_ENTRY_BYTES UINT64_C(384)

enum gw_role { GW_ROLE_NONE = 0, GW_ROLE_WTE = 1, GW_ROLE_WPE = 2 };

#define GW_WTE_NAME "wte.weight"
#define GW_WPE_NAME "wpe.weight"

struct gw_tensor {
	char name[GW_NAME_BYTES];
	uint8_t dtype; /* enum gw_dtype */
	uint8_t role;  /* enum gw_role */
	uint8_t rank;
	uint64_t shape[GW_MAX_RANK]; /* outermost first; 0 from rank on */
	uint64_t row_bytes;          /* distance from row to row */
	uint64_t data_offset;        /* bytes from the start of the image */
	uint64_t data_bytes;         /* row_count × row_bytes */
	uint64_t scales_offset;      /* GW_I8: f32 [row_count], from the start of the image; else 0 */
	uint64_t scales_bytes;       /* 4 × row_count; else 0 */
	/* derived */
	uint64_t row_count;
	uint64_t row_elements;
	uint64_t extent_bytes; /* from data_offset to the end of data and scales; what blocks cut */
	uint64_t first_block, block_count;
};

/* Bytes of a row's elements, without the padding up to row_bytes. */
uint64_t gw_tensor_row_payload(const struct gw_tensor *tensor);

/* Bytes of all elements and, after them, scales, without any padding. */
uint64_t gw_tensor_payload(const struct gw_tensor *tensor);

/*
 * Fills row_count, row_elements, row_bytes, data_bytes, scales_bytes, extent_bytes and block_count
 * from name, dtype, role, rank and shape, after checking these. offset: where in the file they stand, for the message, or
 * GW_NO_OFFSET. Errors: GW_E_NAME, _DTYPE, _SHAPE, _ROLE, _LIMIT.
 */
int gw_tensor_measure(struct gw_tensor *tensor, uint64_t offset, struct gw_error *error);

/*
 * Fills data_offset, scales_offset and first_block of n measured tensors in strictly ascending order of name, and
 * checks the roles against each other. Errors: GW_E_NAME (order), _ROLE, _LIMIT.
 */
int gw_directory_place(struct gw_tensor *tensors, size_t n, uint64_t *out_n_blocks,
		       uint64_t *out_image_bytes, struct gw_error *error);

/*
 * Decodes and validates n entries (n × GW_ENTRY_BYTES at bytes, which is at GW_DIRECTORY_OFFSET of
 * the image) as if their digest were forged. out: room for n. n_blocks, image_bytes: the
 * superblock's, which must agree. Errors: GW_E_NAME, _RESERVED, _DTYPE, _SHAPE, _ROLE, _LIMIT,
 * _STRIDE, _ALIGNMENT, _BOUNDS, _OVERLAP, _LAYOUT.
 */
int gw_directory_decode(const uint8_t *bytes, size_t n, uint64_t n_blocks, uint64_t image_bytes,
			struct gw_tensor *out, struct gw_error *error);

/* out: n × GW_ENTRY_BYTES. */
void gw_directory_encode(const struct gw_tensor *tensors, size_t n, uint8_t *out);

/*
 * Whether a string field of size bytes holds valid UTF-8 without control bytes, a NUL, and nothing
 * but NUL after it. Returns its length, or -1.
 */
int gw_string_length(const uint8_t *field, size_t size);

/*
 * Copies text, which ends at a NUL or after text_bytes, into a string field of size bytes: cut at a
 * whole character where it is too long; bytes that a string may not hold become '?'.
 */
void gw_string_put(uint8_t *field, size_t size, const char *text, size_t text_bytes);
