/* SPDX-License-Identifier: MIT */
#include "tools/pack/tf_bundle.h"

#include <inttypes.h>

#include "format/checked.h"
#include "tools/pack/element.h"
#include "tools/pack/protobuf.h"

/* The version of the format that TensorFlow writes and this program reads (tensor_bundle.cc). */
#define PACK_BUNDLE_VERSION 1

/* DataType of tensorflow/core/framework/types.proto. bits 0: the shape does not tell the size. */
static const struct {
	const char *name;    /* NULL: a number that is not used */
	const char *element; /* NULL: none */
	unsigned bits;
} pack_types[] = {
	[1] = { "DT_FLOAT", "F32", 32 },
	[2] = { "DT_DOUBLE", "F64", 64 },
	[3] = { "DT_INT32", "I32", 32 },
	[4] = { "DT_UINT8", "U8", 8 },
	[5] = { "DT_INT16", "I16", 16 },
	[6] = { "DT_INT8", "I8", 8 },
	[7] = { "DT_STRING", NULL, 0 },
	[8] = { "DT_COMPLEX64", "C64", 64 },
	[9] = { "DT_INT64", "I64", 64 },
	[10] = { "DT_BOOL", "BOOL", 8 },
	[11] = { "DT_QINT8", NULL, 8 },
	[12] = { "DT_QUINT8", NULL, 8 },
	[13] = { "DT_QINT32", NULL, 32 },
	[14] = { "DT_BFLOAT16", "BF16", 16 },
	[15] = { "DT_QINT16", NULL, 16 },
	[16] = { "DT_QUINT16", NULL, 16 },
	[17] = { "DT_UINT16", "U16", 16 },
	[18] = { "DT_COMPLEX128", NULL, 128 },
	[19] = { "DT_HALF", "F16", 16 },
	[20] = { "DT_RESOURCE", NULL, 0 },
	[21] = { "DT_VARIANT", NULL, 0 },
	[22] = { "DT_UINT32", "U32", 32 },
	[23] = { "DT_UINT64", "U64", 64 },
	[24] = { "DT_FLOAT8_E5M2", "F8_E5M2", 8 },
	[25] = { "DT_FLOAT8_E4M3FN", "F8_E4M3", 8 },
	[26] = { "DT_FLOAT8_E4M3FNUZ", NULL, 8 },
	[27] = { "DT_FLOAT8_E4M3B11FNUZ", NULL, 8 },
	[28] = { "DT_FLOAT8_E5M2FNUZ", NULL, 8 },
	/* each may take a byte of its own, or share one */
	[29] = { "DT_INT4", NULL, 0 },
	[30] = { "DT_UINT4", NULL, 0 },
	[31] = { "DT_INT2", NULL, 0 },
	[32] = { "DT_UINT2", NULL, 0 },
};

static int pack_bundle_fail(const char *what, const char *flaw, struct gw_error *error)
{
	return gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET, "%s is malformed: %s", what, flaw);
}

/* VersionDef: producer 1, min_consumer 2, bad_consumers 3. */
static int pack_bundle_version(const uint8_t *bytes, size_t n, struct gw_error *error)
{
	struct pack_protobuf message = pack_protobuf_start(bytes, n);
	struct pack_protobuf_field field;
	uint64_t oldest_reader = 0;
	int more;

	while ((more = pack_protobuf_next(&message, &field)) > 0) {
		if (field.number == 1 || field.number == 2) {
			if (!pack_protobuf_once(&message, &field, PACK_WIRE_VARINT))
				return pack_bundle_fail("the header's version", message.flaw,
							error);
			oldest_reader = field.number == 2 ? field.value : oldest_reader;
		} else if (field.number == 3) {
			return gw_fail(error, GW_E_SOURCE_KIND, GW_NO_OFFSET,
				       "the header names versions of the reader that must not read "
				       "the checkpoint");
		}
	}
	if (more < 0)
		return pack_bundle_fail("the header's version", message.flaw, error);
	if (oldest_reader > PACK_BUNDLE_VERSION)
		return gw_fail(error, GW_E_SOURCE_KIND, GW_NO_OFFSET,
			       "the checkpoint asks for a reader of version %" PRIu64
			       ", this one is of version %d",
			       oldest_reader, PACK_BUNDLE_VERSION);
	return GW_OK;
}

/* BundleHeaderProto: num_shards 1, endianness 2, version 3. */
int pack_bundle_header(const uint8_t *bytes, size_t n, uint64_t *out_n_shards,
		       struct gw_error *error)
{
	struct pack_protobuf message = pack_protobuf_start(bytes, n);
	struct pack_protobuf_field field;
	uint64_t n_shards = 0, order = 0;
	int more, code;

	while ((more = pack_protobuf_next(&message, &field)) > 0) {
		if (field.number == 1 && field.wire == PACK_WIRE_BYTES)
			return gw_fail(
				error, GW_E_SOURCE_KIND, GW_NO_OFFSET,
				"the checkpoint is of TensorFlow's first format, which this "
				"release does not read; it reads the one that tf.train.Saver "
				"has written since 2016");
		if (field.number < 1 || field.number > 3)
			continue;
		if (!pack_protobuf_once(&message, &field,
					field.number == 3 ? PACK_WIRE_BYTES : PACK_WIRE_VARINT))
			return pack_bundle_fail("the header", message.flaw, error);
		if (field.number == 1)
			n_shards = field.value;
		else if (field.number == 2)
			order = field.value;
		else if ((code = pack_bundle_version(field.bytes, field.n, error)) != GW_OK)
			return code;
	}
	if (more < 0)
		return pack_bundle_fail("the header", message.flaw, error);
	if (order > 1)
		return gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET,
			       "the header has the unknown byte order %" PRIu64, order);
	if (order == 1)
		return gw_fail(error, GW_E_SOURCE_KIND, GW_NO_OFFSET,
			       "the checkpoint was written on a big-endian machine, which this "
			       "release does not read");
	*out_n_shards = n_shards;
	return GW_OK;
}

/* Dim of TensorShapeProto: size 1, name 2. */
static int pack_bundle_dimension(const uint8_t *bytes, size_t n, uint64_t *out,
				 struct gw_error *error)
{
	struct pack_protobuf message = pack_protobuf_start(bytes, n);
	struct pack_protobuf_field field;
	uint64_t size = 0;
	int more;

	while ((more = pack_protobuf_next(&message, &field)) > 0) {
		if (field.number != 1)
			continue;
		if (!pack_protobuf_once(&message, &field, PACK_WIRE_VARINT))
			return pack_bundle_fail("a dimension", message.flaw, error);
		size = field.value;
	}
	if (more < 0)
		return pack_bundle_fail("a dimension", message.flaw, error);
	if (size > INT64_MAX)
		return gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET, "a dimension is negative");
	*out = size;
	return GW_OK;
}

/* TensorShapeProto: dim 2, unknown_rank 3. */
static int pack_bundle_shape(const uint8_t *bytes, size_t n, struct pack_bundle_entry *entry,
			     struct gw_error *error)
{
	struct pack_protobuf message = pack_protobuf_start(bytes, n);
	struct pack_protobuf_field field;
	int more, code;

	while ((more = pack_protobuf_next(&message, &field)) > 0) {
		if (field.number == 3)
			return gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET,
				       "the shape says something about an unknown rank");
		if (field.number != 2)
			continue;
		if (field.wire != PACK_WIRE_BYTES)
			return pack_bundle_fail("the shape", "a dimension has the wrong wire type",
						error);
		if (entry->rank == GW_MAX_RANK)
			return gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET,
				       "the shape has more than %d dimensions", GW_MAX_RANK);
		code = pack_bundle_dimension(field.bytes, field.n, &entry->shape[entry->rank],
					     error);
		if (code != GW_OK)
			return code;
		entry->rank++;
	}
	return more < 0 ? pack_bundle_fail("the shape", message.flaw, error) : GW_OK;
}

static int pack_bundle_type(struct pack_bundle_entry *entry, uint64_t type, struct gw_error *error)
{
	uint64_t bits = 0;

	if (type >= sizeof pack_types / sizeof pack_types[0] || !pack_types[type].name)
		return gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET,
			       "the type has the unknown number %" PRIu64, type);
	entry->type_name = pack_types[type].name;
	entry->element = pack_types[type].element ? pack_element_find(pack_types[type].element)
						  : pack_element_other();
	bits = pack_types[type].bits;
	for (unsigned i = 0; i < entry->rank; i++)
		if (!gw_mul(bits, entry->shape[i], &bits))
			return gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET,
				       "the product of the shape does not fit 64 bits");
	if (pack_types[type].bits && bits / 8 != entry->size_bytes && !entry->sliced)
		return gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET,
			       "the entry has %" PRIu64
			       " bytes of data, but the shape and the type "
			       "need %" PRIu64,
			       entry->size_bytes, bits / 8);
	return GW_OK;
}

/* BundleEntryProto: dtype 1, shape 2, shard_id 3, offset 4, size 5, crc32c 6, slices 7. */
int pack_bundle_entry(const uint8_t *bytes, size_t n, struct pack_bundle_entry *out,
		      struct gw_error *error)
{
	static const enum pack_wire wires[] = {
		[1] = PACK_WIRE_VARINT, [2] = PACK_WIRE_BYTES,  [3] = PACK_WIRE_VARINT,
		[4] = PACK_WIRE_VARINT, [5] = PACK_WIRE_VARINT, [6] = PACK_WIRE_32,
	};
	struct pack_protobuf message = pack_protobuf_start(bytes, n);
	struct pack_protobuf_field field;
	struct pack_bundle_entry entry = { 0 };
	uint64_t values[sizeof wires / sizeof wires[0]] = { 0 }, end;
	int more, code = GW_OK;

	while (code == GW_OK && (more = pack_protobuf_next(&message, &field)) > 0) {
		entry.sliced = entry.sliced || field.number == 7;
		if (field.number > 6)
			continue;
		if (!pack_protobuf_once(&message, &field, wires[field.number]))
			return pack_bundle_fail("the entry", message.flaw, error);
		values[field.number] = field.value;
		if (field.number == 2)
			code = pack_bundle_shape(field.bytes, field.n, &entry, error);
	}
	if (code != GW_OK)
		return code;
	if (more < 0)
		return pack_bundle_fail("the entry", message.flaw, error);
	entry.shard = values[3];
	entry.offset_bytes = values[4];
	entry.size_bytes = values[5];
	entry.crc32c = (uint32_t)values[6];
	if (entry.offset_bytes > INT64_MAX || entry.size_bytes > INT64_MAX ||
	    !gw_add(entry.offset_bytes, entry.size_bytes, &end) || end > INT64_MAX)
		return gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET,
			       "the offset %" PRIu64 " and the size %" PRIu64
			       " go past what a file can have",
			       entry.offset_bytes, entry.size_bytes);
	code = pack_bundle_type(&entry, values[1], error);
	if (code == GW_OK)
		*out = entry;
	return code;
}
