/* SPDX-License-Identifier: MIT */
#include "tools/pack/json.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "tools/pack/limits.h"

/* jansson's allocation functions take no context, hence the globals. */
static uint64_t pack_json_used_bytes;
static bool pack_json_exhausted;

static void *pack_json_malloc(size_t n)
{
	void *memory;
	uint64_t bytes;

	if (n > PACK_MAX_JSON_BYTES - pack_json_used_bytes) {
		pack_json_exhausted = true;
		return NULL;
	}
	memory = malloc(n);
	if (!memory)
		return NULL;
	/* what malloc really took, with the word before it */
	bytes = malloc_usable_size(memory) + sizeof(size_t);
	if (bytes > PACK_MAX_JSON_BYTES - pack_json_used_bytes) {
		pack_json_exhausted = true;
		free(memory);
		return NULL;
	}
	pack_json_used_bytes += bytes;
	return memory;
}

static void pack_json_free(void *memory)
{
	if (!memory)
		return;
	pack_json_used_bytes -= malloc_usable_size(memory) + sizeof(size_t);
	free(memory);
}

int pack_json_load(const char *text, uint64_t n, uint64_t file_offset, json_t **out_object,
		   struct gw_error *error)
{
	const char *nul = memchr(text, 0, n);
	json_error_t failure;
	json_t *object;
	char quoted[200];

	/* jansson takes a NUL after a number for the end of it and goes on */
	if (nul)
		return gw_fail(error, GW_E_SOURCE, file_offset + (uint64_t)(nul - text),
			       "the JSON text holds a NUL byte at offset %" PRIu64,
			       file_offset + (uint64_t)(nul - text));
	json_set_alloc_funcs(pack_json_malloc, pack_json_free);
	pack_json_exhausted = false;
	object = json_loadb(text, n, JSON_REJECT_DUPLICATES, &failure);
	if (!object && pack_json_exhausted)
		return gw_fail(error, GW_E_SOURCE, file_offset,
			       "the JSON text at offset %" PRIu64 " needs more than %" PRIu64
			       " MiB of memory",
			       file_offset, PACK_MAX_JSON_BYTES >> 20);
	if (!object)
		return gw_fail(error, GW_E_SOURCE, file_offset + (uint64_t)failure.position,
			       "malformed JSON at offset %" PRIu64 ": %s",
			       file_offset + (uint64_t)failure.position,
			       gw_quote(failure.text, strlen(failure.text), quoted, sizeof quoted));
	if (!json_is_object(object)) {
		json_decref(object);
		return gw_fail(error, GW_E_SOURCE, file_offset,
			       "the JSON text at offset %" PRIu64 " is not an object", file_offset);
	}
	*out_object = object;
	return GW_OK;
}

bool pack_json_u64(const json_t *value, uint64_t *out)
{
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	*out = (uint64_t)json_integer_value(value);
	return true;
}
