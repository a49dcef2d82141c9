/* SPDX-License-Identifier: MIT */
#include "tools/embed/text.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

void embed_text_init(struct embed_text *text, struct embed_ids *ids)
{
	*text = (struct embed_text) { .ids = ids, .is_after_comma = true };
}

static bool embed_is_space(uint8_t byte)
{
	return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

/* Quotes the word, which may have been cut. */
static const char *embed_text_quote(const struct embed_text *text, char *out, size_t out_bytes)
{
	size_t n = text->word_bytes < sizeof text->word ? text->word_bytes : sizeof text->word;
	size_t length;

	gw_quote(text->word, n, out, out_bytes);
	length = strlen(out);
	if (text->word_bytes > n && length + 4 <= out_bytes)
		memcpy(out + length, "...", 4);
	return out;
}

/*
 * The number in word, cut to the range of int64_t: what lies beyond is outside every vocabulary.
 * False: not a decimal number.
 */
static bool embed_text_number(const struct embed_text *text, int64_t *out)
{
	bool is_negative = text->word[0] == '-';
	size_t i = is_negative || text->word[0] == '+' ? 1 : 0;
	int64_t value = 0;

	/* one longer than word is all digits, or embed_text_feed would have refused it */
	if (i == text->word_bytes)
		return false;
	for (; i < text->word_bytes && i < sizeof text->word; i++) {
		if (!isdigit((unsigned char)text->word[i]))
			return false;
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, text->word[i] - '0', &value))
			value = INT64_MAX / 10;
	}
	*out = is_negative ? -value : value;
	return true;
}

static int embed_text_word(struct embed_text *text, struct gw_error *error)
{
	uint64_t index = text->ids->count;
	char quoted[160];
	int64_t id;

	if (text->word_bytes == 0)
		return 0;
	embed_text_quote(text, quoted, sizeof quoted);
	if (!embed_text_number(text, &id))
		return gw_fail(error, EMBED_E_TEXT, text->word_offset,
			       "\"%s\" at byte %" PRIu64 " is not a decimal id", quoted,
			       text->word_offset);
	if (id < 0 || (uint64_t)id >= text->ids->n_vocab)
		return gw_fail(error, EMBED_E_ID, text->word_offset,
			       "id %s at index %" PRIu64 " is outside 0 to %" PRIu64, quoted, index,
			       text->ids->n_vocab - 1);
	text->word_bytes = 0;
	text->is_after_comma = false;
	return embed_ids_push(text->ids, index, id, error);
}

static int embed_text_comma(struct embed_text *text, struct gw_error *error)
{
	if (text->is_after_comma)
		return gw_fail(error, EMBED_E_TEXT, text->offset,
			       "the comma at byte %" PRIu64 " has no id before it", text->offset);
	text->is_after_comma = true;
	return 0;
}

/* Whether the word is a zero so far: more of them do not count, so a cut word keeps its value. */
static bool embed_text_is_zero(const struct embed_text *text)
{
	size_t n = text->word_bytes;
	bool has_sign = n > 0 && (text->word[0] == '-' || text->word[0] == '+');

	return n == (has_sign ? 2 : 1) && text->word[n - 1] == '0';
}

/* A byte of a number. Anything else is refused here, so that binary data ends at its first byte. */
static int embed_text_add(struct embed_text *text, uint8_t byte, struct gw_error *error)
{
	if (text->word_bytes == 0)
		text->word_offset = text->offset;
	if (byte < ' ' || byte > '~')
		return gw_fail(error, EMBED_E_TEXT, text->offset,
			       "byte %" PRIu64 " (0x%02x) is no text; binary ids are known by the "
			       "endings .i32, .bin and .npy",
			       text->offset, byte);
	if (byte == '0' && embed_text_is_zero(text))
		return 0;
	if (text->word_bytes >= sizeof text->word && !isdigit(byte))
		return gw_fail(error, EMBED_E_TEXT, text->offset,
			       "byte %" PRIu64 " is not a digit of a decimal id", text->offset);
	if (text->word_bytes < sizeof text->word)
		text->word[text->word_bytes] = (char)byte;
	text->word_bytes++;
	return 0;
}

int embed_text_feed(struct embed_text *text, const uint8_t *bytes, size_t n, struct gw_error *error)
{
	int ret = 0;

	for (size_t i = 0; i < n && !ret; i++, text->offset++) {
		if (!embed_is_space(bytes[i]) && bytes[i] != ',') {
			ret = embed_text_add(text, bytes[i], error);
			continue;
		}
		ret = embed_text_word(text, error);
		if (!ret && bytes[i] == ',')
			ret = embed_text_comma(text, error);
	}
	return ret;
}

int embed_text_end(struct embed_text *text, struct gw_error *error)
{
	return embed_text_word(text, error);
}
