/* SPDX-License-Identifier: MIT */
#include "tools/pack/crc32c.h"

#include <string.h>
#ifdef __x86_64__
#include <sys/platform/x86.h>
#endif

/* The polynomial, bits reversed (RFC 3720, 12.1: 0x11edc6f41). */
#define PACK_CRC32C_POLYNOMIAL UINT32_C(0x82f63b78)

/* pack_tables[k][b]: of the byte b followed by k zero bytes, so that 8 bytes need one step. */
static uint32_t pack_tables[8][256];

static void pack_tables_fill(void)
{
	for (uint32_t byte = 0; byte < 256; byte++) {
		uint32_t crc = byte;

		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? PACK_CRC32C_POLYNOMIAL : 0);
		pack_tables[0][byte] = crc;
	}
	for (int k = 1; k < 8; k++)
		for (int byte = 0; byte < 256; byte++) {
			uint32_t crc = pack_tables[k - 1][byte];

			pack_tables[k][byte] = crc >> 8 ^ pack_tables[0][crc & 0xff];
		}
}

uint32_t pack_crc32c_portable(uint32_t crc, const void *data, size_t n)
{
	const uint8_t *at = data;

	if (pack_tables[0][1] == 0)
		pack_tables_fill();
	crc = ~crc;
	for (; n >= 8; n -= 8, at += 8) {
		crc ^= (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
		       (uint32_t)at[3] << 24;
		crc = pack_tables[7][crc & 0xff] ^ pack_tables[6][crc >> 8 & 0xff] ^
		      pack_tables[5][crc >> 16 & 0xff] ^ pack_tables[4][crc >> 24] ^
		      pack_tables[3][at[4]] ^ pack_tables[2][at[5]] ^ pack_tables[1][at[6]] ^
		      pack_tables[0][at[7]];
	}
	for (; n > 0; n--, at++)
		crc = crc >> 8 ^ pack_tables[0][(crc ^ *at) & 0xff];
	return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t pack_crc32c_sse42(uint32_t crc, const void *data,
								    size_t n)
{
	const uint8_t *at = data;
	uint64_t state = ~crc;

	for (; n >= 8; n -= 8, at += 8) {
		uint64_t word;

		memcpy(&word, at, 8);
		state = __builtin_ia32_crc32di(state, word);
	}
	for (; n > 0; n--, at++)
		state = __builtin_ia32_crc32qi((uint32_t)state, *at);
	return ~(uint32_t)state;
}
#endif

uint32_t pack_crc32c(uint32_t crc, const void *data, size_t n)
{
#if defined(__x86_64__)
	if (CPU_FEATURE_ACTIVE(SSE4_2))
		return pack_crc32c_sse42(crc, data, n);
#endif
	return pack_crc32c_portable(crc, data, n);
}
