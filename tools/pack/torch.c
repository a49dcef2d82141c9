/* SPDX-License-Identifier: MIT */
#include "tools/pack/torch.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/checked.h"
#include "tools/pack/element.h"
#include "tools/pack/limits.h"
#include "tools/pack/text.h"

int pack_torch_begin(struct pack_source *source, struct pack_zip *zip,
		     struct pack_torch **out_torch, struct gw_error *error)
{
	struct pack_torch *torch = calloc(1, sizeof *torch);

	if (!torch) {
		pack_zip_free(zip);
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	}
	torch->zip = zip;
	torch->effort_bytes = &torch->own_effort_bytes;
	source->reader = &pack_torch_reader;
	source->state = torch;
	*out_torch = torch;
	return GW_OK;
}

/* The value of a key, which must not be there twice; *out_found false: it is not there. */
static int pack_torch_member(const struct pack_pickle *pickle, uint32_t dict, const char *key,
			     bool *out_found, uint32_t *out_node, struct gw_error *error)
{
	const struct pack_pickle_node *node = pack_pickle_at(pickle, dict);
	uint32_t cell = node->first, found = 0, value = 0;

	for (uint32_t i = 0; i + 1 < node->n; i += 2) {
		uint32_t next = pickle->cells[cell].next;

		if (pack_pickle_is(pickle, pickle->cells[cell].node, key)) {
			found++;
			value = pickle->cells[next].node;
		}
		cell = pickle->cells[next].next;
	}
	if (found > 1)
		return gw_fail(error, GW_E_SOURCE, pickle->in.at, "%s: \"%s\" is there twice",
			       pickle->in.label, key);
	*out_found = found > 0;
	if (found)
		*out_node = value;
	return GW_OK;
}

static int pack_torch_find_dict(const struct pack_pickle *pickle, uint32_t *out_dict,
				struct gw_error *error)
{
	static const char *const keys[] = { "model", "state_dict" };
	const char *chosen = NULL;
	uint32_t dict = pickle->root;

	if (pack_pickle_at(pickle, dict)->type != PACK_PICKLE_DICT)
		return gw_fail(error, GW_E_SOURCE, pickle->in.at,
			       "%s: the pickle's value is no dictionary, so it names no tensors",
			       pickle->in.label);
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		bool found = false;
		uint32_t node = 0;
		int code = pack_torch_member(pickle, pickle->root, keys[i], &found, &node, error);

		if (code != GW_OK)
			return code;
		if (!found || pack_pickle_at(pickle, node)->type != PACK_PICKLE_DICT)
			continue;
		if (chosen)
			return gw_fail(error, GW_E_SOURCE, pickle->in.at,
				       "%s: two state dicts, \"%s\" and \"%s\"", pickle->in.label,
				       chosen, keys[i]);
		chosen = keys[i];
		dict = node;
	}
	*out_dict = dict;
	return GW_OK;
}

/* nanoGPT's description of the model; what is not as expected there is left out. */
static int pack_torch_config(const struct pack_pickle *pickle, struct pack_config *config,
			     struct gw_error *error)
{
	const struct {
		const char *key;
		uint64_t most, *out;
	} members[] = { { "n_layer", GW_MAX_N_LAYER, &config->n_layer },
			{ "n_head", GW_MAX_N_HEAD, &config->n_head } };
	bool found = false;
	uint32_t dict = 0, node = 0;
	int code = pack_torch_member(pickle, pickle->root, "model_args", &found, &dict, error);

	if (code != GW_OK || !found || pack_pickle_at(pickle, dict)->type != PACK_PICKLE_DICT)
		return code;
	for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
		const struct pack_pickle_node *value;

		code = pack_torch_member(pickle, dict, members[i].key, &found, &node, error);
		if (code != GW_OK)
			return code;
		value = pack_pickle_at(pickle, node);
		if (found && value->type == PACK_PICKLE_INT && value->value > 0 &&
		    (uint64_t)value->value <= members[i].most)
			*members[i].out = (uint64_t)value->value;
	}
	return GW_OK;
}

/* Fills view's part about the elements, and dense. */
static void pack_torch_strides(const struct pack_pickle_tensor *from, struct pack_torch_view *view)
{
	unsigned element_bytes = pack_element_bits(from->element) / 8;
	uint64_t expected = 1;

	view->dense = true;
	view->first_bytes = from->offset * element_bytes;
	for (unsigned i = from->rank; i-- > 0;) {
		/* of a single one the stride does not matter, and may be too large */
		if (from->n == 0 || from->shape[i] == 1)
			continue;
		view->dense = view->dense && from->stride[i] == expected;
		view->stride_bytes[i] = from->stride[i] * element_bytes;
		expected *= from->shape[i];
	}
}

static int pack_torch_view_add(struct pack_torch *torch, const struct pack_torch_view *view,
			       struct gw_error *error)
{
	size_t room = torch->room ? torch->room * 2 : 64;
	struct pack_torch_view *views = torch->views;

	if (torch->n == torch->room) {
		views = reallocarray(views, room, sizeof *views);
		if (!views)
			return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
		torch->views = views;
		torch->room = room;
	}
	views[torch->n++] = *view;
	return GW_OK;
}

/* A key of the state dict; *out_name is the caller's. */
static int pack_torch_name(const struct pack_pickle *pickle, struct pack_torch *torch,
			   uint32_t key, char **out_name, struct gw_error *error)
{
	const struct pack_pickle_node *node = pack_pickle_at(pickle, key);
	const uint8_t *text;
	char *name;

	if (node->type != PACK_PICKLE_TEXT)
		return gw_fail(error, GW_E_SOURCE, pickle->in.at,
			       "%s: a tensor whose name is no text", pickle->in.label);
	/* the same long text can be the name of every tensor: before it is copied that often */
	torch->name_bytes += node->n;
	if (torch->name_bytes > pickle->in.n)
		return gw_fail(error, GW_E_SOURCE, pickle->in.at,
			       "%s: two tensors have the same name", pickle->in.label);
	text = pickle->in.bytes + node->value;
	if (!pack_text_valid(text, node->n))
		return gw_fail(error, GW_E_SOURCE, pickle->in.at,
			       "%s: a tensor whose name is no clean UTF-8 text", pickle->in.label);
	name = strndup((const char *)text, node->n);
	if (!name)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	*out_name = name;
	return GW_OK;
}

static int pack_torch_add(const struct pack_pickle *pickle, const struct pack_torch_finder *finder,
			  uint32_t key, uint32_t node, struct pack_source *source,
			  struct pack_torch *torch, struct gw_error *error)
{
	struct pack_tensor tensor = { 0 };
	struct pack_torch_view view = { 0 };
	struct pack_pickle_tensor from = { 0 };
	int code;

	pack_pickle_tensor(pickle, node, &from);
	code = finder->find(finder, &from.storage, &view, error);
	if (code != GW_OK)
		return code;
	pack_torch_strides(&from, &view);
	tensor.element = from.element;
	tensor.rank = from.rank;
	memcpy(tensor.shape, from.shape, sizeof tensor.shape);
	/* the reader of the pickle has seen that this fits */
	tensor.size_bytes = from.n * pack_element_bits(from.element) / 8;
	tensor.offset_bytes = view.storage_offset + view.first_bytes;
	/* those of an archive too: only their reader compares the CRC */
	tensor.encoded = view.member || !view.dense;
	tensor.onwards = !view.dense || (view.member && view.member->deflated);
	tensor.detail = torch->n;
	code = pack_torch_view_add(torch, &view, error);
	if (code == GW_OK)
		code = pack_torch_name(pickle, torch, key, &tensor.name, error);
	if (code == GW_OK)
		code = pack_list_add(&source->tensors, &tensor, error);
	free(tensor.name);
	return code;
}

static int pack_torch_by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int pack_torch_unique(const struct pack_pickle *pickle, const struct pack_list *list,
			     struct gw_error *error)
{
	const char **names = calloc(list->n + 1, sizeof *names);
	char quoted[128];
	int code = GW_OK;

	if (!names)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	for (size_t i = 0; i < list->n; i++)
		names[i] = list->items[i].name;
	qsort(names, list->n, sizeof *names, pack_torch_by_name);
	for (size_t i = 1; code == GW_OK && i < list->n; i++) {
		if (strcmp(names[i], names[i - 1]) == 0)
			code = gw_fail(error, GW_E_SOURCE, pickle->in.at,
				       "%s: two tensors are called \"%s\"", pickle->in.label,
				       gw_quote(names[i], strlen(names[i]), quoted, sizeof quoted));
	}
	free(names);
	return code;
}

static int pack_torch_by_place(const void *a, const void *b)
{
	const struct pack_tensor *left = *(struct pack_tensor *const *)a;
	const struct pack_tensor *right = *(struct pack_tensor *const *)b;

	return (left->offset_bytes > right->offset_bytes) -
	       (left->offset_bytes < right->offset_bytes);
}

/*
 * Tensors that lie in the file as they are, but over each other, can only be read one by one, not
 * in one pass over the file: they become encoded.
 */
static int pack_torch_overlaps(struct pack_list *list, struct gw_error *error)
{
	struct pack_tensor **plain = calloc(list->n + 1, sizeof *plain);
	struct pack_tensor *widest = NULL;
	size_t n = 0;

	if (!plain)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	for (size_t i = 0; i < list->n; i++) {
		if (!list->items[i].encoded && list->items[i].size_bytes)
			plain[n++] = &list->items[i];
	}
	qsort(plain, n, sizeof(struct pack_tensor *), pack_torch_by_place);
	for (size_t i = 0; i < n; i++) {
		/* the one that reaches farthest of those before; all are within the file */
		uint64_t end = widest ? widest->offset_bytes + widest->size_bytes : 0;

		if (plain[i]->offset_bytes < end) {
			plain[i]->encoded = true;
			widest->encoded = true;
		}
		if (plain[i]->offset_bytes + plain[i]->size_bytes > end)
			widest = plain[i];
	}
	free(plain);
	return GW_OK;
}

bool pack_torch_may_claim(uint64_t file_bytes, uint64_t claimed_bytes)
{
	uint64_t most;

	return !gw_mul(file_bytes, PACK_MAX_VIEW_FACTOR, &most) ||
	       !gw_add(most, PACK_MAX_VIEW_BYTES, &most) || claimed_bytes <= most;
}

/* Views must not claim many times what there is in the file. */
static int pack_torch_bound(const struct pack_pickle *pickle, const struct pack_source *source,
			    struct gw_error *error)
{
	uint64_t file_bytes = source->files[0].size_bytes, total = 0;
	size_t i;

	for (i = 0; i < source->tensors.n; i++) {
		if (!gw_add(total, source->tensors.items[i].size_bytes, &total) ||
		    !pack_torch_may_claim(file_bytes, total))
			break;
	}
	if (i == source->tensors.n)
		return GW_OK;
	return gw_fail(error, GW_E_SOURCE, pickle->in.at,
		       "%s: the tensors claim far more than the %" PRIu64
		       " bytes of the file (through strides of 0 or shared storages)",
		       pickle->in.label, file_bytes);
}

int pack_torch_list(const struct pack_pickle *pickle, const struct pack_torch_finder *finder,
		    struct pack_source *source, struct pack_torch *torch, struct gw_error *error)
{
	const struct pack_pickle_node *dict;
	uint32_t number = 0, cell;
	int code = pack_torch_find_dict(pickle, &number, error);

	if (code == GW_OK)
		code = pack_torch_config(pickle, &source->config, error);
	if (code != GW_OK)
		return code;
	dict = pack_pickle_at(pickle, number);
	cell = dict->first;
	for (uint32_t i = 0; code == GW_OK && i + 1 < dict->n; i += 2) {
		uint32_t next = pickle->cells[cell].next, value = pickle->cells[next].node;

		if (pack_pickle_at(pickle, value)->type == PACK_PICKLE_TENSOR)
			code = pack_torch_add(pickle, finder, pickle->cells[cell].node, value,
					      source, torch, error);
		cell = pickle->cells[next].next;
	}
	if (code == GW_OK)
		code = pack_torch_unique(pickle, &source->tensors, error);
	if (code == GW_OK)
		code = pack_torch_overlaps(&source->tensors, error);
	if (code == GW_OK)
		code = pack_torch_bound(pickle, source, error);
	source->held_bytes = torch->room * sizeof *torch->views +
			     (torch->zip ? torch->zip->held_bytes : 0);
	return code;
}
