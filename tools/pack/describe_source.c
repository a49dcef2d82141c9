/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "tools/common/number.h"
#include "tools/pack/describe.h"
#include "tools/pack/element.h"
#include "tools/pack/plan.h"

/* What pack would do with a source, without any option. */
struct pack_outlook {
	struct pack_plan plan; /* n_tables 0: nothing can be taken */
	struct gw_error error; /* why not, or why not wpe; code 0: all is well */
};

static void pack_outlook_make(const struct pack_source *source, struct pack_outlook *out)
{
	const struct pack_wish all = { 0 }, without_wpe = { .no_wpe = true };

	*out = (struct pack_outlook){ .error = GW_ERROR_INIT };
	if (pack_plan_make(source, &all, &out->plan, &out->error) != GW_OK)
		pack_plan_make(source, &without_wpe, &out->plan, NULL);
}

/* "wte", "wpe" or NULL. */
static const char *pack_outlook_role(const struct pack_outlook *outlook,
				     const struct pack_tensor *tensor)
{
	for (size_t i = 0; i < outlook->plan.n_tables; i++) {
		if (outlook->plan.tables[i].tensor == tensor)
			return i == 0 ? "wte" : "wpe";
	}
	return NULL;
}

static void pack_print_outlook(const struct pack_source *source,
			       const struct pack_outlook *outlook)
{
	char quoted[128];

	putchar('\n');
	for (size_t i = 0; i < outlook->plan.n_tables; i++) {
		const char *base = i == 0 ? GW_WTE_NAME : GW_WPE_NAME;
		const struct pack_tensor *tensor = outlook->plan.tables[i].tensor;
		const char *name = tensor->name;

		printf("%s would be \"%s\": it is %s%s%s\n", i == 0 ? "wte" : "wpe",
		       gw_quote(name, strlen(name), quoted, sizeof quoted),
		       tensor->canonical ? "this format's name for " : "called ", base,
		       tensor->canonical || strcmp(name, base) == 0 ? "" : " behind its prefix");
	}
	if (outlook->error.code)
		printf("as it is, it cannot be packed: %s\n", outlook->error.message);
	if (source->note[0])
		printf("note: %s\n", source->note);
	if (outlook->plan.n_tables && outlook->plan.warning[0])
		printf("note: %s\n", outlook->plan.warning);
}

static void pack_print_source(const struct pack_source *source, const struct pack_outlook *outlook)
{
	char quoted[128], shape[PACK_SHAPE_TEXT_BYTES], size[TOOL_SIZE_TEXT_BYTES];

	printf("format      %s, %zu tensors, %s\n", source->format, source->tensors.n,
	       tool_size_text(pack_source_bytes(source), size));
	for (size_t i = 0; i < source->n_files; i++)
		printf("file %-6zu %s, %" PRIu64 " bytes\n", i,
		       gw_quote(source->files[i].name, strlen(source->files[i].name), quoted,
				sizeof quoted),
		       source->files[i].size_bytes);
	if (source->config.n_layer)
		printf("n_layer     %" PRIu64 "\n", source->config.n_layer);
	if (source->config.n_head)
		printf("n_head      %" PRIu64 "\n", source->config.n_head);
	printf("\n%-4s  %-8s %-20s %4s %14s %14s  %s\n", "role", "dtype", "shape", "file", "offset",
	       "bytes", "name");
	for (size_t i = 0; i < source->tensors.n; i++) {
		const struct pack_tensor *tensor = &source->tensors.items[i];
		const char *role = pack_outlook_role(outlook, tensor);

		printf("%-4s  %-8s %-20s %4zu %14" PRIu64 " %14" PRIu64 "  %s\n", role ? role : "",
		       pack_tensor_type(tensor),
		       pack_shape_text(tensor->rank, tensor->shape, shape), tensor->file,
		       tensor->offset_bytes, tensor->size_bytes,
		       gw_quote(tensor->name, strlen(tensor->name), quoted, sizeof quoted));
	}
	pack_print_outlook(source, outlook);
}

static void pack_dump_tensor(const struct pack_tensor *tensor, const char *role)
{
	bool is_q8 = tensor->element == pack_element_q8();
	json_t *shape = json_array();
	uint64_t rows = 0, columns;
	json_t *object;

	if (is_q8)
		pack_tensor_rows(tensor, &rows, &columns);
	for (unsigned i = 0; i < tensor->rank; i++)
		json_array_append_new(shape, json_integer((json_int_t)tensor->shape[i]));
	object =
		json_pack("{s:s, s:s?, s:s?, s:s, s:o, s:I, s:I, s:I}", "name", tensor->name,
			  "canonical", tensor->canonical, "role", role, "dtype", pack_tensor_type(tensor), "shape", shape, "file",
			  (json_int_t)tensor->file, "offset", (json_int_t)tensor->offset_bytes,
			  "bytes", (json_int_t)tensor->size_bytes);
	json_object_set_new(object, "scales_bytes",
			    is_q8 ? json_integer((json_int_t)(rows * sizeof(float))) : json_null());
	json_dumpf(object, stdout, 0);
	json_decref(object);
}

/* One object at a time, so that a long list takes no memory. */
static void pack_dump_source(const struct pack_source *source, const struct pack_outlook *outlook)
{
	const struct pack_plan *plan = &outlook->plan;
	json_t *head = json_pack("{s:s, s:I, s:I, s:I, s:s?, s:s?, s:s?, s:s?}", "format", source->format, "bytes",
				 (json_int_t)pack_source_bytes(source), "n_layer",
				 (json_int_t)source->config.n_layer, "n_head",
				 (json_int_t)source->config.n_head, "wte",
				 plan->n_tables > 0 ? plan->tables[0].tensor->name : NULL, "wpe",
				 plan->n_tables > 1 ? plan->tables[1].tensor->name : NULL,
				 "problem", outlook->error.code ? outlook->error.message : NULL, "note",
				 source->note[0] ? source->note : NULL);

	putchar('{');
	json_dumpf(head, stdout, JSON_EMBED);
	json_decref(head);
	fputs(", \"files\": [", stdout);
	for (size_t i = 0; i < source->n_files; i++) {
		char quoted[300];
		const char *name = source->files[i].name;
		/* a file's name need not be UTF-8, which JSON demands */
		json_t *file = json_pack("{s:s, s:I}", "name",
					 gw_quote(name, strlen(name), quoted, sizeof quoted),
					 "bytes", (json_int_t)source->files[i].size_bytes);

		fputs(i ? ", " : "", stdout);
		json_dumpf(file, stdout, 0);
		json_decref(file);
	}
	fputs("], \"tensors\": [", stdout);
	for (size_t i = 0; i < source->tensors.n; i++) {
		const struct pack_tensor *tensor = &source->tensors.items[i];

		fputs(i ? ", " : "", stdout);
		pack_dump_tensor(tensor, pack_outlook_role(outlook, tensor));
	}
	puts("]}");
}

void pack_describe_source(const struct pack_source *source, bool json)
{
	struct pack_outlook outlook;

	pack_outlook_make(source, &outlook);
	if (json)
		pack_dump_source(source, &outlook);
	else
		pack_print_source(source, &outlook);
	pack_plan_deinit(&outlook.plan);
}
