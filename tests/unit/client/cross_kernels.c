/* SPDX-License-Identifier: MIT */
/*
 * Every set of a machine that may have no test framework, bit for bit against the portable set, which
 * test_kernels.c compares with a plain loop. Exits with 0 if all agree, and prints what was compared.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/kernels.h"

#define ROWS 9
#define MAX_EMBD 300
#define BATCH 3
#define SEQ 3
#define FLOATS (BATCH * SEQ * MAX_EMBD + 16)

static uint8_t tables[2][ROWS * MAX_EMBD * 4] __attribute__((aligned(64)));
static float scales[2][ROWS];
static float got[FLOATS] __attribute__((aligned(64))), want[FLOATS] __attribute__((aligned(64)));

static uint32_t random_bits(void)
{
	static uint32_t state = 1;

	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}

static bool is_nan(float value)
{
	return (gw_f32_bits(value) & 0x7fffffff) > 0x7f800000;
}

/* Any bits; one element in eight is of the smallest or largest exponent. */
static void fill(void)
{
	for (size_t t = 0; t < 2; t++) {
		for (size_t i = 0; i < sizeof tables[t]; i += 2) {
			uint32_t bits = random_bits();
			uint16_t half = (uint16_t)(bits >> 16);

			if (bits % 16 == 0)
				half &= 0x83ff;
			if (bits % 16 == 1)
				half |= 0x7c00;
			memcpy(tables[t] + i, &half, sizeof half);
		}
		for (size_t r = 0; r < ROWS; r++)
			scales[t][r] = gw_f32_from_bits(random_bits());
	}
}

static struct gpt2c_table table(size_t which, unsigned dtype, size_t n_embd)
{
	if (dtype == GW_DTYPE_NONE)
		return (struct gpt2c_table){ 0 };
	return (struct gpt2c_table){ .rows = tables[which],
				      .scales = dtype == GW_I8 ? scales[which] : NULL,
				      .row_bytes = n_embd * gw_dtype_bytes(dtype),
				      .row_count = ROWS,
				      .dtype = dtype };
}

static void compare(const struct gpt2c_kernels *set, const struct gpt2c_kernels *reference,
		    struct gpt2c_run run, size_t offset)
{
	memset(got, 0x5a, sizeof got);
	memset(want, 0x5a, sizeof want);
	run.out = got + offset;
	gpt2c_kernels_run(set, &run);
	run.out = want + offset;
	gpt2c_kernels_run(reference, &run);
	for (size_t i = 0; i < FLOATS; i++)
		if (gw_f32_bits(got[i]) != gw_f32_bits(want[i]) &&
		    !(is_nan(got[i]) && is_nan(want[i]) &&
		      (run.wpe.rows || run.wte.dtype == GW_I8))) {
			printf("%s: wte %u, wpe %u, n_embd %zu, offset %zu: element %zu is %08x, "
			       "not %08x\n",
			       set->name, run.wte.dtype, run.wpe.dtype, run.n_embd, offset, i,
			       gw_f32_bits(got[i]), gw_f32_bits(want[i]));
			exit(EXIT_FAILURE);
		}
}

static void compare_types(const struct gpt2c_kernels *set, const struct gpt2c_kernels *reference,
			  unsigned wte, unsigned wpe)
{
	static const int32_t ids[BATCH * SEQ] = { 8, 0, 3, 3, 1, 6, 5, 2, 7 };
	struct gpt2c_run run = { .ids = ids, .batch = BATCH, .seq = SEQ, .stride = SEQ };

	for (size_t n = 1; n <= MAX_EMBD; n++) {
		run.wte = table(0, wte, n);
		run.wpe = table(1, wpe, n);
		run.n_embd = n;
		run.stream = false;
		compare(set, reference, run, 1);
		run.stream = n % GPT2C_STREAM_FLOATS == 0;
		compare(set, reference, run, n % 15);
	}
}

int main(void)
{
	const struct gpt2c_kernels *set, *reference = &gpt2c_kernels_portable;
	size_t index = 0;

	fill();
	for (; (set = gpt2c_kernels_at(index)) != reference; index++) {
		for (unsigned wte = GW_F32; wte <= GW_I8; wte++)
			for (unsigned wpe = GW_DTYPE_NONE; wpe <= GW_I8; wpe++)
				compare_types(set, reference, wte, wpe);
		printf("%s agrees with %s\n", set->name, reference->name);
	}
	return index > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
