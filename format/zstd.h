/* SPDX-License-Identifier: MIT */
/*
 * The functions of libzstd that decoding takes, as a table: the client library links libc alone and
 * loads libzstd when a compressed pack asks for it, tools and daemon bind it when they are built.
 */
#pragma once

#include <stddef.h>

/* Types, names and meaning as in zstd.h; all of them are in every libzstd since 1.4.0. */
struct gw_zstd {
	unsigned (*version_number)(void);
	void *(*create_dctx)(void); /* NULL: no memory */
	size_t (*free_dctx)(void *dctx);
	size_t (*decompress_dctx)(void *dctx, void *out, size_t room, const void *in, size_t n);
	size_t (*find_frame_compressed_size)(const void *in, size_t n);
	unsigned (*is_error)(size_t result);
	const char *(*get_error_name)(size_t result);
};

/* The library that the program was linked with; in format_zstd_lib. */
extern const struct gw_zstd gw_zstd_linked;
