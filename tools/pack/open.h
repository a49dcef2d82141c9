/* SPDX-License-Identifier: MIT */
/* Opens a pack, or says what the file is instead. */
#pragma once

#include "format/reader.h"
#include "tools/pack/file.h"
#include "tools/pack/source.h"

/*
 * Everything but the blocks is checked. *out_file and *out_pack are the caller's; untouched on
 * failure. Errors: those of pack_file_open and gw_pack_open_fd; GW_E_MAGIC for a file that is no
 * pack, however short it is (an empty one counts as a pack that was cut off: GW_E_TRUNCATED).
 */
int pack_open_pack(const char *path, struct pack_file *out_file, struct gw_pack **out_pack,
		   struct gw_error *error);

/*
 * The same as a checkpoint, with the bytes between its tensors checked too (formats.h,
 * pack_repack_open). *out_source is ended by pack_source_free; untouched on failure. Errors: as above,
 * GW_E_PADDING, GW_E_MEMORY.
 */
int pack_open_repack(const char *path, struct pack_source **out_source, struct gw_error *error);
