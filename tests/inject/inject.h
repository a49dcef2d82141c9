/* SPDX-License-Identifier: MIT */
/*
 * Makes calls of a program fail by their number. The linker's --wrap=NAME sends every call of NAME in the
 * program's own objects to __wrap_NAME (calls.c), which asks here first; the objects are those of the
 * installed program, so nothing of this costs it anything.
 *
 * GPT2W_INJECT=MODE:N:VARIANT with MODE once (call N fails), from (all from N on fail) or count (none
 * does). VARIANT chooses among the errors that a call can have. GPT2W_INJECT_REPORT: a file that gets the
 * line "failed N NAME ERRNO VARIANTS ADDRESS" when the first one fails (VARIANTS: how many there are, ADDRESS:
 * of the caller, for addr2line), and at the end "calls N". GPT2W_INJECT_JOURNAL: the socket that is taken
 * for the journal's.
 */
#pragma once

#include <stdbool.h>

/* In place of an errno: less is transferred than was asked for; nothing is, as at the end of a file. */
enum { INJECT_SHORT = -1, INJECT_END = -2 };

/*
 * Counts one call; whether it fails, with *out_error. Of lasting and passing, both ended by 0, lasting are
 * the errors that go on (no memory), passing those that a program is to overcome by trying again (EINTR):
 * with "from", one call in eight is spared the passing ones. spared: it fails with "once" alone.
 * Thread-safe.
 */
bool inject_fails(const char *name, const void *caller, const int *lasting, const int *passing,
		  bool spared, int *out_error);
