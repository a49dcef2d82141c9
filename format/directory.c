/* SPDX-License-Identifier: MIT */
#include "format/directory.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "format/bytes.h"
#include "format/checked.h"
#include "format/superblock.h"

/* Length of the UTF-8 sequence at text, 0 if it is none (RFC 3629: shortest form, no surrogates). */
static size_t utf8_length(const uint8_t *text, size_t n)
{
	size_t length = text[0] < 0x80 ? 1 : text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;
	uint8_t low = 0x80, high = 0xbf;

	if (length == 1)
		return 1;
	if (text[0] < 0xc2 || text[0] > 0xf4 || length > n)
		return 0;
	if (text[0] == 0xe0)
		low = 0xa0;
	else if (text[0] == 0xed)
		high = 0x9f;
	else if (text[0] == 0xf0)
		low = 0x90;
	else if (text[0] == 0xf4)
		high = 0x8f;
	if (text[1] < low || text[1] > high)
		return 0;
	for (size_t i = 2; i < length; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	return length;
}

int gw_string_length(const uint8_t *field, size_t size)
{
	const uint8_t *end = memchr(field, 0, size);
	size_t n = end ? (size_t)(end - field) : size, length;

	if (!end || !gw_is_zero(end, size - n))
		return -1;
	for (size_t i = 0; i < n; i += length) {
		if (field[i] < 0x20 || field[i] == 0x7f)
			return -1;
		length = utf8_length(field + i, n - i);
		if (length == 0)
			return -1;
	}
	return (int)n;
}

void gw_string_put(uint8_t *field, size_t size, const char *text, size_t text_bytes)
{
	const uint8_t *from = (const uint8_t *)text;
	size_t n = strnlen(text, text_bytes), used = 0, length;

	memset(field, 0, size);
	for (size_t i = 0; i < n; i += length) {
		bool allowed;

		length = utf8_length(from + i, n - i);
		allowed = length && from[i] >= 0x20 && from[i] != 0x7f;
		if (!allowed)
			length = 1;
		if (used + length >= size)
			return;
		memcpy(field + used, allowed ? from + i : (const uint8_t *)"?", length);
		used += length;
	}
}

uint64_t gw_tensor_row_payload(const struct gw_tensor *tensor)
{
	return tensor->row_elements * gw_dtype_bytes(tensor->dtype);
}

uint64_t gw_tensor_payload(const struct gw_tensor *tensor)
{
	return tensor->row_count * gw_tensor_row_payload(tensor) + tensor->scales_bytes;
}

/* A tensor's name for a message. */
static const char *quoted(const struct gw_tensor *tensor, char out[GW_NAME_BYTES])
{
	return gw_quote(tensor->name, strnlen(tensor->name, GW_NAME_BYTES), out, GW_NAME_BYTES);
}

/* row_count and row_elements from rank and shape. */
static int measure_shape(struct gw_tensor *tensor, uint64_t offset, struct gw_error *error)
{
	uint64_t rows = 1;
	char name[GW_NAME_BYTES];

	if (tensor->rank > GW_MAX_RANK)
		return gw_fail(error, GW_E_SHAPE, offset, "tensor %s has rank %u, at most %d",
			       quoted(tensor, name), tensor->rank, GW_MAX_RANK);
	for (unsigned i = 0; i < GW_MAX_RANK; i++) {
		if ((tensor->shape[i] != 0) != (i < tensor->rank))
			return gw_fail(error, GW_E_SHAPE, offset,
				       "tensor %s of rank %u has %" PRIu64 " as dimension %u",
				       quoted(tensor, name), tensor->rank, tensor->shape[i], i);
		if (i + 1 < tensor->rank && !gw_mul(rows, tensor->shape[i], &rows))
			return gw_fail(error, GW_E_SHAPE, offset,
				       "the dimensions of tensor %s multiply past 2^64",
				       quoted(tensor, name));
	}
	tensor->row_count = rows;
	tensor->row_elements = tensor->rank ? tensor->shape[tensor->rank - 1] : 1;
	return GW_OK;
}

static int check_role(const struct gw_tensor *tensor, uint64_t offset, struct gw_error *error)
{
	bool wte = strcmp(tensor->name, GW_WTE_NAME) == 0;
	bool wpe = strcmp(tensor->name, GW_WPE_NAME) == 0;
	unsigned expected = wte ? GW_ROLE_WTE : wpe ? GW_ROLE_WPE : GW_ROLE_NONE;
	char name[GW_NAME_BYTES];

	if (tensor->role != expected)
		return gw_fail(error, GW_E_ROLE, offset, "tensor %s has role %u instead of %u",
			       quoted(tensor, name), tensor->role, expected);
	if (expected == GW_ROLE_NONE)
		return GW_OK;
	if (tensor->rank != 2)
		return gw_fail(error, GW_E_SHAPE, offset, "table %s has rank %u, not 2", tensor->name,
			       tensor->rank);
	if (tensor->row_count > GW_MAX_TABLE_ROWS || tensor->row_elements > GW_MAX_N_EMBD)
		return gw_fail(error, GW_E_LIMIT, offset,
			       "table %s is [%" PRIu64 ", %" PRIu64 "], at most [%" PRIu64
			       ", %" PRIu64 "]",
			       tensor->name, tensor->row_count, tensor->row_elements,
			       GW_MAX_TABLE_ROWS, GW_MAX_N_EMBD);
	return GW_OK;
}

/* All sizes in bytes, from row_count and row_elements; false: one of them does not fit. */
static bool measure_bytes(struct gw_tensor *tensor)
{
	uint64_t element_bytes = gw_dtype_bytes(tensor->dtype);

	tensor->scales_bytes = 0;
	if (!gw_mul(tensor->row_elements, element_bytes, &tensor->row_bytes) ||
	    (tensor->role != GW_ROLE_NONE &&
	     !gw_align(tensor->row_bytes, GW_ROW_ALIGN_BYTES, &tensor->row_bytes)) ||
	    !gw_mul(tensor->row_count, tensor->row_bytes, &tensor->data_bytes))
		return false;
	tensor->extent_bytes = tensor->data_bytes;
	if (tensor->dtype != GW_I8)
		return true;
	return gw_mul(tensor->row_count, sizeof(float), &tensor->scales_bytes) &&
	       gw_align(tensor->data_bytes, GW_ROW_ALIGN_BYTES, &tensor->extent_bytes) &&
	       gw_add(tensor->extent_bytes, tensor->scales_bytes, &tensor->extent_bytes);
}

int gw_tensor_measure(struct gw_tensor *tensor, uint64_t offset, struct gw_error *error)
{
	char name[GW_NAME_BYTES];
	int code;

	if (gw_string_length((const uint8_t *)tensor->name, sizeof tensor->name) < 1)
		return gw_fail(error, GW_E_NAME, offset,
			       "a tensor's name is empty, or no clean, terminated UTF-8: \"%s\"",
			       quoted(tensor, name));
	if (gw_dtype_bytes(tensor->dtype) == 0)
		return gw_fail(error, GW_E_DTYPE, offset,
			       "tensor %s has element type %u (%s), which this release does not read",
			       quoted(tensor, name), tensor->dtype, gw_dtype_name(tensor->dtype));
	if ((code = measure_shape(tensor, offset, error)) ||
	    (code = check_role(tensor, offset, error)))
		return code;
	if (!measure_bytes(tensor))
		return gw_fail(error, GW_E_SHAPE, offset,
			       "the dimensions of tensor %s multiply past 2^64",
			       quoted(tensor, name));
	if (tensor->extent_bytes > GW_MAX_IMAGE_BYTES)
		return gw_fail(error, GW_E_LIMIT, offset,
			       "tensor %s has %" PRIu64 " bytes, at most %" PRIu64,
			       quoted(tensor, name), tensor->extent_bytes, GW_MAX_IMAGE_BYTES);
	tensor->block_count = (tensor->extent_bytes + GW_BLOCK_BYTES - 1) / GW_BLOCK_BYTES;
	return GW_OK;
}

/* Tables are read at random, so their pages matter most; what padding to 2 MiB costs others of that
 * size would be a seventh of a whole model (FORMAT.md, Placement). */
static uint64_t data_align(const struct gw_tensor *tensor)
{
	uint64_t large = tensor->role ? GW_HUGE_PAGE_BYTES : GW_LARGE_TENSOR_BYTES;

	return tensor->extent_bytes >= large ? GW_HUGE_PAGE_BYTES : GW_PAGE_BYTES;
}

/* Where the scales are, once data_offset is known. */
static uint64_t scales_offset(const struct gw_tensor *tensor)
{
	return tensor->scales_bytes ?
		       tensor->data_offset + tensor->extent_bytes - tensor->scales_bytes :
		       0;
}

/* Order of the names, exactly one wte, at most one wpe of its width. */
static int check_together(const struct gw_tensor *tensors, size_t n, uint64_t first_offset,
			  uint64_t step, struct gw_error *error)
{
	const struct gw_tensor *wte = NULL, *wpe = NULL;
	char name[GW_NAME_BYTES], before[GW_NAME_BYTES];

	for (size_t i = 0; i < n; i++) {
		if (i && strcmp(tensors[i - 1].name, tensors[i].name) >= 0)
			return gw_fail(error, GW_E_NAME, first_offset + i * step,
				       "tensor %s does not come after tensor %s",
				       quoted(&tensors[i], name), quoted(&tensors[i - 1], before));
		if (tensors[i].role == GW_ROLE_WTE)
			wte = &tensors[i];
		else if (tensors[i].role == GW_ROLE_WPE)
			wpe = &tensors[i];
	}
	if (!wte)
		return gw_fail(error, GW_E_ROLE, GW_NO_OFFSET, "there is no token table (%s)",
			       GW_WTE_NAME);
	if (wpe && wpe->row_elements != wte->row_elements)
		return gw_fail(error, GW_E_ROLE, GW_NO_OFFSET,
			       "%s has rows of %" PRIu64 " elements, but %s of %" PRIu64,
			       GW_WTE_NAME, wte->row_elements, GW_WPE_NAME, wpe->row_elements);
	return GW_OK;
}

int gw_directory_place(struct gw_tensor *tensors, size_t n, uint64_t *out_n_blocks,
		       uint64_t *out_image_bytes, struct gw_error *error)
{
	uint64_t n_blocks = 0, end;
	int code;

	if (n < 1 || n > GW_MAX_TENSORS)
		return gw_fail(error, GW_E_LIMIT, GW_NO_OFFSET, "%zu tensors, not 1 to %" PRIu32, n,
			       GW_MAX_TENSORS);
	code = check_together(tensors, n, GW_NO_OFFSET, 0, error);
	if (code)
		return code;
	for (size_t i = 0; i < n; i++) {
		tensors[i].first_block = n_blocks;
		n_blocks += tensors[i].block_count; /* at most 2^14 × 2^21 */
	}
	end = gw_superblock_regions(n, n_blocks).data_offset;
	for (size_t i = 0; i < n; i++) {
		gw_align(end, data_align(&tensors[i]), &tensors[i].data_offset);
		tensors[i].scales_offset = scales_offset(&tensors[i]);
		end = tensors[i].data_offset + tensors[i].extent_bytes; /* at most 2^14 × 2^40 */
	}
	gw_align(end, GW_PAGE_BYTES, &end);
	if (end > GW_MAX_IMAGE_BYTES)
		return gw_fail(error, GW_E_LIMIT, GW_NO_OFFSET,
			       "the image would have %" PRIu64 " bytes, at most %" PRIu64, end,
			       GW_MAX_IMAGE_BYTES);
	*out_n_blocks = n_blocks;
	*out_image_bytes = end;
	return GW_OK;
}

/* Decodes one entry and derives what follows from it alone. */
static int decode_entry(const uint8_t *bytes, uint64_t offset, struct gw_tensor *out,
			struct gw_error *error)
{
	struct gw_bytes in = gw_bytes_read(bytes, GW_ENTRY_BYTES);
	uint64_t row_bytes = gw_get_u64(&in, GW_DE_ROW_BYTES);
	char name[GW_NAME_BYTES];
	int code;

	*out = (struct gw_tensor){
		.dtype = gw_get_u8(&in, GW_DE_DTYPE),
		.role = gw_get_u8(&in, GW_DE_ROLE),
		.rank = gw_get_u8(&in, GW_DE_RANK),
		.data_offset = gw_get_u64(&in, GW_DE_DATA_OFFSET),
	};
	gw_get_bytes(&in, GW_DE_NAME, out->name, sizeof out->name);
	for (unsigned i = 0; i < GW_MAX_RANK; i++)
		out->shape[i] = gw_get_u64(&in, GW_DE_SHAPE + 8 * i);
	code = gw_tensor_measure(out, offset, error);
	if (code)
		return code;
	if (!gw_is_zero(bytes + GW_DE_RESERVED_259, GW_DE_RESERVED_259_SIZE) ||
	    !gw_is_zero(bytes + GW_DE_RESERVED_368, GW_DE_RESERVED_368_SIZE))
		return gw_fail(error, GW_E_RESERVED, offset,
			       "reserved bytes of tensor %s are not zero", quoted(out, name));
	if (row_bytes != out->row_bytes)
		return gw_fail(error, GW_E_STRIDE, offset + GW_DE_ROW_BYTES,
			       "tensor %s has row_bytes %" PRIu64 " instead of %" PRIu64,
			       quoted(out, name), row_bytes, out->row_bytes);
	return GW_OK;
}

/* Whether scales are where data_offset puts them; both fields are 0 where there are none. */
static int check_scales(struct gw_tensor *tensor, const uint8_t *bytes, uint64_t offset,
			struct gw_error *error)
{
	struct gw_bytes in = gw_bytes_read(bytes, GW_ENTRY_BYTES);
	uint64_t at = gw_get_u64(&in, GW_DE_SCALES_OFFSET);
	uint64_t size = gw_get_u64(&in, GW_DE_SCALES_BYTES);
	char name[GW_NAME_BYTES];

	tensor->scales_offset = scales_offset(tensor);
	if (at != tensor->scales_offset)
		return gw_fail(error, GW_E_LAYOUT, offset + GW_DE_SCALES_OFFSET,
			       "the scales of tensor %s start at %" PRIu64 " instead of %" PRIu64,
			       quoted(tensor, name), at, tensor->scales_offset);
	if (size != tensor->scales_bytes)
		return gw_fail(error, GW_E_LAYOUT, offset + GW_DE_SCALES_BYTES,
			       "tensor %s has scales_bytes %" PRIu64 " instead of %" PRIu64,
			       quoted(tensor, name), size, tensor->scales_bytes);
	return GW_OK;
}

/* Whether a tensor lies where it must: after end, the end of the one before. */
static int check_place(struct gw_tensor *tensor, const uint8_t *bytes, uint64_t offset,
		       uint64_t end, uint64_t image_bytes, struct gw_error *error)
{
	struct gw_bytes in = gw_bytes_read(bytes, GW_ENTRY_BYTES);
	uint64_t data_bytes = gw_get_u64(&in, GW_DE_DATA_BYTES);
	uint64_t at = tensor->data_offset, data_end, expected = 0;
	char name[GW_NAME_BYTES];

	quoted(tensor, name);
	if (at % data_align(tensor))
		return gw_fail(error, GW_E_ALIGNMENT, offset + GW_DE_DATA_OFFSET,
			       "tensor %s starts at %" PRIu64 ", no multiple of %" PRIu64, name, at,
			       data_align(tensor));
	if (!gw_add(at, tensor->extent_bytes, &data_end) || data_end > image_bytes)
		return gw_fail(error, GW_E_BOUNDS, offset + GW_DE_DATA_OFFSET,
			       "tensor %s, %" PRIu64 " bytes at %" PRIu64
			       ", reaches past the end at %" PRIu64,
			       name, tensor->extent_bytes, at, image_bytes);
	if (at < end)
		return gw_fail(error, GW_E_OVERLAP, offset + GW_DE_DATA_OFFSET,
			       "tensor %s starts at %" PRIu64 ", before %" PRIu64
			       ", where what precedes it ends",
			       name, at, end);
	if (!gw_align(end, data_align(tensor), &expected) || at != expected)
		return gw_fail(error, GW_E_LAYOUT, offset + GW_DE_DATA_OFFSET,
			       "tensor %s starts at %" PRIu64 " instead of %" PRIu64, name, at,
			       expected);
	if (data_bytes != tensor->data_bytes)
		return gw_fail(error, GW_E_LAYOUT, offset + GW_DE_DATA_BYTES,
			       "tensor %s has data_bytes %" PRIu64 " instead of %" PRIu64, name,
			       data_bytes, tensor->data_bytes);
	return check_scales(tensor, bytes, offset, error);
}

int gw_directory_decode(const uint8_t *bytes, size_t n, uint64_t n_blocks, uint64_t image_bytes,
			struct gw_tensor *out, struct gw_error *error)
{
	uint64_t end = gw_superblock_regions(n, n_blocks).data_offset, blocks = 0;
	int code;

	for (size_t i = 0; i < n; i++) {
		uint64_t offset = GW_DIRECTORY_OFFSET + i * GW_ENTRY_BYTES;

		if ((code = decode_entry(bytes + i * GW_ENTRY_BYTES, offset, &out[i], error)) ||
		    (code = check_place(&out[i], bytes + i * GW_ENTRY_BYTES, offset, end,
					image_bytes, error)))
			return code;
		end = out[i].data_offset + out[i].extent_bytes;
		out[i].first_block = blocks;
		blocks += out[i].block_count;
	}
	code = check_together(out, n, GW_DIRECTORY_OFFSET, GW_ENTRY_BYTES, error);
	if (code)
		return code;
	if (blocks != n_blocks)
		return gw_fail(error, GW_E_LAYOUT, GW_SB_N_BLOCKS,
			       "n_blocks is %" PRIu64 ", but the tensors have %" PRIu64 " blocks",
			       n_blocks, blocks);
	gw_align(end, GW_PAGE_BYTES, &end);
	if (end != image_bytes)
		return gw_fail(error, GW_E_LAYOUT, GW_SB_IMAGE_BYTES,
			       "image_bytes is %" PRIu64 ", but the tensors end at %" PRIu64,
			       image_bytes, end);
	return GW_OK;
}

void gw_directory_encode(const struct gw_tensor *tensors, size_t n, uint8_t *out)
{
	struct gw_bytes to = gw_bytes_write(out, n * GW_ENTRY_BYTES);

	memset(out, 0, n * GW_ENTRY_BYTES);
	for (size_t i = 0; i < n; i++) {
		uint64_t at = i * GW_ENTRY_BYTES;

		gw_put_bytes(&to, at + GW_DE_NAME, tensors[i].name, GW_DE_NAME_SIZE);
		gw_put_u8(&to, at + GW_DE_DTYPE, tensors[i].dtype);
		gw_put_u8(&to, at + GW_DE_ROLE, tensors[i].role);
		gw_put_u8(&to, at + GW_DE_RANK, tensors[i].rank);
		for (unsigned d = 0; d < GW_MAX_RANK; d++)
			gw_put_u64(&to, at + GW_DE_SHAPE + 8 * d, tensors[i].shape[d]);
		gw_put_u64(&to, at + GW_DE_ROW_BYTES, tensors[i].row_bytes);
		gw_put_u64(&to, at + GW_DE_DATA_OFFSET, tensors[i].data_offset);
		gw_put_u64(&to, at + GW_DE_DATA_BYTES, tensors[i].data_bytes);
		gw_put_u64(&to, at + GW_DE_SCALES_OFFSET, tensors[i].scales_offset);
		gw_put_u64(&to, at + GW_DE_SCALES_BYTES, tensors[i].scales_bytes);
	}
}
