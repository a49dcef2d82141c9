/* SPDX-License-Identifier: MIT */
#include "tools/pack/plan_all.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/pack/compare.h"
#include "tools/pack/convert.h"
#include "tools/pack/element.h"
#include "tools/pack/limits.h"

#define PACK_QUOTE_BYTES 128
#define PACK_HEAD_NAME "lm_head.weight"
/* Integer types, BOOL, and the three reasons below: never more. */
#define PACK_MAX_REASONS 12

struct pack_left {
	const char *why;
	const struct pack_tensor *first;
	size_t n;
};

struct pack_all {
	const struct pack_source *source;
	const struct pack_wish *wish;
	struct pack_plan *plan;
	bool strip;
	struct pack_left left[PACK_MAX_REASONS];
	size_t n_left, n_reasons;
};

static const char *pack_quote_name(const char *name, char out[PACK_QUOTE_BYTES])
{
	return gw_quote(name, strlen(name), out, PACK_QUOTE_BYTES);
}

/* Whether the format's tensors have the names that Hugging Face gave them, or its prefixes. */
static bool pack_all_strips(const char *format)
{
	static const char *const formats[] = { "safetensors", "safetensors-sharded", "pytorch",
					       "pytorch-legacy",	"pytorch-sharded",
					       "llm.c" };

	for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
		if (strcmp(format, formats[i]) == 0)
			return true;
	}
	return false;
}

/* Of types that are no weights: masks, counters, indices. */
static bool pack_all_is_buffer(const struct pack_tensor *tensor)
{
	static const char *const names[] = { "BOOL", "U8",  "I8",  "I16", "U16",
					     "I32",  "U32", "I64", "U64" };

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (!tensor->stored && strcmp(pack_element_name(tensor->element), names[i]) == 0)
			return true;
	}
	return false;
}

static void pack_all_leave(struct pack_all *all, const struct pack_tensor *tensor, const char *why)
{
	size_t i = 0;

	while (i < all->n_reasons && strcmp(all->left[i].why, why) != 0)
		i++;
	all->n_left++;
	if (i == PACK_MAX_REASONS)
		return;
	if (i == all->n_reasons)
		all->left[all->n_reasons++] = (struct pack_left){ .why = why, .first = tensor };
	all->left[i].n++;
}

/* Whether tensor is the output head and has wte's bytes. */
static int pack_all_is_tied(const struct pack_all *all, const struct pack_tensor *tensor,
			    bool *out_tied, struct gw_error *error)
{
	const struct pack_tensor *wte = all->plan->tables[0].tensor;

	*out_tied = false;
	if (!pack_plan_matches(tensor, PACK_HEAD_NAME) || tensor->rank != 2 ||
	    tensor->element != wte->element || tensor->size_bytes != wte->size_bytes ||
	    tensor->shape[0] != wte->shape[0] || tensor->shape[1] != wte->shape[1])
		return GW_OK;
	return pack_compare(all->source, wte, tensor, out_tied, error);
}

static bool pack_all_is_empty(const struct pack_tensor *tensor)
{
	for (unsigned i = 0; i < tensor->rank; i++) {
		if (tensor->shape[i] == 0)
			return true;
	}
	return false;
}

/* Its name in the pack; NULL: a pack cannot have it. */
static const char *pack_all_name(const struct pack_all *all, const struct pack_tensor *tensor)
{
	const char *name = all->strip ? pack_plan_strip(tensor->name) : tensor->name;
	size_t n = strlen(name);
	uint8_t field[GW_NAME_BYTES] = { 0 };

	if (n == 0 || n >= sizeof field)
		return NULL;
	memcpy(field, name, n);
	return gw_string_length(field, sizeof field) > 0 ? name : NULL;
}

static int pack_all_take(struct pack_all *all, const struct pack_tensor *tensor, const char *name,
			 struct gw_error *error)
{
	struct pack_plan *plan = all->plan;
	unsigned from = pack_element_dtype(tensor->element);
	char quoted[PACK_QUOTE_BYTES];
	struct pack_table *table;

	if (from == GW_DTYPE_NONE)
		return gw_fail(error, GW_E_SOURCE_TABLES, GW_NO_OFFSET,
			       "\"%s\" has the type %s; a pack holds F64 (as F32), F32, F16 and "
			       "BF16, and a model without it would not be whole",
			       pack_quote_name(tensor->name, quoted), pack_tensor_type(tensor));
	if (plan->n_tables == GW_MAX_TENSORS)
		return gw_fail(error, GW_E_SOURCE_TABLES, GW_NO_OFFSET,
			       "more than %" PRIu32 " tensors, which is all that a pack may have",
			       GW_MAX_TENSORS);
	table = &plan->tables[plan->n_tables++];
	*table = (struct pack_table){
		.tensor = tensor,
		.name = name,
		.role = GW_ROLE_NONE,
		.from = from,
		.to = pack_plan_type(all->wish, from, tensor->rank),
	};
	pack_tensor_rows(tensor, &table->rows, &table->columns);
	table->take_bytes = table->rows * table->columns * pack_type_bytes(from);
	return pack_table_quantises(table) ? pack_quantise_check(tensor->name, table->rows,
								 table->columns, error)
					   : GW_OK;
}

static int pack_all_add(struct pack_all *all, const struct pack_tensor *tensor,
			struct gw_error *error)
{
	const char *name = pack_all_name(all, tensor);
	char quoted[PACK_QUOTE_BYTES];
	bool tied = false;
	int code;

	if (pack_all_is_buffer(tensor) || pack_all_is_empty(tensor)) {
		pack_all_leave(all, tensor,
			       pack_all_is_empty(tensor) ? "empty" : pack_tensor_type(tensor));
		return GW_OK;
	}
	if (all->wish->no_wpe && (pack_plan_matches(tensor, GW_WPE_NAME) ||
				  (name && strcmp(name, GW_WPE_NAME) == 0))) {
		pack_all_leave(all, tensor, "the position table");
		return GW_OK;
	}
	code = pack_all_is_tied(all, tensor, &tied, error);
	if (code == GW_OK && tied)
		pack_all_leave(all, tensor, "equal to wte");
	if (code != GW_OK || tied)
		return code;
	if (!name)
		return gw_fail(error, GW_E_SOURCE_TABLES, GW_NO_OFFSET,
			       "a pack cannot have the name \"%s\": it is to have 1 to %d bytes "
			       "and no control characters",
			       pack_quote_name(tensor->name, quoted), GW_NAME_BYTES - 1);
	return pack_all_take(all, tensor, name, error);
}

static int pack_all_compare(const void *a, const void *b)
{
	const struct pack_table *const *left = a, *const *right = b;

	return strcmp((*left)->name, (*right)->name);
}

/* The names that are left without prefixes must still be different ones. */
static int pack_all_check_names(const struct pack_plan *plan, struct gw_error *error)
{
	const struct pack_table **sorted = calloc(plan->n_tables, sizeof *sorted);
	char quoted[3][PACK_QUOTE_BYTES];
	int code = GW_OK;

	if (!sorted)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	for (size_t i = 0; i < plan->n_tables; i++)
		sorted[i] = &plan->tables[i];
	qsort(sorted, plan->n_tables, sizeof *sorted, pack_all_compare);
	for (size_t i = 1; code == GW_OK && i < plan->n_tables; i++) {
		if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
			code = gw_fail(error, GW_E_SOURCE_TABLES, GW_NO_OFFSET,
				       "\"%s\" and \"%s\" would both be called \"%s\"",
				       pack_quote_name(sorted[i - 1]->tensor->name, quoted[0]),
				       pack_quote_name(sorted[i]->tensor->name, quoted[1]),
				       pack_quote_name(sorted[i]->name, quoted[2]));
	}
	free(sorted);
	return code;
}

static void pack_all_say_left(const struct pack_all *all)
{
	struct pack_plan *plan = all->plan;
	size_t room = sizeof plan->left_out, at, used = strlen(plan->note);
	char quoted[40];

	snprintf(plan->note + used, sizeof plan->note - used, "%sall tensors", used ? "; " : "");
	if (all->n_left == 0)
		return;
	used = strlen(plan->note);
	snprintf(plan->note + used, sizeof plan->note - used, " but %zu", all->n_left);
	at = (size_t)snprintf(plan->left_out, room, "%zu of %zu tensors are left out:", all->n_left,
			      all->source->tensors.n);
	/* 12 parts of at most 20 + 20 + 40 bytes at the most: a part that does not fit is cut */
	for (size_t i = 0; i < all->n_reasons && at < room; i++) {
		const struct pack_left *left = &all->left[i];

		at += (size_t)snprintf(plan->left_out + at, room - at, "%s %zu %s (\"%s\"%s)",
				       i ? "," : "", left->n, left->why,
				       gw_quote(left->first->name, strlen(left->first->name),
						quoted, sizeof quoted),
				       left->n > 1 ? " …" : "");
	}
}

int pack_plan_add_all(const struct pack_source *source, const struct pack_wish *wish,
		      struct pack_plan *plan, struct gw_error *error)
{
	struct pack_all all = {
		.source = source,
		.wish = wish,
		.plan = plan,
		.strip = pack_all_strips(source->format),
	};
	/* the tables are among the source's */
	size_t room = source->tensors.n < GW_MAX_TENSORS ? source->tensors.n : GW_MAX_TENSORS;
	struct pack_table *tables = realloc(plan->tables, room * sizeof *tables);
	int code = GW_OK;

	if (!tables)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	plan->tables = tables;
	for (size_t i = 0; code == GW_OK && i < source->tensors.n; i++) {
		const struct pack_tensor *tensor = &source->tensors.items[i];

		if (tensor == tables[0].tensor ||
		    (plan->n_roles == 2 && tensor == tables[1].tensor))
			continue;
		code = pack_all_add(&all, tensor, error);
	}
	if (code == GW_OK)
		code = pack_all_check_names(plan, error);
	if (code == GW_OK)
		pack_all_say_left(&all);
	return code;
}
