/* SPDX-License-Identifier: MIT */
/* Where the vectors go: a .npy file, a .f32 file, or text on standard output. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "format/status.h"

enum embed_output_kind { EMBED_TEXT, EMBED_NPY, EMBED_F32 };

struct embed_output;

/* Of path, by its ending; NULL is text. False: neither .npy nor .f32. */
bool embed_output_kind(const char *path, enum embed_output_kind *out_kind);

/*
 * Starts an output of [batch, seq, n_embd] float32. path: NULL for standard output, else a file
 * that appears under its name when embed_output_finish succeeds. *out is the caller's.
 * Errors: those of gw_outfile_create, GW_E_MEMORY.
 */
int embed_output_new(const char *path, bool replace, uint64_t batch, uint64_t seq, uint64_t n_embd,
		     struct embed_output **out, struct gw_error *error);

/* Appends vectors: [n, n_embd]. Errors: GW_E_IO. */
int embed_output_append(struct embed_output *output, const float *vectors, uint64_t n,
			struct gw_error *error);

/* Completes it. Errors: GW_E_IO, GW_E_EXISTS. */
int embed_output_finish(struct embed_output *output, struct gw_error *error);

/* Without a successful finish no file is left behind. NULL is fine. */
void embed_output_free(struct embed_output *output);
