/* SPDX-License-Identifier: MIT */
/* Lines on standard error. An event is logged once, where it is handled. */
#pragma once

#include "format/status.h"

/* "gpt2d: ..." and a newline. Thread-safe: one write per line. */
void gd_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * The same for what a peer causes: at most GD_LOG_PEER_BURST lines a second; the number of those left
 * out is told in the next line that is not. Loop thread only.
 */
void gd_log_peer(const char *format, ...) __attribute__((format(printf, 1, 2)));
