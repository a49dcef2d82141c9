/* SPDX-License-Identifier: MIT */
/* gpt2-pack info */
#include <argp.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>

#include "tools/common/number.h"
#include "tools/common/ordered.h"
#include "tools/pack/command.h"
#include "tools/pack/describe.h"
#include "tools/pack/kind.h"
#include "tools/pack/open.h"

struct pack_info {
	char **inputs; /* of argv */
	size_t n_inputs;
	uint64_t raw_n_embd;
	enum tool_exit refused; /* TOOL_DONE: the options are fine */
	bool json, entropy;
};

enum { PACK_OPTION_JSON = 256, PACK_OPTION_EMBD, PACK_OPTION_ENTROPY };

static const struct argp_option pack_info_options[] = {
	{ "json", PACK_OPTION_JSON, NULL, 0, "As one JSON object", 0 },
	{ "entropy", PACK_OPTION_ENTROPY, NULL, 0,
	  "Of a pack also the entropy of each plane of bytes: reads and verifies all of it", 0 },
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
	case PACK_OPTION_ENTROPY:
		info->entropy = true;
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
	       "The header is checked, the values are not (see verify, and --entropy).",
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

static int pack_info_entropy(const struct gw_pack *pack, int fd, struct pack_entropy **out,
			     struct gw_error *error)
{
	struct pack_entropy *entropies = calloc(pack->superblock.n_tensors, sizeof *entropies);
	struct tool_progress progress;
	int code;

	if (!entropies)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	tool_progress_start(&progress, "reading", pack->superblock.image_bytes, false);
	code = pack_entropy_measure(pack, fd, tool_processors(), &progress, entropies, error);
	tool_progress_end(&progress);
	if (code != GW_OK) {
		free(entropies);
		return code;
	}
	*out = entropies;
	return GW_OK;
}

static enum tool_exit pack_info_pack(const struct pack_info *info, const char *path)
{
	struct gw_error error = GW_ERROR_INIT;
	struct pack_file file = PACK_FILE_INIT;
	struct pack_entropy *entropies = NULL;
	enum tool_exit result = TOOL_DONE;
	struct gw_pack *pack = NULL;
	int code = pack_open_pack(path, &file, &pack, &error);

	if (code == GW_OK && info->entropy)
		code = pack_info_entropy(pack, file.fd, &entropies, &error);
	if (code == GW_OK)
		pack_describe_pack(pack, entropies, info->json);
	else
		result = tool_fail(path, &error);
	free(entropies);
	gw_pack_free(pack);
	pack_file_close(&file);
	return result;
}

enum tool_exit pack_command_info(int argc, char **argv)
{
	struct pack_info info = { 0 };
	struct gw_error error = GW_ERROR_INIT;
	struct pack_source *source = NULL;
	const char *subject;

	argp_parse(&pack_info_argp, argc, argv, 0, NULL, &info);
	if (info.refused)
		return info.refused;
	/* a message about several inputs names the one that it is about */
	subject = info.n_inputs == 1 ? info.inputs[0] : NULL;
	if (subject && pack_info_is_pack(subject))
		return pack_info_pack(&info, subject);
	if (info.entropy) {
		tool_say("--entropy is for a pack");
		return TOOL_USAGE;
	}
	if (pack_source_open_all((const char *const *)info.inputs, info.n_inputs, info.raw_n_embd,
				 &source, &error) != GW_OK)
		return pack_fail_making(subject, &error, TOOL_INPUT);
	pack_describe_source(source, info.json);
	pack_source_free(source);
	return TOOL_DONE;
}
