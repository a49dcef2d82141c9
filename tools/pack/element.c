/* SPDX-License-Identifier: MIT */
#include "tools/pack/element.h"

#include <stddef.h>
#include <string.h>

#include "format/dtype.h"
#include "tools/pack/convert.h"

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
	{ "F64", 64, PACK_F64 },         { "I64", 64, GW_DTYPE_NONE },
	{ "U64", 64, GW_DTYPE_NONE },    { "C64", 64, GW_DTYPE_NONE },
	/* last, and not to be found by their names: see pack_element_q8, pack_element_other */
	{ "Q8", 8, GW_I8 },
	{ "other", 8, GW_DTYPE_NONE },
};

#define PACK_N_ELEMENTS (sizeof pack_elements / sizeof pack_elements[0])
#define PACK_N_NAMED (PACK_N_ELEMENTS - 2)

int pack_element_q8(void)
{
	return (int)PACK_N_NAMED;
}

int pack_element_other(void)
{
	return (int)PACK_N_ELEMENTS - 1;
}

int pack_element_find(const char *name)
{
	for (size_t i = 0; i < PACK_N_NAMED; i++) {
		if (strcmp(pack_elements[i].name, name) == 0)
			return (int)i;
	}
	return PACK_ELEMENT_UNKNOWN;
}

const char *pack_element_name(int element)
{
	return element == PACK_ELEMENT_UNKNOWN ? "unknown" : pack_elements[element].name;
}

unsigned pack_element_bits(int element)
{
	return element == PACK_ELEMENT_UNKNOWN ? 0 : pack_elements[element].bits;
}

unsigned pack_element_dtype(int element)
{
	return element == PACK_ELEMENT_UNKNOWN ? GW_DTYPE_NONE : pack_elements[element].dtype;
}
