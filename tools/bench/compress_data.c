/* SPDX-License-Identifier: MIT */
#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/block.h"
#include "format/dtype.h"
#include "tools/bench/compress.h"
#include "tools/pack/random.h"

static int new_values(const char *name, struct bench_data *out, struct gw_error *error)
{
	out->name = name;
	out->values = malloc(ELEMENTS * sizeof *out->values);
	return out->values ? 0
			   : gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory for the data");
}

/* Reads at most n values of a file; returns how many. */
static size_t read_file(const char *path, float *out, size_t n)
{
	FILE *file = fopen(path, "rbe");
	size_t got = file ? fread(out, sizeof *out, n, file) : 0;

	if (file)
		fclose(file);
	return got;
}

int bench_data_read(const char *folder, struct bench_data *out, struct gw_error *error)
{
	char pattern[4096];
	size_t n = 0;
	glob_t found;
	int r;

	snprintf(pattern, sizeof pattern, "%s/*.f32", folder);
	r = new_values("trained", out, error);
	if (r)
		return r;
	if (glob(pattern, 0, NULL, &found) == 0) {
		for (size_t i = 0; i < found.gl_pathc; i++)
			n += read_file(found.gl_pathv[i], out->values + n, ELEMENTS - n);
		globfree(&found);
	}
	if (n == 0) {
		free(out->values);
		return gw_fail(error, GW_E_IO, GW_NO_OFFSET, "there are no values in %s", pattern);
	}
	for (size_t i = n; i < ELEMENTS; i++)
		out->values[i] = out->values[i - n];
	return 0;
}

int bench_data_init(struct bench_data *out, struct gw_error *error)
{
	struct pack_random random;
	int r = new_values("init", out, error);

	if (r)
		return r;
	for (uint64_t row = 0; row < ELEMENTS / ROW_ELEMENTS; row++) {
		pack_random_start(&random, 1, 1, row);
		pack_random_normal(&random, 0.02, out->values + row * ROW_ELEMENTS, ROW_ELEMENTS);
	}
	return 0;
}

static void convert_row_i8(const float *values, uint8_t *out)
{
	float most = 0;

	for (size_t i = 0; i < ROW_ELEMENTS; i++)
		most = fmaxf(most, fabsf(values[i]));
	for (size_t i = 0; i < ROW_ELEMENTS; i++)
		out[i] = (uint8_t)(int8_t)(most > 0 ? rintf(values[i] / most * 127) : 0);
}

static void convert_row(const float *values, unsigned dtype, uint8_t *out)
{
	for (size_t i = 0; i < ROW_ELEMENTS; i++) {
		uint16_t half =
			dtype == GW_F16 ? gw_f32_to_f16(values[i]) : gw_f32_to_bf16(values[i]);

		memcpy(out + 2 * i, &half, 2);
	}
}

uint8_t *bench_data_convert(const struct bench_data *data, unsigned dtype, size_t *out_bytes)
{
	unsigned width = gw_block_width(dtype);
	uint8_t *out = malloc(ELEMENTS * width);

	for (uint64_t i = 0; out && i < ELEMENTS; i += ROW_ELEMENTS) {
		if (dtype == GW_F32)
			memcpy(out + 4 * i, data->values + i, ROW_ELEMENTS * 4);
		else if (dtype == GW_I8)
			convert_row_i8(data->values + i, out + i);
		else
			convert_row(data->values + i, dtype, out + 2 * i);
	}
	*out_bytes = ELEMENTS * width;
	return out;
}
