/* SPDX-License-Identifier: MIT */
/*
 * The header of NumPy's .npy files, read strictly.
 * Source: numpy.lib.format, format versions 1.0, 2.0 and 3.0.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/limits.h"
#include "format/status.h"

#define TOOL_NPY_MAGIC "\x93NUMPY"
#define TOOL_NPY_MAGIC_BYTES 6
/* Magic, version and length; those of version 1.0 have 10. */
#define TOOL_NPY_MAX_PREAMBLE_BYTES 12
/* What NumPy itself reads of an untrusted header (numpy.lib.format._MAX_HEADER_SIZE). */
#define TOOL_NPY_MAX_HEADER_BYTES 10000

struct tool_npy {
	const char *descr; /* "<f4" …; into the text that was parsed */
	size_t descr_bytes;
	bool is_fortran;
	unsigned rank; /* shape has the first GW_MAX_RANK dimensions */
	uint64_t shape[GW_MAX_RANK];
};

/*
 * The first n bytes of a file that begins with the magic: the lesser of its size and
 * TOOL_NPY_MAX_PREAMBLE_BYTES. *out_preamble_bytes is where the dictionary begins, *out_header_bytes
 * how long it is. Errors: GW_E_SOURCE.
 */
int tool_npy_preamble(const uint8_t *bytes, size_t n, unsigned *out_preamble_bytes,
		      uint32_t *out_header_bytes, struct gw_error *error);

/*
 * The dictionary, n bytes of text that stand at offset of their file. Errors: GW_E_SOURCE;
 * GW_E_SOURCE_KIND for a structured array.
 */
int tool_npy_parse(const char *text, size_t n, uint64_t offset, struct tool_npy *out,
		   struct gw_error *error);
