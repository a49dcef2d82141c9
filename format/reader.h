/* SPDX-License-Identifier: MIT */
/*
 * Bytes in, validated view out. One reader for a pack on disk and for an image in memory. Opening
 * checks everything but the data; the data are checked unit by unit, by as many threads as wanted.
 */
#pragma once

#include <stdint.h>

#include "format/directory.h"
#include "format/status.h"
#include "format/stored.h"
#include "format/superblock.h"

/* Immutable once open; any number of threads may use it. */
struct gw_pack {
	struct gw_superblock superblock;
	struct gw_provenance provenance;
	struct gw_regions regions;
	struct gw_tensor *tensors; /* superblock.n_tensors of them, ascending by name */
	uint64_t *digests;         /* superblock.n_blocks of them, XXH3-64; native byte order */
	struct gw_stored_block *stored; /* likewise; NULL: not compressed */
	const struct gw_tensor *wte; /* never NULL */
	const struct gw_tensor *wpe; /* NULL: no position table */
};

/*
 * A unit is what is verified at once: block u for u < n_blocks, then the zero bytes before tensor
 * u - n_blocks, last the zero bytes after all tensors. Blocks have at most GW_BLOCK_BYTES, gaps less
 * than GW_HUGE_PAGE_BYTES; a gap may have 0 bytes.
 */
struct gw_unit {
	uint64_t offset_bytes; /* in the image */
	uint64_t size_bytes;
	const struct gw_tensor *tensor; /* NULL: a gap */
};

/*
 * Opens an image in memory: actual_bytes at image, of which at most tail_bytes lie beyond what it
 * says. Nothing of image is kept. *out_pack is the caller's, gw_pack_free ends it; untouched on
 * failure. Errors: those of gw_superblock_decode and gw_directory_decode, GW_E_DIRECTORY_DIGEST,
 * _DIGESTS_DIGEST, _CONTENT_ID, _PROVENANCE_DIGEST, _PADDING, _MEMORY; _FEATURE: it is compressed, so no
 * image.
 */
int gw_pack_open_memory(const uint8_t *image, uint64_t actual_bytes, uint64_t tail_bytes,
			struct gw_pack **out_pack, struct gw_error *error);

/*
 * The same for a file, compressed or not; fd is borrowed and only read with pread. Units of a compressed
 * one are read with unit_reader.h. Also GW_E_IO, _NOT_FILE, _STORED_DIGEST.
 */
int gw_pack_open_fd(int fd, struct gw_pack **out_pack, struct gw_error *error);

void gw_pack_free(struct gw_pack *pack); /* NULL is fine */

/* NULL: none of that name. Lives as long as pack. */
const struct gw_tensor *gw_pack_find(const struct gw_pack *pack, const char *name);

uint64_t gw_pack_unit_count(const struct gw_pack *pack);
struct gw_unit gw_pack_unit(const struct gw_pack *pack, uint64_t index);

/*
 * What a block holds, for messages: "wte.weight rows 0 to 84", "wte.weight rows 50200 to 50256 and scales 0
 * to 16319". unit is no gap. Returns out.
 */
#define GW_UNIT_TEXT_BYTES (GW_NAME_BYTES + 128)
char *gw_unit_text(const struct gw_unit *unit, char out[GW_UNIT_TEXT_BYTES]);

/*
 * Checks the bytes of one unit (unit.size_bytes at bytes). Errors: GW_E_BLOCK_DIGEST, GW_E_PADDING,
 * with the offset in the image and the tensor's rows.
 */
int gw_pack_verify_unit(const struct gw_pack *pack, uint64_t index, const uint8_t *bytes,
			struct gw_error *error);

/* Checks units first to first + count - 1 of the image in memory; stops at the first bad one. */
int gw_pack_verify_memory(const struct gw_pack *pack, const uint8_t *image, uint64_t first,
			  uint64_t count, struct gw_error *error);

/*
 * The image's bytes before the data (regions.data_offset of them, at out) of the pack that was opened
 * from fd: what is in the file, as an image that is not compressed has it. Errors: GW_E_IO, _CHANGED.
 */
int gw_pack_read_head(const struct gw_pack *pack, int fd, uint8_t *out, struct gw_error *error);

/* pread until n bytes are there. Errors: GW_E_IO; GW_E_CHANGED where the file ends before. */
int gw_read_at(int fd, void *out, uint64_t n, uint64_t offset, struct gw_error *error);
