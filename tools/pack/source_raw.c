/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <string.h>

#include "tools/pack/array.h"
#include "tools/pack/element.h"
#include "tools/pack/formats.h"

bool pack_raw_is(const struct pack_file *file)
{
	size_t n = strlen(file->name);

	return n > 4 && strcmp(file->name + n - 4, ".f32") == 0;
}

int pack_raw_open(int folder_fd, struct pack_file *file, struct pack_source *source,
		  struct gw_error *error)
{
	uint64_t size_bytes = file->size_bytes, n_embd = source->raw_n_embd;
	char stem[PACK_STEM_BYTES], quoted[128];
	struct pack_tensor tensor = { 0 };
	int code = pack_source_take_file(source, file, error);

	(void)folder_fd;
	if (code != GW_OK)
		return code;
	source->format = "raw";
	file = &source->files[0];
	gw_quote(file->name, strlen(file->name), quoted, sizeof quoted);
	if (n_embd == 0)
		return gw_fail(error, GW_E_ARGUMENT, GW_NO_OFFSET,
			       "%s: it holds numbers only, nothing about their shape: say how many of "
			       "them are a row with --embd N (768 for the smallest GPT-2)",
			       quoted);
	/* --embd has been compared with GW_MAX_N_EMBD */
	if (size_bytes == 0 || size_bytes % (4 * n_embd) != 0)
		return gw_fail(error, GW_E_SOURCE, size_bytes - size_bytes % (4 * n_embd),
			       "%s: %" PRIu64 " bytes, which are not whole rows of %" PRIu64
			       " f32 numbers (%" PRIu64 " bytes each)",
			       quoted, size_bytes, n_embd, 4 * n_embd);
	pack_file_stem(file, stem);
	tensor.name = stem;
	tensor.canonical = pack_array_canonical(stem);
	tensor.element = pack_element_find("F32");
	tensor.rank = 2;
	tensor.shape[0] = size_bytes / (4 * n_embd);
	tensor.shape[1] = n_embd;
	tensor.size_bytes = size_bytes;
	return pack_list_add(&source->tensors, &tensor, error);
}
