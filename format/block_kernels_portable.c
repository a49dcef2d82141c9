/* SPDX-License-Identifier: MIT */
/* Plain C, which compilers vectorise. */
#define KERNELS gw_block_kernels_portable
#define KERNELS_NAME "portable"
#define STEP 0

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline void sum64(uint8_t *plane, size_t distance)
{
	uint8_t before[64], here[64];

	memcpy(before, plane - distance, 64);
	memcpy(here, plane, 64);
	for (size_t k = 0; k < 64; k++)
		here[k] = (uint8_t)(here[k] + before[k]);
	memcpy(plane, here, 64);
}

static inline void stream64(uint8_t *out, const uint8_t *in)
{
	memcpy(out, in, 64);
}

static inline void stream_end(void)
{
}

#include "format/block_kernels_template.h"
