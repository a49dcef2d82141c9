/* SPDX-License-Identifier: MIT */
/* Which tensors of a checkpoint become the tables of the pack, and how. */
#pragma once

#include <stdint.h>

#include "format/directory.h"
#include "format/superblock.h"
#include "tools/pack/quantise.h"
#include "tools/pack/source.h"

/* What the command line asks for. */
struct pack_wish {
	const char *wte, *wpe; /* exact names in the source; NULL: find them */
	bool no_wpe;           /* there is to be no position table */
	uint64_t n_vocab;      /* keep so many rows of wte; 0: all */
	unsigned dtype;        /* GW_DTYPE_NONE: the source's own, f32 for f64; see pack_plan_type */
	bool all;              /* every tensor of the checkpoint, not only the tables */
};

struct pack_table {
	const struct pack_tensor *tensor; /* the source's */
	const char *name;                 /* in the pack: part of the tensor's, or a constant */
	uint8_t role;                     /* enum gw_role; the first is wte, the second may be wpe */
	unsigned from, to;                /* enum gw_dtype; from may be PACK_F64 */
	uint64_t rows, columns;           /* as taken; see pack_tensor_rows */
	uint64_t take_bytes;              /* from tensor->offset_bytes on, without scales */
	uint64_t n_overflowed;            /* finite values that became infinite; set by pack_copy */
	struct pack_loss loss;            /* where pack_table_quantises; set by pack_copy */
};

struct pack_plan {
	struct pack_table *tables; /* wte, wpe where it is wanted, and with --all the others */
	size_t n_tables;
	size_t n_roles; /* 1 or 2 of them are tables */
	uint64_t n_layer, n_head;
	char note[GW_PV_NOTE_SIZE]; /* for provenance: names, rows and types that changed */
	char warning[256];          /* one sentence, or "" */
	char left_out[768];         /* with --all: what is not packed, and why; or "" */
};

/*
 * Finds the tables, wte.weight and wpe.weight: the tensors that the source calls so (canonical), and
 * those of these names, which may be preceded by any of
 * "transformer.", "model.", "module." and "_orig_mod.", repeated and combined. source must outlive
 * the plan, which ends with pack_plan_deinit. With all see also plan_all.h. Errors:
 * GW_E_SOURCE_TABLES, GW_E_MEMORY.
 */
int pack_plan_make(const struct pack_source *source, const struct pack_wish *wish,
		   struct pack_plan *out, struct gw_error *error);
void pack_plan_deinit(struct pack_plan *plan);

/*
 * The type in the pack of a tensor of that type and rank: the one that is wished for, but GW_I8 only for
 * rank 2 and more, since one scale for a whole vector (a bias, a norm) would save nothing and lose much;
 * otherwise its own, f32 for f64.
 */
unsigned pack_plan_type(const struct pack_wish *wish, unsigned from, unsigned rank);

/* Whether its values are rounded to int8. */
bool pack_table_quantises(const struct pack_table *table);

/* The declaration of one of its tensors, for gw_writer_new. */
struct gw_tensor pack_plan_declare(const struct pack_plan *plan, size_t index);

/* name without its prefixes: the rest of it. */
const char *pack_plan_strip(const char *name);

/*
 * Whether tensor is base, such as GW_WTE_NAME: its format says so (canonical) or, where that says
 * nothing, its name without prefixes is base.
 */
bool pack_plan_matches(const struct pack_tensor *tensor, const char *base);

/* The declaration of a table, for gw_writer_new. */
struct gw_tensor pack_table_declare(uint8_t role, unsigned dtype, uint64_t rows, uint64_t columns);

/*
 * Quoted names of the first tensors of a source, for a message: "a", "b" and 12 more. Returns out.
 */
#define PACK_NAMES_TEXT_BYTES 1500
char *pack_names_text(const struct pack_source *source, char out[PACK_NAMES_TEXT_BYTES]);
