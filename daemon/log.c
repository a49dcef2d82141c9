/* SPDX-License-Identifier: MIT */
#include "daemon/log.h"

#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "daemon/journal.h"
#include "daemon/limits.h"
#include "format/endpoint.h"

static const struct {
	const char *id; /* made up once, at random; listed in gpt2d(8) */
	int priority;
} events[GD_N_EVENTS] = {
	[GD_EVENT_NONE] = { NULL, LOG_INFO },
	[GD_EVENT_STARTED] = { "5e17f32831584764a2e5e5053d082966", LOG_INFO },
	[GD_EVENT_STOPPING] = { "30ea1d441f6c4a1bb3df3d7cc469a769", LOG_INFO },
	[GD_EVENT_FAILED] = { "50e2faa365ff47cb9619632444a28f59", LOG_ERR },
	[GD_EVENT_SERVING] = { "b5d9e78c0b684f9abe0ff68856d89acf", LOG_INFO },
	[GD_EVENT_LOAD_FAILED] = { "a4713ab571384abb981a612cb53f0d57", LOG_ERR },
	[GD_EVENT_WITHDRAWN] = { "ffbfaaad15e441398752c4ce19284824", LOG_NOTICE },
	[GD_EVENT_STEERED] = { "e239b03f7a67430081dd4c321a6df0dd", LOG_NOTICE },
	[GD_EVENT_PEER_REFUSED] = { "bc5ed6168df440718797569cdd30cfbf", LOG_WARNING },
	[GD_EVENT_PEER_ENDED] = { "09141b2b1ff14771b4b3f39483b00b09", LOG_WARNING },
	[GD_EVENT_LEFT_OUT] = { "af2dd81e0a4742268a727a162ad771c8", LOG_WARNING },
};

/* What a message is about, for the journal. */
struct about {
	enum gd_event event;
	const char *model, *file; /* NULL: none */
	uint64_t generation;      /* 0: none */
	uid_t uid;                /* GD_LOG_NOBODY: none */
	pid_t pid;                /* 0: none */
};

#define MAX_FIELDS 10
#define TEXT_BYTES 1024

static struct gd_journal journal = { .fd = -1 };

void gd_log_open(const char *stream, const char *path)
{
	gd_journal_init(&journal, stream, STDERR_FILENO, path);
}

/* Quotes what was not quoted where the message was made; backslashes are of what was. */
static void clean(const char *text, char *out, size_t out_bytes)
{
	size_t used = 0;

	while (*text && used + 1 < out_bytes) {
		size_t n = strcspn(text, "\\");

		if (!n) {
			out[used++] = *text++;
			continue;
		}
		gw_quote(text, n, out + used, out_bytes - used);
		used += strlen(out + used);
		text += n;
	}
	out[used] = '\0';
}

/* Whether the journal has taken it. */
static bool to_journal(const struct about *about, const char *text)
{
	struct gd_journal_field fields[MAX_FIELDS];
	char priority[4], generation[24], uid[16], pid[16];
	size_t n = 0;

	if (journal.fd < 0)
		return false;
	snprintf(priority, sizeof priority, "%d", events[about->event].priority);
	fields[n++] = (struct gd_journal_field) { "MESSAGE", text };
	fields[n++] = (struct gd_journal_field) { "PRIORITY", priority };
	fields[n++] = (struct gd_journal_field) { "SYSLOG_IDENTIFIER", "gpt2d" };
	if (events[about->event].id)
		fields[n++] = (struct gd_journal_field) { "MESSAGE_ID", events[about->event].id };
	if (about->model)
		fields[n++] = (struct gd_journal_field) { "GPT2D_MODEL", about->model };
	if (about->file)
		fields[n++] = (struct gd_journal_field) { "GPT2D_FILE", about->file };
	if (about->generation) {
		snprintf(generation, sizeof generation, "%" PRIu64, about->generation);
		fields[n++] = (struct gd_journal_field) { "GPT2D_GENERATION", generation };
	}
	if (about->uid != GD_LOG_NOBODY) {
		snprintf(uid, sizeof uid, "%u", (unsigned)about->uid);
		fields[n++] = (struct gd_journal_field) { "GPT2D_UID", uid };
	}
	if (about->pid) {
		snprintf(pid, sizeof pid, "%d", (int)about->pid);
		fields[n++] = (struct gd_journal_field) { "GPT2D_PID", pid };
	}
	return gd_journal_send(&journal, fields, n);
}

static void to_stderr(const char *text)
{
	struct pollfd log_fd = { .fd = STDERR_FILENO, .events = POLLOUT };
	char line[TEXT_BYTES + 16];
	int n = snprintf(line, sizeof line, "gpt2d: %s\n", text);
	ssize_t done;

	/* a log that cannot be written is nobody's reason to fail, nor to wait: a pipe that nobody reads
	 * would hold up all clients */
	if (poll(&log_fd, 1, 0) == 0)
		return;
	done = write(STDERR_FILENO, line, (size_t)n);
	(void)done;
}

__attribute__((format(printf, 2, 0))) static void
write_message(const struct about *about, const char *format, va_list arguments)
{
	char raw[TEXT_BYTES], text[TEXT_BYTES];

	vsnprintf(raw, sizeof raw, format, arguments);
	clean(raw, text, sizeof text);
	if (!to_journal(about, text))
		to_stderr(text);
}

void gd_log(const char *format, ...)
{
	const struct about about = { .uid = GD_LOG_NOBODY };
	va_list arguments;

	va_start(arguments, format);
	write_message(&about, format, arguments);
	va_end(arguments);
}

void gd_log_event(enum gd_event event, const char *format, ...)
{
	const struct about about = { .event = event, .uid = GD_LOG_NOBODY };
	va_list arguments;

	va_start(arguments, format);
	write_message(&about, format, arguments);
	va_end(arguments);
}

void gd_log_model(enum gd_event event, const char *model, const char *file, uint64_t generation,
		  const char *format, ...)
{
	const struct about about = { .event = event,
				     .model = model,
				     .file = file,
				     .generation = generation,
				     .uid = GD_LOG_NOBODY };
	va_list arguments;

	va_start(arguments, format);
	write_message(&about, format, arguments);
	va_end(arguments);
}

__attribute__((format(printf, 2, 3))) static void write_about(const struct about *about,
							      const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	write_message(about, format, arguments);
	va_end(arguments);
}

static struct gd_log_limit limit;

static uint64_t this_second(void)
{
	return wire_now_ms() / 1000;
}

static void tell_left_out(uint64_t second)
{
	struct about about = { .event = GD_EVENT_LEFT_OUT };
	uint64_t left_out;

	while (gd_log_limit_next(&limit, second, &about.uid, &left_out)) {
		if (about.uid == GD_LOG_NOBODY)
			write_about(&about, "%" PRIu64 " lines about peers were left out",
				    left_out);
		else
			write_about(&about, "%" PRIu64 " lines about uid %u were left out",
				    left_out, (unsigned)about.uid);
	}
}

void gd_log_left_out(void)
{
	tell_left_out(this_second());
}

void gd_log_close(void)
{
	tell_left_out(UINT64_MAX);
	gd_journal_deinit(&journal);
}

void gd_log_peer(enum gd_event event, uid_t uid, pid_t pid, const char *format, ...)
{
	const struct about about = { .event = event, .uid = uid, .pid = pid };
	va_list arguments;

	gd_log_left_out();
	if (!gd_log_limit_take(&limit, uid, this_second()))
		return;
	va_start(arguments, format);
	write_message(&about, format, arguments);
	va_end(arguments);
}
