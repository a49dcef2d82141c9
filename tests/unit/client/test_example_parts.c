/* SPDX-License-Identifier: MIT */
/* The manual page's example of several threads, with pthreads and, where there is one, with OpenMP. */
#include <string.h>

#include "client/example_parts.c"
#include "client/store.h"
#include "tests/support/fixture.h"

enum { BATCH = 3, SEQ = 5, EMBD = 24, FLOATS = BATCH * SEQ * EMBD };

START_TEST(test_both)
{
	static const int32_t ids[BATCH * SEQ] = { 0, 49, 7, 7, 1, 2, 3, 48, 0, 5, 6, 9, 11, 49, 30 };
	char *folder = fixture_folder_new();
	const char *path = fixture_path(folder, "p.gpt2w");
	float whole[FLOATS], out[FLOATS];
	gpt2c_store *store = NULL;
	struct pass pass = { .ids = ids, .batch = BATCH, .seq = SEQ, .out = out };

	fixture_pack(path, 50, 20, EMBD, GW_F32, GW_F32);
	ck_assert_int_eq(gpt2c_open_file(path, &store, NULL), GPT2C_OK);
	pass.store = store;
	ck_assert_int_eq(gpt2c_embed(store, ids, BATCH, SEQ, 0, whole, NULL), GPT2C_OK);
	memset(out, 0, sizeof out);
	ck_assert_int_eq(embed_pthreads(&pass), 0);
	ck_assert_mem_eq(out, whole, sizeof whole);
	memset(out, 0, sizeof out);
	ck_assert_int_eq(embed_openmp(&pass), 0);
	ck_assert_mem_eq(out, whole, sizeof whole);
	pass.seq = 0;
	ck_assert_int_eq(embed_pthreads(&pass), GPT2C_E_SIZE);
	ck_assert_int_eq(embed_openmp(&pass), GPT2C_E_SIZE);
	gpt2c_close(store);
	fixture_folder_free(folder);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client/example parts");
	TCase *tcase = fixture_case(suite, "parts");

	tcase_add_test(tcase, test_both);
	return fixture_main(suite);
}
