/* SPDX-License-Identifier: MIT */
/* gpt2-pack verify */
#include <argp.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "tools/common/ordered.h"
#include "tools/pack/command.h"
#include "tools/pack/open.h"
#include "tools/pack/verify.h"

struct pack_verify {
	bool quiet;
	char **files;
	unsigned n_files;
};

static const struct argp_option pack_verify_options[] = {
	{ "quiet", 'q', NULL, 0, "No progress bar, and nothing for a pack that is good", 0 },
	{ 0 },
};

static error_t pack_verify_parse(int key, char *arg, struct argp_state *state)
{
	struct pack_verify *verify = state->input;

	(void)arg;
	switch (key) {
	case 'q':
		verify->quiet = true;
		return 0;
	case ARGP_KEY_ARGS:
		verify->files = state->argv + state->next;
		verify->n_files = (unsigned)(state->argc - state->next);
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "FILE is missing");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp pack_verify_argp = {
	.options = pack_verify_options,
	.parser = pack_verify_parse,
	.args_doc = "FILE...",
	.doc = "Check every byte of packs."
	       "\vEvery damaged block is named, with its bytes and the rows it holds. The exit "
	       "status is 0 if all packs verify, 5 if one does not.",
};

/* What is said of one pack. */
struct pack_findings {
	const char *name;
	struct tool_progress progress;
	uint64_t n_bad;
};

static void pack_say_bad(void *context, const struct gw_error *error)
{
	struct pack_findings *findings = context;
	bool shown = findings->progress.enabled;

	tool_progress_end(&findings->progress);
	tool_say("%s: %s", findings->name, error->message);
	findings->progress.enabled = shown;
	findings->n_bad++;
}

static enum tool_exit pack_verify_file(const char *path, bool quiet)
{
	struct gw_error error = GW_ERROR_INIT;
	struct pack_file file = PACK_FILE_INIT;
	struct gw_pack *pack = NULL;
	struct pack_findings findings = { 0 };
	uint64_t n_units = 0;
	char name[256], id[GW_DIGEST_TEXT_BYTES];
	enum tool_exit result;
	int code = pack_open_pack(path, &file, &pack, &error);

	gw_quote(path, strlen(path), name, sizeof name);
	findings.name = name;
	if (code == GW_OK) {
		tool_progress_start(&findings.progress, "verifying", file.size_bytes, quiet);
		code = pack_verify(pack, file.fd, tool_processors(), pack_say_bad, &findings,
				   &findings.progress, &n_units, &error);
		tool_progress_end(&findings.progress);
	}
	if (code == GW_OK)
		code = pack_file_unchanged(&file, &error);
	if (code != GW_OK) {
		result = tool_fail(path, &error);
	} else if (findings.n_bad) {
		tool_say("%s: does not verify: %" PRIu64 " of %" PRIu64
			 " blocks and gaps are damaged",
			 name, findings.n_bad, n_units);
		result = TOOL_VERIFY;
	} else {
		if (!quiet)
			printf("%s: good, %" PRIu64 " bytes, content id %s\n", name,
			       file.size_bytes, gw_digest_text(&pack->superblock.content_id, id));
		result = TOOL_DONE;
	}
	gw_pack_free(pack);
	pack_file_close(&file);
	return result;
}

enum tool_exit pack_command_verify(int argc, char **argv)
{
	struct pack_verify verify = { 0 };
	enum tool_exit worst = TOOL_DONE;

	argp_parse(&pack_verify_argp, argc, argv, 0, NULL, &verify);
	for (unsigned i = 0; i < verify.n_files; i++) {
		enum tool_exit one = pack_verify_file(verify.files[i], verify.quiet);

		if (one > worst)
			worst = one;
	}
	return worst;
}
