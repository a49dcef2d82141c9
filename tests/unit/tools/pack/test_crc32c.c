/* SPDX-License-Identifier: MIT */
/* CRC-32C against the published values, and both implementations against each other. */
#include <string.h>

#include "tests/support/fixture.h"
#include "tools/pack/crc32c.h"

START_TEST(published)
{
	/* RFC 3720, B.4 */
	uint8_t bytes[32];

	memset(bytes, 0, sizeof bytes);
	ck_assert_uint_eq(pack_crc32c(0, bytes, 32), 0x8a9136aa);
	memset(bytes, 0xff, sizeof bytes);
	ck_assert_uint_eq(pack_crc32c(0, bytes, 32), 0x62a8ab43);
	for (unsigned i = 0; i < 32; i++)
		bytes[i] = (uint8_t)i;
	ck_assert_uint_eq(pack_crc32c(0, bytes, 32), 0x46dd794e);
	ck_assert_uint_eq(pack_crc32c_portable(0, bytes, 32), 0x46dd794e);
	for (unsigned i = 0; i < 32; i++)
		bytes[i] = (uint8_t)(31 - i);
	ck_assert_uint_eq(pack_crc32c(0, bytes, 32), 0x113fdb5c);
	ck_assert_uint_eq(pack_crc32c(0, "123456789", 9), 0xe3069283);
	ck_assert_uint_eq(pack_crc32c(0, NULL, 0), 0);
}
END_TEST

START_TEST(lengths_and_parts)
{
	uint8_t bytes[100];

	for (unsigned i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(i * 37 + 11);
	for (size_t begin = 0; begin < 9; begin++)
		for (size_t n = 0; begin + n <= sizeof bytes; n++) {
			uint32_t whole = pack_crc32c_portable(0, bytes + begin, n);

			ck_assert_uint_eq(pack_crc32c(0, bytes + begin, n), whole);
			ck_assert_uint_eq(pack_crc32c(pack_crc32c_portable(0, bytes + begin, n / 3),
						      bytes + begin + n / 3, n - n / 3),
					  whole);
		}
}
END_TEST

START_TEST(masked)
{
	/* LevelDB, util/crc32c.h: rotated right by 15 bits, a constant added */
	ck_assert_uint_eq(pack_crc32c_mask(0), 0xa282ead8);
	ck_assert_uint_eq(pack_crc32c_mask(0x8000), 0xa282ead9);
	ck_assert_uint_eq(pack_crc32c_mask(1), 0xa284ead8);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("crc32c");
	TCase *tcase = fixture_case(suite, "crc32c");

	tcase_add_test(tcase, published);
	tcase_add_test(tcase, lengths_and_parts);
	tcase_add_test(tcase, masked);
	return fixture_main(suite);
}
