/* SPDX-License-Identifier: MIT */
/* Waiting for what a daemon has begun. */
#pragma once

#include <stdint.h>

#include "tools/ctl/query.h"

/*
 * Waits until model ("": every model) is not busy, at most until deadline_ms (as wire_now_ms). *out: as
 * ctl_query_list, of those models alone. Errors: those of ctl_query_list; GW_E_TIMEOUT; GW_E_NAME (no
 * such model).
 */
int ctl_wait_idle(const char *socket_path, const char *model, uint64_t deadline_ms,
		  struct ctl_models *out, struct gw_error *error);

/* Waits until model serves generation, or a later one; 0: any. Likewise; no such model yet is waited for. */
int ctl_wait_generation(const char *socket_path, const char *model, uint64_t generation,
			uint64_t deadline_ms, struct gw_error *error);

/* Waits until generation of model is neither served nor held by anybody. Likewise. */
int ctl_wait_drained(const char *socket_path, const char *model, uint64_t generation,
		     uint64_t deadline_ms, struct gw_error *error);
