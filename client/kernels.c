/* SPDX-License-Identifier: MIT */
#include "client/kernels.h"

#include <stdbool.h>

#ifdef __x86_64__

#include <cpuid.h>

/* cpuid leaf 1, ecx bit 29; clang 14's __builtin_cpu_supports does not know "f16c". */
static bool have_f16c(void)
{
	unsigned eax, ebx, ecx, edx;

	return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & 1u << 29);
}

/* The cheap questions first: where cpuid traps, as in a virtual machine, it costs microseconds. The
 * two builtins ask nothing anew; they know too whether the operating system saves the wide
 * registers. */
const struct gpt2c_kernels *gpt2c_kernels_at(size_t index)
{
	if (__builtin_cpu_supports("avx512f") && index-- == 0)
		return &gpt2c_kernels_avx512;
	if (__builtin_cpu_supports("avx2") && have_f16c() && index-- == 0)
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
