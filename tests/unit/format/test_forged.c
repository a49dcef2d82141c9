/* SPDX-License-Identifier: MIT */
/*
 * Packs with one flaw each and digests that fit: a digest is no proof, so the rule that the flaw
 * breaks must refuse it, with its own code. The base is three tensors, ascending:
 *
 *   0  a.bias      [10]      f32  12288 to 12328
 *   1  wpe.weight  [5, 24]   f16  16384 to 16704, rows of 48 in 64 bytes
 *   2  wte.weight  [70, 24]  f32  20480 to 29440, rows of 96 in 128 bytes
 *
 * data from 12288, image to 32768. The base of the int8 ones is two tensors:
 *
 *   0  a.weight    [3, 33]   int8 12288 to 12387, scales 12416 to 12428
 *   1  wte.weight  [70, 24]  int8 16384 to 20864, rows of 24 in 64 bytes, scales to 21144
 *
 * data from 12288, image to 24576.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/bytes.h"
#include "format/reader.h"
#include "tests/support/fixture.h"

#define A 0
#define WPE 1
#define WTE 2

struct edit {
	uint64_t offset, bytes, value;
};

struct forgery {
	const char *flaw;
	int code; /* GW_OK: not a flaw */
	struct edit edits[4];
	const char *name; /* new name of tensor n, padded with NUL, if not NULL */
	unsigned n;
};

#define SB(field, value)                                   \
	{                                                  \
		GW_SB_##field, GW_SB_##field##_SIZE, value \
	}
#define ENTRY(i) (GW_DIRECTORY_OFFSET + (i)*GW_ENTRY_BYTES)
#define DE(i, field, value)                                           \
	{                                                             \
		ENTRY(i) + GW_DE_##field, GW_DE_##field##_SIZE, value \
	}
#define DIM(i, d, value)                                   \
	{                                                  \
		ENTRY(i) + GW_DE_SHAPE + 8 * (d), 8, value \
	}
#define AT(offset, value)        \
	{                        \
		offset, 1, value \
	}
#define FLAW(text, expected, ...)                                        \
	{                                                                \
		.flaw = text, .code = expected, .edits = { __VA_ARGS__ } \
	}
#define NAME(text, expected, of_a)                                   \
	{                                                            \
		.flaw = text, .code = expected, .name = of_a, .n = A \
	}
#define BIT(n) (UINT64_C(1) << (n))

static const struct forgery forgeries[] = {
	/* superblock: what must be accepted */
	FLAW("nothing", GW_OK, AT(0, 0x89)),
	FLAW("minor version 1", GW_OK, SB(VERSION_MINOR, 1)),
	FLAW("minor version 65535", GW_OK, SB(VERSION_MINOR, 0xffff)),
	FLAW("informational flags", GW_OK, SB(INFORMATIONAL_FLAGS, UINT64_MAX)),
	FLAW("largest n_layer", GW_OK, SB(N_LAYER, GW_MAX_N_LAYER)),
	FLAW("largest n_head", GW_OK, SB(N_HEAD, GW_MAX_N_HEAD)),
	/* superblock: identity */
	FLAW("magic", GW_E_MAGIC, AT(0, 0x09)),
	FLAW("magic in text mode", GW_E_MAGIC, AT(6, '\n')),
	FLAW("major version 0", GW_E_VERSION, SB(VERSION_MAJOR, 0)),
	FLAW("major version 2", GW_E_VERSION, SB(VERSION_MAJOR, 2)),
	FLAW("major version 257", GW_E_VERSION, SB(VERSION_MAJOR, 257)),
	/* superblock: reserved */
	FLAW("reserved_60, first", GW_E_RESERVED, AT(60, 1)),
	FLAW("reserved_60, last", GW_E_RESERVED, AT(63, 0x80)),
	FLAW("reserved_88, first", GW_E_RESERVED, AT(88, 1)),
	FLAW("reserved_88, last", GW_E_RESERVED, AT(95, 0x80)),
	FLAW("reserved_176, first", GW_E_RESERVED, AT(176, 1)),
	FLAW("reserved_176, last", GW_E_RESERVED, AT(4079, 0x80)),
	FLAW("stored_bytes without the feature", GW_E_RESERVED, SB(STORED_BYTES, 1)),
	FLAW("stored_digest without the feature", GW_E_RESERVED, AT(GW_SB_STORED_DIGEST + 15, 1)),
	FLAW("compressed, with the sizes of an image", GW_E_LAYOUT, SB(REQUIRED_FEATURES, 1),
	     SB(STORED_BYTES, 4096)),
	/* superblock: limits */
	FLAW("block_bytes 0", GW_E_LIMIT, SB(BLOCK_BYTES, 0)),
	FLAW("block_bytes of another size", GW_E_LIMIT, SB(BLOCK_BYTES, 131072)),
	FLAW("no tensors", GW_E_LIMIT, SB(N_TENSORS, 0)),
	FLAW("tensors over the limit", GW_E_LIMIT, SB(N_TENSORS, GW_MAX_TENSORS + 1)),
	FLAW("2^32 - 1 tensors", GW_E_LIMIT, SB(N_TENSORS, UINT32_MAX)),
	FLAW("no blocks", GW_E_LIMIT, SB(N_BLOCKS, 0)),
	FLAW("2^32 - 1 blocks", GW_E_LIMIT, SB(N_BLOCKS, UINT32_MAX)),
	FLAW("2^61 blocks, whose digests take 0 bytes", GW_E_LIMIT, SB(N_BLOCKS, BIT(61))),
	FLAW("2^64 - 1 blocks", GW_E_LIMIT, SB(N_BLOCKS, UINT64_MAX)),
	FLAW("image over the limit", GW_E_LIMIT, SB(IMAGE_BYTES, GW_MAX_IMAGE_BYTES + 4096),
	     SB(FILE_BYTES, GW_MAX_IMAGE_BYTES + 4096)),
	FLAW("image of 2^64 - 4096", GW_E_LIMIT, SB(IMAGE_BYTES, -UINT64_C(4096)),
	     SB(FILE_BYTES, -UINT64_C(4096))),
	FLAW("image of 0", GW_E_LIMIT, SB(IMAGE_BYTES, 0), SB(FILE_BYTES, 0)),
	FLAW("n_layer over the limit", GW_E_LIMIT, SB(N_LAYER, GW_MAX_N_LAYER + 1)),
	FLAW("n_head over the limit", GW_E_LIMIT, SB(N_HEAD, UINT64_MAX)),
	/* superblock: sizes against each other */
	FLAW("image_bytes off the page", GW_E_LAYOUT, SB(IMAGE_BYTES, 32767),
	     SB(FILE_BYTES, 32767)),
	FLAW("image that ends before its data", GW_E_LAYOUT, SB(IMAGE_BYTES, 12288),
	     SB(FILE_BYTES, 12288)),
	FLAW("16384 tensors in a small image", GW_E_LAYOUT, SB(N_TENSORS, GW_MAX_TENSORS)),
	FLAW("all possible blocks in a small image", GW_E_LAYOUT,
	     SB(N_BLOCKS, GW_MAX_IMAGE_BYTES / GW_BLOCK_BYTES)),
	FLAW("file_bytes less than image_bytes", GW_E_LAYOUT, SB(FILE_BYTES, 28672)),
	FLAW("file_bytes more than image_bytes", GW_E_LAYOUT, SB(FILE_BYTES, 36864)),
	FLAW("file longer than the image says", GW_E_TRAILING, SB(IMAGE_BYTES, 28672),
	     SB(FILE_BYTES, 28672)),
	FLAW("file shorter than the image says", GW_E_TRUNCATED, SB(IMAGE_BYTES, 36864),
	     SB(FILE_BYTES, 36864)),
	FLAW("largest image", GW_E_TRUNCATED, SB(IMAGE_BYTES, GW_MAX_IMAGE_BYTES),
	     SB(FILE_BYTES, GW_MAX_IMAGE_BYTES)),
	FLAW("a block too many", GW_E_LAYOUT, SB(N_BLOCKS, 4)),
	FLAW("a block too few", GW_E_LAYOUT, SB(N_BLOCKS, 2)),
	FLAW("a tensor too few", GW_E_ROLE, SB(N_TENSORS, 2)),
	FLAW("a tensor too many", GW_E_NAME, SB(N_TENSORS, 4)),
	/* names */
	NAME("empty name", GW_E_NAME, ""),
	FLAW("unterminated name", GW_E_NAME, AT(ENTRY(A) + 255, 'a')),
	FLAW("bytes after the name's NUL", GW_E_NAME, AT(ENTRY(A) + 100, 'x')),
	NAME("escape in a name", GW_E_NAME, "a\x1b[2J"),
	NAME("newline in a name", GW_E_NAME, "a\nb"),
	NAME("DEL in a name", GW_E_NAME, "a\x7f"),
	NAME("lone continuation byte", GW_E_NAME, "a\x80"),
	NAME("cut UTF-8", GW_E_NAME, "a\xe2\x82"),
	NAME("overlong UTF-8", GW_E_NAME, "a\xc0\xaf"),
	NAME("overlong of three bytes", GW_E_NAME, "a\xe0\x9f\xbf"),
	NAME("overlong of four bytes", GW_E_NAME, "a\xf0\x8f\xbf\xbf"),
	NAME("surrogate", GW_E_NAME, "a\xed\xa0\x80"),
	NAME("past the end of Unicode", GW_E_NAME, "a\xf4\x90\x80\x80"),
	NAME("byte that no UTF-8 has", GW_E_NAME, "a\xff"),
	NAME("a name in good UTF-8", GW_OK, "a\xc3\xa9\xf0\x9f\x98\x80"),
	NAME("names out of order", GW_E_NAME, "z.bias"),
	NAME("names ordered as signed bytes", GW_E_NAME, "\xc3\xa9"),
	{ .flaw = "a name twice",
	  .code = GW_E_NAME,
	  .n = WPE,
	  .name = GW_WTE_NAME,
	  .edits = { DE(WPE, ROLE, GW_ROLE_WTE) } },
	/* dtypes */
	FLAW("dtype 0", GW_E_DTYPE, DE(WTE, DTYPE, 0)),
	FLAW("dtype 4, int8, with the rows of f32", GW_E_STRIDE, DE(WTE, DTYPE, 4)),
	FLAW("dtype 5", GW_E_DTYPE, DE(WTE, DTYPE, 5)),
	FLAW("dtype 255", GW_E_DTYPE, DE(A, DTYPE, 255)),
	/* shapes */
	FLAW("rank 9", GW_E_SHAPE, DE(A, RANK, 9)),
	FLAW("rank 255", GW_E_SHAPE, DE(WTE, RANK, 255)),
	FLAW("no rows", GW_E_SHAPE, DIM(WTE, 0, 0)),
	FLAW("no columns", GW_E_SHAPE, DIM(WTE, 1, 0)),
	FLAW("rank without its dimension", GW_E_SHAPE, DE(A, RANK, 2)),
	FLAW("dimension after the rank", GW_E_SHAPE, DIM(WTE, 2, 1)),
	FLAW("last dimension after the rank", GW_E_SHAPE, DIM(A, 7, 1)),
	FLAW("rank 0 with a dimension", GW_E_SHAPE, DE(A, RANK, 0)),
	FLAW("rows that wrap to 10", GW_E_SHAPE, DE(A, RANK, 3), DIM(A, 0, BIT(63)), DIM(A, 1, 2),
	     DIM(A, 2, 10)),
	FLAW("columns whose bytes wrap to 40", GW_E_SHAPE, DIM(A, 0, BIT(62) + 10)),
	FLAW("columns of 2^64 - 1 bytes", GW_E_SHAPE, DIM(A, 0, UINT64_MAX)),
	FLAW("rows times row_bytes that wrap", GW_E_SHAPE, DE(A, RANK, 2), DIM(A, 0, BIT(62)),
	     DIM(A, 1, 1)),
	FLAW("wte of rank 1", GW_E_SHAPE, DE(WTE, RANK, 1), DIM(WTE, 1, 0)),
	FLAW("wpe of rank 3", GW_E_SHAPE, DE(WPE, RANK, 3), DIM(WPE, 2, 1)),
	FLAW("tensor over the limit", GW_E_LIMIT, DIM(A, 0, BIT(38) + 1)),
	FLAW("n_vocab over the limit", GW_E_LIMIT, DIM(WTE, 0, BIT(31))),
	FLAW("n_positions over the limit", GW_E_LIMIT, DIM(WPE, 0, BIT(31))),
	FLAW("n_embd over the limit", GW_E_LIMIT, DIM(WTE, 1, BIT(24) + 1)),
	/* roles */
	FLAW("role on another name", GW_E_ROLE, DE(A, ROLE, GW_ROLE_WTE)),
	FLAW("wte without its role", GW_E_ROLE, DE(WTE, ROLE, GW_ROLE_NONE)),
	FLAW("wpe without its role", GW_E_ROLE, DE(WPE, ROLE, GW_ROLE_NONE)),
	FLAW("two roles of wte", GW_E_ROLE, DE(WPE, ROLE, GW_ROLE_WTE)),
	FLAW("two roles of wpe", GW_E_ROLE, DE(WTE, ROLE, GW_ROLE_WPE)),
	FLAW("role 3", GW_E_ROLE, DE(A, ROLE, 3)),
	FLAW("role 255", GW_E_ROLE, DE(WTE, ROLE, 255)),
	FLAW("wpe of another width", GW_E_ROLE, DIM(WPE, 1, 25)),
	{ .flaw = "no wte",
	  .code = GW_E_ROLE,
	  .n = WTE,
	  .name = "x.weight",
	  .edits = { DE(WTE, ROLE, GW_ROLE_NONE), DE(WTE, ROW_BYTES, 96),
		     DE(WTE, DATA_BYTES, 6720) } },
	/* reserved in the directory */
	FLAW("reserved_259, first", GW_E_RESERVED, AT(ENTRY(A) + 259, 1)),
	FLAW("reserved_259, last", GW_E_RESERVED, AT(ENTRY(WTE) + 263, 1)),
	FLAW("reserved_368, first", GW_E_RESERVED, AT(ENTRY(A) + 368, 1)),
	FLAW("reserved_368, last", GW_E_RESERVED, AT(ENTRY(WTE) + 383, 1)),
	FLAW("scales_offset of f32", GW_E_LAYOUT, DE(WTE, SCALES_OFFSET, 4096)),
	FLAW("scales_bytes of f32", GW_E_LAYOUT, DE(WTE, SCALES_BYTES, 280)),
	/* row_bytes, placement, data_bytes */
	FLAW("row_bytes 0", GW_E_STRIDE, DE(WTE, ROW_BYTES, 0)),
	FLAW("row_bytes without padding", GW_E_STRIDE, DE(WTE, ROW_BYTES, 96)),
	FLAW("row_bytes with more padding", GW_E_STRIDE, DE(WTE, ROW_BYTES, 192)),
	FLAW("row_bytes of no role, padded", GW_E_STRIDE, DE(A, ROW_BYTES, 64)),
	FLAW("row_bytes 2^64 - 64", GW_E_STRIDE, DE(WTE, ROW_BYTES, -UINT64_C(64))),
	FLAW("data_offset by a byte off", GW_E_ALIGNMENT, DE(WTE, DATA_OFFSET, 20481)),
	FLAW("data_offset on a cache line only", GW_E_ALIGNMENT, DE(WTE, DATA_OFFSET, 20544)),
	FLAW("data_offset at the end", GW_E_BOUNDS, DE(WTE, DATA_OFFSET, 32768)),
	FLAW("end past the image", GW_E_BOUNDS, DE(WTE, DATA_OFFSET, 24576)),
	FLAW("data_offset near 2^64", GW_E_BOUNDS, DE(WTE, DATA_OFFSET, -UINT64_C(4096))),
	FLAW("more rows than the image holds", GW_E_BOUNDS, DIM(WTE, 0, 97)),
	FLAW("wte on wpe", GW_E_OVERLAP, DE(WTE, DATA_OFFSET, 16384)),
	FLAW("tensor on the directory", GW_E_OVERLAP, DE(A, DATA_OFFSET, 8192)),
	FLAW("tensor on the superblock", GW_E_OVERLAP, DE(A, DATA_OFFSET, 0)),
	FLAW("a page left out at first", GW_E_LAYOUT, DE(A, DATA_OFFSET, 16384)),
	FLAW("a page left out", GW_E_LAYOUT, DE(WPE, DATA_OFFSET, 20480)),
	FLAW("data_bytes 0", GW_E_LAYOUT, DE(WTE, DATA_BYTES, 0)),
	FLAW("data_bytes a row short", GW_E_LAYOUT, DE(WTE, DATA_BYTES, 8832)),
	FLAW("data_bytes too long", GW_E_LAYOUT, DE(A, DATA_BYTES, 44)),
	FLAW("data_bytes 2^64 - 1", GW_E_LAYOUT, DE(A, DATA_BYTES, UINT64_MAX)),
	FLAW("image a page longer than its tensors", GW_E_LAYOUT, DIM(WTE, 0, 32),
	     DE(WTE, DATA_BYTES, 4096)),
	/* provenance */
	FLAW("unterminated source_format", GW_E_NAME, AT(4096 + 31, 'x')),
	FLAW("escape in source_name", GW_E_NAME, AT(4096 + 32, 0x1b)),
	FLAW("bad UTF-8 in tool", GW_E_NAME, AT(4096 + 288, 0xff)),
	FLAW("bytes after the note's NUL", GW_E_NAME, AT(4096 + 376 + 200, 'x')),
	FLAW("reserved_632, first", GW_E_RESERVED, AT(4096 + 632, 1)),
	FLAW("reserved_632, last", GW_E_RESERVED, AT(8191, 1)),
	FLAW("source_bytes may be anything", GW_OK, { 4096 + GW_PV_SOURCE_BYTES, 8, UINT64_MAX }),
	/* zero bytes */
	FLAW("first byte after the block digests", GW_E_PADDING, AT(9368, 1)),
	FLAW("last byte before the data", GW_E_PADDING, AT(12287, 1)),
	FLAW("first byte after a tensor", GW_E_PADDING, AT(12328, 1)),
	FLAW("last byte before a tensor", GW_E_PADDING, AT(20479, 0x80)),
	FLAW("first byte after the last tensor", GW_E_PADDING, AT(29440, 1)),
	FLAW("last byte of the image", GW_E_PADDING, AT(32767, 1)),
	FLAW("first padding of the first row", GW_E_PADDING, AT(20480 + 96, 1)),
	FLAW("last padding of the first row", GW_E_PADDING, AT(20480 + 127, 1)),
	FLAW("padding of a row in the middle", GW_E_PADDING, AT(20480 + 35 * 128 + 100, 1)),
	FLAW("last padding of the last row", GW_E_PADDING, AT(29439, 1)),
	FLAW("padding of wpe", GW_E_PADDING, AT(16384 + 4 * 64 + 48, 1)),
	FLAW("other values are other weights", GW_OK, AT(20480, 0x55), AT(12288, 0x55)),
};
#define N_FORGERIES (int)(sizeof forgeries / sizeof forgeries[0])

#define I8_WTE 1

static const struct forgery int8_forgeries[] = {
	FLAW("nothing", GW_OK, AT(0, 0x89)),
	FLAW("scales_offset 0", GW_E_LAYOUT, DE(I8_WTE, SCALES_OFFSET, 0)),
	FLAW("scales on the data", GW_E_LAYOUT, DE(I8_WTE, SCALES_OFFSET, 20800)),
	FLAW("scales of another tensor", GW_E_LAYOUT, DE(I8_WTE, SCALES_OFFSET, 12416)),
	FLAW("scales past the end", GW_E_LAYOUT, DE(I8_WTE, SCALES_OFFSET, 24576)),
	FLAW("scales_offset 2^64 - 64", GW_E_LAYOUT, DE(I8_WTE, SCALES_OFFSET, -UINT64_C(64))),
	FLAW("scales straight after the data", GW_E_LAYOUT, DE(A, SCALES_OFFSET, 12387)),
	FLAW("scales_bytes 0", GW_E_LAYOUT, DE(I8_WTE, SCALES_BYTES, 0)),
	FLAW("a scale too few", GW_E_LAYOUT, DE(I8_WTE, SCALES_BYTES, 276)),
	FLAW("a scale too many", GW_E_LAYOUT, DE(I8_WTE, SCALES_BYTES, 284)),
	FLAW("scales_bytes 2^64 - 1", GW_E_LAYOUT, DE(I8_WTE, SCALES_BYTES, UINT64_MAX)),
	FLAW("data_bytes with the scales", GW_E_LAYOUT, DE(I8_WTE, DATA_BYTES, 4760)),
	FLAW("rows of f32", GW_E_STRIDE, DE(I8_WTE, ROW_BYTES, 128)),
	FLAW("dtype without scales", GW_E_STRIDE, DE(I8_WTE, DTYPE, GW_F32)),
	FLAW("scales past the image", GW_E_BOUNDS, DIM(I8_WTE, 0, 121)),
	FLAW("rows times 4 that wrap", GW_E_SHAPE, DIM(A, 0, BIT(62)), DIM(A, 1, 1),
	     DE(A, ROW_BYTES, 1)),
	FLAW("scales over the limit", GW_E_LIMIT, DIM(A, 0, BIT(37)), DIM(A, 1, 1),
	     DE(A, ROW_BYTES, 1)),
	FLAW("first byte between data and scales", GW_E_PADDING, AT(12387, 1)),
	FLAW("last byte between data and scales", GW_E_PADDING, AT(12415, 1)),
	FLAW("byte after the scales", GW_E_PADDING, AT(12428, 1)),
	FLAW("padding of the last row", GW_E_PADDING, AT(20863, 1)),
	FLAW("other values and scales", GW_OK, AT(16384, 0x80), AT(20864, 0x55), AT(21143, 0xff)),
};
#define N_INT8_FORGERIES (int)(sizeof int8_forgeries / sizeof int8_forgeries[0])

static uint8_t *base(size_t *out_bytes)
{
	const struct gw_tensor tensors[] = {
		fixture_tensor("a.bias", GW_F32, 10, 0),
		fixture_tensor(GW_WPE_NAME, GW_F16, 5, 24),
		fixture_tensor(GW_WTE_NAME, GW_F32, 70, 24),
	};
	uint8_t *pack = fixture_image(tensors, 3, out_bytes);

	ck_assert_uint_eq(*out_bytes, 32768);
	return pack;
}

static uint8_t *base_int8(size_t *out_bytes)
{
	const struct gw_tensor tensors[] = {
		fixture_tensor("a.weight", GW_I8, 3, 33),
		fixture_tensor(GW_WTE_NAME, GW_I8, 70, 24),
	};
	uint8_t *pack = fixture_image(tensors, 2, out_bytes);

	ck_assert_uint_eq(*out_bytes, 24576);
	return pack;
}

static void apply(const struct forgery *forgery, uint8_t *pack, size_t bytes)
{
	struct gw_bytes to = gw_bytes_write(pack, bytes);

	for (size_t i = 0; i < sizeof forgery->edits / sizeof forgery->edits[0]; i++)
		gw_put(&to, forgery->edits[i].offset, forgery->edits[i].value,
		       (unsigned)forgery->edits[i].bytes);
	if (forgery->name) {
		memset(pack + ENTRY(forgery->n), 0, GW_NAME_BYTES);
		gw_put_bytes(&to, ENTRY(forgery->n), forgery->name, strlen(forgery->name));
	}
	ck_assert(!to.overrun);
	fixture_repair(pack, bytes);
}

/* pack is freed. */
static void refuse(const struct forgery *forgery, uint8_t *pack, size_t bytes)
{
	struct gw_error error = GW_ERROR_INIT;
	int r;

	apply(forgery, pack, bytes);
	r = fixture_check(pack, bytes, &error);
	ck_assert_msg(r == forgery->code, "%s: %d instead of %d: %s", forgery->flaw, r,
		      forgery->code, error.message);
	if (r) {
		ck_assert_int_eq(error.code, r);
		ck_assert_str_ne(error.message, "");
		for (const char *c = error.message; *c; c++)
			ck_assert_msg((unsigned char)*c >= 0x20 && *c != 0x7f,
				      "%s: message not clean", forgery->flaw);
	}
	free(pack);
}

START_TEST(the_broken_rule_refuses)
{
	size_t bytes;
	uint8_t *pack = base(&bytes);

	refuse(&forgeries[_i], pack, bytes);
}
END_TEST

START_TEST(the_broken_rule_of_int8_refuses)
{
	size_t bytes;
	uint8_t *pack = base_int8(&bytes);

	refuse(&int8_forgeries[_i], pack, bytes);
}
END_TEST

START_TEST(each_required_feature_is_refused_by_number)
{
	struct gw_error error = GW_ERROR_INIT;
	size_t bytes;
	uint8_t *pack = base(&bytes);
	struct gw_bytes to = gw_bytes_write(pack, bytes);
	char number[16];

	gw_put_u64(&to, GW_SB_REQUIRED_FEATURES, BIT(_i));
	fixture_repair(pack, bytes);
	ck_assert_code(error, fixture_check(pack, bytes, &error), GW_E_FEATURE);
	ck_assert_uint_eq(error.offset, GW_SB_REQUIRED_FEATURES);
	snprintf(number, sizeof number, "feature %d,", _i);
	ck_assert_ptr_nonnull(strstr(error.message, number));
	free(pack);
}
END_TEST

START_TEST(each_reserved_byte_is_refused)
{
	static const struct {
		uint64_t offset, bytes;
	} reserved[] = {
		{ GW_SB_RESERVED_60, 4 },
		{ GW_SB_STORED_BYTES, 8 },
		{ GW_SB_RESERVED_88, 8 },
		{ GW_SB_STORED_DIGEST, 16 },
		{ GW_SB_RESERVED_176, 3904 },
		{ GW_PROVENANCE_OFFSET + GW_PV_RESERVED_632, 3464 },
		{ ENTRY(1) + GW_DE_RESERVED_259, 5 },
		{ ENTRY(1) + GW_DE_RESERVED_368, 16 },
	};
	struct gw_error error = GW_ERROR_INIT;
	size_t bytes;
	uint8_t *pack = base(&bytes);

	for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
		for (uint64_t at = reserved[i].offset; at < reserved[i].offset + reserved[i].bytes;
		     at++) {
			pack[at] = 1;
			fixture_repair(pack, bytes);
			ck_assert_code(error, fixture_check(pack, bytes, &error), GW_E_RESERVED);
			pack[at] = 0;
		}
	free(pack);
}
END_TEST

/* Flaws that fixture_repair would mend: one digest contradicts what it covers. */
START_TEST(each_digest_counts)
{
	static const struct {
		uint64_t offset;
		int code;
	} digests[] = {
		{ GW_SB_CONTENT_ID, GW_E_CONTENT_ID },
		{ GW_SB_DIRECTORY_DIGEST, GW_E_DIRECTORY_DIGEST },
		{ GW_SB_DIGESTS_DIGEST, GW_E_DIGESTS_DIGEST },
		{ GW_SB_PROVENANCE_DIGEST, GW_E_PROVENANCE_DIGEST },
	};
	struct gw_error error = GW_ERROR_INIT;
	size_t bytes;
	uint8_t *pack = base(&bytes);

	for (size_t i = 0; i < sizeof digests / sizeof digests[0]; i++)
		for (unsigned byte = 0; byte < GW_DIGEST_BYTES; byte++) {
			struct gw_digest digest;

			pack[digests[i].offset + byte] ^= 1;
			digest = gw_hash128(pack, GW_SB_SUPERBLOCK_DIGEST);
			memcpy(pack + GW_SB_SUPERBLOCK_DIGEST, digest.bytes, sizeof digest.bytes);
			ck_assert_code(error, fixture_check(pack, bytes, &error), digests[i].code);
			pack[digests[i].offset + byte] ^= 1;
		}
	free(pack);
}
END_TEST

/* A table of 2 MiB or more must lie on 2 MiB, though it would fit on a page. */
START_TEST(large_tables_lie_on_huge_pages)
{
	const struct gw_tensor tensor = fixture_tensor(GW_WTE_NAME, GW_F32, 8192, 64);
	struct gw_error error = GW_ERROR_INIT;
	struct gw_bytes to;
	size_t bytes;
	uint8_t *pack = fixture_image(&tensor, 1, &bytes);

	ck_assert_uint_eq(bytes, 2 * GW_HUGE_PAGE_BYTES);
	to = gw_bytes_write(pack, bytes);
	gw_put_u64(&to, ENTRY(0) + GW_DE_DATA_OFFSET, 12288);
	fixture_repair(pack, bytes);
	ck_assert_code(error, fixture_check(pack, bytes, &error), GW_E_ALIGNMENT);
	ck_assert_uint_eq(error.offset, ENTRY(0) + GW_DE_DATA_OFFSET);
	free(pack);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("forged");
	TCase *tcase = fixture_case(suite, "forged");

	tcase_add_loop_test(tcase, the_broken_rule_refuses, 0, N_FORGERIES);
	tcase_add_loop_test(tcase, the_broken_rule_of_int8_refuses, 0, N_INT8_FORGERIES);
	tcase_add_loop_test(tcase, each_required_feature_is_refused_by_number, 1, 64);
	tcase_add_test(tcase, each_reserved_byte_is_refused);
	tcase_add_test(tcase, each_digest_counts);
	tcase_add_test(tcase, large_tables_lie_on_huge_pages);
	return fixture_main(suite);
}
