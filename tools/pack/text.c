/* SPDX-License-Identifier: MIT */
#include "tools/pack/text.h"

/* Length of the sequence at text, of which n bytes are left; 0 if it is none. */
static size_t pack_text_sequence(const uint8_t *text, size_t n)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint8_t first = text[0];
	size_t length = first < 0x80   ? 1
			: first < 0xc0 ? 0
			: first < 0xe0 ? 2
			: first < 0xf0 ? 3
				       : 4;
	uint32_t value = first & (0x7fU >> (length > 1 ? length : 0));

	if (length == 0 || length > n || first > 0xf4)
		return 0;
	for (size_t i = 1; i < length; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		value = value << 6 | (text[i] & 0x3f);
	}
	if (value < least[length] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
		return 0;
	return length;
}

bool pack_text_valid(const uint8_t *text, size_t n)
{
	size_t length;

	for (size_t i = 0; i < n; i += length) {
		length = pack_text_sequence(text + i, n - i);
		if (length == 0 || text[i] == 0)
			return false;
	}
	return true;
}
