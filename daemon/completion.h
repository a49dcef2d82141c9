/* SPDX-License-Identifier: MIT */
/*
 * The one way to completions of an io_uring. A function of its own file, not liburing's inline ones, so
 * that the tests that make calls fail (tests/inject) stand before every completion too.
 */
#pragma once

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Takes the next completion: *out_data is what its request was given, *out_result how it went. wait: waits
 * until there is one. Returns 0 or, with nothing taken, a negative errno: -EAGAIN there is none, others as
 * io_uring_enter(2).
 */
int gd_completion_take(struct io_uring *ring, bool wait, uint64_t *out_data, int *out_result);
