/* SPDX-License-Identifier: MIT */
/* Blocks of snappy (its format_description.txt), without framing. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * No block unpacks to more times its own size: the densest element, a copy of 64 bytes, takes 3.
 * A block that claims more is malformed, so its claim is good enough to allocate by.
 */
#define PACK_SNAPPY_MAX_RATIO 22

/* The unpacked size that a block of n bytes claims; false if there is none or it is impossible. */
bool pack_snappy_size(const uint8_t *block, size_t n, size_t *out_bytes);

/*
 * Unpacks a block into out, which has room for exactly what pack_snappy_size said. False if the
 * block is malformed, does not fill out exactly, or goes on after that.
 */
bool pack_snappy_unpack(const uint8_t *block, size_t n, uint8_t *out, size_t out_bytes);
