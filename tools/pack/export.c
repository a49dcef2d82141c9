/* SPDX-License-Identifier: MIT */
#include "tools/pack/export.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "format/bytes.h"
#include "format/dtype.h"

/* The data begin at a multiple of this, as in the files that the safetensors library writes. */
#define PACK_EXPORT_ALIGN UINT64_C(8)

static const char *pack_export_dtype(unsigned dtype)
{
	return dtype == GW_F32 ? "F32" : dtype == GW_F16 ? "F16" : "BF16";
}

static uint64_t pack_export_bytes(const struct gw_tensor *tensor)
{
	return tensor->row_count * gw_tensor_row_payload(tensor);
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
						  pack_export_dtype(tensor->dtype), "shape", shape,
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

/*
 * The n bytes of a unit, beginning at byte first of tensor, without the padding between rows: moved
 * together in place. Returns how many are left; *out_offset: where they belong in the dense tensor.
 */
static uint64_t pack_squeeze(const struct gw_tensor *tensor, uint64_t first, uint8_t *bytes,
			     uint64_t n, uint64_t *out_offset)
{
	uint64_t payload = gw_tensor_row_payload(tensor);
	uint64_t row = first / tensor->row_bytes, column = first % tensor->row_bytes;
	uint64_t kept = 0;

	*out_offset = row * payload + (column < payload ? column : payload);
	if (payload == tensor->row_bytes)
		return n;
	for (uint64_t at = 0; at < n; column = 0) {
		uint64_t in_row = tensor->row_bytes - column;
		uint64_t step = in_row < n - at ? in_row : n - at;
		uint64_t keep = column < payload ? payload - column : 0;

		if (keep > step)
			keep = step;
		memmove(bytes + kept, bytes + at, keep);
		kept += keep;
		at += step;
	}
	return kept;
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

/* Unit i of the pack: verified, and what it holds of a tensor written. */
static int pack_export_unit(const struct pack_exporter *exporter, void *state,
			    const struct pack_file *file, const struct gw_pack *pack, uint64_t i,
			    uint8_t *buffer, struct gw_outfile *out, struct gw_error *error)
{
	struct gw_unit unit = gw_pack_unit(pack, i);
	uint64_t n, within = 0;
	int code = pack_file_read(file, buffer, unit.size_bytes, unit.offset_bytes, error);

	if (code == GW_OK)
		code = gw_pack_verify_unit(pack, i, buffer, error);
	if (code != GW_OK || !unit.tensor)
		return code;
	n = pack_squeeze(unit.tensor, unit.offset_bytes - unit.tensor->data_offset, buffer,
			 unit.size_bytes, &within);
	return exporter->write(state, out, unit.tensor, within, buffer, n, error);
}

int pack_export(const struct pack_exporter *exporter, const struct pack_file *file,
		const struct gw_pack *pack, struct gw_outfile *out, struct tool_progress *progress,
		struct gw_error *error)
{
	uint8_t *buffer = malloc(GW_HUGE_PAGE_BYTES); /* no unit is larger */
	void *state = NULL;
	int code = buffer ? exporter->begin(pack, out, &state, error)
			  : gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");

	posix_fadvise(file->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	for (uint64_t i = 0; code == GW_OK && i < gw_pack_unit_count(pack); i++) {
		code = pack_export_unit(exporter, state, file, pack, i, buffer, out, error);
		tool_progress_add(progress, gw_pack_unit(pack, i).size_bytes);
	}
	if (code == GW_OK)
		code = exporter->finish(state, out, error);
	exporter->end(state);
	free(buffer);
	return code;
}
