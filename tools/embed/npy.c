/* SPDX-License-Identifier: MIT */
#include "tools/embed/npy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "format/bytes.h"
#include "format/checked.h"
#include "tools/common/npy.h"

/* What the dictionary says, as a layout. */
static int embed_npy_layout(const struct tool_npy *npy, uint64_t offset, struct embed_layout *out,
			    struct gw_error *error)
{
	const char *descr = npy->descr;
	uint64_t count = 1;
	char quoted[64];

	if (npy->descr_bytes != 3 || (descr[0] != '<' && descr[0] != '>') || descr[1] != 'i' ||
	    (descr[2] != '4' && descr[2] != '8'))
		return gw_fail(error, EMBED_E_KIND, offset,
			       ".npy: elements of type \"%s\"; ids are int32 or int64: "
			       "array.astype(\"int32\")",
			       gw_quote(descr, npy->descr_bytes, quoted, sizeof quoted));
	if (npy->rank != 1 && npy->rank != 2)
		return gw_fail(error, EMBED_E_KIND, offset,
			       ".npy: %u dimensions; ids have one, or two: [batch, seq]",
			       npy->rank);
	for (unsigned i = 0; i < npy->rank; i++)
		if (!gw_mul(count, npy->shape[i], &count))
			count = UINT64_MAX;
	if (count == 0 || count > EMBED_MAX_IDS)
		return gw_fail(error, EMBED_E_COUNT, offset,
			       ".npy: the shape has %s ids; from 1 to %" PRIu64
			       " are taken at once",
			       count ? "too many" : "no", EMBED_MAX_IDS);
	*out = (struct embed_layout) {
		.width_bytes = (unsigned)(descr[2] - '0'),
		.is_signed = true,
		.is_big_endian = descr[0] == '>',
		.is_fortran = npy->is_fortran && npy->rank == 2,
		.count = count,
		.batch = npy->rank == 2 ? npy->shape[0] : 0,
		.seq = npy->rank == 2 ? npy->shape[1] : 0,
	};
	return 0;
}

/* A failure of the shared reader, as this one's. */
static int embed_npy_code(int ret, struct gw_error *error)
{
	int code = ret == GW_E_SOURCE ? EMBED_E_NPY : ret == GW_E_SOURCE_KIND ? EMBED_E_KIND : ret;

	if (ret && error)
		error->code = code;
	return code;
}

/* Takes magic, version and length; *out_bytes is the length of the dictionary. */
static int embed_npy_preamble(struct embed_source *source, uint32_t *out_bytes,
			      struct gw_error *error)
{
	const uint8_t *data;
	unsigned preamble_bytes = 0;
	size_t n;
	int ret = embed_source_peek(source, TOOL_NPY_MAX_PREAMBLE_BYTES, &data, &n, error);

	if (!ret)
		ret = embed_npy_code(tool_npy_preamble(data, n, &preamble_bytes, out_bytes, error),
				     error);
	if (!ret)
		embed_source_take(source, preamble_bytes);
	return ret;
}

int embed_npy_read_header(struct embed_source *source, struct embed_layout *out,
			  struct gw_error *error)
{
	char text[TOOL_NPY_MAX_HEADER_BYTES];
	struct tool_npy npy = { 0 };
	struct embed_layout layout;
	const uint8_t *data;
	uint32_t header_bytes = 0;
	uint64_t rest_bytes, offset;
	size_t n = 0;
	int ret = embed_npy_preamble(source, &header_bytes, error);

	if (!ret)
		ret = embed_source_peek(source, header_bytes, &data, &n, error);
	if (ret)
		return ret;
	offset = source->taken_bytes;
	if (n < header_bytes)
		return gw_fail(error, EMBED_E_NPY, offset + n,
			       ".npy header: cut off at byte %" PRIu64, offset + n);
	memcpy(text, data, n);
	embed_source_take(source, n);
	ret = embed_npy_code(tool_npy_parse(text, n, offset, &npy, error), error);
	if (!ret)
		ret = embed_npy_layout(&npy, offset, &layout, error);
	if (ret)
		return ret;
	rest_bytes = source->size_bytes - source->taken_bytes;
	if (source->is_regular && rest_bytes != layout.count * layout.width_bytes)
		return gw_fail(error, EMBED_E_SIZE, source->taken_bytes,
			       ".npy: %" PRIu64 " bytes after the header instead of %" PRIu64
			       " (%" PRIu64 " ids of %u bytes)",
			       rest_bytes, layout.count * layout.width_bytes, layout.count,
			       layout.width_bytes);
	*out = layout;
	return 0;
}

void embed_npy_write_header(uint64_t batch, uint64_t seq, uint64_t n_embd,
			    uint8_t out[EMBED_NPY_OUT_BYTES])
{
	struct gw_bytes bytes = gw_bytes_write(out, EMBED_NPY_OUT_BYTES);
	char text[EMBED_NPY_OUT_BYTES - 10 + 1];
	int n = snprintf(text, sizeof text,
			 "{'descr': '<f4', 'fortran_order': False, 'shape': (%" PRIu64 ", %" PRIu64
			 ", %" PRIu64 "), }",
			 batch, seq, n_embd);

	memset(out, ' ', EMBED_NPY_OUT_BYTES);
	gw_put_bytes(&bytes, 0, TOOL_NPY_MAGIC "\x01", TOOL_NPY_MAGIC_BYTES + 2);
	gw_put_u16(&bytes, 8, EMBED_NPY_OUT_BYTES - 10);
	gw_put_bytes(&bytes, 10, text, (uint64_t)n);
	gw_put_u8(&bytes, EMBED_NPY_OUT_BYTES - 1, '\n');
}
