/* SPDX-License-Identifier: MIT */
/* A compressed pack, opened without a daemon: expanded into memory of this process' own. */
#pragma once

#include "client/mapping.h"

/*
 * Expands the compressed *pack, which was opened from fd (borrowed), into a private mapping as large as
 * the image, and replaces *pack by that of the image. flags: GPT2C_… of gpt2c_options; without
 * GPT2C_NO_VERIFY every block is checked. deadline_ms: on wire_now_ms's clock. text: the file's name, for
 * messages. The outputs are the caller's, untouched on failure. Errors: GPT2C_E_MEMORY, _SYSTEM,
 * _VERSION (there is no libzstd), _TIMEOUT, _TRUNCATED, _CORRUPT, _MALFORMED.
 */
int gpt2c_expand(int fd, uint64_t flags, uint64_t deadline_ms, const char *text,
		 struct gw_pack **pack, struct gpt2c_mapping *out_mapping, gpt2c_error *error);
