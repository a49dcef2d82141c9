/* SPDX-License-Identifier: MIT */
/* Compiled with -mavx2 and called only where it is there. */
#include "format/digest_kernels.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t gw_hash64_avx2(const void *data, uint64_t n)
{
	return XXH3_64bits(data, n);
}
