/* SPDX-License-Identifier: MIT */
/* Element types into each other. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * Converts n elements at in (enum gw_dtype from) to out (to), through f32, rounding to nearest
 * even; of one type into itself bytes are copied, so that NaNs keep their payload. in and out do
 * not overlap and need no alignment. Returns how many finite values became infinite.
 */
uint64_t pack_convert(unsigned from, unsigned to, const uint8_t *in, size_t n, uint8_t *out);
