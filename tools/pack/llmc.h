/* SPDX-License-Identifier: MIT */
/*
 * llm.c's checkpoints: 256 int32, of which the first eight say what follows (magic 20240326,
 * version, most positions, vocabulary, layers, heads, columns, padded vocabulary), then 16 arrays
 * of f32 or bf16, without anything between or after them.
 */
#pragma once

#include "tools/pack/source.h"

/* The opener: see struct pack_reader. folder_fd is not used. */
int pack_llmc_open(int folder_fd, struct pack_file *file, struct pack_source *source,
		   struct gw_error *error);
