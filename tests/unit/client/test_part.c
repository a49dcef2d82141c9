/* SPDX-License-Identifier: MIT */
/* Parts of a forward pass: together the whole, each element once, no cache line in common. */
#include <stdlib.h>
#include <string.h>

#include "client/store.h"
#include "tests/support/fixture.h"

#define VOCAB 50
#define POSITIONS 40
#define MAX_EMBD 48
#define MAX_TOKENS 64
#define LINE_FLOATS 16
#define MAX_FLOATS (MAX_TOKENS * MAX_EMBD)
#define PATTERN 0x5a5a5a5a

static char *folder;
static int32_t ids[MAX_TOKENS];
static float whole[MAX_FLOATS];
static float memory[MAX_FLOATS + LINE_FLOATS] __attribute__((aligned(64)));
static size_t writers[MAX_FLOATS];

static void setup(void)
{
	folder = fixture_folder_new();
	for (size_t i = 0; i < MAX_TOKENS; i++)
		ids[i] = (int32_t)(i * 7 % VOCAB);
}

static void teardown(void)
{
	fixture_folder_free(folder);
}

static gpt2c_store *open_pack(uint64_t n_positions, uint64_t n_embd, unsigned dtype)
{
	const char *path = fixture_path(folder, "p.gpt2w");
	gpt2c_error error = GPT2C_ERROR_INIT;
	gpt2c_store *store = NULL;

	fixture_pack(path, VOCAB, n_positions, n_embd, dtype, GW_F32);
	ck_assert_code(error, gpt2c_open_file(path, &store, &error), GPT2C_OK);
	return store;
}

/* Runs one part at out and notes which elements it wrote. Values of the fixture are no PATTERN. */
static void run_part(const gpt2c_store *store, size_t batch, size_t seq, float *out, size_t part,
		     size_t n_parts)
{
	gpt2c_error error = GPT2C_ERROR_INIT;
	size_t n = batch * seq * store->n_embd;
	const float *end = memory + sizeof memory / sizeof *memory;

	memset(memory, PATTERN & 0xff, sizeof memory);
	ck_assert_code(error,
		       gpt2c_embed_part(store, ids, batch, seq, 3, out, part, n_parts, &error),
		       GPT2C_OK);
	for (const float *at = memory; at < end; at++) {
		size_t i = (size_t)(at - out);

		if (gw_f32_bits(*at) == PATTERN)
			continue;
		if (at < out || i >= n || writers[i] || gw_f32_bits(*at) != gw_f32_bits(whole[i]))
			ck_abort_msg("%zu x %zu, part %zu of %zu: element %td", batch, seq, part,
				     n_parts, at - out);
		writers[i] = part + 1;
	}
}

/* All parts of a shape, with out that many elements into a cache line. */
static void check_shape(const gpt2c_store *store, size_t batch, size_t seq, size_t n_parts,
			size_t offset)
{
	float *out = memory + offset;
	size_t n = batch * seq * store->n_embd;

	memset(writers, 0, sizeof writers);
	for (size_t part = 0; part < n_parts; part++)
		run_part(store, batch, seq, out, part, n_parts);
	for (size_t i = 0; i < n; i++) {
		bool new_line = (i + offset) % LINE_FLOATS == 0;

		if (!writers[i])
			ck_abort_msg("%zu x %zu in %zu parts: element %zu is missing", batch, seq,
				     n_parts, i);
		if (i > 0 && !new_line && writers[i] != writers[i - 1] &&
		    store->n_embd >= LINE_FLOATS)
			ck_abort_msg("%zu x %zu in %zu parts: two write the line of element %zu",
				     batch, seq, n_parts, i);
	}
}

/* _i: elements of a row, type, and whether stores pass the caches */
START_TEST(test_all)
{
	static const size_t embds[] = { 3, 16, 24, 48 };
	static const size_t shapes[][2] = { { 1, 1 },  { 1, 7 }, { 4, 8 }, { 3, 5 },
					    { 12, 1 }, { 7, 2 }, { 2, 32 } };
	gpt2c_store *store = open_pack(POSITIONS, embds[_i % 4], GW_F32 + (unsigned)_i / 4 % 4);

	store->stream_above = _i / 16 ? 0 : UINT64_MAX;
	for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
		size_t batch = shapes[i][0], seq = shapes[i][1];

		ck_assert_int_eq(gpt2c_embed(store, ids, batch, seq, 3, whole, NULL), GPT2C_OK);
		for (size_t n_parts = 1; n_parts < 10; n_parts++)
			for (size_t offset = 0; offset < LINE_FLOATS; offset += 3)
				check_shape(store, batch, seq, n_parts, offset);
	}
	gpt2c_close(store);
}
END_TEST

START_TEST(test_without_positions)
{
	gpt2c_store *store = open_pack(0, 24, GW_F32);

	ck_assert_int_eq(gpt2c_embed(store, ids, 4, 8, SIZE_MAX, whole, NULL), GPT2C_OK);
	check_shape(store, 4, 8, 3, 5);
	gpt2c_close(store);
}
END_TEST

/* More parts than tokens, up to the largest number there is: all but the first have nothing to do. */
START_TEST(test_many_parts)
{
	gpt2c_store *store = open_pack(POSITIONS, 24, GW_F32);

	ck_assert_int_eq(gpt2c_embed(store, ids, 2, 1, 3, whole, NULL), GPT2C_OK);
	check_shape(store, 2, 1, 100, 4);
	memset(writers, 0, sizeof writers);
	run_part(store, 2, 1, memory, SIZE_MAX - 1, SIZE_MAX);
	for (size_t i = 0; i < MAX_FLOATS; i++)
		ck_assert(writers[i] == 0);
	gpt2c_close(store);
}
END_TEST

START_TEST(test_arguments)
{
	gpt2c_store *store = open_pack(POSITIONS, 24, GW_F32);
	gpt2c_error error = GPT2C_ERROR_INIT;

	memset(memory, PATTERN & 0xff, sizeof memory);
	ck_assert_int_eq(gpt2c_embed_part(store, ids, 2, 4, 0, memory, 0, 0, &error),
			 GPT2C_E_ARGUMENT);
	ck_assert_str_eq(error.message, "there is no part 0 of 0");
	ck_assert_int_eq(gpt2c_embed_part(store, ids, 2, 4, 0, memory, 2, 2, &error),
			 GPT2C_E_ARGUMENT);
	ck_assert_int_eq(gpt2c_embed_part(NULL, ids, 2, 4, 0, memory, 0, 2, &error),
			 GPT2C_E_ARGUMENT);
	ck_assert_int_eq(gpt2c_embed_part(store, ids, 0, 4, 0, memory, 0, 2, &error), GPT2C_E_SIZE);
	ck_assert_int_eq(gpt2c_embed_part(store, ids, 2, 4, POSITIONS - 3, memory, 0, 2, &error),
			 GPT2C_E_POSITION);
	ck_assert_int_eq(error.index, 3);
	/* wherever the bad id stands, all parts see it before they write */
	ids[7] = VOCAB;
	for (size_t part = 0; part < 2; part++) {
		error.index = -1;
		ck_assert_int_eq(gpt2c_embed_part(store, ids, 2, 4, 0, memory, part, 2, &error),
				 GPT2C_E_ID);
		ck_assert_int_eq(error.index, 7);
	}
	for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
		ck_assert(gw_f32_bits(memory[i]) == PATTERN);
	gpt2c_close(store);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client/part");
	TCase *tcase = tcase_create("part");

	tcase_add_checked_fixture(tcase, fixture_fds_setup, fixture_fds_teardown);
	tcase_add_checked_fixture(tcase, setup, teardown);
	suite_add_tcase(suite, tcase);
	tcase_add_loop_test(tcase, test_all, 0, 32);
	tcase_add_test(tcase, test_without_positions);
	tcase_add_test(tcase, test_many_parts);
	tcase_add_test(tcase, test_arguments);
	return fixture_main(suite);
}
