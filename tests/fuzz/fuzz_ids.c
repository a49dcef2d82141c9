/* SPDX-License-Identifier: MIT */
/*
 * Token ids. The first byte of an input chooses what its name ends in, the size of the vocabulary,
 * and whether it is a file or a stream; the second where a text is cut into pieces.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/bytes.h"
#include "tests/fuzz/fuzz.h"
#include "tools/common/npy.h"
#include "tools/embed/ids.h"
#include "tools/embed/text.h"

/* Twice the ids of an input of the largest size, and the source with its buffer. */
#define MEMORY_BYTES (UINT64_C(16) << 20)
#define MAX_INPUT_BYTES (UINT64_C(1) << 19)
#define CHOICE_BYTES 2

static const char *const names[] = { "ids", "ids.bin", "ids.i32", "ids.npy" };
static const uint64_t vocabularies[] = { 50257, 1, 65536, UINT64_C(2147483647) };

static void check_values(const struct embed_ids *ids)
{
	FUZZ_CHECK(ids->count >= 1 && ids->count <= EMBED_MAX_IDS && ids->count <= ids->capacity);
	for (uint64_t i = 0; i < ids->count; i++)
		FUZZ_CHECK(ids->values[i] >= 0 && (uint64_t)ids->values[i] < ids->n_vocab);
	FUZZ_CHECK((ids->batch == 0) == (ids->seq == 0));
	FUZZ_CHECK(ids->batch == 0 || ids->batch * ids->seq == ids->count);
}

/* Files without a header are what their name says. */
static void check_plain(const struct embed_ids *ids, const char *name, const uint8_t *data,
			size_t bytes)
{
	struct gw_bytes in = gw_bytes_read(data, bytes);
	unsigned width = strcmp(name, "ids.bin") == 0 ? 2 : strcmp(name, "ids.i32") == 0 ? 4 : 0;

	if (width == 0 || gw_get_u32(&in, 0) == 20240520)
		return;
	if (bytes >= TOOL_NPY_MAGIC_BYTES &&
	    memcmp(data, TOOL_NPY_MAGIC, TOOL_NPY_MAGIC_BYTES) == 0)
		return;
	in.overrun = false;
	FUZZ_CHECK(ids->count * width == bytes);
	for (uint64_t i = 0; i < ids->count; i++)
		FUZZ_CHECK((uint64_t)ids->values[i] == gw_get(&in, i * width, width));
	FUZZ_CHECK(!in.overrun);
}

/* Written as text, they are read as the same ids. */
static void check_as_text(const struct embed_ids *ids)
{
	struct gw_error error = GW_ERROR_INIT;
	struct embed_ids again;
	struct embed_text text;
	char word[24];

	embed_ids_init(&again, ids->n_vocab);
	embed_text_init(&text, &again);
	for (uint64_t i = 0; i < ids->count; i++) {
		int n = snprintf(word, sizeof word, "%s%" PRId32, i ? i % 2 ? ", " : "\n" : "",
				 ids->values[i]);

		FUZZ_CHECK(!embed_text_feed(&text, (const uint8_t *)word, (size_t)n, &error));
	}
	FUZZ_CHECK(!embed_text_end(&text, &error));
	FUZZ_CHECK(again.count == ids->count);
	FUZZ_CHECK(memcmp(again.values, ids->values, ids->count * sizeof *ids->values) == 0);
	embed_ids_deinit(&again);
}

/* The whole input, as a file or as a stream of which only reading tells the size. */
static void run_source(const char *name, uint64_t n_vocab, bool is_stream, const uint8_t *data,
		       size_t bytes)
{
	static struct embed_source source;
	const char *path = fuzz_file(data, bytes, bytes);
	struct fuzz_resources before = fuzz_resources_start(MEMORY_BYTES);
	struct gw_error error = GW_ERROR_INIT;
	struct embed_ids ids;
	int code;

	embed_ids_init(&ids, n_vocab);
	FUZZ_CHECK(!embed_source_open(path, &source, &error));
	source.name = name;
	if (is_stream) {
		source.is_regular = false;
		source.size_bytes = 0;
	}
	code = embed_ids_from_source(&ids, &source, &error);
	embed_source_close(&source);
	if (code) {
		fuzz_check_error(code, &error);
		FUZZ_CHECK(code <= EMBED_E_ID && code >= EMBED_E_COUNT);
	} else {
		check_values(&ids);
		check_plain(&ids, name, data, bytes);
		check_as_text(&ids);
	}
	embed_ids_deinit(&ids);
	fuzz_resources_end(&before);
}

/* Feeds a text in pieces of so many bytes; 0: in one. */
static int feed(struct embed_ids *ids, const uint8_t *data, size_t bytes, size_t piece_bytes,
		struct gw_error *error)
{
	struct embed_text text;
	int code = 0;

	embed_text_init(&text, ids);
	for (size_t at = 0, n; at < bytes && !code; at += n) {
		n = piece_bytes && piece_bytes < bytes - at ? piece_bytes : bytes - at;
		code = embed_text_feed(&text, data + at, n, error);
	}
	return code ? code : embed_text_end(&text, error);
}

/* Where a text is cut makes no difference, to what is read or to what is wrong with it. */
static void run_pieces(uint64_t n_vocab, const uint8_t *data, size_t bytes, size_t piece_bytes)
{
	struct gw_error error = GW_ERROR_INIT, error_pieces = GW_ERROR_INIT;
	struct embed_ids ids, pieces;
	int code;

	embed_ids_init(&ids, n_vocab);
	embed_ids_init(&pieces, n_vocab);
	code = feed(&ids, data, bytes, 0, &error);
	FUZZ_CHECK(feed(&pieces, data, bytes, piece_bytes, &error_pieces) == code);
	FUZZ_CHECK(error.offset == error_pieces.offset);
	FUZZ_CHECK(strcmp(error.message, error_pieces.message) == 0);
	FUZZ_CHECK(ids.count == pieces.count);
	if (ids.count)
		FUZZ_CHECK(memcmp(ids.values, pieces.values, ids.count * sizeof *ids.values) == 0);
	embed_ids_deinit(&ids);
	embed_ids_deinit(&pieces);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	uint64_t n_vocab;

	if (bytes < CHOICE_BYTES || bytes > MAX_INPUT_BYTES)
		return 0;
	n_vocab = vocabularies[data[0] / 4 % 4];
	run_source(names[data[0] % 4], n_vocab, data[0] & 0x40, data + CHOICE_BYTES,
		   bytes - CHOICE_BYTES);
	if (data[0] % 4 == 0)
		run_pieces(n_vocab, data + CHOICE_BYTES, bytes - CHOICE_BYTES,
			   (size_t)data[1] % 64 + 1);
	return 0;
}
