/* SPDX-License-Identifier: MIT */
#include "tools/pack/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/pack/convert.h"
#include "tools/pack/element.h"
#include "tools/pack/plan_all.h"

#define PACK_QUOTE_BYTES 128
#define PACK_NAMES_SHOWN 20

const char *pack_plan_strip(const char *name)
{
	static const char *const prefixes[] = { "transformer.", "model.", "module.", "_orig_mod." };

	for (bool stripped = true; stripped;) {
		stripped = false;
		for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
			size_t n = strlen(prefixes[i]);

			if (strncmp(name, prefixes[i], n) == 0) {
				name += n;
				stripped = true;
			}
		}
	}
	return name;
}

bool pack_plan_matches(const struct pack_tensor *tensor, const char *base)
{
	return strcmp(tensor->canonical ? tensor->canonical : pack_plan_strip(tensor->name),
		      base) == 0;
}

static const char *pack_quote(const char *name, char out[PACK_QUOTE_BYTES])
{
	return gw_quote(name, strlen(name), out, PACK_QUOTE_BYTES);
}

static const char *pack_role_name(uint8_t role)
{
	return role == GW_ROLE_WTE ? "wte" : "wpe";
}

/* By its exact name. */
static int pack_find_named(const struct pack_source *source, const char *name, uint8_t role,
			   const struct pack_tensor **out, struct gw_error *error)
{
	char quoted[PACK_QUOTE_BYTES];

	for (size_t i = 0; i < source->tensors.n; i++) {
		if (strcmp(source->tensors.items[i].name, name) == 0) {
			*out = &source->tensors.items[i];
			return GW_OK;
		}
	}
	return gw_fail(error, GW_E_SOURCE_TABLES, GW_NO_OFFSET,
		       "there is no tensor \"%s\", which --%s asks for", pack_quote(name, quoted),
		       pack_role_name(role));
}

/* The one whose name without prefixes is the role's. */
static int pack_find_role(const struct pack_source *source, uint8_t role,
			  const struct pack_tensor **out, struct gw_error *error)
{
	const char *base = role == GW_ROLE_WTE ? GW_WTE_NAME : GW_WPE_NAME;
	const char *short_name = pack_role_name(role);
	const struct pack_tensor *found = NULL;
	char quoted[PACK_QUOTE_BYTES], quoted_other[PACK_QUOTE_BYTES];

	for (size_t i = 0; i < source->tensors.n; i++) {
		const struct pack_tensor *tensor = &source->tensors.items[i];

		if (!pack_plan_matches(tensor, base))
			continue;
		if (found)
			return gw_fail(error, GW_E_SOURCE_TABLES, GW_NO_OFFSET,
				       "two tensors could be %s: \"%s\" and \"%s\"; choose with "
				       "--%s NAME",
				       short_name, pack_quote(found->name, quoted),
				       pack_quote(tensor->name, quoted_other), short_name);
		found = tensor;
	}
	if (!found)
		return gw_fail(error, GW_E_SOURCE_TABLES, GW_NO_OFFSET,
			       "no tensor is called %s (with or without a prefix such as "
			       "transformer.); name it with --%s NAME%s",
			       base, short_name,
			       role == GW_ROLE_WPE ? ", or say --wpe none for a model without a "
						     "position table"
						   : "");
	*out = found;
	return GW_OK;
}

unsigned pack_plan_type(const struct pack_wish *wish, unsigned from, unsigned rank)
{
	if (wish->dtype != GW_DTYPE_NONE && (wish->dtype != GW_I8 || rank >= 2))
		return wish->dtype;
	return from == PACK_F64 ? GW_F32 : from;
}

bool pack_table_quantises(const struct pack_table *table)
{
	return table->to == GW_I8 && table->from != GW_I8;
}

/* Checks what one table can be on its own, and fills the rest of it from its tensor. */
static int pack_table_check(struct pack_table *table, const struct pack_wish *wish,
			    struct gw_error *error)
{
	const struct pack_tensor *tensor = table->tensor;
	char quoted[PACK_QUOTE_BYTES], shape[PACK_SHAPE_TEXT_BYTES];

	pack_quote(tensor->name, quoted);
	pack_shape_text(tensor->rank, tensor->shape, shape);
	if (tensor->rank != 2)
		return gw_fail(error, GW_E_SOURCE_TABLES, GW_NO_OFFSET,
			       "\"%s\" has the shape %s; %s is a table of two dimensions", quoted,
			       shape, pack_role_name(table->role));
	table->rows = tensor->shape[0];
	table->columns = tensor->shape[1];
	if (table->rows == 0 || table->columns == 0 || table->rows > GW_MAX_TABLE_ROWS ||
	    table->columns > GW_MAX_N_EMBD)
		return gw_fail(error, GW_E_SOURCE_TABLES, GW_NO_OFFSET,
			       "\"%s\" has the shape %s; a table has 1 to %" PRIu64
			       " rows of 1 to %" PRIu64 " elements",
			       quoted, shape, GW_MAX_TABLE_ROWS, GW_MAX_N_EMBD);
	table->from = pack_element_dtype(tensor->element);
	if (table->from == GW_DTYPE_NONE)
		return gw_fail(error, GW_E_SOURCE_TABLES, GW_NO_OFFSET,
			       "\"%s\" has the type %s; a table has F64, F32, F16 or BF16",
			       quoted, pack_tensor_type(tensor));
	table->to = pack_plan_type(wish, table->from, tensor->rank);
	if (table->role == GW_ROLE_WTE && wish->n_vocab) {
		if (wish->n_vocab > table->rows)
			return gw_fail(error, GW_E_SOURCE_TABLES, GW_NO_OFFSET,
				       "--vocab %" PRIu64 " asks for more rows than \"%s\" %s has",
				       wish->n_vocab, quoted, shape);
		table->rows = wish->n_vocab;
	}
	/* no more than the tensor's own size, which is known not to wrap */
	table->take_bytes = table->rows * table->columns * pack_type_bytes(table->from);
	return pack_table_quantises(table) ? pack_quantise_check(tensor->name, table->rows,
								 table->columns, error)
					   : GW_OK;
}

static int pack_check_pair(const struct pack_plan *plan, struct gw_error *error)
{
	const struct pack_table *wte = &plan->tables[0], *wpe = &plan->tables[1];
	char shape[PACK_SHAPE_TEXT_BYTES], other_shape[PACK_SHAPE_TEXT_BYTES];
	char quoted[PACK_QUOTE_BYTES], other[PACK_QUOTE_BYTES];

	if (plan->n_roles < 2)
		return GW_OK;
	if (wte->tensor == wpe->tensor)
		return gw_fail(error, GW_E_SOURCE_TABLES, GW_NO_OFFSET,
			       "\"%s\" cannot be both wte and wpe",
			       pack_quote(wte->tensor->name, quoted));
	if (wte->columns == wpe->columns)
		return GW_OK;
	return gw_fail(error, GW_E_SOURCE_TABLES, GW_NO_OFFSET,
		       "the tables do not fit each other: \"%s\" is %s and \"%s\" is %s",
		       pack_quote(wte->tensor->name, quoted),
		       pack_shape_text(2, wte->tensor->shape, shape),
		       pack_quote(wpe->tensor->name, other),
		       pack_shape_text(2, wpe->tensor->shape, other_shape));
}

/* config.json against the tables: one of them belongs to another model if they contradict. */
static int pack_check_config(const struct pack_source *source, struct pack_plan *plan,
			     struct gw_error *error)
{
	const struct pack_config *config = &source->config;
	const struct pack_table *wte = &plan->tables[0];
	const char *origin = config->origin ? config->origin : "config.json";

	if (config->n_embd && config->n_embd != wte->columns)
		return gw_fail(error, GW_E_SOURCE_TABLES, GW_NO_OFFSET,
			       "%s says n_embd %" PRIu64 ", the tables have %" PRIu64
			       " columns",
			       origin, config->n_embd, wte->columns);
	if (config->n_vocab > wte->tensor->shape[0])
		return gw_fail(error, GW_E_SOURCE_TABLES, GW_NO_OFFSET,
			       "%s says vocab_size %" PRIu64 ", wte has only %" PRIu64
			       " rows",
			       origin, config->n_vocab, wte->tensor->shape[0]);
	if (plan->n_roles == 2 && config->n_positions > plan->tables[1].rows)
		return gw_fail(error, GW_E_SOURCE_TABLES, GW_NO_OFFSET,
			       "%s says n_positions %" PRIu64 ", wpe has only %" PRIu64
			       " rows",
			       origin, config->n_positions, plan->tables[1].rows);
	/* tables that are padded beyond the vocabulary are common */
	if (config->n_vocab && config->n_vocab < wte->rows)
		snprintf(plan->warning, sizeof plan->warning,
			 "%s says vocab_size %" PRIu64 ", wte has %" PRIu64
			 " rows; all are kept (--vocab %" PRIu64 " drops the rest)",
			 origin, config->n_vocab, wte->rows, config->n_vocab);
	plan->n_layer = config->n_layer;
	plan->n_head = config->n_head;
	return GW_OK;
}

static void pack_plan_note(struct pack_plan *plan)
{
	size_t at = 0;

	for (size_t i = 0; i < plan->n_roles; i++) {
		const struct pack_table *table = &plan->tables[i];
		const char *base = table->name;
		char part[GW_PV_NOTE_SIZE], quoted[81];
		size_t used = 0;

		if (strcmp(table->tensor->name, base) != 0)
			used += (size_t)snprintf(part + used, sizeof part - used, ", from %s",
						 gw_quote(table->tensor->name,
							  strlen(table->tensor->name), quoted,
							  sizeof quoted));
		if (table->rows != table->tensor->shape[0])
			used += (size_t)snprintf(part + used, sizeof part - used,
						 ", first %" PRIu64 " of %" PRIu64 " rows",
						 table->rows, table->tensor->shape[0]);
		if (table->tensor->stored)
			used += (size_t)snprintf(part + used, sizeof part - used, ", from %s",
						 table->tensor->stored);
		else if (table->from != table->to)
			used += (size_t)snprintf(part + used, sizeof part - used, ", from %s",
						 pack_type_name(table->from));
		/* a part has at most 81 + 60 + 20 bytes; of two long ones the second may be cut */
		if (used && at < sizeof plan->note)
			at += (size_t)snprintf(plan->note + at, sizeof plan->note - at, "%s%s: %s",
					       at ? "; " : "", pack_role_name(table->role),
					       part + 2);
	}
}

int pack_plan_make(const struct pack_source *source, const struct pack_wish *wish,
		   struct pack_plan *out, struct gw_error *error)
{
	const size_t n_roles = wish->no_wpe ? 1 : 2;
	struct pack_plan plan = { .n_tables = n_roles, .n_roles = n_roles };
	const char *const names[] = { wish->wte, wish->wpe };
	const char *const bases[] = { GW_WTE_NAME, GW_WPE_NAME };
	const uint8_t roles[] = { GW_ROLE_WTE, GW_ROLE_WPE };
	int code = GW_OK;

	plan.tables = calloc(n_roles, sizeof *plan.tables);
	if (!plan.tables)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	for (size_t i = 0; code == GW_OK && i < plan.n_tables; i++) {
		plan.tables[i].role = roles[i];
		plan.tables[i].name = bases[i];
		if (names[i])
			code = pack_find_named(source, names[i], roles[i], &plan.tables[i].tensor,
					       error);
		else
			code = pack_find_role(source, roles[i], &plan.tables[i].tensor, error);
	}
	for (size_t i = 0; code == GW_OK && i < plan.n_tables; i++)
		code = pack_table_check(&plan.tables[i], wish, error);
	if (code == GW_OK)
		code = pack_check_pair(&plan, error);
	if (code == GW_OK)
		code = pack_check_config(source, &plan, error);
	if (code == GW_OK)
		pack_plan_note(&plan);
	if (code == GW_OK && wish->all)
		code = pack_plan_add_all(source, wish, &plan, error);
	if (code != GW_OK) {
		pack_plan_deinit(&plan);
		return code;
	}
	*out = plan;
	return GW_OK;
}

void pack_plan_deinit(struct pack_plan *plan)
{
	free(plan->tables);
	plan->tables = NULL;
	plan->n_tables = plan->n_roles = 0;
}

struct gw_tensor pack_plan_declare(const struct pack_plan *plan, size_t index)
{
	const struct pack_table *table = &plan->tables[index];
	struct gw_tensor tensor = {
		.dtype = (uint8_t)table->to,
		.rank = (uint8_t)table->tensor->rank,
	};

	if (table->role != GW_ROLE_NONE)
		return pack_table_declare(table->role, table->to, table->rows, table->columns);
	/* plan_all.c has measured the name; what does not fit would lack its NUL and be refused */
	memcpy(tensor.name, table->name, strnlen(table->name, sizeof tensor.name));
	memcpy(tensor.shape, table->tensor->shape, sizeof tensor.shape);
	return tensor;
}

struct gw_tensor pack_table_declare(uint8_t role, unsigned dtype, uint64_t rows, uint64_t columns)
{
	struct gw_tensor tensor = {
		.role = role,
		.dtype = (uint8_t)dtype,
		.rank = 2,
		.shape = { rows, columns },
	};

	strcpy(tensor.name, role == GW_ROLE_WTE ? GW_WTE_NAME : GW_WPE_NAME);
	return tensor;
}

char *pack_names_text(const struct pack_source *source, char out[PACK_NAMES_TEXT_BYTES])
{
	size_t at = 0;
	size_t i;
	char quoted[64];

	out[0] = 0;
	for (i = 0; i < source->tensors.n && i < PACK_NAMES_SHOWN; i++) {
		const char *name = source->tensors.items[i].name;

		/* 20 names of at most 64 bytes and 4 more each fit */
		at += (size_t)snprintf(out + at, PACK_NAMES_TEXT_BYTES - at, "%s\"%s\"",
				       i ? ", " : "",
				       gw_quote(name, strlen(name), quoted, sizeof quoted));
	}
	if (i < source->tensors.n)
		snprintf(out + at, PACK_NAMES_TEXT_BYTES - at, " and %zu more",
			 source->tensors.n - i);
	else if (i == 0)
		strcpy(out, "no tensor at all");
	return out;
}
