/* SPDX-License-Identifier: MIT */
/* Blocks of every kind there and back, what they become, and the loops of every set alike. */
#include "format/block.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/block_kernels.h"
#include "format/digest.h"
#include "format/dtype.h"
#include "tests/support/fixture.h"

#define GUARD 64

static const unsigned dtypes[] = { GW_F32, GW_F16, GW_BF16, GW_I8 };
#define N_DTYPES 4

static uint64_t next(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* Nearly normal, deviation 0.02: twelve uniform numbers. */
static float weight(uint64_t *state)
{
	double sum = 0;

	for (int i = 0; i < 12; i++)
		sum += (double)(next(state) >> 11) * 0x1p-53;
	return (float)((sum - 6) * 0.02);
}

static void put_element(float value, unsigned dtype, uint8_t *out)
{
	int8_t small = (int8_t)(value * 1000);

	if (dtype == GW_I8)
		memcpy(out, &small, 1);
	else
		fixture_element(value, dtype, out);
}

static void fill_weights(uint8_t *raw, size_t bytes, unsigned dtype)
{
	unsigned width = gw_block_width(dtype);
	uint64_t state = 1;

	for (size_t i = 0; i + width <= bytes; i += width)
		put_element(weight(&state), dtype, raw + i);
}

static void fill_random(uint8_t *raw, size_t bytes, unsigned dtype)
{
	uint64_t state = dtype;

	for (size_t i = 0; i < bytes; i++)
		raw[i] = (uint8_t)next(&state);
}

static void fill_zeros(uint8_t *raw, size_t bytes, unsigned dtype)
{
	(void)dtype;
	memset(raw, 0, bytes);
}

static void fill_one_odd(uint8_t *raw, size_t bytes, unsigned dtype)
{
	fill_zeros(raw, bytes, dtype);
	raw[bytes / 2] = 0x5a;
}

/* What ordinary compression is good at: 1000 random bytes, again and again. */
static void fill_repeats(uint8_t *raw, size_t bytes, unsigned dtype)
{
	fill_random(raw, bytes < 1000 ? bytes : 1000, dtype);
	for (size_t i = 1000; i < bytes; i++)
		raw[i] = raw[i - 1000];
}

/* Rows of 96 elements, each nearly the one before, but of values far apart. */
static void fill_rows(uint8_t *raw, size_t bytes, unsigned dtype)
{
	unsigned width = gw_block_width(dtype);
	uint64_t columns[96], state = 3;

	for (size_t i = 0; i < 96; i++)
		columns[i] = next(&state);
	for (size_t i = 0; i + width <= bytes; i += width) {
		columns[i / width % 96] += (next(&state) % 3) << 56;
		memcpy(raw + i, (uint8_t *)&columns[i / width % 96] + 8 - width, width);
	}
}

static void (*const fills[])(uint8_t *raw, size_t bytes, unsigned dtype) = {
	fill_weights, fill_random, fill_zeros, fill_one_odd, fill_repeats, fill_rows,
};
#define N_FILLS (sizeof fills / sizeof fills[0])

/* Elements: around the steps of the vector loops and the sizes of zstd's header fields. */
static const size_t counts[] = { 1,   2,   3,   31,  32,  33,   63,        64,    65,
				 100, 255, 256, 257, 511, 4095, 65536 - 1, 65536, 1 << 18 };

static struct gw_block_encoder *encoder;
static struct gw_block_decoder *decoder;
static struct gw_error error;

static void setup(void)
{
	error = (struct gw_error)GW_ERROR_INIT;
	ck_assert_int_eq(gw_block_encoder_new(GW_BLOCK_LEVEL, &encoder, &error), 0);
	ck_assert_int_eq(gw_block_decoder_new(&gw_zstd_linked, &decoder, &error), 0);
}

static void teardown(void)
{
	gw_block_encoder_free(encoder);
	gw_block_decoder_free(decoder);
}

/* Encodes into a buffer of its own that is exactly as large as it says; free() ends it. */
static uint8_t *encode(unsigned dtype, uint64_t row_bytes, const uint8_t *raw, size_t bytes,
		       size_t *out_bytes)
{
	uint8_t *room = malloc(GW_BLOCK_BOUND(bytes)), *stored;

	ck_assert_ptr_nonnull(room);
	ck_assert_code(error,
		       gw_block_encode(encoder, dtype, row_bytes, raw, bytes, room,
				       GW_BLOCK_BOUND(bytes), out_bytes, &error),
		       0);
	ck_assert_uint_le(*out_bytes, GW_BLOCK_BOUND(bytes));
	stored = malloc(*out_bytes);
	ck_assert_ptr_nonnull(stored);
	memcpy(stored, room, *out_bytes);
	free(room);
	return stored;
}

/* By each of the decoder's ways; misplaced bytes beyond the block would show. */
static void check_decoded(unsigned dtype, const uint8_t *stored, size_t stored_bytes,
			  const uint8_t *raw, size_t bytes)
{
	uint8_t *back = aligned_alloc(64, (bytes + 2 * GUARD + 63) / 64 * 64);

	ck_assert_ptr_nonnull(back);
	for (unsigned way = 0; way < 5; way++) {
		uint8_t *to = back + way % 2;
		uint64_t digest = 0;
		int r;

		memset(back, 0xa5, bytes + GUARD + 1);
		if (way == 0)
			r = gw_block_decode(decoder, dtype, stored, stored_bytes, to, bytes,
					    &error);
		else
			r = gw_block_decode_far(decoder, dtype, stored, stored_bytes, to, bytes,
						way > 2 ? &digest : NULL, &error);
		ck_assert_code(error, r, 0);
		ck_assert_int_eq(memcmp(to, raw, bytes), 0);
		if (way > 2)
			ck_assert_uint_eq(digest, gw_hash64(raw, bytes));
		for (size_t i = 0; i < GUARD; i++)
			ck_assert_uint_eq(to[bytes + i], 0xa5);
	}
	free(back);
}

static void check_round_trip(unsigned dtype, uint64_t row_bytes, const uint8_t *raw, size_t bytes)
{
	size_t stored_bytes, again_bytes;
	uint8_t *stored = encode(dtype, row_bytes, raw, bytes, &stored_bytes);
	uint8_t *again = encode(dtype, row_bytes, raw, bytes, &again_bytes);

	check_decoded(dtype, stored, stored_bytes, raw, bytes);
	ck_assert_uint_eq(again_bytes, stored_bytes);
	ck_assert_int_eq(memcmp(again, stored, stored_bytes), 0);
	free(again);
	free(stored);
}

START_TEST(every_block_comes_back)
{
	unsigned dtype = dtypes[_i], width = gw_block_width(dtype);

	for (size_t f = 0; f < N_FILLS; f++)
		for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
			size_t bytes = counts[c] * width;
			uint8_t *raw = malloc(bytes);

			ck_assert_ptr_nonnull(raw);
			if (bytes <= GW_BLOCK_BYTES) {
				fills[f](raw, bytes, dtype);
				check_round_trip(dtype, 96 * width, raw, bytes);
				check_round_trip(dtype, 0, raw, bytes);
			}
			free(raw);
		}
}
END_TEST

/* Mode, kinds of its planes, and a stored size of at most so much. */
static const struct {
	unsigned dtype;
	void (*fill)(uint8_t *raw, size_t bytes, unsigned dtype);
	uint64_t row_bytes;
	unsigned mode;
	int kinds[GW_BLOCK_MAX_PLANES]; /* -1: none */
	size_t most_bytes;
} forms[] = {
	{ GW_F32, fill_weights, 3072, GW_BLOCK_PLANES, { 2, 0, 0, 0 }, 84 * GW_BLOCK_BYTES / 100 },
	{ GW_BF16, fill_weights, 1536, GW_BLOCK_PLANES, { 2, 0, -1 }, 67 * GW_BLOCK_BYTES / 100 },
	{ GW_F16, fill_weights, 1536, GW_BLOCK_PLANES, { 2, 0, -1 }, 85 * GW_BLOCK_BYTES / 100 },
	{ GW_I8, fill_weights, 768, GW_BLOCK_PLANES, { 2, -1 }, 82 * GW_BLOCK_BYTES / 100 },
	{ GW_F32, fill_random, 0, GW_BLOCK_RAW, { -1 }, GW_BLOCK_BYTES + 1 },
	{ GW_I8, fill_random, 0, GW_BLOCK_RAW, { -1 }, GW_BLOCK_BYTES + 1 },
	{ GW_F32, fill_zeros, 0, GW_BLOCK_PLANES, { 1, 1, 1, 1 }, 1 + 4 * 6 },
	{ GW_F16, fill_zeros, 0, GW_BLOCK_PLANES, { 1, 1, -1 }, 1 + 2 * 6 },
	{ GW_I8, fill_zeros, 0, GW_BLOCK_PLANES, { 1, -1 }, 1 + 6 },
	/* matches would shrink it 10,000 times, which is refused, so it is literals alone */
	{ GW_I8, fill_one_odd, 0, GW_BLOCK_PLANES, { 2, -1 }, GW_BLOCK_BYTES / 7 },
	{ GW_F32, fill_repeats, 0, GW_BLOCK_PLANES, { 2, 2, 2, 2 }, GW_BLOCK_BYTES / 50 },
	{ GW_I8, fill_rows, 96, GW_BLOCK_PLANES, { 3, -1 }, GW_BLOCK_BYTES / 4 },
	{ GW_BF16, fill_rows, 192, GW_BLOCK_PLANES, { 3, -1 }, GW_BLOCK_BYTES / 4 },
};

START_TEST(blocks_take_the_form_they_should)
{
	uint8_t *raw = malloc(GW_BLOCK_BYTES), *stored;
	size_t stored_bytes;

	ck_assert_ptr_nonnull(raw);
	forms[_i].fill(raw, GW_BLOCK_BYTES, forms[_i].dtype);
	stored = encode(forms[_i].dtype, forms[_i].row_bytes, raw, GW_BLOCK_BYTES, &stored_bytes);
	ck_assert_uint_eq(stored[0], forms[_i].mode);
	for (unsigned p = 0; p < GW_BLOCK_MAX_PLANES && forms[_i].kinds[p] >= 0; p++)
		ck_assert_int_eq(stored[GW_BLOCK_HEADER_BYTES + GW_PLANE_HEADER_BYTES * p],
				 forms[_i].kinds[p]);
	ck_assert_uint_le(stored_bytes, forms[_i].most_bytes);
	free(stored);
	free(raw);
}
END_TEST

START_TEST(arguments_are_checked)
{
	uint8_t raw[16] = { 0 }, out[32];
	size_t n = 99;
	struct gw_block_encoder *other;

	ck_assert_int_eq(gw_block_encoder_new(0, &other, NULL), GW_E_ARGUMENT);
	ck_assert_int_eq(gw_block_encoder_new(GW_BLOCK_MAX_LEVEL + 1, &other, NULL), GW_E_ARGUMENT);
	ck_assert_int_eq(gw_block_encode(encoder, 0, 0, raw, 16, out, 32, &n, NULL), GW_E_ARGUMENT);
	ck_assert_int_eq(gw_block_encode(encoder, 5, 0, raw, 16, out, 32, &n, NULL), GW_E_ARGUMENT);
	ck_assert_int_eq(gw_block_encode(encoder, GW_F32, 0, raw, 0, out, 32, &n, NULL),
			 GW_E_ARGUMENT);
	ck_assert_int_eq(gw_block_encode(encoder, GW_F32, 0, raw, 6, out, 32, &n, NULL),
			 GW_E_ARGUMENT);
	ck_assert_int_eq(gw_block_encode(encoder, GW_F32, 0, raw, 16, out, 16, &n, NULL),
			 GW_E_ARGUMENT);
	ck_assert_int_eq(gw_block_encode(encoder, GW_F32, 0, raw, GW_BLOCK_BYTES + 4, out,
					 GW_BLOCK_BYTES + 5, &n, NULL),
			 GW_E_ARGUMENT);
	ck_assert_uint_eq(n, 99);
	ck_assert_int_eq(gw_block_decode(decoder, 0, raw, 16, out, 15, NULL), GW_E_ARGUMENT);
	ck_assert_int_eq(gw_block_decode(decoder, GW_F16, raw, 16, out, 15, NULL), GW_E_ARGUMENT);
	ck_assert_int_eq(gw_block_decode(decoder, GW_F16, raw, 16, out, 0, NULL), GW_E_ARGUMENT);
	ck_assert_int_eq(gw_block_decode(decoder, GW_F16, raw, 16, out, GW_BLOCK_BYTES + 2, NULL),
			 GW_E_ARGUMENT);
	gw_block_encoder_free(NULL);
	gw_block_decoder_free(NULL);
}
END_TEST

/* A higher level is never larger by more than a header, and both come back. */
START_TEST(levels_decode_alike)
{
	uint8_t *raw = malloc(GW_BLOCK_BYTES);
	size_t low, high;
	uint8_t *stored;

	ck_assert_ptr_nonnull(raw);
	fill_repeats(raw, GW_BLOCK_BYTES, GW_I8);
	for (size_t i = 0; i < GW_BLOCK_BYTES; i += 700)
		raw[i] ^= (uint8_t)i;
	stored = encode(GW_BF16, 0, raw, GW_BLOCK_BYTES, &low);
	free(stored);
	gw_block_encoder_free(encoder);
	ck_assert_int_eq(gw_block_encoder_new(GW_BLOCK_MAX_LEVEL, &encoder, NULL), 0);
	check_round_trip(GW_BF16, 0, raw, GW_BLOCK_BYTES);
	stored = encode(GW_BF16, 0, raw, GW_BLOCK_BYTES, &high);
	free(stored);
	ck_assert_uint_lt(high, low);
	free(raw);
}
END_TEST

/* One set's loops against the portable ones; far: out is on a multiple of 64. */
static void check_join(const struct gw_block_kernels *kernels, int far, size_t n, const uint8_t *in)
{
	static _Alignas(64) uint8_t out[4 * 300 + GUARD];
	static uint8_t expected[4 * 300];
	const struct gw_block_join *portable = &gw_block_kernels_portable.join[0];
	/* exactly n elements each, so that a sanitizer sees a read past the end */
	uint8_t *top = malloc(n + !n), *rest = malloc(3 * n + !n);
	const uint8_t *planes[4] = { top, rest, rest + n, rest + 2 * n };

	ck_assert(top != NULL && rest != NULL);
	memcpy(top, in, n);
	memcpy(rest, in + n, 3 * n);
	memset(out, 0xa5, sizeof out);
	portable->four(expected, planes, n);
	kernels->join[far].four(out, planes, n);
	ck_assert_int_eq(memcmp(out, expected, 4 * n), 0);
	ck_assert_uint_eq(out[4 * n], 0xa5);
	portable->two(expected, planes, n);
	kernels->join[far].two(out, planes, n);
	ck_assert_int_eq(memcmp(out, expected, 2 * n), 0);
	memset(out, 0xa5, sizeof out);
	kernels->stream(out, rest, 3 * n);
	ck_assert_int_eq(memcmp(out, rest, 3 * n), 0);
	ck_assert_uint_eq(out[3 * n], 0xa5);
	free(top);
	free(rest);
}

START_TEST(kernels_agree)
{
	static uint8_t in[4 * 300], expected[300], out[300];
	const struct gw_block_kernels *kernels = gw_block_kernels_at((size_t)_i);

	if (!kernels)
		return;
	fill_random(in, sizeof in, 1);
	for (size_t n = 0; n <= 300; n++) {
		check_join(kernels, 0, n, in);
		check_join(kernels, 1, n, in);
		for (size_t distance = 64; distance < n; distance += 13) {
			memcpy(expected, in, n);
			for (size_t i = distance; i < n; i++)
				expected[i] = (uint8_t)(expected[i] + expected[i - distance]);
			memcpy(out, in, n);
			kernels->sum(out, n, distance);
			ck_assert_int_eq(memcmp(out, expected, n), 0);
		}
	}
}
END_TEST

/* 1.5 is 0x3fc00000: rotated left by one 0x7f800000, the exponent 127 in the top plane alone. */
START_TEST(the_exponent_is_the_top_plane)
{
	struct gw_block_histogram histogram = { 0 };
	float value = -1.5f;
	uint16_t half = 0xbfc0;

	gw_block_count(&histogram, GW_F32, (const uint8_t *)&value, 4);
	ck_assert_uint_eq(histogram.counts[0][127], 1);
	ck_assert_uint_eq(histogram.counts[1][0x80], 1);
	ck_assert_uint_eq(histogram.counts[2][0], 1);
	ck_assert_uint_eq(histogram.counts[3][1], 1);
	gw_block_count(&histogram, GW_BF16, (const uint8_t *)&half, 2);
	ck_assert_uint_eq(histogram.counts[0][127], 2);
	ck_assert_uint_eq(histogram.counts[1][0x81], 1);
	gw_block_count(&histogram, GW_I8, (const uint8_t *)"\x05", 1);
	ck_assert_uint_eq(histogram.counts[0][5], 1);
}
END_TEST

START_TEST(entropy_is_what_it_should_be)
{
	uint64_t flat[256], none[256] = { 0 };

	for (unsigned i = 0; i < 256; i++)
		flat[i] = 3;
	ck_assert(fabs(gw_plane_entropy(flat) - 8) < 1e-9);
	ck_assert(gw_plane_entropy(none) == 0);
	none[7] = 12;
	ck_assert(gw_plane_entropy(none) == 0);
	none[8] = 12;
	ck_assert(fabs(gw_plane_entropy(none) - 1) < 1e-9);
	none[9] = 24;
	ck_assert(fabs(gw_plane_entropy(none) - 1.5) < 1e-9);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("block");
	TCase *tcase = fixture_case(suite, "block");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, every_block_comes_back, 0, N_DTYPES);
	tcase_add_loop_test(tcase, blocks_take_the_form_they_should, 0,
			    sizeof forms / sizeof forms[0]);
	tcase_add_test(tcase, arguments_are_checked);
	tcase_add_test(tcase, levels_decode_alike);
	tcase_add_loop_test(tcase, kernels_agree, 0, 3);
	tcase_add_test(tcase, the_exponent_is_the_top_plane);
	tcase_add_test(tcase, entropy_is_what_it_should_be);
	return fixture_main(suite);
}
