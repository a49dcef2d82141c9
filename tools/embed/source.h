/* SPDX-License-Identifier: MIT */
/* Bytes of a regular file or of standard input, in order, with a look at the first ones. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "format/status.h"

#define EMBED_SOURCE_BUFFER_BYTES 65536

struct embed_source {
	const char *name; /* borrowed; as given, or "standard input" */
	int fd;
	bool is_regular;
	uint64_t size_bytes;  /* of a regular file, from where it is read; else 0 */
	uint64_t taken_bytes; /* handed out so far */
	dev_t dev;
	ino_t ino;
	size_t at, filled;
	uint8_t buffer[EMBED_SOURCE_BUFFER_BYTES];
};

/*
 * path "-": standard input, a file or a stream. Anything else must be a regular file.
 * embed_source_close ends it. Errors: GW_E_IO, GW_E_NOT_FILE.
 */
int embed_source_open(const char *path, struct embed_source *out, struct gw_error *error);
void embed_source_close(struct embed_source *source);

/*
 * Makes the next bytes available at *out_bytes without taking them: n (at most the buffer's size),
 * fewer only where the input ends; returns how many in *out_n. Errors: GW_E_IO.
 */
int embed_source_peek(struct embed_source *source, size_t n, const uint8_t **out_bytes,
		      size_t *out_n, struct gw_error *error);

/* Takes n of the bytes that were peeked. */
void embed_source_take(struct embed_source *source, size_t n);
