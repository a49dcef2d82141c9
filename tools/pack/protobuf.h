/* SPDX-License-Identifier: MIT */
/* The wire format of protocol buffers, field by field. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Groups (3, 4) are refused: proto3 has none. */
enum pack_wire { PACK_WIRE_VARINT = 0, PACK_WIRE_64 = 1, PACK_WIRE_BYTES = 2, PACK_WIRE_32 = 5 };

struct pack_protobuf {
	const uint8_t *data; /* borrowed */
	size_t n, at;
	uint64_t seen;    /* numbers below 64 that were there already; see pack_protobuf_once */
	const char *flaw; /* after a failure: what is wrong, a constant */
};

struct pack_protobuf_field {
	uint32_t number;
	enum pack_wire wire;
	uint64_t value;       /* of a varint or fixed-size field */
	const uint8_t *bytes; /* of PACK_WIRE_BYTES; within the message */
	size_t n;
};

/* A message of n bytes. */
struct pack_protobuf pack_protobuf_start(const uint8_t *data, size_t n);

/* 1: *out is the next field. 0: the message is over. -1: it is malformed, see flaw. */
int pack_protobuf_next(struct pack_protobuf *message, struct pack_protobuf_field *out);

/*
 * Whether the field, whose number is below 64, is of the given type and the first of its number; if
 * not, flaw says so. For fields that a message has once: of two, readers take the last one or merge
 * them, and no writer makes two.
 */
bool pack_protobuf_once(struct pack_protobuf *message, const struct pack_protobuf_field *field,
			enum pack_wire wire);
