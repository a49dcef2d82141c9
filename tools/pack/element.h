/* SPDX-License-Identifier: MIT */
/* Element types of safetensors files: their names, sizes, and which of them a pack can hold. */
#pragma once

#include <stdint.h>

/* Index into the table; names and sizes are those of the safetensors specification. */
/* Of PACK_ELEMENT_UNKNOWN the name is "unknown", and there are no bits and no dtype. */
enum pack_element { PACK_ELEMENT_UNKNOWN = -1 };

/* The number of what other formats have and safetensors has not: listed as "other", never read. */
int pack_element_other(void);

/* The number of a pack's int8 rows, "Q8", whose scales follow all rows. Not to be found by its name:
 * safetensors' "I8" is integers, which are no weights. */
int pack_element_q8(void);

/* The number of a type by its name ("F32"), or PACK_ELEMENT_UNKNOWN. */
int pack_element_find(const char *name);

const char *pack_element_name(int element);
unsigned pack_element_bits(int element);

/* Of a type that a table may have: GW_F32, GW_F16, GW_BF16, GW_I8 for "Q8", PACK_F64; GW_DTYPE_NONE for
 * the others. */
unsigned pack_element_dtype(int element);
