/* SPDX-License-Identifier: MIT */
/* The tensors beside the tables, for a pack of a whole checkpoint. */
#pragma once

#include "tools/pack/plan.h"

/*
 * Appends every tensor but the tables to plan: under its name without prefixes where the format has
 * Hugging Face's names, under its own otherwise. Left out, and said so in plan->left_out: integers
 * and truth values, which are masks and counters; tensors without elements; lm_head.weight where it
 * is wte once more, element for element; wpe.weight where no wpe is wanted. Errors:
 * GW_E_SOURCE_TABLES (two of one name, a name or type that a pack cannot have, more than
 * GW_MAX_TENSORS), GW_E_MEMORY and those of pack_source_read.
 */
int pack_plan_add_all(const struct pack_source *source, const struct pack_wish *wish,
		      struct pack_plan *plan, struct gw_error *error);
