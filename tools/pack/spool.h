/* SPDX-License-Identifier: MIT */
/*
 * Bytes that come in one order and are needed in another: a temporary file that no directory has,
 * so that nothing is left of it whatever ends the process. It is in $TMPDIR, or else in /var/tmp.
 */
#pragma once

#include <stdint.h>

#include "format/status.h"

struct pack_spool;

/* *out is the caller's. Errors: GW_E_IO, GW_E_MEMORY. */
int pack_spool_new(struct pack_spool **out, struct gw_error *error);
void pack_spool_free(struct pack_spool *spool); /* NULL is fine */

/* n bytes more. Errors: GW_E_IO, for which the file's place is named: it may be full. */
int pack_spool_add(struct pack_spool *spool, const void *bytes, uint64_t n, struct gw_error *error);

/* n of the bytes that were added, from offset on. Errors: GW_E_IO. */
int pack_spool_read(const struct pack_spool *spool, uint64_t offset, uint64_t n, void *out,
		    struct gw_error *error);
