/* SPDX-License-Identifier: MIT */
/* Splits one job into numbered parts over a thread per processor. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "format/status.h"

/* Threads that share numbered parts. */
struct gd_crew;

/*
 * Runs member(context, crew) on up to GD_MAX_WORKERS threads, but not on more than there are parts: the
 * calling one, and others that live for this call. They take the parts below count with gd_crew_next
 * until there are none and report what fails with gd_crew_fail. Returns the failure of the lowest
 * part that was tried. Blocks. Errors: what was reported; GW_E_CLOSED (*cancel was set).
 */
int gd_crew_run(uint64_t count, void (*member)(void *context, struct gd_crew *crew), void *context,
		const atomic_bool *cancel, struct gw_error *error);
/* The next part, each once and in ascending order. false: none left, or one has failed, or cancelled. */
bool gd_crew_next(struct gd_crew *crew, uint64_t *out_index);
/* index: the part that failed; UINT64_MAX: the member itself. error is copied. */
void gd_crew_fail(struct gd_crew *crew, uint64_t index, const struct gw_error *error);

/*
 * Calls part(context, index, buffer, error) for every index below count, on up to GD_MAX_WORKERS threads
 * that live for this call; buffer is buffer_bytes of memory of the calling thread's own, 64-byte aligned.
 * Stops handing out parts at the first failure, or when *cancel is set (GW_E_CLOSED), and returns the
 * failure of the lowest index that was tried. Blocks. Errors: GW_E_MEMORY, the parts'.
 */
int gd_workers_run(uint64_t count, uint64_t buffer_bytes,
		   int (*part)(void *context, uint64_t index, uint8_t *buffer,
			       struct gw_error *error),
		   void *context, const atomic_bool *cancel, struct gw_error *error);
