/* SPDX-License-Identifier: MIT */
/*
 * The log: messages with fields to the journal where standard error is its, else lines on standard
 * error. An event is logged once, where it is handled. Whatever a text holds, what is written is one
 * line of printable UTF-8.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "daemon/log_limit.h"

/* What has a MESSAGE_ID (gpt2d(8)) and a priority of its own. */
enum gd_event {
	GD_EVENT_NONE, /* no id, informational */
	GD_EVENT_STARTED,
	GD_EVENT_STOPPING,
	GD_EVENT_FAILED,
	GD_EVENT_SERVING,
	GD_EVENT_LOAD_FAILED,
	GD_EVENT_WITHDRAWN,
	GD_EVENT_STEERED,
	GD_EVENT_PEER_REFUSED,
	GD_EVENT_PEER_ENDED,
	GD_EVENT_LEFT_OUT,
	GD_N_EVENTS,
};

/*
 * stream: what JOURNAL_STREAM says, or NULL; journal: the path of its socket. Without this, and where
 * standard error is not the journal's, lines are written.
 */
void gd_log_open(const char *stream, const char *journal);
/* Tells what was left out, and closes. */
void gd_log_close(void);

/* "gpt2d: ..." and a newline. Thread-safe: one write per line. */
void gd_log(const char *format, ...) __attribute__((format(printf, 1, 2)));
void gd_log_event(enum gd_event event, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The same about a model, its file and its generation (0: none). */
void gd_log_model(enum gd_event event, const char *model, const char *file, uint64_t generation,
		  const char *format, ...) __attribute__((format(printf, 5, 6)));

/*
 * The same about what a peer causes: uid and pid, GD_LOG_NOBODY and 0 where they are not known. At most
 * GD_LOG_USER_BURST lines a second about one user, and GD_LOG_PEERS_BURST about all; how many were left
 * out is told later. Loop thread only.
 */
void gd_log_peer(enum gd_event event, uid_t uid, pid_t pid, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Tells how many lines were left out before this second; gd_log_peer does so too. Loop thread only. */
void gd_log_left_out(void);
