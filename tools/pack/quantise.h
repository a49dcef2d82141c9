/* SPDX-License-Identifier: MIT */
/*
 * Tables as int8 rows with a scale each (FORMAT.md, int8; gpt2-pack(1), INT8 ROWS). The scale of a row is
 * its largest magnitude divided by 127; an element becomes the multiple of it that is nearest.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/writer.h"

/* How far the values that a pack gives are from those that it was made of. */
struct pack_loss {
	double largest;   /* |what was - what is| */
	double in_scales; /* the largest of it divided by its row's scale: 0.5, and rounding to f32 */
	double rms;       /* the root of the mean square */
};

/*
 * The scale for a row whose largest magnitude is absmax, finite and not negative: absmax / 127 in f64,
 * rounded to f32; the next f32 above where absmax divided by it would round to more than 127, or it
 * would be 0 (subnormal numbers); the next below where 127 times it would be infinite (FLT_MAX).
 * Of 0 it is 0.
 */
float pack_quantise_scale(float absmax);

/* GW_E_SOURCE_TABLES if a tensor of that shape is beyond PACK_MAX_Q8_ROWS or PACK_MAX_Q8_COLUMNS. */
int pack_quantise_check(const char *name, uint64_t rows, uint64_t columns, struct gw_error *error);

struct pack_quantiser;

/*
 * Starts the tensor that was declared at index of writer as GW_I8; name, its source's, is for messages
 * and must outlive the quantiser. *out is ended by pack_quantiser_free. Errors: those of
 * pack_quantise_check; GW_E_MEMORY.
 */
int pack_quantiser_new(struct gw_writer *writer, size_t index, const char *name, uint64_t rows,
		       uint64_t columns, struct pack_quantiser **out, struct gw_error *error);

/*
 * The next n elements, f32 at values, which need no alignment; as many at a time as one likes, no more
 * altogether than the tensor has. Errors: GW_E_SOURCE for a NaN or an infinity, which says in which row
 * and column; those of gw_writer_append.
 */
int pack_quantiser_add(struct pack_quantiser *quantiser, const uint8_t *values, uint64_t n,
		       struct gw_error *error);

/* Whether all elements were added. */
bool pack_quantiser_is_full(const struct pack_quantiser *quantiser);

/* Appends what is left of the rows, and the scales; the quantiser must be full. Errors: those of
 * gw_writer_append. */
int pack_quantiser_finish(struct pack_quantiser *quantiser, struct pack_loss *out_loss,
			  struct gw_error *error);

void pack_quantiser_free(struct pack_quantiser *quantiser); /* NULL is fine */
