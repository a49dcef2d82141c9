/* SPDX-License-Identifier: MIT */
/*
 * Reading a mapped file that may lose its bytes at any moment: where a read() fails, a touch is punished
 * with SIGBUS.
 */
#pragma once

#include <stdbool.h>

/*
 * From here to tool_guard_end, SIGBUS ends tool_guarded instead of the process. One at a time in a
 * process. False where the system does not allow it: then nothing has changed.
 */
bool tool_guard_begin(void);
void tool_guard_end(void);

/*
 * Calls read(context) between the two, in any thread, not one within another. False when SIGBUS ended it
 * before its end: read must own nothing then that somebody would have to give back. A SIGBUS outside has
 * its usual effect.
 */
bool tool_guarded(void (*read)(void *context), void *context);
