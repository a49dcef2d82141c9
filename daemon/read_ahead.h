/* SPDX-License-Identifier: MIT */
/* Reads of a file that are under way while others are worked on; for one thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/status.h"

struct gd_reads;

/*
 * Up to depth (at most GD_READS) reads of fd, borrowed, at once. With io_uring; where the kernel
 * refuses that, each is done by pread when it is submitted. *out_reads is the caller's. Errors:
 * GW_E_MEMORY.
 */
int gd_reads_new(int fd, unsigned depth, struct gd_reads **out_reads, struct gw_error *error);

/* Waits for what is under way, so that its memory may go; NULL is fine. */
void gd_reads_free(struct gd_reads *reads);

/*
 * Reads bytes (at most 2^30) at offset into out, which stays in use until the read is taken. tag comes
 * back with it. Not more than depth untaken reads at a time. Errors, of reads without io_uring:
 * GW_E_IO, _CHANGED; such a read is not to be taken.
 */
int gd_reads_submit(struct gd_reads *reads, uint64_t tag, void *out, uint64_t bytes, uint64_t offset,
		    struct gw_error *error);

/* Whether a read is done and can be taken without a wait. */
bool gd_reads_ready(struct gd_reads *reads);

/*
 * Takes one that is done, in any order; waits for it if it must. There is one that was not taken.
 * Errors: GW_E_IO; GW_E_CHANGED where the file ends before; *out_tag is set nevertheless, unless the
 * wait itself failed.
 */
int gd_reads_take(struct gd_reads *reads, uint64_t *out_tag, struct gw_error *error);
