/* SPDX-License-Identifier: MIT */
/* A checkpoint, whatever its wrapping: a list of tensors that lie in files. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/limits.h"
#include "format/status.h"
#include "tools/pack/file.h"

struct pack_tensor {
	char *name;  /* valid UTF-8, may hold control characters */
	int element; /* of its values, see element.h; PACK_ELEMENT_UNKNOWN: nothing can read them */
	unsigned rank;
	uint64_t shape[GW_MAX_RANK];
	/* of its values: dense, row-major, little-endian; of "Q8" the int8 of all rows, then the f32
	 * scales of the rows */
	uint64_t size_bytes;
	size_t file;           /* index into files */
	uint64_t offset_bytes; /* where it begins in that file; aligned to nothing */
	/* false: its values lie there as they are. true: only the reader can give them (quantised,
	 * compressed, strided, transposed, of the other byte order) */
	bool encoded;
	bool onwards; /* and to read it anywhere but from its beginning to its end is slow */
	uint64_t detail; /* the reader's own: which of its records describes the tensor */
	/*
	 * The Hugging Face name that the format gives the tensor a meaning by, such as GW_WTE_NAME
	 * for GGUF's token_embd.weight; a constant, lives for ever. NULL: name is such a name
	 * itself, with or without a prefix, or means nothing to GPT-2.
	 */
	const char *canonical;
	/*
	 * What the format calls the type in which it stores the values, such as GGUF's "Q4_0", where
	 * that is not the element's own; a constant, lives for ever. NULL: the element says it.
	 */
	const char *stored;
};

/* A growing list; pack_list_clear ends it. */
struct pack_list {
	struct pack_tensor *items;
	size_t n, room;
};

/* What config.json, or the checkpoint itself, says; 0: nothing. */
struct pack_config {
	const char *origin; /* who says it, for messages; a constant. NULL: config.json */
	uint64_t n_layer, n_head, n_vocab, n_positions, n_embd;
};

struct pack_source;

/*
 * What a format does beyond listing its tensors. A format has an open function, called by
 * pack_source_open for its kind of file (kind.h); that fills format, files, tensors, config and, where
 * it lists encoded tensors, reader and state. Everything is checked there, so that read can fail only
 * for what happens while it reads (GW_E_IO, GW_E_CHANGED, GW_E_MEMORY) or for encoded data that are
 * malformed themselves (GW_E_SOURCE; of a pack GW_E_BLOCK_DIGEST, GW_E_PADDING).
 */
struct pack_reader {
	/*
	 * n bytes of an encoded tensor's values from offset on, both whole elements and within
	 * size_bytes. Callers go through a tensor from beginning to end; a reader that streams may
	 * begin anew where they do not. Memory: a few buffers of PACK_BUFFER_BYTES, kept in state.
	 */
	int (*read)(const struct pack_source *source, const struct pack_tensor *tensor,
		    uint64_t offset, uint64_t n, uint8_t *out, struct gw_error *error);
	void (*close)(void *state);
	/* Gives back what was read ahead, until the next read; NULL: nothing worth it is kept. */
	void (*rest)(void *state);
};

struct pack_source {
	const char *format;      /* "safetensors", "safetensors-sharded" … */
	struct pack_file *files; /* in the order in which the source names them */
	size_t n_files;
	struct pack_list tensors;
	struct pack_config config;
	const struct pack_reader *reader; /* NULL: no tensor is encoded */
	void *state;                      /* the reader's; reader->close ends it */
	uint64_t held_bytes;              /* of memory in state, but for what rest gives back */
	char note[640];                   /* one sentence for the user, or "" */
	uint64_t raw_n_embd; /* columns of raw files, as the command line says; 0: nothing */
};

/*
 * Opens the checkpoint at path: a file, or a directory as it was downloaded. Everything about its
 * structure is checked, no tensor data are read. *out_source is the caller's; untouched on failure.
 * Errors: GW_E_SOURCE (malformed, offset says where), GW_E_SOURCE_KIND (something else; says what),
 * GW_E_NOT_FILE, GW_E_IO, GW_E_CHANGED, GW_E_MEMORY; of a pack also those of gw_pack_open_fd and
 * gw_pack_verify_unit, such as GW_E_VERSION.
 */
int pack_source_open(const char *path, struct pack_source **out_source, struct gw_error *error);

/*
 * The same for n paths, at least one, that together are one checkpoint. raw_n_embd: the columns of
 * raw files (.f32), 0 if nobody said. Errors: as above; GW_E_SOURCE_TABLES for two tensors of one
 * name, GW_E_ARGUMENT for a raw file without columns and for more than PACK_MAX_FILES files.
 */
int pack_source_open_all(const char *const *paths, size_t n, uint64_t raw_n_embd,
			 struct pack_source **out_source, struct gw_error *error);

void pack_source_free(struct pack_source *source); /* NULL is fine */

/*
 * The rows that int8 values have a scale each for, and how many elements a row has: all dimensions but
 * the last, and the last; of rank 0 and 1 one row. The tensor must not be empty.
 */
void pack_tensor_rows(const struct pack_tensor *tensor, uint64_t *out_rows, uint64_t *out_columns);

/*
 * n bytes of a tensor's values from offset on, whole elements, wherever they come from. Errors: those of
 * struct pack_reader's read.
 */
int pack_source_read(const struct pack_source *source, const struct pack_tensor *tensor,
		     uint64_t offset, uint64_t n, uint8_t *out, struct gw_error *error);

/* All files together. */
uint64_t pack_source_bytes(const struct pack_source *source);

/* Its name as provenance records it: that of its first file. */
const char *pack_source_name(const struct pack_source *source);

/* "F32", or in what the format stores the values. */
const char *pack_tensor_type(const struct pack_tensor *tensor);

/* "[50257, 768]". Returns out. */
#define PACK_SHAPE_TEXT_BYTES 192
char *pack_shape_text(unsigned rank, const uint64_t *shape, char out[PACK_SHAPE_TEXT_BYTES]);

/* For the readers of single formats: */

/* Appends a copy of tensor, whose name becomes the list's on success. GW_E_SOURCE beyond
 * PACK_MAX_SOURCE_TENSORS, GW_E_MEMORY. */
int pack_list_add(struct pack_list *list, const struct pack_tensor *tensor, struct gw_error *error);
void pack_list_clear(struct pack_list *list);

/* Makes file the next of source's files and *file PACK_FILE_INIT. GW_E_MEMORY. */
int pack_source_take_file(struct pack_source *source, struct pack_file *file,
			  struct gw_error *error);

/*
 * Opens file, which lies in the directory folder_fd, by its kind; it is consumed in any case. Errors:
 * those of pack_source_open.
 */
int pack_source_open_kind(int folder_fd, struct pack_file *file, struct pack_source *source,
			  struct gw_error *error);

/*
 * The name of the tensor in a file of one: that of the file without its last ending; bytes that a
 * name may not hold become '?'.
 */
#define PACK_STEM_BYTES 256
void pack_file_stem(const struct pack_file *file, char out[PACK_STEM_BYTES]);

/* Sorted by name, which makes pack_list_find possible. */
void pack_list_sort(struct pack_list *list);
struct pack_tensor *pack_list_find(const struct pack_list *list, const char *name);
