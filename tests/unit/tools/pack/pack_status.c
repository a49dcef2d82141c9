/* SPDX-License-Identifier: MIT */
/*
 * pack_status [--failures]: the exact codes that gpt2-pack's exit codes are made of. Each line of the
 * input names one checkpoint: the columns of raw files, and paths, with tabs between them. All of it
 * is done but the writing: it is opened, its tables are found, their values are read. The answer is a
 * line too: "CODE OFFSET MESSAGE" (OFFSET - where there is none), or "0 DIGEST", of the values.
 *
 * --failures: that again and again, with all tensors, where the n-th allocation or system call fails,
 * for every n. The answer is "0 MEMORY OPEN IO SHORT", how many failures there were of each kind, or
 * "-1 SENTENCE" if one had another end than its own code or the same values.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/digest.h"
#include "tests/unit/tools/pack/injected.h"
#include "tools/pack/limits.h"
#include "tools/pack/plan.h"
#include "tools/pack/source.h"

struct input {
	const char *paths[16];
	size_t n;
	uint64_t n_embd;
	bool all;
};

static int read_tables(const struct pack_source *source, const struct pack_plan *plan,
		       uint8_t *buffer, struct gw_hasher *hasher, struct gw_error *error)
{
	int code = GW_OK;

	for (size_t i = 0; i < plan->n_tables; i++) {
		const struct pack_table *table = &plan->tables[i];

		for (uint64_t at = 0; code == GW_OK && at < table->take_bytes;) {
			uint64_t left = table->tensor->size_bytes - at;
			uint64_t n = left < PACK_BUFFER_BYTES ? left : PACK_BUFFER_BYTES;

			code = pack_source_read(source, table->tensor, at, n, buffer, error);
			if (code == GW_OK)
				gw_hasher_update(hasher, buffer, n);
			at += n;
		}
	}
	return code;
}

/* hasher and buffer are made before anything can fail. */
static int run(const struct input *input, uint8_t *buffer, struct gw_hasher *hasher,
	       struct gw_error *error)
{
	struct pack_source *source = NULL;
	struct pack_wish wish = { .all = input->all };
	struct pack_plan plan = { 0 };
	int code = pack_source_open_all(input->paths, input->n, input->n_embd, &source, error);

	gw_hasher_reset(hasher);
	if (code == GW_OK)
		code = pack_plan_make(source, &wish, &plan, error);
	if (code == GW_OK) {
		code = read_tables(source, &plan, buffer, hasher, error);
		for (size_t i = 0; code == GW_OK && i < source->n_files; i++)
			code = pack_file_unchanged(&source->files[i], error);
		pack_plan_deinit(&plan);
	}
	pack_source_free(source);
	return code;
}

static int count_fds(void)
{
	DIR *folder = opendir("/proc/self/fd");
	int n = 0;

	while (folder && readdir(folder))
		n++;
	if (folder)
		closedir(folder);
	return n;
}

static bool fits(enum injected kind, int code, const struct gw_error *error)
{
	if (error->code != code || !error->message[0])
		return false;
	switch (kind) {
	case INJECTED_MEMORY:
		return code == GW_E_MEMORY;
	case INJECTED_OPEN:
	case INJECTED_IO:
		/* what cannot be opened as a directory is tried as a file; a part that cannot be
		 * opened is missing */
		if (code == GW_E_NOT_FILE)
			return kind == INJECTED_OPEN;
		return code == GW_E_SOURCE ? strstr(error->message, "missing: cannot") != NULL :
					     code == GW_E_IO && error->sys_errno == EIO;
	default:
		return code == GW_E_CHANGED;
	}
}

/* Whether all failures of a kind end as they should; otherwise the answer is printed. */
static bool survives(const struct input *input, enum injected kind, uint64_t want, uint8_t *buffer,
		     struct gw_hasher *hasher, long *out_n)
{
	int fds = count_fds();
	bool failed = true;

	for (long n = 0; failed; n++) {
		struct gw_error error = GW_ERROR_INIT;
		int code;

		injected_begin(kind, n);
		code = run(input, buffer, hasher, &error);
		failed = injected_end();
		*out_n = n;
		if (code == GW_OK ? gw_hasher_digest64(hasher) != want :
				    !failed || !fits(kind, code, &error)) {
			printf("-1 failure %ld of kind %d gives %d: %s\n", n, kind, code,
			       error.message);
			return false;
		}
		if (count_fds() != fds) {
			printf("-1 failure %ld of kind %d leaks a descriptor\n", n, kind);
			return false;
		}
	}
	return true;
}

static void answer(const struct input *input, uint8_t *buffer, struct gw_hasher *hasher)
{
	struct gw_error error = GW_ERROR_INIT;
	long n[INJECTED_KINDS] = { 0 };
	int code = run(input, buffer, hasher, &error);
	uint64_t digest = gw_hasher_digest64(hasher);

	if (code != GW_OK && error.offset == GW_NO_OFFSET)
		printf("%d - %s\n", code, error.message);
	else if (code != GW_OK)
		printf("%d %" PRIu64 " %s\n", code, error.offset, error.message);
	else if (!input->all)
		printf("0 %016" PRIx64 "\n", digest);
	if (code != GW_OK || !input->all)
		return;
	for (enum injected kind = 0; kind < INJECTED_KINDS; kind++) {
		if (!survives(input, kind, digest, buffer, hasher, &n[kind]))
			return;
	}
	printf("0 %ld %ld %ld %ld\n", n[INJECTED_MEMORY], n[INJECTED_OPEN], n[INJECTED_IO],
	       n[INJECTED_SHORT]);
}

int main(int argc, char **argv)
{
	bool all = argc > 1 && strcmp(argv[1], "--failures") == 0;
	uint8_t *buffer = malloc(PACK_BUFFER_BYTES);
	struct gw_hasher *hasher = gw_hasher_new();
	char line[4096];

	while (buffer && hasher && fgets(line, sizeof line, stdin)) {
		struct input input = { .all = all, .n_embd = strtoull(line, NULL, 10) };
		char *rest = strchr(line, '\t');

		line[strcspn(line, "\n")] = 0;
		for (; rest && input.n < 16; rest = strchr(rest, '\t')) {
			*rest++ = 0;
			input.paths[input.n++] = rest;
		}
		if (!input.n)
			break;
		answer(&input, buffer, hasher);
		fflush(stdout);
	}
	free(buffer);
	gw_hasher_free(hasher);
	return 0;
}
