/* SPDX-License-Identifier: MIT */
/* A pack as a safetensors file. */
#pragma once

#include "format/outfile.h"
#include "format/reader.h"
#include "tools/common/progress.h"
#include "tools/pack/file.h"

/*
 * Writes the tensors of pack, which lies in file, to out: in the pack's order, dense, the data at a
 * multiple of 8 bytes. Every block is verified before its bytes are written; stops at the first bad
 * one. The same pack gives the same bytes. Errors: GW_E_BLOCK_DIGEST, GW_E_PADDING, GW_E_IO,
 * GW_E_CHANGED, GW_E_MEMORY.
 */
int pack_export(const struct pack_file *file, const struct gw_pack *pack, struct gw_outfile *out,
		struct tool_progress *progress, struct gw_error *error);
