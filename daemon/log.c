/* SPDX-License-Identifier: MIT */
#include "daemon/log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/limits.h"
#include "format/endpoint.h"

__attribute__((format(printf, 1, 0))) static void write_line(const char *format, va_list arguments)
{
	struct pollfd log_fd = { .fd = STDERR_FILENO, .events = POLLOUT };
	char line[1024] = "gpt2d: ";
	size_t used = strlen(line), n;
	ssize_t done;

	vsnprintf(line + used, sizeof line - used - 1, format, arguments);
	n = strlen(line);
	line[n] = '\n';
	/* a log that cannot be written is nobody's reason to fail, nor to wait: a pipe that nobody reads
	 * would hold up all clients */
	if (poll(&log_fd, 1, 0) == 0)
		return;
	done = write(STDERR_FILENO, line, n + 1);
	(void)done;
}

void gd_log(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	write_line(format, arguments);
	va_end(arguments);
}

void gd_log_peer(const char *format, ...)
{
	static uint64_t second, in_second, left_out;
	uint64_t now = wire_now_ms() / 1000;
	va_list arguments;

	if (now != second) {
		second = now;
		in_second = 0;
	}
	if (++in_second > GD_LOG_PEER_BURST) {
		left_out++;
		return;
	}
	if (left_out) {
		gd_log("%llu lines about peers were left out", (unsigned long long)left_out);
		left_out = 0;
	}
	va_start(arguments, format);
	write_line(format, arguments);
	va_end(arguments);
}
