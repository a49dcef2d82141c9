/* SPDX-License-Identifier: MIT */
/* Integers from the command line. */
#pragma once

#include <stdint.h>

#include "format/status.h"

/*
 * Decimal digits and nothing else (no sign, no blanks), at least min, at most max. what: the
 * option's name for the message. Errors: GW_E_ARGUMENT; *out is untouched.
 */
int tool_parse_u64(const char *text, const char *what, uint64_t min, uint64_t max, uint64_t *out,
		   struct gw_error *error);

/* The same with an optional minus sign. */
int tool_parse_i64(const char *text, const char *what, int64_t min, int64_t max, int64_t *out,
		   struct gw_error *error);

/* The same as tool_parse_u64 with an optional K, M, G or T: powers of 1,024. */
int tool_parse_size(const char *text, const char *what, uint64_t min, uint64_t max, uint64_t *out,
		    struct gw_error *error);

#define TOOL_SIZE_TEXT_BYTES 32

/* "154.4 MB" (powers of 1,000), "812 bytes". Returns out. */
char *tool_size_text(uint64_t bytes, char out[TOOL_SIZE_TEXT_BYTES]);
