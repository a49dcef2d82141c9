/* SPDX-License-Identifier: MIT */
/* Opens a pack, or says what the file is instead. */
#pragma once

#include "format/reader.h"
#include "tools/pack/file.h"

/*
 * Everything but the blocks is checked. *out_file and *out_pack are the caller's; untouched on
 * failure. Errors: those of pack_file_open and gw_pack_open_fd; GW_E_MAGIC for a file that is no
 * pack, however short it is (an empty one counts as a pack that was cut off: GW_E_TRUNCATED).
 */
int pack_open_pack(const char *path, struct pack_file *out_file, struct gw_pack **out_pack,
		   struct gw_error *error);
