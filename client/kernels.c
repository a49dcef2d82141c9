/* SPDX-License-Identifier: MIT */
#include "client/kernels.h"

#include <stdbool.h>

#ifdef __x86_64__

#include <sys/platform/x86.h>

/* What the dynamic linker has found out, and the operating system saves. The compiler's own
 * __builtin_cpu_supports asks the processor again before main: some twenty cpuid, and each traps in a
 * virtual machine. Nothing that is linked into the library may use it. */
const struct gpt2c_kernels *gpt2c_kernels_at(size_t index)
{
	if (CPU_FEATURE_ACTIVE(AVX512F) && index-- == 0)
		return &gpt2c_kernels_avx512;
	if (CPU_FEATURE_ACTIVE(AVX2) && CPU_FEATURE_ACTIVE(F16C) && index-- == 0)
		return &gpt2c_kernels_avx2;
	return index == 0 ? &gpt2c_kernels_portable : NULL;
}

#elif defined __aarch64__

const struct gpt2c_kernels *gpt2c_kernels_at(size_t index)
{
	if (index-- == 0)
		return &gpt2c_kernels_neon;
	return index == 0 ? &gpt2c_kernels_portable : NULL;
}

#else

const struct gpt2c_kernels *gpt2c_kernels_at(size_t index)
{
	return index == 0 ? &gpt2c_kernels_portable : NULL;
}

#endif
