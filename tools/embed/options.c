/* SPDX-License-Identifier: MIT */
#include "tools/embed/options.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/common/number.h"
#include "tools/embed/output.h"

const char *argp_program_version = "gpt2-embed " GW_RELEASE;

enum embed_key {
	EMBED_KEY_SOCKET = 256,
	EMBED_KEY_FILE,
	EMBED_KEY_MODEL,
	EMBED_KEY_PAST,
	EMBED_KEY_SEQ,
	EMBED_KEY_NO_POSITIONS,
	EMBED_KEY_ALLOW_UNSEALED,
	EMBED_KEY_IDS,
	EMBED_KEY_FORCE,
};

/* -1 is a negative id, which deserves the message of one, not that of an unknown option. */
#define EMBED_DIGIT(c)                                                    \
	{                                                                 \
		NULL, c, "", OPTION_ARG_OPTIONAL | OPTION_HIDDEN, NULL, 0 \
	}

static const struct argp_option embed_argp_options[] = {
	{ "socket", EMBED_KEY_SOCKET, "PATH", 0, "The daemon's socket", 1 },
	{ "file", EMBED_KEY_FILE, "FILE.gpt2w", 0, "Read this pack, without a daemon", 1 },
	{ "model", EMBED_KEY_MODEL, "NAME", 0, "The daemon's model of this name", 1 },
	{ "allow-unsealed", EMBED_KEY_ALLOW_UNSEALED, NULL, 0,
	  "Accept a daemon that shares the pack's own file", 1 },
	{ "past", EMBED_KEY_PAST, "N", 0, "Position of each sequence's first token (0)", 2 },
	{ "seq", EMBED_KEY_SEQ, "N", 0, "Cut the ids into sequences of N", 2 },
	{ "no-positions", EMBED_KEY_NO_POSITIONS, NULL, 0, "Token embeddings alone", 2 },
	{ "ids", EMBED_KEY_IDS, "FILE", 0,
	  "Ids from a file: .npy, .i32, .bin (llm.c, nanoGPT), else text; - is standard input", 2 },
	{ "output", 'o', "FILE", 0, "Write a .npy or .f32 file instead of text", 3 },
	{ "force", EMBED_KEY_FORCE, NULL, 0, "Replace an output that exists", 3 },
	EMBED_DIGIT('0'),
	EMBED_DIGIT('1'),
	EMBED_DIGIT('2'),
	EMBED_DIGIT('3'),
	EMBED_DIGIT('4'),
	EMBED_DIGIT('5'),
	EMBED_DIGIT('6'),
	EMBED_DIGIT('7'),
	EMBED_DIGIT('8'),
	EMBED_DIGIT('9'),
	{ NULL, 0, NULL, 0, NULL, 0 },
};

/* Takes text over; NULL: there was no memory for it. */
static void embed_add_argument(struct embed_options *options, char *text, struct argp_state *state)
{
	char **arguments =
		reallocarray(options->arguments, options->n_arguments + 1, sizeof *arguments);

	if (!text || !arguments)
		argp_failure(state, EXIT_FAILURE, 0, "no memory");
	options->arguments = arguments;
	options->arguments[options->n_arguments++] = text;
}

static char *embed_negative(int digit, const char *rest)
{
	char *text = NULL;

	return asprintf(&text, "-%c%s", digit, rest ? rest : "") < 0 ? NULL : text;
}

static uint64_t embed_number(const char *text, const char *option, uint64_t min,
			     struct argp_state *state)
{
	struct gw_error error = GW_ERROR_INIT;
	uint64_t value = 0;

	if (tool_parse_u64(text, option, min, GW_MAX_TABLE_ROWS, &value, &error))
		argp_error(state, "%s", error.message);
	return value;
}

static void embed_check(const struct embed_options *options, struct argp_state *state)
{
	enum embed_output_kind kind;

	if (options->file && (options->socket_path || options->model))
		argp_error(state, "--file needs no daemon: leave out --socket and --model");
	if (options->no_positions && options->has_past)
		argp_error(state, "--past and --no-positions exclude each other");
	if (options->ids_path && options->n_arguments > 0)
		argp_error(state, "ids come from --ids or from the arguments, not from both");
	if (!embed_output_kind(options->output_path, &kind))
		argp_error(state, "the output's name ends in neither .npy nor .f32");
}

/* A single "-", or no ids at all, is standard input. */
static void embed_settle_ids(struct embed_options *options)
{
	bool is_dash = options->n_arguments == 1 && strcmp(options->arguments[0], "-") == 0;

	if (!options->ids_path && (options->n_arguments == 0 || is_dash))
		options->ids_path = "-";
}

static error_t embed_parse_key(int key, char *arg, struct argp_state *state)
{
	struct embed_options *options = state->input;

	switch (key) {
	case EMBED_KEY_SOCKET:
		options->socket_path = arg;
		break;
	case EMBED_KEY_FILE:
		options->file = arg;
		break;
	case EMBED_KEY_MODEL:
		options->model = arg;
		break;
	case EMBED_KEY_PAST:
		options->past = embed_number(arg, "--past", 0, state);
		options->has_past = true;
		break;
	case EMBED_KEY_SEQ:
		options->seq = embed_number(arg, "--seq", 1, state);
		break;
	case EMBED_KEY_NO_POSITIONS:
		options->no_positions = true;
		break;
	case EMBED_KEY_ALLOW_UNSEALED:
		options->allow_unsealed = true;
		break;
	case EMBED_KEY_IDS:
		options->ids_path = arg;
		break;
	case 'o':
		options->output_path = arg;
		break;
	case EMBED_KEY_FORCE:
		options->force = true;
		break;
	case ARGP_KEY_ARG:
		embed_add_argument(options, strdup(arg), state);
		break;
	case ARGP_KEY_SUCCESS:
		embed_check(options, state);
		embed_settle_ids(options);
		break;
	default:
		if (key < '0' || key > '9')
			return ARGP_ERR_UNKNOWN;
		embed_add_argument(options, embed_negative(key, arg), state);
	}
	return 0;
}

void embed_options_parse(int argc, char **argv, struct embed_options *out)
{
	static const struct argp argp = {
		.options = embed_argp_options,
		.parser = embed_parse_key,
		.args_doc = "[IDS...]",
		.doc = "Looks up GPT-2's input embeddings of token ids: wte[id] + wpe[position], "
		       "float32, through a gpt2d daemon or from a pack.\vIds are decimal, between "
		       "spaces or commas; without any, they are read from standard input. Exit "
		       "status: 0 done, 1 failed (no daemon ...), 2 usage, 3 bad input, 4 I/O, "
		       "5 the pack does not verify. See gpt2-embed(1).",
	};

	*out = (struct embed_options) { .n_arguments = 0 };
	/* in order: a negative id keeps its place among the others */
	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, out);
}

void embed_options_deinit(struct embed_options *options)
{
	for (size_t i = 0; i < options->n_arguments; i++)
		free(options->arguments[i]);
	free(options->arguments);
}
