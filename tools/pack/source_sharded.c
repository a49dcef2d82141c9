/* SPDX-License-Identifier: MIT */
/*
 * A sharded checkpoint: model.safetensors.index.json, or pytorch_model.bin.index.json, maps each
 * tensor's name to the file, in the same directory, that holds it.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/pack/archive.h"
#include "tools/pack/json.h"
#include "tools/pack/kind.h"
#include "tools/pack/limits.h"
#include "tools/pack/parts.h"
#include "tools/pack/safetensors.h"
#include "tools/pack/torch.h"

/* A plain name of a member of the directory, so that an index reaches nothing outside it. */
static int pack_check_shard_name(const char *shard, struct gw_error *error)
{
	char quoted[128];

	if (*shard && !strchr(shard, '/') && strcmp(shard, ".") != 0 && strcmp(shard, "..") != 0)
		return GW_OK;
	return gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET,
		       "the index names the file \"%s\", which is not a plain name of a file "
		       "beside it",
		       gw_quote(shard, strlen(shard), quoted, sizeof quoted));
}

/* The number of the shard of that name; opens it if it is new. */
static int pack_open_shard(int folder_fd, const char *shard, struct pack_source *source,
			   size_t *out_index, struct gw_error *error)
{
	struct gw_error inner = GW_ERROR_INIT;
	int code = pack_check_shard_name(shard, error);

	if (code != GW_OK)
		return code;
	/* shards follow each other in an index, so the last one is nearly always the right one */
	for (size_t i = source->n_files; i-- > 1;) {
		if (strcmp(source->files[i].name, shard) == 0) {
			*out_index = i;
			return GW_OK;
		}
	}
	if (source->n_files >= PACK_MAX_FILES)
		return gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET,
			       "the index names more than %d files", PACK_MAX_FILES - 1);
	code = pack_file_open(folder_fd, shard, &source->files[source->n_files], &inner);
	if (code != GW_OK)
		return gw_fail(error, code == GW_E_MEMORY ? code : GW_E_SOURCE, GW_NO_OFFSET,
			       "a shard that the index names is missing: %s", inner.message);
	*out_index = source->n_files++;
	return GW_OK;
}

/* Fills the tensors' names and files, and opens the files. */
static int pack_parse_index(int folder_fd, const json_t *object, struct pack_source *source,
			    struct gw_error *error)
{
	json_t *map = json_object_get(object, "weight_map");
	const char *name = source->files[0].name;
	char quoted_file[96];
	const char *key;
	json_t *value;

	if (!json_is_object(map))
		return gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET,
			       "%s has no weight_map: it is no index of a sharded checkpoint",
			       gw_quote(name, strlen(name), quoted_file, sizeof quoted_file));
	if (json_object_size(map) == 0)
		return gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET, "the index's weight_map is empty");
	json_object_foreach(map, key, value)
	{
		struct pack_tensor tensor = { .name = (char *)(uintptr_t)key };
		char quoted[128];
		int code;

		if (!json_is_string(value))
			return gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET,
				       "the index gives tensor \"%s\" a file that is no string",
				       gw_quote(key, strlen(key), quoted, sizeof quoted));
		code = pack_open_shard(folder_fd, json_string_value(value), source, &tensor.file,
				       error);
		if (code == GW_OK)
			code = pack_list_add(&source->tensors, &tensor, error);
		if (code != GW_OK)
			return code;
	}
	return GW_OK;
}

/* Reads the index's text; its first byte is known to be a brace or white space. */
static int pack_load_index(const struct pack_file *file, json_t **out, struct gw_error *error)
{
	char *text;
	int code;

	if (file->size_bytes > PACK_MAX_HEADER_BYTES)
		return gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET,
			       "the index has %" PRIu64 " bytes, over this program's limit of "
			       "%" PRIu64,
			       file->size_bytes, PACK_MAX_HEADER_BYTES);
	text = malloc(file->size_bytes + 1);
	if (!text)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	code = pack_file_read(file, text, file->size_bytes, 0, error);
	if (code == GW_OK)
		code = pack_json_load(text, file->size_bytes, 0, out, error);
	free(text);
	return code;
}

static int pack_shard_kind(const struct pack_file *shard, enum pack_kind *out_kind,
			   struct gw_error *error)
{
	uint8_t head[PACK_KIND_BYTES];
	uint64_t n = shard->size_bytes < sizeof head ? shard->size_bytes : sizeof head;
	int code = pack_file_read(shard, head, n, 0, error);

	if (code == GW_OK)
		*out_kind = pack_kind_detect(head, n);
	return code;
}

static bool pack_shard_is_torch(enum pack_kind kind)
{
	return kind == PACK_KIND_ZIP || kind == PACK_KIND_TORCH_LEGACY;
}

/* Shards are all of PyTorch, or all of safetensors, whose reader says what is wrong with others. */
static int pack_check_shard_kind(const struct pack_file *shard, enum pack_kind kind, bool torch,
				 struct gw_error *error)
{
	char quoted[96];

	if (pack_shard_is_torch(kind) == torch && kind != PACK_KIND_LFS && kind != PACK_KIND_HTML)
		return GW_OK;
	return gw_fail(error, GW_E_SOURCE_KIND, 0,
		       "the index names %s, which is %s, where a shard of %s belongs",
		       gw_quote(shard->name, strlen(shard->name), quoted, sizeof quoted),
		       pack_kind_phrase(kind), torch ? "PyTorch" : "safetensors");
}

/* Gives every tensor of the index that lies in shard number i its description from there. */
static void pack_fill_shard(struct pack_source *source, size_t i, const struct pack_list *list)
{
	for (size_t k = 0; k < list->n; k++) {
		struct pack_tensor *wanted = pack_list_find(&source->tensors, list->items[k].name);

		/* what the index does not mention, or finds elsewhere, is not part of the model */
		if (wanted && wanted->file == i) {
			char *name = wanted->name;

			*wanted = list->items[k];
			wanted->name = name;
			wanted->file = i;
		}
	}
}

/* A shard of PyTorch becomes a part of source. */
static int pack_fill_torch(struct pack_source *source, size_t i, enum pack_kind kind,
			   struct gw_error *error)
{
	struct pack_file file = source->files[i]; /* which stays the source's */
	struct pack_source *part = calloc(1, sizeof *part);
	char quoted[96];
	int code;

	if (!part)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	code = kind == PACK_KIND_ZIP ? pack_archive_open(-1, &file, part, error) :
				       pack_torch_legacy_open(-1, &file, part, error);
	if (code == GW_OK && part->reader != &pack_torch_reader)
		code = gw_fail(error, GW_E_SOURCE_KIND, 0,
			       "the index names %s, which is an archive of NumPy, where a shard of "
			       "PyTorch belongs",
			       gw_quote(source->files[i].name, strlen(source->files[i].name),
					quoted, sizeof quoted));
	if (code != GW_OK) {
		part->n_files = 0;
		pack_source_free(part);
		return code;
	}
	code = pack_parts_add(source, part, i, error);
	if (code != GW_OK)
		return code;
	pack_fill_shard(source, i, &part->tensors);
	pack_list_clear(&part->tensors);
	return GW_OK;
}

static int pack_fill_safetensors(struct pack_source *source, size_t i, struct gw_error *error)
{
	struct pack_list list = { 0 };
	int code = pack_safetensors_list(&source->files[i], i, &list, error);

	if (code == GW_OK)
		pack_fill_shard(source, i, &list);
	pack_list_clear(&list);
	return code;
}

/* Reads the heads of all shards, each once; the first one says of which kind all are. */
static int pack_fill_all(struct pack_source *source, struct gw_error *error)
{
	enum pack_kind kind = PACK_KIND_UNKNOWN;
	bool torch;
	int code = pack_shard_kind(&source->files[1], &kind, error);

	if (code != GW_OK)
		return code;
	torch = pack_shard_is_torch(kind);
	if (torch) {
		source->format = "pytorch-sharded";
		code = pack_parts_begin(source, error);
	}
	for (size_t i = 1; code == GW_OK && i < source->n_files; i++) {
		code = pack_shard_kind(&source->files[i], &kind, error);
		if (code == GW_OK)
			code = pack_check_shard_kind(&source->files[i], kind, torch, error);
		if (code == GW_OK)
			code = torch ? pack_fill_torch(source, i, kind, error) :
				       pack_fill_safetensors(source, i, error);
	}
	return code;
}

int pack_sharded_open(int folder_fd, struct pack_file *index, struct pack_source *source,
		      struct gw_error *error)
{
	json_t *object = NULL;
	char quoted[96], quoted_file[96];
	int code;

	source->format = "safetensors-sharded";
	source->files = calloc(PACK_MAX_FILES, sizeof *source->files);
	if (!source->files)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	source->files[source->n_files++] = *index;
	*index = (struct pack_file)PACK_FILE_INIT;
	code = pack_load_index(&source->files[0], &object, error);
	if (code == GW_OK)
		code = pack_parse_index(folder_fd, object, source, error);
	json_decref(object);
	if (code != GW_OK)
		return code;
	pack_list_sort(&source->tensors);
	code = pack_fill_all(source, error);
	for (size_t k = 0; code == GW_OK && k < source->tensors.n; k++) {
		const struct pack_tensor *tensor = &source->tensors.items[k];
		const char *name = source->files[tensor->file].name;

		/* no tensor lies at 0, where every kind of shard has its header */
		if (tensor->offset_bytes == 0)
			code = gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET,
				       "tensor \"%s\" is missing in %s, where the index says it is",
				       gw_quote(tensor->name, strlen(tensor->name), quoted,
						sizeof quoted),
				       gw_quote(name, strlen(name), quoted_file,
						sizeof quoted_file));
	}
	return code;
}
