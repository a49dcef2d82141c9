/* SPDX-License-Identifier: MIT */
/* gpt2-pack info */
#include <argp.h>
#include <fcntl.h>
#include <stdbool.h>

#include "tools/pack/command.h"
#include "tools/pack/describe.h"
#include "tools/pack/kind.h"
#include "tools/pack/open.h"

struct pack_info {
	const char *input;
	bool json;
};

enum { PACK_OPTION_JSON = 256 };

static const struct argp_option pack_info_options[] = {
	{ "json", PACK_OPTION_JSON, NULL, 0, "As one JSON object", 0 },
	{ 0 },
};

static error_t pack_info_parse(int key, char *arg, struct argp_state *state)
{
	struct pack_info *info = state->input;

	switch (key) {
	case PACK_OPTION_JSON:
		info->json = true;
		return 0;
	case ARGP_KEY_ARG:
		if (info->input)
			argp_error(state, "info takes one file");
		info->input = arg;
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
	.args_doc = "FILE",
	.doc = "Say what a pack or a checkpoint holds."
	       "\vFor a checkpoint: its tensors, and which of them would be taken as wte and wpe. "
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

	argp_parse(&pack_info_argp, argc, argv, 0, NULL, &info);
	if (pack_info_is_pack(info.input)) {
		if (pack_open_pack(info.input, &file, &pack, &error) != GW_OK)
			return tool_fail(info.input, &error);
		pack_describe_pack(pack, info.json);
		gw_pack_free(pack);
		pack_file_close(&file);
		return TOOL_DONE;
	}
	if (pack_source_open(info.input, &source, &error) != GW_OK)
		return pack_fail_making(info.input, &error, TOOL_INPUT);
	pack_describe_source(source, info.json);
	pack_source_free(source);
	return TOOL_DONE;
}
