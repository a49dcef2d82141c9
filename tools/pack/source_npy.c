/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "tools/pack/array.h"
#include "tools/pack/formats.h"

struct pack_npy {
	struct pack_array array;
	struct pack_transpose *transpose;
};

static int pack_npy_bytes(void *context, uint64_t offset, uint64_t n, uint8_t *out,
			  struct gw_error *error)
{
	const struct pack_source *source = context;
	const struct pack_npy *npy = source->state;

	return pack_file_read(&source->files[0], out, n, npy->array.data_offset + offset, error);
}

static int pack_npy_read(const struct pack_source *source, const struct pack_tensor *tensor,
			 uint64_t offset, uint64_t n, uint8_t *out, struct gw_error *error)
{
	struct pack_npy *npy = source->state;

	(void)tensor;
	return pack_transpose_read(&npy->transpose, &npy->array, pack_npy_bytes,
				   (void *)(uintptr_t)source, offset, n, out, error);
}

static void pack_npy_rest(void *state)
{
	struct pack_npy *npy = state;

	pack_transpose_free(npy->transpose);
	npy->transpose = NULL;
}

static void pack_npy_close(void *state)
{
	pack_npy_rest(state);
	free(state);
}

static const struct pack_reader pack_npy_reader = {
	.read = pack_npy_read,
	.close = pack_npy_close,
	.rest = pack_npy_rest,
};

/* The header of the file, its messages with the file's name. */
static int pack_npy_parse(const struct pack_file *file, struct pack_array *out,
			  struct gw_error *error)
{
	uint8_t head[PACK_ARRAY_HEAD_BYTES];
	uint64_t n = file->size_bytes < sizeof head ? file->size_bytes : sizeof head;
	struct gw_error inner = GW_ERROR_INIT;
	char quoted[128];
	int code = pack_file_read(file, head, n, 0, error);

	if (code != GW_OK)
		return code;
	code = pack_array_parse(head, n, file->size_bytes, out, &inner);
	return code == GW_OK ? GW_OK :
			       gw_fail(error, code, inner.offset, "%s: %s",
				       gw_quote(file->name, strlen(file->name), quoted,
						sizeof quoted),
				       inner.message);
}

int pack_npy_open(int folder_fd, struct pack_file *file, struct pack_source *source,
		  struct gw_error *error)
{
	struct pack_npy *npy = calloc(1, sizeof *npy);
	char stem[PACK_STEM_BYTES];
	struct pack_tensor tensor;
	int code;

	(void)folder_fd;
	if (!npy)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	source->format = "npy";
	source->state = npy;
	source->held_bytes = sizeof *npy;
	source->reader = &pack_npy_reader;
	code = pack_source_take_file(source, file, error);
	if (code == GW_OK)
		code = pack_npy_parse(&source->files[0], &npy->array, error);
	if (code != GW_OK)
		return code;
	tensor = pack_array_tensor(&npy->array);
	pack_file_stem(&source->files[0], stem);
	tensor.name = stem;
	tensor.canonical = pack_array_canonical(stem);
	return pack_list_add(&source->tensors, &tensor, error);
}
