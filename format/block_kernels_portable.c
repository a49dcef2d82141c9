/* SPDX-License-Identifier: MIT */
/* Plain C, which compilers vectorise but for join_packed. */
#define KERNELS gw_block_kernels_portable
#define KERNELS_NAME "portable"
#define STEP 0

#include "format/block_kernels_template.h"
