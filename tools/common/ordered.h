/* SPDX-License-Identifier: MIT */
/*
 * Work on many items by several threads at once, whose results are taken in the order of the items, one
 * at a time: what is made of them does not depend on the number of threads. Memory: as many results as
 * may wait.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "format/status.h"

struct tool_ordered {
	uint64_t n_items;
	/* The caller's among them; 1 to TOOL_MAX_THREADS. Where the system gives fewer, fewer work. */
	unsigned n_threads;
	/* [n_threads] what only one thread uses at a time, such as its buffers; handed to work */
	void *const *workers;
	unsigned n_results; /* that may be in the making or wait; at least 1, better twice n_threads */
	size_t result_bytes;
	/* result: result_bytes of room, aligned for anything, with the bytes of some earlier item */
	int (*work)(void *worker, uint64_t index, void *result, struct gw_error *error);
	/* For each item in ascending order, by one thread at a time, whichever */
	int (*take)(void *context, uint64_t index, const void *result, struct gw_error *error);
	void *context;
};

/*
 * Does work for items 0 to n_items - 1, and take after it. A failure of either ends it: no item after
 * that is taken, those before it all are, and the error is that of the lowest item that failed. When it
 * returns no other thread is left. Errors: those of work and take; GW_E_MEMORY.
 */
int tool_ordered_run(const struct tool_ordered *job, struct gw_error *error);

/*
 * More than this neither the memory (a thread that encodes takes some MiB) nor the memory's or the disk's
 * speed is good for. A guess.
 */
#define TOOL_MAX_THREADS 16

/* Processors that this process may use: 1 to TOOL_MAX_THREADS. */
unsigned tool_processors(void);
