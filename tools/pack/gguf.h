/* SPDX-License-Identifier: MIT */
/*
 * The GGUF format, versions 2 and 3, little-endian: "GGUF", u32 version, u64 number of tensors, u64
 * number of key/value pairs; the pairs; the tensors' descriptions; padding; the tensors' data, each
 * at a multiple of general.alignment bytes from the beginning of the data.
 */
#pragma once

#include "tools/pack/scan.h"
#include "tools/pack/source.h"

/* What is kept of the pairs. */
struct pack_gguf_metadata {
	uint64_t alignment;
	bool other;                /* general.architecture is there and is not gpt2 */
	struct pack_config config; /* of the pairs that begin with gpt2. */
};

/*
 * Goes through n_pairs pairs, which begin at scan. *out is untouched on failure. Errors:
 * GW_E_SOURCE, GW_E_IO, GW_E_CHANGED, GW_E_MEMORY.
 */
int pack_gguf_metadata_read(struct pack_scan *scan, uint64_t n_pairs,
			    struct pack_gguf_metadata *out, struct gw_error *error);

/* The opener: see struct pack_reader. folder_fd is not used. */
int pack_gguf_open(int folder_fd, struct pack_file *file, struct pack_source *source,
		   struct gw_error *error);
