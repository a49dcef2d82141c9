/* SPDX-License-Identifier: MIT */
#include "format/writer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/bytes.h"
#include "format/outfile.h"

#define NO_TENSOR SIZE_MAX

struct gw_writer {
	struct gw_outfile *out;
	struct gw_tensor *tensors; /* n, ascending by name */
	size_t n;
	size_t *order;    /* [n] place in tensors of the tensor declared at an index */
	bool *complete;   /* [n] by place in tensors */
	uint8_t *digests; /* 8 × n_blocks, as they stand in the file */
	uint64_t n_blocks;
	uint64_t image_bytes;
	struct gw_hasher *hasher; /* of the block that is being filled */
	/* the tensor in the making */
	size_t current;        /* place in tensors, or NO_TENSOR */
	uint64_t done_bytes;   /* of it, with padding, written so far */
	uint64_t row_fill;     /* bytes of the row in the making, without padding */
	bool failed;           /* a write failed: what is there is no longer known */
};

static int compare_names(const void *a, const void *b)
{
	const struct gw_tensor *const *left = a, *const *right = b;

	/* not measured yet, so perhaps without a NUL */
	return strncmp((*left)->name, (*right)->name, GW_NAME_BYTES);
}

/* Measures, sorts and places the declared tensors. */
static int plan(struct gw_writer *writer, const struct gw_tensor *declared, size_t n,
		struct gw_error *error)
{
	const struct gw_tensor **sorted = calloc(n, sizeof(const struct gw_tensor *));
	int code = GW_OK;

	if (!sorted)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory");
	for (size_t i = 0; i < n; i++)
		sorted[i] = &declared[i];
	qsort(sorted, n, sizeof(const struct gw_tensor *), compare_names);
	for (size_t i = 0; i < n && !code; i++) {
		writer->order[sorted[i] - declared] = i;
		writer->tensors[i] = *sorted[i];
		code = gw_tensor_measure(&writer->tensors[i], GW_NO_OFFSET, error);
	}
	free(sorted);
	if (code)
		return code;
	return gw_directory_place(writer->tensors, n, &writer->n_blocks, &writer->image_bytes,
				  error);
}

static int writer_init(struct gw_writer *writer, const char *path, bool replace,
		       const struct gw_tensor *tensors, struct gw_error *error)
{
	int code;

	writer->tensors = calloc(writer->n, sizeof *writer->tensors);
	writer->order = calloc(writer->n, sizeof *writer->order);
	writer->complete = calloc(writer->n, sizeof *writer->complete);
	writer->hasher = gw_hasher_new();
	if (!writer->tensors || !writer->order || !writer->complete || !writer->hasher)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory");
	code = plan(writer, tensors, writer->n, error);
	if (code)
		return code;
	writer->digests = calloc(writer->n_blocks, sizeof(uint64_t));
	if (!writer->digests)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory");
	code = gw_outfile_create(path, replace, &writer->out, error);
	if (code)
		return code;
	/* a limit of file size speaks up before the work; what is not written is zero */
	return gw_outfile_resize(writer->out, writer->image_bytes, error);
}

int gw_writer_new(const char *path, bool replace, const struct gw_tensor *tensors, size_t n,
		  struct gw_writer **out_writer, struct gw_error *error)
{
	struct gw_writer *writer;
	int code;

	if (n < 1 || n > GW_MAX_TENSORS)
		return gw_fail(error, GW_E_LIMIT, GW_NO_OFFSET, "%zu tensors, not 1 to %" PRIu32, n,
			       GW_MAX_TENSORS);
	writer = calloc(1, sizeof *writer);
	if (!writer)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory");
	writer->n = n;
	writer->current = NO_TENSOR;
	code = writer_init(writer, path, replace, tensors, error);
	if (code) {
		gw_writer_free(writer);
		return code;
	}
	*out_writer = writer;
	return GW_OK;
}

uint64_t gw_writer_image_bytes(const struct gw_writer *writer)
{
	return writer->image_bytes;
}

uint64_t gw_writer_block_count(const struct gw_writer *writer)
{
	return writer->n_blocks;
}

/* Hashes n bytes that follow in the current tensor, closing blocks on the way. */
static void hash_on(struct gw_writer *writer, const uint8_t *data, uint64_t n)
{
	const struct gw_tensor *tensor = &writer->tensors[writer->current];
	struct gw_bytes digests = gw_bytes_write(writer->digests, 8 * writer->n_blocks);

	while (n) {
		uint64_t in_block = writer->done_bytes % GW_BLOCK_BYTES;
		uint64_t room = GW_BLOCK_BYTES - in_block;
		uint64_t part = n < room ? n : room;

		gw_hasher_update(writer->hasher, data, part);
		writer->done_bytes += part;
		data += part;
		n -= part;
		if (part == room || writer->done_bytes == tensor->extent_bytes) {
			uint64_t block = tensor->first_block +
					 (writer->done_bytes - 1) / GW_BLOCK_BYTES;

			gw_put_u64(&digests, 8 * block, gw_hasher_digest64(writer->hasher));
			gw_hasher_reset(writer->hasher);
		}
	}
}

/* Writes and hashes n bytes as they stand in the file. */
static int push(struct gw_writer *writer, const uint8_t *data, uint64_t n, struct gw_error *error)
{
	const struct gw_tensor *tensor = &writer->tensors[writer->current];
	int code = gw_outfile_write(writer->out, data, n, tensor->data_offset + writer->done_bytes,
				    error);

	if (!code)
		hash_on(writer, data, n);
	return code;
}

/* Rows that are padded: through a buffer that takes many of them at a time. */
static int push_rows(struct gw_writer *writer, const uint8_t *data, uint64_t n,
		     struct gw_error *error)
{
	const struct gw_tensor *tensor = &writer->tensors[writer->current];
	const uint64_t payload = gw_tensor_row_payload(tensor);
	const uint64_t padding = tensor->row_bytes - payload; /* less than GW_ROW_ALIGN_BYTES */
	uint8_t buffer[16384];
	uint64_t used = 0;

	while (n) {
		uint64_t part = payload - writer->row_fill;
		uint64_t room = sizeof buffer - GW_ROW_ALIGN_BYTES - used; /* never 0 */
		int code;

		part = part < n ? part : n;
		part = part < room ? part : room;
		memcpy(buffer + used, data, part);
		used += part;
		data += part;
		n -= part;
		writer->row_fill += part;
		if (writer->row_fill == payload) {
			memset(buffer + used, 0, padding);
			used += padding;
			writer->row_fill = 0;
		}
		if (n && used + GW_ROW_ALIGN_BYTES < sizeof buffer)
			continue;
		code = push(writer, buffer, used, error);
		if (code)
			return code;
		used = 0;
	}
	return GW_OK;
}

/* Bytes without padding that the current tensor's rows still lack. */
static uint64_t missing_data(const struct gw_writer *writer, const struct gw_tensor *tensor)
{
	uint64_t payload = gw_tensor_row_payload(tensor);
	uint64_t rows = writer->done_bytes / tensor->row_bytes;

	if (writer->done_bytes >= tensor->data_bytes)
		return 0;
	if (payload == tensor->row_bytes)
		return tensor->data_bytes - writer->done_bytes;
	return (tensor->row_count - rows) * payload - writer->row_fill;
}

/* The same for its scales. */
static uint64_t missing_scales(const struct gw_writer *writer, const struct gw_tensor *tensor)
{
	uint64_t first = tensor->extent_bytes - tensor->scales_bytes;

	return writer->done_bytes < first ? tensor->scales_bytes :
					    tensor->extent_bytes - writer->done_bytes;
}

/* n bytes of rows and m of scales after them, neither more than is missing. */
static int append(struct gw_writer *writer, const uint8_t *data, uint64_t n, uint64_t m,
		  struct gw_error *error)
{
	static const uint8_t zeros[GW_ROW_ALIGN_BYTES];
	const struct gw_tensor *tensor = &writer->tensors[writer->current];
	uint64_t first = tensor->extent_bytes - tensor->scales_bytes;
	int code = GW_OK;

	if (n && gw_tensor_row_payload(tensor) == tensor->row_bytes)
		code = push(writer, data, n, error);
	else if (n)
		code = push_rows(writer, data, n, error);
	if (!code && m && writer->done_bytes < first)
		code = push(writer, zeros, first - writer->done_bytes, error);
	if (!code && m)
		code = push(writer, data + n, m, error);
	return code;
}

int gw_writer_append(struct gw_writer *writer, size_t index, const void *data, uint64_t n,
		     struct gw_error *error)
{
	const struct gw_tensor *tensor;
	uint64_t rows, scales;
	size_t place;
	int code;

	if (index >= writer->n || writer->failed)
		return gw_fail(error, GW_E_ARGUMENT, GW_NO_OFFSET,
			       writer->failed ? "a write failed before" : "no such tensor");
	place = writer->order[index];
	tensor = &writer->tensors[place];
	if (writer->complete[place] || (writer->current != NO_TENSOR && writer->current != place))
		return gw_fail(error, GW_E_ARGUMENT, GW_NO_OFFSET, "%s is complete or out of turn",
			       tensor->name);
	if (writer->current == NO_TENSOR) {
		writer->current = place;
		writer->done_bytes = 0;
		writer->row_fill = 0;
	}
	rows = missing_data(writer, tensor);
	scales = n > rows ? n - rows : 0;
	if (scales > missing_scales(writer, tensor))
		return gw_fail(error, GW_E_ARGUMENT, GW_NO_OFFSET,
			       "more bytes for %s than its shape holds", tensor->name);
	code = append(writer, data, n - scales, scales, error);
	writer->failed = code != GW_OK;
	if (!code && writer->done_bytes == tensor->extent_bytes) {
		writer->complete[place] = true;
		writer->current = NO_TENSOR;
	}
	return code;
}

/* Everything before the data: the block digests from where they are, the rest in one buffer. */
static int write_meta(struct gw_writer *writer, const struct gw_provenance *provenance,
		      uint64_t n_layer, uint64_t n_head, struct gw_digest *out_content_id,
		      struct gw_error *error)
{
	struct gw_regions at = gw_superblock_regions(writer->n, writer->n_blocks);
	uint8_t *meta = calloc(1, at.digests_offset), *directory;
	struct gw_superblock superblock;
	int code;

	if (!meta)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory");
	directory = meta + GW_DIRECTORY_OFFSET;
	gw_provenance_encode(provenance, meta + GW_PROVENANCE_OFFSET);
	gw_directory_encode(writer->tensors, writer->n, directory);
	superblock = (struct gw_superblock){
		.version_minor = GW_VERSION_MINOR,
		.n_tensors = (uint32_t)writer->n,
		.image_bytes = writer->image_bytes,
		.file_bytes = writer->image_bytes,
		.n_blocks = writer->n_blocks,
		.n_layer = n_layer,
		.n_head = n_head,
		.content_id = gw_hash128_two(directory, at.directory_bytes, writer->digests,
					     at.digests_bytes),
		.directory_digest = gw_hash128(directory, at.directory_bytes),
		.digests_digest = gw_hash128(writer->digests, at.digests_bytes),
		.provenance_digest = gw_hash128(meta + GW_PROVENANCE_OFFSET, GW_PROVENANCE_BYTES),
	};
	gw_superblock_encode(&superblock, meta);
	code = gw_outfile_write(writer->out, writer->digests, at.digests_bytes, at.digests_offset,
				error);
	if (!code)
		code = gw_outfile_write(writer->out, meta, at.digests_offset, 0, error);
	free(meta);
	if (!code)
		*out_content_id = superblock.content_id;
	return code;
}

int gw_writer_complete(struct gw_writer *writer, const struct gw_provenance *provenance,
		       uint64_t n_layer, uint64_t n_head, struct gw_digest *out_content_id,
		       int *out_fd, struct gw_error *error)
{
	int code;

	if (n_layer > GW_MAX_N_LAYER || n_head > GW_MAX_N_HEAD)
		return gw_fail(error, GW_E_ARGUMENT, GW_NO_OFFSET,
			       "n_layer %" PRIu64 " or n_head %" PRIu64 " is too large", n_layer,
			       n_head);
	for (size_t i = 0; i < writer->n; i++)
		if (!writer->complete[i])
			return gw_fail(error, GW_E_ARGUMENT, GW_NO_OFFSET, "%s is not complete",
				       writer->tensors[i].name);
	code = write_meta(writer, provenance, n_layer, n_head, out_content_id, error);
	if (!code)
		*out_fd = gw_outfile_fd(writer->out);
	return code;
}

int gw_writer_finish(struct gw_writer *writer, const struct gw_provenance *provenance,
		     uint64_t n_layer, uint64_t n_head, struct gw_digest *out_content_id,
		     struct gw_error *error)
{
	struct gw_digest content_id;
	int fd, code;

	code = gw_writer_complete(writer, provenance, n_layer, n_head, &content_id, &fd, error);
	if (!code)
		code = gw_outfile_commit(writer->out, error);
	if (!code && out_content_id)
		*out_content_id = content_id;
	return code;
}

void gw_writer_free(struct gw_writer *writer)
{
	if (!writer)
		return;
	gw_outfile_free(writer->out);
	gw_hasher_free(writer->hasher);
	free(writer->tensors);
	free(writer->order);
	free(writer->complete);
	free(writer->digests);
	free(writer);
}
