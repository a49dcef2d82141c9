/* SPDX-License-Identifier: MIT */
/* gpt2-pack init */
#include <argp.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/writer.h"
#include "tools/common/number.h"
#include "tools/common/progress.h"
#include "tools/pack/command.h"
#include "tools/pack/compress.h"
#include "tools/pack/convert.h"
#include "tools/pack/plan.h"
#include "tools/pack/random.h"

#define PACK_DEFAULT_SEED UINT64_C(42)

struct pack_init {
	struct pack_output output;
	const char *size; /* a name of pack_sizes */
	uint64_t n_vocab, n_positions, n_embd;
	uint64_t seed;
	unsigned dtype;
	bool own_vocab, own_positions, own_embd; /* given on the command line */
	bool pytorch;
	enum tool_exit refused;
};

/* Radford et al. 2019, table 2, and the published configurations. */
static const struct pack_size {
	const char *name;
	uint64_t n_embd, n_layer, n_head;
} pack_sizes[] = {
	{ "gpt2", 768, 12, 12 },
	{ "gpt2-medium", 1024, 24, 16 },
	{ "gpt2-large", 1280, 36, 20 },
	{ "gpt2-xl", 1600, 48, 25 },
};
#define PACK_GPT2_VOCAB UINT64_C(50257)
#define PACK_GPT2_POSITIONS UINT64_C(1024)

enum {
	PACK_OPTION_SIZE = 256,
	PACK_OPTION_VOCAB,
	PACK_OPTION_POSITIONS,
	PACK_OPTION_EMBD,
	PACK_OPTION_DTYPE,
	PACK_OPTION_INIT,
	PACK_OPTION_SEED,
	PACK_OPTION_FORCE,
	PACK_OPTION_ZSTD
};

static const struct argp_option pack_init_options[] = {
	{ "output", 'o', "OUT.gpt2w", 0, "The pack to write", 0 },
	{ "size", PACK_OPTION_SIZE, "NAME", 0,
	  "gpt2 (the default), gpt2-medium, gpt2-large or gpt2-xl", 0 },
	{ "vocab", PACK_OPTION_VOCAB, "N", 0, "Rows of wte (50257)", 0 },
	{ "positions", PACK_OPTION_POSITIONS, "N", 0, "Rows of wpe (1024); 0: no position table",
	  0 },
	{ "embd", PACK_OPTION_EMBD, "N", 0, "Columns of both tables (768)", 0 },
	{ "dtype", PACK_OPTION_DTYPE, "f32|f16|bf16|q8", 0, "Element type of both tables (f32)", 0 },
	{ "init", PACK_OPTION_INIT, "openai|pytorch", 0,
	  "Normal with standard deviation 0.02 for wte and 0.01 for wpe (the default), or 1 for "
	  "both",
	  0 },
	{ "seed", PACK_OPTION_SEED, "N", 0, "Seed of the random numbers (42)", 0 },
	{ "zstd", PACK_OPTION_ZSTD, "LEVEL", OPTION_ARG_OPTIONAL, PACK_ZSTD_HELP, 0 },
	{ "force", PACK_OPTION_FORCE, NULL, 0, "Replace OUT.gpt2w if it exists", 0 },
	{ "quiet", 'q', NULL, 0, "No progress bar, no summary", 0 },
	{ 0 },
};

static const struct pack_size *pack_size_find(const char *name)
{
	for (size_t i = 0; i < sizeof pack_sizes / sizeof pack_sizes[0]; i++) {
		if (strcmp(pack_sizes[i].name, name) == 0)
			return &pack_sizes[i];
	}
	return NULL;
}

static void pack_init_number(struct pack_init *init, const char *text, const char *what,
			     uint64_t min, uint64_t max, uint64_t *out)
{
	struct gw_error error = GW_ERROR_INIT;

	if (tool_parse_u64(text, what, min, max, out, &error) != GW_OK)
		init->refused = tool_fail(NULL, &error);
}

static void pack_init_word(struct pack_init *init, int key, const char *arg)
{
	char quoted[64];

	gw_quote(arg, strlen(arg), quoted, sizeof quoted);
	if (key == PACK_OPTION_SIZE) {
		init->size = arg;
		if (pack_size_find(arg))
			return;
		tool_say("--size: \"%s\" is not gpt2, gpt2-medium, gpt2-large or gpt2-xl", quoted);
	} else {
		init->pytorch = strcmp(arg, "pytorch") == 0;
		if (init->pytorch || strcmp(arg, "openai") == 0)
			return;
		tool_say("--init: \"%s\" is not openai or pytorch", quoted);
	}
	init->refused = TOOL_USAGE;
}

static error_t pack_init_parse(int key, char *arg, struct argp_state *state)
{
	struct pack_init *init = state->input;

	switch (key) {
	case 'o':
		init->output.path = arg;
		return 0;
	case 'q':
		init->output.quiet = true;
		return 0;
	case PACK_OPTION_SIZE:
	case PACK_OPTION_INIT:
		pack_init_word(init, key, arg);
		return 0;
	case PACK_OPTION_VOCAB:
		pack_init_number(init, arg, "--vocab", 1, GW_MAX_TABLE_ROWS, &init->n_vocab);
		init->own_vocab = true;
		return 0;
	case PACK_OPTION_POSITIONS:
		pack_init_number(init, arg, "--positions", 0, GW_MAX_TABLE_ROWS,
				 &init->n_positions);
		init->own_positions = true;
		return 0;
	case PACK_OPTION_EMBD:
		pack_init_number(init, arg, "--embd", 1, GW_MAX_N_EMBD, &init->n_embd);
		init->own_embd = true;
		return 0;
	case PACK_OPTION_DTYPE:
		if (pack_parse_dtype_option(arg, &init->dtype) != TOOL_DONE)
			init->refused = TOOL_USAGE;
		return 0;
	case PACK_OPTION_SEED:
		pack_init_number(init, arg, "--seed", 0, UINT64_MAX, &init->seed);
		return 0;
	case PACK_OPTION_FORCE:
		init->output.replace = true;
		return 0;
	case PACK_OPTION_ZSTD:
		if (pack_parse_zstd_option(arg, &init->output.level) != TOOL_DONE)
			init->refused = TOOL_USAGE;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "init takes no input");
		return 0;
	case ARGP_KEY_END:
		if (!init->output.path)
			argp_error(state, "-o OUT.gpt2w is missing");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp pack_init_argp = {
	.options = pack_init_options,
	.parser = pack_init_parse,
	.args_doc = "-o OUT.gpt2w",
	.doc = "Make a pack of fresh random tables."
	       "\vThe same options give the same bytes on every machine.",
};

/* Rows of a table: made, converted and appended, or given to the quantiser. */
static int pack_init_rows(const struct pack_init *init, struct gw_writer *writer, size_t index,
			  const struct gw_tensor *table, struct pack_quantiser *quantiser,
			  struct tool_progress *progress, struct gw_error *error)
{
	double stddev = init->pytorch ? 1.0 : table->role == GW_ROLE_WTE ? 0.02 : 0.01;
	uint64_t n = table->shape[1], row_bytes = n * gw_dtype_bytes(table->dtype);
	float *values = calloc(n, sizeof *values);
	uint8_t *row = malloc(row_bytes);
	struct pack_random random;
	int code = GW_OK;

	if (!values || !row)
		code = gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	for (uint64_t i = 0; code == GW_OK && i < table->shape[0]; i++) {
		pack_random_start(&random, init->seed, table->role, i);
		pack_random_normal(&random, stddev, values, n);
		if (quantiser) {
			code = pack_quantiser_add(quantiser, (const uint8_t *)values, n, error);
		} else {
			pack_convert(GW_F32, table->dtype, (const uint8_t *)values, n, row);
			code = gw_writer_append(writer, index, row, row_bytes, error);
		}
		tool_progress_add(progress, row_bytes);
	}
	free(values);
	free(row);
	return code;
}

static int pack_init_table(const struct pack_init *init, struct gw_writer *writer, size_t index,
			   const struct gw_tensor *table, struct tool_progress *progress,
			   struct pack_loss *out_loss, struct gw_error *error)
{
	struct pack_quantiser *quantiser = NULL;
	int code = GW_OK;

	if (table->dtype == GW_I8)
		code = pack_quantiser_new(writer, index, table->name, table->shape[0],
					  table->shape[1], &quantiser, error);
	if (code == GW_OK)
		code = pack_init_rows(init, writer, index, table, quantiser, progress, error);
	if (code == GW_OK && quantiser)
		code = pack_quantiser_finish(quantiser, out_loss, error);
	pack_quantiser_free(quantiser);
	return code;
}

static void pack_init_provenance(const struct pack_init *init, struct gw_provenance *out)
{
	*out = (struct gw_provenance){ .source_format = "init" };
	snprintf(out->source_name, sizeof out->source_name, "%s", init->size);
	snprintf(out->tool, sizeof out->tool, "%s", PACK_TOOL);
	snprintf(out->note, sizeof out->note, "seed %" PRIu64 ", %s", init->seed,
		 init->pytorch ? "pytorch" : "openai");
}

/* losses: of as many as there are tables. */
static int pack_init_write(const struct pack_init *init, uint64_t n_layer, uint64_t n_head,
			   struct pack_loss losses[2], struct pack_made *out,
			   struct gw_error *error)
{
	const struct gw_tensor tables[] = {
		pack_table_declare(GW_ROLE_WTE, init->dtype, init->n_vocab, init->n_embd),
		pack_table_declare(GW_ROLE_WPE, init->dtype, init->n_positions, init->n_embd),
	};
	size_t n_tables = init->n_positions ? 2 : 1;
	struct gw_provenance provenance;
	struct tool_progress progress;
	struct gw_writer *writer = NULL;
	int code = pack_begin(&init->output, tables, n_tables, &writer, error);

	if (code != GW_OK)
		return code;
	tool_progress_start(&progress, "making", gw_writer_image_bytes(writer),
			    init->output.quiet);
	for (size_t i = 0; code == GW_OK && i < n_tables; i++)
		code = pack_init_table(init, writer, i, &tables[i], &progress, &losses[i], error);
	tool_progress_end(&progress);
	if (code == GW_OK) {
		pack_init_provenance(init, &provenance);
		code = pack_finish(writer, &init->output, &provenance, n_layer, n_head, out, error);
	}
	gw_writer_free(writer);
	return code;
}

static void pack_init_say_done(const struct pack_init *init, const struct pack_loss losses[2],
			       const struct pack_made *made)
{
	const char *path = init->output.path;
	char positions[64] = "no wpe", size[PACK_MADE_TEXT_BYTES], id[GW_DIGEST_TEXT_BYTES];
	char quoted[256];

	if (init->dtype == GW_I8)
		pack_say_loss("wte", &losses[0]);
	if (init->dtype == GW_I8 && init->n_positions)
		pack_say_loss("wpe", &losses[1]);
	if (init->n_positions)
		snprintf(positions, sizeof positions, "wpe [%" PRIu64 ", %" PRIu64 "]",
			 init->n_positions, init->n_embd);
	tool_say("%s: random wte [%" PRIu64 ", %" PRIu64 "], %s, %s, seed %" PRIu64
		 ", %s, content id %s",
		 gw_quote(path, strlen(path), quoted, sizeof quoted), init->n_vocab, init->n_embd,
		 positions, gw_dtype_name(init->dtype), init->seed, pack_made_text(made, size),
		 gw_digest_text(&made->content_id, id));
}

enum tool_exit pack_command_init(int argc, char **argv)
{
	struct pack_init init = { .size = "gpt2", .seed = PACK_DEFAULT_SEED, .dtype = GW_F32 };
	struct gw_error error = GW_ERROR_INIT;
	const struct pack_size *size;
	struct pack_loss losses[2];
	struct pack_made made;
	bool named;

	argp_parse(&pack_init_argp, argc, argv, 0, NULL, &init);
	if (init.refused)
		return init.refused;
	size = pack_size_find(init.size);
	/* with sizes of its own it is no published model, whose depth could be told */
	named = !init.own_vocab && !init.own_positions && !init.own_embd;
	if (!init.own_vocab)
		init.n_vocab = PACK_GPT2_VOCAB;
	if (!init.own_positions)
		init.n_positions = PACK_GPT2_POSITIONS;
	if (!init.own_embd)
		init.n_embd = size->n_embd;
	if (!named)
		init.size = "";
	if (init.dtype == GW_I8 &&
	    (pack_quantise_check(GW_WTE_NAME, init.n_vocab, init.n_embd, &error) != GW_OK ||
	     pack_quantise_check(GW_WPE_NAME, init.n_positions, init.n_embd, &error) != GW_OK)) {
		tool_fail(NULL, &error);
		return TOOL_USAGE;
	}
	if (pack_init_write(&init, named ? size->n_layer : 0, named ? size->n_head : 0, losses,
			    &made, &error) != GW_OK)
		return pack_fail_making(NULL, &error, TOOL_USAGE);
	if (!init.output.quiet)
		pack_init_say_done(&init, losses, &made);
	return TOOL_DONE;
}
