/* SPDX-License-Identifier: MIT */
#include "tools/pack/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/bytes.h"
#include "format/checked.h"
#include "tools/pack/element.h"
#include "tools/pack/json.h"
#include "tools/pack/limits.h"

/* The u64 at the beginning. */
#define PACK_LENGTH_BYTES UINT64_C(8)

/* What the messages about one file have in common. */
struct pack_header {
	const struct pack_file *file;
	char quoted_file[96];
	uint64_t data_offset; /* of the data section, in the file */
	uint64_t data_bytes;
};

static int pack_header_length(struct pack_header *header, uint64_t *out, struct gw_error *error)
{
	const struct pack_file *file = header->file;
	uint8_t bytes[PACK_LENGTH_BYTES] = { 0 };
	struct gw_bytes window = gw_bytes_read(bytes, sizeof bytes);
	uint64_t length;
	int code;

	if (file->size_bytes < sizeof bytes)
		return gw_fail(error, GW_E_SOURCE, 0,
			       "%s has only %" PRIu64
			       " bytes; a safetensors file begins with 8 for "
			       "the length of its header",
			       header->quoted_file, file->size_bytes);
	code = pack_file_read(file, bytes, sizeof bytes, 0, error);
	if (code != GW_OK)
		return code;
	length = gw_get_u64(&window, 0);
	if (length == 0)
		return gw_fail(error, GW_E_SOURCE, 0, "%s: the header length at offset 0 is 0",
			       header->quoted_file);
	if (length < 2)
		return gw_fail(error, GW_E_SOURCE, 0,
			       "%s: the header length at offset 0 is %" PRIu64
			       ", less than the 2 bytes of {}",
			       header->quoted_file, length);
	if (length > file->size_bytes - sizeof bytes)
		return gw_fail(error, GW_E_SOURCE, 0,
			       "%s: the header length at offset 0 is %" PRIu64
			       ", past the end of the file (%" PRIu64 " bytes): cut short, or no "
			       "safetensors file",
			       header->quoted_file, length, file->size_bytes);
	if (length > PACK_MAX_HEADER_BYTES)
		return gw_fail(error, GW_E_SOURCE, 0,
			       "%s: the header length at offset 0 is %" PRIu64
			       ", over this program's limit of %" PRIu64,
			       header->quoted_file, length, PACK_MAX_HEADER_BYTES);
	*out = length;
	return GW_OK;
}

/* A message about the tensor of that name; its place in the JSON text is not known any more. */
#define pack_tensor_fail(header, key, error, format, ...)                                \
	gw_fail(error, GW_E_SOURCE, PACK_LENGTH_BYTES, "%s: tensor \"%s\" " format,      \
		(header)->quoted_file, gw_quote(key, strlen(key), (char[96]){ 0 }, 96), \
		__VA_ARGS__)

static int pack_parse_dtype(const struct pack_header *header, const char *key, const json_t *value,
			    struct pack_tensor *tensor, struct gw_error *error)
{
	const char *name = json_string_value(value);
	char quoted[48];

	if (!name)
		return pack_tensor_fail(header, key, error, "has a dtype that is %s", "no string");
	tensor->element = pack_element_find(name);
	if (tensor->element == PACK_ELEMENT_UNKNOWN)
		return pack_tensor_fail(header, key, error, "has the unknown dtype \"%s\"",
					gw_quote(name, strlen(name), quoted, sizeof quoted));
	return GW_OK;
}

/* Fills rank, shape and size_bytes; the dtype is known. */
static int pack_parse_shape(const struct pack_header *header, const char *key, const json_t *value,
			    struct pack_tensor *tensor, struct gw_error *error)
{
	uint64_t elements = 1, bits;

	if (!json_is_array(value))
		return pack_tensor_fail(header, key, error, "has a shape that is %s", "no array");
	if (json_array_size(value) > GW_MAX_RANK)
		return pack_tensor_fail(header, key, error, "has %zu dimensions, at most %d",
					json_array_size(value), GW_MAX_RANK);
	tensor->rank = (unsigned)json_array_size(value);
	for (unsigned i = 0; i < tensor->rank; i++) {
		if (!pack_json_u64(json_array_get(value, i), &tensor->shape[i]))
			return pack_tensor_fail(header, key, error,
						"has a dimension %u that is no whole number", i);
		if (!gw_mul(elements, tensor->shape[i], &elements))
			return pack_tensor_fail(header, key, error, "has a shape whose product %s",
						"does not fit 64 bits");
	}
	if (!gw_mul(elements, pack_element_bits(tensor->element), &bits))
		return pack_tensor_fail(header, key, error, "has a size that %s",
					"does not fit 64 bits");
	if (bits % 8 != 0)
		return pack_tensor_fail(header, key, error, "has a size that is %s",
					"no whole number of bytes");
	tensor->size_bytes = bits / 8;
	return GW_OK;
}

static int pack_parse_offsets(const struct pack_header *header, const char *key,
			      const json_t *value, struct pack_tensor *tensor,
			      struct gw_error *error)
{
	uint64_t begin, end;

	if (!json_is_array(value) || json_array_size(value) != 2 ||
	    !pack_json_u64(json_array_get(value, 0), &begin) ||
	    !pack_json_u64(json_array_get(value, 1), &end))
		return pack_tensor_fail(header, key, error, "has data_offsets that are %s",
					"not two whole numbers");
	if (begin > end)
		return pack_tensor_fail(header, key, error,
					"begins at %" PRIu64 " and ends before that, at %" PRIu64,
					begin, end);
	if (end > header->data_bytes)
		return pack_tensor_fail(header, key, error,
					"ends at %" PRIu64 ", past the end of the data (%" PRIu64
					" bytes): the file was cut short, or its header is wrong",
					end, header->data_bytes);
	if (end - begin != tensor->size_bytes)
		return pack_tensor_fail(header, key, error,
					"has %" PRIu64 " bytes of data, but its shape and dtype "
					"need %" PRIu64,
					end - begin, tensor->size_bytes);
	tensor->offset_bytes = header->data_offset + begin;
	return GW_OK;
}

static int pack_parse_tensor(const struct pack_header *header, const char *key, const json_t *value,
			     struct pack_tensor *tensor, struct gw_error *error)
{
	static const char *const members[] = { "dtype", "shape", "data_offsets" };
	const char *member;
	json_t *unused;
	int code;

	if (!json_is_object(value))
		return pack_tensor_fail(header, key, error, "is described by %s", "no object");
	for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
		if (!json_object_get(value, members[i]))
			return pack_tensor_fail(header, key, error, "has no %s", members[i]);
	}
	json_object_foreach((json_t *)(uintptr_t)value, member, unused)
	{
		if (strcmp(member, members[0]) != 0 && strcmp(member, members[1]) != 0 &&
		    strcmp(member, members[2]) != 0) {
			char quoted[48];

			return pack_tensor_fail(header, key, error, "has the unknown member \"%s\"",
						gw_quote(member, strlen(member), quoted,
							 sizeof quoted));
		}
	}
	code = pack_parse_dtype(header, key, json_object_get(value, members[0]), tensor, error);
	if (code == GW_OK)
		code = pack_parse_shape(header, key, json_object_get(value, members[1]), tensor,
					error);
	if (code == GW_OK)
		code = pack_parse_offsets(header, key, json_object_get(value, members[2]), tensor,
					  error);
	return code;
}

static int pack_parse_metadata(const struct pack_header *header, const json_t *value,
			       struct gw_error *error)
{
	const char *key;
	json_t *text;

	if (!json_is_object(value))
		return gw_fail(error, GW_E_SOURCE, PACK_LENGTH_BYTES,
			       "%s: __metadata__ is no object", header->quoted_file);
	json_object_foreach((json_t *)(uintptr_t)value, key, text)
	{
		if (!json_is_string(text))
			return gw_fail(error, GW_E_SOURCE, PACK_LENGTH_BYTES,
				       "%s: __metadata__ holds a value that is no string",
				       header->quoted_file);
	}
	return GW_OK;
}

static int pack_parse_header(const struct pack_header *header, size_t file_index, json_t *object,
			     struct pack_list *list, struct gw_error *error)
{
	const char *key;
	json_t *value;
	int code = GW_OK;

	json_object_foreach(object, key, value)
	{
		struct pack_tensor tensor = { .file = file_index };

		if (strcmp(key, "__metadata__") == 0) {
			code = pack_parse_metadata(header, value, error);
		} else {
			code = pack_parse_tensor(header, key, value, &tensor, error);
			if (code == GW_OK) {
				tensor.name = (char *)(uintptr_t)key;
				code = pack_list_add(list, &tensor, error);
			}
		}
		if (code != GW_OK)
			break;
	}
	return code;
}

static int pack_by_offset(const void *a, const void *b)
{
	const struct pack_tensor *left = a, *right = b;

	if (left->offset_bytes != right->offset_bytes)
		return left->offset_bytes < right->offset_bytes ? -1 : 1;
	if (left->size_bytes != right->size_bytes)
		return left->size_bytes < right->size_bytes ? -1 : 1;
	return strcmp(left->name, right->name);
}

/* The n tensors of this file cover its data exactly: no hole, no overlap, nothing after. */
static int pack_check_cover(const struct pack_header *header, struct pack_tensor *tensors, size_t n,
			    struct gw_error *error)
{
	uint64_t end = header->data_offset;
	uint64_t file_end = header->data_offset + header->data_bytes;
	char quoted[96];

	if (n > 1)
		qsort(tensors, n, sizeof *tensors, pack_by_offset);
	for (size_t i = 0; i < n; i++) {
		const struct pack_tensor *tensor = &tensors[i];

		gw_quote(tensor->name, strlen(tensor->name), quoted, sizeof quoted);
		if (tensor->offset_bytes < end)
			return gw_fail(error, GW_E_SOURCE, tensor->offset_bytes,
				       "%s: tensor \"%s\" overlaps the one before it, at offset "
				       "%" PRIu64,
				       header->quoted_file, quoted, tensor->offset_bytes);
		if (tensor->offset_bytes > end)
			return gw_fail(error, GW_E_SOURCE, end,
				       "%s: a hole from offset %" PRIu64 " to %" PRIu64
				       " before tensor \"%s\"",
				       header->quoted_file, end, tensor->offset_bytes, quoted);
		end = tensor->offset_bytes + tensor->size_bytes;
	}
	if (end != file_end)
		return gw_fail(error, GW_E_SOURCE, end,
			       "%s: %" PRIu64 " trailing bytes from offset %" PRIu64
			       " belong to no tensor",
			       header->quoted_file, file_end - end, end);
	return GW_OK;
}

int pack_safetensors_list(const struct pack_file *file, size_t file_index, struct pack_list *list,
			  struct gw_error *error)
{
	struct pack_header header = { .file = file };
	size_t first = list->n;
	json_t *object = NULL;
	char *text = NULL;
	uint64_t length = 0;
	int code;

	gw_quote(file->name, strlen(file->name), header.quoted_file, sizeof header.quoted_file);
	code = pack_header_length(&header, &length, error);
	if (code != GW_OK)
		return code;
	header.data_offset = PACK_LENGTH_BYTES + length;
	header.data_bytes = file->size_bytes - header.data_offset;
	text = malloc(length);
	if (!text)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	code = pack_file_read(file, text, length, PACK_LENGTH_BYTES, error);
	if (code == GW_OK && text[0] != '{')
		code = gw_fail(error, GW_E_SOURCE, PACK_LENGTH_BYTES,
			       "%s: the header at offset 8 does not begin with '{'",
			       header.quoted_file);
	if (code == GW_OK)
		code = pack_json_load(text, length, PACK_LENGTH_BYTES, &object, error);
	free(text);
	if (code == GW_OK)
		code = pack_parse_header(&header, file_index, object, list, error);
	json_decref(object);
	if (code == GW_OK)
		code = pack_check_cover(&header, list->n > first ? &list->items[first] : NULL,
					list->n - first, error);
	return code;
}
