/* SPDX-License-Identifier: MIT */
/* Every byte of a pack against its digests, by several threads. */
#pragma once

#include "format/reader.h"
#include "tools/common/progress.h"

/*
 * Reads all units of pack, which was opened from fd, with n_threads (1 to TOOL_MAX_THREADS); progress
 * counts bytes of the file. bad is called for each that is damaged, in the order in which they lie in
 * the file, by one thread at a time, with what is wrong. *out_n: how many units there are; a compressed
 * pack has no gaps in it. An uncompressed one is mapped, with SIGBUS guarded meanwhile (guarded.h): a
 * file that is cut off is an error like others. Memory: a gap's or a block's for each thread. Errors,
 * which end it: GW_E_IO, GW_E_CHANGED, GW_E_MEMORY.
 */
int pack_verify(const struct gw_pack *pack, int fd, unsigned n_threads,
		void (*bad)(void *context, const struct gw_error *error), void *context,
		struct tool_progress *progress, uint64_t *out_n, struct gw_error *error);
