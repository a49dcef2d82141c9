/* SPDX-License-Identifier: MIT */
/* Int8 rows: scales and elements exactly, the bound, what is refused; and back to f32. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/reader.h"
#include "tests/support/fixture.h"
#include "tools/pack/dequantise.h"
#include "tools/pack/limits.h"
#include "tools/pack/quantise.h"

#define TINY 0x1p-149f

static char *folder;

static void setup(void)
{
	folder = fixture_folder_new();
}

static void teardown(void)
{
	fixture_folder_free(folder);
}

START_TEST(scales)
{
	static const struct {
		float absmax, scale;
	} rows[] = {
		{ 0, 0 },
		{ 127, 1 },
		{ 1, 0x1.020408p-7f },
		{ 254, 2 },
		{ 0x1.fcp+100f, 0x1p+94f },
		/* subnormal: 1, 63 and 64 of 127 */
		{ TINY, TINY },
		{ 63 * TINY, TINY },
		{ 64 * TINY, TINY },
		{ 127 * TINY, TINY },
		/* rint(127.5) would be 128 */
		{ 128 * TINY, 2 * TINY },
		{ 190 * TINY, 2 * TINY },
		{ 191 * TINY, 2 * TINY },
		{ FLT_MIN, 66052 * TINY },
		/* 127 times the nearest, 0x1.020408p+121, is infinite */
		{ FLT_MAX, 0x1.020406p+121f },
		{ 0x1.fffffcp+127f, 0x1.020406p+121f },
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		ck_assert_msg(pack_quantise_scale(rows[i].absmax) == rows[i].scale,
			      "%a: %a instead of %a", rows[i].absmax,
			      pack_quantise_scale(rows[i].absmax), rows[i].scale);
}
END_TEST

/* What a pack of one table holds. */
struct made {
	struct gw_pack *pack;
	uint8_t *file;
	struct pack_loss loss;
};

static int8_t element(const struct made *made, uint64_t row, uint64_t column)
{
	const struct gw_tensor *wte = made->pack->wte;

	return (int8_t)made->file[wte->data_offset + row * wte->row_bytes + column];
}

static float scale_of(const struct made *made, uint64_t row)
{
	float scale;

	memcpy(&scale, made->file + made->pack->wte->scales_offset + 4 * row, 4);
	return scale;
}

/* Gives chunk values at a time to the quantiser; a failure is returned. */
static int quantise(const float *values, uint64_t rows, uint64_t columns, uint64_t chunk,
		    struct pack_loss *out_loss, struct gw_error *error)
{
	const struct gw_tensor table = fixture_tensor(GW_WTE_NAME, GW_I8, rows, columns);
	struct gw_provenance provenance = { .tool = "test" };
	struct pack_quantiser *quantiser = NULL;
	struct gw_writer *writer = NULL;
	int code = GW_OK;

	ck_assert_code(*error,
		       gw_writer_new(fixture_path(folder, "out"), true, &table, 1, &writer, error),
		       GW_OK);
	ck_assert_code(*error,
		       pack_quantiser_new(writer, 0, "source's name", rows, columns, &quantiser,
					  error),
		       GW_OK);
	for (uint64_t at = 0; code == GW_OK && at < rows * columns; at += chunk) {
		uint64_t left = rows * columns - at;

		ck_assert(!pack_quantiser_is_full(quantiser));
		code = pack_quantiser_add(quantiser, (const uint8_t *)(values + at),
					  chunk < left ? chunk : left, error);
	}
	if (code == GW_OK) {
		ck_assert(pack_quantiser_is_full(quantiser));
		code = pack_quantiser_finish(quantiser, out_loss, error);
	}
	if (code == GW_OK)
		code = gw_writer_finish(writer, &provenance, 0, 0, NULL, error);
	pack_quantiser_free(quantiser);
	gw_writer_free(writer);
	return code;
}

static struct made make(const float *values, uint64_t rows, uint64_t columns, uint64_t chunk)
{
	struct gw_error error = GW_ERROR_INIT;
	struct made made = { 0 };
	size_t n;

	ck_assert_code(error, quantise(values, rows, columns, chunk, &made.loss, &error), GW_OK);
	made.file = fixture_read(fixture_path(folder, "out"), &n);
	ck_assert_code(error, gw_pack_open_memory(made.file, n, 0, &made.pack, &error), GW_OK);
	ck_assert_code(error,
		       gw_pack_verify_memory(made.pack, made.file, 0,
					     gw_pack_unit_count(made.pack), &error),
		       GW_OK);
	return made;
}

static void unmake(struct made *made)
{
	gw_pack_free(made->pack);
	free(made->file);
}

#define COLUMNS 8

START_TEST(exact_rows)
{
	static const struct {
		float values[COLUMNS];
		float scale;
		int8_t q[COLUMNS];
	} rows[] = {
		{ { 0, -0.0f, 0, 0, 0, 0, 0, 0 }, 0, { 0 } },
		/* ties go to the even one */
		{ { 127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, -0.0f },
		  1,
		  { 127, 0, 2, 2, 0, -2, -2, 0 } },
		{ { -127, 126.5f, 125.5f, 0x1.000002p-1f, 0x1.fffffep-2f, -126.5f, 1, -1 },
		  1,
		  { -127, 126, 126, 1, 0, -126, 1, -1 } },
		{ { TINY, -TINY, 0, 0, 0, 0, 0, 0 }, TINY, { 1, -1 } },
		{ { 190 * TINY, TINY, 3 * TINY, 5 * TINY, -190 * TINY, 2 * TINY, 0, 0 },
		  2 * TINY,
		  { 95, 0, 2, 2, -95, 1 } },
		{ { FLT_MAX, -FLT_MAX, FLT_MAX / 2, FLT_MAX / 256, 1, 0, TINY, -0.0f },
		  0x1.020406p+121f,
		  { 127, -127, 64, 0 } },
		/* FLT_MAX leaves nothing of the rows after it */
		{ { 1, -1, 0x1p-8f, 0x1p-7f, 0.25f, -0.75f, 0.5f, 0x1p-9f },
		  0x1.020408p-7f,
		  { 127, -127, 0, 1, 32, -95, 64, 0 } },
	};
	const uint64_t n = sizeof rows / sizeof rows[0];
	float values[sizeof rows / sizeof rows[0] * COLUMNS];
	struct made made;

	for (uint64_t row = 0; row < n; row++)
		memcpy(values + row * COLUMNS, rows[row].values, sizeof rows[row].values);
	made = make(values, n, COLUMNS, (uint64_t[]){ 1, 3, COLUMNS, n * COLUMNS }[_i]);
	for (uint64_t row = 0; row < n; row++) {
		ck_assert_msg(scale_of(&made, row) == rows[row].scale, "row %d: %a", (int)row,
			      scale_of(&made, row));
		for (uint64_t i = 0; i < COLUMNS; i++)
			ck_assert_msg(element(&made, row, i) == rows[row].q[i],
				      "row %d, column %d: %d", (int)row, (int)i,
				      element(&made, row, i));
	}
	unmake(&made);
}
END_TEST

/* Rows of one element are exact but for the rounding of their scale. */
START_TEST(one_column)
{
	static const float values[] = { 1, -1, 0, 127, -3.25f, TINY, -FLT_MAX, 0x1.8p-130f };
	const uint64_t n = sizeof values / sizeof values[0];
	struct made made = make(values, n, 1, 1);

	for (uint64_t row = 0; row < n; row++) {
		int q = values[row] == TINY ? 1 : values[row] == 0 ? 0 : 127;

		ck_assert_int_eq(element(&made, row, 0), values[row] < 0 ? -q : q);
		ck_assert_float_eq(scale_of(&made, row), pack_quantise_scale(fabsf(values[row])));
	}
	unmake(&made);
}
END_TEST

/* Every exponent that there is, in rows of one or of many; whatever the writer gets at a time. */
static float *random_values(uint64_t rows, uint64_t columns)
{
	float *values = malloc(rows * columns * sizeof *values);

	ck_assert_ptr_nonnull(values);
	for (uint64_t row = 0; row < rows; row++)
		for (uint64_t i = 0; i < columns; i++) {
			float value = fixture_value(9, row, i); /* 2^-8 to 2^7 and nearly twice */

			values[row * columns + i] =
				row % 3 ? ldexpf(value, (int)(row % 260) - 140) :
					  ldexpf(value, (int)((row + 31 * i) % 260) - 140);
		}
	return values;
}

static const struct {
	uint64_t rows, columns, chunk;
} sizes[] = {
	{ 2000, 17, 1000 },
	{ 5, 70001, 65536 },
	{ 3, 300000, 131072 }, /* one row at a time fits the buffer */
	{ 2, 700000, 999 },    /* larger than the buffer */
	{ 70000, 9, 70000 },
};

START_TEST(bound)
{
	const uint64_t rows = sizes[_i].rows, columns = sizes[_i].columns;
	float *values = random_values(rows, columns);
	struct made made = make(values, rows, columns, sizes[_i].chunk);
	double largest = 0, in_scales = 0, squares = 0;

	for (uint64_t row = 0; row < rows; row++) {
		float scale = scale_of(&made, row);
		double row_largest = 0;

		ck_assert(scale > 0);
		for (uint64_t i = 0; i < columns; i++) {
			int8_t q = element(&made, row, i);
			float x = values[row * columns + i], y = (float)q * scale;
			double off = fabs((double)x - (double)y);

			/* asserting of every element would take seconds */
			if (q != (int)rint((double)x / scale) || q < -127 ||
			    off > 0.5 * scale + fabs((double)y) * 0x1p-24)
				ck_abort_msg("%a became %d × %a", x, q, scale);
			row_largest = fmax(row_largest, off);
			squares += off * off;
		}
		largest = fmax(largest, row_largest);
		in_scales = fmax(in_scales, row_largest / scale);
	}
	ck_assert_double_eq(made.loss.largest, largest);
	ck_assert_double_eq(made.loss.in_scales, in_scales);
	ck_assert_double_le(in_scales, 0.5 + 128 * 0x1p-24);
	ck_assert_double_gt(in_scales, 0.49);
	/* added up in another order */
	ck_assert_double_eq_tol(made.loss.rms / sqrt(squares / (double)(rows * columns)), 1, 1e-9);
	unmake(&made);
	free(values);
}
END_TEST

/* The values of a pack as a source, read in odd parts, are the products of what it holds. */
START_TEST(dequantised)
{
	const uint64_t rows = sizes[_i].rows, columns = sizes[_i].columns;
	float *values = random_values(rows, columns), *got = malloc(rows * columns * 4);
	struct made made = make(values, rows, columns, columns);
	struct pack_dequantiser *dequantiser = NULL;
	struct gw_error error = GW_ERROR_INIT;
	struct pack_source *source = NULL;

	ck_assert_code(error, pack_source_open(fixture_path(folder, "out"), &source, &error), GW_OK);
	ck_assert_code(error,
		       pack_dequantiser_new(source, &source->tensors.items[0], &dequantiser,
					    &error),
		       GW_OK);
	for (uint64_t at = 0, n; at < rows * columns; at += n) {
		n = rows * columns - at < 100003 ? rows * columns - at : 100003;
		ck_assert_code(error,
			       pack_dequantiser_read(dequantiser, at, n, (uint8_t *)(got + at),
						     &error),
			       GW_OK);
	}
	for (uint64_t row = 0; row < rows; row++)
		for (uint64_t i = 0; i < columns; i++)
			if (got[row * columns + i] !=
			    (float)element(&made, row, i) * scale_of(&made, row))
				ck_abort_msg("row %d, column %d", (int)row, (int)i);
	pack_dequantiser_free(dequantiser);
	pack_source_free(source);
	unmake(&made);
	free(values);
	free(got);
}
END_TEST

START_TEST(no_numbers)
{
	static const struct {
		float value;
		const char *what;
	} bad[] = { { NAN, "NaN" },
		    { -NAN, "NaN" },
		    { INFINITY, "infinite in f32" },
		    { -INFINITY, "infinite in f32" } };
	struct gw_error error = GW_ERROR_INIT;
	struct pack_loss loss;
	char expected[256];

	for (size_t i = 0; i < 60; i++) {
		float values[60] = { 0 };

		values[i] = bad[_i].value;
		/* the first one is named */
		values[59] = NAN;
		snprintf(expected, sizeof expected,
			 "\"source's name\": row %zu, column %zu is %s, which int8 rows cannot "
			 "hold; use --dtype f32, f16 or bf16",
			 i / 20, i % 20, i == 59 ? "NaN" : bad[_i].what);
		ck_assert_code(error, quantise(values, 3, 20, 7, &loss, &error), GW_E_SOURCE);
		ck_assert_str_eq(error.message, expected);
		ck_assert_int_eq(fixture_count_files(folder), 0);
	}
}
END_TEST

START_TEST(limits)
{
	struct gw_error error = GW_ERROR_INIT;
	struct pack_quantiser *quantiser = NULL;

	ck_assert_code(error,
		       pack_quantise_check("a", PACK_MAX_Q8_ROWS, PACK_MAX_Q8_COLUMNS, &error),
		       GW_OK);
	ck_assert_code(error, pack_quantise_check("a", PACK_MAX_Q8_ROWS + 1, 1, &error),
		       GW_E_SOURCE_TABLES);
	ck_assert_str_eq(error.message, "\"a\" is 1048577 rows of 1 elements; --dtype q8 takes at "
					"most 1048576 of 1048576");
	ck_assert_code(error, pack_quantise_check("a", 1, PACK_MAX_Q8_COLUMNS + 1, &error),
		       GW_E_SOURCE_TABLES);
	ck_assert_code(error, pack_quantiser_new(NULL, 0, "a", 1, UINT64_MAX, &quantiser, &error),
		       GW_E_SOURCE_TABLES);
	ck_assert_ptr_null(quantiser);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("quantise");
	TCase *tcase = fixture_case(suite, "quantise");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, scales);
	tcase_add_loop_test(tcase, exact_rows, 0, 4);
	tcase_add_test(tcase, one_column);
	tcase_add_loop_test(tcase, bound, 0, sizeof sizes / sizeof sizes[0]);
	tcase_add_loop_test(tcase, dequantised, 0, sizeof sizes / sizeof sizes[0]);
	tcase_add_loop_test(tcase, no_numbers, 0, 4);
	tcase_add_test(tcase, limits);
	return fixture_main(suite);
}
