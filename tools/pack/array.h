/* SPDX-License-Identifier: MIT */
/*
 * NumPy arrays (.npy, as a file or as a member of an .npz): what their headers say, and values that
 * are stored column by column or with the high byte first.
 */
#pragma once

#include "tools/common/npy.h"
#include "tools/pack/source.h"

/* As much of a file or member as its header may take. */
#define PACK_ARRAY_HEAD_BYTES (TOOL_NPY_MAX_PREAMBLE_BYTES + TOOL_NPY_MAX_HEADER_BYTES)

struct pack_array {
	int element; /* see element.h; pack_element_other() for strings, records, objects … */
	unsigned width_bytes; /* of an element; 0: of no numeric type */
	bool is_big_endian;
	bool is_fortran; /* and that makes a difference */
	unsigned rank;
	uint64_t shape[GW_MAX_RANK];
	uint64_t data_offset; /* from the beginning of file or member */
	uint64_t data_bytes;
};

/*
 * head: the first n bytes of size_bytes altogether, n the lesser of these and PACK_ARRAY_HEAD_BYTES.
 * Messages speak of byte offsets in the file or member. Errors: GW_E_SOURCE.
 */
int pack_array_parse(const uint8_t *head, size_t n, uint64_t size_bytes, struct pack_array *out,
		     struct gw_error *error);

/* Whether its values do not lie in C order and little-endian. */
bool pack_array_is_encoded(const struct pack_array *array);

/* An entry for the list: name, canonical and file are the caller's. */
struct pack_tensor pack_array_tensor(const struct pack_array *array);

/* GW_WTE_NAME or GW_WPE_NAME for the names that arrays of the tables are given, else NULL. */
const char *pack_array_canonical(const char *name);

/* Values of an array from its beginning to its end; end it with pack_transpose_free. */
struct pack_transpose;

/*
 * Gives n bytes of an array's data from offset on; context is what pack_transpose_read was given.
 * Offsets ascend within a pass over the array; there is more than one pass if it is large.
 */
typedef int pack_array_bytes(void *context, uint64_t offset, uint64_t n, uint8_t *out,
			     struct gw_error *error);

/*
 * n bytes of an encoded array's values, dense, row-major and little-endian, from offset on, both
 * whole elements. *transpose keeps what was read ahead for the next call, up to PACK_BAND_BYTES; it
 * is NULL at first and belongs to this array until pack_transpose_free. Errors: those of bytes;
 * GW_E_SOURCE for a column-major array with rows of more than 2 MiB; GW_E_MEMORY.
 */
int pack_transpose_read(struct pack_transpose **transpose, const struct pack_array *array,
			pack_array_bytes *bytes, void *context, uint64_t offset, uint64_t n,
			uint8_t *out, struct gw_error *error);
void pack_transpose_free(struct pack_transpose *transpose); /* NULL is fine */
