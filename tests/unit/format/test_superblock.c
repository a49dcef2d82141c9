/* SPDX-License-Identifier: MIT */
#include "format/superblock.h"

#include <stdlib.h>
#include <string.h>

#include "format/bytes.h"
#include "tests/support/fixture.h"

static struct gw_superblock sample(void)
{
	return (struct gw_superblock) {
		.version_minor = 3,
		.n_tensors = 2,
		.informational_flags = UINT64_C(0x8000000000000001),
		.image_bytes = 32768,
		.file_bytes = 32768,
		.n_blocks = 5,
		.n_layer = 48,
		.n_head = 25,
		.content_id = gw_hash128("content", 7),
		.directory_digest = gw_hash128("directory", 9),
		.digests_digest = gw_hash128("digests", 7),
		.provenance_digest = gw_hash128("provenance", 10),
	};
}

static void expect_equal(const struct gw_superblock *a, const struct gw_superblock *b)
{
	ck_assert_uint_eq(a->version_minor, b->version_minor);
	ck_assert_uint_eq(a->n_tensors, b->n_tensors);
	ck_assert_uint_eq(a->informational_flags, b->informational_flags);
	ck_assert_uint_eq(a->image_bytes, b->image_bytes);
	ck_assert_uint_eq(a->file_bytes, b->file_bytes);
	ck_assert_uint_eq(a->n_blocks, b->n_blocks);
	ck_assert_uint_eq(a->n_layer, b->n_layer);
	ck_assert_uint_eq(a->n_head, b->n_head);
	ck_assert(gw_digest_equal(&a->content_id, &b->content_id));
	ck_assert(gw_digest_equal(&a->directory_digest, &b->directory_digest));
	ck_assert(gw_digest_equal(&a->digests_digest, &b->digests_digest));
	ck_assert(gw_digest_equal(&a->provenance_digest, &b->provenance_digest));
}

START_TEST(decoding_is_the_inverse_of_encoding)
{
	struct gw_superblock superblock = sample(), decoded;
	struct gw_error error = GW_ERROR_INIT;
	uint8_t bytes[GW_SUPERBLOCK_BYTES], again[GW_SUPERBLOCK_BYTES];

	memset(bytes, 0xee, sizeof bytes);
	gw_superblock_encode(&superblock, bytes);
	ck_assert_mem_eq(bytes, "\x89GPT2W\r\n\x01\x00\x03\x00\x00\x00\x04\x00", 16);
	ck_assert_code(error, gw_superblock_decode(bytes, 32768, 0, &decoded, &error), GW_OK);
	expect_equal(&decoded, &superblock);
	gw_superblock_encode(&decoded, again);
	ck_assert_mem_eq(bytes, again, sizeof bytes);
}
END_TEST

/* Any flipped bit that is accepted with a repaired digest survives decoding and encoding. */
START_TEST(encoding_is_the_inverse_of_decoding)
{
	struct gw_superblock superblock = sample(), decoded;
	uint8_t bytes[GW_SUPERBLOCK_BYTES], again[GW_SUPERBLOCK_BYTES];
	unsigned accepted = 0;

	for (unsigned bit = 0; bit < 8 * GW_SB_SUPERBLOCK_DIGEST; bit++) {
		struct gw_digest digest;

		gw_superblock_encode(&superblock, bytes);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		digest = gw_hash128(bytes, GW_SB_SUPERBLOCK_DIGEST);
		memcpy(bytes + GW_SB_SUPERBLOCK_DIGEST, digest.bytes, sizeof digest.bytes);
		if (gw_superblock_decode(bytes, 32768, 0, &decoded, NULL) != GW_OK)
			continue;
		accepted++;
		gw_superblock_encode(&decoded, again);
		ck_assert_mem_eq(bytes, again, sizeof bytes);
	}
	/* minor version, informational flags, four digests, and numbers within their limits */
	ck_assert_uint_gt(accepted, 16 + 64 + 4 * 128);
	ck_assert_uint_lt(accepted, 16 + 64 + 4 * 128 + 100);
}
END_TEST

START_TEST(every_short_length_is_refused)
{
	struct gw_superblock superblock = sample(), decoded, before;
	struct gw_error error = GW_ERROR_INIT;
	uint8_t bytes[GW_SUPERBLOCK_BYTES];

	memset(&decoded, 0x5a, sizeof decoded);
	memcpy(&before, &decoded, sizeof decoded);
	gw_superblock_encode(&superblock, bytes);
	for (uint64_t n = 0; n < 32768; n += n < GW_SUPERBLOCK_BYTES ? 1 : 61) {
		uint64_t present = n < sizeof bytes ? n : sizeof bytes;
		uint8_t *copy = malloc(present + !present);

		ck_assert_ptr_nonnull(copy);
		memcpy(copy, bytes, present);
		ck_assert_code(error, gw_superblock_decode(copy, n, 0, &decoded, &error),
			       GW_E_TRUNCATED);
		free(copy);
	}
	ck_assert_code(error,
		       gw_superblock_decode((const uint8_t *)"text file", 9, 0, &decoded, &error),
		       GW_E_MAGIC);
	ck_assert_code(error, gw_superblock_decode(bytes, 32769, 0, &decoded, &error),
		       GW_E_TRAILING);
	ck_assert_mem_eq(&decoded, &before, sizeof decoded);
	ck_assert_code(error, gw_superblock_decode(bytes, 32769, 1, &decoded, &error), GW_OK);
	ck_assert_code(error, gw_superblock_decode(bytes, 32770, 1, &decoded, &error),
		       GW_E_TRAILING);
	ck_assert_uint_eq(error.offset, 32768);
}
END_TEST

START_TEST(regions_follow_each_other)
{
	struct gw_regions at = gw_superblock_regions(1, 1);

	ck_assert_uint_eq(at.directory_bytes, 384);
	ck_assert_uint_eq(at.digests_offset, 8576);
	ck_assert_uint_eq(at.digests_bytes, 8);
	ck_assert_uint_eq(at.digests_end, 8584);
	ck_assert_uint_eq(at.data_offset, 12288);
	/* exactly on a page: 10 × 384 + 32 × 8 = 4096 */
	at = gw_superblock_regions(10, 32);
	ck_assert_uint_eq(at.digests_end, 12288);
	ck_assert_uint_eq(at.data_offset, 12288);
	at = gw_superblock_regions(10, 33);
	ck_assert_uint_eq(at.data_offset, 16384);
	at = gw_superblock_regions(GW_MAX_TENSORS,
				   GW_MAX_IMAGE_BYTES / GW_BLOCK_BYTES + GW_MAX_TENSORS);
	ck_assert_uint_lt(at.data_offset, UINT64_C(64) << 20);
}
END_TEST

START_TEST(provenance_both_ways)
{
	struct gw_provenance provenance = { .source_format = "safetensors",
					    .source_name = "mod\xc3\xa8le.safetensors",
					    .tool = "gpt2-pack 0.1.0",
					    .note = "renamed: a \xe2\x86\x92 b",
					    .source_bytes = UINT64_MAX,
					    .source_digest = gw_hash128("x", 1) },
			     decoded;
	struct gw_error error = GW_ERROR_INIT;
	uint8_t bytes[GW_PROVENANCE_BYTES], again[GW_PROVENANCE_BYTES];

	memset(bytes, 0xee, sizeof bytes);
	gw_provenance_encode(&provenance, bytes);
	ck_assert_code(error, gw_provenance_decode(bytes, &decoded, &error), GW_OK);
	ck_assert_str_eq(decoded.source_format, provenance.source_format);
	ck_assert_str_eq(decoded.source_name, provenance.source_name);
	ck_assert_str_eq(decoded.tool, provenance.tool);
	ck_assert_str_eq(decoded.note, provenance.note);
	ck_assert_uint_eq(decoded.source_bytes, UINT64_MAX);
	ck_assert(gw_digest_equal(&decoded.source_digest, &provenance.source_digest));
	gw_provenance_encode(&decoded, again);
	ck_assert_mem_eq(bytes, again, sizeof bytes);
}
END_TEST

START_TEST(provenance_is_cleaned)
{
	struct gw_provenance provenance = { .source_name = "\x1b[2J\xff\xc3\xa9\n" }, decoded;
	struct gw_error error = GW_ERROR_INIT;
	uint8_t bytes[GW_PROVENANCE_BYTES];

	/* unterminated, with a character of three bytes at the cut */
	memset(provenance.source_format, 'x', sizeof provenance.source_format);
	memcpy(provenance.source_format + 29, "\xe2\x82\xac", 3);
	gw_provenance_encode(&provenance, bytes);
	ck_assert_code(error, gw_provenance_decode(bytes, &decoded, &error), GW_OK);
	ck_assert_str_eq(decoded.source_name, "?[2J?\xc3\xa9?");
	ck_assert_str_eq(decoded.source_format, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
}
END_TEST

START_TEST(provenance_is_validated)
{
	static const unsigned fields[] = { GW_PV_SOURCE_FORMAT, GW_PV_SOURCE_NAME, GW_PV_TOOL,
					   GW_PV_NOTE };
	struct gw_provenance provenance = { .tool = "x" }, decoded, before;
	struct gw_error error = GW_ERROR_INIT;
	uint8_t bytes[GW_PROVENANCE_BYTES];

	memset(&decoded, 0x5a, sizeof decoded);
	memcpy(&before, &decoded, sizeof decoded);
	for (unsigned i = 0; i < 4; i++) {
		gw_provenance_encode(&provenance, bytes);
		bytes[fields[i]] = 0x7f;
		ck_assert_code(error, gw_provenance_decode(bytes, &decoded, &error), GW_E_NAME);
		ck_assert_uint_eq(error.offset, GW_PROVENANCE_OFFSET + fields[i]);
	}
	gw_provenance_encode(&provenance, bytes);
	bytes[GW_PROVENANCE_BYTES - 1] = 1;
	ck_assert_code(error, gw_provenance_decode(bytes, &decoded, &error), GW_E_RESERVED);
	ck_assert_mem_eq(&decoded, &before, sizeof decoded);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("superblock");
	TCase *tcase = fixture_case(suite, "superblock");

	tcase_add_test(tcase, decoding_is_the_inverse_of_encoding);
	tcase_add_test(tcase, encoding_is_the_inverse_of_decoding);
	tcase_add_test(tcase, every_short_length_is_refused);
	tcase_add_test(tcase, regions_follow_each_other);
	tcase_add_test(tcase, provenance_both_ways);
	tcase_add_test(tcase, provenance_is_cleaned);
	tcase_add_test(tcase, provenance_is_validated);
	return fixture_main(suite);
}
