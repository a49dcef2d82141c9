/* SPDX-License-Identifier: MIT */
/*
 * The twenty kernels of one set. Included once by each kernels_<set>.c, which has defined
 *   KERNELS             the name of its struct gpt2c_kernels
 *   KERNELS_NAME        its name as a string
 *   LANES               floats in a VECTOR; divides STEP
 *   VECTOR              a type of LANES floats
 *   vector_f32(p), vector_f16(p), vector_bf16(p), vector_i8(p)
 *                       LANES elements from p, of any alignment, as floats
 *   vector_scale(v, float scale), vector_add(a, b)   each rounded: never one FMA of both
 *   vector_store(float *p, VECTOR v)
 */
#include <stddef.h>
#include <stdint.h>

#include "client/kernels.h"
#include "format/dtype.h"

/* Elements between two groups of prefetches: four cache lines of an f32 row, two of a 16-bit one, one
 * of an 8-bit one. Measured on Zen 4 with random rows: groups of four lines beat single lines and
 * whole rows. */
#define STEP 64
#define LINE_BYTES 64
/* Rows ahead; measured likewise: more than two gain nothing. */
#define AHEAD 2

#define INLINE static inline __attribute__((always_inline))

/* One row of a table. */
struct row {
	const uint8_t *bytes;
	float scale; /* of GW_I8 */
};

INLINE struct row row_at(const struct gpt2c_table *table, size_t index, unsigned dtype)
{
	return (struct row){ .bytes = table->rows + index * table->row_bytes,
			     .scale = dtype == GW_I8 ? table->scales[index] : 1 };
}

INLINE VECTOR load_vector(struct row row, size_t i, unsigned dtype)
{
	switch (dtype) {
	case GW_F32:
		return vector_f32((const float *)(const void *)row.bytes + i);
	case GW_F16:
		return vector_f16((const uint16_t *)(const void *)row.bytes + i);
	case GW_BF16:
		return vector_bf16((const uint16_t *)(const void *)row.bytes + i);
	default:
		return vector_scale(vector_i8((const int8_t *)row.bytes + i), row.scale);
	}
}

INLINE float load_element(struct row row, size_t i, unsigned dtype)
{
	switch (dtype) {
	case GW_F32:
		return ((const float *)(const void *)row.bytes)[i];
	case GW_F16:
		return gw_f16_to_f32(((const uint16_t *)(const void *)row.bytes)[i]);
	case GW_BF16:
		return gw_bf16_to_f32(((const uint16_t *)(const void *)row.bytes)[i]);
	default:
		return (float)((const int8_t *)row.bytes)[i] * row.scale;
	}
}

/* Into L2 (locality 2, PREFETCHT1): into L1 the core runs out of outstanding misses. */
INLINE void prefetch_step(const uint8_t *row, size_t i, unsigned dtype)
{
	size_t element_bytes = gw_dtype_bytes(dtype);
	const uint8_t *at = row + i * element_bytes;

	for (size_t line = 0; line < STEP * element_bytes; line += LINE_BYTES)
		__builtin_prefetch(at + line, 0, 2);
}

/* LANES elements from i on. wpe_dtype GW_DTYPE_NONE: b is not looked at. */
INLINE void embed_vector(float *out, struct row a, struct row b, size_t i, unsigned wte_dtype,
			 unsigned wpe_dtype)
{
	VECTOR v = load_vector(a, i, wte_dtype);

	if (wpe_dtype != GW_DTYPE_NONE)
		v = vector_add(v, load_vector(b, i, wpe_dtype));
	vector_store(out + i, v);
}

/* out[n] = a[n] + b[n], with the row at ahead brought closer meanwhile. */
INLINE void embed_row(float *out, struct row a, struct row b, const uint8_t *ahead, size_t n,
		      unsigned wte_dtype, unsigned wpe_dtype)
{
	size_t i = 0;

	for (; i + STEP <= n; i += STEP) {
		prefetch_step(ahead, i, wte_dtype);
		for (size_t k = 0; k < STEP; k += LANES)
			embed_vector(out, a, b, i + k, wte_dtype, wpe_dtype);
	}
	for (; i + LANES <= n; i += LANES)
		embed_vector(out, a, b, i, wte_dtype, wpe_dtype);
	for (; i < n; i++) {
		float value = load_element(a, i, wte_dtype);

		if (wpe_dtype != GW_DTYPE_NONE)
			value += load_element(b, i, wpe_dtype);
		out[i] = value;
	}
}

INLINE void embed_run(const struct gpt2c_run *run, unsigned wte_dtype, unsigned wpe_dtype)
{
	size_t in_sequence = 0;

	for (size_t t = 0; t < run->n; t++) {
		size_t next = (size_t)run->ids[t + AHEAD < run->n ? t + AHEAD : t];
		const uint8_t *ahead = run->wte.rows + next * run->wte.row_bytes;
		struct row a = row_at(&run->wte, (size_t)run->ids[t], wte_dtype);
		struct row b = { 0 };

		if (wte_dtype == GW_I8)
			__builtin_prefetch(run->wte.scales + next, 0, 2);
		if (wpe_dtype != GW_DTYPE_NONE) {
			size_t position = run->positions ? (size_t)run->positions[t]
							 : run->first_position + in_sequence;

			b = row_at(&run->wpe, position, wpe_dtype);
			in_sequence = in_sequence + 1 < run->seq ? in_sequence + 1 : 0;
		}
		embed_row(run->out + t * run->n_embd, a, b, ahead, run->n_embd, wte_dtype,
			  wpe_dtype);
	}
}

/* wte's dtype, wpe's dtype; constants, so that every pair is a loop of its own */
#define PAIRS(X)                  \
	X(GW_F32, GW_DTYPE_NONE)  \
	X(GW_F32, GW_F32)         \
	X(GW_F32, GW_F16)         \
	X(GW_F32, GW_BF16)        \
	X(GW_F32, GW_I8)          \
	X(GW_F16, GW_DTYPE_NONE)  \
	X(GW_F16, GW_F32)         \
	X(GW_F16, GW_F16)         \
	X(GW_F16, GW_BF16)        \
	X(GW_F16, GW_I8)          \
	X(GW_BF16, GW_DTYPE_NONE) \
	X(GW_BF16, GW_F32)        \
	X(GW_BF16, GW_F16)        \
	X(GW_BF16, GW_BF16)       \
	X(GW_BF16, GW_I8)         \
	X(GW_I8, GW_DTYPE_NONE)   \
	X(GW_I8, GW_F32)          \
	X(GW_I8, GW_F16)          \
	X(GW_I8, GW_BF16)         \
	X(GW_I8, GW_I8)

#define X(wte, wpe)                                                \
	static void run_##wte##_##wpe(const struct gpt2c_run *run) \
	{                                                          \
		embed_run(run, wte, wpe);                          \
	}
PAIRS(X)
#undef X

#define X(wte, wpe) .run[(wte)-GW_F32][wpe] = run_##wte##_##wpe,
const struct gpt2c_kernels KERNELS = { .name = KERNELS_NAME, PAIRS(X) };
#undef X
