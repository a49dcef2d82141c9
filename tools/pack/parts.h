/* SPDX-License-Identifier: MIT */
/* A source that is made of others, its parts, which go on reading the tensors that they listed. */
#pragma once

#include "tools/pack/source.h"

/* Makes whole such a source, of no parts so far. Errors: GW_E_MEMORY. */
int pack_parts_begin(struct pack_source *whole, struct gw_error *error);

/*
 * Adds a part, which is consumed in any case. Its files are those of whole from number first_file on;
 * they are whole's from now on, and first_file is higher than that of any part before. A tensor of
 * the part becomes one of whole when first_file is added to its file and nothing else is changed;
 * the caller does that, and may clear the part's list then. Errors: GW_E_SOURCE where all parts
 * together hold or claim too much (PACK_MAX_PARTS_BYTES, PACK_MAX_VIEW_BYTES), GW_E_MEMORY.
 */
int pack_parts_add(struct pack_source *whole, struct pack_source *part, size_t first_file,
		   struct gw_error *error);
