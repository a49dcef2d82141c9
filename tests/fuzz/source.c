/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/source.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "format/checked.h"
#include "format/dtype.h"
#include "tests/fuzz/fuzz.h"
#include "tools/pack/element.h"
#include "tools/pack/limits.h"
#include "tools/pack/plan.h"

/* What tools/pack/limits.h promises for whatever is fed to it. */
#define MEMORY_BYTES (UINT64_C(64) << 20)
/* Of a table that are read at its beginning and at its end. */
#define READ_BYTES UINT64_C(8192)
/* Tensors that have more bytes together are not all asked for: what is made of holes is read whole
 * to be compared with another. */
#define MAX_ALL_BYTES (UINT64_C(1) << 20)
/* Names that each of them is compared with: all of most inputs. */
#define COMPARED_NAMES 64

static struct fuzz_resources before;

/* What the reader of packs says of a damaged one. */
static bool is_pack_error(int code)
{
	return code <= GW_E_TRUNCATED && code >= GW_E_STORED_BLOCK;
}

static void check_tensor(const struct pack_source *source, const struct pack_tensor *tensor)
{
	uint64_t bits = 0, size_bytes;
	bool empty = false;

	FUZZ_CHECK(tensor->name != NULL && tensor->rank <= GW_MAX_RANK);
	FUZZ_CHECK(tensor->file < source->n_files);
	if (tensor->encoded) {
		FUZZ_CHECK(source->reader != NULL);
		return;
	}
	size_bytes = source->files[tensor->file].size_bytes;
	FUZZ_CHECK(tensor->offset_bytes <= size_bytes);
	FUZZ_CHECK(tensor->size_bytes <= size_bytes - tensor->offset_bytes);
	/* of other types only their extent need be known */
	if (tensor->element == PACK_ELEMENT_UNKNOWN ||
	    pack_element_dtype(tensor->element) == GW_DTYPE_NONE)
		return;
	bits = pack_element_bits(tensor->element);
	for (unsigned i = 0; i < tensor->rank; i++)
		empty |= tensor->shape[i] == 0;
	/* without the empty dimension the product need not fit */
	for (unsigned i = 0; !empty && i < tensor->rank; i++)
		FUZZ_CHECK(gw_mul(bits, tensor->shape[i], &bits));
	FUZZ_CHECK(empty ? tensor->size_bytes == 0 : bits == tensor->size_bytes * 8);
}

/* What reading encoded values can say; of a damaged pack in the words of its own reader. */
static bool is_read_error(const struct pack_source *source, int code)
{
	return code == GW_E_SOURCE || (strcmp(source->format, "gpt2w") == 0 && is_pack_error(code));
}

/* n bytes at once, then in two reads: the same. */
static void check_read(const struct pack_source *source, const struct pack_table *table,
		       uint64_t offset, uint64_t n)
{
	const unsigned element_bytes = pack_element_bits(table->tensor->element) / 8;
	uint64_t half = n / element_bytes / 2 * element_bytes;
	uint8_t *once = malloc(n), *twice = malloc(n);
	struct gw_error error = GW_ERROR_INIT;
	int code;

	FUZZ_CHECK(once != NULL && twice != NULL);
	code = pack_source_read(source, table->tensor, offset, n, once, &error);
	if (code) {
		fuzz_check_error(code, &error);
		FUZZ_CHECK(table->tensor->encoded && is_read_error(source, code));
	} else {
		FUZZ_CHECK(!pack_source_read(source, table->tensor, offset, half, twice, &error));
		FUZZ_CHECK(!pack_source_read(source, table->tensor, offset + half, n - half,
					     twice + half, &error));
		FUZZ_CHECK(memcmp(once, twice, n) == 0);
	}
	free(once);
	free(twice);
}

static void check_table(const struct pack_source *source, const struct pack_table *table)
{
	const unsigned element_bytes = pack_element_bits(table->tensor->element) / 8;
	uint64_t n = table->take_bytes < READ_BYTES ? table->take_bytes : READ_BYTES;
	/* int8 rows have their scales after them, 4 bytes each, which take_bytes does not count */
	uint64_t scales = table->from == GW_I8 ? table->tensor->size_bytes / (table->columns + 4) * 4 : 0;
	uint64_t row_bytes;

	FUZZ_CHECK(element_bytes != 0 && table->take_bytes >= 1);
	if (table->role == GW_ROLE_NONE) {
		FUZZ_CHECK(table->take_bytes + scales == table->tensor->size_bytes);
	} else {
		FUZZ_CHECK(table->rows >= 1 && table->columns >= 1);
		FUZZ_CHECK(gw_mul(table->columns, element_bytes, &row_bytes));
		FUZZ_CHECK(table->take_bytes % row_bytes == 0);
		FUZZ_CHECK(table->take_bytes / row_bytes == table->rows);
		FUZZ_CHECK(table->take_bytes <= table->tensor->size_bytes - scales);
	}
	check_read(source, table, 0, n);
	if (table->take_bytes > n)
		check_read(source, table, table->take_bytes - n, n);
	if (scales)
		check_read(source, table, table->tensor->size_bytes - 4, 4);
}

/* What a pack of all tensors is declared to hold: one of each name, all of them valid. */
static void check_declared(const struct pack_plan *plan)
{
	for (size_t i = 0; i < plan->n_tables; i++) {
		struct gw_tensor tensor = pack_plan_declare(plan, i);
		size_t n = strnlen(tensor.name, sizeof tensor.name);

		FUZZ_CHECK(n >= 1 && n < sizeof tensor.name);
		FUZZ_CHECK(gw_string_length((const uint8_t *)tensor.name, sizeof tensor.name) ==
			   (int)n);
		FUZZ_CHECK((i < plan->n_roles) == (tensor.role != GW_ROLE_NONE));
		FUZZ_CHECK(gw_dtype_bytes(plan->tables[i].to) != 0);
		for (size_t k = 0; k < i && k < COMPARED_NAMES; k++)
			FUZZ_CHECK(plan->tables[k].tensor != plan->tables[i].tensor &&
				   strcmp(plan->tables[k].name, plan->tables[i].name) != 0);
	}
}

static void check_plan(const struct pack_source *source, const struct pack_wish *wish)
{
	struct gw_error error = GW_ERROR_INIT;
	struct pack_plan plan;
	int code = pack_plan_make(source, wish, &plan, &error);

	if (code) {
		fuzz_check_error(code, &error);
		/* the values of two tensors are compared */
		FUZZ_CHECK(code == GW_E_SOURCE_TABLES ||
			   (wish->all && is_read_error(source, code)));
		return;
	}
	FUZZ_CHECK(plan.n_roles == (wish->no_wpe ? 1 : 2));
	FUZZ_CHECK(wish->all ? plan.n_tables >= plan.n_roles : plan.n_tables == plan.n_roles);
	check_declared(&plan);
	for (size_t i = 0; i < plan.n_tables; i++)
		check_table(source, &plan.tables[i]);
	pack_plan_deinit(&plan);
}

static bool is_small(const struct pack_list *list)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < list->n; i++)
		if (!gw_add(sum, list->items[i].size_bytes, &sum) || sum > MAX_ALL_BYTES)
			return false;
	return true;
}

/* Everything that a command line can ask for. */
static void check_plans(const struct pack_source *source)
{
	const struct pack_list *list = &source->tensors;
	const char *first = list->n ? list->items[0].name : NULL;
	const char *last = list->n ? list->items[list->n - 1].name : NULL;
	const bool small = is_small(list);
	const struct pack_wish wishes[] = {
		{ .dtype = GW_DTYPE_NONE },
		{ .no_wpe = true, .dtype = GW_F32 },
		{ .n_vocab = 2, .dtype = GW_F16 },
		{ .wte = first, .no_wpe = true },
		{ .wte = first, .wpe = last, .n_vocab = 1, .dtype = GW_BF16 },
		{ .wte = "no such tensor" },
		{ .no_wpe = true, .dtype = GW_I8 },
		{ .dtype = GW_DTYPE_NONE, .all = small },
		{ .no_wpe = true, .dtype = GW_F16, .all = small },
	};
	const size_t n = sizeof wishes / sizeof *wishes - (small ? 0 : 2);

	for (size_t i = 0; i < n; i++)
		check_plan(source, &wishes[i]);
}

struct pack_source *fuzz_source_open(const char *path)
{
	struct gw_error error = GW_ERROR_INIT;
	struct pack_source *source = NULL;
	int code;

	before = fuzz_resources_start(MEMORY_BYTES);
	code = pack_source_open(path, &source, &error);
	if (code) {
		fuzz_check_error(code, &error);
		/* a damaged pack may be refused in the words of its own reader */
		FUZZ_CHECK(code == GW_E_SOURCE || code == GW_E_SOURCE_KIND || is_pack_error(code));
		FUZZ_CHECK(source == NULL);
		return NULL;
	}
	FUZZ_CHECK(source->format != NULL && source->n_files >= 1);
	for (size_t i = 0; i < source->tensors.n; i++)
		check_tensor(source, &source->tensors.items[i]);
	check_plans(source);
	return source;
}

void fuzz_source_close(struct pack_source *source)
{
	pack_source_free(source);
	fuzz_resources_end(&before);
}

void fuzz_source_run(const uint8_t *data, size_t bytes)
{
	if (bytes <= FUZZ_MAX_INPUT_BYTES)
		fuzz_source_close(fuzz_source_open(fuzz_file(data, bytes, bytes)));
}
