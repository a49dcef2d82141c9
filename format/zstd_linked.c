/* SPDX-License-Identifier: MIT */
#include "format/zstd.h"

#include <zstd.h>

static void *create_dctx(void)
{
	return ZSTD_createDCtx();
}

static size_t free_dctx(void *dctx)
{
	return ZSTD_freeDCtx(dctx);
}

static size_t decompress_dctx(void *dctx, void *out, size_t room, const void *in, size_t n)
{
	return ZSTD_decompressDCtx(dctx, out, room, in, n);
}

const struct gw_zstd gw_zstd_linked = {
	.version_number = ZSTD_versionNumber,
	.create_dctx = create_dctx,
	.free_dctx = free_dctx,
	.decompress_dctx = decompress_dctx,
	.find_frame_compressed_size = ZSTD_findFrameCompressedSize,
	.is_error = ZSTD_isError,
	.get_error_name = ZSTD_getErrorName,
};
