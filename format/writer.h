/* SPDX-License-Identifier: MIT */
/*
 * Writes a pack: declare the tensors, append their values, finish. Deterministic: the same tensors in
 * any order of declaration give the same bytes. Memory: the directory and 8 bytes a block.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/directory.h"
#include "format/status.h"
#include "format/superblock.h"

struct gw_writer;

/*
 * Starts a pack at path (gw_outfile_create's rules and errors). tensors: n of them, of which name,
 * dtype, role, rank and shape are read; in any order. *out_writer is the caller's. Also GW_E_MEMORY
 * and the errors of gw_tensor_measure and gw_directory_place.
 */
int gw_writer_new(const char *path, bool replace, const struct gw_tensor *tensors, size_t n,
		  struct gw_writer **out_writer, struct gw_error *error);

/*
 * Appends n bytes of the tensor that was declared at index: dense, row-major, without padding; after
 * the values of GW_I8 come the scales of all rows, f32. A tensor's bytes come in order; one tensor is
 * completed before the next is begun.
 * Errors: GW_E_ARGUMENT (more than its shape holds, out of turn, or after a write that failed), GW_E_IO.
 */
int gw_writer_append(struct gw_writer *writer, size_t index, const void *data, uint64_t n,
		     struct gw_error *error);

/*
 * Writes digests, directory, provenance and superblock; what is in the temporary file then is a pack.
 * *out_fd: its descriptor, which can be read and lives as long as writer. n_layer, n_head: 0 if unknown.
 * Errors: GW_E_ARGUMENT (a tensor is not complete, n_layer or n_head beyond their limits), GW_E_IO.
 */
int gw_writer_complete(struct gw_writer *writer, const struct gw_provenance *provenance,
		       uint64_t n_layer, uint64_t n_head, struct gw_digest *out_content_id,
		       int *out_fd, struct gw_error *error);

/* The same, and puts the pack under its name. out_content_id may be NULL. Also GW_E_EXISTS. */
int gw_writer_finish(struct gw_writer *writer, const struct gw_provenance *provenance,
		     uint64_t n_layer, uint64_t n_head, struct gw_digest *out_content_id,
		     struct gw_error *error);

/* Size of the pack in bytes, and the blocks of its tensors. */
uint64_t gw_writer_image_bytes(const struct gw_writer *writer);
uint64_t gw_writer_block_count(const struct gw_writer *writer);

/* Ends the writer; without a successful finish nothing is left behind. NULL is fine. */
void gw_writer_free(struct gw_writer *writer);
