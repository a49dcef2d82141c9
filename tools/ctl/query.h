/* SPDX-License-Identifier: MIT */
/* Questions to a daemon, and what it is asked to do, over its socket (WIRE.md, from LIST on). */
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

struct ctl_generations {
	struct wire_generation_reply *items; /* [count], the current ones first */
	size_t count;
};

struct ctl_clients {
	struct wire_client_reply *items; /* [count] */
	size_t count;
};

/* All generations that live, and all connections, likewise; free() ends the items. Same errors. */
int ctl_query_generations(const char *socket_path, struct ctl_generations *out,
			  struct gw_error *error);
int ctl_query_clients(const char *socket_path, struct ctl_clients *out, struct gw_error *error);

/* Has the daemon begin something. model: "" for all. Same errors. */
int ctl_query_steer(const char *socket_path, enum wire_action action, const char *model,
		    struct gw_error *error);

/* Says what went wrong and returns the exit code: whatever a daemon does is TOOL_FAILED. */
enum tool_exit ctl_fail(const struct gw_error *error);
