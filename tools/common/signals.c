/* SPDX-License-Identifier: MIT */
#include "tools/common/signals.h"

#include <signal.h>
#include <stddef.h>

#include "format/outfile.h"

static void tool_signals_end(int number)
{
	gw_outfile_remove_all();
	/* SA_RESETHAND has put the default back; the signal is blocked until this returns */
	raise(number);
}

void tool_signals_install(void)
{
	static const int ending[] = { SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM };
	struct sigaction action = { .sa_handler = tool_signals_end, .sa_flags = (int)SA_RESETHAND };
	struct sigaction before;

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof ending / sizeof ending[0]; i++)
		sigaddset(&action.sa_mask, ending[i]);
	for (size_t i = 0; i < sizeof ending / sizeof ending[0]; i++) {
		if (sigaction(ending[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
			sigaction(ending[i], &action, NULL);
	}
	signal(SIGXFSZ, SIG_IGN);
}
