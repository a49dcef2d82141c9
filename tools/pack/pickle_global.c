/* SPDX-License-Identifier: MIT */
#include "tools/pack/pickle_global.h"

#include <string.h>

#include "format/checked.h"
#include "tools/pack/element.h"

/* Longest key of a storage: PyTorch uses decimal numbers, of memory addresses at most. */
#define PACK_MAX_KEY_BYTES 64

static const struct pack_global pack_globals[] = {
	{ "collections", "OrderedDict", PACK_GLOBAL_DICT, 0, 1, NULL },
	{ "torch", "Size", PACK_GLOBAL_SIZE, 1, 1, NULL },
	{ "torch", "device", PACK_GLOBAL_DEVICE, 1, 2, NULL },
	{ "torch._utils", "_rebuild_tensor", PACK_GLOBAL_TENSOR, 4, 4, NULL },
	{ "torch._utils", "_rebuild_tensor_v2", PACK_GLOBAL_TENSOR, 6, 7, NULL },
	{ "torch._utils", "_rebuild_tensor_v3", PACK_GLOBAL_TYPED, 7, 8, NULL },
	{ "torch._utils", "_rebuild_parameter", PACK_GLOBAL_PARAMETER, 3, 3, NULL },
	{ "torch._utils", "_rebuild_parameter_with_state", PACK_GLOBAL_PARAMETER, 4, 4, NULL },
	{ "torch", "FloatStorage", PACK_GLOBAL_STORAGE, 0, 0, "F32" },
	{ "torch", "HalfStorage", PACK_GLOBAL_STORAGE, 0, 0, "F16" },
	{ "torch", "BFloat16Storage", PACK_GLOBAL_STORAGE, 0, 0, "BF16" },
	{ "torch", "DoubleStorage", PACK_GLOBAL_STORAGE, 0, 0, "F64" },
	{ "torch", "LongStorage", PACK_GLOBAL_STORAGE, 0, 0, "I64" },
	{ "torch", "IntStorage", PACK_GLOBAL_STORAGE, 0, 0, "I32" },
	{ "torch", "ShortStorage", PACK_GLOBAL_STORAGE, 0, 0, "I16" },
	{ "torch", "CharStorage", PACK_GLOBAL_STORAGE, 0, 0, "I8" },
	{ "torch", "ByteStorage", PACK_GLOBAL_STORAGE, 0, 0, "U8" },
	{ "torch", "BoolStorage", PACK_GLOBAL_STORAGE, 0, 0, "BOOL" },
	{ "torch", "ComplexFloatStorage", PACK_GLOBAL_STORAGE, 0, 0, "C64" },
	{ "torch", "UntypedStorage", PACK_GLOBAL_STORAGE, 0, 0, "U8" },
	{ "torch.storage", "UntypedStorage", PACK_GLOBAL_STORAGE, 0, 0, "U8" },
	{ "torch", "float32", PACK_GLOBAL_DTYPE, 0, 0, "F32" },
	{ "torch", "float16", PACK_GLOBAL_DTYPE, 0, 0, "F16" },
	{ "torch", "bfloat16", PACK_GLOBAL_DTYPE, 0, 0, "BF16" },
	{ "torch", "float64", PACK_GLOBAL_DTYPE, 0, 0, "F64" },
	{ "torch", "int64", PACK_GLOBAL_DTYPE, 0, 0, "I64" },
	{ "torch", "int32", PACK_GLOBAL_DTYPE, 0, 0, "I32" },
	{ "torch", "int16", PACK_GLOBAL_DTYPE, 0, 0, "I16" },
	{ "torch", "int8", PACK_GLOBAL_DTYPE, 0, 0, "I8" },
	{ "torch", "uint8", PACK_GLOBAL_DTYPE, 0, 0, "U8" },
	{ "torch", "uint16", PACK_GLOBAL_DTYPE, 0, 0, "U16" },
	{ "torch", "uint32", PACK_GLOBAL_DTYPE, 0, 0, "U32" },
	{ "torch", "uint64", PACK_GLOBAL_DTYPE, 0, 0, "U64" },
	{ "torch", "bool", PACK_GLOBAL_DTYPE, 0, 0, "BOOL" },
	{ "torch", "complex64", PACK_GLOBAL_DTYPE, 0, 0, "C64" },
	{ "torch", "float8_e4m3fn", PACK_GLOBAL_DTYPE, 0, 0, "F8_E4M3" },
	{ "torch", "float8_e5m2", PACK_GLOBAL_DTYPE, 0, 0, "F8_E5M2" },
};

static bool pack_global_same(const char *known, const uint8_t *text, uint64_t n)
{
	return strlen(known) == n && memcmp(known, text, n) == 0;
}

int pack_global_find(const uint8_t *module, uint64_t module_bytes, const uint8_t *name,
		     uint64_t name_bytes)
{
	for (size_t i = 0; i < sizeof pack_globals / sizeof pack_globals[0]; i++) {
		if (pack_global_same(pack_globals[i].module, module, module_bytes) &&
		    pack_global_same(pack_globals[i].name, name, name_bytes))
			return (int)i;
	}
	return -1;
}

const struct pack_global *pack_global_at(int64_t number)
{
	return &pack_globals[number];
}

/*
 * Fills items with the nodes of a tuple of least to most; false if it is none. Lists do not do:
 * what is checked here is read again later, and a pickle could change them in between.
 */
static bool pack_global_items(const struct pack_pickle *pickle, uint32_t tuple, uint32_t least,
			      uint32_t most, uint32_t *items)
{
	const struct pack_pickle_node *node = pack_pickle_at(pickle, tuple);
	uint32_t cell = node->first;

	if (node->type != PACK_PICKLE_TUPLE || node->n < least || node->n > most)
		return false;
	for (uint32_t i = 0; i < node->n; i++, cell = pickle->cells[cell].next)
		items[i] = pickle->cells[cell].node;
	return true;
}

static bool pack_global_count(const struct pack_pickle *pickle, uint32_t number, uint64_t *out)
{
	const struct pack_pickle_node *node = pack_pickle_at(pickle, number);

	if (node->type != PACK_PICKLE_INT || node->value < 0)
		return false;
	*out = (uint64_t)node->value;
	return true;
}

static bool pack_global_is_key(const char *key, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (!((key[i] >= '0' && key[i] <= '9') || (key[i] >= 'a' && key[i] <= 'z') ||
		      (key[i] >= 'A' && key[i] <= 'Z') || key[i] == '_' || key[i] == '-'))
			return false;
	}
	return n > 0 && n <= PACK_MAX_KEY_BYTES;
}

/* The sixth member of a persistent id, which PyTorch wrote before 1.0. */
static const char *pack_global_view(const struct pack_pickle *pickle, uint32_t view,
				    struct pack_pickle_storage *storage)
{
	uint32_t items[3];

	if (pack_pickle_at(pickle, view)->type == PACK_PICKLE_NONE)
		return NULL;
	if (!pack_global_items(pickle, view, 3, 3, items) ||
	    !pack_global_count(pickle, items[1], &storage->view_offset) ||
	    !pack_global_count(pickle, items[2], &storage->view_n))
		return "has a view that is no (key, offset, size)";
	if (storage->view_offset > storage->n ||
	    storage->view_n > storage->n - storage->view_offset)
		return "has a view that reaches past its end";
	return NULL;
}

const char *pack_global_storage(const struct pack_pickle *pickle, uint32_t arguments,
				struct pack_pickle_storage *out)
{
	struct pack_pickle_storage storage = { 0 };
	const struct pack_pickle_node *key, *class;
	const char *wrong;
	uint32_t items[6];
	uint64_t bits;

	if (!pack_global_items(pickle, arguments, 5, 6, items) ||
	    !pack_pickle_is(pickle, items[0], "storage"))
		return "is no ('storage', class, key, location, size)";
	class = pack_pickle_at(pickle, items[1]);
	if (class->type != PACK_PICKLE_GLOBAL ||
	    pack_global_at(class->value)->kind != PACK_GLOBAL_STORAGE)
		return "has a class that is none of a storage";
	storage.element = pack_element_find(pack_global_at(class->value)->element);
	key = pack_pickle_at(pickle, items[2]);
	if (key->type != PACK_PICKLE_TEXT)
		return "has a key that is no string";
	storage.key = (const char *)pickle->in.bytes + key->value;
	storage.key_bytes = key->n;
	if (!pack_global_is_key(storage.key, storage.key_bytes))
		return "has a key that is not made of letters and digits";
	if (pack_pickle_at(pickle, items[3])->type != PACK_PICKLE_TEXT)
		return "has a location that is no string";
	if (!pack_global_count(pickle, items[4], &storage.n) ||
	    !gw_mul(storage.n, pack_element_bits(storage.element), &bits))
		return "has a size that is no whole number, or too large";
	storage.size_bytes = bits / 8;
	storage.view_n = storage.n;
	wrong = pack_pickle_at(pickle, arguments)->n == 6
			? pack_global_view(pickle, items[5], &storage)
			: NULL;
	if (!wrong)
		*out = storage;
	return wrong;
}

/* Fills rank, shape, stride and n. */
static const char *pack_global_shape(const struct pack_pickle *pickle, uint32_t shape,
				     uint32_t stride, struct pack_pickle_tensor *tensor)
{
	uint32_t sizes[GW_MAX_RANK], steps[GW_MAX_RANK];

	if (!pack_global_items(pickle, shape, 0, GW_MAX_RANK, sizes))
		return "has a shape that is no tuple of at most 8 dimensions";
	tensor->rank = pack_pickle_at(pickle, shape)->n;
	if (!pack_global_items(pickle, stride, tensor->rank, tensor->rank, steps))
		return "has strides that are no tuple of as many numbers as its shape";
	tensor->n = 1;
	for (unsigned i = 0; i < tensor->rank; i++) {
		if (!pack_global_count(pickle, sizes[i], &tensor->shape[i]))
			return "has a dimension that is no whole number";
		if (!pack_global_count(pickle, steps[i], &tensor->stride[i]))
			return "has a stride that is no whole number";
		if (!gw_mul(tensor->n, tensor->shape[i], &tensor->n))
			return "has a shape whose product does not fit 64 bits";
	}
	return NULL;
}

/* The first and the last element lie in the storage, which has n elements of the tensor's type. */
static const char *pack_global_within(struct pack_pickle_tensor *tensor, uint64_t first, uint64_t n)
{
	uint64_t last = tensor->offset, span, bits;

	if (!gw_mul(tensor->n, pack_element_bits(tensor->element), &bits) || bits > INT64_MAX)
		return "has a size that does not fit 63 bits";
	for (unsigned i = 0; tensor->n > 0 && i < tensor->rank; i++) {
		if (!gw_mul(tensor->shape[i] - 1, tensor->stride[i], &span) ||
		    !gw_add(last, span, &last))
			return "has strides that do not fit 64 bits";
	}
	if (tensor->n > 0 && last >= n)
		return "reaches past the end of its storage";
	/* where an empty one stands does not matter */
	tensor->offset = tensor->n > 0 ? tensor->offset + first : 0;
	return NULL;
}

const char *pack_global_tensor(const struct pack_pickle *pickle, uint32_t arguments,
			       struct pack_pickle_tensor *out)
{
	struct pack_pickle_tensor tensor = { 0 };
	const struct pack_pickle_node *node = pack_pickle_at(pickle, arguments);
	unsigned storage_bits, bits;
	const char *wrong;
	uint32_t items[8];

	if (!pack_global_items(pickle, arguments, 4, 8, items) ||
	    pack_pickle_at(pickle, items[0])->type != PACK_PICKLE_STORAGE)
		return "has no storage";
	pack_pickle_storage(pickle, items[0], &tensor.storage);
	tensor.element = tensor.storage.element;
	/* only _rebuild_tensor_v3 has a dtype in the seventh place, where v2 may have a dict */
	if (node->n >= 7 && pack_pickle_at(pickle, items[6])->type == PACK_PICKLE_GLOBAL) {
		int64_t dtype = pack_pickle_at(pickle, items[6])->value;

		if (pack_global_at(dtype)->kind != PACK_GLOBAL_DTYPE)
			return "has a type that is none";
		tensor.element = pack_element_find(pack_global_at(dtype)->element);
	}
	if (!pack_global_count(pickle, items[1], &tensor.offset))
		return "has a storage offset that is no whole number";
	wrong = pack_global_shape(pickle, items[2], items[3], &tensor);
	if (wrong)
		return wrong;
	storage_bits = pack_element_bits(tensor.storage.element);
	bits = pack_element_bits(tensor.element);
	/* the product fits: size_bytes does */
	if (tensor.storage.view_offset * storage_bits % bits != 0)
		return "has a type that its storage is not aligned for";
	wrong = pack_global_within(&tensor, tensor.storage.view_offset * storage_bits / bits,
				   tensor.storage.view_n * storage_bits / bits);
	if (!wrong)
		*out = tensor;
	return wrong;
}
