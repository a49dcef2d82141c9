/* SPDX-License-Identifier: MIT */
#include "tools/embed/ids.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/bytes.h"
#include "tools/common/npy.h"
#include "tools/embed/npy.h"
#include "tools/embed/text.h"

/* llm.c, dev/data/data_common.py, write_datafile: 256 int32, then the tokens as uint16. */
#define EMBED_LLMC_MAGIC 20240520
#define EMBED_LLMC_VERSION 1
#define EMBED_LLMC_HEADER_BYTES 1024

void embed_ids_init(struct embed_ids *ids, uint64_t n_vocab)
{
	*ids = (struct embed_ids) { .n_vocab = n_vocab };
}

void embed_ids_deinit(struct embed_ids *ids)
{
	free(ids->values);
	ids->values = NULL;
}

static int embed_ids_grow(struct embed_ids *ids, struct gw_error *error)
{
	uint64_t capacity = ids->capacity ? ids->capacity * 2 : 1024;
	int32_t *values;

	if (ids->count == EMBED_MAX_IDS)
		return gw_fail(error, EMBED_E_COUNT, GW_NO_OFFSET,
			       "more than %" PRIu64 " ids; cut the input into parts",
			       EMBED_MAX_IDS);
	values = realloc(ids->values, capacity * sizeof *values);
	if (!values)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory for %" PRIu64 " ids",
			       capacity);
	ids->values = values;
	ids->capacity = capacity;
	return 0;
}

int embed_ids_push(struct embed_ids *ids, uint64_t index, int64_t id, struct gw_error *error)
{
	int ret;

	if (id < 0 || (uint64_t)id >= ids->n_vocab)
		return gw_fail(error, EMBED_E_ID, GW_NO_OFFSET,
			       "id %" PRId64 " at index %" PRIu64 " is outside 0 to %" PRIu64, id,
			       index, ids->n_vocab - 1);
	if (ids->count == ids->capacity) {
		ret = embed_ids_grow(ids, error);
		if (ret)
			return ret;
	}
	ids->values[ids->count++] = (int32_t)id;
	return 0;
}

static int embed_ids_some(const struct embed_ids *ids, struct gw_error *error)
{
	if (ids->count > 0)
		return 0;
	return gw_fail(error, EMBED_E_COUNT, GW_NO_OFFSET, "no ids");
}

int embed_ids_from_arguments(struct embed_ids *ids, char *const *arguments, size_t n,
			     struct gw_error *error)
{
	struct embed_text text;
	int ret = 0;

	embed_text_init(&text, ids);
	for (size_t i = 0; i < n && !ret; i++) {
		ret = embed_text_feed(&text, (const uint8_t *)arguments[i], strlen(arguments[i]),
				      error);
		if (!ret)
			ret = embed_text_feed(&text, (const uint8_t *)" ", 1, error);
	}
	return ret ? ret : embed_ids_some(ids, error);
}

static int embed_ids_text(struct embed_ids *ids, struct embed_source *source,
			  struct gw_error *error)
{
	struct embed_text text;
	const uint8_t *bytes;
	size_t n = 1;
	int ret = 0;

	embed_text_init(&text, ids);
	while (!ret && n > 0) {
		ret = embed_source_peek(source, EMBED_SOURCE_BUFFER_BYTES, &bytes, &n, error);
		if (ret)
			return ret;
		ret = embed_text_feed(&text, bytes, n, error);
		embed_source_take(source, n);
	}
	return ret ? ret : embed_text_end(&text, error);
}

static int64_t embed_decode(const uint8_t *bytes, const struct embed_layout *layout)
{
	unsigned n = layout->width_bytes;
	uint64_t value = 0;

	for (unsigned i = 0; i < n; i++)
		value = value << 8 | bytes[layout->is_big_endian ? i : n - 1 - i];
	if (!layout->is_signed || n == 8)
		return (int64_t)value;
	/* the bit of the sign counts for its negative */
	return (int64_t)value - (int64_t)((value >> (8 * n - 1)) << (8 * n));
}

/* The index in [batch, seq] of the k-th value of the file. */
static uint64_t embed_layout_index(const struct embed_layout *layout, uint64_t k)
{
	if (!layout->is_fortran)
		return k;
	return k % layout->batch * layout->seq + k / layout->batch;
}

static int embed_ids_transpose(struct embed_ids *ids, const struct embed_layout *layout,
			       struct gw_error *error)
{
	int32_t *values = malloc(ids->count * sizeof *values);

	if (!values)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory for %" PRIu64 " ids",
			       ids->count);
	for (uint64_t k = 0; k < ids->count; k++)
		values[embed_layout_index(layout, k)] = ids->values[k];
	free(ids->values);
	ids->values = values;
	ids->capacity = ids->count;
	return 0;
}

/* What is wrong where the values end: bytes that are no whole id, too few ids, or more bytes. */
static int embed_ids_end(const struct embed_ids *ids, const struct embed_source *source,
			 const struct embed_layout *layout, size_t rest_bytes,
			 struct gw_error *error)
{
	uint64_t offset = source->taken_bytes;

	if (layout->count != UINT64_MAX && ids->count < layout->count)
		return gw_fail(error, source->is_regular ? (int)GW_E_CHANGED : (int)EMBED_E_SIZE,
			       offset, "it ends after %" PRIu64 " of %" PRIu64 " ids", ids->count,
			       layout->count);
	if (layout->count != UINT64_MAX && rest_bytes > 0)
		return gw_fail(error, EMBED_E_SIZE, offset,
			       "more bytes at %" PRIu64 ", after the %" PRIu64
			       " ids it should hold",
			       offset, layout->count);
	if (rest_bytes > 0)
		return gw_fail(error, EMBED_E_SIZE, offset,
			       "the id at byte %" PRIu64 " is cut off: %zu of %u bytes", offset,
			       rest_bytes, layout->width_bytes);
	return 0;
}

static int embed_ids_values(struct embed_ids *ids, struct embed_source *source,
			    const struct embed_layout *layout, struct gw_error *error)
{
	const unsigned width = layout->width_bytes;
	const uint8_t *bytes;
	size_t n, i;
	int ret;

	do {
		ret = embed_source_peek(source, EMBED_SOURCE_BUFFER_BYTES, &bytes, &n, error);
		for (i = 0; !ret && n - i >= width && ids->count < layout->count; i += width)
			ret = embed_ids_push(ids, embed_layout_index(layout, ids->count),
					     embed_decode(bytes + i, layout), error);
		if (ret)
			return ret;
		embed_source_take(source, i);
	} while (i > 0);
	ret = embed_ids_end(ids, source, layout, n, error);
	if (!ret && layout->is_fortran)
		ret = embed_ids_transpose(ids, layout, error);
	if (ret)
		return ret;
	ids->batch = layout->batch;
	ids->seq = layout->seq;
	return 0;
}

/* Takes llm.c's header. */
static int embed_llmc_header(struct embed_source *source, struct embed_layout *out,
			     struct gw_error *error)
{
	const uint8_t *data;
	struct gw_bytes bytes;
	uint64_t count, version, rest_bytes;
	size_t n;
	int ret = embed_source_peek(source, EMBED_LLMC_HEADER_BYTES, &data, &n, error);

	if (ret)
		return ret;
	bytes = gw_bytes_read(data, n);
	version = gw_get_u32(&bytes, 4);
	count = gw_get_u32(&bytes, 8);
	if (n < EMBED_LLMC_HEADER_BYTES)
		return gw_fail(error, EMBED_E_SIZE, n, "llm.c header: cut off at byte %zu of %d", n,
			       EMBED_LLMC_HEADER_BYTES);
	if (version != EMBED_LLMC_VERSION)
		return gw_fail(error, EMBED_E_KIND, 4,
			       "llm.c token file of version %" PRIu64
			       "; %d (uint16, GPT-2) is read",
			       version, EMBED_LLMC_VERSION);
	if (count == 0 || count > EMBED_MAX_IDS)
		return gw_fail(error, EMBED_E_COUNT, 8,
			       "llm.c header: %" PRIu64 " ids; from 1 to %" PRIu64
			       " are taken at once",
			       count, EMBED_MAX_IDS);
	embed_source_take(source, EMBED_LLMC_HEADER_BYTES);
	rest_bytes = source->size_bytes - source->taken_bytes;
	if (source->is_regular && rest_bytes != 2 * count)
		return gw_fail(error, EMBED_E_SIZE, EMBED_LLMC_HEADER_BYTES,
			       "llm.c header: %" PRIu64 " bytes follow instead of %" PRIu64
			       " (%" PRIu64 " ids of 2 bytes)",
			       rest_bytes, 2 * count, count);
	*out = (struct embed_layout) { .width_bytes = 2, .count = count };
	return 0;
}

static bool embed_ends_in(const char *name, const char *ending)
{
	size_t n = strlen(name), m = strlen(ending);

	return n > m && strcmp(name + n - m, ending) == 0;
}

static int embed_ids_binary_or_text(struct embed_ids *ids, struct embed_source *source,
				    struct gw_error *error)
{
	struct embed_layout layout = { .count = UINT64_MAX };

	if (embed_ends_in(source->name, ".npy"))
		return gw_fail(error, EMBED_E_NPY, 0, "it does not begin like a .npy file");
	if (embed_ends_in(source->name, ".i32")) {
		layout.width_bytes = 4;
		layout.is_signed = true;
	} else if (embed_ends_in(source->name, ".bin")) {
		layout.width_bytes = 2;
	} else {
		return embed_ids_text(ids, source, error);
	}
	return embed_ids_values(ids, source, &layout, error);
}

int embed_ids_from_source(struct embed_ids *ids, struct embed_source *source,
			  struct gw_error *error)
{
	struct embed_layout layout;
	struct gw_bytes bytes;
	const uint8_t *data;
	size_t n;
	int ret = embed_source_peek(source, TOOL_NPY_MAGIC_BYTES, &data, &n, error);

	if (ret)
		return ret;
	bytes = gw_bytes_read(data, n);
	if (n == TOOL_NPY_MAGIC_BYTES && memcmp(data, TOOL_NPY_MAGIC, n) == 0) {
		ret = embed_npy_read_header(source, &layout, error);
		if (!ret)
			ret = embed_ids_values(ids, source, &layout, error);
	} else if (gw_get_u32(&bytes, 0) == EMBED_LLMC_MAGIC) {
		ret = embed_llmc_header(source, &layout, error);
		if (!ret)
			ret = embed_ids_values(ids, source, &layout, error);
	} else {
		ret = embed_ids_binary_or_text(ids, source, error);
	}
	return ret ? ret : embed_ids_some(ids, error);
}
