/* SPDX-License-Identifier: MIT */
/* A pack as a file of another format. */
#pragma once

#include "format/outfile.h"
#include "format/reader.h"
#include "tools/common/progress.h"
#include "tools/pack/source.h"

/*
 * A format that packs can be written in. Offsets in the output are its own: it may write in any order
 * and leave holes to be filled until finish.
 */
struct pack_exporter {
	const char *name; /* on the command line */
	/* *out_state is ended by end; untouched on failure */
	int (*begin)(const struct gw_pack *pack, struct gw_outfile *out, void **out_state,
		     struct gw_error *error);
	/*
	 * n bytes of a dense tensor's values from byte within on, of the type pack_export_type; tensor
	 * is one of the pack's. Each
	 * tensor's come from its beginning to its end without a hole, those of tensors one after
	 * the other in the pack's order.
	 */
	int (*write)(void *state, struct gw_outfile *out, const struct gw_tensor *tensor,
		     uint64_t within, const uint8_t *bytes, uint64_t n, struct gw_error *error);
	int (*finish)(void *state, struct gw_outfile *out, struct gw_error *error);
	void (*end)(void *state); /* NULL is fine */
};

/* The type that values of a tensor are written in: its own; GW_F32 for int8, which they are multiplied
 * out to. */
unsigned pack_export_type(const struct gw_tensor *tensor);

/* The size of all of a tensor's values in that type. */
uint64_t pack_export_bytes(const struct gw_tensor *tensor);

/* In the pack's order, dense, the data at a multiple of 8 bytes. The same pack gives the same bytes. */
extern const struct pack_exporter pack_export_safetensors;

/*
 * Writes the tensors of source, a pack, to out. Every block is verified before its bytes are written;
 * stops at the first bad one. Errors: those of pack_source_read and what exporter adds.
 */
int pack_export(const struct pack_exporter *exporter, const struct pack_source *source,
		struct gw_outfile *out, struct tool_progress *progress, struct gw_error *error);
