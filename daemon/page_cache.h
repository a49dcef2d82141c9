/* SPDX-License-Identifier: MIT */
/* Which pages of a file were in the page cache before it was read, and putting that back. */
#pragma once

#include <stdint.h>

struct gd_cached;

/*
 * Notes which pages of fd's first size_bytes are cached. NULL: all, or nobody says which are: the kernel
 * tells only a file's owner and who may write to it.
 */
struct gd_cached *gd_cached_note(int fd, uint64_t size_bytes);

/* Drops the pages that were not cached then, and frees cached; NULL is fine. */
void gd_cached_restore(int fd, struct gd_cached *cached);
