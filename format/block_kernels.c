/* SPDX-License-Identifier: MIT */
#include "format/block_kernels.h"

#ifdef __x86_64__

#include <sys/platform/x86.h>

const struct gw_block_kernels *gw_block_kernels_at(size_t index)
{
	if (CPU_FEATURE_ACTIVE(AVX512F) && CPU_FEATURE_ACTIVE(AVX512BW) && index-- == 0)
		return &gw_block_kernels_avx512;
	if (CPU_FEATURE_ACTIVE(AVX2) && index-- == 0)
		return &gw_block_kernels_avx2;
	return index == 0 ? &gw_block_kernels_portable : NULL;
}

#else

const struct gw_block_kernels *gw_block_kernels_at(size_t index)
{
	return index == 0 ? &gw_block_kernels_portable : NULL;
}

#endif
