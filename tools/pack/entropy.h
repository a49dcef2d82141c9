/* SPDX-License-Identifier: MIT */
/* What a coder that takes values one by one could make of a pack at best: the entropy of its planes. */
#pragma once

#include "format/block.h"
#include "format/reader.h"
#include "tools/common/progress.h"

/* Of one tensor, with the padding of its rows; of int8 rows and their scales together. */
struct pack_entropy {
	unsigned n_planes;
	double bits[GW_BLOCK_MAX_PLANES]; /* per byte, 0 to 8; the plane of the top byte first */
};

/*
 * Reads and verifies all blocks of pack, which was opened from fd, with n_threads (1 to
 * TOOL_MAX_THREADS); out: [n_tensors]. progress counts bytes of the tensors. Errors: those of
 * gw_unit_reader_verify; GW_E_MEMORY.
 */
int pack_entropy_measure(const struct gw_pack *pack, int fd, unsigned n_threads,
			 struct tool_progress *progress, struct pack_entropy *out,
			 struct gw_error *error);

/* The share of its size to which such a coder could bring a tensor: 0 to 1. */
double pack_entropy_share(const struct pack_entropy *entropy);
