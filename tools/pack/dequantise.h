/* SPDX-License-Identifier: MIT */
/* Values of "Q8" tensors (element.h): an int8 times its row's scale, rounded once to f32. */
#pragma once

#include "tools/pack/source.h"

struct pack_dequantiser;

/* source and tensor must outlive it; pack_dequantiser_free ends it. GW_E_MEMORY. */
int pack_dequantiser_new(const struct pack_source *source, const struct pack_tensor *tensor,
			 struct pack_dequantiser **out, struct gw_error *error);

/*
 * n elements from element first on as f32, 4 × n bytes at out, which need no alignment. Best from the
 * tensor's beginning to its end. Errors: those of pack_source_read.
 */
int pack_dequantiser_read(struct pack_dequantiser *dequantiser, uint64_t first, uint64_t n,
			  uint8_t *out, struct gw_error *error);

void pack_dequantiser_free(struct pack_dequantiser *dequantiser); /* NULL is fine */
