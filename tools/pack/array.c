/* SPDX-License-Identifier: MIT */
#include "tools/pack/array.h"

#include <inttypes.h>
#include <string.h>

#include "format/checked.h"
#include "format/directory.h"
#include "tools/pack/element.h"

/* NumPy's letters and widths, and what safetensors calls these. */
static const struct {
	char letter;
	unsigned width_bytes;
	const char *element;
} pack_array_types[] = {
	{ 'f', 2, "F16" }, { 'f', 4, "F32" }, { 'f', 8, "F64" }, { 'b', 1, "BOOL" },
	{ 'i', 1, "I8" },  { 'u', 1, "U8" },  { 'i', 2, "I16" }, { 'u', 2, "U16" },
	{ 'i', 4, "I32" }, { 'u', 4, "U32" }, { 'i', 8, "I64" }, { 'u', 8, "U64" },
	{ 'c', 8, "C64" },
};

/* "<f4": byte order, letter, width. What is no number is only listed. */
static int pack_array_type(const struct tool_npy *npy, struct pack_array *array,
			   struct gw_error *error)
{
	const char *descr = npy->descr;
	char quoted[64];

	array->element = pack_element_other();
	gw_quote(descr, npy->descr_bytes, quoted, sizeof quoted);
	if (npy->descr_bytes < 2 || !strchr("<>|", descr[0]) || descr[0] == 0)
		return gw_fail(error, GW_E_SOURCE, TOOL_NPY_MAGIC_BYTES,
			       ".npy header: the type \"%s\" does not begin with <, > or |",
			       quoted);
	for (size_t i = 0; i < sizeof pack_array_types / sizeof pack_array_types[0]; i++) {
		if (npy->descr_bytes != 3 || descr[1] != pack_array_types[i].letter ||
		    descr[2] != (char)('0' + pack_array_types[i].width_bytes))
			continue;
		array->element = pack_element_find(pack_array_types[i].element);
		array->width_bytes = pack_array_types[i].width_bytes;
	}
	if (array->width_bytes > 1 && descr[0] == '|')
		return gw_fail(error, GW_E_SOURCE, TOOL_NPY_MAGIC_BYTES,
			       ".npy header: the type \"%s\" has no byte order", quoted);
	array->is_big_endian = array->width_bytes > 1 && descr[0] == '>';
	return GW_OK;
}

/* Fills shape and data_bytes; data_offset is known. */
static int pack_array_shape(const struct tool_npy *npy, uint64_t size_bytes,
			    struct pack_array *array, struct gw_error *error)
{
	uint64_t have = size_bytes - array->data_offset, need = array->width_bytes;
	unsigned n_long = 0;

	if (npy->rank > GW_MAX_RANK)
		return gw_fail(error, GW_E_SOURCE, TOOL_NPY_MAGIC_BYTES,
			       ".npy header: %u dimensions, at most %d", npy->rank, GW_MAX_RANK);
	array->rank = npy->rank;
	array->data_bytes = have;
	for (unsigned i = 0; i < npy->rank; i++) {
		array->shape[i] = npy->shape[i];
		n_long += npy->shape[i] > 1;
		if (!gw_mul(need, npy->shape[i], &need))
			return gw_fail(error, GW_E_SOURCE, TOOL_NPY_MAGIC_BYTES,
				       ".npy header: a shape whose size does not fit 64 bits");
	}
	array->is_fortran = npy->is_fortran && n_long > 1 && need > 0;
	if (array->width_bytes && need != have)
		return gw_fail(error, GW_E_SOURCE, array->data_offset,
			       ".npy: %" PRIu64 " bytes after the header, at offset %" PRIu64
			       ", instead of the %" PRIu64 " that its shape and type need",
			       have, array->data_offset, need);
	return GW_OK;
}

int pack_array_parse(const uint8_t *head, size_t n, uint64_t size_bytes, struct pack_array *out,
		     struct gw_error *error)
{
	struct pack_array array = { 0 };
	struct tool_npy npy = { 0 };
	unsigned preamble_bytes = 0;
	uint32_t header_bytes = 0;
	int code;

	if (n < TOOL_NPY_MAGIC_BYTES || memcmp(head, TOOL_NPY_MAGIC, TOOL_NPY_MAGIC_BYTES) != 0)
		return gw_fail(error, GW_E_SOURCE, 0, "no .npy array: it does not begin like one");
	code = tool_npy_preamble(
		head, n < TOOL_NPY_MAX_PREAMBLE_BYTES ? n : TOOL_NPY_MAX_PREAMBLE_BYTES,
		&preamble_bytes, &header_bytes, error);
	if (code != GW_OK)
		return code;
	array.data_offset = (uint64_t)preamble_bytes + header_bytes;
	if (n < array.data_offset)
		return gw_fail(error, GW_E_SOURCE, n, ".npy header: cut off at byte %zu", n);
	code = tool_npy_parse((const char *)head + preamble_bytes, header_bytes, preamble_bytes,
			      &npy, error);
	if (code == GW_E_SOURCE_KIND) { /* records: listed, but they are no numbers */
		array.element = pack_element_other();
		array.data_bytes = size_bytes - array.data_offset;
		*out = array;
		return GW_OK;
	}
	if (code == GW_OK)
		code = pack_array_type(&npy, &array, error);
	if (code == GW_OK)
		code = pack_array_shape(&npy, size_bytes, &array, error);
	if (code == GW_OK)
		*out = array;
	return code;
}

bool pack_array_is_encoded(const struct pack_array *array)
{
	return array->width_bytes && (array->is_big_endian || array->is_fortran);
}

struct pack_tensor pack_array_tensor(const struct pack_array *array)
{
	struct pack_tensor tensor = {
		.element = array->element,
		.rank = array->rank,
		.size_bytes = array->data_bytes,
		.offset_bytes = array->data_offset,
		.encoded = pack_array_is_encoded(array),
		.onwards = array->is_fortran,
	};

	memcpy(tensor.shape, array->shape, sizeof tensor.shape);
	return tensor;
}

const char *pack_array_canonical(const char *name)
{
	/* of our own advice, of OpenAI's variables and of Flax's, with their slashes */
	static const char *const names[][2] = {
		{ "wte", GW_WTE_NAME },
		{ "wpe", GW_WPE_NAME },
		{ "model/wte", GW_WTE_NAME },
		{ "model/wpe", GW_WPE_NAME },
		{ "transformer/wte/embedding", GW_WTE_NAME },
		{ "transformer/wpe/embedding", GW_WPE_NAME },
	};

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (strcmp(name, names[i][0]) == 0)
			return names[i][1];
	}
	return NULL;
}
