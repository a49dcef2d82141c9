/* SPDX-License-Identifier: MIT */
#include "tools/pack/parts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/pack/limits.h"
#include "tools/pack/torch.h"

struct pack_part {
	struct pack_source *source;
	size_t first_file; /* its files are the whole's from this one on */
};

struct pack_parts {
	struct pack_part *items;
	size_t n;
	struct pack_source *reading; /* the one that was read last; NULL: none */
	uint64_t file_bytes, viewed_bytes; /* of PyTorch's files, and of the tensors in them */
	uint64_t effort_bytes;             /* see struct pack_torch */
};

static void pack_parts_rest(void *state)
{
	struct pack_parts *parts = state;

	if (parts->reading && parts->reading->reader && parts->reading->reader->rest)
		parts->reading->reader->rest(parts->reading->state);
	parts->reading = NULL;
}

static int pack_parts_read(const struct pack_source *source, const struct pack_tensor *tensor,
			   uint64_t offset, uint64_t n, uint8_t *out, struct gw_error *error)
{
	struct pack_parts *parts = source->state;
	struct pack_tensor own = *tensor;
	size_t i = parts->n - 1;
	struct pack_source *part;

	while (parts->items[i].first_file > tensor->file)
		i--;
	part = parts->items[i].source;
	own.file -= parts->items[i].first_file;
	/* what one reads ahead may be as much as there is room for */
	if (parts->reading != part)
		pack_parts_rest(parts);
	parts->reading = part;
	return pack_source_read(part, &own, offset, n, out, error);
}

static void pack_parts_close(void *state)
{
	struct pack_parts *parts = state;

	for (size_t i = 0; i < parts->n; i++) {
		parts->items[i].source->n_files = 0; /* the whole's */
		pack_source_free(parts->items[i].source);
	}
	free(parts->items);
	free(parts);
}

static const struct pack_reader pack_parts_reader = {
	.read = pack_parts_read,
	.close = pack_parts_close,
	.rest = pack_parts_rest,
};

int pack_parts_begin(struct pack_source *whole, struct gw_error *error)
{
	struct pack_parts *parts = calloc(1, sizeof *parts);

	if (!parts)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	whole->state = parts;
	whole->reader = &pack_parts_reader;
	return GW_OK;
}

static uint64_t pack_part_bytes(const struct pack_source *part)
{
	uint64_t bytes = sizeof *part + part->held_bytes;

	for (size_t i = 0; i < part->tensors.n; i++)
		bytes += strlen(part->tensors.items[i].name) + 1;
	return bytes;
}

/* Each part may claim some bytes more than it has; all together no more than one file may. */
static int pack_parts_claim(struct pack_parts *parts, const struct pack_source *part,
			    struct gw_error *error)
{
	struct pack_torch *torch = part->state;

	if (part->reader != &pack_torch_reader)
		return GW_OK;
	torch->effort_bytes = &parts->effort_bytes;
	parts->file_bytes += pack_source_bytes(part);
	/* the sum of one part is within the limit, and parts are at most 512 */
	for (size_t i = 0; i < part->tensors.n; i++)
		parts->viewed_bytes += part->tensors.items[i].size_bytes;
	if (pack_torch_may_claim(parts->file_bytes, parts->viewed_bytes))
		return GW_OK;
	return gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET,
		       "the tensors claim far more than the %" PRIu64
		       " bytes of the files (through strides of 0 or shared storages)",
		       parts->file_bytes);
}

int pack_parts_add(struct pack_source *whole, struct pack_source *part, size_t first_file,
		   struct gw_error *error)
{
	struct pack_parts *parts = whole->state;
	struct pack_part *items = reallocarray(parts->items, parts->n + 1, sizeof *items);

	if (!items) {
		part->n_files = 0;
		pack_source_free(part);
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	}
	items[parts->n++] = (struct pack_part){ .source = part, .first_file = first_file };
	parts->items = items;
	whole->held_bytes += pack_part_bytes(part);
	if (whole->held_bytes > PACK_MAX_PARTS_BYTES)
		return gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET,
			       "what the files say about their tensors takes more than %" PRIu64
			       " MiB of memory together",
			       PACK_MAX_PARTS_BYTES >> 20);
	return pack_parts_claim(parts, part, error);
}
