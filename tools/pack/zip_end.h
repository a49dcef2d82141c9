/* SPDX-License-Identifier: MIT */
/* The end of a zip archive, which says where its central directory is. */
#pragma once

#include <stdint.h>

#include "tools/pack/file.h"

struct pack_zip_end {
	uint64_t directory_offset, directory_bytes; /* it ends where the end records begin */
	uint64_t n;                                 /* entries */
};

/*
 * Finds and checks the end record and, where there is one, that of zip64; caps (limits.h) included.
 * Errors: GW_E_SOURCE, GW_E_IO, GW_E_CHANGED, GW_E_MEMORY.
 */
int pack_zip_end_read(const struct pack_file *file, struct pack_zip_end *out,
		      struct gw_error *error);
