/* SPDX-License-Identifier: MIT */
#include "format/digest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/digest_kernels.h"
#include "tests/support/fixture.h"

#define BUFFER_BYTES 2367

/* The sanity buffer and its digests are those of xxHash's own tests (cli/xsum_sanity_check.c). */
static void fill_buffer(uint8_t *buffer)
{
	uint64_t generator = UINT64_C(2654435761);

	for (unsigned i = 0; i < BUFFER_BYTES; i++) {
		buffer[i] = (uint8_t)(generator >> 56);
		generator *= UINT64_C(11400714785074694797);
	}
}

static const struct {
	unsigned bytes;
	uint64_t digest;
} vectors[] = {
	{ 0, UINT64_C(0x2D06800538D394C2) },    { 1, UINT64_C(0xC44BDFF4074EECDB) },
	{ 6, UINT64_C(0x27B56A84CD2D7325) },    { 12, UINT64_C(0xA713DAF0DFBB77E7) },
	{ 24, UINT64_C(0xA3FE70BF9D3510EB) },   { 48, UINT64_C(0x397DA259ECBA1F11) },
	{ 80, UINT64_C(0xBCDEFBBB2C47C90A) },   { 195, UINT64_C(0xCD94217EE362EC3A) },
	{ 403, UINT64_C(0xCDEB804D65C6DEA4) },  { 512, UINT64_C(0x617E49599013CB6B) },
	{ 2048, UINT64_C(0xDD59E2C3A5F038E0) }, { 2240, UINT64_C(0x6E73A90539CF2948) },
	{ 2367, UINT64_C(0xCB37AEB9E5D361ED) },
};

START_TEST(known_64_bit_digests)
{
	uint8_t buffer[BUFFER_BYTES];

	fill_buffer(buffer);
	for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++)
		ck_assert_msg(gw_hash64(buffer, vectors[i].bytes) == vectors[i].digest, "%u bytes",
			      vectors[i].bytes);
}
END_TEST

/* Of every variant that this machine can run, at all alignments. */
START_TEST(variants_agree)
{
	const size_t n = 300000;
	uint8_t *bytes = malloc(n + 64);
	struct gw_hasher *hasher = gw_hasher_new();
	unsigned n_variants = 0;

	ck_assert(bytes && hasher);
	for (size_t i = 0; i < n + 64; i++)
		bytes[i] = (uint8_t)(i * i >> 7);
	for (; gw_hash64_at(n_variants); n_variants++) {
		uint64_t (*hash)(const void *, uint64_t) = gw_hash64_at(n_variants);

		for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
			uint8_t buffer[BUFFER_BYTES];

			fill_buffer(buffer);
			ck_assert_uint_eq(hash(buffer, vectors[i].bytes), vectors[i].digest);
		}
		for (size_t i = 0; i < 64; i++) {
			gw_hasher_reset(hasher);
			gw_hasher_update(hasher, bytes + i, n - 3 * i);
			ck_assert_uint_eq(hash(bytes + i, n - 3 * i), gw_hasher_digest64(hasher));
		}
	}
	ck_assert_uint_ge(n_variants, 1);
	gw_hasher_free(hasher);
	free(bytes);
}
END_TEST

static const struct {
	const char *text, *digest; /* as xxhsum -H2 prints it */
} texts[] = {
	{ "", "99aa06d3014798d86001c324468d497f" },
	{ "a", "a96faf705af16834e6c632b61e964e1f" },
	{ "abc", "06b05ab6733a618578af5f94892f3950" },
};

START_TEST(known_128_bit_digests)
{
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		struct gw_digest digest = gw_hash128(texts[i].text, strlen(texts[i].text));
		char text[GW_DIGEST_TEXT_BYTES];

		ck_assert_ptr_eq(gw_digest_text(&digest, text), text);
		ck_assert_str_eq(text, texts[i].digest);
	}
}
END_TEST

START_TEST(pieces_give_the_digest_of_the_whole)
{
	static const unsigned pieces[] = { 1, 7, 64, 255, 256, 257, 1024, 2366 };
	struct gw_hasher *hasher = gw_hasher_new();
	uint8_t buffer[BUFFER_BYTES];
	struct gw_digest whole, digest;

	fill_buffer(buffer);
	whole = gw_hash128(buffer, sizeof buffer);
	ck_assert_ptr_nonnull(hasher);
	for (size_t p = 0; p < sizeof pieces / sizeof pieces[0]; p++) {
		gw_hasher_reset(hasher);
		for (unsigned at = 0; at < BUFFER_BYTES; at += pieces[p])
			gw_hasher_update(hasher, buffer + at,
					 at + pieces[p] < BUFFER_BYTES ? pieces[p]
								       : BUFFER_BYTES - at);
		digest = gw_hasher_digest128(hasher);
		ck_assert_mem_eq(digest.bytes, whole.bytes, sizeof whole.bytes);
		ck_assert_uint_eq(gw_hasher_digest64(hasher), UINT64_C(0xCB37AEB9E5D361ED));
		/* asking does not change the state */
		digest = gw_hasher_digest128(hasher);
		ck_assert(gw_digest_equal(&digest, &whole));
	}
	gw_hasher_free(hasher);
	gw_hasher_free(NULL);
}
END_TEST

START_TEST(a_new_hasher_is_empty)
{
	struct gw_hasher *hasher = gw_hasher_new();

	ck_assert_ptr_nonnull(hasher);
	ck_assert_uint_eq(gw_hasher_digest64(hasher), vectors[0].digest);
	gw_hasher_free(hasher);
}
END_TEST

START_TEST(two_parts_are_hashed_as_if_joined)
{
	uint8_t buffer[BUFFER_BYTES];
	struct gw_digest whole, two;

	fill_buffer(buffer);
	whole = gw_hash128(buffer, sizeof buffer);
	for (unsigned cut = 0; cut <= BUFFER_BYTES; cut++) {
		two = gw_hash128_two(buffer, cut, buffer + cut, BUFFER_BYTES - cut);
		ck_assert_mem_eq(two.bytes, whole.bytes, sizeof whole.bytes);
	}
}
END_TEST

START_TEST(equal_looks_at_every_byte)
{
	struct gw_digest a = gw_hash128("abc", 3), b = a;

	ck_assert(gw_digest_equal(&a, &b));
	for (unsigned i = 0; i < GW_DIGEST_BYTES; i++) {
		b = a;
		b.bytes[i] ^= 1;
		ck_assert(!gw_digest_equal(&a, &b));
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("digest");
	TCase *tcase = fixture_case(suite, "digest");

	tcase_add_test(tcase, known_64_bit_digests);
	tcase_add_test(tcase, variants_agree);
	tcase_add_test(tcase, known_128_bit_digests);
	tcase_add_test(tcase, pieces_give_the_digest_of_the_whole);
	tcase_add_test(tcase, a_new_hasher_is_empty);
	tcase_add_test(tcase, two_parts_are_hashed_as_if_joined);
	tcase_add_test(tcase, equal_looks_at_every_byte);
	return fixture_main(suite);
}
