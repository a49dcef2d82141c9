/* SPDX-License-Identifier: MIT */
/* Several checkpoints as one: their files and tensors in the order in which they were named. */
#include <stdlib.h>
#include <string.h>

#include "tools/pack/formats.h"
#include "tools/pack/limits.h"
#include "tools/pack/source.h"

/* The parts. Their files belong to the whole, which has copies of the descriptions. */
struct pack_many {
	struct pack_source **parts;
	size_t n;
};

/* What detail of a tensor of the whole is made of: the part, and the tensor's number in it. */
#define PACK_MANY_DETAIL(part, i) ((uint64_t)(part) << 32 | (i))

static int pack_many_read(const struct pack_source *source, const struct pack_tensor *tensor,
			  uint64_t offset, uint64_t n, uint8_t *out, struct gw_error *error)
{
	const struct pack_many *many = source->state;
	const struct pack_source *part = many->parts[tensor->detail >> 32];

	return pack_source_read(part, &part->tensors.items[tensor->detail & UINT32_MAX], offset, n,
				out, error);
}

static void pack_many_close(void *state)
{
	struct pack_many *many = state;

	for (size_t i = 0; i < many->n; i++) {
		if (many->parts[i])
			many->parts[i]->n_files = 0; /* the whole's */
		pack_source_free(many->parts[i]);
	}
	free(many->parts);
	free(many);
}

static const struct pack_reader pack_many_reader = { pack_many_read, pack_many_close };

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

/* The part is the whole's before it is opened, so that pack_source_free ends it in any case. */
static int pack_many_add(struct pack_source *whole, size_t number, const char *path,
			 uint64_t raw_n_embd, struct gw_error *error)
{
	struct pack_many *many = whole->state;
	size_t first_file = whole->n_files;
	struct pack_source *part;
	struct pack_file *files;
	int code = pack_source_open_all(&path, 1, raw_n_embd, &many->parts[number], error);

	if (code != GW_OK)
		return code;
	part = many->parts[number];
	files = whole->n_files + part->n_files > PACK_MAX_FILES ?
			NULL :
			reallocarray(whole->files, whole->n_files + part->n_files, sizeof *files);
	if (!files) {
		for (size_t i = 0; i < part->n_files; i++)
			pack_file_close(&part->files[i]);
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET,
			       "out of memory, or more than %d files", PACK_MAX_FILES);
	}
	memcpy(files + whole->n_files, part->files, part->n_files * sizeof *files);
	whole->files = files;
	whole->n_files += part->n_files;
	for (size_t i = 0; code == GW_OK && i < part->tensors.n; i++) {
		struct pack_tensor tensor = part->tensors.items[i];

		tensor.file += first_file;
		tensor.detail = PACK_MANY_DETAIL(number, i);
		code = pack_list_add(&whole->tensors, &tensor, error);
	}
	whole->format = number == 0 || strcmp(whole->format, part->format) == 0 ? part->format :
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
	struct pack_many *many = calloc(1, sizeof *many);
	int code = GW_OK;

	if (many)
		many->parts = calloc(n, sizeof(struct pack_source *));
	if (!many || !many->parts) {
		free(many);
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	}
	many->n = n;
	whole->state = many;
	whole->reader = &pack_many_reader;
	for (size_t i = 0; code == GW_OK && i < n; i++) {
		struct gw_error inner = GW_ERROR_INIT;

		code = pack_many_add(whole, i, paths[i], raw_n_embd, &inner);
		if (code != GW_OK)
			pack_many_fail(paths[i], &inner, error);
	}
	return code == GW_OK ? pack_many_check_names(whole, error) : code;
}
