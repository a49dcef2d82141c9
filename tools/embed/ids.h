/* SPDX-License-Identifier: MIT */
/*
 * Token ids from a file, from standard input or from the command line, of every kind that people
 * have. All of them are read and checked before the first vector is computed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/status.h"
#include "tools/embed/source.h"

/* 256 MiB of ids in memory; their vectors in GPT-2's smallest size are 192 GiB. */
#define EMBED_MAX_IDS (UINT64_C(1) << 26)

/* Failures of this reader, beside those of enum gw_status. All of them are bad input. */
enum embed_status {
	EMBED_E_ID = -120,    /* an id outside 0 to n_vocab - 1 */
	EMBED_E_TEXT = -121,  /* text that is not decimal ids */
	EMBED_E_SIZE = -122,  /* more or fewer bytes than the kind of file or its header asks for */
	EMBED_E_NPY = -123,   /* a malformed .npy header */
	EMBED_E_KIND = -124,  /* well-formed, but not ids: another element type, rank or version */
	EMBED_E_COUNT = -125, /* no ids at all, or more than EMBED_MAX_IDS */
};

struct embed_ids {
	int32_t *values; /* [count], each 0 to n_vocab - 1 */
	uint64_t count, capacity;
	uint64_t n_vocab;
	uint64_t batch, seq; /* where the file has two dimensions; else 0 */
};

/* Values of one fixed width, one after the other. */
struct embed_layout {
	unsigned width_bytes; /* 2, 4 or 8 */
	bool is_signed, is_big_endian;
	bool is_fortran;     /* column-major [batch, seq] */
	uint64_t count;      /* UINT64_MAX: to the end of the file */
	uint64_t batch, seq; /* 0 where there is one dimension */
};

void embed_ids_init(struct embed_ids *ids, uint64_t n_vocab);
void embed_ids_deinit(struct embed_ids *ids);

/*
 * Appends an id that stands at index in the input. Errors: EMBED_E_ID, EMBED_E_COUNT, GW_E_MEMORY.
 */
int embed_ids_push(struct embed_ids *ids, uint64_t index, int64_t id, struct gw_error *error);

/* Decimal ids from n command-line arguments. Errors: EMBED_E_ID, _TEXT, _COUNT, GW_E_MEMORY. */
int embed_ids_from_arguments(struct embed_ids *ids, char *const *arguments, size_t n,
			     struct gw_error *error);

/*
 * All ids of the source, whose kind follows from its first bytes, else from the ending of its name:
 * .npy, llm.c's .bin, nanoGPT's .bin, .i32, text. Errors: EMBED_E_*, GW_E_IO, _CHANGED, _MEMORY.
 */
int embed_ids_from_source(struct embed_ids *ids, struct embed_source *source,
			  struct gw_error *error);
