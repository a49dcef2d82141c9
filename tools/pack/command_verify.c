/* SPDX-License-Identifier: MIT */
/* gpt2-pack verify */
#include <argp.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/unit_reader.h"
#include "tools/common/progress.h"
#include "tools/pack/command.h"
#include "tools/pack/file.h"
#include "tools/pack/kind.h"
#include "tools/pack/open.h"

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

/* Goes on after a bad unit, so that all of them are named. *out_n_bad: how many. */
static int pack_verify_units(const struct pack_file *file, const struct gw_pack *pack,
			     const char *name, bool quiet, uint64_t *out_n_bad,
			     struct gw_error *error)
{
	/* a compressed pack has no bytes but blocks */
	uint64_t n_units = pack->stored ? pack->superblock.n_blocks : gw_pack_unit_count(pack);
	uint64_t n_bad = 0;
	struct gw_error bad = GW_ERROR_INIT;
	struct gw_unit_reader *reader = NULL;
	uint8_t *buffer = malloc(GW_HUGE_PAGE_BYTES); /* no unit is larger */
	struct tool_progress progress;
	int code;

	if (!buffer)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	code = gw_unit_reader_new(pack, file->fd, &gw_zstd_linked, &reader, error);
	posix_fadvise(file->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	tool_progress_start(&progress, "verifying", file->size_bytes, quiet);
	for (uint64_t i = 0; code == GW_OK && i < n_units; i++) {
		int found = gw_unit_reader_verify(reader, i, buffer, &bad);

		if (tool_exit_code(found) == TOOL_VERIFY) {
			bool shown = progress.enabled;

			tool_progress_end(&progress);
			tool_say("%s: %s", name, bad.message);
			progress.enabled = shown;
			n_bad++;
		} else if (found != GW_OK) {
			code = found;
			if (error)
				*error = bad;
		}
		tool_progress_add(&progress, pack->stored ? pack->stored[i].size_bytes :
							    gw_pack_unit(pack, i).size_bytes);
	}
	tool_progress_end(&progress);
	gw_unit_reader_free(reader);
	free(buffer);
	*out_n_bad = n_bad;
	return code;
}

static enum tool_exit pack_verify_file(const char *path, bool quiet)
{
	struct gw_error error = GW_ERROR_INIT;
	struct pack_file file = PACK_FILE_INIT;
	struct gw_pack *pack = NULL;
	uint64_t n_bad = 0;
	char name[256], id[GW_DIGEST_TEXT_BYTES];
	enum tool_exit result;
	int code = pack_open_pack(path, &file, &pack, &error);

	gw_quote(path, strlen(path), name, sizeof name);
	if (code == GW_OK)
		code = pack_verify_units(&file, pack, name, quiet, &n_bad, &error);
	if (code == GW_OK)
		code = pack_file_unchanged(&file, &error);
	if (code != GW_OK) {
		result = tool_fail(path, &error);
	} else if (n_bad) {
		tool_say("%s: does not verify: %" PRIu64 " of %" PRIu64
			 " blocks and gaps are damaged",
			 name, n_bad,
			 pack->stored ? pack->superblock.n_blocks : gw_pack_unit_count(pack));
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
