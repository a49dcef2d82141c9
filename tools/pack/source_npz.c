/* SPDX-License-Identifier: MIT */
/* NumPy's .npz: a zip archive of .npy files, stored or deflated, each the tensor of its name. */
#include <stdlib.h>
#include <string.h>

#include "tools/pack/archive.h"
#include "tools/pack/array.h"
#include "tools/pack/limits.h"
#include "tools/pack/spool.h"

#define PACK_NPY_ENDING ".npy"
#define PACK_NPY_ENDING_BYTES 4

struct pack_npz {
	struct pack_zip *zip;
	struct pack_array *arrays; /* of zip->members, in their order */
	uint64_t current;          /* the member that the rest is about */
	struct pack_transpose *transpose;
	struct pack_zip_stream *stream;
	struct pack_spool *spool; /* the member inflated, if it is needed in another order */
};

static bool pack_npz_is_array(const char *name)
{
	size_t n = strlen(name);

	return n > PACK_NPY_ENDING_BYTES &&
	       strcmp(name + n - PACK_NPY_ENDING_BYTES, PACK_NPY_ENDING) == 0;
}

bool pack_npz_takes(const struct pack_zip *zip)
{
	for (size_t i = 0; i < zip->n; i++) {
		if (!pack_npz_is_array(zip->members[i].name))
			return false;
	}
	return zip->n > 0;
}

/* Forgets what was read ahead. */
static void pack_npz_rest(void *state)
{
	struct pack_npz *npz = state;

	pack_transpose_free(npz->transpose);
	pack_zip_stream_free(npz->stream);
	pack_spool_free(npz->spool);
	npz->transpose = NULL;
	npz->stream = NULL;
	npz->spool = NULL;
}

static void pack_npz_select(struct pack_npz *npz, uint64_t member)
{
	if (npz->current == member)
		return;
	pack_npz_rest(npz);
	npz->current = member;
}

/*
 * Inflates the current member into a temporary file, for an array of which a row lies all over it: to
 * inflate it anew for each band of rows would take GPT-2 XL's table half a minute. Its CRC is
 * compared on the way.
 */
static int pack_npz_spool(struct pack_npz *npz, struct gw_error *error)
{
	struct pack_zip_member *member = &npz->zip->members[npz->current];
	struct pack_zip_stream *stream = NULL;
	struct pack_spool *spool = NULL;
	uint8_t *buffer = malloc(PACK_BUFFER_BYTES);
	int code = GW_OK;

	if (!buffer)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	code = pack_zip_stream_new(npz->zip, member, &stream, error);
	if (code == GW_OK)
		code = pack_spool_new(&spool, error);
	for (uint64_t left = member->size_bytes; code == GW_OK && left > 0;) {
		uint64_t n = left < PACK_BUFFER_BYTES ? left : PACK_BUFFER_BYTES;

		code = pack_zip_stream_read(stream, buffer, n, error);
		if (code == GW_OK)
			code = pack_spool_add(spool, buffer, n, error);
		left -= n;
	}
	pack_zip_stream_free(stream);
	free(buffer);
	if (code != GW_OK) {
		pack_spool_free(spool);
		return code;
	}
	member->verified = true;
	npz->spool = spool;
	return GW_OK;
}

/* Data of the current member; a deflated one is begun anew to go back. */
static int pack_npz_bytes(void *context, uint64_t offset, uint64_t n, uint8_t *out,
			  struct gw_error *error)
{
	struct pack_npz *npz = context;
	struct pack_zip_member *member = &npz->zip->members[npz->current];
	int code = GW_OK;

	offset += npz->arrays[npz->current].data_offset;
	if (npz->spool)
		return pack_spool_read(npz->spool, offset, n, out, error);
	if (!member->deflated)
		return pack_file_read(npz->zip->file, out, n, member->offset_bytes + offset, error);
	if (npz->stream && pack_zip_stream_at(npz->stream) > offset) {
		pack_zip_stream_free(npz->stream);
		npz->stream = NULL;
	}
	if (!npz->stream)
		code = pack_zip_stream_new(npz->zip, member, &npz->stream, error);
	if (code == GW_OK)
		code = pack_zip_stream_read(npz->stream, NULL,
					    offset - pack_zip_stream_at(npz->stream), error);
	if (code == GW_OK)
		code = pack_zip_stream_read(npz->stream, out, n, error);
	if (code != GW_OK) { /* of no use any more */
		pack_zip_stream_free(npz->stream);
		npz->stream = NULL;
	}
	return code;
}

static int pack_npz_read(const struct pack_source *source, const struct pack_tensor *tensor,
			 uint64_t offset, uint64_t n, uint8_t *out, struct gw_error *error)
{
	struct pack_npz *npz = source->state;
	struct pack_zip_member *member = &npz->zip->members[tensor->detail];
	const struct pack_array *array = &npz->arrays[tensor->detail];
	int code = GW_OK;

	pack_npz_select(npz, tensor->detail);
	/* what fits one band is inflated from its beginning to its end, once */
	if (!npz->spool && member->deflated && array->is_fortran &&
	    array->data_bytes > PACK_BAND_BYTES)
		code = pack_npz_spool(npz, error);
	else
		code = pack_zip_verify(npz->zip, member, error);
	if (code != GW_OK)
		return code;
	return pack_transpose_read(&npz->transpose, array, pack_npz_bytes,
				   npz, offset, n, out, error);
}

static void pack_npz_close(void *state)
{
	struct pack_npz *npz = state;

	pack_npz_rest(npz);
	pack_zip_free(npz->zip);
	free(npz->arrays);
	free(npz);
}

static const struct pack_reader pack_npz_reader = {
	.read = pack_npz_read,
	.close = pack_npz_close,
	.rest = pack_npz_rest,
};

/* The header of a member, its messages with the names of file and member. */
static int pack_npz_parse(struct pack_zip *zip, struct pack_zip_member *member,
			  struct pack_array *out, struct gw_error *error)
{
	uint8_t head[PACK_ARRAY_HEAD_BYTES];
	uint64_t n = member->size_bytes < sizeof head ? member->size_bytes : sizeof head;
	struct gw_error inner = GW_ERROR_INIT;
	struct pack_zip_stream *stream = NULL;
	char quoted[128], quoted_file[96];
	int code = pack_zip_stream_new(zip, member, &stream, error);

	if (code == GW_OK)
		code = pack_zip_stream_read(stream, head, n, error);
	pack_zip_stream_free(stream);
	if (code != GW_OK)
		return code;
	code = pack_array_parse(head, n, member->size_bytes, out, &inner);
	return code == GW_OK ?
		       GW_OK :
		       gw_fail(error, code, member->offset_bytes, "%s: \"%s\": %s",
			       gw_quote(zip->file->name, strlen(zip->file->name), quoted_file,
					sizeof quoted_file),
			       gw_quote(member->name, strlen(member->name), quoted, sizeof quoted),
			       inner.message);
}

static int pack_npz_list(const struct pack_npz *npz, size_t i, struct pack_source *source,
			 struct gw_error *error)
{
	struct pack_zip_member *member = &npz->zip->members[i];
	struct pack_tensor tensor = pack_array_tensor(&npz->arrays[i]);
	int code;

	tensor.name = strndup(member->name, strlen(member->name) - PACK_NPY_ENDING_BYTES);
	if (!tensor.name)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	tensor.canonical = pack_array_canonical(tensor.name);
	/* all of a member is compared with its CRC before any of it counts, also if it is stored */
	tensor.encoded = true;
	tensor.onwards = tensor.onwards || member->deflated;
	tensor.offset_bytes = member->offset_bytes;
	tensor.detail = i;
	code = pack_list_add(&source->tensors, &tensor, error);
	free(tensor.name);
	return code;
}

int pack_npz_open(struct pack_zip *zip, struct pack_source *source, struct gw_error *error)
{
	struct pack_npz *npz = calloc(1, sizeof *npz);
	int code = GW_OK;

	if (!npz) {
		pack_zip_free(zip);
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	}
	npz->zip = zip;
	npz->current = UINT64_MAX;
	source->format = "npz";
	source->state = npz;
	source->reader = &pack_npz_reader;
	source->held_bytes = zip->held_bytes + zip->n * sizeof *npz->arrays;
	npz->arrays = calloc(zip->n, sizeof *npz->arrays);
	if (!npz->arrays)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	for (size_t i = 0; code == GW_OK && i < zip->n; i++) {
		code = pack_npz_parse(zip, &zip->members[i], &npz->arrays[i], error);
		if (code == GW_OK)
			code = pack_npz_list(npz, i, source, error);
	}
	return code;
}
