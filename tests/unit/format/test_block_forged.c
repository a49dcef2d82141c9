/* SPDX-License-Identifier: MIT */
/* Stored blocks with one flaw each, and what is only just none; and every cut and flipped byte. */
#include <stdlib.h>
#include <string.h>

#include "format/block.h"
#include "format/dtype.h"
#include "tests/support/fixture.h"

#define MOST_BYTES 64

struct forgery {
	const char *flaw;
	unsigned dtype;
	size_t raw_bytes;
	int code;
	uint64_t offset; /* that the error names */
	size_t bytes;
	uint8_t stored[MOST_BYTES];
};

/* clang-format off */
#define MAGIC 0x28, 0xb5, 0x2f, 0xfd
/* the last block of a frame: one byte, n times; stored as it is, n bytes; n is less than 32 << 8 */
#define RLE(n, byte) ((n) << 3 | 3) & 0xff, (n) >> 5, 0, byte
#define PLAIN(n) ((n) << 3 | 1) & 0xff, (n) >> 5, 0
/* header of a plane of so many stored bytes */
#define PLANE(kind, n) kind, (n) & 0xff, (n) >> 8, 0, 0
/* 64 times 7 in 10 bytes */
#define SEVENS MAGIC, 0x20, 64, RLE(64, 7)
#define TEN 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
#define FIFTEEN TEN, 0, 1, 2, 3, 4
#define BYTES(...) sizeof((const uint8_t[]){ __VA_ARGS__ }), { __VA_ARGS__ }
#define OK(flaw, dtype, raw_bytes, ...) \
	{ flaw, dtype, raw_bytes, 0, GW_NO_OFFSET, BYTES(__VA_ARGS__) }
#define BAD(flaw, dtype, raw_bytes, offset, ...) \
	{ flaw, dtype, raw_bytes, GW_E_BLOCK_CODE, offset, BYTES(__VA_ARGS__) }

static const struct forgery forgeries[] = {
	/* the block */
	{ "empty", GW_I8, 64, GW_E_BLOCK_CODE, 0, 0, { 0 } },
	BAD("mode 3", GW_I8, 64, 0, 3, PLANE(1, 1), 7),
	BAD("mode 255", GW_F32, 4, 0, 255),
	BAD("mode 2", GW_F32, 64, 0, 2, PLANE(1, 1), PLANE(1, 1), PLANE(1, 1), PLANE(1, 1), 7, 7, 7, 7),
	OK("raw", GW_I8, 4, 0, 1, 2, 3, 4),
	BAD("raw, short", GW_I8, 4, 0, 0, 1, 2, 3),
	BAD("raw, long", GW_I8, 4, 0, 0, 1, 2, 3, 4, 5),
	BAD("raw, nothing", GW_I8, 4, 0, 0),
	OK("constant", GW_I8, 7, 1, PLANE(1, 1), 7),
	BAD("coded, and longer than raw", GW_I8, 6, 0, 1, PLANE(1, 1), 7),
	/* its planes */
	BAD("no header", GW_I8, 64, 1, 1),
	BAD("header cut", GW_I8, 64, 5, 1, 1, 1, 0, 0),
	BAD("second header cut", GW_BF16, 64, 6, 1, PLANE(1, 1)),
	BAD("kind 4", GW_I8, 64, 1, 1, PLANE(4, 1), 7),
	BAD("second plane of kind 255", GW_BF16, 64, 6, 1, PLANE(1, 1), PLANE(255, 1), 7, 7),
	BAD("constant, no byte", GW_I8, 64, 1, 1, PLANE(1, 0)),
	BAD("constant, two bytes", GW_I8, 64, 1, 1, PLANE(1, 2), 7, 7),
	BAD("constant, not there", GW_I8, 64, 6, 1, PLANE(1, 1)),
	OK("raw plane", GW_BF16, 30, 1, PLANE(0, 15), PLANE(1, 1), FIFTEEN, 7),
	BAD("raw plane, short", GW_BF16, 30, 1, 1, PLANE(0, 14), PLANE(1, 1), TEN, 0, 1, 2, 3, 7),
	BAD("raw plane, long", GW_BF16, 30, 1, 1, PLANE(0, 16), PLANE(1, 1), FIFTEEN, 5, 7),
	BAD("raw plane, cut", GW_BF16, 30, 11, 1, PLANE(0, 15), PLANE(1, 1), TEN),
	BAD("second plane cut", GW_BF16, 64, 12, 1, PLANE(1, 1), PLANE(1, 1), 7),
	BAD("a byte after the planes", GW_I8, 64, 7, 1, PLANE(1, 1), 7, 0),
	BAD("size of 2^32 - 1", GW_I8, 64, 1, 1, 2, 255, 255, 255, 255, 7),
	BAD("coded, and not smaller", GW_BF16, 20, 1, 1, PLANE(2, 10), PLANE(1, 1), 7),
	/* a frame's header */
	OK("frame", GW_I8, 64, 1, PLANE(2, 10), SEVENS),
	BAD("magic of a skippable frame", GW_I8, 64, 6, 1, PLANE(2, 10), 0x50, 0x2a, 0x4d, 0x18,
	    2, 0, 0, 0, 7, 7),
	BAD("magic of zstd 0.7", GW_I8, 64, 6, 1, PLANE(2, 10), 0x27, 0xb5, 0x2f, 0xfd, 0x20, 64,
	    RLE(64, 7)),
	BAD("frame of no byte", GW_I8, 64, 6, 1, PLANE(2, 0)),
	BAD("frame of a magic number", GW_I8, 64, 6, 1, PLANE(2, 4), MAGIC),
	BAD("frame that ends in its header", GW_I8, 64, 6, 1, PLANE(2, 5), MAGIC, 0x20),
	BAD("checksum", GW_I8, 64, 6, 1, PLANE(2, 14), MAGIC, 0x24, 64, RLE(64, 7), 0, 0, 0, 0),
	BAD("dictionary", GW_I8, 64, 6, 1, PLANE(2, 11), MAGIC, 0x21, 9, 64, RLE(64, 7)),
	BAD("dictionary 0", GW_I8, 64, 6, 1, PLANE(2, 14), MAGIC, 0x23, 0, 0, 0, 0, 64, RLE(64, 7)),
	BAD("reserved bit", GW_I8, 64, 6, 1, PLANE(2, 10), MAGIC, 0x28, 64, RLE(64, 7)),
	BAD("unused bit", GW_I8, 64, 6, 1, PLANE(2, 10), MAGIC, 0x30, 64, RLE(64, 7)),
	BAD("window of 1 KiB, no size", GW_I8, 64, 6, 1, PLANE(2, 10), MAGIC, 0, 0, RLE(64, 7)),
	BAD("window of 2 GiB", GW_I8, 300, 6, 1, PLANE(2, 12), MAGIC, 0x40, 0xa8, 44, 0,
	    RLE(300, 7)),
	BAD("declares less", GW_I8, 64, 6, 1, PLANE(2, 10), MAGIC, 0x20, 63, RLE(63, 7)),
	BAD("declares more", GW_I8, 64, 6, 1, PLANE(2, 10), MAGIC, 0x20, 65, RLE(65, 7)),
	OK("300 in two bytes", GW_I8, 300, 1, PLANE(2, 11), MAGIC, 0x60, 44, 0, RLE(300, 7)),
	BAD("300 in four", GW_I8, 300, 6, 1, PLANE(2, 13), MAGIC, 0xa0, 44, 1, 0, 0, RLE(300, 7)),
	BAD("300 in eight", GW_I8, 300, 6, 1, PLANE(2, 17), MAGIC, 0xe0, 44, 1, 0, 0, 0, 0, 0, 0,
	    RLE(300, 7)),
	/* and the rest of it */
	BAD("decodes to less", GW_I8, 64, 6, 1, PLANE(2, 10), MAGIC, 0x20, 64, RLE(63, 7)),
	BAD("decodes to more", GW_I8, 64, 6, 1, PLANE(2, 10), MAGIC, 0x20, 64, RLE(65, 7)),
	BAD("decodes to nothing", GW_I8, 64, 6, 1, PLANE(2, 9), MAGIC, 0x20, 64, PLAIN(0)),
	BAD("has no block", GW_I8, 64, 6, 1, PLANE(2, 6), MAGIC, 0x20, 64),
	BAD("has no last block", GW_I8, 64, 6, 1, PLANE(2, 10), MAGIC, 0x20, 64, 2, 2, 0, 7),
	BAD("block of the reserved type", GW_I8, 64, 6, 1, PLANE(2, 10), MAGIC, 0x20, 64, 7, 2, 0, 7),
	BAD("a byte after the frame", GW_I8, 64, 6, 1, PLANE(2, 11), SEVENS, 0),
	BAD("an empty frame after it", GW_I8, 64, 6, 1, PLANE(2, 19), SEVENS, MAGIC, 0x20, 0,
	    PLAIN(0)),
	BAD("a skippable frame after it", GW_I8, 64, 6, 1, PLANE(2, 18), SEVENS, 0x50, 0x2a, 0x4d,
	    0x18, 0, 0, 0, 0),
	BAD("frame cut", GW_I8, 64, 6, 1, PLANE(2, 9), MAGIC, 0x20, 64, 3, 2, 0),
	OK("12287 from 11 bytes", GW_I8, 12287, 1, PLANE(2, 11), MAGIC, 0x60, 0xff, 0x2e, 0xfb, 0x7f,
	   1, 7),
	BAD("12288 from 11 bytes", GW_I8, 12288, 6, 1, PLANE(2, 11), MAGIC, 0x60, 0, 0x2f, 3, 0x80,
	    1, 7),
	BAD("262144 from 17 bytes", GW_I8, 262144, 6, 1, PLANE(2, 17), MAGIC, 0xa0, 0, 0, 4, 0,
	    2, 0, 16, 7, 3, 0, 16, 7),
	/* differences */
	OK("distance 64 of 65", GW_I8, 65, 1, PLANE(3, 14), 64, 0, 0, 0, MAGIC, 0x20, 65, RLE(65, 7)),
	BAD("distance 65 of 65", GW_I8, 65, 6, 1, PLANE(3, 14), 65, 0, 0, 0, MAGIC, 0x20, 65,
	    RLE(65, 7)),
	BAD("distance 63", GW_I8, 65, 6, 1, PLANE(3, 14), 63, 0, 0, 0, MAGIC, 0x20, 65, RLE(65, 7)),
	BAD("distance 0", GW_I8, 65, 6, 1, PLANE(3, 14), 0, 0, 0, 0, MAGIC, 0x20, 65, RLE(65, 7)),
	BAD("distance 2^32 - 1", GW_I8, 65, 6, 1, PLANE(3, 14), 255, 255, 255, 255, MAGIC, 0x20, 65,
	    RLE(65, 7)),
	BAD("distance cut", GW_I8, 65, 6, 1, PLANE(3, 3), 64, 0, 0),
	BAD("distance and no frame", GW_I8, 65, 6, 1, PLANE(3, 4), 64, 0, 0, 0),
};
/* clang-format on */

static struct gw_block_decoder *decoder;
static struct gw_error error;

static void setup(void)
{
	error = (struct gw_error)GW_ERROR_INIT;
	ck_assert_code(error, gw_block_decoder_new(&gw_zstd_linked, &decoder, &error), 0);
}

static void teardown(void)
{
	gw_block_decoder_free(decoder);
}

/* Decodes from a buffer of exactly this size, so that a sanitizer sees a read past it. */
static int decode(unsigned dtype, const uint8_t *stored, size_t bytes, size_t raw_bytes)
{
	uint8_t *exact = malloc(bytes + !bytes), *out = malloc(raw_bytes);
	uint64_t digest = 99;
	int r, far;

	ck_assert(exact != NULL && out != NULL);
	memcpy(exact, stored, bytes);
	r = gw_block_decode(decoder, dtype, exact, bytes, out, raw_bytes, &error);
	far = gw_block_decode_far(decoder, dtype, exact, bytes, out, raw_bytes, &digest, &error);
	ck_assert_int_eq(far, r);
	if (r)
		ck_assert_uint_eq(digest, 99);
	free(exact);
	free(out);
	return r;
}

START_TEST(each_flaw_is_refused)
{
	const struct forgery *forgery = &forgeries[_i];
	int r = decode(forgery->dtype, forgery->stored, forgery->bytes, forgery->raw_bytes);

	ck_assert_msg(r == forgery->code, "%s: %d: %s", forgery->flaw, r, error.message);
	ck_assert_msg(error.offset == forgery->offset, "%s: offset %lld, %s", forgery->flaw,
		      (long long)error.offset, error.message);
}
END_TEST

/* A block as the encoder makes it, of small numbers. */
static size_t encode(unsigned dtype, size_t raw_bytes, uint8_t *out, size_t room)
{
	struct gw_block_encoder *encoder;
	uint8_t *raw = malloc(raw_bytes);
	size_t bytes = 0;

	ck_assert_ptr_nonnull(raw);
	for (size_t i = 0; i < raw_bytes; i++)
		raw[i] = (uint8_t)(i * i * i >> 7) & 0x0f;
	ck_assert_code(error, gw_block_encoder_new(1, &encoder, &error), 0);
	ck_assert_code(error,
		       gw_block_encode(encoder, dtype, 0, raw, raw_bytes, out, room, &bytes, &error),
		       0);
	gw_block_encoder_free(encoder);
	free(raw);
	return bytes;
}

START_TEST(every_cut_and_flip_is_survived)
{
	static const unsigned dtypes[] = { GW_F32, GW_BF16, GW_I8 };
	uint8_t stored[GW_BLOCK_BOUND(2048)];
	size_t bytes = encode(dtypes[_i], 2048, stored, sizeof stored);
	unsigned n_refused = 0;

	ck_assert_int_eq(decode(dtypes[_i], stored, bytes, 2048), 0);
	for (size_t cut = 0; cut < bytes; cut++)
		ck_assert_int_eq(decode(dtypes[_i], stored, cut, 2048), GW_E_BLOCK_CODE);
	for (size_t i = 0; i < 8 * bytes; i++) {
		int r;

		stored[i / 8] ^= (uint8_t)(1u << i % 8);
		r = decode(dtypes[_i], stored, bytes, 2048);
		ck_assert(r == 0 || r == GW_E_BLOCK_CODE);
		n_refused += r != 0;
		stored[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	ck_assert_uint_gt(n_refused, 100);
}
END_TEST

START_TEST(any_other_size_is_refused)
{
	uint8_t stored[GW_BLOCK_BOUND(2048)];
	size_t bytes = encode(GW_BF16, 2048, stored, sizeof stored);

	for (size_t raw_bytes = 2; raw_bytes < 6000; raw_bytes += 2)
		ck_assert_int_eq(decode(GW_BF16, stored, bytes, raw_bytes),
				 raw_bytes == 2048 ? 0 : GW_E_BLOCK_CODE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("block_forged");
	TCase *tcase = fixture_case(suite, "block_forged");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, each_flaw_is_refused, 0,
			    sizeof forgeries / sizeof forgeries[0]);
	tcase_add_loop_test(tcase, every_cut_and_flip_is_survived, 0, 3);
	tcase_add_test(tcase, any_other_size_is_refused);
	return fixture_main(suite);
}
