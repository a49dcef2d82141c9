/* SPDX-License-Identifier: MIT */
#include "tools/pack/pickle_machine.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/pack/limits.h"
#include "tools/pack/pickle_global.h"

static int pack_no_memory(const struct pack_machine *machine)
{
	return gw_fail(machine->error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
}

/* Makes room for one more item in an array; *room grows up to most. */
static int pack_room(struct pack_machine *machine, void **items, uint32_t *room, uint32_t n,
		     uint32_t most, size_t size, const char *what)
{
	uint32_t wanted = *room ? *room * 2 : 256;
	void *grown;

	if (n < *room)
		return GW_OK;
	if (n >= most)
		return machine_fail(machine, "more than %u %s in a pickle,", most, what);
	wanted = wanted < most ? wanted : most;
	grown = reallocarray(*items, wanted, size);
	if (!grown)
		return pack_no_memory(machine);
	*items = grown;
	*room = wanted;
	return GW_OK;
}

static int pack_push(struct pack_machine *machine, uint32_t node)
{
	if (machine->n_stack >= PACK_MAX_PICKLE_STACK)
		return machine_fail(machine, "more than %u values wait to be used,",
				    PACK_MAX_PICKLE_STACK);
	machine->stack[machine->n_stack++] = node;
	return GW_OK;
}

static int pack_push_node(struct pack_machine *machine, const struct pack_pickle_node *node)
{
	struct pack_pickle *pickle = machine->pickle;
	void *nodes = pickle->nodes;
	int code = pack_room(machine, &nodes, &pickle->node_room, pickle->n_nodes,
			     PACK_MAX_PICKLE_NODES, sizeof *node, "values");

	pickle->nodes = nodes;
	if (code != GW_OK)
		return code;
	pickle->nodes[pickle->n_nodes] = *node;
	return pack_push(machine, pickle->n_nodes++);
}

/* Values above the topmost mark. */
static uint32_t pack_depth(const struct pack_machine *machine)
{
	return machine->n_stack - (machine->n_marks ? machine->marks[machine->n_marks - 1] : 0);
}

/* Value number i from the top, of n that must be there. */
static int pack_peek(const struct pack_machine *machine, uint32_t i, uint32_t *out)
{
	if (pack_depth(machine) <= i)
		return machine_fail(machine, "opcode %s without the values that it takes",
				    machine->opcode->name);
	*out = machine->stack[machine->n_stack - 1 - i];
	return GW_OK;
}

static int pack_append_cell(struct pack_machine *machine, uint32_t container, uint32_t item)
{
	struct pack_pickle *pickle = machine->pickle;
	struct pack_pickle_node *node = &pickle->nodes[container];
	void *cells = pickle->cells;
	int code = pack_room(machine, &cells, &pickle->cell_room, pickle->n_cells,
			     PACK_MAX_PICKLE_CELLS, sizeof *pickle->cells, "places in lists");

	pickle->cells = cells;
	if (code != GW_OK)
		return code;
	pickle->cells[pickle->n_cells] = (struct pack_pickle_cell) { .node = item };
	if (node->n++)
		pickle->cells[node->last].next = pickle->n_cells;
	else
		node->first = pickle->n_cells;
	node->last = pickle->n_cells++;
	return GW_OK;
}

/* Moves the topmost n values into a container that lies below them, or anywhere else. */
static int pack_collect(struct pack_machine *machine, uint32_t container, uint32_t n)
{
	int code = GW_OK;

	machine->n_stack -= n;
	for (uint32_t i = 0; code == GW_OK && i < n; i++)
		code = pack_append_cell(machine, container, machine->stack[machine->n_stack + i]);
	return code;
}

/* Drops the topmost mark; *out_n: how many values lie above it. */
static int pack_unmark(struct pack_machine *machine, uint32_t *out_n)
{
	if (machine->n_marks == 0)
		return machine_fail(machine, "opcode %s without a mark", machine->opcode->name);
	*out_n = pack_depth(machine);
	machine->n_marks--;
	return GW_OK;
}

static int pack_run_proto(struct pack_machine *machine)
{
	if (machine->start != 0 || machine->number < 2 || machine->number > 5)
		return machine_fail(machine, "protocol %" PRIu64 " (a pickle begins with 2 to 5)",
				    machine->number);
	return GW_OK;
}

static int pack_run_frame(struct pack_machine *machine)
{
	if (machine->number > machine->pickle->in.n - machine->at)
		return machine_fail(machine,
				    "a frame of %" PRIu64 " bytes, past the end of the pickle,",
				    machine->number);
	return GW_OK;
}

static int pack_run_stop(struct pack_machine *machine)
{
	int code = pack_peek(machine, 0, &machine->pickle->root);

	if (code == GW_OK && (machine->n_stack != 1 || machine->n_marks))
		return machine_fail(machine,
				    "a pickle that ends with %u values and %u marks left over",
				    machine->n_stack - 1, machine->n_marks);
	machine->stopped = true;
	return code;
}

static int pack_run_mark(struct pack_machine *machine)
{
	if (machine->n_marks >= PACK_MAX_PICKLE_MARKS)
		return machine_fail(machine, "brackets more than %u deep", PACK_MAX_PICKLE_MARKS);
	machine->marks[machine->n_marks++] = machine->n_stack;
	return GW_OK;
}

static int pack_run_none(struct pack_machine *machine)
{
	return pack_push_node(machine, &(struct pack_pickle_node) { .type = PACK_PICKLE_NONE });
}

static int pack_run_bool(struct pack_machine *machine)
{
	return pack_push_node(machine, &(struct pack_pickle_node) {
					       .type = PACK_PICKLE_BOOL,
					       .value = machine->opcode->byte == 0x88 });
}

static int pack_run_int(struct pack_machine *machine)
{
	/* a signed operand comes extended to 64 bits */
	return pack_push_node(machine,
			      &(struct pack_pickle_node) { .type = PACK_PICKLE_INT,
							   .value = (int64_t)machine->number });
}

static int pack_run_float(struct pack_machine *machine)
{
	return pack_push_node(machine, &(struct pack_pickle_node) { .type = PACK_PICKLE_FLOAT });
}

/* Two's complement, little-endian, of any length. */
static int pack_run_long(struct pack_machine *machine)
{
	const uint8_t *bytes = machine->pickle->in.bytes + machine->text;
	struct pack_pickle_node node = { .type = PACK_PICKLE_INT };
	uint64_t n = machine->number;
	uint64_t value = n && bytes[n - 1] >= 0x80 ? UINT64_MAX : 0;

	if (n > 8) {
		node.type = PACK_PICKLE_LONG;
		node.n = (uint32_t)n;
		node.value = (int64_t)machine->text;
		return pack_push_node(machine, &node);
	}
	while (n-- > 0)
		value = value << 8 | bytes[n];
	node.value = (int64_t)value;
	return pack_push_node(machine, &node);
}

static int pack_run_text(struct pack_machine *machine)
{
	return pack_push_node(machine,
			      &(struct pack_pickle_node) { .type = PACK_PICKLE_TEXT,
							   .n = (uint32_t)machine->number,
							   .value = (int64_t)machine->text });
}

static int pack_push_global(struct pack_machine *machine, uint64_t module, uint64_t module_bytes,
			    uint64_t name, uint64_t name_bytes)
{
	const uint8_t *bytes = machine->pickle->in.bytes;
	char quoted_module[80], quoted_name[80];
	int number = pack_global_find(bytes + module, module_bytes, bytes + name, name_bytes);

	if (number < 0)
		return machine_fail(
			machine,
			"opcode %s names %s.%s, which is none of the few that are known to be "
			"harmless; nothing was run,",
			machine->opcode->name,
			gw_quote((const char *)bytes + module, module_bytes, quoted_module,
				 sizeof quoted_module),
			gw_quote((const char *)bytes + name, name_bytes, quoted_name,
				 sizeof quoted_name));
	return pack_push_node(machine, &(struct pack_pickle_node) { .type = PACK_PICKLE_GLOBAL,
								    .value = number });
}

static int pack_run_global(struct pack_machine *machine)
{
	const uint8_t *bytes = machine->pickle->in.bytes + machine->text;
	uint64_t n = (uint64_t)((const uint8_t *)memchr(bytes, '\n', machine->number) - bytes);

	return pack_push_global(machine, machine->text, n, machine->text + n + 1,
				machine->number - n - 2);
}

static int pack_run_stack_global(struct pack_machine *machine)
{
	const struct pack_pickle_node *nodes[2];
	uint32_t top[2] = { 0 };
	int code = GW_OK;

	for (uint32_t i = 0; i < 2; i++) {
		code = pack_peek(machine, 1 - i, &top[i]);
		if (code != GW_OK)
			return code;
		nodes[i] = pack_pickle_at(machine->pickle, top[i]);
		if (nodes[i]->type != PACK_PICKLE_TEXT)
			return machine_fail(machine, "opcode %s on what is no text",
					    machine->opcode->name);
	}
	machine->n_stack -= 2;
	return pack_push_global(machine, (uint64_t)nodes[0]->value, nodes[0]->n,
				(uint64_t)nodes[1]->value, nodes[1]->n);
}

static int pack_run_empty(struct pack_machine *machine)
{
	uint8_t byte = machine->opcode->byte;

	return pack_push_node(machine, &(struct pack_pickle_node) {
					       .type = byte == '}'   ? PACK_PICKLE_DICT
						       : byte == ']' ? PACK_PICKLE_LIST
								     : PACK_PICKLE_TUPLE });
}

/* The n topmost values become one tuple. */
static int pack_make_tuple(struct pack_machine *machine, uint32_t n)
{
	uint32_t tuple;
	int code =
		pack_push_node(machine, &(struct pack_pickle_node) { .type = PACK_PICKLE_TUPLE });

	if (code != GW_OK)
		return code;
	tuple = machine->stack[--machine->n_stack];
	code = pack_collect(machine, tuple, n);
	return code == GW_OK ? pack_push(machine, tuple) : code;
}

static int pack_run_tuple(struct pack_machine *machine)
{
	uint32_t n = 0;
	int code = pack_unmark(machine, &n);

	return code == GW_OK ? pack_make_tuple(machine, n) : code;
}

static int pack_run_tuple_n(struct pack_machine *machine)
{
	uint32_t n = machine->opcode->byte - UINT32_C(0x84), unused;
	int code = pack_peek(machine, n - 1, &unused);

	return code == GW_OK ? pack_make_tuple(machine, n) : code;
}

/* APPEND, APPENDS, SETITEM, SETITEMS */
static int pack_run_insert(struct pack_machine *machine)
{
	uint8_t byte = machine->opcode->byte;
	bool dict = byte == 's' || byte == 'u';
	uint32_t n = byte == 'a' ? 1 : 2, container = 0;
	int code = GW_OK;

	if (byte == 'e' || byte == 'u')
		code = pack_unmark(machine, &n);
	if (code == GW_OK)
		code = pack_peek(machine, n, &container);
	if (code != GW_OK)
		return code;
	if (dict && n % 2)
		return machine_fail(machine, "%s", "a key without a value");
	if (pack_pickle_at(machine->pickle, container)->type !=
	    (dict ? PACK_PICKLE_DICT : PACK_PICKLE_LIST))
		return machine_fail(machine, "opcode %s on what is no %s", machine->opcode->name,
				    dict ? "dictionary" : "list");
	return pack_collect(machine, container, n);
}

/* The index is put in order: Python's pickler numbers from 0 without gaps. */
static int pack_run_put(struct pack_machine *machine)
{
	uint64_t index = machine->opcode->byte == 0x94 ? machine->n_memo : machine->number;
	void *memo = machine->memo;
	uint32_t top = 0;
	int code = pack_peek(machine, 0, &top);

	if (code != GW_OK)
		return code;
	if (index > machine->n_memo)
		return machine_fail(machine, "memo index %" PRIu64 " after %u of them", index,
				    machine->n_memo);
	if (index == machine->n_memo) {
		code = pack_room(machine, &memo, &machine->memo_room, machine->n_memo,
				 PACK_MAX_PICKLE_NODES, sizeof *machine->memo, "memo entries");
		machine->memo = memo;
		if (code != GW_OK)
			return code;
		machine->n_memo++;
	}
	machine->memo[index] = top;
	return GW_OK;
}

static int pack_run_get(struct pack_machine *machine)
{
	if (machine->number >= machine->n_memo)
		return machine_fail(machine, "memo index %" PRIu64 ", which nothing was put at,",
				    machine->number);
	return pack_push(machine, machine->memo[machine->number]);
}

static int pack_run_persid(struct pack_machine *machine)
{
	struct pack_pickle_node node = { .type = PACK_PICKLE_STORAGE };
	struct pack_pickle_storage unused;
	const char *wrong;
	int code = pack_peek(machine, 0, &node.first);

	if (code != GW_OK)
		return code;
	wrong = pack_global_storage(machine->pickle, node.first, &unused);
	if (wrong)
		return machine_fail(machine, "a storage that %s", wrong);
	machine->n_stack--;
	return pack_push_node(machine, &node);
}

/* OrderedDict(): of nothing, or of [[key, value], …] as Python 2 wrote it. */
static int pack_reduce_dict(struct pack_machine *machine, const struct pack_pickle_node *arguments)
{
	struct pack_pickle *pickle = machine->pickle;
	const struct pack_pickle_node *list = NULL;
	uint32_t dict, cell, n;
	int code;

	if (arguments->n)
		list = pack_pickle_at(pickle, pickle->cells[arguments->first].node);
	if (list && list->type != PACK_PICKLE_LIST)
		return machine_fail(machine, "%s", "OrderedDict of what is no list");
	n = list ? list->n : 0;
	cell = list ? list->first : 0;
	/* arguments and list may move from here on */
	code = pack_push_node(machine, &(struct pack_pickle_node) { .type = PACK_PICKLE_DICT });
	dict = code == GW_OK ? machine->stack[machine->n_stack - 1] : 0;
	for (; code == GW_OK && n > 0; n--, cell = pickle->cells[cell].next) {
		const struct pack_pickle_node *pair =
			pack_pickle_at(pickle, pickle->cells[cell].node);
		uint32_t first = pair->first;

		if ((pair->type != PACK_PICKLE_LIST && pair->type != PACK_PICKLE_TUPLE) ||
		    pair->n != 2)
			return machine_fail(machine, "%s", "OrderedDict of what are no pairs");
		code = pack_append_cell(machine, dict, pickle->cells[first].node);
		if (code == GW_OK)
			code = pack_append_cell(machine, dict,
						pickle->cells[pickle->cells[first].next].node);
	}
	return code;
}

static int pack_reduce_tensor(struct pack_machine *machine, const struct pack_global *global,
			      uint32_t arguments)
{
	struct pack_pickle_node node = { .type = PACK_PICKLE_TENSOR, .first = arguments };
	struct pack_pickle_tensor unused;
	const char *wrong = pack_global_tensor(machine->pickle, arguments, &unused);

	if (!wrong && global->kind == PACK_GLOBAL_TYPED &&
	    pack_pickle_at(machine->pickle, pack_pickle_item(machine->pickle, arguments, 6))
			    ->type != PACK_PICKLE_GLOBAL)
		wrong = "has no type";
	if (wrong)
		return machine_fail(machine, "a tensor that %s", wrong);
	return pack_push_node(machine, &node);
}

/* A "call", which is none: each kind of global has its meaning here. */
static int pack_reduce(struct pack_machine *machine, const struct pack_global *global,
		       uint32_t arguments)
{
	struct pack_pickle *pickle = machine->pickle;
	const struct pack_pickle_node *node = pack_pickle_at(pickle, arguments);
	uint32_t first = node->n ? pickle->cells[node->first].node : 0;

	switch (global->kind) {
	case PACK_GLOBAL_DICT:
		return pack_reduce_dict(machine, node);
	case PACK_GLOBAL_SIZE:
		if (pack_pickle_at(pickle, first)->type != PACK_PICKLE_TUPLE)
			return machine_fail(machine, "%s", "torch.Size of what is no tuple");
		return pack_push(machine, first);
	case PACK_GLOBAL_DEVICE:
		return pack_push_node(machine,
				      &(struct pack_pickle_node) { .type = PACK_PICKLE_OPAQUE });
	case PACK_GLOBAL_PARAMETER:
		if (pack_pickle_at(pickle, first)->type != PACK_PICKLE_TENSOR)
			return machine_fail(machine, "%s", "a parameter of what is no tensor");
		return pack_push(machine, first);
	case PACK_GLOBAL_TENSOR:
	case PACK_GLOBAL_TYPED:
		return pack_reduce_tensor(machine, global, arguments);
	case PACK_GLOBAL_STORAGE:
	case PACK_GLOBAL_DTYPE:
		break;
	}
	return machine_fail(machine, "opcode REDUCE on %s.%s", global->module, global->name);
}

static int pack_run_reduce(struct pack_machine *machine)
{
	const struct pack_global *global;
	const struct pack_pickle_node *node;
	uint32_t arguments = 0, callable = 0;
	int code = pack_peek(machine, 0, &arguments);

	if (code == GW_OK)
		code = pack_peek(machine, 1, &callable);
	if (code != GW_OK)
		return code;
	if (pack_pickle_at(machine->pickle, callable)->type != PACK_PICKLE_GLOBAL)
		return machine_fail(machine, "%s", "opcode REDUCE on what is no global");
	global = pack_global_at(pack_pickle_at(machine->pickle, callable)->value);
	node = pack_pickle_at(machine->pickle, arguments);
	if (node->type != PACK_PICKLE_TUPLE)
		return machine_fail(machine, "%s", "opcode REDUCE without a tuple");
	if (global->most && (node->n < global->least || node->n > global->most))
		return machine_fail(machine, "%s.%s of %u arguments", global->module, global->name,
				    node->n);
	machine->n_stack -= 2;
	return pack_reduce(machine, global, arguments);
}

/* The attributes of a dictionary (a state dict's _metadata) are dropped. */
static int pack_run_build(struct pack_machine *machine)
{
	uint32_t state = 0, object = 0;
	int code = pack_peek(machine, 0, &state);

	if (code == GW_OK)
		code = pack_peek(machine, 1, &object);
	if (code != GW_OK)
		return code;
	if (pack_pickle_at(machine->pickle, object)->type != PACK_PICKLE_DICT ||
	    pack_pickle_at(machine->pickle, state)->type != PACK_PICKLE_DICT)
		return machine_fail(machine, "%s", "opcode BUILD on what is no dictionary");
	machine->n_stack--;
	return GW_OK;
}

static const struct pack_opcode pack_opcodes[] = {
	{ 0x80, "PROTO", PACK_NUMBER, 1, pack_run_proto },
	{ 0x95, "FRAME", PACK_NUMBER, 8, pack_run_frame },
	{ '.', "STOP", PACK_NUMBER, 0, pack_run_stop },
	{ '(', "MARK", PACK_NUMBER, 0, pack_run_mark },
	{ 'N', "NONE", PACK_NUMBER, 0, pack_run_none },
	{ 0x88, "NEWTRUE", PACK_NUMBER, 0, pack_run_bool },
	{ 0x89, "NEWFALSE", PACK_NUMBER, 0, pack_run_bool },
	{ 'J', "BININT", PACK_SIGNED, 4, pack_run_int },
	{ 'K', "BININT1", PACK_NUMBER, 1, pack_run_int },
	{ 'M', "BININT2", PACK_NUMBER, 2, pack_run_int },
	{ 0x8a, "LONG1", PACK_TEXT, 1, pack_run_long },
	{ 'G', "BINFLOAT", PACK_NUMBER, 8, pack_run_float },
	{ 'X', "BINUNICODE", PACK_TEXT, 4, pack_run_text },
	{ 0x8c, "SHORT_BINUNICODE", PACK_TEXT, 1, pack_run_text },
	{ 0x8d, "BINUNICODE8", PACK_TEXT, 8, pack_run_text },
	/* Python 2 wrote its names so */
	{ 'U', "SHORT_BINSTRING", PACK_TEXT, 1, pack_run_text },
	{ 'T', "BINSTRING", PACK_TEXT, 4, pack_run_text },
	{ 'c', "GLOBAL", PACK_LINES, 0, pack_run_global },
	{ 0x93, "STACK_GLOBAL", PACK_NUMBER, 0, pack_run_stack_global },
	{ '}', "EMPTY_DICT", PACK_NUMBER, 0, pack_run_empty },
	{ ']', "EMPTY_LIST", PACK_NUMBER, 0, pack_run_empty },
	{ ')', "EMPTY_TUPLE", PACK_NUMBER, 0, pack_run_empty },
	{ 't', "TUPLE", PACK_NUMBER, 0, pack_run_tuple },
	{ 0x85, "TUPLE1", PACK_NUMBER, 0, pack_run_tuple_n },
	{ 0x86, "TUPLE2", PACK_NUMBER, 0, pack_run_tuple_n },
	{ 0x87, "TUPLE3", PACK_NUMBER, 0, pack_run_tuple_n },
	{ 'a', "APPEND", PACK_NUMBER, 0, pack_run_insert },
	{ 'e', "APPENDS", PACK_NUMBER, 0, pack_run_insert },
	{ 's', "SETITEM", PACK_NUMBER, 0, pack_run_insert },
	{ 'u', "SETITEMS", PACK_NUMBER, 0, pack_run_insert },
	{ 'q', "BINPUT", PACK_NUMBER, 1, pack_run_put },
	{ 'r', "LONG_BINPUT", PACK_NUMBER, 4, pack_run_put },
	{ 0x94, "MEMOIZE", PACK_NUMBER, 0, pack_run_put },
	{ 'h', "BINGET", PACK_NUMBER, 1, pack_run_get },
	{ 'j', "LONG_BINGET", PACK_NUMBER, 4, pack_run_get },
	{ 'Q', "BINPERSID", PACK_NUMBER, 0, pack_run_persid },
	{ 'R', "REDUCE", PACK_NUMBER, 0, pack_run_reduce },
	{ 'b', "BUILD", PACK_NUMBER, 0, pack_run_build },
};

const struct pack_opcode *pack_opcode_find(uint8_t byte)
{
	for (size_t i = 0; i < sizeof pack_opcodes / sizeof pack_opcodes[0]; i++) {
		if (pack_opcodes[i].byte == byte)
			return &pack_opcodes[i];
	}
	return NULL;
}
