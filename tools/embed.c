/* SPDX-License-Identifier: MIT */
/* gpt2-embed: ids in, vectors out. Uses the public library alone. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <gpt2client.h>

#include "format/outfile.h"
#include "tools/common/progress.h"
#include "tools/common/report.h"
#include "tools/common/signals.h"
#include "tools/embed/ids.h"
#include "tools/embed/options.h"
#include "tools/embed/output.h"

/* Vectors computed at once: some L2 caches full, so that writing them is not done in crumbs. */
#define EMBED_CHUNK_BYTES (UINT64_C(4) << 20)

/* How the ids are cut. */
struct embed_shape {
	uint64_t batch, seq, n_embd;
};

static enum tool_exit embed_client_exit(int code, bool is_file)
{
	switch (code) {
	case GPT2C_E_ID:
	case GPT2C_E_POSITION:
	case GPT2C_E_SIZE:
	case GPT2C_E_NOT_A_PACK:
	case GPT2C_E_VERSION:
		return TOOL_INPUT;
	case GPT2C_E_NOT_FOUND:
		return TOOL_IO;
	case GPT2C_E_ACCESS:
	case GPT2C_E_SYSTEM:
		return is_file ? TOOL_IO : TOOL_FAILED;
	case GPT2C_E_TRUNCATED:
	case GPT2C_E_CORRUPT:
	case GPT2C_E_MALFORMED:
		return TOOL_VERIFY;
	default:
		return TOOL_FAILED;
	}
}

/* What to do about it, or "". */
static const char *embed_hint(int code)
{
	switch (code) {
	case GPT2C_E_NO_DAEMON:
		return "; start gpt2d, name its socket with --socket, or read a pack with --file";
	case GPT2C_E_NO_MODEL:
		return "; \"gpt2ctl list\" shows the models, --model names one";
	case GPT2C_E_UNSEALED:
		return "; --allow-unsealed accepts that";
	case GPT2C_E_POSITION:
		return "; --seq cuts the ids into shorter sequences, --past says where they begin";
	default:
		return "";
	}
}

static enum tool_exit embed_client_fail(const gpt2c_error *error, bool is_file)
{
	tool_say("%s%s", error->message[0] ? error->message : gpt2c_strerror(error->code),
		 embed_hint(error->code));
	return embed_client_exit(error->code, is_file);
}

static enum tool_exit embed_open(const struct embed_options *options, gpt2c_store **out_store,
				 gpt2c_info *out_info)
{
	gpt2c_options how = GPT2C_OPTIONS_INIT;
	gpt2c_error error = GPT2C_ERROR_INIT;
	gpt2c_store *store = NULL;

	how.socket_path = options->socket_path;
	how.model = options->model;
	how.file = options->file;
	how.flags = options->allow_unsealed ? GPT2C_ALLOW_UNSEALED : 0;
	if (gpt2c_open_with(&how, &store, &error) != GPT2C_OK)
		return embed_client_fail(&error, options->file != NULL);
	out_info->size = sizeof *out_info;
	gpt2c_get_info(store, out_info);
	*out_store = store;
	return TOOL_DONE;
}

static enum tool_exit embed_input_fail(const char *name, const struct gw_error *error)
{
	enum tool_exit code = tool_fail(name, error);

	return error->code <= EMBED_E_ID && error->code >= EMBED_E_COUNT ? TOOL_INPUT : code;
}

/* The output may be neither the ids nor the pack. */
static int embed_check_output(const struct embed_options *options,
			      const struct embed_source *source, struct gw_error *error)
{
	struct stat st;
	int ret = 0;

	if (!options->output_path)
		return 0;
	if (source)
		ret = gw_outfile_refuse_same(options->output_path, source->dev, source->ino, error);
	if (!ret && options->file && stat(options->file, &st) == 0)
		ret = gw_outfile_refuse_same(options->output_path, st.st_dev, st.st_ino, error);
	return ret;
}

static enum tool_exit embed_read_ids(const struct embed_options *options, struct embed_ids *ids)
{
	struct gw_error error = GW_ERROR_INIT;
	struct embed_source source;
	int ret;

	if (!options->ids_path) {
		if (embed_check_output(options, NULL, &error))
			return tool_fail(options->output_path, &error);
		ret = embed_ids_from_arguments(ids, options->arguments, options->n_arguments,
					       &error);
		return ret ? embed_input_fail(NULL, &error) : TOOL_DONE;
	}
	if (embed_source_open(options->ids_path, &source, &error))
		return tool_fail(options->ids_path, &error);
	ret = embed_check_output(options, &source, &error);
	if (ret) {
		embed_source_close(&source);
		return tool_fail(options->output_path, &error);
	}
	ret = embed_ids_from_source(ids, &source, &error);
	embed_source_close(&source);
	return ret ? embed_input_fail(source.name, &error) : TOOL_DONE;
}

/* [batch, seq] from --seq, else from the file's own shape, else one sequence. */
static enum tool_exit embed_cut(const struct embed_options *options, const struct embed_ids *ids,
				struct embed_shape *out)
{
	uint64_t whole = ids->seq ? ids->seq : ids->count;
	uint64_t seq = options->seq ? options->seq : whole;

	if (whole % seq != 0) {
		tool_say("%s%" PRIu64 " ids cannot be cut into sequences of %" PRIu64 ": %" PRIu64
			 " would be left over",
			 ids->seq ? "rows of " : "", whole, seq, whole % seq);
		return TOOL_INPUT;
	}
	out->seq = seq;
	out->batch = ids->count / seq;
	return TOOL_DONE;
}

/* All positions are checked before the first vector is written. */
static enum tool_exit embed_check_positions(const struct embed_options *options,
					    const gpt2c_info *info, uint64_t seq)
{
	uint64_t n = info->n_positions;

	if (options->no_positions || n == 0) {
		if (options->past > 0)
			tool_say("the model has no position table: --past has no effect");
		return TOOL_DONE;
	}
	if (options->past < n && seq <= n - options->past)
		return TOOL_DONE;
	tool_say("a sequence of %" PRIu64 " ids from position %" PRIu64
		 " on reaches position %" PRIu64 "; the model has 0 to %" PRIu64 "%s",
		 seq, options->past, options->past + seq - 1, n - 1,
		 options->past < n ? "; cut the ids with --seq, or leave positions out with "
				     "--no-positions"
				   : "; --past must lie below that");
	return TOOL_INPUT;
}

/* Vectors of batch sequences of seq ids that begin at position past. */
static int embed_compute(const struct embed_options *options, const gpt2c_store *store,
			 const int32_t *ids, uint64_t batch, uint64_t seq, uint64_t past,
			 float *out, gpt2c_error *error)
{
	if (options->no_positions)
		return gpt2c_embed_at(store, ids, NULL, batch * seq, out, error);
	return gpt2c_embed(store, ids, batch, seq, past, out, error);
}

/*
 * Goes through the ids in chunks: some whole sequences, or a part of one that is longer.
 * vectors: room for chunk of them.
 */
static enum tool_exit embed_all(const struct embed_options *options, const gpt2c_store *store,
				const struct embed_ids *ids, const struct embed_shape *shape,
				float *vectors, uint64_t chunk, struct embed_output *output)
{
	struct gw_error error = GW_ERROR_INIT;
	gpt2c_error client_error = GPT2C_ERROR_INIT;
	struct tool_progress progress;
	uint64_t seq = shape->seq, n, rest;

	tool_progress_start(&progress, "embedding", ids->count * shape->n_embd * sizeof(float),
			    !options->output_path);
	for (uint64_t at = 0; at < ids->count; at += n) {
		rest = seq > chunk ? seq - at % seq : ids->count - at;
		n = seq > chunk ? chunk : chunk / seq * seq;
		n = n < rest ? n : rest;
		if (embed_compute(options, store, ids->values + at, n < seq ? 1 : n / seq,
				  n < seq ? n : seq, options->past + at % seq, vectors,
				  &client_error)) {
			tool_progress_end(&progress);
			return embed_client_fail(&client_error, options->file != NULL);
		}
		if (embed_output_append(output, vectors, n, &error)) {
			tool_progress_end(&progress);
			return tool_fail(options->output_path, &error);
		}
		tool_progress_add(&progress, n * shape->n_embd * sizeof(float));
	}
	tool_progress_end(&progress);
	return embed_output_finish(output, &error) ? tool_fail(options->output_path, &error)
						   : TOOL_DONE;
}

static enum tool_exit embed_write(const struct embed_options *options, const gpt2c_store *store,
				  const struct embed_ids *ids, const struct embed_shape *shape)
{
	struct gw_error error = GW_ERROR_INIT;
	struct embed_output *output = NULL;
	uint64_t vector_bytes = shape->n_embd * sizeof(float);
	uint64_t chunk = vector_bytes < EMBED_CHUNK_BYTES ? EMBED_CHUNK_BYTES / vector_bytes : 1;
	float *vectors;
	enum tool_exit code;

	chunk = chunk < ids->count ? chunk : ids->count;
	vectors = malloc(chunk * vector_bytes);
	if (!vectors) {
		tool_say("no memory for %" PRIu64 " vectors", chunk);
		return TOOL_FAILED;
	}
	if (embed_output_new(options->output_path, options->force, shape->batch, shape->seq,
			     shape->n_embd, &output, &error)) {
		free(vectors);
		return tool_fail(options->output_path, &error);
	}
	tool_say("ids [%" PRIu64 ",%" PRIu64 "] -> [%" PRIu64 ",%" PRIu64 ",%" PRIu64 "]",
		 shape->batch, shape->seq, shape->batch, shape->seq, shape->n_embd);
	code = embed_all(options, store, ids, shape, vectors, chunk, output);
	embed_output_free(output);
	free(vectors);
	return code;
}

static enum tool_exit embed_run(const struct embed_options *options)
{
	struct embed_shape shape = { 0 };
	struct embed_ids ids;
	gpt2c_store *store = NULL;
	gpt2c_info info;
	enum tool_exit code = embed_open(options, &store, &info);

	if (code != TOOL_DONE)
		return code;
	embed_ids_init(&ids, info.n_vocab);
	shape.n_embd = info.n_embd;
	code = embed_read_ids(options, &ids);
	if (code == TOOL_DONE)
		code = embed_cut(options, &ids, &shape);
	if (code == TOOL_DONE)
		code = embed_check_positions(options, &info, shape.seq);
	if (code == TOOL_DONE)
		code = embed_write(options, store, &ids, &shape);
	embed_ids_deinit(&ids);
	gpt2c_close(store);
	return code;
}

int main(int argc, char **argv)
{
	struct embed_options options;
	enum tool_exit code;

	tool_start("gpt2-embed");
	embed_options_parse(argc, argv, &options);
	tool_signals_install();
	code = embed_run(&options);
	embed_options_deinit(&options);
	/* a failure to write standard output has been reported by then */
	return (int)(code == TOOL_DONE ? tool_finish(code) : code);
}
