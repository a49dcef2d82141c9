/* SPDX-License-Identifier: MIT */
/* What every tool says and how it ends: exit codes, and messages on standard error. */
#pragma once

#include "format/status.h"

/* The exit codes of all tools; every man page lists them. */
enum tool_exit {
	TOOL_DONE = 0,
	TOOL_FAILED = 1, /* none of the others: no memory, the output exists already … */
	TOOL_USAGE = 2,  /* the command line */
	TOOL_INPUT = 3,  /* an input is malformed, or not what it should be */
	TOOL_IO = 4,     /* a system call failed: not found, not permitted, no space */
	TOOL_VERIFY = 5, /* a pack does not verify */
};

/*
 * First thing in main. name: what messages begin with, kept. Opens /dev/null in place of standard
 * descriptors that were closed, so that no file is opened under their numbers and written to; makes
 * argp's usage errors exit with TOOL_USAGE.
 */
void tool_start(const char *name);

/* The exit code for an enum gw_status. */
enum tool_exit tool_exit_code(int status);

/* One line on standard error: "NAME: " and the text, which has no newline. */
void tool_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Says what error says (subject, if not NULL, before it) and returns its exit code. */
enum tool_exit tool_fail(const char *subject, const struct gw_error *error);

/*
 * Flushes standard output; returns code, or TOOL_IO after saying so where not all could be written
 * (a full disk under a redirection is only seen here). Last thing in main.
 */
enum tool_exit tool_finish(enum tool_exit code);
