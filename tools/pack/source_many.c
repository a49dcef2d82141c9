/* SPDX-License-Identifier: MIT */
/* Several checkpoints as one: their files and tensors in the order in which they were named. */
#include <stdlib.h>
#include <string.h>

#include "tools/pack/formats.h"
#include "tools/pack/limits.h"
#include "tools/pack/parts.h"
#include "tools/pack/source.h"

/* What one part says counts where those before it say nothing. */
static void pack_many_config(struct pack_config *whole, const struct pack_config *part)
{
	const struct pack_config before = *whole;

	whole->origin = before.origin ? before.origin : part->origin;
	whole->n_layer = before.n_layer ? before.n_layer : part->n_layer;
	whole->n_head = before.n_head ? before.n_head : part->n_head;
	whole->n_vocab = before.n_vocab ? before.n_vocab : part->n_vocab;
	whole->n_positions = before.n_positions ? before.n_positions : part->n_positions;
	whole->n_embd = before.n_embd ? before.n_embd : part->n_embd;
}

/* The files of part, which are whole's then; on failure they are the part's. */
static int pack_many_take_files(struct pack_source *whole, const struct pack_source *part,
				struct gw_error *error)
{
	struct pack_file *files;

	if (whole->n_files + part->n_files > PACK_MAX_FILES)
		return gw_fail(error, GW_E_ARGUMENT, GW_NO_OFFSET,
			       "more than %d files, which is all that one checkpoint may have",
			       PACK_MAX_FILES);
	files = reallocarray(whole->files, whole->n_files + part->n_files, sizeof *files);
	if (!files)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	memcpy(files + whole->n_files, part->files, part->n_files * sizeof *files);
	whole->files = files;
	whole->n_files += part->n_files;
	return GW_OK;
}

/* part becomes one of whole's, or ends. */
static int pack_many_add(struct pack_source *whole, struct pack_source *part,
			 struct gw_error *error)
{
	size_t first_file = whole->n_files;
	int code = pack_many_take_files(whole, part, error);

	if (code != GW_OK) {
		pack_source_free(part);
		return code;
	}
	code = pack_parts_add(whole, part, first_file, error);
	if (code != GW_OK)
		return code;
	for (size_t i = 0; code == GW_OK && i < part->tensors.n; i++) {
		part->tensors.items[i].file += first_file;
		code = pack_list_add(&whole->tensors, &part->tensors.items[i], error);
	}
	pack_list_clear(&part->tensors);
	whole->format = !whole->format || strcmp(whole->format, part->format) == 0 ? part->format :
										     "several";
	pack_many_config(&whole->config, &part->config);
	if (!whole->note[0])
		strcpy(whole->note, part->note);
	return code;
}

static int pack_many_by_name(const void *a, const void *b)
{
	const struct pack_tensor *const *left = a, *const *right = b;

	return strcmp((*left)->name, (*right)->name);
}

static int pack_many_check_names(const struct pack_source *whole, struct gw_error *error)
{
	size_t n = whole->tensors.n;
	const struct pack_tensor **sorted = calloc(n + 1, sizeof *sorted);
	char quoted[128], file[96], other_file[96];
	int code = GW_OK;

	if (!sorted)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	for (size_t i = 0; i < n; i++)
		sorted[i] = &whole->tensors.items[i];
	qsort(sorted, n, sizeof(struct pack_tensor *), pack_many_by_name);
	for (size_t i = 1; code == GW_OK && i < n; i++) {
		const char *name = sorted[i]->name;
		const char *in = whole->files[sorted[i - 1]->file].name;
		const char *other_in = whole->files[sorted[i]->file].name;

		if (strcmp(sorted[i - 1]->name, name) == 0)
			code = gw_fail(error, GW_E_SOURCE_TABLES, GW_NO_OFFSET,
				       "two inputs have a tensor \"%s\": %s and %s",
				       gw_quote(name, strlen(name), quoted, sizeof quoted),
				       gw_quote(in, strlen(in), file, sizeof file),
				       gw_quote(other_in, strlen(other_in), other_file,
						sizeof other_file));
	}
	free(sorted);
	return code;
}

/* The failure of one part, which need not have named its file. */
static void pack_many_fail(const char *path, const struct gw_error *inner, struct gw_error *error)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash && slash[1] ? slash + 1 : path;
	char quoted[128];

	if (!error)
		return;
	*error = *inner;
	if (!strstr(inner->message, base))
		gw_fail(error, inner->code, inner->offset, "%s: %s",
			gw_quote(path, strlen(path), quoted, sizeof quoted), inner->message);
	error->sys_errno = inner->sys_errno;
}

int pack_source_merge(const char *const *paths, size_t n, uint64_t raw_n_embd,
		      struct pack_source *whole, struct gw_error *error)
{
	int code;

	/* before any of them is opened, since descriptors could run out first */
	if (n > PACK_MAX_FILES)
		return gw_fail(error, GW_E_ARGUMENT, GW_NO_OFFSET,
			       "%zu inputs; one checkpoint may have %d files", n, PACK_MAX_FILES);
	code = pack_parts_begin(whole, error);
	for (size_t i = 0; code == GW_OK && i < n; i++) {
		struct gw_error inner = GW_ERROR_INIT;
		struct pack_source *part = NULL;

		code = pack_source_open_all(&paths[i], 1, raw_n_embd, &part, &inner);
		if (code == GW_OK)
			code = pack_many_add(whole, part, &inner);
		if (code != GW_OK)
			pack_many_fail(paths[i], &inner, error);
	}
	return code == GW_OK ? pack_many_check_names(whole, error) : code;
}
