/* SPDX-License-Identifier: MIT */
/* The globals that a pickle may name, and what becomes of them when they are "called". */
#pragma once

#include "tools/pack/pickle.h"

enum pack_global_kind {
	PACK_GLOBAL_DICT,      /* OrderedDict(), or of a list of pairs */
	PACK_GLOBAL_SIZE,      /* torch.Size(tuple) */
	PACK_GLOBAL_DEVICE,    /* torch.device(…) */
	PACK_GLOBAL_TENSOR,    /* storage, offset, shape, strides, … */
	PACK_GLOBAL_TYPED,     /* the same, the type after 6 arguments */
	PACK_GLOBAL_PARAMETER, /* tensor, … */
	PACK_GLOBAL_STORAGE,   /* a class, never called */
	PACK_GLOBAL_DTYPE,     /* a value, never called */
};

struct pack_global {
	const char *module, *name;
	enum pack_global_kind kind;
	uint8_t least, most; /* arguments */
	const char *element; /* of a storage class or a dtype */
};

/* The number of a global, or -1. */
int pack_global_find(const uint8_t *module, uint64_t module_bytes, const uint8_t *name,
		     uint64_t name_bytes);

const struct pack_global *pack_global_at(int64_t number);

/*
 * Check what these nodes describe, and fill *out if they are fine: NULL, or else what is wrong with
 * them. arguments: the tuple's node.
 */
const char *pack_global_storage(const struct pack_pickle *pickle, uint32_t arguments,
				struct pack_pickle_storage *out);
const char *pack_global_tensor(const struct pack_pickle *pickle, uint32_t arguments,
			       struct pack_pickle_tensor *out);
