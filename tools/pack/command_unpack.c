/* SPDX-License-Identifier: MIT */
/* gpt2-pack unpack */
#include <argp.h>
#include <stdbool.h>
#include <string.h>

#include "tools/common/number.h"
#include "tools/pack/command.h"
#include "tools/pack/export_npz.h"
#include "tools/pack/formats.h"
#include "tools/pack/open.h"

struct pack_unpack {
	const char *input, *output;
	const struct pack_exporter *exporter;
	enum tool_exit refused; /* TOOL_DONE: the options are fine */
	bool force, quiet;
};

enum { PACK_OPTION_FORCE = 256, PACK_OPTION_TO };

static const struct argp_option pack_unpack_options[] = {
	{ "output", 'o', "OUT", 0, "The file to write", 0 },
	{ "to", PACK_OPTION_TO, "safetensors|npz", 0, "Its format; safetensors by default", 0 },
	{ "force", PACK_OPTION_FORCE, NULL, 0, "Replace OUT if it exists", 0 },
	{ "quiet", 'q', NULL, 0, "No progress bar, no summary", 0 },
	{ 0 },
};

static void pack_unpack_parse_to(struct pack_unpack *unpack, const char *text)
{
	static const struct pack_exporter *const exporters[] = { &pack_export_safetensors,
								  &pack_export_npz };
	char quoted[64];

	for (size_t i = 0; i < sizeof exporters / sizeof exporters[0]; i++) {
		if (strcmp(exporters[i]->name, text) == 0) {
			unpack->exporter = exporters[i];
			return;
		}
	}
	tool_say("--to is safetensors or npz, not \"%s\"",
		 gw_quote(text, strlen(text), quoted, sizeof quoted));
	unpack->refused = TOOL_USAGE;
}

static error_t pack_unpack_parse(int key, char *arg, struct argp_state *state)
{
	struct pack_unpack *unpack = state->input;

	switch (key) {
	case 'o':
		unpack->output = arg;
		return 0;
	case 'q':
		unpack->quiet = true;
		return 0;
	case PACK_OPTION_TO:
		pack_unpack_parse_to(unpack, arg);
		return 0;
	case PACK_OPTION_FORCE:
		unpack->force = true;
		return 0;
	case ARGP_KEY_ARG:
		if (unpack->input)
			argp_error(state, "unpack takes one pack");
		unpack->input = arg;
		return 0;
	case ARGP_KEY_END:
		if (!unpack->input)
			argp_error(state, "FILE is missing");
		if (!unpack->output)
			argp_error(state, "-o OUT is missing");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp pack_unpack_argp = {
	.options = pack_unpack_options,
	.parser = pack_unpack_parse,
	.args_doc = "FILE -o OUT",
	.doc = "Convert a pack into a safetensors file or NumPy's npz."
	       "\vThe values are the same bit for bit; int8 rows are multiplied out to F32. Every block is verified while it is copied; "
	       "if one is damaged there is no output and the exit status is 5.",
};

static int pack_unpack_write(const struct pack_unpack *unpack, const struct pack_source *source,
			     struct gw_error *error)
{
	const struct pack_file *file = &source->files[0];
	const struct gw_superblock *superblock = &pack_repack_pack(source)->superblock;
	struct tool_progress progress;
	struct gw_outfile *out = NULL;
	int code = gw_outfile_refuse_same(unpack->output, file->status.st_dev, file->status.st_ino,
					  error);

	if (code == GW_OK)
		code = gw_outfile_create(unpack->output, unpack->force, &out, error);
	if (code != GW_OK)
		return code;
	tool_progress_start(&progress, "unpacking", superblock->image_bytes, unpack->quiet);
	code = pack_export(unpack->exporter, source, out, &progress, error);
	tool_progress_end(&progress);
	if (code == GW_OK)
		code = gw_outfile_commit(out, error);
	gw_outfile_free(out);
	return code;
}

static void pack_unpack_say_done(const struct pack_unpack *unpack, const struct pack_source *source)
{
	const struct gw_pack *pack = pack_repack_pack(source);
	char quoted[256], size[TOOL_SIZE_TEXT_BYTES], id[GW_DIGEST_TEXT_BYTES];
	unsigned n_int8 = 0;

	for (uint32_t i = 0; i < pack->superblock.n_tensors; i++)
		n_int8 += pack->tensors[i].dtype == GW_I8;
	if (n_int8)
		tool_say("note: %u tensors of int8 rows are written as F32, each int8 times its row's scale",
			 n_int8);
	if (!unpack->quiet)
		tool_say("%s: %u tensors of %s, content id %s",
			 gw_quote(unpack->output, strlen(unpack->output), quoted, sizeof quoted),
			 pack->superblock.n_tensors,
			 tool_size_text(pack->superblock.image_bytes, size),
			 gw_digest_text(&pack->superblock.content_id, id));
}

enum tool_exit pack_command_unpack(int argc, char **argv)
{
	struct pack_unpack unpack = { .exporter = &pack_export_safetensors };
	struct gw_error error = GW_ERROR_INIT;
	struct pack_source *source = NULL;
	enum tool_exit result = TOOL_DONE;

	argp_parse(&pack_unpack_argp, argc, argv, 0, NULL, &unpack);
	if (unpack.refused)
		return unpack.refused;
	if (pack_open_repack(unpack.input, &source, &error) != GW_OK)
		return pack_fail_making(unpack.input, &error, TOOL_VERIFY);
	if (pack_unpack_write(&unpack, source, &error) != GW_OK)
		/* what is wrong with the output names it; a bad block is of the pack */
		result = pack_fail_making(tool_exit_code(error.code) == TOOL_VERIFY ? unpack.input
										    : NULL,
					  &error, TOOL_VERIFY);
	else
		pack_unpack_say_done(&unpack, source);
	pack_source_free(source);
	return result;
}
