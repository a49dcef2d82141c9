/* SPDX-License-Identifier: MIT */
#include "tools/pack/pickle.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/bytes.h"
#include "tools/pack/limits.h"
#include "tools/pack/pickle_global.h"
#include "tools/pack/pickle_machine.h"

static int pack_fail_end(const struct pack_machine *machine)
{
	const struct pack_pickle_input *in = &machine->pickle->in;

	if (in->cut)
		return machine_fail(machine,
				    "a pickle of more than %" PRIu64 " bytes: an operand or opcode",
				    PACK_MAX_PICKLE_BYTES);
	return machine_fail(machine, "%s", "a pickle without an end: cut short");
}

/* Two lines behind the opcode: machine->number is the length of both with their ends. */
static int pack_fetch_lines(struct pack_machine *machine)
{
	const struct pack_pickle_input *in = &machine->pickle->in;

	machine->text = machine->at;
	for (unsigned i = 0; i < 2; i++) {
		const uint8_t *end = memchr(in->bytes + machine->at, '\n', in->n - machine->at);

		if (!end)
			return pack_fail_end(machine);
		machine->at = (uint64_t)(end - in->bytes) + 1;
	}
	machine->number = machine->at - machine->text;
	return GW_OK;
}

static int pack_fetch_operand(struct pack_machine *machine)
{
	const struct pack_pickle_input *in = &machine->pickle->in;
	struct gw_bytes window = gw_bytes_read(in->bytes, in->n);
	const struct pack_opcode *opcode = machine->opcode;

	if (opcode->operand == PACK_LINES)
		return pack_fetch_lines(machine);
	machine->number = gw_get(&window, machine->at, opcode->n);
	if (opcode->operand == PACK_SIGNED && machine->number >> 31)
		machine->number |= UINT64_MAX << 32;
	if (window.overrun)
		return pack_fail_end(machine);
	machine->at += opcode->n;
	if (opcode->operand != PACK_TEXT)
		return GW_OK;
	if (machine->number > in->n - machine->at)
		return pack_fail_end(machine);
	machine->text = machine->at;
	machine->at += machine->number;
	return GW_OK;
}

static int pack_step(struct pack_machine *machine)
{
	const struct pack_pickle_input *in = &machine->pickle->in;
	int code;

	machine->start = machine->at;
	if (machine->at >= in->n)
		return pack_fail_end(machine);
	machine->opcode = pack_opcode_find(in->bytes[machine->at]);
	if (!machine->opcode)
		return machine_fail(
			machine,
			"opcode 0x%02x, which is none of the few that are known to be harmless,",
			in->bytes[machine->at]);
	if (machine->at == 0 && machine->opcode->byte != 0x80)
		return machine_fail(machine, "%s", "no pickle of protocol 2 to 5");
	machine->at++;
	code = pack_fetch_operand(machine);
	return code == GW_OK ? machine->opcode->run(machine) : code;
}

int pack_pickle_load(const struct pack_pickle_input *in, struct pack_pickle **out_pickle,
		     struct gw_error *error)
{
	struct pack_machine machine = {
		.pickle = calloc(1, sizeof(struct pack_pickle)),
		.error = error,
		.stack = malloc(PACK_MAX_PICKLE_STACK * sizeof(uint32_t)),
		.marks = malloc(PACK_MAX_PICKLE_MARKS * sizeof(uint32_t)),
	};
	int code = GW_OK;

	if (machine.pickle)
		machine.pickle->in = *in;
	if (!machine.pickle || !machine.stack || !machine.marks)
		code = gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	while (code == GW_OK && !machine.stopped)
		code = pack_step(&machine);
	free(machine.stack);
	free(machine.marks);
	free(machine.memo);
	if (code != GW_OK) {
		pack_pickle_free(machine.pickle);
		return code;
	}
	machine.pickle->used_bytes = machine.at;
	*out_pickle = machine.pickle;
	return GW_OK;
}

void pack_pickle_free(struct pack_pickle *pickle)
{
	if (!pickle)
		return;
	free(pickle->nodes);
	free(pickle->cells);
	free(pickle);
}

bool pack_pickle_is(const struct pack_pickle *pickle, uint32_t number, const char *text)
{
	const struct pack_pickle_node *node = pack_pickle_at(pickle, number);

	return node->type == PACK_PICKLE_TEXT && node->n == strlen(text) &&
	       memcmp(pickle->in.bytes + node->value, text, node->n) == 0;
}

uint32_t pack_pickle_item(const struct pack_pickle *pickle, uint32_t node, uint32_t i)
{
	uint32_t cell = pickle->nodes[node].first;

	while (i-- > 0)
		cell = pickle->cells[cell].next;
	return pickle->cells[cell].node;
}

void pack_pickle_storage(const struct pack_pickle *pickle, uint32_t node,
			 struct pack_pickle_storage *out)
{
	pack_global_storage(pickle, pickle->nodes[node].first, out);
}

void pack_pickle_tensor(const struct pack_pickle *pickle, uint32_t node,
			struct pack_pickle_tensor *out)
{
	pack_global_tensor(pickle, pickle->nodes[node].first, out);
}
