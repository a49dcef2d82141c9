/* SPDX-License-Identifier: MIT */
/*
 * The n-th allocation, open, read or the like fails. For programs that are linked with --wrap of all
 * that injected.c defines, so that our own calls come here first.
 */
#pragma once

#include <stdbool.h>

enum injected {
	INJECTED_MEMORY, /* allocations, and zlib's beginnings: there is no memory */
	INJECTED_OPEN,   /* an open fails with EIO */
	INJECTED_IO,     /* a read, a look at the file, or the listing of a directory fails with EIO */
	INJECTED_SHORT,  /* a read finds the end of the file */
	INJECTED_KINDS
};

/* From now on, after n calls of that kind, one fails; only one. */
void injected_begin(enum injected kind, long n);

/* Nothing fails any more; whether something did. */
bool injected_end(void);
