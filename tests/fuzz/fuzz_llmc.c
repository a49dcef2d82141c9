/* SPDX-License-Identifier: MIT */
/*
 * llm.c's checkpoints. Each input is tried as it is, and as a file of the size that its header asks
 * for, whose data are then zeros and need no room.
 */
#include <stdbool.h>
#include <string.h>

#include "format/bytes.h"
#include "format/checked.h"
#include "format/digest.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/source.h"

#define HEADER_BYTES 1024
/* Of checkpoints that have more layers, 12 tensors each, only one in so many is tried at the size
 * that it asks for: they take a thousand times as long. */
#define MANY_LAYERS 64
#define ONE_IN 32
/* No file can be larger. */
#define MAX_SIZE_BYTES (UINT64_C(1) << 40)

/* What llm.c's train_gpt2.c writes for the header's numbers; 0: more than a file can hold. */
static uint64_t asked_bytes(const uint8_t *data)
{
	struct gw_bytes in = gw_bytes_read(data, HEADER_BYTES);
	uint64_t version = gw_get_u32(&in, 4), positions = gw_get_u32(&in, 8);
	uint64_t vocab = gw_get_u32(&in, version == 3 || version == 5 ? 28 : 12);
	uint64_t layers = gw_get_u32(&in, 16), columns = gw_get_u32(&in, 24);
	uint64_t element_bytes = version == 2 || version == 5 ? 2 : 4, layer, n;

	if (!gw_mul(12 * columns + 13, columns, &layer) || !gw_mul(layer, layers, &layer) ||
	    !gw_mul(vocab + positions + 2, columns, &n) || !gw_add(n, layer, &n) ||
	    n > MAX_SIZE_BYTES)
		return 0;
	return HEADER_BYTES + n * element_bytes;
}

static bool is_left_out(const uint8_t *data)
{
	struct gw_bytes in = gw_bytes_read(data, HEADER_BYTES);

	return gw_get_u32(&in, 16) > MANY_LAYERS && gw_hash64(data, HEADER_BYTES) % ONE_IN != 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct pack_source *source;
	uint64_t size_bytes;

	fuzz_source_run(data, bytes);
	size_bytes = bytes < HEADER_BYTES ? 0 : asked_bytes(data);
	if (!size_bytes || bytes > FUZZ_MAX_INPUT_BYTES || is_left_out(data))
		return 0;
	source = fuzz_source_open(fuzz_file(data, HEADER_BYTES, size_bytes));
	if (source && strcmp(source->format, "llm.c") == 0) {
		const struct pack_list *list = &source->tensors;
		const struct pack_tensor *last = &list->items[list->n - 1];

		FUZZ_CHECK(list->n >= 4);
		FUZZ_CHECK(last->offset_bytes + last->size_bytes == size_bytes);
	}
	fuzz_source_close(source);
	return 0;
}
