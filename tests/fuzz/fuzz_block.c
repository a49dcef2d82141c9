/* SPDX-License-Identifier: MIT */
/*
 * Stored blocks. The first byte chooses the dtype, the next three the raw size; the rest is the block.
 * Whatever is decoded is so alike in both ways, comes back when it is encoded anew, and is refused
 * with one code if at all. The rest is taken for raw bytes, too.
 */
#include <stdlib.h>
#include <string.h>

#include "format/block.h"
#include "format/bytes.h"
#include "format/digest.h"
#include "format/dtype.h"
#include "tests/fuzz/fuzz.h"

#define HEAD_BYTES 4

static struct gw_block_encoder *encoder;
static struct gw_block_decoder *decoder;
static _Alignas(64) uint8_t near_raw[GW_BLOCK_BYTES], far_raw[GW_BLOCK_BYTES];
static uint8_t stored_again[GW_BLOCK_BOUND(GW_BLOCK_BYTES)];

static void start(void)
{
	if (encoder)
		return;
	FUZZ_CHECK(gw_block_encoder_new(1, &encoder, NULL) == 0);
	FUZZ_CHECK(gw_block_decoder_new(&gw_zstd_linked, &decoder, NULL) == 0);
}

/* What raw is encoded to has the promised size and decodes to raw. */
static void check_round_trip(unsigned dtype, const uint8_t *raw, size_t raw_bytes)
{
	size_t bytes;

	FUZZ_CHECK(gw_block_encode(encoder, dtype, raw_bytes / 3, raw, raw_bytes, stored_again,
				   sizeof stored_again, &bytes, NULL) == 0);
	FUZZ_CHECK(bytes <= GW_BLOCK_BOUND(raw_bytes));
	FUZZ_CHECK(gw_block_decode(decoder, dtype, stored_again, bytes, far_raw, raw_bytes, NULL) ==
		   0);
	FUZZ_CHECK(memcmp(far_raw, raw, raw_bytes) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct gw_bytes window = gw_bytes_read(data, bytes);
	unsigned dtype = GW_F32 + gw_get_u8(&window, 0) % 4;
	size_t width = gw_block_width(dtype);
	size_t raw_bytes = (gw_get(&window, 1, 3) % GW_BLOCK_BYTES / width + 1) * width;
	struct gw_error error = GW_ERROR_INIT;
	uint64_t digest = 0;
	size_t left;
	int near, far;

	if (bytes < HEAD_BYTES || raw_bytes > GW_BLOCK_BYTES)
		return 0;
	start();
	left = bytes - HEAD_BYTES;
	near = gw_block_decode(decoder, dtype, data + HEAD_BYTES, left, near_raw, raw_bytes,
			       &error);
	far = gw_block_decode_far(decoder, dtype, data + HEAD_BYTES, left, far_raw, raw_bytes,
				  &digest, NULL);
	FUZZ_CHECK(near == far);
	if (near) {
		fuzz_check_error(near, &error);
		FUZZ_CHECK(near == GW_E_BLOCK_CODE && error.offset <= left);
	} else {
		FUZZ_CHECK(memcmp(near_raw, far_raw, raw_bytes) == 0);
		FUZZ_CHECK(digest == gw_hash64(near_raw, raw_bytes));
		check_round_trip(dtype, near_raw, raw_bytes);
	}
	left -= left % width;
	if (left && left <= GW_BLOCK_BYTES)
		check_round_trip(dtype, data + HEAD_BYTES, left);
	return 0;
}

/* Every fourth mutant becomes what the encoder makes of it, so that frames are whole. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t room_bytes, unsigned seed)
{
	size_t n = LLVMFuzzerMutate(data, bytes, room_bytes), width, raw_bytes, stored_bytes;
	struct gw_bytes window = gw_bytes_write(data, n);
	unsigned dtype;

	if (seed % 4 || n <= HEAD_BYTES + 4 || n - HEAD_BYTES > GW_BLOCK_BYTES)
		return n;
	start();
	dtype = GW_F32 + data[0] % 4;
	width = gw_block_width(dtype);
	raw_bytes = (n - HEAD_BYTES) / width * width;
	FUZZ_CHECK(gw_block_encode(encoder, dtype, raw_bytes / 3, data + HEAD_BYTES, raw_bytes,
				   stored_again, sizeof stored_again, &stored_bytes, NULL) == 0);
	if (stored_bytes > room_bytes - HEAD_BYTES)
		return n;
	gw_put(&window, 1, raw_bytes - width, 3);
	memcpy(data + HEAD_BYTES, stored_again, stored_bytes);
	return HEAD_BYTES + stored_bytes;
}
