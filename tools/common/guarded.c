/* SPDX-License-Identifier: MIT */
#include "tools/common/guarded.h"

#include <setjmp.h>
#include <signal.h>
#include <stddef.h>

static struct sigaction tool_guard_before;
static _Thread_local sigjmp_buf tool_guard_exit;
static _Thread_local volatile sig_atomic_t tool_guard_set;

static void tool_guard_leave(int number)
{
	if (tool_guard_set)
		siglongjmp(tool_guard_exit, 1);
	/* not of a guarded read: what touched it touches it again, and has what it would have had */
	sigaction(number, &tool_guard_before, NULL);
}

bool tool_guard_begin(void)
{
	struct sigaction action = { .sa_handler = tool_guard_leave };

	sigemptyset(&action.sa_mask);
	return sigaction(SIGBUS, &action, &tool_guard_before) == 0;
}

void tool_guard_end(void)
{
	sigaction(SIGBUS, &tool_guard_before, NULL);
}

bool tool_guarded(void (*read)(void *context), void *context)
{
	/* with the mask: SIGBUS is blocked in its handler */
	if (sigsetjmp(tool_guard_exit, 1)) {
		tool_guard_set = 0;
		return false;
	}
	tool_guard_set = 1;
	read(context);
	tool_guard_set = 0;
	return true;
}
