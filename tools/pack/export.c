/* SPDX-License-Identifier: MIT */
#include "tools/pack/export.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "format/bytes.h"
#include "format/dtype.h"
#include "tools/pack/dequantise.h"
#include "tools/pack/formats.h"
#include "tools/pack/limits.h"

/* The data begin at a multiple of this, as in the files that the safetensors library writes. */
#define PACK_EXPORT_ALIGN UINT64_C(8)

unsigned pack_export_type(const struct gw_tensor *tensor)
{
	return tensor->dtype == GW_I8 ? GW_F32 : tensor->dtype;
}

uint64_t pack_export_bytes(const struct gw_tensor *tensor)
{
	/* at most four times what is in a pack, which has 2^39 bytes: nothing wraps */
	return tensor->row_count * tensor->row_elements * gw_dtype_bytes(pack_export_type(tensor));
}

static const char *pack_export_dtype(const struct gw_tensor *tensor)
{
	unsigned type = pack_export_type(tensor);

	return type == GW_F32 ? "F32" : type == GW_F16 ? "F16" : "BF16";
}

/* NULL: no memory. The tensors' offsets follow from the pack's order. */
static json_t *pack_export_object(const struct gw_pack *pack)
{
	char id[GW_DIGEST_TEXT_BYTES];
	json_t *object =
		json_pack("{s:{s:s, s:s}}", "__metadata__", "format", "pt", "gpt2w_content_id",
			  gw_digest_text(&pack->superblock.content_id, id));
	uint64_t offset = 0;

	for (uint32_t i = 0; object && i < pack->superblock.n_tensors; i++) {
		const struct gw_tensor *tensor = &pack->tensors[i];
		uint64_t bytes = pack_export_bytes(tensor);
		json_t *shape = json_array();

		for (unsigned k = 0; k < tensor->rank; k++)
			json_array_append_new(shape, json_integer((json_int_t)tensor->shape[k]));
		/* json_pack consumes shape, also on failure */
		if (json_object_set_new(object, tensor->name,
					json_pack("{s:s, s:o, s:[I, I]}", "dtype",
						  pack_export_dtype(tensor), "shape", shape,
						  "data_offsets", (json_int_t)offset,
						  (json_int_t)(offset + bytes))) != 0) {
			json_decref(object);
			return NULL;
		}
		offset += bytes;
	}
	return object;
}

/* Writes length and header; *out_offset is where the data begin. */
static int pack_export_header(const struct gw_pack *pack, struct gw_outfile *out,
			      uint64_t *out_offset, struct gw_error *error)
{
	json_t *object = pack_export_object(pack);
	size_t n = object ? json_dumpb(object, NULL, 0, JSON_COMPACT) : 0;
	size_t padded = (n + PACK_EXPORT_ALIGN - 1) & ~(size_t)(PACK_EXPORT_ALIGN - 1);
	uint8_t *header = n ? malloc(8 + padded) : NULL;
	struct gw_bytes window;
	int code;

	if (header) {
		window = gw_bytes_write(header, 8 + padded);
		gw_put_u64(&window, 0, padded);
		memset(header + 8, ' ', padded);
		json_dumpb(object, (char *)header + 8, padded, JSON_COMPACT);
		code = gw_outfile_write(out, header, 8 + padded, 0, error);
		*out_offset = 8 + padded;
	} else {
		code = gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	}
	free(header);
	json_decref(object);
	return code;
}

/* Where the values of each tensor begin in the output. */
struct pack_export_places {
	const struct gw_pack *pack;
	uint64_t offsets[];
};

static int pack_export_begin(const struct gw_pack *pack, struct gw_outfile *out, void **out_state,
			     struct gw_error *error)
{
	uint32_t n = pack->superblock.n_tensors;
	struct pack_export_places *places = malloc(sizeof *places + n * sizeof places->offsets[0]);
	uint64_t offset = 0;
	int code = places ? pack_export_header(pack, out, &offset, error)
			  : gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");

	if (code != GW_OK) {
		free(places);
		return code;
	}
	places->pack = pack;
	for (uint32_t i = 0; i < n; i++) {
		places->offsets[i] = offset;
		offset += pack_export_bytes(&pack->tensors[i]);
	}
	*out_state = places;
	return GW_OK;
}

static int pack_export_write(void *state, struct gw_outfile *out, const struct gw_tensor *tensor,
			     uint64_t within, const uint8_t *bytes, uint64_t n,
			     struct gw_error *error)
{
	const struct pack_export_places *places = state;
	uint64_t offset = places->offsets[tensor - places->pack->tensors];

	return gw_outfile_write(out, bytes, n, offset + within, error);
}

static int pack_export_finish(void *state, struct gw_outfile *out, struct gw_error *error)
{
	(void)state, (void)out, (void)error;
	return GW_OK; /* the header is at the front */
}

const struct pack_exporter pack_export_safetensors = {
	.name = "safetensors",
	.begin = pack_export_begin,
	.write = pack_export_write,
	.finish = pack_export_finish,
	.end = free,
};

static int pack_export_tensor(const struct pack_exporter *exporter, void *state,
			      const struct pack_source *source, size_t index, uint8_t *buffer,
			      struct gw_outfile *out, struct tool_progress *progress,
			      struct gw_error *error)
{
	const struct pack_tensor *tensor = &source->tensors.items[index];
	const struct gw_tensor *packed = &pack_repack_pack(source)->tensors[index];
	const uint64_t width = gw_dtype_bytes(pack_export_type(packed));
	const uint64_t bytes = pack_export_bytes(packed);
	struct pack_dequantiser *dequantiser = NULL;
	int code = GW_OK;

	if (packed->dtype == GW_I8)
		code = pack_dequantiser_new(source, tensor, &dequantiser, error);
	for (uint64_t at = 0, n; code == GW_OK && at < bytes; at += n) {
		n = bytes - at < PACK_BUFFER_BYTES ? bytes - at : PACK_BUFFER_BYTES;
		code = dequantiser ? pack_dequantiser_read(dequantiser, at / width, n / width,
							   buffer, error)
				   : pack_source_read(source, tensor, at, n, buffer, error);
		if (code == GW_OK)
			code = exporter->write(state, out, packed, at, buffer, n, error);
		tool_progress_add(progress, n / width * gw_dtype_bytes(packed->dtype));
	}
	pack_dequantiser_free(dequantiser);
	return code;
}

int pack_export(const struct pack_exporter *exporter, const struct pack_source *source,
		struct gw_outfile *out, struct tool_progress *progress, struct gw_error *error)
{
	uint8_t *buffer = malloc(PACK_BUFFER_BYTES);
	void *state = NULL;
	int code = buffer ? exporter->begin(pack_repack_pack(source), out, &state, error)
			  : gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");

	posix_fadvise(source->files[0].fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	for (size_t i = 0; code == GW_OK && i < source->tensors.n; i++)
		code = pack_export_tensor(exporter, state, source, i, buffer, out, progress, error);
	if (code == GW_OK)
		code = exporter->finish(state, out, error);
	exporter->end(state);
	free(buffer);
	return code;
}
