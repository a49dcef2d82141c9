/* SPDX-License-Identifier: MIT */
/*
 * Values of arrays that are stored column by column. A band of rows is gathered in memory: of each
 * column, in the order of the file, the stretch that belongs to these rows.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/pack/array.h"
#include "tools/pack/limits.h"

struct pack_transpose {
	const struct pack_array *array;
	pack_array_bytes *bytes;
	void *context;
	uint64_t row_bytes, columns; /* a row: all dimensions but the first */
	uint64_t band_rows;          /* of which the band has room for so many */
	uint64_t first, count;       /* the rows in band */
	uint8_t *band;
	uint64_t window_at, window_bytes; /* the bytes of the file in window */
	uint8_t window[PACK_BUFFER_BYTES];
};

static int pack_transpose_new(const struct pack_array *array, struct pack_transpose **out,
			      struct gw_error *error)
{
	uint64_t row_bytes = array->data_bytes / array->shape[0]; /* it has more than one element */
	uint64_t rows = PACK_BAND_BYTES / row_bytes;
	struct pack_transpose *transpose;

	if (rows < PACK_BAND_MIN_ROWS && rows < array->shape[0])
		return gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET,
			       "an array in Fortran order with rows of %" PRIu64
			       " bytes, over this program's limit of %" PRIu64
			       "; numpy.ascontiguousarray turns it into one that can be read",
			       row_bytes, PACK_BAND_BYTES / PACK_BAND_MIN_ROWS);
	transpose = malloc(sizeof *transpose);
	if (!transpose)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	transpose->array = array;
	transpose->row_bytes = row_bytes;
	transpose->columns = row_bytes / array->width_bytes;
	transpose->band_rows = rows < array->shape[0] ? rows : array->shape[0];
	transpose->count = 0;
	transpose->window_at = transpose->window_bytes = 0;
	transpose->band = malloc(transpose->band_rows * row_bytes);
	if (!transpose->band) {
		free(transpose);
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	}
	*out = transpose;
	return GW_OK;
}

void pack_transpose_free(struct pack_transpose *transpose)
{
	if (!transpose)
		return;
	free(transpose->band);
	free(transpose);
}

/*
 * n bytes (at most the window) at offset, and as many as follow of the ahead bytes that are wanted
 * next. What is in the window already is not read again: to go back by a byte, a deflated member
 * would have to be inflated anew.
 */
static int pack_window(struct pack_transpose *transpose, uint64_t offset, uint64_t n,
		       uint64_t ahead, const uint8_t **out, struct gw_error *error)
{
	uint64_t at = transpose->window_at, kept = 0;
	int code;

	if (offset >= at && offset - at <= transpose->window_bytes)
		kept = transpose->window_bytes - (offset - at);
	if (n > kept) {
		memmove(transpose->window, transpose->window + (kept ? offset - at : 0), kept);
		transpose->window_bytes = 0;
		if (ahead > sizeof transpose->window)
			ahead = sizeof transpose->window;
		code = transpose->bytes(transpose->context, offset + kept, ahead - kept,
					transpose->window + kept, error);
		if (code != GW_OK)
			return code;
		transpose->window_at = at = offset;
		transpose->window_bytes = ahead;
	}
	*out = transpose->window + (offset - at);
	return GW_OK;
}

/* Elements of one column into the band, whose column begins at to. */
static void pack_scatter(const uint8_t *from, uint64_t n, unsigned width_bytes, uint64_t row_bytes,
			 uint8_t *to)
{
	if (width_bytes == 4)
		for (uint64_t i = 0; i < n; i++)
			memcpy(to + i * row_bytes, from + 4 * i, 4);
	else
		for (uint64_t i = 0; i < n; i++)
			memcpy(to + i * row_bytes, from + width_bytes * i, width_bytes);
}

/* The rows of the band, of the column that is number column in the file and number place in a row. */
static int pack_fill_column(struct pack_transpose *transpose, uint64_t column, uint64_t place,
			    struct gw_error *error)
{
	const struct pack_array *array = transpose->array;
	unsigned width = array->width_bytes;
	uint64_t offset = (column * array->shape[0] + transpose->first) * width;
	uint64_t end = offset + transpose->count * width;
	/* a band of all rows takes the whole file */
	uint64_t limit = transpose->count == array->shape[0] ? array->data_bytes : end;
	uint8_t *to = transpose->band + place * width;
	int code = GW_OK;

	while (code == GW_OK && offset < end) {
		uint64_t n = end - offset < PACK_BUFFER_BYTES ? end - offset : PACK_BUFFER_BYTES;
		const uint8_t *from = NULL;

		code = pack_window(transpose, offset, n, limit - offset, &from, error);
		if (code == GW_OK)
			pack_scatter(from, n / width, width, transpose->row_bytes, to);
		to += n / width * transpose->row_bytes;
		offset += n;
	}
	return code;
}

/* Fills the band with the rows from first on. */
static int pack_fill_band(struct pack_transpose *transpose, uint64_t first, struct gw_error *error)
{
	const struct pack_array *array = transpose->array;
	uint64_t left = array->shape[0] - first;
	uint64_t index[GW_MAX_RANK] = { 0 }, stride[GW_MAX_RANK] = { 0 };
	uint64_t place = 0;
	int code = GW_OK;

	transpose->first = first;
	transpose->count = left < transpose->band_rows ? left : transpose->band_rows;
	transpose->window_bytes = 0;
	stride[array->rank - 1] = 1;
	for (unsigned i = array->rank - 1; i-- > 1;)
		stride[i] = stride[i + 1] * array->shape[i + 1];
	for (uint64_t column = 0; code == GW_OK && column < transpose->columns; column++) {
		code = pack_fill_column(transpose, column, place, error);
		/* the file's order: the first dimensions count fastest */
		for (unsigned i = 1; i < array->rank; i++) {
			place += stride[i];
			if (++index[i] < array->shape[i])
				break;
			place -= stride[i] * array->shape[i];
			index[i] = 0;
		}
	}
	if (code != GW_OK)
		transpose->count = 0;
	return code;
}

static int pack_copy_rows(struct pack_transpose *transpose, uint64_t offset, uint64_t n,
			  uint8_t *out, struct gw_error *error)
{
	while (n) {
		uint64_t row = offset / transpose->row_bytes, at, step;
		int code;

		if (!transpose->count || row < transpose->first ||
		    row - transpose->first >= transpose->count) {
			code = pack_fill_band(transpose, row / transpose->band_rows *
								 transpose->band_rows,
					      error);
			if (code != GW_OK)
				return code;
		}
		at = offset - transpose->first * transpose->row_bytes;
		step = transpose->count * transpose->row_bytes - at;
		if (step > n)
			step = n;
		memcpy(out, transpose->band + at, step);
		out += step;
		offset += step;
		n -= step;
	}
	return GW_OK;
}

static void pack_swap(uint8_t *bytes, uint64_t n, unsigned width_bytes)
{
	for (uint8_t *element = bytes; element < bytes + n; element += width_bytes) {
		for (unsigned i = 0; i < width_bytes / 2; i++) {
			uint8_t byte = element[i];

			element[i] = element[width_bytes - 1 - i];
			element[width_bytes - 1 - i] = byte;
		}
	}
}

int pack_transpose_read(struct pack_transpose **transpose, const struct pack_array *array,
			pack_array_bytes *bytes, void *context, uint64_t offset, uint64_t n,
			uint8_t *out, struct gw_error *error)
{
	int code = GW_OK;

	if (!array->is_fortran) {
		code = bytes(context, offset, n, out, error);
	} else {
		if (!*transpose)
			code = pack_transpose_new(array, transpose, error);
		if (code == GW_OK) {
			(*transpose)->bytes = bytes;
			(*transpose)->context = context;
			code = pack_copy_rows(*transpose, offset, n, out, error);
		}
	}
	if (code == GW_OK && array->is_big_endian)
		pack_swap(out, n, array->width_bytes);
	return code;
}
