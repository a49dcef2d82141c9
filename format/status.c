/* SPDX-License-Identifier: MIT */
#include "format/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
	int code;
	const char *words;
} phrases[] = {
	{ GW_OK, "done" },
	{ GW_E_ARGUMENT, "invalid argument" },
	{ GW_E_MEMORY, "out of memory" },
	{ GW_E_IO, "system call failed" },
	{ GW_E_EXISTS, "output exists already" },
	{ GW_E_NOT_FILE, "not a regular file" },
	{ GW_E_CHANGED, "file changed while it was read" },
	{ GW_E_OUTPUT, "output cannot be written there" },
	{ GW_E_TRUNCATED, "truncated" },
	{ GW_E_TRAILING, "longer than it says" },
	{ GW_E_MAGIC, "not a gpt2w pack" },
	{ GW_E_VERSION, "unsupported version" },
	{ GW_E_FEATURE, "unsupported feature" },
	{ GW_E_RESERVED, "reserved byte is not zero" },
	{ GW_E_SUPERBLOCK_DIGEST, "superblock does not match its digest" },
	{ GW_E_LIMIT, "beyond a limit" },
	{ GW_E_LAYOUT, "sizes contradict each other" },
	{ GW_E_DIRECTORY_DIGEST, "directory does not match its digest" },
	{ GW_E_DIGESTS_DIGEST, "block digests do not match their digest" },
	{ GW_E_PROVENANCE_DIGEST, "provenance does not match its digest" },
	{ GW_E_CONTENT_ID, "content id does not match the contents" },
	{ GW_E_NAME, "invalid name" },
	{ GW_E_DTYPE, "unsupported element type" },
	{ GW_E_SHAPE, "invalid shape" },
	{ GW_E_ROLE, "invalid role" },
	{ GW_E_STRIDE, "wrong distance between rows" },
	{ GW_E_ALIGNMENT, "misaligned tensor" },
	{ GW_E_BOUNDS, "tensor reaches past the end" },
	{ GW_E_OVERLAP, "tensors overlap" },
	{ GW_E_PADDING, "padding is not zero" },
	{ GW_E_BLOCK_DIGEST, "block does not match its digest" },
	{ GW_E_BLOCK_CODE, "stored block cannot be decoded" },
	{ GW_E_STORED_DIGEST, "table of stored blocks does not match its digest" },
	{ GW_E_STORED_BLOCK, "stored block does not match its digest" },
	{ GW_E_PATH, "no usable socket path" },
	{ GW_E_CONNECT, "no daemon listens" },
	{ GW_E_TIMEOUT, "timed out" },
	{ GW_E_CLOSED, "connection closed by the peer" },
	{ GW_E_WIRE_LENGTH, "message of the wrong length" },
	{ GW_E_WIRE_MAGIC, "not a message of this protocol" },
	{ GW_E_WIRE_VERSION, "unsupported version of the protocol" },
	{ GW_E_WIRE_TYPE, "unexpected type of message" },
	{ GW_E_WIRE_FIELD, "field of a message out of range" },
	{ GW_E_WIRE_FDS, "wrong number of descriptors" },
	{ GW_E_FD_KIND, "no descriptor of shared memory of ours" },
	{ GW_E_FD_SEALS, "wrong seals" },
	{ GW_E_FD_OTHER, "not the memory that it is said to be" },
	{ GW_E_SOURCE, "malformed checkpoint" },
	{ GW_E_SOURCE_KIND, "unsupported kind of checkpoint" },
	{ GW_E_SOURCE_TABLES, "tables not found in the checkpoint" },
};

const char *gw_strstatus(int code)
{
	for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++)
		if (phrases[i].code == code)
			return phrases[i].words;
	return "unknown error";
}

__attribute__((format(printf, 5, 0))) static int fail(struct gw_error *error, int code,
						      int sys_errno, uint64_t offset,
						      const char *format, va_list arguments)
{
	size_t used;

	if (!error)
		return code;
	error->code = code;
	error->sys_errno = sys_errno;
	error->offset = offset;
	vsnprintf(error->message, sizeof error->message, format, arguments);
	used = strlen(error->message);
	if (sys_errno)
		snprintf(error->message + used, sizeof error->message - used, ": %s",
			 strerrordesc_np(sys_errno) ? strerrordesc_np(sys_errno) : "unknown errno");
	return code;
}

int gw_fail(struct gw_error *error, int code, uint64_t offset, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fail(error, code, 0, offset, format, arguments);
	va_end(arguments);
	return code;
}

int gw_fail_errno(struct gw_error *error, int sys_errno, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fail(error, GW_E_IO, sys_errno, GW_NO_OFFSET, format, arguments);
	va_end(arguments);
	return GW_E_IO;
}

/* Length of the valid UTF-8 sequence of printable character(s) at text, 0 if there is none. C1
 * controls (U+0080 to U+009F) count as unprintable: terminals obey them. */
static size_t printable_length(const uint8_t *text, size_t n)
{
	size_t length;
	uint32_t point;

	if (text[0] >= 0x20 && text[0] < 0x7f)
		return 1;
	if (text[0] < 0xc2 || text[0] > 0xf4)
		return 0;
	length = text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;
	if (length > n)
		return 0;
	point = text[0] & (0x7fu >> length);
	for (size_t i = 1; i < length; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (text[i] & 0x3f);
	}
	if (point < 0xa0 || (length == 3 && point < 0x800) || (length == 4 && point < 0x10000) ||
	    (point >= 0xd800 && point < 0xe000) || point > 0x10ffff)
		return 0;
	/* marks that reorder or hide text: bidirectional controls, zero-width characters */
	if ((point >= 0x200b && point <= 0x200f) || (point >= 0x2028 && point <= 0x202e) ||
	    (point >= 0x2066 && point <= 0x2069) || point == 0xfeff)
		return 0;
	return length;
}

char *gw_quote(const char *text, size_t text_bytes, char *out, size_t out_bytes)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *from = (const uint8_t *)text;
	size_t used = 0;

	if (out_bytes == 0)
		return out;
	for (size_t i = 0; i < text_bytes;) {
		size_t length = printable_length(from + i, text_bytes - i);
		size_t width = length && from[i] != '\\' ? length : 4;

		/* room for this one, and for "..." and the NUL unless it is the last */
		if (used + width + (i + (length ? length : 1) < text_bytes ? 4 : 1) > out_bytes) {
			for (int dot = 0; dot < 3 && used + 1 < out_bytes; dot++)
				out[used++] = '.';
			break;
		}
		if (width == 4 && (length != 4 || from[i] == '\\')) {
			out[used++] = '\\';
			out[used++] = 'x';
			out[used++] = digits[from[i] >> 4];
			out[used++] = digits[from[i] & 15];
			i++;
		} else {
			memcpy(out + used, from + i, length);
			used += length;
			i += length;
		}
	}
	out[used] = '\0';
	return out;
}
