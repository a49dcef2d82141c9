/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/checked.h"
#include "format/digest.h"
#include "tools/pack/gguf.h"
#include "tools/pack/limits.h"

/* The specification's: 2^16 - 1. It fits the scan's buffer. */
#define PACK_GGUF_KEY_BYTES 65535
/* Where the specification says nothing of the alignment. */
#define PACK_GGUF_ALIGNMENT 32

enum pack_gguf_type {
	PACK_GGUF_U8,
	PACK_GGUF_I8,
	PACK_GGUF_U16,
	PACK_GGUF_I16,
	PACK_GGUF_U32,
	PACK_GGUF_I32,
	PACK_GGUF_F32,
	PACK_GGUF_BOOL,
	PACK_GGUF_STRING,
	PACK_GGUF_ARRAY,
	PACK_GGUF_U64,
	PACK_GGUF_I64,
	PACK_GGUF_F64,
	PACK_GGUF_TYPES,
};

/* The fewest bytes that a value takes: all of it, or a string's length, or an array's head. */
static const struct {
	unsigned bytes;
	bool whole, is_signed; /* whole: a whole number */
} pack_gguf_types[PACK_GGUF_TYPES] = {
	[PACK_GGUF_U8] = { 1, true, false },      [PACK_GGUF_I8] = { 1, true, true },
	[PACK_GGUF_U16] = { 2, true, false },     [PACK_GGUF_I16] = { 2, true, true },
	[PACK_GGUF_U32] = { 4, true, false },     [PACK_GGUF_I32] = { 4, true, true },
	[PACK_GGUF_F32] = { 4, false, false },    [PACK_GGUF_BOOL] = { 1, false, false },
	[PACK_GGUF_STRING] = { 8, false, false }, [PACK_GGUF_ARRAY] = { 12, false, false },
	[PACK_GGUF_U64] = { 8, true, false },     [PACK_GGUF_I64] = { 8, true, true },
	[PACK_GGUF_F64] = { 8, false, false },
};

/* A key by its digest: that of an attacker's choice can at worst get his own file refused. */
struct pack_gguf_key {
	struct gw_digest digest;
	uint64_t offset;
};

struct pack_gguf_pairs {
	struct pack_scan *scan;
	struct pack_gguf_metadata metadata;
	struct pack_gguf_key *keys;
	size_t n, room;
	char quoted_key[96]; /* the pair's that is being read */
};

/* A message about the value of the pair that is being read. */
#define pack_pair_fail(pairs, error, offset, format, ...)                                    \
	gw_fail(error, GW_E_SOURCE, offset, "%s: key \"%s\": " format " at offset %" PRIu64, \
		(pairs)->scan->quoted_file, (pairs)->quoted_key, __VA_ARGS__, offset)

static int pack_type_read(struct pack_gguf_pairs *pairs, uint64_t *out_type, struct gw_error *error)
{
	uint64_t offset = pairs->scan->at, type = 0;
	int code = pack_scan_number(pairs->scan, 4, "the type of a value", &type, error);

	if (code != GW_OK)
		return code;
	if (type >= PACK_GGUF_TYPES)
		return pack_pair_fail(pairs, error, offset, "the unknown type %" PRIu64, type);
	*out_type = type;
	return GW_OK;
}

static int pack_string_skip(struct pack_gguf_pairs *pairs, struct gw_error *error)
{
	uint64_t length = 0;
	int code = pack_scan_number(pairs->scan, 8, "the length of a string", &length, error);

	return code == GW_OK ? pack_scan_skip(pairs->scan, length, "a string", error) : code;
}

static int pack_bool_skip(struct pack_gguf_pairs *pairs, struct gw_error *error)
{
	uint64_t offset = pairs->scan->at, value = 0;
	int code = pack_scan_number(pairs->scan, 1, "a truth value", &value, error);

	if (code == GW_OK && value > 1)
		return pack_pair_fail(pairs, error, offset,
				      "the truth value %" PRIu64 ", neither 0 nor 1", value);
	return code;
}

static int pack_value_skip(struct pack_gguf_pairs *pairs, uint64_t type, unsigned depth,
			   struct gw_error *error);

/* depth: how many arrays this one lies in. */
static int pack_array_skip(struct pack_gguf_pairs *pairs, unsigned depth, struct gw_error *error)
{
	uint64_t offset = pairs->scan->at, type = 0, n = 0;
	uint64_t bytes;
	int code;

	if (depth == PACK_MAX_GGUF_DEPTH)
		return pack_pair_fail(pairs, error, offset, "arrays nested more than %d deep",
				      PACK_MAX_GGUF_DEPTH);
	code = pack_type_read(pairs, &type, error);
	if (code == GW_OK)
		code = pack_scan_number(pairs->scan, 8, "the length of an array", &n, error);
	if (code != GW_OK)
		return code;
	if (!gw_mul(n, pack_gguf_types[type].bytes, &bytes) || bytes > pack_scan_left(pairs->scan))
		return pack_pair_fail(pairs, error, offset,
				      "an array of %" PRIu64 " values, more than the %" PRIu64
				      " bytes that are left can hold,",
				      n, pack_scan_left(pairs->scan));
	if (type != PACK_GGUF_STRING && type != PACK_GGUF_ARRAY && type != PACK_GGUF_BOOL)
		return pack_scan_skip(pairs->scan, bytes, "an array", error);
	for (uint64_t i = 0; code == GW_OK && i < n; i++)
		code = pack_value_skip(pairs, type, depth + 1, error);
	return code;
}

/* Recursion ends at PACK_MAX_GGUF_DEPTH. */
static int pack_value_skip(struct pack_gguf_pairs *pairs, uint64_t type, unsigned depth,
			   struct gw_error *error)
{
	switch (type) {
	case PACK_GGUF_STRING:
		return pack_string_skip(pairs, error);
	case PACK_GGUF_ARRAY:
		return pack_array_skip(pairs, depth, error);
	case PACK_GGUF_BOOL:
		return pack_bool_skip(pairs, error);
	default:
		return pack_scan_skip(pairs->scan, pack_gguf_types[type].bytes, "a number", error);
	}
}

/* A number that this program goes by. */
static int pack_number_read(struct pack_gguf_pairs *pairs, uint64_t type, uint64_t max,
			    uint64_t *out, struct gw_error *error)
{
	uint64_t offset = pairs->scan->at, value = 0;
	unsigned bytes = pack_gguf_types[type].bytes;
	int code;

	if (!pack_gguf_types[type].whole)
		return pack_pair_fail(pairs, error, offset,
				      "the type %" PRIu64 ", no whole number,", type);
	code = pack_scan_number(pairs->scan, bytes, "a number", &value, error);
	if (code != GW_OK)
		return code;
	if (pack_gguf_types[type].is_signed && value >> (8 * bytes - 1))
		return pack_pair_fail(pairs, error, offset, "a number below %d", 0);
	if (value > max)
		return pack_pair_fail(pairs, error, offset, "%" PRIu64 ", more than %" PRIu64 ",",
				      value, max);
	*out = value;
	return GW_OK;
}

static int pack_alignment_read(struct pack_gguf_pairs *pairs, uint64_t type, struct gw_error *error)
{
	uint64_t offset = pairs->scan->at, value = 0;
	int code;

	if (type != PACK_GGUF_U32)
		return pack_pair_fail(pairs, error, offset,
				      "the type %" PRIu64 " instead of %d (u32)", type,
				      PACK_GGUF_U32);
	code = pack_number_read(pairs, type, UINT32_MAX, &value, error);
	if (code != GW_OK)
		return code;
	if (value < 8 || (value & (value - 1)) != 0)
		return pack_pair_fail(pairs, error, offset,
				      "%" PRIu64 ", no power of two from 8 on,", value);
	pairs->metadata.alignment = value;
	return GW_OK;
}

static int pack_architecture_read(struct pack_gguf_pairs *pairs, uint64_t type,
				  struct gw_error *error)
{
	uint64_t offset = pairs->scan->at, length = 0;
	const uint8_t *text = NULL;
	int code;

	if (type != PACK_GGUF_STRING)
		return pack_pair_fail(pairs, error, offset,
				      "the type %" PRIu64 " instead of %d (string)", type,
				      PACK_GGUF_STRING);
	code = pack_scan_number(pairs->scan, 8, "the length of a string", &length, error);
	if (code != GW_OK)
		return code;
	if (length != 4) {
		pairs->metadata.other = true;
		return pack_scan_skip(pairs->scan, length, "a string", error);
	}
	code = pack_scan_take(pairs->scan, length, "a string", &text, error);
	if (code == GW_OK)
		pairs->metadata.other = memcmp(text, "gpt2", 4) != 0;
	return code;
}

static int pack_key_add(struct pack_gguf_pairs *pairs, const uint8_t *key, uint64_t n,
			uint64_t offset, struct gw_error *error)
{
	struct pack_gguf_key *keys = pairs->keys;
	size_t room = pairs->room ? pairs->room * 2 : 64;

	if (pairs->n == pairs->room) {
		keys = reallocarray(keys, room, sizeof *keys);
		if (!keys)
			return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
		pairs->keys = keys;
		pairs->room = room;
	}
	keys[pairs->n++] = (struct pack_gguf_key) { gw_hash128(key, n), offset };
	return GW_OK;
}

/* *out lives until the next call. */
static int pack_key_read(struct pack_gguf_pairs *pairs, const uint8_t **out, uint64_t *out_n,
			 struct gw_error *error)
{
	struct pack_scan *scan = pairs->scan;
	uint64_t offset = scan->at, n = 0;
	const uint8_t *key = NULL;
	int code = pack_scan_number(scan, 8, "the length of a key", &n, error);

	if (code != GW_OK)
		return code;
	if (n == 0 || n > PACK_GGUF_KEY_BYTES)
		return gw_fail(error, GW_E_SOURCE, offset,
			       "%s: the key at offset %" PRIu64 " has %" PRIu64
			       " bytes; one has 1 to %d",
			       scan->quoted_file, offset, n, PACK_GGUF_KEY_BYTES);
	code = pack_scan_take(scan, n, "a key", &key, error);
	if (code != GW_OK)
		return code;
	gw_quote((const char *)key, n, pairs->quoted_key, sizeof pairs->quoted_key);
	for (uint64_t i = 0; i < n; i++) {
		if (key[i] < 0x20 || key[i] > 0x7e)
			return pack_pair_fail(pairs, error, offset + 8 + i,
					      "byte %d, no printable ASCII,", key[i]);
	}
	*out = key;
	*out_n = n;
	return pack_key_add(pairs, key, n, offset, error);
}

static int pack_pair_read(struct pack_gguf_pairs *pairs, struct gw_error *error)
{
	struct pack_config *config = &pairs->metadata.config;
	const struct {
		const char *name;
		uint64_t max;
		uint64_t *out;
	} numbers[] = {
		{ "gpt2.block_count", GW_MAX_N_LAYER, &config->n_layer },
		{ "gpt2.attention.head_count", GW_MAX_N_HEAD, &config->n_head },
		{ "gpt2.embedding_length", INT64_MAX, &config->n_embd },
		{ "gpt2.context_length", INT64_MAX, &config->n_positions },
		{ "gpt2.vocab_size", INT64_MAX, &config->n_vocab },
	};
	static const char alignment[] = "general.alignment",
			  architecture[] = "general.architecture";
	const uint8_t *key = NULL;
	uint64_t n = 0, type = 0;
	size_t number = 0;
	bool is_alignment, is_architecture;
	int code = pack_key_read(pairs, &key, &n, error);

	if (code != GW_OK)
		return code;
	while (number < sizeof numbers / sizeof numbers[0] &&
	       (strlen(numbers[number].name) != n || memcmp(numbers[number].name, key, n) != 0))
		number++;
	is_alignment = n == sizeof alignment - 1 && memcmp(key, alignment, n) == 0;
	is_architecture = n == sizeof architecture - 1 && memcmp(key, architecture, n) == 0;
	/* which ends the key */
	code = pack_type_read(pairs, &type, error);
	if (code != GW_OK)
		return code;
	if (number < sizeof numbers / sizeof numbers[0])
		return pack_number_read(pairs, type, numbers[number].max, numbers[number].out,
					error);
	if (is_alignment)
		return pack_alignment_read(pairs, type, error);
	if (is_architecture)
		return pack_architecture_read(pairs, type, error);
	return pack_value_skip(pairs, type, 0, error);
}

static int pack_by_digest(const void *a, const void *b)
{
	const struct pack_gguf_key *left = a, *right = b;
	int order = memcmp(left->digest.bytes, right->digest.bytes, GW_DIGEST_BYTES);

	return order ? order : (left->offset > right->offset) - (left->offset < right->offset);
}

static int pack_keys_check(struct pack_gguf_pairs *pairs, struct gw_error *error)
{
	if (pairs->n > 1)
		qsort(pairs->keys, pairs->n, sizeof *pairs->keys, pack_by_digest);
	for (size_t i = 1; i < pairs->n; i++) {
		if (gw_digest_equal(&pairs->keys[i - 1].digest, &pairs->keys[i].digest))
			return gw_fail(error, GW_E_SOURCE, pairs->keys[i].offset,
				       "%s: duplicate: the key at offset %" PRIu64
				       " is that at %" PRIu64 " again",
				       pairs->scan->quoted_file, pairs->keys[i].offset,
				       pairs->keys[i - 1].offset);
	}
	return GW_OK;
}

int pack_gguf_metadata_read(struct pack_scan *scan, uint64_t n_pairs,
			    struct pack_gguf_metadata *out, struct gw_error *error)
{
	struct pack_gguf_pairs pairs = {
		.scan = scan,
		.metadata = { .alignment = PACK_GGUF_ALIGNMENT, .config.origin = "its metadata" },
	};
	int code = GW_OK;

	for (uint64_t i = 0; code == GW_OK && i < n_pairs; i++)
		code = pack_pair_read(&pairs, error);
	if (code == GW_OK)
		code = pack_keys_check(&pairs, error);
	if (code == GW_OK)
		*out = pairs.metadata;
	free(pairs.keys);
	return code;
}
