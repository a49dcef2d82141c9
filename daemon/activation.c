/* SPDX-License-Identifier: MIT */
#include "daemon/activation.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/digits.h"
#include "daemon/limits.h"

/* How many there are, 0 where they are not ours. */
static uint64_t count_passed(void)
{
	const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");
	uint64_t whose, count;

	if (!pid || !n || !gd_digits(pid, INT32_MAX, &whose) || whose != (uint64_t)getpid() ||
	    !gd_digits(n, GD_MAX_PASSED_FDS, &count))
		return 0;
	return count;
}

/* Moves *names, a list with colons or NULL, past its first word; copies that. */
static void next_name(const char **names, char *out, size_t out_bytes)
{
	size_t n = *names ? strcspn(*names, ":") : 0;

	out[0] = '\0';
	if (!*names)
		return;
	if (n < out_bytes)
		snprintf(out, out_bytes, "%.*s", (int)n, *names);
	*names = (*names)[n] ? *names + n + 1 : NULL;
}

void gd_activation_init(struct gd_activation *activation)
{
	const char *names = getenv("LISTEN_FDNAMES");
	uint64_t n = count_passed();

	*activation = (struct gd_activation){ 0 };
	if (n)
		activation->passed = calloc(n, sizeof *activation->passed);
	for (uint64_t i = 0; activation->passed && i < n; i++) {
		struct gd_passed *passed = activation->passed + activation->n;

		next_name(&names, passed->name, sizeof passed->name);
		passed->fd = GD_ACTIVATION_FIRST_FD + (int)i;
		if (fcntl(passed->fd, F_SETFD, FD_CLOEXEC) == 0)
			activation->n++;
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
}

void gd_activation_deinit(struct gd_activation *activation)
{
	for (size_t i = 0; i < activation->n; i++)
		if (activation->passed[i].fd >= 0)
			close(activation->passed[i].fd);
	free(activation->passed);
	*activation = (struct gd_activation){ 0 };
}
