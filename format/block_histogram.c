/* SPDX-License-Identifier: MIT */
/* Apart from the rest of the codec: log2 needs libm, which the client does not link. */
#include "format/block.h"

#include <math.h>
#include <string.h>

static void count4(struct gw_block_histogram *histogram, const uint8_t *raw, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t bits;

		memcpy(&bits, raw + 4 * i, 4);
		bits = bits << 1 | bits >> 31;
		for (unsigned p = 0; p < 4; p++)
			histogram->counts[p][bits >> (24 - 8 * p) & 0xff]++;
	}
}

static void count2(struct gw_block_histogram *histogram, const uint8_t *raw, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint16_t bits;

		memcpy(&bits, raw + 2 * i, 2);
		bits = (uint16_t)(bits << 1 | bits >> 15);
		histogram->counts[0][bits >> 8]++;
		histogram->counts[1][bits & 0xff]++;
	}
}

void gw_block_count(struct gw_block_histogram *histogram, unsigned dtype, const uint8_t *raw,
		    size_t raw_bytes)
{
	unsigned width = gw_block_width(dtype);

	if (width == 4)
		count4(histogram, raw, raw_bytes / 4);
	else if (width == 2)
		count2(histogram, raw, raw_bytes / 2);
	else if (width == 1)
		for (size_t i = 0; i < raw_bytes; i++)
			histogram->counts[0][raw[i]]++;
}

double gw_plane_entropy(const uint64_t counts[256])
{
	double total = 0, bits = 0;

	for (unsigned i = 0; i < 256; i++)
		total += (double)counts[i];
	for (unsigned i = 0; i < 256; i++)
		if (counts[i])
			bits -= (double)counts[i] / total * log2((double)counts[i] / total);
	return bits;
}
