/* SPDX-License-Identifier: MIT */
/* One pass over a source: every byte hashed, those of the tables converted and written. */
#pragma once

#include "format/digest.h"
#include "format/writer.h"
#include "tools/common/progress.h"
#include "tools/pack/plan.h"

/*
 * Reads the files of source from beginning to end, once, in order, and encoded tables through its
 * reader before that; appends the tables of plan to writer, where they were declared in the plan's
 * order. out_digest: of all bytes read. Memory: two
 * buffers of PACK_BUFFER_BYTES, and one quantiser. Errors: GW_E_IO, GW_E_CHANGED, GW_E_MEMORY; GW_E_SOURCE
 * for a NaN or an infinity where int8 is wanted.
 */
int pack_copy(const struct pack_source *source, struct pack_plan *plan, struct gw_writer *writer,
	      struct tool_progress *progress, struct gw_digest *out_digest, struct gw_error *error);
