/* SPDX-License-Identifier: MIT */
/* Element types into each other. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Beside enum gw_dtype, a type that sources have and packs do not: binary64. */
#define PACK_F64 64u

/* Bytes of an element of that type, PACK_F64 included. */
unsigned pack_type_bytes(unsigned type);
/* "f64", or as gw_dtype_name. */
const char *pack_type_name(unsigned type);

/*
 * Converts n elements at in (enum gw_dtype or PACK_F64 from) to out (enum gw_dtype to), rounding
 * once, to nearest even; of one type into itself bytes are copied, so that NaNs keep their payload. in and out do
 * not overlap and need no alignment. Returns how many finite values became infinite.
 */
uint64_t pack_convert(unsigned from, unsigned to, const uint8_t *in, size_t n, uint8_t *out);
