/* SPDX-License-Identifier: MIT */
/*
 * Python pickles as torch.save writes them, read by an interpreter that calls nothing: a fixed list
 * of opcodes (pickle.c) builds values, a fixed list of globals (pickle_global.c) has a meaning, and
 * anything else is refused with the opcode, the global and the offset. Values are numbered;
 * containers may hold themselves, so nothing here or in a caller follows them recursively.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/limits.h"
#include "format/status.h"

enum pack_pickle_type {
	PACK_PICKLE_NONE,
	PACK_PICKLE_BOOL,
	PACK_PICKLE_INT,
	PACK_PICKLE_LONG, /* of more than 8 bytes: text holds them, little-endian */
	PACK_PICKLE_FLOAT,
	PACK_PICKLE_TEXT,
	PACK_PICKLE_TUPLE,
	PACK_PICKLE_LIST,
	PACK_PICKLE_DICT, /* cells are keys and values by turns, in the order of their insertion */
	PACK_PICKLE_GLOBAL,
	PACK_PICKLE_STORAGE,
	PACK_PICKLE_TENSOR,
	PACK_PICKLE_OPAQUE, /* torch.device: of no use here */
};

struct pack_pickle_node {
	uint8_t type;
	uint32_t n;           /* cells of a container, bytes of a text or long */
	uint32_t first, last; /* cells; first: of a storage or tensor, the node of its arguments */
	int64_t value;        /* of a number; offset of a text; number of a global */
};

struct pack_pickle_cell {
	uint32_t node, next; /* next is of no meaning in a container's last cell */
};

/* What is to be read. */
struct pack_pickle_input {
	const uint8_t *bytes; /* borrowed until pack_pickle_free */
	uint64_t n;
	bool cut;          /* there are more bytes, which the cap on pickles kept out */
	uint64_t at;       /* where bytes begin in the file */
	const char *label; /* begins every message; borrowed as bytes are */
};

struct pack_pickle {
	struct pack_pickle_input in;
	struct pack_pickle_node *nodes;
	struct pack_pickle_cell *cells;
	uint32_t n_nodes, n_cells, node_room, cell_room;
	uint32_t root;
	uint64_t used_bytes; /* up to and with STOP */
};

/* Memory: PACK_MAX_PICKLE_…, 10 MiB. Errors: GW_E_SOURCE, GW_E_MEMORY. */
int pack_pickle_load(const struct pack_pickle_input *in, struct pack_pickle **out_pickle,
		     struct gw_error *error);

void pack_pickle_free(struct pack_pickle *pickle); /* NULL is fine */

static inline const struct pack_pickle_node *pack_pickle_at(const struct pack_pickle *pickle,
							    uint32_t node)
{
	return &pickle->nodes[node];
}

/* Whether node is that text. */
bool pack_pickle_is(const struct pack_pickle *pickle, uint32_t node, const char *text);

/* Cell number i of a container, which has more than i; slow in the middle. */
uint32_t pack_pickle_item(const struct pack_pickle *pickle, uint32_t node, uint32_t i);

/* A persistent id ('storage', class, key, location, n, None or a view (key, offset, n)). */
struct pack_pickle_storage {
	const char *key; /* key_bytes letters, digits, - and _; no NUL follows */
	uint32_t key_bytes;
	int element;          /* see element.h */
	uint64_t n;           /* elements */
	uint64_t size_bytes;  /* of these */
	uint64_t view_offset; /* the part of it that is meant, in elements */
	uint64_t view_n;
};

/* A tensor on a storage: offset and strides are of elements, and within the storage. */
struct pack_pickle_tensor {
	struct pack_pickle_storage storage;
	int element;
	unsigned rank;
	uint64_t shape[GW_MAX_RANK], stride[GW_MAX_RANK];
	uint64_t n;      /* elements: the product of shape */
	uint64_t offset; /* of its first element from the beginning of the storage */
};

/* Of nodes of these types. What is malformed was refused by pack_pickle_load. */
void pack_pickle_storage(const struct pack_pickle *pickle, uint32_t node,
			 struct pack_pickle_storage *out);
void pack_pickle_tensor(const struct pack_pickle *pickle, uint32_t node,
			struct pack_pickle_tensor *out);
