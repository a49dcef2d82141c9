/* SPDX-License-Identifier: MIT */
#include "tools/pack/quantise.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/pack/limits.h"

#define PACK_Q8_MAX 127

struct pack_quantiser {
	struct gw_writer *writer;
	size_t index;
	const char *name;
	uint64_t rows, columns;
	uint64_t row;    /* the one in the making */
	uint64_t filled; /* elements of it */
	uint64_t packed_bytes, room_bytes;
	float *values;  /* [columns] of that row */
	float *scales;  /* [rows] */
	int8_t *packed; /* whole rows that are not appended yet */
	struct pack_loss loss;
	double squares; /* of all differences so far, added up */
};

float pack_quantise_scale(float absmax)
{
	float scale = (float)((double)absmax / PACK_Q8_MAX);

	if (absmax == 0)
		return 0;
	while (scale == 0 || rint((double)absmax / (double)scale) > PACK_Q8_MAX)
		scale = nextafterf(scale, INFINITY);
	while (isinf((float)PACK_Q8_MAX * scale))
		scale = nextafterf(scale, 0);
	return scale;
}

int pack_quantise_check(const char *name, uint64_t rows, uint64_t columns, struct gw_error *error)
{
	char quoted[128];

	if (rows <= PACK_MAX_Q8_ROWS && columns <= PACK_MAX_Q8_COLUMNS)
		return GW_OK;
	return gw_fail(error, GW_E_SOURCE_TABLES, GW_NO_OFFSET,
		       "\"%s\" is %" PRIu64 " rows of %" PRIu64 " elements; --dtype q8 takes at most "
		       "%" PRIu64 " of %" PRIu64,
		       gw_quote(name, strlen(name), quoted, sizeof quoted), rows, columns,
		       PACK_MAX_Q8_ROWS, PACK_MAX_Q8_COLUMNS);
}

int pack_quantiser_new(struct gw_writer *writer, size_t index, const char *name, uint64_t rows,
		       uint64_t columns, struct pack_quantiser **out, struct gw_error *error)
{
	struct pack_quantiser *quantiser;
	int code = pack_quantise_check(name, rows, columns, error);

	if (code != GW_OK)
		return code;
	quantiser = calloc(1, sizeof *quantiser);
	if (!quantiser)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	quantiser->writer = writer;
	quantiser->index = index;
	quantiser->name = name;
	quantiser->rows = rows;
	quantiser->columns = columns;
	quantiser->room_bytes = columns > PACK_BUFFER_BYTES ? columns : PACK_BUFFER_BYTES;
	quantiser->values = calloc(columns, sizeof *quantiser->values);
	quantiser->scales = calloc(rows, sizeof *quantiser->scales);
	quantiser->packed = malloc(quantiser->room_bytes);
	if (!quantiser->values || !quantiser->scales || !quantiser->packed) {
		pack_quantiser_free(quantiser);
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	}
	*out = quantiser;
	return GW_OK;
}

void pack_quantiser_free(struct pack_quantiser *quantiser)
{
	if (!quantiser)
		return;
	free(quantiser->values);
	free(quantiser->scales);
	free(quantiser->packed);
	free(quantiser);
}

static int pack_append_rows(struct pack_quantiser *quantiser, struct gw_error *error)
{
	int code = gw_writer_append(quantiser->writer, quantiser->index, quantiser->packed,
				    quantiser->packed_bytes, error);

	quantiser->packed_bytes = 0;
	return code;
}

static int pack_refuse_element(const struct pack_quantiser *quantiser, uint64_t column,
			       struct gw_error *error)
{
	char quoted[128];

	return gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET,
		       "\"%s\": row %" PRIu64 ", column %" PRIu64 " is %s, which int8 rows cannot "
		       "hold; use --dtype f32, f16 or bf16",
		       gw_quote(quantiser->name, strlen(quantiser->name), quoted, sizeof quoted),
		       quantiser->row, column,
		       isnan(quantiser->values[column]) ? "NaN" : "infinite in f32");
}

/* The largest magnitude of the row, as bits of f32: these are in the order of magnitudes, with NaN and
 * infinity above all others. */
static uint32_t pack_largest_bits(const float *values, uint64_t n)
{
	uint32_t largest = 0;

	for (uint64_t i = 0; i < n; i++) {
		uint32_t bits = gw_f32_bits(values[i]) & 0x7fffffff;

		largest = bits > largest ? bits : largest;
	}
	return largest;
}

/* To the nearest integer, ties to even, of a magnitude far below 2^51: what the sum loses of it is what
 * is rounded off. (rint is a call where the processor is not known to have SSE4.1.) */
static double pack_nearest(double value)
{
	return value + 0x1.8p52 - 0x1.8p52;
}

/* n elements to out; the largest error. */
static double pack_quantise_row(struct pack_quantiser *quantiser, float scale, int8_t *out)
{
	const float *values = quantiser->values;
	double largest = 0, squares = 0;

	for (uint64_t i = 0; i < quantiser->columns; i++) {
		double q = pack_nearest((double)values[i] / (double)scale);
		/* as readers compute it; the product itself is exact in f64 */
		double error = (double)values[i] - (double)(float)(q * (double)scale);

		out[i] = (int8_t)q;
		error = fabs(error);
		largest = error > largest ? error : largest;
		squares += error * error;
	}
	quantiser->squares += squares;
	return largest;
}

/* The row in the making is complete. */
static int pack_end_row(struct pack_quantiser *quantiser, struct gw_error *error)
{
	uint32_t largest = pack_largest_bits(quantiser->values, quantiser->columns);
	struct pack_loss *loss = &quantiser->loss;
	double row_error;
	float scale;
	int code;

	for (uint64_t i = 0; largest >= 0x7f800000; i++)
		if (!isfinite(quantiser->values[i]))
			return pack_refuse_element(quantiser, i, error);
	if (quantiser->room_bytes - quantiser->packed_bytes < quantiser->columns) {
		code = pack_append_rows(quantiser, error);
		if (code != GW_OK)
			return code;
	}
	scale = pack_quantise_scale(gw_f32_from_bits(largest));
	quantiser->scales[quantiser->row++] = scale;
	quantiser->filled = 0;
	if (scale == 0) {
		memset(quantiser->packed + quantiser->packed_bytes, 0, quantiser->columns);
	} else {
		row_error = pack_quantise_row(quantiser, scale,
					      quantiser->packed + quantiser->packed_bytes);
		loss->largest = fmax(loss->largest, row_error);
		loss->in_scales = fmax(loss->in_scales, row_error / (double)scale);
	}
	quantiser->packed_bytes += quantiser->columns;
	return GW_OK;
}

int pack_quantiser_add(struct pack_quantiser *quantiser, const uint8_t *values, uint64_t n,
		       struct gw_error *error)
{
	int code = GW_OK;

	while (code == GW_OK && n) {
		uint64_t left = quantiser->columns - quantiser->filled;
		uint64_t step = left < n ? left : n;

		assert(quantiser->row < quantiser->rows);
		memcpy(quantiser->values + quantiser->filled, values, step * sizeof(float));
		values += step * sizeof(float);
		n -= step;
		quantiser->filled += step;
		if (step == left)
			code = pack_end_row(quantiser, error);
	}
	return code;
}

bool pack_quantiser_is_full(const struct pack_quantiser *quantiser)
{
	return quantiser->row == quantiser->rows;
}

int pack_quantiser_finish(struct pack_quantiser *quantiser, struct pack_loss *out_loss,
			  struct gw_error *error)
{
	double elements = (double)quantiser->rows * (double)quantiser->columns;
	int code;

	assert(pack_quantiser_is_full(quantiser));
	code = pack_append_rows(quantiser, error);
	if (code == GW_OK)
		code = gw_writer_append(quantiser->writer, quantiser->index, quantiser->scales,
					quantiser->rows * sizeof *quantiser->scales, error);
	if (code != GW_OK)
		return code;
	quantiser->loss.rms = sqrt(quantiser->squares / elements);
	*out_loss = quantiser->loss;
	return GW_OK;
}
