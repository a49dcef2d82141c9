/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/bytes.h"
#include "format/checked.h"
#include "format/directory.h"
#include "tools/pack/element.h"
#include "tools/pack/gguf.h"
#include "tools/pack/gguf_quant.h"
#include "tools/pack/limits.h"

/* GGML_MAX_DIMS: "currently at most 4". */
#define PACK_GGUF_RANK 4
/* Of blocks read at once: small enough for the stack, large enough that a read costs little. */
#define PACK_GGUF_READ_BYTES 16384

struct pack_gguf {
	struct pack_scan scan;
	struct pack_gguf_metadata metadata;
	uint64_t data_offset; /* of the data, in the file */
	uint64_t data_bytes;
};

/* The names that the gguf writers give GPT-2's tensors of which the tables are one. */
static const struct {
	const char *name, *canonical;
} pack_gguf_names[] = {
	{ "token_embd.weight", GW_WTE_NAME },
	{ "position_embd.weight", GW_WPE_NAME },
	{ "output.weight", "lm_head.weight" },
};

#define pack_gguf_fail(gguf, tensor, error, offset, format, ...)                                \
	gw_fail(error, GW_E_SOURCE, offset, "%s: tensor \"%s\" at offset %" PRIu64 " " format,  \
		(gguf)->scan.quoted_file,                                                       \
		gw_quote((tensor)->name, strlen((tensor)->name), (char[96]) { 0 }, 96), offset, \
		__VA_ARGS__)

static int pack_version_check(struct pack_scan *scan, struct gw_error *error)
{
	uint64_t version = 0;
	int code = pack_scan_skip(scan, 4, "the mark", error);

	if (code == GW_OK)
		code = pack_scan_number(scan, 4, "the version", &version, error);
	if (code != GW_OK)
		return code;
	/* no flag tells; but versions are small */
	if ((version & 0xffff) == 0 && version != 0)
		return gw_fail(error, GW_E_SOURCE, 4,
			       "%s: a big-endian GGUF file (its version at offset 4 reads %" PRIu64
			       "), which this release does not read",
			       scan->quoted_file, version);
	if (version != 2 && version != 3)
		return gw_fail(error, GW_E_SOURCE, 4,
			       "%s: a GGUF file of version %" PRIu64
			       " at offset 4; this release reads 2 and 3",
			       scan->quoted_file, version);
	return GW_OK;
}

/* A count that is over its cap, or that what is left of the file cannot hold, is refused here. */
static int pack_count_read(struct pack_scan *scan, const char *what, uint64_t max, uint64_t *out,
			   struct gw_error *error)
{
	uint64_t offset = scan->at, n = 0;
	int code = pack_scan_number(scan, 8, what, &n, error);

	if (code != GW_OK)
		return code;
	if (n > max)
		return gw_fail(error, GW_E_SOURCE, offset,
			       "%s: %s at offset %" PRIu64 " is %" PRIu64 ", at most %" PRIu64,
			       scan->quoted_file, what, offset, n, max);
	*out = n;
	return GW_OK;
}

/* name: room for GW_NAME_BYTES. */
static int pack_name_read(struct pack_scan *scan, char *name, struct gw_error *error)
{
	uint64_t offset = scan->at, n = 0;
	const uint8_t *text = NULL;
	int code = pack_scan_number(scan, 8, "the length of a tensor's name", &n, error);

	if (code != GW_OK)
		return code;
	if (n == 0 || n >= GW_NAME_BYTES)
		return gw_fail(error, GW_E_SOURCE, offset,
			       "%s: the tensor's name at offset %" PRIu64 " has %" PRIu64
			       " bytes; this release reads 1 to %d",
			       scan->quoted_file, offset, n, GW_NAME_BYTES - 1);
	code = pack_scan_take(scan, n, "a tensor's name", &text, error);
	if (code != GW_OK)
		return code;
	memset(name, 0, GW_NAME_BYTES);
	memcpy(name, text, n);
	if (gw_string_length((const uint8_t *)name, GW_NAME_BYTES) != (int)n) {
		char quoted[96];

		return gw_fail(error, GW_E_SOURCE, offset,
			       "%s: the tensor's name \"%s\" at offset %" PRIu64
			       " is no UTF-8 text without control bytes",
			       scan->quoted_file, gw_quote((const char *)text, n, quoted, 96),
			       offset);
	}
	return GW_OK;
}

/* Dimensions are stored innermost first. out_row: the innermost one, 1 if there is none. */
static int pack_dimensions_read(struct pack_gguf *gguf, struct pack_tensor *tensor,
				uint64_t *out_row, uint64_t *out_elements, struct gw_error *error)
{
	struct pack_scan *scan = &gguf->scan;
	uint64_t offset = scan->at, rank = 0, elements = 1, row = 1;
	int code = pack_scan_number(scan, 4, "the number of dimensions", &rank, error);

	if (code == GW_OK && rank > PACK_GGUF_RANK)
		return pack_gguf_fail(gguf, tensor, error, offset,
				      "has %" PRIu64 " dimensions, at most %d", rank,
				      PACK_GGUF_RANK);
	tensor->rank = (unsigned)rank;
	for (unsigned i = 0; code == GW_OK && i < rank; i++) {
		uint64_t *dimension = &tensor->shape[rank - 1 - i];

		code = pack_scan_number(scan, 8, "a dimension", dimension, error);
		if (code == GW_OK && !gw_mul(elements, *dimension, &elements))
			return pack_gguf_fail(gguf, tensor, error, offset,
					      "has a shape whose product %s",
					      "does not fit 64 bits");
		if (i == 0)
			row = *dimension;
	}
	if (code == GW_OK) {
		*out_row = row;
		*out_elements = elements;
	}
	return code;
}

/* What a tensor takes in the file; its shape and type have been checked. */
static uint64_t pack_stored_bytes(const struct pack_tensor *tensor)
{
	const struct pack_ggml_type *type = pack_ggml_find((uint32_t)tensor->detail);
	uint64_t elements = 1;

	for (unsigned i = 0; i < tensor->rank; i++)
		elements *= tensor->shape[i];
	return elements / type->block_values * type->block_bytes;
}

/* Fills element, stored, size_bytes, encoded and detail. */
static int pack_gguf_type_set(const struct pack_gguf *gguf, uint64_t offset, uint64_t number,
			      uint64_t row, uint64_t elements, struct pack_tensor *tensor,
			      struct gw_error *error)
{
	const struct pack_ggml_type *type = pack_ggml_find((uint32_t)number);
	uint64_t bytes;

	if (!type)
		return pack_gguf_fail(gguf, tensor, error, offset,
				      "has the type %" PRIu64 ", which is unknown or was given up",
				      number);
	if (row % type->block_values != 0)
		return pack_gguf_fail(gguf, tensor, error, offset,
				      "has rows of %" PRIu64 " values, no multiple of %s's %u", row,
				      type->name, type->block_values);
	/* blocks take less than f32, so where this does not wrap their sizes do not */
	if (!gw_mul(elements, type->element ? type->block_bytes : 4, &bytes))
		return pack_gguf_fail(gguf, tensor, error, offset, "has a size that %s",
				      "does not fit 64 bits");
	tensor->detail = number;
	tensor->size_bytes = type->dequantise ? bytes : pack_stored_bytes(tensor);
	tensor->element = pack_element_find(type->element ? type->element : "F32");
	if (!type->element) {
		tensor->encoded = true;
		tensor->stored = type->name;
		if (!type->dequantise)
			tensor->element = PACK_ELEMENT_UNKNOWN;
	}
	return GW_OK;
}

/* offset_bytes is left relative to the data: where these begin is not known yet. */
static int pack_gguf_tensor_read(struct pack_gguf *gguf, struct pack_list *list,
				 struct gw_error *error)
{
	struct pack_scan *scan = &gguf->scan;
	struct pack_tensor tensor = { 0 };
	char name[GW_NAME_BYTES];
	uint64_t row = 1, elements = 1, number = 0, type_offset;
	int code = pack_name_read(scan, name, error);

	tensor.name = name;
	if (code == GW_OK)
		code = pack_dimensions_read(gguf, &tensor, &row, &elements, error);
	type_offset = scan->at;
	if (code == GW_OK)
		code = pack_scan_number(scan, 4, "a tensor's type", &number, error);
	if (code == GW_OK)
		code = pack_gguf_type_set(gguf, type_offset, number, row, elements, &tensor, error);
	if (code == GW_OK)
		code = pack_scan_number(scan, 8, "the offset of a tensor", &tensor.offset_bytes,
					error);
	if (code != GW_OK)
		return code;
	if (tensor.offset_bytes & (gguf->metadata.alignment - 1))
		return pack_gguf_fail(gguf, &tensor, error, scan->at - 8,
				      "begins at byte %" PRIu64
				      " of the data, no multiple of the alignment, %" PRIu64,
				      tensor.offset_bytes, gguf->metadata.alignment);
	for (size_t i = 0; i < sizeof pack_gguf_names / sizeof pack_gguf_names[0]; i++) {
		if (!gguf->metadata.other && strcmp(name, pack_gguf_names[i].name) == 0)
			tensor.canonical = pack_gguf_names[i].canonical;
	}
	return pack_list_add(list, &tensor, error);
}

static int pack_gguf_duplicates(const struct pack_gguf *gguf, struct pack_list *list,
				struct gw_error *error)
{
	char quoted[96];

	pack_list_sort(list);
	for (size_t i = 1; i < list->n; i++) {
		const char *name = list->items[i].name;

		if (strcmp(list->items[i - 1].name, name) == 0)
			return gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET,
				       "%s: duplicate: there are two tensors \"%s\"",
				       gguf->scan.quoted_file,
				       gw_quote(name, strlen(name), quoted, sizeof quoted));
	}
	return GW_OK;
}

static int pack_by_place(const void *a, const void *b)
{
	const struct pack_tensor *left = a, *right = b;

	if (left->offset_bytes != right->offset_bytes)
		return left->offset_bytes < right->offset_bytes ? -1 : 1;
	if (left->size_bytes != right->size_bytes)
		return left->size_bytes < right->size_bytes ? -1 : 1;
	return strcmp(left->name, right->name);
}

/*
 * Each tensor begins where the one before it ends, rounded up to the alignment, as writers lay them
 * out and ggml's reader demands; the last one's padding may be missing. Makes offsets absolute.
 */
static int pack_gguf_cover(const struct pack_gguf *gguf, struct pack_list *list,
			   struct gw_error *error)
{
	uint64_t end = 0, padded;

	if (list->n > 1)
		qsort(list->items, list->n, sizeof *list->items, pack_by_place);
	for (size_t i = 0; i < list->n; i++) {
		struct pack_tensor *tensor = &list->items[i];
		uint64_t bytes = pack_stored_bytes(tensor), first = tensor->offset_bytes;

		if (first > gguf->data_bytes || bytes > gguf->data_bytes - first)
			return pack_gguf_fail(gguf, tensor, error, gguf->data_offset,
					      "begins at byte %" PRIu64
					      " of the data and has %" PRIu64
					      ", past the end of the file (%" PRIu64
					      " bytes): cut short, or malformed",
					      first, bytes, gguf->scan.file->size_bytes);
		if (first < end)
			return pack_gguf_fail(gguf, tensor, error, gguf->data_offset + first,
					      "overlaps the one before it, which ends at %" PRIu64,
					      gguf->data_offset + end);
		/* within the file, whose size is below 2^63 */
		padded = end;
		gw_align(end, gguf->metadata.alignment, &padded);
		if (first > padded)
			return pack_gguf_fail(gguf, tensor, error, gguf->data_offset + first,
					      "has a hole before it, of %" PRIu64 " bytes",
					      first - padded);
		end = first + bytes;
		tensor->offset_bytes = gguf->data_offset + first;
	}
	padded = end;
	gw_align(end, gguf->metadata.alignment, &padded);
	if (gguf->data_bytes > padded)
		return gw_fail(error, GW_E_SOURCE, gguf->data_offset + padded,
			       "%s: %" PRIu64 " trailing bytes from offset %" PRIu64
			       " belong to no tensor",
			       gguf->scan.quoted_file, gguf->data_bytes - padded,
			       gguf->data_offset + padded);
	return GW_OK;
}

static int pack_gguf_list(struct pack_gguf *gguf, struct pack_list *list, struct gw_error *error)
{
	struct pack_scan *scan = &gguf->scan;
	uint64_t n_tensors = 0, n_pairs = 0;
	int code = pack_version_check(scan, error);

	if (code == GW_OK)
		code = pack_count_read(scan, "the number of tensors", PACK_MAX_SOURCE_TENSORS,
				       &n_tensors, error);
	if (code == GW_OK)
		code = pack_count_read(scan, "the number of key/value pairs", PACK_MAX_GGUF_PAIRS,
				       &n_pairs, error);
	if (code == GW_OK)
		code = pack_gguf_metadata_read(scan, n_pairs, &gguf->metadata, error);
	for (uint64_t i = 0; code == GW_OK && i < n_tensors; i++)
		code = pack_gguf_tensor_read(gguf, list, error);
	if (code == GW_OK)
		code = pack_gguf_duplicates(gguf, list, error);
	if (code != GW_OK)
		return code;
	/* at most the cap and an alignment below 2^32 */
	gw_align(scan->at, gguf->metadata.alignment, &gguf->data_offset);
	/* where there are none the padding may be missing, and empty tensors lie in the file too */
	if (gguf->data_offset > scan->file->size_bytes)
		gguf->data_offset = scan->file->size_bytes;
	gguf->data_bytes = scan->file->size_bytes - gguf->data_offset;
	return pack_gguf_cover(gguf, list, error);
}

static int pack_gguf_read(const struct pack_source *source, const struct pack_tensor *tensor,
			  uint64_t offset, uint64_t n, uint8_t *out, struct gw_error *error)
{
	const struct pack_ggml_type *type = pack_ggml_find((uint32_t)tensor->detail);
	uint8_t blocks[PACK_GGUF_READ_BYTES];
	float values[PACK_GGML_BLOCK_VALUES];
	uint64_t at = offset / 4, end = at + n / 4;
	char quoted[96];

	if (!type->dequantise)
		return gw_fail(error, GW_E_SOURCE, tensor->offset_bytes,
			       "tensor \"%s\" has the type %s, which this release does not read",
			       gw_quote(tensor->name, strlen(tensor->name), quoted, sizeof quoted),
			       type->name);
	while (at < end) {
		uint64_t first = at / type->block_values;
		uint64_t count = (end - 1) / type->block_values + 1 - first;
		int code;

		if (count > sizeof blocks / type->block_bytes)
			count = sizeof blocks / type->block_bytes;
		code = pack_file_read(&source->files[tensor->file], blocks,
				      count * type->block_bytes,
				      tensor->offset_bytes + first * type->block_bytes, error);
		if (code != GW_OK)
			return code;
		for (uint64_t i = 0; i < count; i++) {
			uint64_t skip = at - (first + i) * type->block_values;
			uint64_t take = type->block_values - skip;

			take = take < end - at ? take : end - at;
			type->dequantise(blocks + i * type->block_bytes, values);
			memcpy(out, values + skip, take * 4);
			out += take * 4;
			at += take;
		}
	}
	return GW_OK;
}

/* There is no state. */
static void pack_gguf_close(void *state)
{
	(void)state;
}

static const struct pack_reader pack_gguf_reader = {
	.read = pack_gguf_read,
	.close = pack_gguf_close,
};

int pack_gguf_open(int folder_fd, struct pack_file *file, struct pack_source *source,
		   struct gw_error *error)
{
	struct pack_gguf *gguf;
	int code = pack_source_take_file(source, file, error);

	(void)folder_fd;
	if (code != GW_OK)
		return code;
	gguf = calloc(1, sizeof *gguf);
	if (!gguf)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	source->format = "gguf";
	source->reader = &pack_gguf_reader;
	pack_scan_init(&gguf->scan, &source->files[0], PACK_MAX_GGUF_BYTES);
	code = pack_gguf_list(gguf, &source->tensors, error);
	source->config = gguf->metadata.config;
	free(gguf);
	return code;
}
