/* SPDX-License-Identifier: MIT */
#include "tools/pack/protobuf.h"

#include <assert.h>

#include "format/bytes.h"
#include "tools/pack/varint.h"

struct pack_protobuf pack_protobuf_start(const uint8_t *data, size_t n)
{
	return (struct pack_protobuf) { .data = data, .n = n };
}

static int pack_protobuf_flaw(struct pack_protobuf *message, const char *flaw)
{
	message->flaw = flaw;
	return -1;
}

static bool pack_protobuf_fixed(struct pack_protobuf *message, unsigned bytes, uint64_t *out)
{
	struct gw_bytes window = gw_bytes_read(message->data, message->n);

	*out = gw_get(&window, message->at, bytes);
	message->at += bytes;
	return !window.overrun;
}

int pack_protobuf_next(struct pack_protobuf *message, struct pack_protobuf_field *out)
{
	struct pack_protobuf_field field = { 0 };
	uint64_t tag;
	bool whole;

	if (message->at == message->n)
		return 0;
	/* a tag has 29 bits of number and 3 of type */
	if (!pack_varint(message->data, message->n, 32, &message->at, &tag))
		return pack_protobuf_flaw(message, "a field's tag is no varint of 32 bits");
	field.number = (uint32_t)(tag >> 3);
	if (field.number == 0)
		return pack_protobuf_flaw(message, "a field has the number 0");
	field.wire = (enum pack_wire)(tag & 7);
	switch (field.wire) {
	case PACK_WIRE_VARINT:
		whole = pack_varint(message->data, message->n, 64, &message->at, &field.value);
		if (!whole)
			return pack_protobuf_flaw(message,
						  "a field's value is no varint of 64 bits");
		break;
	case PACK_WIRE_64:
		whole = pack_protobuf_fixed(message, 8, &field.value);
		break;
	case PACK_WIRE_32:
		whole = pack_protobuf_fixed(message, 4, &field.value);
		break;
	case PACK_WIRE_BYTES:
		whole = pack_varint(message->data, message->n, 64, &message->at, &field.value) &&
			field.value <= message->n - message->at;
		if (!whole)
			return pack_protobuf_flaw(message, "a field's length is no varint or goes "
							   "past the end of its message");
		field.bytes = message->data + message->at;
		field.n = field.value;
		message->at += field.n;
		break;
	default:
		return pack_protobuf_flaw(message, "a field has a wire type that does not exist "
						   "in proto3");
	}
	if (!whole)
		return pack_protobuf_flaw(message, "a field of fixed size is cut off");
	*out = field;
	return 1;
}

bool pack_protobuf_once(struct pack_protobuf *message, const struct pack_protobuf_field *field,
			enum pack_wire wire)
{
	uint64_t bit;

	assert(field->number < 64);
	bit = UINT64_C(1) << field->number;
	if (field->wire != wire) {
		message->flaw = "a field has the wrong wire type";
		return false;
	}
	if (message->seen & bit) {
		message->flaw = "a field is there twice";
		return false;
	}
	message->seen |= bit;
	return true;
}
