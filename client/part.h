/* SPDX-License-Identifier: MIT */
/* One thread's part of a forward pass. */
#pragma once

#include <stddef.h>

#include "client/kernels.h"

/*
 * Runs part `part` (0 … n_parts-1) of run, whose tokens lie without gaps (stride is seq) and have no
 * positions of their own. All parts together write what the whole run would, each byte once; no cache
 * line of out is written by two of them, if rows have GPT2C_STREAM_FLOATS elements or more. Sequences
 * are cut at the same position, so that a row of wpe is read by one part for all sequences, unless
 * whole sequences divide more evenly; a part may have nothing to do.
 */
void gpt2c_part_run(const struct gpt2c_kernels *kernels, const struct gpt2c_run *run, size_t part,
		    size_t n_parts);
