/* SPDX-License-Identifier: MIT */
#include "format/block_kernels.h"

#ifdef __x86_64__

const struct gw_block_kernels *gw_block_kernels_at(size_t index)
{
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && index-- == 0)
		return &gw_block_kernels_avx512;
	if (__builtin_cpu_supports("avx2") && index-- == 0)
		return &gw_block_kernels_avx2;
	return index == 0 ? &gw_block_kernels_portable : NULL;
}

#else

const struct gw_block_kernels *gw_block_kernels_at(size_t index)
{
	return index == 0 ? &gw_block_kernels_portable : NULL;
}

#endif
