/* SPDX-License-Identifier: MIT */
#include "tools/embed/npy.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "format/bytes.h"
#include "format/checked.h"

/* The dictionary of the header, a Python literal, and what was found in it. */
struct embed_npy {
	const char *text;
	size_t at, n;
	uint64_t offset; /* of text in the file */
	bool has_descr, has_order, has_shape;
	const char *descr; /* into text */
	size_t descr_bytes;
	bool is_fortran;
	unsigned rank;
	uint64_t shape[2]; /* the first two dimensions */
};

static int embed_npy_fail(const struct embed_npy *npy, const char *what, struct gw_error *error)
{
	return gw_fail(error, EMBED_E_NPY, npy->offset + npy->at,
		       ".npy header: %s at byte %" PRIu64, what, npy->offset + npy->at);
}

static void embed_npy_space(struct embed_npy *npy)
{
	while (npy->at < npy->n && npy->text[npy->at] == ' ')
		npy->at++;
}

/* Takes c, after spaces, if it comes next. */
static bool embed_npy_next(struct embed_npy *npy, char c)
{
	embed_npy_space(npy);
	if (npy->at == npy->n || npy->text[npy->at] != c)
		return false;
	npy->at++;
	return true;
}

static bool embed_npy_word(struct embed_npy *npy, const char *word)
{
	size_t n = strlen(word);

	embed_npy_space(npy);
	if (npy->n - npy->at < n || memcmp(npy->text + npy->at, word, n) != 0)
		return false;
	npy->at += n;
	return true;
}

/* A string in either quotes, without escapes. */
static int embed_npy_string(struct embed_npy *npy, const char **out, size_t *out_bytes,
			    struct gw_error *error)
{
	const char *start, *end;
	char quote = embed_npy_next(npy, '\'') ? '\'' : '"';

	if (quote == '"' && !embed_npy_next(npy, '"'))
		return embed_npy_fail(npy, "no string", error);
	start = npy->text + npy->at;
	end = memchr(start, quote, npy->n - npy->at);
	if (!end || memchr(start, '\\', (size_t)(end - start)))
		return embed_npy_fail(npy, "a string without end or with an escape", error);
	npy->at += (size_t)(end - start) + 1;
	*out = start;
	*out_bytes = (size_t)(end - start);
	return 0;
}

static int embed_npy_dimension(struct embed_npy *npy, struct gw_error *error)
{
	uint64_t value = 0;
	size_t start;

	embed_npy_space(npy);
	for (start = npy->at; npy->at < npy->n && isdigit((unsigned char)npy->text[npy->at]);
	     npy->at++)
		if (!gw_mul(value, 10, &value) ||
		    !gw_add(value, (uint64_t)(npy->text[npy->at] - '0'), &value))
			return embed_npy_fail(npy, "a dimension beyond 2^64", error);
	if (npy->at == start)
		return embed_npy_fail(npy, "no dimension", error);
	if (npy->rank < 2)
		npy->shape[npy->rank] = value;
	npy->rank++;
	return 0;
}

/* (), (n,), (b, s), (b, s,) … */
static int embed_npy_shape(struct embed_npy *npy, struct gw_error *error)
{
	bool has_comma = true;
	int ret;

	if (!embed_npy_next(npy, '('))
		return embed_npy_fail(npy, "no shape", error);
	while (!embed_npy_next(npy, ')')) {
		if (!has_comma)
			return embed_npy_fail(npy, "no comma", error);
		ret = embed_npy_dimension(npy, error);
		if (ret)
			return ret;
		has_comma = embed_npy_next(npy, ',');
	}
	if (npy->rank == 1 && !has_comma)
		return embed_npy_fail(npy, "a number instead of a shape", error);
	return 0;
}

static int embed_npy_value(struct embed_npy *npy, const char *key, size_t key_bytes,
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
		return embed_npy_fail(npy, has ? "a key twice" : "an unknown key", error);
	*has = true;
	if (has == &npy->has_shape)
		return embed_npy_shape(npy, error);
	if (has == &npy->has_descr) {
		embed_npy_space(npy);
		if (npy->at < npy->n && npy->text[npy->at] == '[')
			return gw_fail(error, EMBED_E_KIND, npy->offset + npy->at,
				       ".npy: a structured array, not ids");
		return embed_npy_string(npy, &npy->descr, &npy->descr_bytes, error);
	}
	npy->is_fortran = embed_npy_word(npy, "True");
	if (!npy->is_fortran && !embed_npy_word(npy, "False"))
		return embed_npy_fail(npy, "fortran_order is neither True nor False", error);
	return 0;
}

static int embed_npy_dictionary(struct embed_npy *npy, struct gw_error *error)
{
	bool has_comma = true;
	const char *key;
	size_t key_bytes;
	int ret;

	if (!embed_npy_next(npy, '{'))
		return embed_npy_fail(npy, "no dictionary", error);
	while (!embed_npy_next(npy, '}')) {
		if (!has_comma)
			return embed_npy_fail(npy, "no comma", error);
		ret = embed_npy_string(npy, &key, &key_bytes, error);
		if (ret)
			return ret;
		if (!embed_npy_next(npy, ':'))
			return embed_npy_fail(npy, "no colon", error);
		ret = embed_npy_value(npy, key, key_bytes, error);
		if (ret)
			return ret;
		has_comma = embed_npy_next(npy, ',');
	}
	if (!embed_npy_next(npy, '\n') || npy->at != npy->n)
		return embed_npy_fail(npy, "something other than spaces and a newline", error);
	if (!npy->has_descr || !npy->has_order || !npy->has_shape)
		return embed_npy_fail(npy, "descr, fortran_order or shape missing", error);
	return 0;
}

/* What the dictionary says, as a layout. */
static int embed_npy_layout(const struct embed_npy *npy, struct embed_layout *out,
			    struct gw_error *error)
{
	const char *descr = npy->descr;
	uint64_t count = 1;
	char quoted[64];

	if (npy->descr_bytes != 3 || (descr[0] != '<' && descr[0] != '>') || descr[1] != 'i' ||
	    (descr[2] != '4' && descr[2] != '8'))
		return gw_fail(error, EMBED_E_KIND, npy->offset,
			       ".npy: elements of type \"%s\"; ids are int32 or int64: "
			       "array.astype(\"int32\")",
			       gw_quote(descr, npy->descr_bytes, quoted, sizeof quoted));
	if (npy->rank != 1 && npy->rank != 2)
		return gw_fail(error, EMBED_E_KIND, npy->offset,
			       ".npy: %u dimensions; ids have one, or two: [batch, seq]",
			       npy->rank);
	for (unsigned i = 0; i < npy->rank; i++)
		if (!gw_mul(count, npy->shape[i], &count))
			count = UINT64_MAX;
	if (count == 0 || count > EMBED_MAX_IDS)
		return gw_fail(error, EMBED_E_COUNT, npy->offset,
			       ".npy: the shape has %s ids; from 1 to %" PRIu64
			       " are taken at once",
			       count ? "too many" : "no", EMBED_MAX_IDS);
	*out = (struct embed_layout) {
		.width_bytes = (unsigned)(descr[2] - '0'),
		.is_signed = true,
		.is_big_endian = descr[0] == '>',
		.is_fortran = npy->is_fortran && npy->rank == 2,
		.count = count,
		.batch = npy->rank == 2 ? npy->shape[0] : 0,
		.seq = npy->rank == 2 ? npy->shape[1] : 0,
	};
	return 0;
}

/* Takes magic, version and length; *out_bytes is the length of the dictionary. */
static int embed_npy_preamble(struct embed_source *source, uint32_t *out_bytes,
			      struct gw_error *error)
{
	const uint8_t *data;
	struct gw_bytes bytes;
	size_t n, preamble_bytes;
	uint8_t major;
	int ret = embed_source_peek(source, 12, &data, &n, error);

	if (ret)
		return ret;
	bytes = gw_bytes_read(data, n);
	major = gw_get_u8(&bytes, 6);
	preamble_bytes = major == 1 ? 10 : 12;
	if (n < preamble_bytes)
		return gw_fail(error, EMBED_E_NPY, n, ".npy header: cut off at byte %zu", n);
	if (major < 1 || major > 3 || gw_get_u8(&bytes, 7) != 0)
		return gw_fail(error, EMBED_E_NPY, 6,
			       ".npy version %u.%u; 1.0, 2.0 and 3.0 are known", major,
			       gw_get_u8(&bytes, 7));
	*out_bytes = major == 1 ? gw_get_u16(&bytes, 8) : gw_get_u32(&bytes, 8);
	if (*out_bytes > EMBED_NPY_MAX_HEADER_BYTES)
		return gw_fail(error, EMBED_E_NPY, 8,
			       ".npy header of %" PRIu32 " bytes; at most %d are read", *out_bytes,
			       EMBED_NPY_MAX_HEADER_BYTES);
	embed_source_take(source, preamble_bytes);
	return 0;
}

int embed_npy_read_header(struct embed_source *source, struct embed_layout *out,
			  struct gw_error *error)
{
	char text[EMBED_NPY_MAX_HEADER_BYTES];
	struct embed_npy npy = { .text = text };
	struct embed_layout layout;
	const uint8_t *data;
	uint32_t header_bytes = 0;
	uint64_t rest_bytes;
	int ret = embed_npy_preamble(source, &header_bytes, error);

	if (!ret)
		ret = embed_source_peek(source, header_bytes, &data, &npy.n, error);
	if (ret)
		return ret;
	npy.offset = source->taken_bytes;
	if (npy.n < header_bytes)
		return gw_fail(error, EMBED_E_NPY, npy.offset + npy.n,
			       ".npy header: cut off at byte %" PRIu64, npy.offset + npy.n);
	memcpy(text, data, npy.n);
	embed_source_take(source, npy.n);
	ret = embed_npy_dictionary(&npy, error);
	if (!ret)
		ret = embed_npy_layout(&npy, &layout, error);
	if (ret)
		return ret;
	rest_bytes = source->size_bytes - source->taken_bytes;
	if (source->is_regular && rest_bytes != layout.count * layout.width_bytes)
		return gw_fail(error, EMBED_E_SIZE, source->taken_bytes,
			       ".npy: %" PRIu64 " bytes after the header instead of %" PRIu64
			       " (%" PRIu64 " ids of %u bytes)",
			       rest_bytes, layout.count * layout.width_bytes, layout.count,
			       layout.width_bytes);
	*out = layout;
	return 0;
}

void embed_npy_write_header(uint64_t batch, uint64_t seq, uint64_t n_embd,
			    uint8_t out[EMBED_NPY_OUT_BYTES])
{
	struct gw_bytes bytes = gw_bytes_write(out, EMBED_NPY_OUT_BYTES);
	char text[EMBED_NPY_OUT_BYTES - 10 + 1];
	int n = snprintf(text, sizeof text,
			 "{'descr': '<f4', 'fortran_order': False, 'shape': (%" PRIu64 ", %" PRIu64
			 ", %" PRIu64 "), }",
			 batch, seq, n_embd);

	memset(out, ' ', EMBED_NPY_OUT_BYTES);
	gw_put_bytes(&bytes, 0, EMBED_NPY_MAGIC "\x01", EMBED_NPY_MAGIC_BYTES + 2);
	gw_put_u16(&bytes, 8, EMBED_NPY_OUT_BYTES - 10);
	gw_put_bytes(&bytes, 10, text, (uint64_t)n);
	gw_put_u8(&bytes, EMBED_NPY_OUT_BYTES - 1, '\n');
}
