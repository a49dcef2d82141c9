/* SPDX-License-Identifier: MIT */
/* Every kernel set that this processor runs, bit for bit against a plain loop. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/kernels.h"
#include "format/limits.h"
#include "tests/support/fixture.h"

#define ROWS 7
#define TOKENS 12

static const unsigned dtypes[] = { GW_DTYPE_NONE, GW_F32, GW_F16, GW_BF16, GW_I8 };

static uint32_t random_state = 1;

/* xorshift32: any bits at all, among them every kind of NaN, infinity and subnormal */
static uint32_t random_bits(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state;
}

/* Elements that differ from machine to machine if anything does. */
static uint32_t element_bits(unsigned dtype)
{
	static const uint32_t special[] = { 0,          0x80000000, 0x00000001, 0x007fffff,
					    0x00800000, 0x7f7fffff, 0x7f800000, 0xff800000,
					    0x7fc00000, 0x7f800001, 0x3f800000, 0x33800000 };
	static const uint16_t special_half[] = { 0,      0x8000, 1,      0x3ff,  0x400,  0x7bff,
						 0x7c00, 0xfc00, 0x7e00, 0x7c01, 0x3c00, 0x0200 };
	uint32_t bits = random_bits();

	if (bits % 8 == 0)
		return dtype == GW_F16 ? special_half[bits / 8 % 12]
				       : special[bits / 8 % 12] >> (dtype == GW_BF16 ? 16 : 0);
	return dtype == GW_F32 ? bits : bits >> 16;
}

static const float *scales_new(size_t rows)
{
	float *scales = NULL;
	void *memory = NULL;

	ck_assert_int_eq(posix_memalign(&memory, 64, rows * sizeof *scales), 0);
	scales = memory;
	for (size_t r = 0; r < rows; r++)
		scales[r] = gw_f32_from_bits(element_bits(GW_F32));
	return scales;
}

/* Memory that ends with the last element of the last row, so that a sanitizer sees a read past
 * it. */
static struct gpt2c_table table_new(unsigned dtype, size_t rows, size_t n_embd)
{
	size_t payload = n_embd * gw_dtype_bytes(dtype);
	size_t row_bytes =
		(payload + GW_ROW_ALIGN_BYTES - 1) / GW_ROW_ALIGN_BYTES * GW_ROW_ALIGN_BYTES;
	struct gpt2c_table table = { .row_bytes = row_bytes, .row_count = rows, .dtype = dtype };
	void *memory = NULL;

	if (dtype == GW_DTYPE_NONE)
		return (struct gpt2c_table){ 0 };
	ck_assert_int_eq(posix_memalign(&memory, 64, (rows - 1) * row_bytes + payload), 0);
	table.rows = memory;
	table.scales = dtype == GW_I8 ? scales_new(rows) : NULL;
	for (size_t r = 0; r < rows; r++)
		for (size_t i = 0; i < n_embd; i++) {
			uint32_t bits = element_bits(dtype);

			memcpy((uint8_t *)memory + r * row_bytes + i * gw_dtype_bytes(dtype), &bits,
			       gw_dtype_bytes(dtype));
		}
	return table;
}

static void table_free(struct gpt2c_table *table)
{
	free((void *)(uintptr_t)table->rows);
	free((void *)(uintptr_t)table->scales);
}

static float reference(const struct gpt2c_table *table, size_t row, size_t i)
{
	const uint8_t *at = table->rows + row * table->row_bytes + i * gw_dtype_bytes(table->dtype);
	uint16_t half;
	float value;

	if (table->dtype == GW_I8) {
		value = *(const int8_t *)at;
		return value * table->scales[row];
	}
	memcpy(&half, at, sizeof half);
	if (table->dtype == GW_F16)
		return gw_f16_to_f32(half);
	if (table->dtype == GW_BF16)
		return gw_bf16_to_f32(half);
	memcpy(&value, at, sizeof value);
	return value;
}

static void compare_token(const struct gpt2c_run *run, size_t sequence, size_t s, const char *name)
{
	size_t t = sequence * run->stride + s;
	size_t position = run->positions ? (size_t)run->positions[s] : run->first_position + s;

	for (size_t i = 0; i < run->n_embd; i++) {
		float got = run->out[t * run->n_embd + i];
		float want = reference(&run->wte, (size_t)run->ids[t], i);

		if (run->wpe.rows)
			want += reference(&run->wpe, position, i);
		/* its payload is the processor's affair, unless the element is only copied */
		if (isnan(want) && isnan(got) && (run->wpe.rows || run->wte.dtype == GW_I8))
			continue;
		if (gw_f32_bits(got) == gw_f32_bits(want))
			continue;
		ck_abort_msg("%s, wte %s, wpe %s, n_embd %zu, %zu x %zu of %zu, %s, token %zu, "
			     "element %zu: %08x instead of %08x",
			     name, gw_dtype_name(run->wte.dtype), gw_dtype_name(run->wpe.dtype),
			     run->n_embd, run->batch, run->seq, run->stride,
			     run->stream ? "streamed" : "stored", t, i, gw_f32_bits(got),
			     gw_f32_bits(want));
	}
}

/* Not ck_assert for each: Check writes down every one it passes. */
static void expect_untouched(float value)
{
	if (gw_f32_bits(value) != 0x5a5a5a5a)
		ck_abort_msg("written outside of the run: %08x", gw_f32_bits(value));
}

/* All tokens of the run, and 0x5a in every byte between its sequences. */
static void compare(const struct gpt2c_run *run, const char *name)
{
	for (size_t t = 0; t < (run->batch - 1) * run->stride + run->seq; t++)
		if (t % run->stride < run->seq)
			compare_token(run, t / run->stride, t % run->stride, name);
		else
			for (size_t i = 0; i < run->n_embd; i++)
				expect_untouched(run->out[t * run->n_embd + i]);
}

/* Runs with out some floats off a cache line, and bytes around it that must stay. */
static void check_offset(struct gpt2c_run *run, size_t offset)
{
	size_t floats = ((run->batch - 1) * run->stride + run->seq) * run->n_embd;
	void *memory = NULL;
	float *out;

	for (size_t set = 0; gpt2c_kernels_at(set); set++) {
		ck_assert_int_eq(posix_memalign(&memory, 64, (offset + floats + 1) * sizeof *out),
				 0);
		memset(memory, 0x5a, (offset + floats + 1) * sizeof *out);
		out = memory;
		run->out = out + offset;
		gpt2c_kernels_run(gpt2c_kernels_at(set), run);
		compare(run, gpt2c_kernels_at(set)->name);
		for (size_t i = 0; i < offset; i++)
			expect_untouched(out[i]);
		expect_untouched(out[offset + floats]);
		free(memory);
	}
}

static void check_run(struct gpt2c_run *run)
{
	static const size_t offsets[] = { 0, 1, 4, 15 };

	run->stream = false;
	check_offset(run, 1);
	run->stream = true;
	for (size_t i = 0; run->n_embd % GPT2C_STREAM_FLOATS == 0 && i < 4; i++)
		check_offset(run, offsets[i]);
}

static void check_size(unsigned wte, unsigned wpe, size_t n_embd)
{
	static const int32_t ids[TOKENS] = { 6, 0, 3, 3, 1, 6, 5, 2, 4, 0, 6, 1 };
	static const int32_t positions[TOKENS] = { 0, 6, 1, 5, 5, 0, 2, 3, 4, 6, 6, 1 };
	/* batch, seq, stride; whole blocks of tokens and not, with gaps and without */
	static const size_t shapes[][3] = {
		{ 1, 1, 1 }, { 1, 7, 7 }, { 3, 4, 4 }, { 2, 6, 6 }, { 2, 5, 7 }, { 5, 1, 2 }
	};
	struct gpt2c_run run = { .ids = ids,
				 .batch = 1,
				 .seq = TOKENS,
				 .stride = TOKENS,
				 .n_embd = n_embd };

	run.wte = table_new(wte, ROWS, n_embd);
	run.wpe = table_new(wpe, ROWS, n_embd);
	run.positions = positions;
	check_run(&run);
	run.positions = NULL;
	for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
		run.batch = shapes[i][0];
		run.seq = shapes[i][1];
		run.stride = shapes[i][2];
		run.first_position = ROWS - run.seq;
		check_run(&run);
	}
	table_free(&run.wte);
	table_free(&run.wpe);
}

/* _i: the pair of types */
START_TEST(test_sizes)
{
	static const size_t large[] = { 111, 112, 113, 127, 128,  129,  160,
					255, 256, 257, 768, 1023, 1600, 1601 };
	unsigned wte = dtypes[1 + _i / 5];
	unsigned wpe = dtypes[_i % 5];

	for (size_t n = 1; n <= 82; n++)
		check_size(wte, wpe, n);
	for (size_t i = 0; i < sizeof large / sizeof large[0]; i++)
		check_size(wte, wpe, large[i]);
}
END_TEST

/* _i: GW_F16 or GW_BF16; all 65,536 values of it, each in every lane. */
START_TEST(test_every_half)
{
	enum { N = 65536, SHIFTS = 16 };
	static uint16_t rows[SHIFTS][N] __attribute__((aligned(64)));
	static const int32_t ids[SHIFTS] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
	struct gpt2c_run run = {
		.ids = ids, .batch = SHIFTS, .seq = 1, .stride = 1, .n_embd = N
	};

	for (size_t r = 0; r < SHIFTS; r++)
		for (size_t i = 0; i < N; i++)
			rows[r][i] = (uint16_t)(i + r);
	run.wte = (struct gpt2c_table){ .rows = (const uint8_t *)rows,
					 .row_bytes = sizeof rows[0],
					 .row_count = SHIFTS,
					 .dtype = (uint32_t)_i };
	check_run(&run);
}
END_TEST

/*
 * All int8 values by scales with 24 significant bits: the product is rounded before the sum, so that
 * adding its negative gives zero. One FMA of both leaves the rounding error.
 */
START_TEST(test_two_roundings)
{
	enum { N = 256, SCALES = 4 };
	static const float scales[SCALES] = { 0x1.fffffep-7f, 0x1.555556p-9f, 0x1.000002p+3f,
					      0x1.89abcep-3f };
	static int8_t q[SCALES][N] __attribute__((aligned(64)));
	static float negative[SCALES][N] __attribute__((aligned(64)));
	static const int32_t ids[SCALES] = { 0, 1, 2, 3 };
	struct gpt2c_run run = {
		.ids = ids, .batch = 1, .seq = SCALES, .stride = SCALES, .n_embd = N
	};
	float out[SCALES * N];

	for (size_t r = 0; r < SCALES; r++)
		for (int i = 0; i < N; i++) {
			/* exact in f64, so that this is the only rounding */
			float product = (float)((double)(i - 128) * (double)scales[r]);

			q[r][i] = (int8_t)(i - 128);
			negative[r][i] = -product;
		}
	run.out = out;
	run.wte = (struct gpt2c_table){ .rows = (const uint8_t *)q,
					 .scales = scales,
					 .row_bytes = N,
					 .row_count = SCALES,
					 .dtype = GW_I8 };
	run.wpe = (struct gpt2c_table){ .rows = (const uint8_t *)negative,
					 .row_bytes = sizeof negative[0],
					 .row_count = SCALES,
					 .dtype = GW_F32 };
	for (size_t set = 0; gpt2c_kernels_at(set); set++)
		for (int swap = 0; swap < 2; swap++) {
			struct gpt2c_table wte = run.wte;

			gpt2c_kernels_run(gpt2c_kernels_at(set), &run);
			for (size_t i = 0; i < SCALES * N; i++)
				ck_assert_msg(gw_f32_bits(out[i]) == 0, "%s: element %zu is %a",
					      gpt2c_kernels_at(set)->name, i, (double)out[i]);
			run.wte = run.wpe;
			run.wpe = wte;
		}
}
END_TEST

/* Of values as unsigned ones, wherever the largest stands. */
START_TEST(test_largest)
{
	static int32_t values[200];

	for (size_t set = 0; gpt2c_kernels_at(set); set++)
		for (size_t n = 1; n <= 200; n++)
			for (size_t at = 0; at < n; at++) {
				memset(values, 0, sizeof values);
				values[n - 1 - at] = 5;
				values[at] = at % 3 == 0 ? INT32_MAX : at % 3 == 1 ? -1 : INT32_MIN;
				if (gpt2c_kernels_at(set)->largest(values, n) !=
				    (uint32_t)values[at])
					ck_abort_msg("%s: %zu values, the largest at %zu",
						     gpt2c_kernels_at(set)->name, n, at);
			}
}
END_TEST

START_TEST(test_sets)
{
	size_t n = 0;

	while (gpt2c_kernels_at(n))
		printf("kernels: %s\n", gpt2c_kernels_at(n++)->name);
	ck_assert_uint_ge(n, 1);
	ck_assert_str_eq(gpt2c_kernels_at(n - 1)->name, "portable");
	for (size_t set = 0; set < n; set++)
		for (int wte = 0; wte < GPT2C_KERNEL_WTE; wte++)
			for (int wpe = 0; wpe < GPT2C_KERNEL_WPE; wpe++)
				ck_assert(gpt2c_kernels_at(set)->run[wte][wpe] != NULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client/kernels");
	TCase *tcase = fixture_case(suite, "kernels");

	tcase_add_test(tcase, test_sets);
	tcase_add_loop_test(tcase, test_sizes, 0, 20);
	tcase_add_test(tcase, test_two_roundings);
	tcase_add_test(tcase, test_largest);
	tcase_add_loop_test(tcase, test_every_half, GW_F16, GW_BF16 + 1);
	return fixture_main(suite);
}
