/* SPDX-License-Identifier: MIT */
/*
 * A daemon's answers, for people and as JSON. Text that came from the daemon is quoted. All return
 * 0, or GW_E_MEMORY after saying so; whether standard output took everything shows at the end.
 */
#pragma once

#include "tools/ctl/query.h"

int ctl_print_list(const struct ctl_models *models);
int ctl_print_list_json(const struct ctl_models *models);
int ctl_print_status(const struct wire_status_reply *status,
		     const struct ctl_generations *generations);
int ctl_print_status_json(const struct wire_status_reply *status,
			  const struct ctl_generations *generations);
int ctl_print_clients(const struct ctl_clients *clients);
int ctl_print_clients_json(const struct ctl_clients *clients);
/* OpenMetrics text. */
int ctl_print_metrics(const struct wire_status_reply *status, const struct ctl_models *models,
		      const struct ctl_generations *generations);
/* The three as one object. */
int ctl_print_metrics_json(const struct wire_status_reply *status, const struct ctl_models *models,
			   const struct ctl_generations *generations);
