/* SPDX-License-Identifier: MIT */
/*
 * Safetensors files: 8 bytes of length, JSON, data. Each input is tried as it is, and as a file
 * whose length and size are made to fit its JSON, so that what lies behind these is reached: its
 * data are then zeros up to the largest number in the text, which need no room.
 */
#include <stdbool.h>
#include <string.h>

#include "format/bytes.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/source.h"
#include "tools/pack/plan.h"

#define LENGTH_BYTES 8
/* No file can be larger. */
#define MAX_DATA_BYTES (UINT64_C(1) << 40)

/* The largest number in the text that a file's size can be. */
static uint64_t largest_number(const uint8_t *text, size_t bytes)
{
	uint64_t largest = 0, value = 0;

	for (size_t i = 0; i < bytes; i++) {
		bool digit = text[i] >= '0' && text[i] <= '9';

		value = digit && value < MAX_DATA_BYTES ? value * 10 + (text[i] - '0') : 0;
		if (value > largest && value <= MAX_DATA_BYTES)
			largest = value;
	}
	return largest;
}

static int by_offset(const struct pack_tensor *a, const struct pack_tensor *b)
{
	return a->offset_bytes < b->offset_bytes ? -1 : a->offset_bytes > b->offset_bytes;
}

/* The tensors, which are listed in the order of their data, cover the file from the JSON's end. */
static void check_cover(const struct pack_source *source, uint64_t json_bytes)
{
	uint64_t end = LENGTH_BYTES + json_bytes, sum = 0;

	FUZZ_CHECK(source->n_files == 1);
	for (size_t i = 0; i < source->tensors.n; i++) {
		const struct pack_tensor *tensor = &source->tensors.items[i];

		FUZZ_CHECK(!tensor->encoded);
		FUZZ_CHECK(i == 0 || by_offset(tensor - 1, tensor) <= 0);
		FUZZ_CHECK(tensor->offset_bytes == end);
		end += tensor->size_bytes;
		sum += tensor->size_bytes;
	}
	FUZZ_CHECK(end == source->files[0].size_bytes);
	FUZZ_CHECK(sum == source->files[0].size_bytes - LENGTH_BYTES - json_bytes);
}

static void run(const uint8_t *data, size_t bytes, uint64_t size_bytes)
{
	struct gw_bytes in = gw_bytes_read(data, bytes);
	struct pack_source *source = fuzz_source_open(fuzz_file(data, bytes, size_bytes));

	if (source && strcmp(source->format, "safetensors") == 0)
		check_cover(source, gw_get_u64(&in, 0));
	fuzz_source_close(source);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static uint8_t fitted[FUZZ_MAX_INPUT_BYTES];
	struct gw_bytes in = gw_bytes_read(data, bytes);
	struct gw_bytes out = gw_bytes_write(fitted, sizeof fitted);
	uint64_t json_bytes = gw_get_u64(&in, 0);

	if (bytes > sizeof fitted)
		return 0;
	run(data, bytes, bytes);
	if (bytes < LENGTH_BYTES)
		return 0;
	if (json_bytes > bytes - LENGTH_BYTES)
		json_bytes = bytes - LENGTH_BYTES;
	memcpy(fitted, data, bytes);
	gw_put_u64(&out, 0, json_bytes);
	run(fitted, LENGTH_BYTES + json_bytes,
	    LENGTH_BYTES + json_bytes + largest_number(data + LENGTH_BYTES, json_bytes));
	return 0;
}
