/* SPDX-License-Identifier: MIT */
/*
 * GGUF files. Each input is tried as it is, and with the tensors' offsets and the file's size made
 * to fit their shapes and types, so that what lies behind these is reached.
 */
#include <string.h>

#include "format/bytes.h"
#include "format/checked.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/source.h"
#include "tools/pack/gguf_quant.h"

/* No file can be larger. */
#define MAX_DATA_BYTES (UINT64_C(1) << 40)

/* Bytes of a value of each type; 0: a string or an array. */
static const uint8_t value_bytes[] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };
#define STRING 8
#define ARRAY 9

struct walk {
	struct gw_bytes window;
	uint64_t at, alignment;
};

static uint64_t number(struct walk *walk, unsigned n)
{
	uint64_t value = gw_get(&walk->window, walk->at, n);

	walk->at += n;
	return value;
}

static void skip(struct walk *walk, uint64_t n)
{
	if (walk->at > walk->window.size_bytes || n > walk->window.size_bytes - walk->at)
		walk->window.overrun = true;
	else
		walk->at += n;
}

/* Arrays of arrays are left alone. */
static void skip_value(struct walk *walk, uint64_t type, uint64_t n)
{
	if (type >= sizeof value_bytes || type == ARRAY) {
		walk->window.overrun = true;
	} else if (type != STRING) {
		skip(walk, n > walk->window.size_bytes ? n : n * value_bytes[type]);
	} else {
		for (; n > 0 && !walk->window.overrun; n--)
			skip(walk, number(walk, 8));
	}
}

static void skip_pair(struct walk *walk)
{
	uint64_t key_bytes = number(walk, 8), type;
	const uint8_t *key = gw_bytes_at(&walk->window, walk->at, key_bytes);
	struct gw_bytes copy;

	skip(walk, key_bytes);
	type = number(walk, 4);
	copy = walk->window;
	if (key && key_bytes == 17 && memcmp(key, "general.alignment", 17) == 0)
		walk->alignment = gw_get_u32(&copy, walk->at);
	if (type == ARRAY) {
		type = number(walk, 4);
		skip_value(walk, type, number(walk, 8));
	} else {
		skip_value(walk, type, 1);
	}
}

/* Writes the offset of the tensor that lies at *end of the data, and moves *end behind it. */
static void fit_tensor(struct walk *walk, uint64_t *end)
{
	uint64_t elements = 1, rank, i;
	const struct pack_ggml_type *type;

	skip(walk, number(walk, 8));
	rank = number(walk, 4);
	for (i = 0; i < rank && !walk->window.overrun; i++)
		if (!gw_mul(elements, number(walk, 8), &elements))
			walk->window.overrun = true;
	type = pack_ggml_find((uint32_t)number(walk, 4));
	if (!type || elements > MAX_DATA_BYTES || *end > MAX_DATA_BYTES) {
		walk->window.overrun = true;
		return;
	}
	gw_put_u64(&walk->window, walk->at, *end);
	walk->at += 8;
	*end += elements / type->block_values * type->block_bytes;
	if (!gw_align(*end, walk->alignment, end))
		walk->window.overrun = true;
}

/* The size that the file must have; 0: it is too far from being one. */
static uint64_t fit(uint8_t *data, size_t bytes)
{
	struct walk walk = { .window = gw_bytes_write(data, bytes), .at = 8, .alignment = 32 };
	uint64_t n_tensors = number(&walk, 8), n_pairs = number(&walk, 8), end = 0, size_bytes;

	for (uint64_t i = 0; i < n_pairs && !walk.window.overrun; i++)
		skip_pair(&walk);
	if (walk.alignment == 0 || (walk.alignment & (walk.alignment - 1)) != 0)
		return 0;
	for (uint64_t i = 0; i < n_tensors && !walk.window.overrun; i++)
		fit_tensor(&walk, &end);
	if (walk.window.overrun || !gw_align(walk.at, walk.alignment, &size_bytes))
		return 0;
	return size_bytes + end;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static uint8_t fitted[FUZZ_MAX_INPUT_BYTES];
	uint64_t size_bytes;

	fuzz_source_run(data, bytes);
	if (bytes < 24 || bytes > sizeof fitted)
		return 0;
	memcpy(fitted, data, bytes);
	size_bytes = fit(fitted, bytes);
	if (size_bytes)
		fuzz_source_close(fuzz_source_open(
			fuzz_file(fitted, bytes < size_bytes ? bytes : size_bytes, size_bytes)));
	return 0;
}
