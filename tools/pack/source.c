/* SPDX-License-Identifier: MIT */
#include "tools/pack/source.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/directory.h"
#include "tools/pack/archive.h"
#include "tools/pack/element.h"
#include "tools/pack/formats.h"
#include "tools/pack/gguf.h"
#include "tools/pack/kind.h"
#include "tools/pack/limits.h"
#include "tools/pack/llmc.h"
#include "tools/pack/safetensors.h"
#include "tools/pack/source_tf.h"
#include "tools/pack/torch.h"

int pack_list_add(struct pack_list *list, const struct pack_tensor *tensor, struct gw_error *error)
{
	struct pack_tensor *items = list->items;
	size_t room = list->room ? list->room * 2 : 64;
	char *name;

	if (list->n >= PACK_MAX_SOURCE_TENSORS)
		return gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET, "more than %" PRIu64 " tensors",
			       PACK_MAX_SOURCE_TENSORS);
	if (list->n == list->room) {
		items = reallocarray(list->items, room, sizeof *items);
		if (!items)
			return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
		list->items = items;
		list->room = room;
	}
	name = strdup(tensor->name);
	if (!name)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	items[list->n] = *tensor;
	items[list->n++].name = name;
	return GW_OK;
}

void pack_list_clear(struct pack_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->items[i].name);
	free(list->items);
	*list = (struct pack_list){ 0 };
}

static int pack_by_name(const void *a, const void *b)
{
	const struct pack_tensor *left = a, *right = b;

	return strcmp(left->name, right->name);
}

void pack_list_sort(struct pack_list *list)
{
	if (list->n > 1)
		qsort(list->items, list->n, sizeof *list->items, pack_by_name);
}

struct pack_tensor *pack_list_find(const struct pack_list *list, const char *name)
{
	struct pack_tensor key = { .name = (char *)(uintptr_t)name };

	return list->n ? bsearch(&key, list->items, list->n, sizeof key, pack_by_name) : NULL;
}

const char *pack_tensor_type(const struct pack_tensor *tensor)
{
	return tensor->stored ? tensor->stored : pack_element_name(tensor->element);
}

void pack_tensor_rows(const struct pack_tensor *tensor, uint64_t *out_rows, uint64_t *out_columns)
{
	uint64_t rows = 1;

	/* no more than the elements, whose number is known not to wrap */
	for (unsigned i = 0; i + 1 < tensor->rank; i++)
		rows *= tensor->shape[i];
	*out_rows = rows;
	*out_columns = tensor->rank ? tensor->shape[tensor->rank - 1] : 1;
}

char *pack_shape_text(unsigned rank, const uint64_t *shape, char out[PACK_SHAPE_TEXT_BYTES])
{
	int at = snprintf(out, PACK_SHAPE_TEXT_BYTES, "[");

	/* 8 dimensions of at most 20 digits and their commas fit */
	for (unsigned i = 0; i < rank; i++)
		at += snprintf(out + at, PACK_SHAPE_TEXT_BYTES - (size_t)at, "%s%" PRIu64,
			       i ? ", " : "", shape[i]);
	snprintf(out + at, PACK_SHAPE_TEXT_BYTES - (size_t)at, "]");
	return out;
}

int pack_source_take_file(struct pack_source *source, struct pack_file *file,
			  struct gw_error *error)
{
	struct pack_file *files = reallocarray(source->files, source->n_files + 1, sizeof *files);

	if (!files)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	files[source->n_files++] = *file;
	source->files = files;
	*file = (struct pack_file)PACK_FILE_INIT;
	return GW_OK;
}

void pack_file_stem(const struct pack_file *file, char out[PACK_STEM_BYTES])
{
	const char *dot = strrchr(file->name, '.');
	size_t n = dot && dot > file->name ? (size_t)(dot - file->name) : strlen(file->name);

	/* a name of a file has at most 255 bytes; the last one of out stays NUL */
	memset(out, 0, PACK_STEM_BYTES);
	gw_string_put((uint8_t *)out, PACK_STEM_BYTES, file->name, n);
}

static int pack_single_open(int folder_fd, struct pack_file *file, struct pack_source *source,
			    struct gw_error *error)
{
	int code = pack_source_take_file(source, file, error);

	(void)folder_fd;
	source->format = "safetensors";
	return code == GW_OK ?
		       pack_safetensors_list(&source->files[0], 0, &source->tensors, error) :
		       code;
}

/* Who opens which kind of file. */
static const struct {
	enum pack_kind kind;
	int (*open)(int folder_fd, struct pack_file *file, struct pack_source *source,
		    struct gw_error *error);
} pack_openers[] = {
	{ PACK_KIND_JSON, pack_sharded_open },
	{ PACK_KIND_NPY, pack_npy_open },
	{ PACK_KIND_GPT2W, pack_repack_open },
	{ PACK_KIND_GGUF, pack_gguf_open },
	{ PACK_KIND_LLMC, pack_llmc_open },
	{ PACK_KIND_SAFETENSORS, pack_single_open },
	{ PACK_KIND_TENSORFLOW, pack_tf_open },
	{ PACK_KIND_UNKNOWN, pack_single_open },
	{ PACK_KIND_ZIP, pack_archive_open },
	{ PACK_KIND_TORCH_LEGACY, pack_torch_legacy_open },
};

int pack_source_open_kind(int folder_fd, struct pack_file *file, struct pack_source *source,
			  struct gw_error *error)
{
	uint8_t head[PACK_KIND_BYTES];
	uint64_t n = file->size_bytes < sizeof head ? file->size_bytes : sizeof head;
	int (*open)(int, struct pack_file *, struct pack_source *, struct gw_error *) = NULL;
	enum pack_kind kind;
	char quoted[128];
	uint8_t end[PACK_KIND_END_BYTES] = { 0 };
	int code = pack_file_read(file, head, n, 0, error);

	if (code == GW_OK && file->size_bytes >= sizeof end)
		code = pack_file_read(file, end, sizeof end, file->size_bytes - sizeof end, error);
	if (code == GW_OK) {
		kind = pack_kind_detect_end(pack_kind_detect(head, n), end);
		for (size_t i = 0; i < sizeof pack_openers / sizeof pack_openers[0] && !open; i++)
			if (pack_openers[i].kind == kind)
				open = pack_openers[i].open;
		if (pack_raw_is(file))
			open = pack_raw_open;
		code = open ? open(folder_fd, file, source, error) :
			      gw_fail(error, GW_E_SOURCE_KIND, 0, "%s is %s",
				      gw_quote(file->name, strlen(file->name), quoted,
					       sizeof quoted),
				      pack_kind_phrase(kind));
	}
	pack_file_close(file);
	return code;
}

/* A file: the directory of an index is where its shards are. */
static int pack_open_path(const char *path, struct pack_source *source, struct gw_error *error)
{
	struct pack_file file = PACK_FILE_INIT;
	const char *slash = strrchr(path, '/');
	char *folder;
	int folder_fd;
	int code = pack_tf_open_prefix(path, &file, error);

	if (code != GW_OK)
		return code;
	folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	if (!folder) {
		pack_file_close(&file);
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	}
	folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* a folder that cannot be opened (no read permission) matters only to an index, whose
	 * shards then cannot be opened either */
	free(folder);
	code = pack_source_open_kind(folder_fd, &file, source, error);
	if (folder_fd >= 0)
		close(folder_fd);
	return code;
}

static int pack_open_one(const char *path, struct pack_source *source, struct gw_error *error)
{
	int folder_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int code;

	if (folder_fd < 0)
		return pack_open_path(path, source, error);
	code = pack_folder_open(folder_fd, source, error);
	close(folder_fd);
	return code;
}

int pack_source_open(const char *path, struct pack_source **out_source, struct gw_error *error)
{
	return pack_source_open_all(&path, 1, 0, out_source, error);
}

int pack_source_open_all(const char *const *paths, size_t n, uint64_t raw_n_embd,
			 struct pack_source **out_source, struct gw_error *error)
{
	struct pack_source *source = calloc(1, sizeof *source);
	int code;

	if (!source)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	source->raw_n_embd = raw_n_embd;
	code = n == 1 ? pack_open_one(paths[0], source, error) :
			pack_source_merge(paths, n, raw_n_embd, source, error);
	if (code != GW_OK) {
		pack_source_free(source);
		return code;
	}
	*out_source = source;
	return GW_OK;
}

void pack_source_free(struct pack_source *source)
{
	if (!source)
		return;
	if (source->reader)
		source->reader->close(source->state);
	for (size_t i = 0; i < source->n_files; i++)
		pack_file_close(&source->files[i]);
	free(source->files);
	pack_list_clear(&source->tensors);
	free(source);
}

int pack_source_read(const struct pack_source *source, const struct pack_tensor *tensor,
		     uint64_t offset, uint64_t n, uint8_t *out, struct gw_error *error)
{
	if (tensor->encoded)
		return source->reader->read(source, tensor, offset, n, out, error);
	return pack_file_read(&source->files[tensor->file], out, n, tensor->offset_bytes + offset,
			      error);
}

uint64_t pack_source_bytes(const struct pack_source *source)
{
	uint64_t bytes = 0;

	/* at most 512 sizes of files, each below 2^63; a sum that wraps is only reported */
	for (size_t i = 0; i < source->n_files; i++)
		bytes += source->files[i].size_bytes;
	return bytes;
}

const char *pack_source_name(const struct pack_source *source)
{
	return source->files[0].name;
}
