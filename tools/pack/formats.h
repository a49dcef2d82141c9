/* SPDX-License-Identifier: MIT */
/* Openers of single formats, for the table in source.c; see there and struct pack_reader. */
#pragma once

#include "format/reader.h"
#include "tools/pack/source.h"

/* An array as a file of its own: the tensor of the file's stem. */
int pack_npy_open(int folder_fd, struct pack_file *file, struct pack_source *source,
		  struct gw_error *error);

/* A pack. Also the errors of gw_pack_open_fd; read gives GW_E_BLOCK_DIGEST too. */
int pack_repack_open(int folder_fd, struct pack_file *file, struct pack_source *source,
		     struct gw_error *error);

/* The pack that source was opened from by pack_repack_open; tensors of both have the same order.
 * Lives as long as source. */
const struct gw_pack *pack_repack_pack(const struct pack_source *source);

/* Little-endian f32 and nothing else, in rows of source->raw_n_embd. Also GW_E_ARGUMENT. */
int pack_raw_open(int folder_fd, struct pack_file *file, struct pack_source *source,
		  struct gw_error *error);

/* Whether a file is to be taken as raw: nothing but its name can tell. */
bool pack_raw_is(const struct pack_file *file);

/* Fills whole with n checkpoints as one; see pack_source_open_all. */
int pack_source_merge(const char *const *paths, size_t n, uint64_t raw_n_embd,
		      struct pack_source *whole, struct gw_error *error);

/*
 * The checkpoint in a directory, source_folder.c; of several the first in the order that gpt2-pack(1)
 * gives, and source->note says so. Its config.json counts, unless the checkpoint itself describes the
 * model. Errors: those of pack_source_open.
 */
int pack_folder_open(int folder_fd, struct pack_source *source, struct gw_error *error);
