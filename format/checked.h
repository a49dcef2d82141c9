/* SPDX-License-Identifier: MIT */
/* Overflow-safe arithmetic on sizes. Each returns false, with *out untouched, where it would wrap. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

static inline bool gw_add(uint64_t a, uint64_t b, uint64_t *out)
{
	uint64_t sum;

	if (__builtin_add_overflow(a, b, &sum))
		return false;
	*out = sum;
	return true;
}

static inline bool gw_mul(uint64_t a, uint64_t b, uint64_t *out)
{
	uint64_t product;

	if (__builtin_mul_overflow(a, b, &product))
		return false;
	*out = product;
	return true;
}

/* Rounds up to a multiple of align, a power of two. */
static inline bool gw_align(uint64_t value, uint64_t align, uint64_t *out)
{
	uint64_t sum;

	if (!gw_add(value, align - 1, &sum))
		return false;
	*out = sum & ~(align - 1);
	return true;
}
