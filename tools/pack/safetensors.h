/* SPDX-License-Identifier: MIT */
/*
 * The safetensors format: a u64 (little-endian) length, that many bytes of JSON, data. The data's
 * offsets count from the end of the JSON and cover all of the rest, without hole or overlap.
 */
#pragma once

#include "tools/pack/source.h"

/*
 * Reads and checks the header of file, which is number file_index of its source, and appends its
 * tensors to list in the order of their data. On failure list may have got some of them.
 * Errors: GW_E_SOURCE, GW_E_IO, GW_E_CHANGED, GW_E_MEMORY.
 */
int pack_safetensors_list(const struct pack_file *file, size_t file_index, struct pack_list *list,
			  struct gw_error *error);

/*
 * Reads the index and every shard that it names, of the directory folder_fd; the shards are
 * safetensors files, or all PyTorch's: source->files, format and tensors are filled, also on failure
 * (pack_source_free ends them). Errors: as above; GW_E_SOURCE also for a shard that is missing or
 * named outside the directory, and for a tensor that its shard lacks; GW_E_SOURCE_KIND for a shard
 * of another kind than the first.
 */
int pack_sharded_open(int folder_fd, struct pack_file *index, struct pack_source *source,
		      struct gw_error *error);
