/* SPDX-License-Identifier: MIT */
/* gpt2-pack info */
#include <argp.h>
#include <fcntl.h>
#include <stdbool.h>

#include "tools/common/number.h"
#include "tools/pack/command.h"
#include "tools/pack/describe.h"
#include "tools/pack/kind.h"
#include "tools/pack/open.h"

struct pack_info {
	char **inputs; /* of argv */
	size_t n_inputs;
	uint64_t raw_n_embd;
	enum tool_exit refused; /* TOOL_DONE: the options are fine */
	bool json;
};

enum { PACK_OPTION_JSON = 256, PACK_OPTION_EMBD };

static const struct argp_option pack_info_options[] = {
	{ "json", PACK_OPTION_JSON, NULL, 0, "As one JSON object", 0 },
	{ "embd", PACK_OPTION_EMBD, "N", 0, "Columns of a raw file (.f32)", 0 },
	{ 0 },
};

static error_t pack_info_parse(int key, char *arg, struct argp_state *state)
{
	struct pack_info *info = state->input;
	struct gw_error error = GW_ERROR_INIT;

	switch (key) {
	case PACK_OPTION_JSON:
		info->json = true;
		return 0;
	case PACK_OPTION_EMBD:
		if (tool_parse_u64(arg, "--embd", 1, GW_MAX_N_EMBD, &info->raw_n_embd, &error) !=
		    GW_OK)
			info->refused = tool_fail(NULL, &error);
		return 0;
	case ARGP_KEY_ARGS:
		info->inputs = state->argv + state->next;
		info->n_inputs = (size_t)(state->argc - state->next);
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "FILE is missing");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp pack_info_argp = {
	.options = pack_info_options,
	.parser = pack_info_parse,
	.args_doc = "FILE...",
	.doc = "Say what a pack or a checkpoint holds."
	       "\vSeveral inputs are one checkpoint, as for pack. For a checkpoint: its tensors, and which of them would be taken as wte and wpe. "
	       "The header is checked, the values are not (see verify).",
};

/*
 * Whether path is a file that begins like a pack. What else it is, or that it cannot be read, is
 * for the reader of checkpoints to say.
 */
static bool pack_info_is_pack(const char *path)
{
	struct pack_file file = PACK_FILE_INIT;
	uint8_t head[PACK_KIND_BYTES];
	bool is_pack = false;
	uint64_t n;

	if (pack_file_open(AT_FDCWD, path, &file, NULL) != GW_OK)
		return false;
	n = file.size_bytes < sizeof head ? file.size_bytes : sizeof head;
	if (pack_file_read(&file, head, n, 0, NULL) == GW_OK)
		is_pack = pack_kind_detect(head, n) == PACK_KIND_GPT2W;
	pack_file_close(&file);
	return is_pack;
}

enum tool_exit pack_command_info(int argc, char **argv)
{
	struct pack_info info = { 0 };
	struct gw_error error = GW_ERROR_INIT;
	struct pack_file file = PACK_FILE_INIT;
	struct pack_source *source = NULL;
	struct gw_pack *pack = NULL;
	const char *subject;

	argp_parse(&pack_info_argp, argc, argv, 0, NULL, &info);
	if (info.refused)
		return info.refused;
	/* a message about several inputs names the one that it is about */
	subject = info.n_inputs == 1 ? info.inputs[0] : NULL;
	if (subject && pack_info_is_pack(subject)) {
		if (pack_open_pack(subject, &file, &pack, &error) != GW_OK)
			return tool_fail(subject, &error);
		pack_describe_pack(pack, info.json);
		gw_pack_free(pack);
		pack_file_close(&file);
		return TOOL_DONE;
	}
	if (pack_source_open_all((const char *const *)info.inputs, info.n_inputs, info.raw_n_embd,
				 &source, &error) != GW_OK)
		return pack_fail_making(subject, &error, TOOL_INPUT);
	pack_describe_source(source, info.json);
	pack_source_free(source);
	return TOOL_DONE;
}
