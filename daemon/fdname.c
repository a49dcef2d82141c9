/* SPDX-License-Identifier: MIT */
#include "daemon/fdname.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/digits.h"
#include "format/bytes.h"
#include "format/directory.h"

#define PREFIX "gpt2d/"
#define VERSION "1/"
/* The longest field: the digest, in hexadecimal. */
#define FIELD_BYTES (2 * sizeof(struct gw_digest) + 1)

static const char *const kinds[] = { [GD_FDNAME_BOARD] = "board",
				     [GD_FDNAME_IMAGE] = "image",
				     [GD_FDNAME_SOCKET] = "socket" };

static bool is_plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '-' || c == '_';
}

static bool append(char *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool append(char *out, const char *format, ...)
{
	size_t used = strlen(out);
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vsnprintf(out + used, GD_FDNAME_BYTES - used, format, arguments);
	va_end(arguments);
	return n >= 0 && (size_t)n < GD_FDNAME_BYTES - used;
}

static bool append_model(char *out, const char *model)
{
	bool fits = true;

	for (; *model && fits; model++)
		fits = append(out, is_plain(*model) ? "%c" : "%%%02x", (unsigned char)*model);
	return fits;
}

static bool append_image(char *out, const struct gd_fdname *name)
{
	bool fits = append(out, "%" PRIu64 "/%" PRIu64 "/%" PRIu32 "/", name->inode,
			   name->generation, name->epoch);

	for (size_t i = 0; i < sizeof name->digest.bytes; i++)
		fits = fits && append(out, "%02x", name->digest.bytes[i]);
	return fits && append(out, "/") && append_model(out, name->model);
}

bool gd_fdname_format(const struct gd_fdname *name, char out[GD_FDNAME_BYTES])
{
	out[0] = '\0';
	append(out, PREFIX VERSION "%s/", kinds[name->kind]);
	if (name->kind == GD_FDNAME_SOCKET)
		return append(out, "%" PRIu64 "/%" PRIu64, name->device, name->inode);
	if (name->kind == GD_FDNAME_IMAGE)
		return append_image(out, name);
	return append(out, "%" PRIu64 "/", name->inode) && append_model(out, name->model);
}

bool gd_fdname_is_ours(const char *text)
{
	return strncmp(text, PREFIX, strlen(PREFIX)) == 0;
}

bool gd_fdname_is_valid(const char *text)
{
	size_t n = strlen(text);

	for (size_t i = 0; i < n; i++)
		if (text[i] < ' ' || text[i] == 0x7f || text[i] == ':')
			return false;
	return n > 0 && n < GD_FDNAME_BYTES;
}

/* Moves *text past its next field, which ends at a slash or with the text; copies that. */
static bool next_field(const char **text, char out[FIELD_BYTES])
{
	size_t n = strcspn(*text, "/");

	if (n >= FIELD_BYTES)
		return false;
	memcpy(out, *text, n);
	out[n] = '\0';
	*text += n + ((*text)[n] == '/');
	return true;
}

static bool next_number(const char **text, uint64_t most, uint64_t *out)
{
	char field[FIELD_BYTES];

	return next_field(text, field) && gd_digits(field, most, out);
}

static int hex_of(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hex(const char *text, uint8_t *out)
{
	int high = hex_of(text[0]), low = high < 0 ? -1 : hex_of(text[1]);

	if (low < 0)
		return false;
	*out = (uint8_t)(high << 4 | low);
	return true;
}

static bool next_digest(const char **text, struct gw_digest *out)
{
	char field[FIELD_BYTES];

	if (!next_field(text, field))
		return false;
	for (size_t i = 0; i < sizeof out->bytes; i++)
		if (!read_hex(field + 2 * i, &out->bytes[i]))
			return false;
	return true;
}

static bool read_model(const char *text, char out[WIRE_MODEL_BYTES])
{
	size_t n = 0;

	memset(out, 0, WIRE_MODEL_BYTES);
	for (; *text; n++) {
		uint8_t byte = (uint8_t)*text;

		if (n + 1 >= WIRE_MODEL_BYTES || (*text == '%' && !read_hex(text + 1, &byte)))
			return false;
		text += *text == '%' ? 3 : 1;
		out[n] = (char)byte;
	}
	return gw_string_length((const uint8_t *)out, WIRE_MODEL_BYTES) > 0;
}

static bool read_fields(const char *text, struct gd_fdname *out)
{
	uint64_t epoch;

	if (out->kind == GD_FDNAME_SOCKET)
		return next_number(&text, UINT64_MAX, &out->device) &&
		       next_number(&text, UINT64_MAX, &out->inode);
	if (!next_number(&text, UINT64_MAX, &out->inode))
		return false;
	if (out->kind == GD_FDNAME_IMAGE) {
		if (!next_number(&text, INT64_MAX, &out->generation) ||
		    !next_number(&text, UINT32_MAX, &epoch) || !next_digest(&text, &out->digest))
			return false;
		out->epoch = (uint32_t)epoch;
	}
	return read_model(text, out->model);
}

static bool read_kind(const char **text, struct gd_fdname *out)
{
	char field[FIELD_BYTES];

	if (!next_field(text, field))
		return false;
	for (out->kind = GD_FDNAME_BOARD; out->kind <= GD_FDNAME_SOCKET; out->kind++)
		if (strcmp(field, kinds[out->kind]) == 0)
			return true;
	return false;
}

int gd_fdname_parse(const char *text, struct gd_fdname *out, struct gw_error *error)
{
	struct gd_fdname name = { 0 };
	char again[GD_FDNAME_BYTES];
	const char *at = text + strlen(PREFIX);

	if (!gd_fdname_is_ours(text))
		return gw_fail(error, GW_E_NAME, GW_NO_OFFSET, "its name is not one of ours");
	if (strncmp(at, VERSION, strlen(VERSION)) != 0)
		return gw_fail(error, GW_E_VERSION, GW_NO_OFFSET, "another version stored it");
	at += strlen(VERSION);
	/* one name has one spelling: what is written as it was read */
	if (!read_kind(&at, &name) || !read_fields(at, &name) || !gd_fdname_format(&name, again) ||
	    strcmp(again, text) != 0)
		return gw_fail(error, GW_E_NAME, GW_NO_OFFSET, "its name is malformed");
	*out = name;
	return GW_OK;
}
