/* SPDX-License-Identifier: MIT */
#include "tools/pack/compress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "format/stored_writer.h"
#include "format/unit_reader.h"
#include "tools/common/ordered.h"
#include "tools/common/progress.h"

/* While one thread writes, the others go on: that many blocks for each. */
#define PACK_COMPRESS_AHEAD 2

/* What one thread encodes with. */
struct pack_compressor {
	const struct gw_pack *pack;
	struct gw_unit_reader *reader;
	struct gw_block_encoder *encoder;
	uint8_t raw[GW_BLOCK_BYTES];
};

/* What it makes of a block. */
struct pack_stored {
	size_t bytes;
	uint8_t data[GW_MAX_STORED_BLOCK_BYTES];
};

/* Where blocks go to in their order. */
struct pack_compressed {
	const struct gw_pack *pack;
	struct gw_stored_writer *writer;
	struct tool_progress progress;
};

/* What went wrong while the tables were read back says nothing of where they are. */
static int pack_compress_fail(int code, const struct gw_error *inner, struct gw_error *error)
{
	gw_fail(error, code, inner->offset, "the temporary file, before compression: %s",
		inner->message);
	if (error)
		error->sys_errno = inner->sys_errno;
	return code;
}

static int pack_compress_block(void *worker, uint64_t index, void *result, struct gw_error *error)
{
	struct pack_compressor *self = worker;
	struct pack_stored *stored = result;
	const struct gw_unit unit = gw_pack_unit(self->pack, index);
	struct gw_error inner = GW_ERROR_INIT;
	int code = gw_unit_reader_verify(self->reader, index, self->raw, &inner);

	if (code == GW_E_BLOCK_DIGEST || code == GW_E_PADDING)
		return gw_fail(error, GW_E_IO, unit.offset_bytes,
			       "the temporary file does not hold what was written to it, at offset "
			       "%" PRIu64,
			       unit.offset_bytes);
	if (code != GW_OK)
		return pack_compress_fail(code, &inner, error);
	return gw_block_encode(self->encoder, unit.tensor->dtype, unit.tensor->row_bytes, self->raw,
			       unit.size_bytes, stored->data, sizeof stored->data, &stored->bytes,
			       error);
}

static int pack_compress_take(void *context, uint64_t index, const void *result,
			      struct gw_error *error)
{
	struct pack_compressed *self = context;
	const struct pack_stored *stored = result;

	tool_progress_add(&self->progress, gw_pack_unit(self->pack, index).size_bytes);
	return gw_stored_writer_append(self->writer, stored->data, stored->bytes, error);
}

static void pack_compressor_free(struct pack_compressor *self)
{
	if (!self)
		return;
	gw_unit_reader_free(self->reader);
	gw_block_encoder_free(self->encoder);
	free(self);
}

static int pack_compressor_new(const struct gw_pack *pack, int fd, int level,
			       struct pack_compressor **out, struct gw_error *error)
{
	struct pack_compressor *self = calloc(1, sizeof *self);
	int code;

	if (!self)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	self->pack = pack;
	code = gw_unit_reader_new(pack, fd, NULL, &self->reader, error);
	if (code == GW_OK)
		code = gw_block_encoder_new(level, &self->encoder, error);
	if (code != GW_OK) {
		pack_compressor_free(self);
		return code;
	}
	*out = self;
	return GW_OK;
}

/* All blocks of pack, which was opened from fd, to the writer. */
static int pack_compress_blocks(const struct gw_pack *pack, int fd,
				const struct pack_output *output, unsigned n_threads,
				struct gw_stored_writer *writer, struct gw_error *error)
{
	struct pack_compressor *compressors[TOOL_MAX_THREADS] = { 0 };
	void *workers[TOOL_MAX_THREADS] = { 0 };
	struct pack_compressed compressed = { .pack = pack, .writer = writer };
	const struct tool_ordered job = {
		.n_items = pack->superblock.n_blocks,
		.n_threads = n_threads,
		.workers = workers,
		.n_results = n_threads * PACK_COMPRESS_AHEAD + 2,
		.result_bytes = sizeof(struct pack_stored),
		.work = pack_compress_block,
		.take = pack_compress_take,
		.context = &compressed,
	};
	int code = GW_OK;

	for (unsigned i = 0; code == GW_OK && i < n_threads; i++) {
		code = pack_compressor_new(pack, fd, output->level, &compressors[i], error);
		workers[i] = compressors[i];
	}
	tool_progress_start(&compressed.progress, "compressing", pack->superblock.image_bytes,
			    output->quiet);
	if (code == GW_OK)
		code = tool_ordered_run(&job, error);
	tool_progress_end(&compressed.progress);
	for (unsigned i = 0; i < n_threads; i++)
		pack_compressor_free(compressors[i]);
	return code;
}

int pack_compress(int fd, const struct pack_output *output, unsigned n_threads,
		  uint64_t *out_file_bytes, struct gw_error *error)
{
	struct gw_stored_writer *writer = NULL;
	struct gw_pack *pack = NULL;
	struct gw_error inner = GW_ERROR_INIT;
	int code = gw_pack_open_fd(fd, &pack, &inner);

	if (code != GW_OK)
		return pack_compress_fail(code, &inner, error);
	code = gw_stored_writer_new(pack, fd, output->path, output->replace, &writer, error);
	if (code == GW_OK)
		code = pack_compress_blocks(pack, fd, output, n_threads, writer, error);
	if (code == GW_OK)
		code = gw_stored_writer_finish(writer, out_file_bytes, error);
	gw_stored_writer_free(writer);
	gw_pack_free(pack);
	return code;
}

int pack_begin(const struct pack_output *output, const struct gw_tensor *tensors, size_t n,
	       struct gw_writer **out_writer, struct gw_error *error)
{
	struct gw_writer *writer = NULL;
	int code = gw_writer_new(output->path, output->replace, tensors, n, &writer, error);

	if (code == GW_OK && output->level)
		code = gw_stored_writer_admit(gw_writer_block_count(writer), error);
	if (code == GW_OK)
		*out_writer = writer;
	else
		gw_writer_free(writer);
	return code;
}

int pack_finish(struct gw_writer *writer, const struct pack_output *output,
		const struct gw_provenance *provenance, uint64_t n_layer, uint64_t n_head,
		struct pack_made *out, struct gw_error *error)
{
	const uint64_t image_bytes = gw_writer_image_bytes(writer);
	struct pack_made made = { .file_bytes = image_bytes, .image_bytes = image_bytes };
	int fd, code;

	if (!output->level) {
		code = gw_writer_finish(writer, provenance, n_layer, n_head, &made.content_id,
					error);
	} else {
		code = gw_writer_complete(writer, provenance, n_layer, n_head, &made.content_id,
					  &fd, error);
		if (code == GW_OK)
			code = pack_compress(fd, output, tool_processors(), &made.file_bytes,
					     error);
	}
	if (code == GW_OK)
		*out = made;
	return code;
}

char *pack_made_text(const struct pack_made *made, char out[PACK_MADE_TEXT_BYTES])
{
	char file[TOOL_SIZE_TEXT_BYTES], image[TOOL_SIZE_TEXT_BYTES];

	tool_size_text(made->file_bytes, file);
	if (made->file_bytes == made->image_bytes)
		snprintf(out, PACK_MADE_TEXT_BYTES, "%s", file);
	else
		snprintf(out, PACK_MADE_TEXT_BYTES, "%s (%.1f%% of %s)", file,
			 100.0 * (double)made->file_bytes / (double)made->image_bytes,
			 tool_size_text(made->image_bytes, image));
	return out;
}
