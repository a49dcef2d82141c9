/* SPDX-License-Identifier: MIT */
/*
 * NumPy's .npy files: ids from their header, and the header that we write.
 * Source: numpy.lib.format, format versions 1.0, 2.0 and 3.0.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/status.h"
#include "tools/embed/ids.h"
#include "tools/embed/source.h"

/* A multiple of 64, as the format asks for, with room for three dimensions of 20 digits. */
#define EMBED_NPY_OUT_BYTES 192

/*
 * Takes magic and header from the source, which stands at its start. The shape's product is checked
 * against what follows in a regular file, and against EMBED_MAX_IDS.
 * Errors: EMBED_E_NPY, _KIND, _SIZE, _COUNT, GW_E_IO.
 */
int embed_npy_read_header(struct embed_source *source, struct embed_layout *out,
			  struct gw_error *error);

/* The header of a float32 array [batch, seq, n_embd] in C order. */
void embed_npy_write_header(uint64_t batch, uint64_t seq, uint64_t n_embd,
			    uint8_t out[EMBED_NPY_OUT_BYTES]);
