/* SPDX-License-Identifier: MIT */
/* Whether two tensors of a source have the same values, byte for byte. */
#pragma once

#include "tools/pack/source.h"

/*
 * left and right have one size. Reads as much of them as it takes, through two buffers of
 * PACK_BUFFER_BYTES; of those that can only be read onwards left goes into a temporary file first.
 * Errors: those of pack_source_read and of spool.h.
 */
int pack_compare(const struct pack_source *source, const struct pack_tensor *left,
		 const struct pack_tensor *right, bool *out_equal, struct gw_error *error);
