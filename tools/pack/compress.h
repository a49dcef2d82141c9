/* SPDX-License-Identifier: MIT */
/* The end of making a pack: under its name as it is, or compressed first. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/block.h"
#include "format/writer.h"
#include "tools/common/number.h"

/* Where a pack goes to, as the command line says. */
struct pack_output {
	const char *path;
	bool replace; /* a file that is there already */
	bool quiet;
	int level; /* zstd's, 1 to GW_BLOCK_MAX_LEVEL; 0: not compressed */
};

struct pack_made {
	uint64_t file_bytes, image_bytes; /* one size, unless it is compressed */
	struct gw_digest content_id;
};

/*
 * gw_writer_new for output, with its errors; also GW_E_LIMIT, before anything is written, for a pack that
 * is to be compressed and has more blocks than a compressed one may.
 */
int pack_begin(const struct pack_output *output, const struct gw_tensor *tensors, size_t n,
	       struct gw_writer **out_writer, struct gw_error *error);

/*
 * Finishes the pack of pack_begin's writer, whose tensors are complete. To be compressed it
 * is completed in its temporary file, and written anew from there, by all processors; the same bytes
 * whatever their number. Memory: some 3 MiB for each. Errors: those of gw_writer_finish,
 * gw_stored_writer_new, and gw_block_encoder_new.
 */
int pack_finish(struct gw_writer *writer, const struct pack_output *output,
		const struct gw_provenance *provenance, uint64_t n_layer, uint64_t n_head,
		struct pack_made *out, struct gw_error *error);

/*
 * Writes the compressed form of the pack in fd, which is uncompressed, to output, with n_threads (1 to
 * TOOL_MAX_THREADS). Errors: those of gw_pack_open_fd and the above; GW_E_IO also where fd's blocks are
 * not what their digests say.
 */
int pack_compress(int fd, const struct pack_output *output, unsigned n_threads,
		  uint64_t *out_file_bytes, struct gw_error *error);

/* "154.4 MB", or "130.2 MB (84.3% of 154.4 MB)". Returns out. */
#define PACK_MADE_TEXT_BYTES (2 * TOOL_SIZE_TEXT_BYTES + 32)
char *pack_made_text(const struct pack_made *made, char out[PACK_MADE_TEXT_BYTES]);
