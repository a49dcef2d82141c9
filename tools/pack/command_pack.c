/* SPDX-License-Identifier: MIT */
/* gpt2-pack pack */
#include <argp.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/outfile.h"
#include "tools/common/number.h"
#include "tools/pack/command.h"
#include "tools/pack/compress.h"
#include "tools/pack/copy.h"

struct pack_arguments {
	struct pack_wish wish;
	char **inputs; /* of argv */
	size_t n_inputs;
	struct pack_output output;
	uint64_t raw_n_embd;
	enum tool_exit refused; /* TOOL_DONE: the options are fine */
};

enum {
	PACK_OPTION_DTYPE = 256,
	PACK_OPTION_WTE,
	PACK_OPTION_WPE,
	PACK_OPTION_VOCAB,
	PACK_OPTION_EMBD,
	PACK_OPTION_FORCE,
	PACK_OPTION_ZSTD,
	PACK_OPTION_ALL
};

static const struct argp_option pack_options[] = {
	{ "output", 'o', "OUT.gpt2w", 0, "The pack to write", 0 },
	{ "dtype", PACK_OPTION_DTYPE, "f32|f16|bf16|q8", 0,
	  "Element type of all that is packed; by default each tensor keeps its own. q8 is int8 with "
	  "a scale per row; vectors keep their type",
	  0 },
	{ "wte", PACK_OPTION_WTE, "NAME", 0, "The tensor that is the token table", 0 },
	{ "wpe", PACK_OPTION_WPE, "NAME|none", 0,
	  "The tensor that is the position table; none: the model has no such table", 0 },
	{ "vocab", PACK_OPTION_VOCAB, "N", 0, "Keep only the first N rows of wte", 0 },
	{ "all", PACK_OPTION_ALL, NULL, 0, "Every tensor of the checkpoint, not only the tables", 0 },
	{ "zstd", PACK_OPTION_ZSTD, "LEVEL", OPTION_ARG_OPTIONAL, PACK_ZSTD_HELP, 0 },
	{ "embd", PACK_OPTION_EMBD, "N", 0, "Columns of raw files (.f32)", 0 },
	{ "force", PACK_OPTION_FORCE, NULL, 0, "Replace OUT.gpt2w if it exists", 0 },
	{ "quiet", 'q', NULL, 0, "No progress bar, no summary", 0 },
	{ 0 },
};

static void pack_parse_size(struct pack_arguments *arguments, const char *text, const char *option,
			    uint64_t max, uint64_t *out)
{
	struct gw_error error = GW_ERROR_INIT;

	if (tool_parse_u64(text, option, 1, max, out, &error) != GW_OK)
		arguments->refused = tool_fail(NULL, &error);
}

static error_t pack_parse(int key, char *arg, struct argp_state *state)
{
	struct pack_arguments *arguments = state->input;

	switch (key) {
	case 'o':
		arguments->output.path = arg;
		return 0;
	case 'q':
		arguments->output.quiet = true;
		return 0;
	case PACK_OPTION_DTYPE:
		if (pack_parse_dtype_option(arg, &arguments->wish.dtype) != TOOL_DONE)
			arguments->refused = TOOL_USAGE;
		return 0;
	case PACK_OPTION_WTE:
		arguments->wish.wte = arg;
		return 0;
	case PACK_OPTION_WPE:
		arguments->wish.no_wpe = strcmp(arg, "none") == 0;
		arguments->wish.wpe = arguments->wish.no_wpe ? NULL : arg;
		return 0;
	case PACK_OPTION_VOCAB:
		pack_parse_size(arguments, arg, "--vocab", GW_MAX_TABLE_ROWS,
				&arguments->wish.n_vocab);
		return 0;
	case PACK_OPTION_EMBD:
		pack_parse_size(arguments, arg, "--embd", GW_MAX_N_EMBD, &arguments->raw_n_embd);
		return 0;
	case PACK_OPTION_FORCE:
		arguments->output.replace = true;
		return 0;
	case PACK_OPTION_ZSTD:
		if (pack_parse_zstd_option(arg, &arguments->output.level) != TOOL_DONE)
			arguments->refused = TOOL_USAGE;
		return 0;
	case PACK_OPTION_ALL:
		arguments->wish.all = true;
		return 0;
	case ARGP_KEY_ARGS:
		arguments->inputs = state->argv + state->next;
		arguments->n_inputs = (size_t)(state->argc - state->next);
		return 0;
	case ARGP_KEY_END:
		if (!arguments->n_inputs)
			argp_error(state, "INPUT is missing");
		if (!arguments->output.path)
			argp_error(state, "-o OUT.gpt2w is missing");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp pack_argp = {
	.options = pack_options,
	.parser = pack_parse,
	.args_doc = "INPUT... -o OUT.gpt2w",
	.doc = "Convert a checkpoint's embedding tables, or all of its tensors, into a pack."
	       "\vINPUT is a checkpoint, whatever its wrapping: gpt2-pack(1) lists them. Several "
	       "make one, such as wte.npy wpe.npy. The tables are found by their names, "
	       "wte.weight and wpe.weight, with or without the prefixes transformer., model., "
	       "module. and _orig_mod.; --wte and --wpe name them otherwise.",
};

static void pack_say_done(const struct pack_arguments *arguments, const struct pack_plan *plan,
			  const struct pack_made *made)
{
	const char *path = arguments->output.path;
	const struct pack_table *wte = &plan->tables[0], *wpe = &plan->tables[1];
	char positions[96] = "no wpe", size[PACK_MADE_TEXT_BYTES], id[GW_DIGEST_TEXT_BYTES];
	char quoted[256], others[48] = "";

	if (plan->n_roles == 2)
		snprintf(positions, sizeof positions, "wpe [%" PRIu64 ", %" PRIu64 "] %s",
			 wpe->rows, wpe->columns, gw_dtype_name(wpe->to));
	if (plan->n_tables > plan->n_roles)
		snprintf(others, sizeof others, " and %zu more", plan->n_tables - plan->n_roles);
	tool_say("%s: wte [%" PRIu64 ", %" PRIu64 "] %s, %s%s, %s, content id %s",
		 gw_quote(path, strlen(path), quoted, sizeof quoted), wte->rows, wte->columns,
		 gw_dtype_name(wte->to), positions, others, pack_made_text(made, size),
		 gw_digest_text(&made->content_id, id));
}

/* "wte", "wpe" or its name, for messages. */
static const char *pack_name_said(const struct pack_table *table, char quoted[256])
{
	return table->role == GW_ROLE_WTE ? "wte" :
	       table->role == GW_ROLE_WPE ? "wpe" :
					    gw_quote(table->name, strlen(table->name), quoted, 256);
}

static void pack_say_warnings(const struct pack_plan *plan)
{
	char quoted[256];

	if (plan->warning[0])
		tool_say("note: %s", plan->warning);
	if (plan->left_out[0])
		tool_say("note: %s", plan->left_out);
	for (size_t i = 0; i < plan->n_tables; i++) {
		if (plan->tables[i].n_overflowed)
			tool_say("warning: %" PRIu64
				 " finite values of %s are too large for %s and "
				 "became infinite",
				 plan->tables[i].n_overflowed, pack_name_said(&plan->tables[i], quoted),
				 gw_dtype_name(plan->tables[i].to));
	}
}

/* A line for each table, and one for all others together. */
static void pack_say_losses(const struct pack_plan *plan)
{
	struct pack_loss loss = { 0 };
	double squares = 0, elements = 0;
	size_t n = 0;
	char quoted[256], what[64];

	for (size_t i = 0; i < plan->n_tables; i++) {
		const struct pack_table *table = &plan->tables[i];
		double n_elements = (double)table->rows * (double)table->columns;

		if (!pack_table_quantises(table))
			continue;
		if (table->role != GW_ROLE_NONE) {
			pack_say_loss(pack_name_said(table, quoted), &table->loss);
			continue;
		}
		n++;
		loss.largest = fmax(loss.largest, table->loss.largest);
		loss.in_scales = fmax(loss.in_scales, table->loss.in_scales);
		squares += table->loss.rms * table->loss.rms * n_elements;
		elements += n_elements;
	}
	if (!n)
		return;
	loss.rms = sqrt(squares / elements);
	snprintf(what, sizeof what, "%zu more", n);
	pack_say_loss(what, &loss);
}

static void pack_fill_provenance(const struct pack_source *source, const struct pack_plan *plan,
				 const struct gw_digest *digest, struct gw_provenance *out)
{
	*out = (struct gw_provenance){
		.source_bytes = pack_source_bytes(source),
		.source_digest = *digest,
	};
	snprintf(out->source_format, sizeof out->source_format, "%s", source->format);
	snprintf(out->source_name, sizeof out->source_name, "%s", pack_source_name(source));
	snprintf(out->tool, sizeof out->tool, "%s", PACK_TOOL);
	snprintf(out->note, sizeof out->note, "%s", plan->note);
}

/* All tensors of plan, declared. */
static int pack_declare(const struct pack_arguments *arguments, const struct pack_plan *plan,
			struct gw_writer **out_writer, struct gw_error *error)
{
	struct gw_tensor *tensors = calloc(plan->n_tables, sizeof *tensors);
	int code;

	if (!tensors)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	for (size_t i = 0; i < plan->n_tables; i++)
		tensors[i] = pack_plan_declare(plan, i);
	code = pack_begin(&arguments->output, tensors, plan->n_tables, out_writer, error);
	free(tensors);
	return code;
}

/* The source is open, the plan is made; nothing is left behind on failure. */
static int pack_write(const struct pack_arguments *arguments, const struct pack_source *source,
		      struct pack_plan *plan, struct pack_made *out, struct gw_error *error)
{
	struct gw_provenance provenance;
	struct tool_progress progress;
	struct gw_writer *writer = NULL;
	struct gw_digest digest;
	int code = GW_OK;

	for (size_t i = 0; code == GW_OK && i < source->n_files; i++)
		code = gw_outfile_refuse_same(arguments->output.path, source->files[i].status.st_dev,
					      source->files[i].status.st_ino, error);
	if (code == GW_OK)
		code = pack_declare(arguments, plan, &writer, error);
	if (code != GW_OK)
		return code;
	tool_progress_start(&progress, "packing", pack_source_bytes(source),
			    arguments->output.quiet);
	code = pack_copy(source, plan, writer, &progress, &digest, error);
	tool_progress_end(&progress);
	if (code == GW_OK) {
		pack_fill_provenance(source, plan, &digest, &provenance);
		code = pack_finish(writer, &arguments->output, &provenance, plan->n_layer,
				   plan->n_head, out, error);
	}
	gw_writer_free(writer);
	return code;
}

enum tool_exit pack_command_pack(int argc, char **argv)
{
	struct pack_arguments arguments = { 0 };
	struct gw_error error = GW_ERROR_INIT;
	struct pack_source *source = NULL;
	struct pack_made made;
	struct pack_plan plan;
	const char *subject;
	char names[PACK_NAMES_TEXT_BYTES];
	int code;

	argp_parse(&pack_argp, argc, argv, 0, NULL, &arguments);
	if (arguments.refused)
		return arguments.refused;
	/* a message about several inputs names the one that it is about */
	subject = arguments.n_inputs == 1 ? arguments.inputs[0] : NULL;
	code = pack_source_open_all((const char *const *)arguments.inputs, arguments.n_inputs,
				    arguments.raw_n_embd, &source, &error);
	if (code != GW_OK)
		return pack_fail_making(subject, &error, TOOL_INPUT);
	if (source->note[0])
		tool_say("note: %s", source->note);
	code = pack_plan_make(source, &arguments.wish, &plan, &error);
	/* --all reads values already: what goes wrong then is not about the list of tensors */
	if (code != GW_OK && code != GW_E_SOURCE_TABLES) {
		pack_source_free(source);
		return pack_fail_making(subject, &error, TOOL_INPUT);
	}
	if (code != GW_OK) {
		enum tool_exit exit_code = tool_fail(subject, &error);

		tool_say("it holds %s", pack_names_text(source, names));
		pack_source_free(source);
		return exit_code;
	}
	code = pack_write(&arguments, source, &plan, &made, &error);
	if (code == GW_OK) {
		pack_say_warnings(&plan);
		if (!arguments.output.quiet) {
			pack_say_losses(&plan);
			pack_say_done(&arguments, &plan, &made);
		}
	}
	/* the plan's names are the source's */
	pack_plan_deinit(&plan);
	pack_source_free(source);
	return code == GW_OK ? TOOL_DONE : pack_fail_making(NULL, &error, TOOL_INPUT);
}
