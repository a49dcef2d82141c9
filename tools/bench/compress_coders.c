/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "format/block.h"
#include "format/dtype.h"
#include "tools/bench/compress.h"

struct planes {
	struct gw_block_encoder *encoder;
	struct gw_block_decoder *decoder;
};

static void planes_end(void *state)
{
	struct planes *planes = state;

	if (!planes)
		return;
	gw_block_encoder_free(planes->encoder);
	gw_block_decoder_free(planes->decoder);
	free(planes);
}

static void *planes_start(void)
{
	struct planes *planes = calloc(1, sizeof *planes);

	if (!planes || gw_block_encoder_new(GW_BLOCK_LEVEL, &planes->encoder, NULL) ||
	    gw_block_decoder_new(&gw_zstd_linked, &planes->decoder, NULL)) {
		planes_end(planes);
		return NULL;
	}
	return planes;
}

static size_t planes_encode(void *state, unsigned dtype, const uint8_t *raw, size_t bytes,
			    uint8_t *out, size_t room)
{
	struct planes *planes = state;
	size_t n;

	return gw_block_encode(planes->encoder, dtype, ROW_ELEMENTS * gw_block_width(dtype), raw,
			       bytes, out, room, &n, NULL)
		       ? 0
		       : n;
}

static size_t planes_decode(void *state, unsigned dtype, const uint8_t *stored, size_t stored_bytes,
			    uint8_t *out, size_t bytes)
{
	struct planes *planes = state;

	return gw_block_decode_far(planes->decoder, dtype, stored, stored_bytes, out, bytes, NULL,
				   NULL)
		       ? 0
		       : bytes;
}

struct plain {
	ZSTD_CCtx *encoder;
	ZSTD_DCtx *decoder;
	uint8_t shuffled[GW_BLOCK_BYTES];
};

static void plain_end(void *state)
{
	struct plain *plain = state;

	if (!plain)
		return;
	ZSTD_freeCCtx(plain->encoder);
	ZSTD_freeDCtx(plain->decoder);
	free(plain);
}

static void *plain_start(void)
{
	struct plain *plain = calloc(1, sizeof *plain);

	if (!plain)
		return NULL;
	plain->encoder = ZSTD_createCCtx();
	plain->decoder = ZSTD_createDCtx();
	if (!plain->encoder || !plain->decoder) {
		plain_end(plain);
		return NULL;
	}
	return plain;
}

static size_t plain_encode(void *state, unsigned dtype, const uint8_t *raw, size_t bytes,
			   uint8_t *out, size_t room)
{
	struct plain *plain = state;
	size_t n = ZSTD_compressCCtx(plain->encoder, out, room, raw, bytes, 3);

	(void)dtype;
	return ZSTD_isError(n) ? 0 : n;
}

static size_t plain_decode(void *state, unsigned dtype, const uint8_t *stored, size_t stored_bytes,
			   uint8_t *out, size_t bytes)
{
	struct plain *plain = state;
	size_t n = ZSTD_decompressDCtx(plain->decoder, out, bytes, stored, stored_bytes);

	(void)dtype;
	return ZSTD_isError(n) ? 0 : n;
}

/* Level 1: of the planes' statistics higher ones make less, and are slower to decode. */
static size_t shuffled_encode(void *state, unsigned dtype, const uint8_t *raw, size_t bytes,
			      uint8_t *out, size_t room)
{
	struct plain *plain = state;
	size_t width = gw_block_width(dtype), n = bytes / width;

	for (size_t p = 0; p < width; p++)
		for (size_t i = 0; i < n; i++)
			plain->shuffled[p * n + i] = raw[i * width + p];
	n = ZSTD_compressCCtx(plain->encoder, out, room, plain->shuffled, bytes, 1);
	return ZSTD_isError(n) ? 0 : n;
}

/* In loops that compilers vectorise, so that the coder beside it is a fair one. */
static void unshuffle4(const uint8_t *restrict in, uint8_t *restrict out, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t bits = in[i] | (uint32_t)in[n + i] << 8 | (uint32_t)in[2 * n + i] << 16 |
				(uint32_t)in[3 * n + i] << 24;

		memcpy(out + 4 * i, &bits, 4);
	}
}

static void unshuffle2(const uint8_t *restrict in, uint8_t *restrict out, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint16_t bits = (uint16_t)(in[i] | in[n + i] << 8);

		memcpy(out + 2 * i, &bits, 2);
	}
}

static size_t shuffled_decode(void *state, unsigned dtype, const uint8_t *stored,
			      size_t stored_bytes, uint8_t *out, size_t bytes)
{
	struct plain *plain = state;
	unsigned width = gw_block_width(dtype);
	uint8_t *to = width == 1 ? out : plain->shuffled;
	size_t n = ZSTD_decompressDCtx(plain->decoder, to, bytes, stored, stored_bytes);

	if (ZSTD_isError(n))
		return 0;
	if (width == 4)
		unshuffle4(plain->shuffled, out, bytes / 4);
	else if (width == 2)
		unshuffle2(plain->shuffled, out, bytes / 2);
	return n;
}

static void *copy_start(void)
{
	return malloc(1);
}

static size_t copy(void *state, unsigned dtype, const uint8_t *raw, size_t bytes, uint8_t *out,
		   size_t room)
{
	(void)state;
	(void)dtype;
	(void)room;
	memcpy(out, raw, bytes);
	return bytes;
}

const struct bench_coder bench_coders[BENCH_N_CODERS] = {
	[BENCH_PLANES] = { "gpt2w planes", planes_start, planes_end, planes_encode, planes_decode },
	[BENCH_ZSTD] = { "zstd -3", plain_start, plain_end, plain_encode, plain_decode },
	[BENCH_SHUFFLED] = { "shuffled zstd -1", plain_start, plain_end, shuffled_encode,
			     shuffled_decode },
	[BENCH_MEMCPY] = { "memcpy", copy_start, free, copy, copy },
};
