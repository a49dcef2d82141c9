/* SPDX-License-Identifier: MIT */
/* Questions to a daemon, over its socket (WIRE.md, LIST and STATUS). */
#pragma once

#include <stddef.h>

#include "format/status.h"
#include "format/wire.h"
#include "tools/common/report.h"

/* All questions of one call together. */
#define CTL_TIMEOUT_MS 5000

struct ctl_models {
	struct wire_listed *items; /* [count], in order of their names */
	size_t count;
};

/*
 * All models of the daemon at socket_path (NULL: where a client looks). ctl_models_deinit ends
 * *out. Errors: those of wire_connect, wire_send and wire_receive; GW_E_WIRE_TYPE and _FIELD for an
 * answer that does not fit the question; GW_E_MEMORY.
 */
int ctl_query_list(const char *socket_path, struct ctl_models *out, struct gw_error *error);
void ctl_models_deinit(struct ctl_models *models);

/* How the daemon is. Same errors. */
int ctl_query_status(const char *socket_path, struct wire_status_reply *out,
		     struct gw_error *error);

/* Says what went wrong and returns the exit code: whatever a daemon does is TOOL_FAILED. */
enum tool_exit ctl_fail(const struct gw_error *error);
