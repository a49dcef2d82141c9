/* SPDX-License-Identifier: MIT */
/* The machine that reads a pickle: pickle.c fetches opcodes, pickle_opcode.c carries them out. */
#pragma once

#include "tools/pack/pickle.h"

/* The machine: the opcode at hand, its operand, and where its values are. */
struct pack_machine {
	struct pack_pickle *pickle;
	struct gw_error *error;
	const struct pack_opcode *opcode;
	uint64_t start, at;      /* of the opcode; behind its operand */
	uint64_t number;         /* the operand, or the length of text */
	uint64_t text;           /* offset */
	uint32_t *stack, *marks; /* nodes; sizes of the stack */
	uint32_t n_stack, n_marks;
	uint32_t *memo; /* nodes */
	uint32_t memo_room, n_memo;
	bool stopped;
};

/* What the operand is: a number of n bytes, text behind its length of n bytes, or two lines. */
enum pack_operand { PACK_NUMBER, PACK_SIGNED, PACK_TEXT, PACK_LINES };

struct pack_opcode {
	uint8_t byte;
	const char *name;
	enum pack_operand operand;
	uint8_t n;
	int (*run)(struct pack_machine *machine);
};

#define machine_fail(machine, format, ...)                                                     \
	gw_fail((machine)->error, GW_E_SOURCE, (machine)->pickle->in.at + (machine)->start,    \
		"%s: " format " at offset %" PRIu64, (machine)->pickle->in.label, __VA_ARGS__, \
		(machine)->pickle->in.at + (machine)->start)

/* The opcode of that byte, or NULL. */
const struct pack_opcode *pack_opcode_find(uint8_t byte);
