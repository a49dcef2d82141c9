/* SPDX-License-Identifier: MIT */
/* For any machine of the architecture. */
#include "format/digest_kernels.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t gw_hash64_portable(const void *data, uint64_t n)
{
	return XXH3_64bits(data, n);
}
