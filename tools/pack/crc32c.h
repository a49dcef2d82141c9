/* SPDX-License-Identifier: MIT */
/* CRC-32C (Castagnoli), as RFC 3720 defines it, and the masked form in which LevelDB stores it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * The checksum of what crc is of (0: nothing) followed by n bytes. Uses the processor's instruction
 * where it has one. Not for two threads at once before the first call has returned.
 */
uint32_t pack_crc32c(uint32_t crc, const void *data, size_t n);

/* The same without that instruction; the tests compare both. */
uint32_t pack_crc32c_portable(uint32_t crc, const void *data, size_t n);

/* A checksum is stored rotated and with a constant added, so that one of bytes that hold their own
 * checksum stays good (LevelDB, util/crc32c.h). */
static inline uint32_t pack_crc32c_mask(uint32_t crc)
{
	return (crc >> 15 | crc << 17) + UINT32_C(0xa282ead8);
}
