/* SPDX-License-Identifier: MIT */
#include "tools/pack/json.h"

#include <inttypes.h>
#include <malloc.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "tools/pack/limits.h"

/*
 * What jansson has got and not given back, the newest first. jansson's allocation functions take no
 * context, hence the global.
 */
struct pack_json_block {
	struct pack_json_block *next, **link; /* link: what points to it */
	_Alignas(max_align_t) uint8_t data[];
};

static struct {
	struct pack_json_block *newest;
	uint64_t used_bytes;
	bool parsing; /* give_up is set */
	jmp_buf give_up;
} pack_json;

enum { PACK_JSON_EXHAUSTED = 1, PACK_JSON_NO_MEMORY };

/* What malloc really took, with the word before it. */
static uint64_t pack_json_taken(struct pack_json_block *block)
{
	return malloc_usable_size(block) + sizeof(size_t);
}

/*
 * jansson 2.14's parser must not see NULL: without memory for all of a string it goes on with a part
 * of it, past the end of that part and of the copy that it makes.
 */
static void *pack_json_refuse(int why)
{
	if (pack_json.parsing)
		longjmp(pack_json.give_up, why);
	return NULL;
}

static void *pack_json_malloc(size_t n)
{
	uint64_t left = PACK_MAX_JSON_BYTES - pack_json.used_bytes;
	struct pack_json_block *block;

	if (n > left)
		return pack_json_refuse(PACK_JSON_EXHAUSTED);
	block = malloc(sizeof *block + n);
	if (!block)
		return pack_json_refuse(PACK_JSON_NO_MEMORY);
	if (pack_json_taken(block) > left) {
		free(block);
		return pack_json_refuse(PACK_JSON_EXHAUSTED);
	}
	pack_json.used_bytes += pack_json_taken(block);
	block->next = pack_json.newest;
	block->link = &pack_json.newest;
	if (block->next)
		block->next->link = &block->next;
	pack_json.newest = block;
	return block->data;
}

static void pack_json_free(void *memory)
{
	struct pack_json_block *block;

	if (!memory)
		return;
	block = (struct pack_json_block *)(void *)((uint8_t *)memory -
						   offsetof(struct pack_json_block, data));
	*block->link = block->next;
	if (block->next)
		block->next->link = block->link;
	pack_json.used_bytes -= pack_json_taken(block);
	free(block);
}

/* json_loadb; *out_given_up: 0, or why it was given up. */
static json_t *pack_json_parse(const char *text, uint64_t n, json_error_t *failure,
			       int *out_given_up)
{
	struct pack_json_block *const before = pack_json.newest;
	json_t *volatile object = NULL;

	pack_json.parsing = true;
	*out_given_up = setjmp(pack_json.give_up);
	if (*out_given_up == 0)
		object = json_loadb(text, n, JSON_REJECT_DUPLICATES, failure);
	pack_json.parsing = false;
	while (*out_given_up && pack_json.newest != before)
		pack_json_free(pack_json.newest->data);
	return object;
}

int pack_json_load(const char *text, uint64_t n, uint64_t file_offset, json_t **out_object,
		   struct gw_error *error)
{
	const char *nul = memchr(text, 0, n);
	json_error_t failure;
	json_t *object;
	char quoted[200];
	int given_up;

	/* jansson takes a NUL after a number for the end of it and goes on */
	if (nul)
		return gw_fail(error, GW_E_SOURCE, file_offset + (uint64_t)(nul - text),
			       "the JSON text holds a NUL byte at offset %" PRIu64,
			       file_offset + (uint64_t)(nul - text));
	json_set_alloc_funcs(pack_json_malloc, pack_json_free);
	object = pack_json_parse(text, n, &failure, &given_up);
	if (given_up == PACK_JSON_NO_MEMORY)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	if (given_up == PACK_JSON_EXHAUSTED)
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
