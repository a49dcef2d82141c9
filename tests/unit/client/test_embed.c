/* SPDX-License-Identifier: MIT */
/* Rows and the forward pass: values, and every way to ask for what is not there. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/store.h"
#include "tests/support/fixture.h"

#define VOCAB 50
#define POSITIONS 20
#define EMBD 24
#define BATCH 3
#define SEQ 5
#define TOKENS (BATCH * SEQ)

static char *folder;
static gpt2c_store *store;   /* with positions */
static gpt2c_store *without; /* and without */
static float out[TOKENS * EMBD], pattern[TOKENS * EMBD];
static gpt2c_error error;

static gpt2c_store *open_pack(uint64_t n_positions, unsigned wte, unsigned wpe)
{
	const char *path = fixture_path(folder, "p.gpt2w");
	gpt2c_store *opened = NULL;

	fixture_pack(path, VOCAB, n_positions, EMBD, wte, wpe);
	error = (gpt2c_error)GPT2C_ERROR_INIT;
	ck_assert_code(error, gpt2c_open_file(path, &opened, &error), GPT2C_OK);
	return opened;
}

static void setup(void)
{
	folder = fixture_folder_new();
	store = open_pack(POSITIONS, GW_F32, GW_F32);
	without = open_pack(0, GW_F32, GW_DTYPE_NONE);
	memset(pattern, 0xa5, sizeof pattern);
	memcpy(out, pattern, sizeof out);
	errno = 4242;
}

static void teardown(void)
{
	ck_assert_int_eq(errno, 4242);
	gpt2c_close(store);
	gpt2c_close(without);
	ck_assert_int_eq(errno, 4242);
	fixture_folder_free(folder);
}

static void expect_fail(int result, int code, int64_t index, const char *text)
{
	ck_assert_msg(result == code, "%d instead of %d: %s", result, code, error.message);
	ck_assert_int_eq(error.code, code);
	ck_assert_int_eq(error.sys_errno, 0);
	ck_assert_int_eq(error.index, index);
	ck_assert_msg(strstr(error.message, text) != NULL, "%s", error.message);
	ck_assert_mem_eq(out, pattern, sizeof out);
}

static const int32_t ids[TOKENS] = { 0, 49, 7, 7, 1, 2, 3, 48, 0, 5, 6, 9, 11, 49, 30 };

/* What an element of the test tables is worth. */
static float value(unsigned dtype, uint64_t seed, uint64_t row, uint64_t column)
{
	float exact = fixture_value(seed, row, column);

	return dtype == GW_I8 ? (float)(int8_t)(exact / 2) * fixture_scale(seed, row) : exact;
}

/* _i: the pair of types, and the set of kernels */
START_TEST(test_values)
{
	static const int32_t positions[TOKENS] = {
		0, 0, 19, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 18, 19
	};
	unsigned wte = GW_F32 + (unsigned)_i % 4, wpe = GW_F32 + (unsigned)_i / 4;
	gpt2c_store *mixed = open_pack(POSITIONS, wte, wpe);

	for (size_t set = 0; (mixed->kernels = gpt2c_kernels_at(set)); set++) {
		ck_assert_int_eq(gpt2c_embed(mixed, ids, BATCH, SEQ, 15, out, NULL), GPT2C_OK);
		for (size_t i = 0; i < TOKENS * EMBD; i++)
			ck_assert(out[i] ==
				  value(wte, 1, (uint64_t)ids[i / EMBD], i % EMBD) +
					  value(wpe, 2, 15 + i / EMBD % SEQ, i % EMBD));
		ck_assert_int_eq(gpt2c_embed_at(mixed, ids, positions, TOKENS, out, NULL),
				 GPT2C_OK);
		for (size_t i = 0; i < TOKENS * EMBD; i++)
			ck_assert(out[i] ==
				  value(wte, 1, (uint64_t)ids[i / EMBD], i % EMBD) +
					  value(wpe, 2, (uint64_t)positions[i / EMBD], i % EMBD));
		ck_assert_int_eq(gpt2c_embed_at(mixed, ids, NULL, TOKENS, out, NULL), GPT2C_OK);
		for (size_t i = 0; i < TOKENS * EMBD; i++)
			ck_assert(out[i] == value(wte, 1, (uint64_t)ids[i / EMBD], i % EMBD));
	}
	gpt2c_close(mixed);
}
END_TEST

START_TEST(test_without_positions)
{
	int32_t zero = 0;

	expect_fail(gpt2c_embed_at(without, ids, &zero, 1, out, &error), GPT2C_E_POSITION, 0,
		    "no position table");
	ck_assert_int_eq(gpt2c_embed(without, ids, BATCH, SEQ, SIZE_MAX, out, &error), GPT2C_OK);
	for (size_t i = 0; i < TOKENS * EMBD; i++)
		ck_assert(out[i] == fixture_value(1, (uint64_t)ids[i / EMBD], i % EMBD));
}
END_TEST

START_TEST(test_rows)
{
	const void *rows[TOKENS];

	ck_assert_int_eq(gpt2c_rows(store, ids, TOKENS, rows, &error), GPT2C_OK);
	for (size_t t = 0; t < TOKENS; t++) {
		ck_assert_uint_eq((uintptr_t)rows[t] % 64, 0);
		for (size_t i = 0; i < EMBD; i++)
			ck_assert(((const float *)rows[t])[i] ==
				  fixture_value(1, (uint64_t)ids[t], i));
	}
}
END_TEST

/* Rows of int8, and the scales that the caller multiplies them by. */
START_TEST(test_rows_of_int8)
{
	gpt2c_store *small = open_pack(POSITIONS, GW_I8, GW_I8);
	gpt2c_tensor wte = { .size = sizeof wte }, wpe = { .size = sizeof wpe };
	const void *rows[TOKENS];

	ck_assert_int_eq(gpt2c_get_tensor(small, GW_WTE_NAME, &wte), GPT2C_OK);
	ck_assert_uint_eq(wte.dtype, GPT2C_I8);
	ck_assert_uint_eq(wte.row_bytes, 64);
	ck_assert_ptr_nonnull(wte.scales);
	ck_assert_int_eq(gpt2c_rows(small, ids, TOKENS, rows, &error), GPT2C_OK);
	for (size_t i = 0; i < TOKENS * EMBD; i++) {
		uint64_t id = (uint64_t)ids[i / EMBD];

		ck_assert_ptr_eq(rows[i / EMBD], (const uint8_t *)wte.data + id * 64);
		ck_assert((float)((const int8_t *)rows[i / EMBD])[i % EMBD] * wte.scales[id] ==
			  value(GW_I8, 1, id, i % EMBD));
	}
	ck_assert_int_eq(gpt2c_get_tensor(small, GW_WPE_NAME, &wpe), GPT2C_OK);
	for (uint64_t r = 0; r < POSITIONS; r++)
		ck_assert(wpe.scales[r] == fixture_scale(2, r));
	gpt2c_close(small);
}
END_TEST

/* Types whose scales are fetched too, and not; whether rows come is for clocks to say. */
START_TEST(test_prefetch)
{
	const int32_t *odd = (const int32_t *)(const void *)((const char *)ids + 1);
	gpt2c_store *small = open_pack(POSITIONS, GW_I8, GW_I8);
	int32_t bad[2] = { 0, VOCAB };

	ck_assert_int_eq(gpt2c_prefetch(store, ids, TOKENS), GPT2C_OK);
	ck_assert_int_eq(gpt2c_prefetch(small, ids, TOKENS), GPT2C_OK);
	ck_assert_int_eq(gpt2c_prefetch(store, NULL, 0), GPT2C_OK);
	ck_assert_int_eq(gpt2c_prefetch(store, NULL, 1), GPT2C_E_ARGUMENT);
	ck_assert_int_eq(gpt2c_prefetch(store, odd, 1), GPT2C_E_ARGUMENT);
	ck_assert_int_eq(gpt2c_prefetch(NULL, ids, 1), GPT2C_E_ARGUMENT);
	ck_assert_int_eq(gpt2c_prefetch(store, bad, 1), GPT2C_OK);
	ck_assert_int_eq(gpt2c_prefetch(store, bad, 2), GPT2C_E_ID);
	bad[1] = -1;
	ck_assert_int_eq(gpt2c_prefetch(store, bad, 2), GPT2C_E_ID);
	gpt2c_close(small);
}
END_TEST

static const int32_t bad_ids[] = { -1, VOCAB, INT32_MAX, INT32_MIN };

/* _i: which of these */
START_TEST(test_bad_id)
{
	const void *rows[TOKENS], *before[TOKENS];
	int32_t bad[TOKENS];

	memset(rows, 0xa5, sizeof rows);
	memcpy(before, rows, sizeof rows);
	for (int at = TOKENS - 1; at >= 0; at--) {
		memcpy(bad, ids, sizeof bad);
		bad[at] = bad_ids[_i];
		bad[TOKENS - 1] = bad_ids[_i];
		expect_fail(gpt2c_embed(store, bad, BATCH, SEQ, 0, out, &error), GPT2C_E_ID, at,
			    "the model has 50 ids (0 to 49)");
		expect_fail(gpt2c_embed_at(store, bad, NULL, TOKENS, out, &error), GPT2C_E_ID, at,
			    "the model has 50 ids (0 to 49)");
		expect_fail(gpt2c_rows(store, bad, TOKENS, rows, &error), GPT2C_E_ID, at,
			    "the model has 50 ids (0 to 49)");
		ck_assert_mem_eq(rows, before, sizeof rows);
	}
}
END_TEST

START_TEST(test_bad_position)
{
	static const int32_t bad[] = { -1, POSITIONS, INT32_MAX, INT32_MIN };
	int32_t positions[TOKENS];

	for (size_t i = 0; i < 4; i++)
		for (int at = TOKENS - 1; at >= 0; at--) {
			memset(positions, 0, sizeof positions);
			positions[at] = bad[i];
			positions[TOKENS - 1] = bad[i];
			expect_fail(gpt2c_embed_at(store, ids, positions, TOKENS, out, &error),
				    GPT2C_E_POSITION, at, "the model has 20 positions (0 to 19)");
		}
}
END_TEST

START_TEST(test_past)
{
	ck_assert_int_eq(gpt2c_embed(store, ids, BATCH, SEQ, POSITIONS - SEQ, out, &error),
			 GPT2C_OK);
	memcpy(out, pattern, sizeof out);
	expect_fail(gpt2c_embed(store, ids, BATCH, SEQ, POSITIONS - SEQ + 1, out, &error),
		    GPT2C_E_POSITION, SEQ - 1,
		    "position 20 of token 4 does not exist: the model has 20 positions (0 to 19)");
	expect_fail(gpt2c_embed(store, ids, BATCH, SEQ, POSITIONS - 1, out, &error),
		    GPT2C_E_POSITION, 1, "position 20 of token 1 ");
	expect_fail(gpt2c_embed(store, ids, BATCH, SEQ, POSITIONS, out, &error), GPT2C_E_POSITION,
		    0, "position 20 of token 0 ");
	expect_fail(gpt2c_embed(store, ids, BATCH, SEQ, SIZE_MAX, out, &error), GPT2C_E_POSITION, 0,
		    "position 18446744073709551615 of token 0 ");
	expect_fail(gpt2c_embed(store, ids, 1, 1, SIZE_MAX - 1, out, &error), GPT2C_E_POSITION, 0,
		    "position 18446744073709551614 of token 0 ");
}
END_TEST

START_TEST(test_sizes)
{
	const void *rows[1];

	expect_fail(gpt2c_embed(store, ids, 0, SEQ, 0, out, &error), GPT2C_E_SIZE, -1, "no tokens");
	expect_fail(gpt2c_embed(store, ids, BATCH, 0, 0, out, &error), GPT2C_E_SIZE, -1,
		    "no tokens");
	expect_fail(gpt2c_embed_at(store, ids, NULL, 0, out, &error), GPT2C_E_SIZE, -1,
		    "no tokens");
	expect_fail(gpt2c_rows(store, ids, 0, rows, &error), GPT2C_E_SIZE, -1, "no tokens");
	expect_fail(gpt2c_embed(store, ids, SIZE_MAX, 2, 0, out, &error), GPT2C_E_SIZE, -1,
		    "more than");
	expect_fail(gpt2c_embed(store, ids, (size_t)1 << 32, (size_t)1 << 32, 0, out, &error),
		    GPT2C_E_SIZE, -1, "more than");
	/* 2^64 / 96, so that the bytes wrap to few */
	expect_fail(gpt2c_embed(store, ids, SIZE_MAX / 96 + 1, 1, 0, out, &error), GPT2C_E_SIZE, -1,
		    "more than");
	expect_fail(gpt2c_embed_at(store, ids, ids, SIZE_MAX / 96 + 1, out, &error), GPT2C_E_SIZE,
		    -1, "more than");
	expect_fail(gpt2c_embed_at(store, ids, ids, SIZE_MAX / 192 + 1, out, &error), GPT2C_E_SIZE,
		    -1, "more than");
	expect_fail(gpt2c_rows(store, ids, SIZE_MAX / 8 + 1, rows, &error), GPT2C_E_SIZE, -1,
		    "more than");
}
END_TEST

START_TEST(test_arguments)
{
	gpt2c_error unsized = { 0 };
	const void *rows[1];
	int32_t positions[TOKENS] = { 0 };
	float *odd = (float *)(void *)((char *)out + 2);
	const int32_t *odd_ids = (const int32_t *)(const void *)((const char *)ids + 1);

	expect_fail(gpt2c_embed(NULL, ids, 1, 1, 0, out, &error), GPT2C_E_ARGUMENT, -1,
		    "store is NULL");
	expect_fail(gpt2c_embed_at(NULL, ids, NULL, 1, out, &error), GPT2C_E_ARGUMENT, -1,
		    "store is");
	expect_fail(gpt2c_rows(NULL, ids, 1, rows, &error), GPT2C_E_ARGUMENT, -1, "store is NULL");
	expect_fail(gpt2c_embed(store, NULL, 1, 1, 0, out, &error), GPT2C_E_ARGUMENT, -1,
		    "ids is NULL");
	expect_fail(gpt2c_rows(store, NULL, 1, rows, &error), GPT2C_E_ARGUMENT, -1, "ids is NULL");
	expect_fail(gpt2c_embed(store, ids, 1, 1, 0, NULL, &error), GPT2C_E_ARGUMENT, -1, "output");
	expect_fail(gpt2c_rows(store, ids, 1, NULL, &error), GPT2C_E_ARGUMENT, -1, "output");
	expect_fail(gpt2c_embed(store, ids, 1, 1, 0, odd, &error), GPT2C_E_ARGUMENT, -1, "aligned");
	expect_fail(gpt2c_embed(store, odd_ids, 1, 1, 0, out, &error), GPT2C_E_ARGUMENT, -1,
		    "ids is not aligned");
	expect_fail(gpt2c_embed_at(store, ids, odd_ids, 1, out, &error), GPT2C_E_ARGUMENT, -1,
		    "positions is not aligned");
	/* the caller's fault, and seen before anything is written */
	expect_fail(gpt2c_embed(store, (const int32_t *)(const void *)out, 1, 1, 0, out, &error),
		    GPT2C_E_ARGUMENT, -1, "overlaps ids");
	expect_fail(gpt2c_embed(store, (const int32_t *)(const void *)(out + EMBD - 1), 1, 1, 0,
				out, &error),
		    GPT2C_E_ARGUMENT, -1, "overlaps ids");
	expect_fail(gpt2c_embed_at(store, ids, (const int32_t *)(const void *)out, 1, out + 0,
				   &error),
		    GPT2C_E_ARGUMENT, -1, "overlaps positions");
	expect_fail(gpt2c_embed_at(store, positions, positions, 1, (float *)(void *)positions,
				   &error),
		    GPT2C_E_ARGUMENT, -1, "overlaps");
	/* an error that says no size is no place to write to */
	ck_assert_int_eq(gpt2c_embed(store, ids, 1, 1, 0, out, &unsized), GPT2C_E_ARGUMENT);
	ck_assert_int_eq(gpt2c_embed_at(store, ids, NULL, 1, out, &unsized), GPT2C_E_ARGUMENT);
	ck_assert_int_eq(gpt2c_rows(store, ids, 1, rows, &unsized), GPT2C_E_ARGUMENT);
	ck_assert_mem_eq(out, pattern, sizeof out);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client/embed");
	TCase *tcase = tcase_create("embed");

	tcase_add_checked_fixture(tcase, fixture_fds_setup, fixture_fds_teardown);
	tcase_add_checked_fixture(tcase, setup, teardown);
	suite_add_tcase(suite, tcase);
	tcase_add_loop_test(tcase, test_values, 0, 16);
	tcase_add_loop_test(tcase, test_bad_id, 0, 4);
	tcase_add_test(tcase, test_without_positions);
	tcase_add_test(tcase, test_rows);
	tcase_add_test(tcase, test_rows_of_int8);
	tcase_add_test(tcase, test_prefetch);
	tcase_add_test(tcase, test_bad_position);
	tcase_add_test(tcase, test_past);
	tcase_add_test(tcase, test_sizes);
	tcase_add_test(tcase, test_arguments);
	return fixture_main(suite);
}
