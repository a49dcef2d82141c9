/* SPDX-License-Identifier: MIT */
#include "tools/pack/source_tf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/bytes.h"
#include "format/directory.h"
#include "tools/pack/config.h"
#include "tools/pack/crc32c.h"
#include "tools/pack/leveldb_table.h"
#include "tools/pack/limits.h"
#include "tools/pack/tf_bundle.h"

/* What the source keeps. A tensor's detail is its number << 32 | its masked checksum. */
struct pack_tf {
	bool *verified;  /* by number: the checksum was right */
	uint8_t *buffer; /* PACK_BUFFER_BYTES */
};

/* A walk through the index. */
struct pack_tf_walk {
	struct pack_source *source;
	char quoted_file[96];
	bool header;
	uint64_t n_shards;
	uint64_t name_bytes;   /* of all names */
	uint64_t slice_offset; /* of the first slice in the index; GW_NO_OFFSET */
};

static void pack_tf_close(void *state)
{
	struct pack_tf *tf = state;

	free(tf->verified);
	free(tf->buffer);
	free(tf);
}

static int pack_tf_visit_header(struct pack_tf_walk *walk, const struct pack_leveldb_entry *entry,
				struct gw_error *error)
{
	struct gw_error inner = GW_ERROR_INIT;
	int code = GW_E_SOURCE;

	walk->header = true;
	if (entry->key_bytes != 0)
		gw_fail(&inner, code, 0,
			"the first key is not the empty one of a checkpoint's "
			"header");
	else
		code = pack_bundle_header(entry->value, entry->value_bytes, &walk->n_shards,
					  &inner);
	if (code == GW_OK && (walk->n_shards == 0 || walk->n_shards >= PACK_MAX_FILES))
		code = gw_fail(&inner, GW_E_SOURCE, 0,
			       "the header names %" PRIu64 " data files, not 1 to %d",
			       walk->n_shards, PACK_MAX_FILES - 1);
	return code == GW_OK ? code
			     : gw_fail(error, code, entry->offset, "%s, at offset %" PRIu64 ": %s",
				       walk->quoted_file, entry->offset, inner.message);
}

/* The message for one tensor. */
static int pack_tf_fail(const struct pack_tf_walk *walk, const struct pack_leveldb_entry *entry,
			struct gw_error *error, const char *what)
{
	char quoted[96];

	return gw_fail(error, GW_E_SOURCE, entry->offset,
		       "%s: tensor \"%s\", at offset %" PRIu64 ": %s", walk->quoted_file,
		       gw_quote((const char *)entry->key, entry->key_bytes, quoted, sizeof quoted),
		       entry->offset, what);
}

static int pack_tf_add(struct pack_tf_walk *walk, const struct pack_leveldb_entry *entry,
		       char *name, struct gw_error *error)
{
	struct pack_list *list = &walk->source->tensors;
	struct gw_error inner = GW_ERROR_INIT;
	struct pack_bundle_entry found = { 0 };
	struct pack_tensor tensor = { .name = name, .encoded = true };
	int code = pack_bundle_entry(entry->value, entry->value_bytes, &found, &inner);

	if (code == GW_OK && found.sliced)
		code = gw_fail(
			&inner, GW_E_SOURCE, 0,
			"it is stored in slices (a partitioned variable), which this release "
			"does not read");
	if (code == GW_OK && found.shard >= walk->n_shards)
		code = gw_fail(&inner, GW_E_SOURCE, 0,
			       "it lies in data file %" PRIu64 " of %" PRIu64, found.shard,
			       walk->n_shards);
	if (code != GW_OK)
		return pack_tf_fail(walk, entry, error, inner.message);
	tensor.element = found.element;
	tensor.rank = found.rank;
	memcpy(tensor.shape, found.shape, sizeof tensor.shape);
	tensor.size_bytes = found.size_bytes;
	tensor.file = 1 + found.shard; /* the index is file 0 */
	tensor.offset_bytes = found.offset_bytes;
	tensor.detail = (uint64_t)list->n << 32 | found.crc32c;
	if (strcmp(name, "model/wte") == 0)
		tensor.canonical = GW_WTE_NAME;
	else if (strcmp(name, "model/wpe") == 0)
		tensor.canonical = GW_WPE_NAME;
	return pack_list_add(list, &tensor, error);
}

static int pack_tf_visit(void *context, const struct pack_leveldb_entry *entry,
			 struct gw_error *error)
{
	struct pack_tf_walk *walk = context;
	char name[PACK_MAX_KEY_BYTES + 1];

	if (!walk->header)
		return pack_tf_visit_header(walk, entry, error);
	/* the key of a slice begins with a zero byte (saved_tensor_slice_util.cc); the tensor that
	 * it belongs to follows under its own name, which is what the message shall say */
	if (entry->key[0] == 0) {
		if (walk->slice_offset == GW_NO_OFFSET)
			walk->slice_offset = entry->offset;
		return GW_OK;
	}
	memcpy(name, entry->key, entry->key_bytes);
	name[entry->key_bytes] = 0;
	if (gw_string_length((const uint8_t *)name, entry->key_bytes + 1) < 0)
		return pack_tf_fail(walk, entry, error,
				    "its name is not UTF-8 without control characters");
	walk->name_bytes += entry->key_bytes;
	if (walk->name_bytes > PACK_MAX_HEADER_BYTES)
		return pack_tf_fail(walk, entry, error,
				    "with it all names have more bytes than this program's limit");
	return pack_tf_add(walk, entry, name, error);
}

static int pack_tf_read_index(struct pack_source *source, uint64_t *out_n_shards,
			      struct gw_error *error)
{
	const struct pack_file *index = &source->files[0];
	struct pack_tf_walk walk = { .source = source, .slice_offset = GW_NO_OFFSET };
	int code;

	gw_quote(index->name, strlen(index->name), walk.quoted_file, sizeof walk.quoted_file);
	code = pack_leveldb_walk(index, pack_tf_visit, &walk, error);
	if (code != GW_OK)
		return code;
	if (!walk.header)
		return gw_fail(error, GW_E_SOURCE, 0, "%s: the table is empty", walk.quoted_file);
	if (walk.slice_offset != GW_NO_OFFSET)
		return gw_fail(error, GW_E_SOURCE, walk.slice_offset,
			       "%s, at offset %" PRIu64 ": a slice of a tensor that is not in the "
			       "index",
			       walk.quoted_file, walk.slice_offset);
	*out_n_shards = walk.n_shards;
	return GW_OK;
}

/* Opens the data files, whose names follow from the index's. */
static int pack_tf_open_shards(int folder_fd, uint64_t n_shards, struct pack_source *source,
			       struct gw_error *error)
{
	const char *index = source->files[0].name;
	size_t n = strlen(index), ending = sizeof PACK_INDEX_ENDING - 1;
	char quoted[96];
	int code = GW_OK;

	if (n <= ending || strcmp(index + n - ending, PACK_INDEX_ENDING) != 0)
		return gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET,
			       "%s is the index of a TensorFlow checkpoint; only if it is called "
			       "NAME" PACK_INDEX_ENDING " are the names of its data files known",
			       gw_quote(index, n, quoted, sizeof quoted));
	for (uint64_t i = 0; code == GW_OK && i < n_shards; i++) {
		struct gw_error inner = GW_ERROR_INIT;
		struct pack_file file = PACK_FILE_INIT;
		char *name;

		if (asprintf(&name, "%.*s.data-%05" PRIu64 "-of-%05" PRIu64, (int)(n - ending),
			     source->files[0].name, i, n_shards) < 0)
			return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
		code = pack_file_open(folder_fd, name, &file, &inner);
		free(name);
		if (code == GW_OK)
			code = pack_source_take_file(source, &file, error);
		else
			gw_fail(error, code = code == GW_E_MEMORY ? code : GW_E_SOURCE,
				GW_NO_OFFSET, "a data file of the checkpoint is missing: %s",
				inner.message);
		pack_file_close(&file);
	}
	return code;
}

static int pack_tf_by_place(const void *a, const void *b)
{
	const struct pack_tensor *left = *(const struct pack_tensor *const *)a;
	const struct pack_tensor *right = *(const struct pack_tensor *const *)b;

	if (left->file != right->file)
		return left->file < right->file ? -1 : 1;
	if (left->offset_bytes != right->offset_bytes)
		return left->offset_bytes < right->offset_bytes ? -1 : 1;
	return strcmp(left->name, right->name);
}

/* What lies between two tensors is the padding of an alignment: few bytes, and zeros. */
static int pack_tf_check_gap(const struct pack_tf *tf, const struct pack_file *file, uint64_t begin,
			     uint64_t end, struct gw_error *error)
{
	char quoted[96];
	int code = GW_OK;

	if (begin == end)
		return GW_OK;
	if (end - begin < PACK_MAX_ALIGNMENT_BYTES) {
		code = pack_file_read(file, tf->buffer, end - begin, begin, error);
		if (code != GW_OK || gw_is_zero(tf->buffer, end - begin))
			return code;
	}
	return gw_fail(error, GW_E_SOURCE, begin,
		       "%s: %" PRIu64 " bytes at offset %" PRIu64 " belong to no tensor and are no "
		       "padding",
		       gw_quote(file->name, strlen(file->name), quoted, sizeof quoted), end - begin,
		       begin);
}

/* The tensors, sorted by place, and the files that they lie in. */
static int pack_tf_check_places(const struct pack_source *source,
				const struct pack_tensor *const *tensors, struct gw_error *error)
{
	char quoted[96], quoted_file[96];
	size_t i = 0;
	int code = GW_OK;

	for (size_t number = 1; code == GW_OK && number < source->n_files; number++) {
		const struct pack_file *file = &source->files[number];
		uint64_t end = 0;

		gw_quote(file->name, strlen(file->name), quoted_file, sizeof quoted_file);
		for (; i < source->tensors.n && tensors[i]->file == number; i++) {
			const struct pack_tensor *tensor = tensors[i];
			uint64_t begin = tensor->offset_bytes;

			gw_quote(tensor->name, strlen(tensor->name), quoted, sizeof quoted);
			if (begin > file->size_bytes ||
			    tensor->size_bytes > file->size_bytes - begin)
				return gw_fail(error, GW_E_SOURCE, begin,
					       "%s: tensor \"%s\" (%" PRIu64
					       " bytes at offset %" PRIu64
					       ") goes past the end of the file (%" PRIu64
					       " bytes): cut short, or of another checkpoint",
					       quoted_file, quoted, tensor->size_bytes, begin,
					       file->size_bytes);
			if (tensor->size_bytes == 0)
				continue;
			if (begin < end)
				return gw_fail(error, GW_E_SOURCE, begin,
					       "%s: tensor \"%s\" overlaps the one before it, at "
					       "offset %" PRIu64,
					       quoted_file, quoted, begin);
			code = pack_tf_check_gap(source->state, file, end, begin, error);
			if (code != GW_OK)
				return code;
			end = begin + tensor->size_bytes;
		}
		code = pack_tf_check_gap(source->state, file, end, file->size_bytes, error);
	}
	return code;
}

static int pack_tf_check(const struct pack_source *source, struct gw_error *error)
{
	size_t n = source->tensors.n;
	const struct pack_tensor **tensors = calloc(n ? n : 1, sizeof *tensors);
	int code;

	if (!tensors)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	for (size_t i = 0; i < n; i++)
		tensors[i] = &source->tensors.items[i];
	qsort(tensors, n, sizeof *tensors, pack_tf_by_place);
	code = pack_tf_check_places(source, tensors, error);
	free(tensors);
	return code;
}

/* Compares the checksum of all of a tensor's bytes. */
static int pack_tf_verify(const struct pack_source *source, const struct pack_tensor *tensor,
			  struct gw_error *error)
{
	struct pack_tf *tf = source->state;
	const struct pack_file *file = &source->files[tensor->file];
	char quoted[96], quoted_file[96];
	uint32_t crc = 0;

	for (uint64_t at = 0; at < tensor->size_bytes;) {
		uint64_t left = tensor->size_bytes - at;
		uint64_t n = left < PACK_BUFFER_BYTES ? left : PACK_BUFFER_BYTES;
		int code = pack_file_read(file, tf->buffer, n, tensor->offset_bytes + at, error);

		if (code != GW_OK)
			return code;
		crc = pack_crc32c(crc, tf->buffer, n);
		at += n;
	}
	crc = pack_crc32c_mask(crc);
	if (crc != (uint32_t)tensor->detail)
		return gw_fail(error, GW_E_SOURCE, tensor->offset_bytes,
			       "%s: tensor \"%s\", at offset %" PRIu64
			       ", has the checksum %08" PRIx32 ", not %08" PRIx32
			       " as the index says: the file is damaged, or of another checkpoint",
			       gw_quote(file->name, strlen(file->name), quoted_file,
					sizeof quoted_file),
			       gw_quote(tensor->name, strlen(tensor->name), quoted, sizeof quoted),
			       tensor->offset_bytes, crc, (uint32_t)tensor->detail);
	tf->verified[tensor->detail >> 32] = true;
	return GW_OK;
}

/* All of a tensor is verified first: the rows that are taken may be fewer than its checksum's. */
static int pack_tf_read(const struct pack_source *source, const struct pack_tensor *tensor,
			uint64_t offset, uint64_t n, uint8_t *out, struct gw_error *error)
{
	const struct pack_tf *tf = source->state;
	int code =
		tf->verified[tensor->detail >> 32] ? GW_OK : pack_tf_verify(source, tensor, error);

	return code == GW_OK ? pack_file_read(&source->files[tensor->file], out, n,
					      tensor->offset_bytes + offset, error)
			     : code;
}

static const struct pack_reader pack_tf_reader = { .read = pack_tf_read, .close = pack_tf_close };

int pack_tf_open(int folder_fd, struct pack_file *index, struct pack_source *source,
		 struct gw_error *error)
{
	struct pack_tf *tf = calloc(1, sizeof *tf);
	uint64_t n_shards = 0;
	int code;

	if (!tf)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	source->format = "tensorflow";
	source->reader = &pack_tf_reader;
	source->state = tf;
	code = pack_source_take_file(source, index, error);
	if (code == GW_OK)
		code = pack_tf_read_index(source, &n_shards, error);
	if (code == GW_OK)
		code = pack_tf_open_shards(folder_fd, n_shards, source, error);
	if (code != GW_OK)
		return code;
	tf->verified = calloc(source->tensors.n + 1, sizeof *tf->verified);
	tf->buffer = malloc(PACK_BUFFER_BYTES);
	if (!tf->verified || !tf->buffer)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	source->held_bytes = PACK_BUFFER_BYTES + source->tensors.n;
	code = pack_tf_check(source, error);
	return code == GW_OK ? pack_hparams_read(folder_fd, &source->config, error) : code;
}
