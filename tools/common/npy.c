/* SPDX-License-Identifier: MIT */
#include "tools/common/npy.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "format/bytes.h"
#include "format/checked.h"

/* The dictionary of the header, a Python literal, and what was found in it. */
struct tool_npy_text {
	const char *text;
	size_t at, n;
	uint64_t offset; /* of text in the file */
	bool has_descr, has_order, has_shape;
	struct tool_npy found;
};

static int tool_npy_fail(const struct tool_npy_text *npy, const char *what, struct gw_error *error)
{
	return gw_fail(error, GW_E_SOURCE, npy->offset + npy->at,
		       ".npy header: %s at byte %" PRIu64, what, npy->offset + npy->at);
}

static void tool_npy_space(struct tool_npy_text *npy)
{
	while (npy->at < npy->n && npy->text[npy->at] == ' ')
		npy->at++;
}

/* Takes c, after spaces, if it comes next. */
static bool tool_npy_next(struct tool_npy_text *npy, char c)
{
	tool_npy_space(npy);
	if (npy->at == npy->n || npy->text[npy->at] != c)
		return false;
	npy->at++;
	return true;
}

static bool tool_npy_word(struct tool_npy_text *npy, const char *word)
{
	size_t n = strlen(word);

	tool_npy_space(npy);
	if (npy->n - npy->at < n || memcmp(npy->text + npy->at, word, n) != 0)
		return false;
	npy->at += n;
	return true;
}

/* A string in either quotes, without escapes. */
static int tool_npy_string(struct tool_npy_text *npy, const char **out, size_t *out_bytes,
			    struct gw_error *error)
{
	const char *start, *end;
	char quote = tool_npy_next(npy, '\'') ? '\'' : '"';

	if (quote == '"' && !tool_npy_next(npy, '"'))
		return tool_npy_fail(npy, "no string", error);
	start = npy->text + npy->at;
	end = memchr(start, quote, npy->n - npy->at);
	if (!end || memchr(start, '\\', (size_t)(end - start)))
		return tool_npy_fail(npy, "a string without end or with an escape", error);
	npy->at += (size_t)(end - start) + 1;
	*out = start;
	*out_bytes = (size_t)(end - start);
	return 0;
}

static int tool_npy_dimension(struct tool_npy_text *npy, struct gw_error *error)
{
	uint64_t value = 0;
	size_t start;

	tool_npy_space(npy);
	for (start = npy->at; npy->at < npy->n && isdigit((unsigned char)npy->text[npy->at]);
	     npy->at++)
		if (!gw_mul(value, 10, &value) ||
		    !gw_add(value, (uint64_t)(npy->text[npy->at] - '0'), &value))
			return tool_npy_fail(npy, "a dimension beyond 2^64", error);
	if (npy->at == start)
		return tool_npy_fail(npy, "no dimension", error);
	if (npy->found.rank < GW_MAX_RANK)
		npy->found.shape[npy->found.rank] = value;
	npy->found.rank++;
	return 0;
}

/* (), (n,), (b, s), (b, s,) … */
static int tool_npy_shape(struct tool_npy_text *npy, struct gw_error *error)
{
	bool has_comma = true;
	int ret;

	if (!tool_npy_next(npy, '('))
		return tool_npy_fail(npy, "no shape", error);
	while (!tool_npy_next(npy, ')')) {
		if (!has_comma)
			return tool_npy_fail(npy, "no comma", error);
		ret = tool_npy_dimension(npy, error);
		if (ret)
			return ret;
		has_comma = tool_npy_next(npy, ',');
	}
	if (npy->found.rank == 1 && !has_comma)
		return tool_npy_fail(npy, "a number instead of a shape", error);
	return 0;
}

static int tool_npy_value(struct tool_npy_text *npy, const char *key, size_t key_bytes,
			   struct gw_error *error)
{
	bool *has = NULL;

	if (key_bytes == 5 && memcmp(key, "descr", 5) == 0)
		has = &npy->has_descr;
	else if (key_bytes == 13 && memcmp(key, "fortran_order", 13) == 0)
		has = &npy->has_order;
	else if (key_bytes == 5 && memcmp(key, "shape", 5) == 0)
		has = &npy->has_shape;
	if (!has || *has)
		return tool_npy_fail(npy, has ? "a key twice" : "an unknown key", error);
	*has = true;
	if (has == &npy->has_shape)
		return tool_npy_shape(npy, error);
	if (has == &npy->has_descr) {
		tool_npy_space(npy);
		if (npy->at < npy->n && npy->text[npy->at] == '[')
			return gw_fail(error, GW_E_SOURCE_KIND, npy->offset + npy->at,
				       ".npy: a structured array");
		return tool_npy_string(npy, &npy->found.descr, &npy->found.descr_bytes, error);
	}
	npy->found.is_fortran = tool_npy_word(npy, "True");
	if (!npy->found.is_fortran && !tool_npy_word(npy, "False"))
		return tool_npy_fail(npy, "fortran_order is neither True nor False", error);
	return 0;
}

static int tool_npy_dictionary(struct tool_npy_text *npy, struct gw_error *error)
{
	bool has_comma = true;
	const char *key;
	size_t key_bytes;
	int ret;

	if (!tool_npy_next(npy, '{'))
		return tool_npy_fail(npy, "no dictionary", error);
	while (!tool_npy_next(npy, '}')) {
		if (!has_comma)
			return tool_npy_fail(npy, "no comma", error);
		ret = tool_npy_string(npy, &key, &key_bytes, error);
		if (ret)
			return ret;
		if (!tool_npy_next(npy, ':'))
			return tool_npy_fail(npy, "no colon", error);
		ret = tool_npy_value(npy, key, key_bytes, error);
		if (ret)
			return ret;
		has_comma = tool_npy_next(npy, ',');
	}
	if (!tool_npy_next(npy, '\n') || npy->at != npy->n)
		return tool_npy_fail(npy, "something other than spaces and a newline", error);
	if (!npy->has_descr || !npy->has_order || !npy->has_shape)
		return tool_npy_fail(npy, "descr, fortran_order or shape missing", error);
	return 0;
}

int tool_npy_parse(const char *text, size_t n, uint64_t offset, struct tool_npy *out,
		   struct gw_error *error)
{
	struct tool_npy_text npy = { .text = text, .n = n, .offset = offset };
	int ret = tool_npy_dictionary(&npy, error);

	if (ret)
		return ret;
	*out = npy.found;
	return 0;
}

int tool_npy_preamble(const uint8_t *bytes, size_t n, unsigned *out_preamble_bytes,
		      uint32_t *out_header_bytes, struct gw_error *error)
{
	struct gw_bytes window = gw_bytes_read(bytes, n);
	uint8_t major = n > 6 ? gw_get_u8(&window, 6) : 0;
	unsigned preamble_bytes = major == 1 ? 10 : 12;
	uint32_t header_bytes;

	if (n < preamble_bytes)
		return gw_fail(error, GW_E_SOURCE, n, ".npy header: cut off at byte %zu", n);
	if (major < 1 || major > 3 || gw_get_u8(&window, 7) != 0)
		return gw_fail(error, GW_E_SOURCE, 6,
			       ".npy version %u.%u; 1.0, 2.0 and 3.0 are known", major,
			       gw_get_u8(&window, 7));
	header_bytes = major == 1 ? gw_get_u16(&window, 8) : gw_get_u32(&window, 8);
	if (header_bytes > TOOL_NPY_MAX_HEADER_BYTES)
		return gw_fail(error, GW_E_SOURCE, 8,
			       ".npy header of %" PRIu32 " bytes; at most %d are read",
			       header_bytes, TOOL_NPY_MAX_HEADER_BYTES);
	*out_preamble_bytes = preamble_bytes;
	*out_header_bytes = header_bytes;
	return 0;
}
