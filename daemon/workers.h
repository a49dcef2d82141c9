/* SPDX-License-Identifier: MIT */
/* Splits one job into numbered parts over a thread per processor. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "format/status.h"

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
