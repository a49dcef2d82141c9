/* SPDX-License-Identifier: MIT */
/* Descriptors of unknown origin, checked and mapped. */
#pragma once

#include <stdint.h>

#include "client/api.h"
#include "format/reader.h"
#include "format/wire.h"

struct gpt2c_mapping {
	uint8_t *data; /* NULL: nothing is mapped; writable only with GPT2C_COPY_ON_WRITE */
	uint64_t size_bytes;
};

/* NULL data is fine. */
void gpt2c_unmap(struct gpt2c_mapping *mapping);

/*
 * Checks the image that came with reply, and maps it; no byte of it is believed before. fd:
 * borrowed, may be anything. flags: GPT2C_… of gpt2c_options. *out_flags: GPT2C_INFO_SEALED where
 * it is. The outputs are the caller's. Errors: GPT2C_E_IMAGE, _UNSEALED, _MEMORY, _SYSTEM and those
 * of packs.
 */
int gpt2c_map_image(int fd, const struct wire_attached *reply, uint64_t flags,
		    struct gpt2c_mapping *out_mapping, struct gw_pack **out_pack,
		    uint32_t *out_flags, gpt2c_error *error);

/* Zeroed memory of this process' own, for an image to be expanded into. Errors: GPT2C_E_MEMORY. */
int gpt2c_map_private(uint64_t size_bytes, struct gpt2c_mapping *out_mapping, gpt2c_error *error);

/* Likewise the notice board. Errors: GPT2C_E_IMAGE, _UNSEALED, _MEMORY, _SYSTEM. */
int gpt2c_map_board(int fd, struct gpt2c_mapping *out_mapping, gpt2c_error *error);

/*
 * Maps a pack's file that has been read and verified. fd: borrowed; size_bytes: the file's.
 * Errors: GPT2C_E_MEMORY, _SYSTEM, _TRUNCATED.
 */
int gpt2c_map_file(int fd, uint64_t size_bytes, uint64_t flags, struct gpt2c_mapping *out_mapping,
		   gpt2c_error *error);
