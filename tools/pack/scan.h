/* SPDX-License-Identifier: MIT */
/* The beginning of a file, gone through once: what is skipped is not read, nothing is kept. */
#pragma once

#include <stdint.h>

#include "tools/pack/file.h"

/* Also the most that can be looked at in one piece. */
#define PACK_SCAN_BYTES 65536

struct pack_scan {
	const struct pack_file *file;
	char quoted_file[96];
	uint64_t at;        /* the next byte */
	uint64_t max_bytes; /* how far it may go, if the file is longer */
	uint64_t first;     /* where the buffer begins in the file … */
	uint64_t n;         /* … and how much it holds */
	uint8_t buffer[PACK_SCAN_BYTES];
};

/* max_bytes: the caller's cap on what it goes through, named in the message when it is reached. */
void pack_scan_init(struct pack_scan *scan, const struct pack_file *file, uint64_t max_bytes);

/* How many bytes there can still be. */
uint64_t pack_scan_left(const struct pack_scan *scan);

/*
 * The next n bytes, at most PACK_SCAN_BYTES, which are passed over; *out lives until the next call.
 * what: for the message, "a key". Errors: GW_E_SOURCE where the file, or max_bytes, ends before
 * them; GW_E_IO, GW_E_CHANGED.
 */
int pack_scan_take(struct pack_scan *scan, uint64_t n, const char *what, const uint8_t **out,
		   struct gw_error *error);

/* The same without looking at them. GW_E_SOURCE. */
int pack_scan_skip(struct pack_scan *scan, uint64_t n, const char *what, struct gw_error *error);

/* A number of n bytes, 1 to 8, little-endian. Errors: those of pack_scan_take. */
int pack_scan_number(struct pack_scan *scan, unsigned n, const char *what, uint64_t *out,
		     struct gw_error *error);
