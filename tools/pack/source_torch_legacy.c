/* SPDX-License-Identifier: MIT */
/*
 * PyTorch before 1.6: five pickles (a magic number, the protocol, facts about the machine, the
 * object, the keys of the storages), then for each key a u64 number of elements and these.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/bytes.h"
#include "format/checked.h"
#include "tools/pack/limits.h"
#include "tools/pack/torch.h"

/* 0x1950a86a20f9469cfc6c and 1001, torch/serialization.py */
static const uint8_t pack_torch_magic[] = { 0x6c, 0xfc, 0x9c, 0x46, 0xf9,
					    0x20, 0x6a, 0xa8, 0x50, 0x19 };
#define PACK_TORCH_PROTOCOL 1001

/* A storage that the object names. */
struct pack_slot {
	const char *key;
	uint32_t key_bytes;
	uint64_t n, size_bytes;
	uint64_t offset; /* of its values in the file; 0: the list of keys has not had it yet */
};

struct pack_legacy {
	const struct pack_file *file;
	uint8_t *window; /* the beginning of the file, with all the pickles */
	uint64_t window_bytes, at;
	struct pack_pickle *object;
	struct pack_slot *slots; /* sorted */
	size_t n;
	char label[96];
};

#define legacy_fail(legacy, error, offset, format, ...)                                           \
	gw_fail(error, GW_E_SOURCE, offset, "%s: " format " at offset %" PRIu64, (legacy)->label, \
		__VA_ARGS__, (uint64_t)(offset))

/* The next pickle; *out is the caller's. */
static int pack_legacy_pickle(struct pack_legacy *legacy, struct pack_pickle **out,
			      struct gw_error *error)
{
	struct pack_pickle_input in = {
		.bytes = legacy->window + legacy->at,
		.n = legacy->window_bytes - legacy->at,
		.cut = legacy->window_bytes < legacy->file->size_bytes,
		.at = legacy->at,
		.label = legacy->label,
	};
	int code = pack_pickle_load(&in, out, error);

	if (code == GW_OK)
		legacy->at += (*out)->used_bytes;
	return code;
}

static int pack_legacy_magic(struct pack_legacy *legacy, struct gw_error *error)
{
	struct pack_pickle *pickle = NULL;
	const struct pack_pickle_node *node;
	int code = pack_legacy_pickle(legacy, &pickle, error);

	if (code != GW_OK)
		return code;
	node = pack_pickle_at(pickle, pickle->root);
	if (node->type != PACK_PICKLE_LONG || node->n != sizeof pack_torch_magic ||
	    memcmp(pickle->in.bytes + node->value, pack_torch_magic, node->n) != 0)
		code = legacy_fail(legacy, error, 0, "%s", "no magic number of PyTorch's");
	pack_pickle_free(pickle);
	return code;
}

static int pack_legacy_protocol(struct pack_legacy *legacy, struct gw_error *error)
{
	uint64_t first = legacy->at;
	struct pack_pickle *pickle = NULL;
	const struct pack_pickle_node *node;
	int code = pack_legacy_pickle(legacy, &pickle, error);

	if (code != GW_OK)
		return code;
	node = pack_pickle_at(pickle, pickle->root);
	if (node->type != PACK_PICKLE_INT || node->value != PACK_TORCH_PROTOCOL)
		code = legacy_fail(legacy, error, first, "a protocol that is not %d",
				   PACK_TORCH_PROTOCOL);
	pack_pickle_free(pickle);
	return code;
}

/* {'protocol_version': 1001, 'little_endian': True, 'type_sizes': …} */
static int pack_legacy_machine(struct pack_legacy *legacy, struct gw_error *error)
{
	uint64_t first = legacy->at;
	struct pack_pickle *pickle = NULL;
	const struct pack_pickle_node *node;
	unsigned n_true = 0, n_found = 0;
	uint32_t cell;
	int code = pack_legacy_pickle(legacy, &pickle, error);

	if (code != GW_OK)
		return code;
	node = pack_pickle_at(pickle, pickle->root);
	cell = node->first;
	for (uint32_t i = 0; node->type == PACK_PICKLE_DICT && i + 1 < node->n; i += 2) {
		uint32_t next = pickle->cells[cell].next;

		if (pack_pickle_is(pickle, pickle->cells[cell].node, "little_endian")) {
			const struct pack_pickle_node *value =
				pack_pickle_at(pickle, pickle->cells[next].node);

			n_found++;
			n_true += value->type == PACK_PICKLE_BOOL && value->value;
		}
		cell = pickle->cells[next].next;
	}
	if (n_found != 1 || n_true != 1)
		code = legacy_fail(
			legacy, error, first, "%s",
			"no system information that says little_endian, once: saved on a "
			"big-endian machine?");
	pack_pickle_free(pickle);
	return code;
}

static int pack_slot_compare(const void *a, const void *b)
{
	const struct pack_slot *left = a, *right = b;
	uint32_t n = left->key_bytes < right->key_bytes ? left->key_bytes : right->key_bytes;
	int order = memcmp(left->key, right->key, n);

	return order ? order
		     : (left->key_bytes > right->key_bytes) - (left->key_bytes < right->key_bytes);
}

/* Every storage that the object names, once each. */
static int pack_legacy_slots(struct pack_legacy *legacy, struct gw_error *error)
{
	const struct pack_pickle *object = legacy->object;
	size_t n = 0, kept = 0;

	for (uint32_t i = 0; i < object->n_nodes; i++)
		n += pack_pickle_at(object, i)->type == PACK_PICKLE_STORAGE;
	legacy->slots = calloc(n + 1, sizeof *legacy->slots);
	if (!legacy->slots)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	for (uint32_t i = 0; i < object->n_nodes; i++) {
		struct pack_pickle_storage storage = { 0 };

		if (pack_pickle_at(object, i)->type != PACK_PICKLE_STORAGE)
			continue;
		pack_pickle_storage(object, i, &storage);
		legacy->slots[legacy->n++] =
			(struct pack_slot) { .key = storage.key,
					     .key_bytes = storage.key_bytes,
					     .n = storage.n,
					     .size_bytes = storage.size_bytes };
	}
	qsort(legacy->slots, legacy->n, sizeof *legacy->slots, pack_slot_compare);
	for (size_t i = 0; i < legacy->n; i++) {
		const struct pack_slot *slot = &legacy->slots[i],
				       *last = &legacy->slots[kept - (kept > 0)];

		if (kept == 0 || pack_slot_compare(slot, last) != 0)
			legacy->slots[kept++] = *slot;
		else if (slot->n != last->n || slot->size_bytes != last->size_bytes)
			return legacy_fail(legacy, error, object->in.at,
					   "storage %.*s, described in two ways by the pickle",
					   (int)slot->key_bytes, slot->key);
	}
	legacy->n = kept;
	return GW_OK;
}

/* The storage of a key, behind all that came before. */
static int pack_legacy_place(struct pack_legacy *legacy, const struct pack_slot *key,
			     struct gw_error *error)
{
	struct pack_slot *slot =
		bsearch(key, legacy->slots, legacy->n, sizeof *key, pack_slot_compare);
	uint64_t left = legacy->file->size_bytes - legacy->at;
	uint8_t bytes[8] = { 0 };
	struct gw_bytes window = gw_bytes_read(bytes, sizeof bytes);
	char quoted[96];
	int code;

	if (!slot || slot->offset)
		return legacy_fail(legacy, error, legacy->at,
				   "a list of storages that names \"%s\", which is %s,",
				   gw_quote(key->key, key->key_bytes, quoted, sizeof quoted),
				   slot ? "there twice" : "of no tensor");
	if (left < sizeof bytes)
		return legacy_fail(legacy, error, legacy->at, "the file ends before storage %.*s",
				   (int)key->key_bytes, key->key);
	code = pack_file_read(legacy->file, bytes, sizeof bytes, legacy->at, error);
	if (code != GW_OK)
		return code;
	if (gw_get_u64(&window, 0) != slot->n)
		return legacy_fail(legacy, error, legacy->at,
				   "storage %.*s of %" PRIu64
				   " elements, where the pickle says %" PRIu64 ",",
				   (int)key->key_bytes, key->key, gw_get_u64(&window, 0), slot->n);
	if (slot->size_bytes > left - sizeof bytes)
		return legacy_fail(legacy, error, legacy->at,
				   "the file ends within storage %.*s of %" PRIu64 " bytes",
				   (int)key->key_bytes, key->key, slot->size_bytes);
	slot->offset = legacy->at + sizeof bytes;
	legacy->at = slot->offset + slot->size_bytes;
	return GW_OK;
}

/* The keys, and the storages in their order up to the end of the file. */
static int pack_legacy_storages(struct pack_legacy *legacy, struct gw_error *error)
{
	uint64_t first = legacy->at;
	struct pack_pickle *pickle = NULL;
	const struct pack_pickle_node *list;
	uint32_t cell;
	int code = pack_legacy_pickle(legacy, &pickle, error);

	if (code != GW_OK)
		return code;
	list = pack_pickle_at(pickle, pickle->root);
	cell = list->first;
	if (list->type != PACK_PICKLE_LIST || list->n != legacy->n)
		code = legacy_fail(legacy, error, first, "no list of the keys of %zu storages",
				   legacy->n);
	for (uint32_t i = 0; code == GW_OK && i < list->n; i++, cell = pickle->cells[cell].next) {
		const struct pack_pickle_node *key =
			pack_pickle_at(pickle, pickle->cells[cell].node);

		if (key->type != PACK_PICKLE_TEXT)
			code = legacy_fail(legacy, error, first, "%s",
					   "a storage's key that is no text");
		else
			code = pack_legacy_place(legacy,
						 &(struct pack_slot) {
							 .key = (const char *)pickle->in.bytes +
								key->value,
							 .key_bytes = key->n },
						 error);
	}
	if (code == GW_OK && legacy->at != legacy->file->size_bytes)
		code = legacy_fail(legacy, error, legacy->at,
				   "%" PRIu64 " bytes after the last storage,",
				   legacy->file->size_bytes - legacy->at);
	pack_pickle_free(pickle);
	return code;
}

static int pack_legacy_find(const struct pack_torch_finder *finder,
			    const struct pack_pickle_storage *storage, struct pack_torch_view *view,
			    struct gw_error *error)
{
	const struct pack_legacy *legacy = finder->data;
	const struct pack_slot key = { .key = storage->key, .key_bytes = storage->key_bytes };
	const struct pack_slot *slot =
		bsearch(&key, legacy->slots, legacy->n, sizeof key, pack_slot_compare);

	(void)error;
	/* it is there: the slots were made of all storages, and all of them have been placed */
	view->storage_offset = slot->offset;
	view->storage_bytes = slot->size_bytes;
	return GW_OK;
}

static int pack_legacy_list(struct pack_legacy *legacy, struct pack_source *source,
			    struct gw_error *error)
{
	const struct pack_torch_finder finder = { .find = pack_legacy_find, .data = legacy };
	struct pack_torch *torch = NULL;
	int code = pack_file_read(legacy->file, legacy->window, legacy->window_bytes, 0, error);

	if (code == GW_OK)
		code = pack_legacy_magic(legacy, error);
	if (code == GW_OK)
		code = pack_legacy_protocol(legacy, error);
	if (code == GW_OK)
		code = pack_legacy_machine(legacy, error);
	if (code == GW_OK)
		code = pack_legacy_pickle(legacy, &legacy->object, error);
	if (code == GW_OK)
		code = pack_legacy_slots(legacy, error);
	if (code == GW_OK)
		code = pack_legacy_storages(legacy, error);
	if (code == GW_OK)
		code = pack_torch_begin(source, NULL, &torch, error);
	if (code == GW_OK)
		code = pack_torch_list(legacy->object, &finder, source, torch, error);
	return code;
}

int pack_torch_legacy_open(int folder_fd, struct pack_file *file, struct pack_source *source,
			   struct gw_error *error)
{
	struct pack_legacy legacy = { 0 };
	int code = pack_source_take_file(source, file, error);

	(void)folder_fd;
	if (code != GW_OK)
		return code;
	source->format = "pytorch-legacy";
	legacy.file = &source->files[0];
	legacy.window_bytes = legacy.file->size_bytes < PACK_MAX_PICKLE_BYTES
				      ? legacy.file->size_bytes
				      : PACK_MAX_PICKLE_BYTES;
	legacy.window = malloc(legacy.window_bytes + 1);
	gw_quote(legacy.file->name, strlen(legacy.file->name), legacy.label, sizeof legacy.label);
	if (legacy.window)
		code = pack_legacy_list(&legacy, source, error);
	else
		code = gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	pack_pickle_free(legacy.object);
	free(legacy.slots);
	free(legacy.window);
	return code;
}
