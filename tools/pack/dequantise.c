/* SPDX-License-Identifier: MIT */
#include "tools/pack/dequantise.h"

#include <stdlib.h>
#include <string.h>

/* Scales that are read at once: those of all rows of every GPT-2, and 256 KiB whatever a pack claims. */
#define PACK_SCALES UINT64_C(65536)

struct pack_dequantiser {
	const struct pack_source *source;
	const struct pack_tensor *tensor;
	uint64_t rows, columns;
	uint64_t first, count; /* the rows whose scales are here */
	float scales[PACK_SCALES];
};

int pack_dequantiser_new(const struct pack_source *source, const struct pack_tensor *tensor,
			 struct pack_dequantiser **out, struct gw_error *error)
{
	struct pack_dequantiser *dequantiser = malloc(sizeof *dequantiser);

	if (!dequantiser)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	dequantiser->source = source;
	dequantiser->tensor = tensor;
	dequantiser->first = dequantiser->count = 0;
	pack_tensor_rows(tensor, &dequantiser->rows, &dequantiser->columns);
	*out = dequantiser;
	return GW_OK;
}

void pack_dequantiser_free(struct pack_dequantiser *dequantiser)
{
	free(dequantiser);
}

static int pack_find_scale(struct pack_dequantiser *dequantiser, uint64_t row, float *out,
			   struct gw_error *error)
{
	uint64_t left = dequantiser->rows - row;
	int code;

	if (row < dequantiser->first || row - dequantiser->first >= dequantiser->count) {
		dequantiser->count = 0;
		left = left < PACK_SCALES ? left : PACK_SCALES;
		code = pack_source_read(dequantiser->source, dequantiser->tensor,
					dequantiser->rows * dequantiser->columns +
						row * sizeof(float),
					left * sizeof(float), (uint8_t *)dequantiser->scales,
					error);
		if (code != GW_OK)
			return code;
		dequantiser->first = row;
		dequantiser->count = left;
	}
	*out = dequantiser->scales[row - dequantiser->first];
	return GW_OK;
}

int pack_dequantiser_read(struct pack_dequantiser *dequantiser, uint64_t first, uint64_t n,
			  uint8_t *out, struct gw_error *error)
{
	/* at the end of out, where element i is read before its four bytes reach it */
	const uint8_t *in = out + n * (sizeof(float) - 1);
	float scale = 0;
	int code = GW_OK;

	/* the scale before the rows: a reader that keeps one block then goes straight on */
	if (n)
		code = pack_find_scale(dequantiser, first / dequantiser->columns, &scale, error);
	if (code == GW_OK)
		code = pack_source_read(dequantiser->source, dequantiser->tensor, first, n,
					out + n * (sizeof(float) - 1), error);
	for (uint64_t i = 0; code == GW_OK && i < n;) {
		uint64_t left = dequantiser->columns - (first + i) % dequantiser->columns;
		uint64_t end = left < n - i ? i + left : n;

		code = pack_find_scale(dequantiser, (first + i) / dequantiser->columns, &scale,
				       error);
		for (; code == GW_OK && i < end; i++) {
			float value = (float)(int8_t)in[i] * scale;

			memcpy(out + sizeof value * i, &value, sizeof value);
		}
	}
	return code;
}
