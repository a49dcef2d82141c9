/* SPDX-License-Identifier: MIT */
/* How much memory there is for images. */
#pragma once

#include <stdint.h>

#include "format/status.h"

/*
 * Bytes that images may take by default: the lowest limit of the memory control groups that this process
 * is in (version 2 or 1), but at most GD_MEMORY_SHARE_PERCENT of the machine's memory. root: "", or a
 * folder with a proc and a sys of a test's. UINT64_MAX: nothing can be read.
 */
uint64_t gd_memory_limit(const char *root);

/*
 * Whether bytes more can be had: of the machine (MemAvailable) and in the memory control groups, whose file
 * pages count as free. root: as above. Errors: GW_E_MEMORY, with both sizes.
 */
int gd_memory_check(const char *root, uint64_t bytes, struct gw_error *error);
