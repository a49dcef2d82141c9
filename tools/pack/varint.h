/* SPDX-License-Identifier: MIT */
/* Varints as protocol buffers, LevelDB and snappy have them: 7 bits a byte, lowest first. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The varint at data[*at], of n bytes in all; *at moves behind it. False, with nothing changed,
 * where it is cut off, needs more than bits (32 or 64) or is not the shortest form of its value,
 * which no writer makes. At most 10 bytes are read.
 */
static inline bool pack_varint(const uint8_t *data, size_t n, unsigned bits, size_t *at,
			       uint64_t *out)
{
	uint64_t value = 0;
	size_t i = *at;

	for (unsigned shift = 0; shift < bits; shift += 7) {
		uint8_t byte;

		if (i >= n)
			return false;
		byte = data[i++];
		if (bits - shift < 7 && (byte & 0x7f) >> (bits - shift) != 0)
			return false;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte & 0x80)
			continue;
		if (byte == 0 && shift > 0)
			return false;
		*at = i;
		*out = value;
		return true;
	}
	return false;
}
