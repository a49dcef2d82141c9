/* SPDX-License-Identifier: MIT */
/*
 * The two messages in the index of a TensorFlow checkpoint (tensorflow/core/protobuf/
 * tensor_bundle.proto): a header under the key "", and an entry for each tensor under its name.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/limits.h"
#include "format/status.h"

struct pack_bundle_entry {
	int element;           /* see element.h; pack_element_other() for many */
	const char *type_name; /* "DT_FLOAT" …; a constant */
	unsigned rank;
	uint64_t shape[GW_MAX_RANK];
	uint64_t shard, offset_bytes, size_bytes;
	uint32_t crc32c; /* masked, of the size_bytes */
	bool sliced;     /* its values lie under other keys, in slices */
};

/*
 * The number of data files that the header names. Errors (the message says what is wrong, without
 * where): GW_E_SOURCE; GW_E_SOURCE_KIND for a checkpoint of big-endian values, of version 1 or of
 * one that only a newer reader understands.
 */
int pack_bundle_header(const uint8_t *bytes, size_t n, uint64_t *out_n_shards,
		       struct gw_error *error);

/*
 * An entry: the type is known, the shape's product does not wrap and, for a type of fixed size,
 * agrees with size_bytes; offset + size does not wrap. GW_E_SOURCE otherwise, as above.
 */
int pack_bundle_entry(const uint8_t *bytes, size_t n, struct pack_bundle_entry *out,
		      struct gw_error *error);
