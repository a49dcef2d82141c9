/* SPDX-License-Identifier: MIT */
#include "tools/pack/compare.h"

#include <stdlib.h>
#include <string.h>

#include "tools/pack/limits.h"
#include "tools/pack/spool.h"

struct pack_compare {
	const struct pack_source *source;
	const struct pack_tensor *left, *right;
	struct pack_spool *spool; /* left's values; NULL: they are read where they are */
	uint8_t *bytes[2];
};

static uint64_t pack_compare_step(const struct pack_compare *compare, uint64_t at)
{
	uint64_t left = compare->left->size_bytes - at;

	return left < PACK_BUFFER_BYTES ? left : PACK_BUFFER_BYTES;
}

static int pack_compare_spool(struct pack_compare *compare, struct gw_error *error)
{
	uint64_t n = 0;
	int code = pack_spool_new(&compare->spool, error);

	for (uint64_t at = 0; code == GW_OK && at < compare->left->size_bytes; at += n) {
		n = pack_compare_step(compare, at);
		code = pack_source_read(compare->source, compare->left, at, n, compare->bytes[0],
					error);
		if (code == GW_OK)
			code = pack_spool_add(compare->spool, compare->bytes[0], n, error);
	}
	return code;
}

static int pack_compare_values(const struct pack_compare *compare, bool *out_equal,
			       struct gw_error *error)
{
	bool equal = true;
	uint64_t n = 0;

	for (uint64_t at = 0; equal && at < compare->left->size_bytes; at += n) {
		int code;

		n = pack_compare_step(compare, at);
		code = compare->spool ? pack_spool_read(compare->spool, at, n, compare->bytes[0],
							error) :
					pack_source_read(compare->source, compare->left, at, n,
							 compare->bytes[0], error);
		if (code == GW_OK)
			code = pack_source_read(compare->source, compare->right, at, n,
						compare->bytes[1], error);
		if (code != GW_OK)
			return code;
		equal = memcmp(compare->bytes[0], compare->bytes[1], n) == 0;
	}
	*out_equal = equal;
	return GW_OK;
}

int pack_compare(const struct pack_source *source, const struct pack_tensor *left,
		 const struct pack_tensor *right, bool *out_equal, struct gw_error *error)
{
	struct pack_compare compare = { .source = source, .left = left, .right = right };
	bool onwards = left->onwards || right->onwards;
	int code = GW_OK;

	/* one storage, and no strides that could make a difference */
	if (!onwards && left->file == right->file && left->offset_bytes == right->offset_bytes &&
	    left->element == right->element && left->stored == right->stored) {
		*out_equal = true;
		return GW_OK;
	}
	compare.bytes[0] = malloc(PACK_BUFFER_BYTES);
	compare.bytes[1] = malloc(PACK_BUFFER_BYTES);
	if (!compare.bytes[0] || !compare.bytes[1])
		code = gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	if (code == GW_OK && onwards)
		code = pack_compare_spool(&compare, error);
	if (code == GW_OK)
		code = pack_compare_values(&compare, out_equal, error);
	pack_spool_free(compare.spool);
	free(compare.bytes[0]);
	free(compare.bytes[1]);
	return code;
}
