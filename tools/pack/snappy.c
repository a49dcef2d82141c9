/* SPDX-License-Identifier: MIT */
#include "tools/pack/snappy.h"

#include <string.h>

#include "tools/pack/varint.h"

bool pack_snappy_size(const uint8_t *block, size_t n, size_t *out_bytes)
{
	uint64_t bytes;
	size_t at = 0;

	if (!pack_varint(block, n, 32, &at, &bytes) || bytes > (n - at) * PACK_SNAPPY_MAX_RATIO)
		return false;
	*out_bytes = bytes;
	return true;
}

/* width bytes at *at, little-endian. */
static bool pack_snappy_number(const uint8_t *block, size_t n, size_t width, size_t *at,
			       size_t *out)
{
	size_t value = 0;

	if (width > n - *at)
		return false;
	for (size_t i = 0; i < width; i++)
		value |= (size_t)block[*at + i] << 8 * i;
	*at += width;
	*out = value;
	return true;
}

bool pack_snappy_unpack(const uint8_t *block, size_t n, uint8_t *out, size_t out_bytes)
{
	size_t at = 0, used = 0;
	uint64_t claimed;

	if (!pack_varint(block, n, 32, &at, &claimed) || claimed != out_bytes)
		return false;
	while (at < n) {
		uint8_t tag = block[at++];
		size_t upper = tag >> 2, length, distance;

		if ((tag & 3) == 0) { /* bytes as they are */
			length = upper;
			if (upper >= 60 && !pack_snappy_number(block, n, upper - 59, &at, &length))
				return false;
			/* not length + 1, for which 32 bits may be too few */
			if (length >= n - at || length >= out_bytes - used)
				return false;
			memcpy(out + used, block + at, ++length);
			at += length;
			used += length;
			continue;
		}
		if (!pack_snappy_number(block, n, (tag & 3) == 3 ? 4 : tag & 3, &at, &distance))
			return false;
		length = upper + 1;
		if ((tag & 3) == 1) {
			length = 4 + (upper & 7);
			distance |= (size_t)(tag >> 5) << 8;
		}
		if (distance == 0 || distance > used || length > out_bytes - used)
			return false;
		/* may overlap itself: a distance of 1 repeats a byte */
		for (; length > 0; length--, used++)
			out[used] = out[used - distance];
	}
	return used == out_bytes;
}
