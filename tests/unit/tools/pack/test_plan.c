/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "format/dtype.h"
#include "tests/support/fixture.h"
#include "tools/pack/element.h"
#include "tools/pack/plan.h"

/* A source in memory; up to 4 tensors. */
struct made {
	struct pack_tensor items[4];
	struct pack_source source;
};

static void add(struct made *made, const char *name, const char *element, unsigned rank,
		uint64_t rows, uint64_t columns)
{
	struct pack_tensor *tensor = &made->items[made->source.tensors.n++];

	*tensor = (struct pack_tensor){
		.name = (char *)(uintptr_t)name,
		.element = pack_element_find(element),
		.rank = rank,
		.shape = { rows, columns },
	};
	made->source.tensors.items = made->items;
}

static int make(const struct made *made, const struct pack_wish *wish, struct pack_plan *out,
		struct gw_error *error)
{
	return pack_plan_make(&made->source, wish, out, error);
}

static bool matches(const char *name, const char *canonical, const char *base)
{
	struct pack_tensor tensor = { .name = (char *)(uintptr_t)name, .canonical = canonical };

	return pack_plan_matches(&tensor, base);
}

START_TEST(prefixes)
{
	static const char *const good[] = {
		"wte.weight",
		"transformer.wte.weight",
		"model.wte.weight",
		"module.transformer.wte.weight",
		"_orig_mod.transformer.wte.weight",
		"model.model._orig_mod.module.transformer.wte.weight",
	};
	static const char *const bad[] = {
		"",
		"wte",
		"xwte.weight",
		"h.0.wte.weight",
		"wte.weight.x",
		"transformer.",
		"transformerwte.weight",
		"lm_head.weight",
	};

	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		ck_assert_msg(matches(good[i], NULL, "wte.weight"), "%s", good[i]);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		ck_assert_msg(!matches(bad[i], NULL, "wte.weight"), "%s", bad[i]);
}
END_TEST

/* What the format says counts, and then nothing else. */
START_TEST(canonical)
{
	ck_assert(matches("token_embd.weight", GW_WTE_NAME, "wte.weight"));
	ck_assert(!matches("token_embd.weight", GW_WTE_NAME, "wpe.weight"));
	ck_assert(!matches("wpe.weight", GW_WTE_NAME, "wpe.weight"));
	ck_assert(!matches("token_embd.weight", NULL, "wte.weight"));
}
END_TEST

START_TEST(found)
{
	struct made made = { 0 };
	struct pack_wish wish = { 0 };
	struct gw_error error = GW_ERROR_INIT;
	struct pack_plan plan;

	add(&made, "lm_head.weight", "F32", 2, 5, 4);
	add(&made, "transformer.wte.weight", "BF16", 2, 5, 4);
	add(&made, "transformer.wpe.weight", "F32", 2, 3, 4);
	made.source.config = (struct pack_config){ .n_layer = 2, .n_head = 1, .n_vocab = 4 };
	ck_assert_code(error, make(&made, &wish, &plan, &error), GW_OK);
	ck_assert_uint_eq(plan.n_tables, 2);
	ck_assert_ptr_eq(plan.tables[0].tensor, &made.items[1]);
	ck_assert_ptr_eq(plan.tables[1].tensor, &made.items[2]);
	ck_assert_uint_eq(plan.tables[0].to, GW_BF16);
	ck_assert_uint_eq(plan.tables[1].to, GW_F32);
	ck_assert_uint_eq(plan.tables[0].take_bytes, 40);
	ck_assert_uint_eq(plan.n_layer, 2);
	ck_assert_uint_eq(plan.n_head, 1);
	ck_assert_str_eq(plan.note,
			 "wte: from transformer.wte.weight; wpe: from transformer.wpe.weight");
	ck_assert_ptr_nonnull(strstr(plan.warning, "--vocab 4"));
	pack_plan_deinit(&plan);

	wish = (struct pack_wish){ .n_vocab = 4, .dtype = GW_F16, .no_wpe = true };
	ck_assert_code(error, make(&made, &wish, &plan, &error), GW_OK);
	ck_assert_uint_eq(plan.n_tables, 1);
	ck_assert_uint_eq(plan.tables[0].rows, 4);
	ck_assert_uint_eq(plan.tables[0].take_bytes, 32);
	ck_assert_uint_eq(plan.tables[0].to, GW_F16);
	ck_assert_str_eq(plan.warning, "");
	ck_assert_str_eq(plan.note,
			 "wte: from transformer.wte.weight, first 4 of 5 rows, from bf16");
	pack_plan_deinit(&plan);

	wish = (struct pack_wish){ .wte = "lm_head.weight" };
	ck_assert_code(error, make(&made, &wish, &plan, &error), GW_OK);
	ck_assert_ptr_eq(plan.tables[0].tensor, &made.items[0]);
	pack_plan_deinit(&plan);
}
END_TEST

/* What is wrong, and a part of the message. */
static const struct wrong {
	struct {
		const char *name, *element;
		unsigned rank;
		uint64_t rows, columns;
	} tensors[3];
	struct pack_wish wish;
	struct pack_config config;
	const char *part;
} wrongs[] = {
	{ .part = "no tensor is called wte.weight" },
	{ .tensors = { { "wpe.weight", "F32", 2, 3, 4 } },
	  .part = "no tensor is called wte.weight" },
	{ .tensors = { { "wte.weight", "F32", 2, 5, 4 } }, .part = "--wpe none" },
	{ .tensors = { { "wte.weight", "F32", 2, 5, 4 }, { "model.wte.weight", "F32", 2, 5, 4 } },
	  .part = "\"wte.weight\" and \"model.wte.weight\"" },
	{ .tensors = { { "wte.weight", "F32", 2, 5, 4 }, { "wpe.weight", "F32", 2, 3, 8 } },
	  .part = "is [5, 4] and \"wpe.weight\" is [3, 8]" },
	{ .tensors = { { "wte.weight", "F32", 1, 5, 0 }, { "wpe.weight", "F32", 2, 3, 4 } },
	  .part = "has the shape [5]" },
	{ .tensors = { { "wte.weight", "F32", 2, 0, 4 }, { "wpe.weight", "F32", 2, 3, 4 } },
	  .part = "[0, 4]" },
	{ .tensors = { { "wte.weight", "F32", 2, UINT64_C(1) << 31, 4 },
		       { "wpe.weight", "F32", 2, 3, 4 } },
	  .part = "[2147483648, 4]" },
	{ .tensors = { { "wte.weight", "F32", 2, 1, (1 << 24) + 1 },
		       { "wpe.weight", "F32", 2, 3, 4 } },
	  .part = "[1, 16777217]" },
	{ .tensors = { { "wte.weight", "I64", 2, 5, 4 }, { "wpe.weight", "F32", 2, 3, 4 } },
	  .part = "\"wte.weight\" has the type I64" },
	{ .tensors = { { "wte.weight", "F32", 2, 5, 4 }, { "wpe.weight", "I8", 2, 3, 4 } },
	  .part = "\"wpe.weight\" has the type I8" },
	{ .tensors = { { "wte.weight", "F32", 2, 5, 4 }, { "wpe.weight", "F32", 2, 3, 4 } },
	  .wish = { .n_vocab = 6 },
	  .part = "--vocab 6" },
	{ .tensors = { { "wte.weight", "F32", 2, 5, 4 }, { "wpe.weight", "F32", 2, 3, 4 } },
	  .wish = { .wte = "nothing\x1b" },
	  .part = "\"nothing\\x1b\", which --wte" },
	{ .tensors = { { "wte.weight", "F32", 2, 5, 4 }, { "wpe.weight", "F32", 2, 3, 4 } },
	  .wish = { .wpe = "wte.weight" },
	  .part = "both wte and wpe" },
	{ .tensors = { { "wte.weight", "F32", 2, 5, 4 }, { "wpe.weight", "F32", 2, 3, 4 } },
	  .config = { .n_embd = 8 },
	  .part = "n_embd 8" },
	{ .tensors = { { "wte.weight", "F32", 2, 5, 4 }, { "wpe.weight", "F32", 2, 3, 4 } },
	  .config = { .n_vocab = 6 },
	  .part = "vocab_size 6" },
	{ .tensors = { { "wte.weight", "F32", 2, 5, 4 }, { "wpe.weight", "F32", 2, 3, 4 } },
	  .config = { .n_positions = 4 },
	  .part = "n_positions 4" },
};

START_TEST(refused)
{
	const struct wrong *wrong = &wrongs[_i];
	struct made made = { 0 };
	struct gw_error error = GW_ERROR_INIT;
	struct pack_plan plan, before;

	for (size_t i = 0; i < 3 && wrong->tensors[i].name; i++)
		add(&made, wrong->tensors[i].name, wrong->tensors[i].element,
		    wrong->tensors[i].rank, wrong->tensors[i].rows, wrong->tensors[i].columns);
	made.source.config = wrong->config;
	memset(&plan, 0x5a, sizeof plan);
	memcpy(&before, &plan, sizeof plan);
	ck_assert_code(error, make(&made, &wrong->wish, &plan, &error), GW_E_SOURCE_TABLES);
	ck_assert_msg(strstr(error.message, wrong->part) != NULL, "%s", error.message);
	ck_assert_mem_eq(&plan, &before, sizeof plan);
}
END_TEST

START_TEST(names)
{
	struct made made = { 0 };
	struct pack_tensor many[25];
	char text[PACK_NAMES_TEXT_BYTES], long_name[300];

	ck_assert_str_eq(pack_names_text(&made.source, text), "no tensor at all");
	add(&made, "a", "F32", 2, 5, 4);
	add(&made, "b\n", "F32", 2, 5, 4);
	ck_assert_str_eq(pack_names_text(&made.source, text), "\"a\", \"b\\x0a\"");
	memset(long_name, 'x', sizeof long_name);
	long_name[sizeof long_name - 1] = 0;
	for (size_t i = 0; i < 25; i++)
		many[i] = (struct pack_tensor){ .name = long_name };
	made.source.tensors = (struct pack_list){ .items = many, .n = 25 };
	pack_names_text(&made.source, text);
	ck_assert_str_eq(text + strlen(text) - 11, " and 5 more");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("plan");
	TCase *plan = fixture_case(suite, "plan");

	tcase_add_test(plan, prefixes);
	tcase_add_test(plan, canonical);
	tcase_add_test(plan, canonical);
	tcase_add_test(plan, found);
	tcase_add_loop_test(plan, refused, 0, sizeof wrongs / sizeof wrongs[0]);
	tcase_add_test(plan, names);
	return fixture_main(suite);
}
