/* SPDX-License-Identifier: MIT */
/*
 * A progress bar on standard error: only on a terminal, only for work that takes more than a
 * moment.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct tool_progress {
	const char *label;
	uint64_t total_bytes, done_bytes;
	uint64_t started_ms, shown_ms;
	bool enabled; /* standard error is a terminal and nobody asked for quiet */
	bool visible; /* there is a bar on the line */
};

/* label is kept. */
void tool_progress_start(struct tool_progress *progress, const char *label, uint64_t total_bytes,
			 bool quiet);

/* n more bytes are done. Draws at most ten times a second, and not in the first half second. */
void tool_progress_add(struct tool_progress *progress, uint64_t n);

/* Wipes the bar away; before any message. */
void tool_progress_end(struct tool_progress *progress);
