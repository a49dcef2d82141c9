/* SPDX-License-Identifier: MIT */
#include "format/zstd_load.h"

#include <string.h>

#include "format/block.h"
#include "format/dtype.h"
#include "tests/support/fixture.h"

/* int8, 64 times 7: one plane, a frame of a header, and one block of one byte repeated. */
static const uint8_t sevens[] = { 1,    2,    10, 0,    0,         0,    0x28, 0xb5,
				  0x2f, 0xfd, 0x20, 64, 3, 2, 0, 7 };

START_TEST(the_loaded_library_decodes)
{
	struct gw_error error = GW_ERROR_INIT;
	struct gw_block_decoder *decoder;
	struct gw_zstd zstd;
	uint8_t raw[64];

	ck_assert_code(error, gw_zstd_load(&zstd, &error), 0);
	ck_assert_uint_eq(zstd.version_number(), gw_zstd_linked.version_number());
	ck_assert_code(error, gw_block_decoder_new(&zstd, &decoder, &error), 0);
	ck_assert_code(error,
		       gw_block_decode(decoder, GW_I8, sevens, sizeof sevens, raw, 64, &error), 0);
	for (unsigned i = 0; i < 64; i++)
		ck_assert_uint_eq(raw[i], 7);
	gw_block_decoder_free(decoder);
}
END_TEST

static void check_refused(const char *library, const char *message)
{
	struct gw_error error = GW_ERROR_INIT;
	struct gw_zstd zstd, untouched;

	memset(&zstd, 0x5a, sizeof zstd);
	untouched = zstd;
	ck_assert_code(error, gw_zstd_load_from(library, &zstd, &error), GW_E_FEATURE);
	ck_assert_str_eq(error.message, message);
	ck_assert_int_eq(memcmp(&zstd, &untouched, sizeof zstd), 0);
}

START_TEST(what_is_no_libzstd_is_refused)
{
	check_refused("libzstd-of-no-machine.so.1",
		      "the pack is compressed, and libzstd-of-no-machine.so.1 cannot be loaded");
	check_refused("libc.so.6", "the pack is compressed, and libc.so.6 has no ZSTD_versionNumber");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("zstd_load");
	TCase *tcase = fixture_case(suite, "zstd_load");

	tcase_add_test(tcase, the_loaded_library_decodes);
	tcase_add_test(tcase, what_is_no_libzstd_is_refused);
	return fixture_main(suite);
}
