/* SPDX-License-Identifier: MIT */
#include "tools/pack/copy.h"

#include <fcntl.h>
#include <stdlib.h>

#include "tools/pack/convert.h"
#include "tools/pack/dequantise.h"
#include "tools/pack/limits.h"

struct pack_place;

struct pack_pass {
	const struct pack_source *source;
	struct pack_plan *plan;
	struct gw_writer *writer;
	struct tool_progress *progress;
	struct gw_hasher *hasher;
	struct pack_place *places; /* plan->n_tables, in the order in which the files have them */
	size_t next;               /* the first of them that does not end before the pass's place */
	struct pack_quantiser *quantiser; /* of the tensor in the making, where it becomes int8 */
	uint8_t *in;  /* PACK_BUFFER_BYTES */
	uint8_t *out; /* twice that: 16 bits may become 32 */
};

/* Where a table lies. Those that the pass over the files cannot give come last. */
struct pack_place {
	size_t file, index; /* of plan's tables */
	uint64_t first, end;
	bool alone; /* read through the source's reader: encoded, or in another one's place as well */
};

static int pack_place_compare(const void *a, const void *b)
{
	const struct pack_place *left = a, *right = b;

	if (left->alone != right->alone)
		return left->alone ? 1 : -1;
	if (left->file != right->file)
		return left->file < right->file ? -1 : 1;
	if (left->first != right->first)
		return left->first < right->first ? -1 : 1;
	return left->index < right->index ? -1 : left->index > right->index;
}

/* Fills places, of as many as plan has tables. */
static void pack_places(const struct pack_plan *plan, struct pack_place *places)
{
	const struct pack_place *last = NULL;

	for (size_t i = 0; i < plan->n_tables; i++) {
		const struct pack_table *table = &plan->tables[i];

		places[i] = (struct pack_place){
			.file = table->tensor->file,
			.index = i,
			.first = table->tensor->offset_bytes,
			.end = table->tensor->offset_bytes + table->take_bytes,
			.alone = table->tensor->encoded,
		};
	}
	qsort(places, plan->n_tables, sizeof *places, pack_place_compare);
	for (size_t i = 0; i < plan->n_tables && !places[i].alone; i++) {
		if (last && last->file == places[i].file && places[i].first < last->end)
			places[i].alone = true;
		else
			last = &places[i];
	}
	qsort(places, plan->n_tables, sizeof *places, pack_place_compare);
}

/*
 * The table that offset of a file lies in, or NULL, and where the stretch ends that begins at
 * offset: the end of the table, or the beginning of the next one, or the end of the file. Offsets
 * come in ascending order.
 */
static struct pack_table *pack_stretch(struct pack_pass *pass, size_t file, uint64_t offset,
				       size_t *out_index, uint64_t *out_end)
{
	const struct pack_place *place = &pass->places[pass->next];

	while (pass->next < pass->plan->n_tables && !place->alone &&
	       (place->file < file || (place->file == file && place->end <= offset)))
		place = &pass->places[++pass->next];
	*out_end = pass->source->files[file].size_bytes;
	if (pass->next == pass->plan->n_tables || place->alone || place->file != file)
		return NULL;
	if (offset < place->first) {
		*out_end = place->first;
		return NULL;
	}
	*out_index = place->index;
	*out_end = place->end;
	return &pass->plan->tables[place->index];
}

/* n elements of a tensor that becomes int8, f32 at values. */
static int pack_append_int8(struct pack_pass *pass, size_t index, const uint8_t *values, uint64_t n,
			    struct gw_error *error)
{
	struct pack_table *table = &pass->plan->tables[index];
	int code = GW_OK;

	if (!pass->quantiser)
		code = pack_quantiser_new(pass->writer, index, table->tensor->name, table->rows,
					  table->columns, &pass->quantiser, error);
	if (code == GW_OK)
		code = pack_quantiser_add(pass->quantiser, values, n, error);
	if (code != GW_OK || !pack_quantiser_is_full(pass->quantiser))
		return code;
	code = pack_quantiser_finish(pass->quantiser, &table->loss, error);
	pack_quantiser_free(pass->quantiser);
	pass->quantiser = NULL;
	return code;
}

/*
 * n bytes of a table, of type from in the buffer: a whole number of elements because a stretch begins
 * with the table and the buffer holds a whole number of them.
 */
static int pack_append(struct pack_pass *pass, size_t index, unsigned from, uint64_t n,
		       struct gw_error *error)
{
	struct pack_table *table = &pass->plan->tables[index];
	unsigned to = pack_table_quantises(table) ? GW_F32 : table->to;
	size_t elements = n / pack_type_bytes(from);
	const uint8_t *values = pass->in;

	if (from != to) {
		table->n_overflowed += pack_convert(from, to, pass->in, elements, pass->out);
		values = pass->out;
	}
	if (pack_table_quantises(table))
		return pack_append_int8(pass, index, values, elements, error);
	return gw_writer_append(pass->writer, index, values, elements * gw_dtype_bytes(to), error);
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
			code = pack_append(pass, index, table->from, n, error);
		tool_progress_add(pass->progress, n);
		offset += n;
	}
	return code == GW_OK ? pack_file_unchanged(file, error) : code;
}

/* n bytes of a table from at on, through the source's reader, as they are or converted. */
static int pack_copy_bytes(struct pack_pass *pass, size_t index, uint64_t at, uint64_t n,
			   struct gw_error *error)
{
	const struct pack_table *table = &pass->plan->tables[index];
	int code = GW_OK;

	for (uint64_t end = at + n; code == GW_OK && at < end; at += n) {
		n = end - at < PACK_BUFFER_BYTES ? end - at : PACK_BUFFER_BYTES;
		code = pack_source_read(pass->source, table->tensor, at, n, pass->in, error);
		if (code == GW_OK)
			code = pack_append(pass, index, table->from, n, error);
	}
	return code;
}

/* Int8 rows that become another type. */
static int pack_copy_dequantised(struct pack_pass *pass, size_t index, struct gw_error *error)
{
	const struct pack_table *table = &pass->plan->tables[index];
	const uint64_t elements = table->rows * table->columns, room = PACK_BUFFER_BYTES / 4;
	struct pack_dequantiser *dequantiser = NULL;
	int code = pack_dequantiser_new(pass->source, table->tensor, &dequantiser, error);

	for (uint64_t at = 0, n; code == GW_OK && at < elements; at += n) {
		n = elements - at < room ? elements - at : room;
		code = pack_dequantiser_read(dequantiser, at, n, pass->in, error);
		if (code == GW_OK)
			code = pack_append(pass, index, GW_F32, n * 4, error);
	}
	pack_dequantiser_free(dequantiser);
	return code;
}

/* A table that is read through the source's reader. */
static int pack_copy_alone(struct pack_pass *pass, size_t index, struct gw_error *error)
{
	const struct pack_table *table = &pass->plan->tables[index];
	uint64_t rows, columns;
	int code;

	if (table->from == GW_I8 && table->to != GW_I8)
		return pack_copy_dequantised(pass, index, error);
	code = pack_copy_bytes(pass, index, 0, table->take_bytes, error);
	if (code != GW_OK || table->from != GW_I8)
		return code;
	/* the scales lie after all rows, also after those that are not taken */
	pack_tensor_rows(table->tensor, &rows, &columns);
	return pack_copy_bytes(pass, index, rows * columns, table->rows * sizeof(float), error);
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
		.places = calloc(plan->n_tables, sizeof *pass.places),
		.in = malloc(PACK_BUFFER_BYTES),
		.out = malloc(PACK_BUFFER_BYTES * 2),
	};
	int code = GW_OK;

	if (!pass.hasher || !pass.places || !pass.in || !pass.out)
		code = gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	else
		pack_places(plan, pass.places);
	for (size_t i = 0; code == GW_OK && i < plan->n_tables; i++)
		if (pass.places[i].alone)
			code = pack_copy_alone(&pass, pass.places[i].index, error);
	for (size_t i = 0; code == GW_OK && i < source->n_files; i++)
		code = pack_copy_file(&pass, i, error);
	if (code == GW_OK)
		*out_digest = gw_hasher_digest128(pass.hasher);
	pack_quantiser_free(pass.quantiser);
	gw_hasher_free(pass.hasher);
	free(pass.places);
	free(pass.in);
	free(pass.out);
	return code;
}
