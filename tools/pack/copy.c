/* SPDX-License-Identifier: MIT */
#include "tools/pack/copy.h"

#include <fcntl.h>
#include <stdlib.h>

#include "tools/pack/convert.h"
#include "tools/pack/limits.h"

struct pack_pass {
	const struct pack_source *source;
	struct pack_plan *plan;
	struct gw_writer *writer;
	struct tool_progress *progress;
	struct gw_hasher *hasher;
	uint8_t *in;  /* PACK_BUFFER_BYTES */
	uint8_t *out; /* twice that: 16 bits may become 32 */
};

/*
 * The table that offset of a file lies in, or NULL, and where the stretch ends that begins at
 * offset: the end of the table, or the beginning of the next one, or the end of the file.
 */
static struct pack_table *pack_stretch(const struct pack_pass *pass, size_t file, uint64_t offset,
				       size_t *out_index, uint64_t *out_end)
{
	uint64_t end = pass->source->files[file].size_bytes;

	for (size_t i = 0; i < pass->plan->n_tables; i++) {
		struct pack_table *table = &pass->plan->tables[i];
		uint64_t first = table->tensor->offset_bytes;

		if (table->tensor->file != file || table->tensor->encoded)
			continue;
		if (offset >= first && offset - first < table->take_bytes) {
			*out_index = i;
			*out_end = first + table->take_bytes;
			return table;
		}
		if (first > offset && first < end)
			end = first;
	}
	*out_end = end;
	return NULL;
}

/* n bytes of a table, a whole number of elements because a stretch begins with the table and the
 * buffer holds a whole number of them. */
static int pack_append(struct pack_pass *pass, struct pack_table *table, size_t index, uint64_t n,
		       struct gw_error *error)
{
	size_t elements = n / pack_type_bytes(table->from);

	if (table->from == table->to)
		return gw_writer_append(pass->writer, index, pass->in, n, error);
	table->n_overflowed += pack_convert(table->from, table->to, pass->in, elements, pass->out);
	return gw_writer_append(pass->writer, index, pass->out,
				elements * gw_dtype_bytes(table->to), error);
}

static int pack_copy_file(struct pack_pass *pass, size_t number, struct gw_error *error)
{
	const struct pack_file *file = &pass->source->files[number];
	uint64_t offset = 0;
	int code = GW_OK;

	posix_fadvise(file->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	while (code == GW_OK && offset < file->size_bytes) {
		size_t index = 0;
		uint64_t end = file->size_bytes;
		struct pack_table *table = pack_stretch(pass, number, offset, &index, &end);
		uint64_t n = end - offset < PACK_BUFFER_BYTES ? end - offset : PACK_BUFFER_BYTES;

		code = pack_file_read(file, pass->in, n, offset, error);
		if (code != GW_OK)
			break;
		gw_hasher_update(pass->hasher, pass->in, n);
		if (table)
			code = pack_append(pass, table, index, n, error);
		tool_progress_add(pass->progress, n);
		offset += n;
	}
	return code == GW_OK ? pack_file_unchanged(file, error) : code;
}

/* A table whose values only the source's reader can give. */
static int pack_copy_encoded(struct pack_pass *pass, size_t index, struct gw_error *error)
{
	struct pack_table *table = &pass->plan->tables[index];
	int code = GW_OK;

	for (uint64_t at = 0; code == GW_OK && at < table->take_bytes;) {
		uint64_t left = table->take_bytes - at;
		uint64_t n = left < PACK_BUFFER_BYTES ? left : PACK_BUFFER_BYTES;

		code = pack_source_read(pass->source, table->tensor, at, n, pass->in, error);
		if (code == GW_OK)
			code = pack_append(pass, table, index, n, error);
		at += n;
	}
	return code;
}

int pack_copy(const struct pack_source *source, struct pack_plan *plan, struct gw_writer *writer,
	      struct tool_progress *progress, struct gw_digest *out_digest, struct gw_error *error)
{
	struct pack_pass pass = {
		.source = source,
		.plan = plan,
		.writer = writer,
		.progress = progress,
		.hasher = gw_hasher_new(),
		.in = malloc(PACK_BUFFER_BYTES),
		.out = malloc(PACK_BUFFER_BYTES * 2),
	};
	int code = GW_OK;

	if (!pass.hasher || !pass.in || !pass.out)
		code = gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	for (size_t i = 0; code == GW_OK && i < plan->n_tables; i++)
		if (plan->tables[i].tensor->encoded)
			code = pack_copy_encoded(&pass, i, error);
	for (size_t i = 0; code == GW_OK && i < source->n_files; i++)
		code = pack_copy_file(&pass, i, error);
	if (code == GW_OK)
		*out_digest = gw_hasher_digest128(pass.hasher);
	gw_hasher_free(pass.hasher);
	free(pass.in);
	free(pass.out);
	return code;
}
