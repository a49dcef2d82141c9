/* SPDX-License-Identifier: MIT */
#include "tools/common/report.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *tool_name = "tool";

void tool_start(const char *name)
{
	tool_name = name;
	argp_err_exit_status = TOOL_USAGE;
	for (int fd = 0; fd <= 2; fd++) {
		/* open gives the lowest free number, which is fd: those below are open */
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDWR) != fd)
			_exit(TOOL_IO);
	}
}

enum tool_exit tool_exit_code(int status)
{
	switch (status) {
	case GW_OK:
		return TOOL_DONE;
	case GW_E_ARGUMENT:
	case GW_E_PATH:
		return TOOL_USAGE;
	case GW_E_IO:
	case GW_E_CONNECT:
	case GW_E_TIMEOUT:
	case GW_E_CLOSED:
		return TOOL_IO;
	case GW_E_NOT_FILE:
	case GW_E_CHANGED:
	case GW_E_MAGIC:
	case GW_E_VERSION:
	case GW_E_FEATURE:
	case GW_E_SOURCE:
	case GW_E_SOURCE_KIND:
	case GW_E_SOURCE_TABLES:
		return TOOL_INPUT;
	default:
		return status <= GW_E_TRUNCATED && status >= GW_E_STORED_BLOCK ? TOOL_VERIFY
									       : TOOL_FAILED;
	}
}

void tool_say(const char *format, ...)
{
	char line[2048];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(line, sizeof line, format, args);
	va_end(args);
	if (n >= 0)
		fprintf(stderr, "%s: %s\n", tool_name, line);
}

enum tool_exit tool_fail(const char *subject, const struct gw_error *error)
{
	char quoted[256];

	if (subject)
		tool_say("%s: %s", gw_quote(subject, strlen(subject), quoted, sizeof quoted),
			 error->message);
	else
		tool_say("%s", error->message);
	return tool_exit_code(error->code);
}

enum tool_exit tool_finish(enum tool_exit code)
{
	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	tool_say("standard output: %s", errno ? strerror(errno) : "not all could be written");
	return code == TOOL_DONE ? TOOL_IO : code;
}
