/* SPDX-License-Identifier: MIT */
/*
 * PyTorch's checkpoints: a pickle (pickle.h) describes tensors as views of storages, which lie
 * beside it; in members of a zip archive since 1.6, before that in one file behind five pickles.
 */
#pragma once

#include "tools/pack/pickle.h"
#include "tools/pack/source.h"
#include "tools/pack/zip.h"

/* How the values of a tensor lie in its storage; pack_tensor's detail is the view's number. */
struct pack_torch_view {
	struct pack_zip_member
		*member;         /* that holds the storage; NULL: it lies in the file itself */
	uint64_t storage_offset; /* of it in the file */
	uint64_t storage_bytes;
	uint64_t first_bytes; /* from there to the first element */
	uint64_t stride_bytes[GW_MAX_RANK];
	bool dense; /* row-major without gaps, from the first element on */
};

struct pack_gather;

/* The state of both readers' sources. */
struct pack_torch {
	struct pack_zip *zip; /* NULL: the old format */
	struct pack_torch_view *views;
	size_t n, room;
	uint64_t name_bytes; /* of the tensors' names so far */
	struct pack_zip_stream *stream; /* of a deflated member that is being read */
	const struct pack_zip_member *stream_member;
	struct pack_gather *gather;
	uint64_t own_effort_bytes;
	uint64_t *effort_bytes; /* so far: the above, or that of all parts of a checkpoint */
};

/* Makes source's state and reader. zip is consumed in any case, NULL for none. GW_E_MEMORY. */
int pack_torch_begin(struct pack_source *source, struct pack_zip *zip,
		     struct pack_torch **out_torch, struct gw_error *error);

/* Where a storage lies: fills member, storage_offset and storage_bytes. Errors: GW_E_SOURCE. */
struct pack_torch_finder {
	int (*find)(const struct pack_torch_finder *finder,
		    const struct pack_pickle_storage *storage, struct pack_torch_view *view,
		    struct gw_error *error);
	const struct pack_torch *torch;
	const void *data; /* find's own */
};

/*
 * Lists the tensors of the state dict in source, which is the pickle's value itself or is called
 * "model" (nanoGPT) or "state_dict" in it; nanoGPT's model_args give n_layer and n_head. Errors:
 * GW_E_SOURCE, GW_E_MEMORY.
 */
int pack_torch_list(const struct pack_pickle *pickle, const struct pack_torch_finder *finder,
		    struct pack_source *source, struct pack_torch *torch, struct gw_error *error);

/* Whether views may have so many bytes together, of files of file_bytes; see PACK_MAX_VIEW_BYTES. */
bool pack_torch_may_claim(uint64_t file_bytes, uint64_t claimed_bytes);

/* Opener for PACK_KIND_TORCH_LEGACY, see source.c. */
int pack_torch_legacy_open(int folder_fd, struct pack_file *file, struct pack_source *source,
			   struct gw_error *error);

/* For source_zip.c. */
bool pack_torch_zip_takes(const struct pack_zip *zip);
int pack_torch_zip_open(struct pack_zip *zip, struct pack_source *source, struct gw_error *error);

/* torch_read.c: struct pack_reader's functions. */
extern const struct pack_reader pack_torch_reader;

/* A tensor costs so much more: GW_E_SOURCE over what limits.h allows. n: at most 2^40. */
int pack_torch_effort(const struct pack_source *source, const struct pack_tensor *tensor, uint64_t n,
		      struct gw_error *error);

/* "FILE: tensor "NAME" …". GW_E_SOURCE. */
int pack_torch_fail(const struct pack_source *source, const struct pack_tensor *tensor,
		    const char *what, struct gw_error *error);

/*
 * torch_gather.c: the elements of a view in row-major order, wherever strides put them, through a
 * cache of the storage's pages (PACK_GATHER_BYTES). NULL: no memory.
 */
struct pack_gather *pack_gather_new(void);
void pack_gather_free(struct pack_gather *gather); /* NULL is fine */

/* As struct pack_reader's read. */
int pack_gather_read(struct pack_gather *gather, const struct pack_source *source,
		     const struct pack_tensor *tensor, uint64_t offset, uint64_t n, uint8_t *out,
		     struct gw_error *error);
