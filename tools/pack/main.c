/* SPDX-License-Identifier: MIT */
/* gpt2-pack: converts, makes, inspects, verifies and exports packs of GPT-2's embedding tables. */
#include <argp.h>
#include <stdlib.h>
#include <string.h>

#include "tools/common/signals.h"
#include "tools/pack/command.h"

const char *argp_program_version = PACK_TOOL;

static const struct {
	const char *name;
	char *full_name;
	enum tool_exit (*run)(int argc, char **argv);
} pack_commands[] = {
	{ "pack", (char[]){ "gpt2-pack pack" }, pack_command_pack },
	{ "init", (char[]){ "gpt2-pack init" }, pack_command_init },
	{ "info", (char[]){ "gpt2-pack info" }, pack_command_info },
	{ "verify", (char[]){ "gpt2-pack verify" }, pack_command_verify },
	{ "unpack", (char[]){ "gpt2-pack unpack" }, pack_command_unpack },
};

static const char pack_doc[] =
	"Packs of GPT-2's embedding tables: convert, make, inspect, verify and export them."
	"\vCommands:\n"
	"  pack INPUT... -o OUT.gpt2w      convert a checkpoint\n"
	"  init -o OUT.gpt2w               make fresh random tables\n"
	"  info FILE... [--json]           say what a pack or a checkpoint holds\n"
	"  verify FILE...                  check every byte of packs\n"
	"  unpack FILE -o OUT              convert back (safetensors or npz)\n"
	"\n"
	"gpt2-pack COMMAND --help describes the options of a command.\n"
	"\n"
	"Exit status: 0 done, 1 failed, 2 wrong usage, 3 bad input, 4 input/output error or no "
	"space, 5 a pack does not verify.";

/* Stops at the first argument, the command: what follows is the command's own. */
static error_t pack_parse_main(int key, char *arg, struct argp_state *state)
{
	int *out_at = state->input;

	(void)arg;
	switch (key) {
	case ARGP_KEY_ARG:
		*out_at = state->next - 1;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "a command is missing: pack, init, info, verify or unpack");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int main(int argc, char **argv)
{
	const struct argp argp = {
		.parser = pack_parse_main,
		.args_doc = "COMMAND [OPTION...]",
		.doc = pack_doc,
	};
	char quoted[64];
	int at = 0;

	tool_start("gpt2-pack");
	tool_signals_install();
	if (argc < 1)
		return TOOL_USAGE;
	argv[0] = (char[]){ "gpt2-pack" };
	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &at);
	for (size_t i = 0; i < sizeof pack_commands / sizeof pack_commands[0]; i++) {
		if (at > 0 && strcmp(argv[at], pack_commands[i].name) == 0) {
			argv[at] = pack_commands[i].full_name;
			return (int)tool_finish(pack_commands[i].run(argc - at, argv + at));
		}
	}
	tool_say("there is no command \"%s\": pack, init, info, verify, unpack (see gpt2-pack "
		 "--help)",
		 at > 0 ? gw_quote(argv[at], strlen(argv[at]), quoted, sizeof quoted) : "");
	return TOOL_USAGE;
}
