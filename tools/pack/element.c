/* SPDX-License-Identifier: MIT */
#include "tools/pack/element.h"

#include <stddef.h>
#include <string.h>

#include "format/dtype.h"

static const struct {
	const char *name;
	unsigned bits;
	unsigned dtype;
} pack_elements[] = {
	{ "F32", 32, GW_F32 },           { "F16", 16, GW_F16 },
	{ "BF16", 16, GW_BF16 },         { "BOOL", 8, GW_DTYPE_NONE },
	{ "U8", 8, GW_DTYPE_NONE },      { "I8", 8, GW_DTYPE_NONE },
	{ "F8_E4M3", 8, GW_DTYPE_NONE }, { "F8_E5M2", 8, GW_DTYPE_NONE },
	{ "F8_E8M0", 8, GW_DTYPE_NONE }, { "F4", 4, GW_DTYPE_NONE },
	{ "F6_E2M3", 6, GW_DTYPE_NONE }, { "F6_E3M2", 6, GW_DTYPE_NONE },
	{ "I16", 16, GW_DTYPE_NONE },    { "U16", 16, GW_DTYPE_NONE },
	{ "I32", 32, GW_DTYPE_NONE },    { "U32", 32, GW_DTYPE_NONE },
	{ "F64", 64, GW_DTYPE_NONE },    { "I64", 64, GW_DTYPE_NONE },
	{ "U64", 64, GW_DTYPE_NONE },    { "C64", 64, GW_DTYPE_NONE },
};

int pack_element_find(const char *name)
{
	for (size_t i = 0; i < sizeof pack_elements / sizeof pack_elements[0]; i++) {
		if (strcmp(pack_elements[i].name, name) == 0)
			return (int)i;
	}
	return PACK_ELEMENT_UNKNOWN;
}

const char *pack_element_name(int element)
{
	return pack_elements[element].name;
}

unsigned pack_element_bits(int element)
{
	return pack_elements[element].bits;
}

unsigned pack_element_dtype(int element)
{
	return pack_elements[element].dtype;
}
