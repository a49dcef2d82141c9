/* SPDX-License-Identifier: MIT */
#include "tools/common/progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TOOL_PROGRESS_QUIET_MS 500
#define TOOL_PROGRESS_EVERY_MS 100
#define TOOL_PROGRESS_CELLS 30

static uint64_t tool_progress_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void tool_progress_start(struct tool_progress *progress, const char *label, uint64_t total_bytes,
			 bool quiet)
{
	*progress = (struct tool_progress){
		.label = label,
		.total_bytes = total_bytes,
		.started_ms = tool_progress_now(),
		.enabled = !quiet && total_bytes > 0 && isatty(STDERR_FILENO),
	};
}

static void tool_progress_draw(struct tool_progress *progress, uint64_t now_ms)
{
	double share = (double)progress->done_bytes / (double)progress->total_bytes;
	double rate = (double)progress->done_bytes / 1e3 / (double)(now_ms - progress->started_ms);
	char bar[TOOL_PROGRESS_CELLS + 1];
	int filled = (int)(share * TOOL_PROGRESS_CELLS);

	memset(bar, ' ', sizeof bar - 1);
	memset(bar, '#', (size_t)(filled > TOOL_PROGRESS_CELLS ? TOOL_PROGRESS_CELLS : filled));
	bar[TOOL_PROGRESS_CELLS] = 0;
	fprintf(stderr, "\r%s [%s] %3d%% %.0f MB/s \x1b[K", progress->label, bar,
		(int)(share * 100), rate);
	fflush(stderr);
	progress->visible = true;
	progress->shown_ms = now_ms;
}

void tool_progress_add(struct tool_progress *progress, uint64_t n)
{
	uint64_t now_ms;

	progress->done_bytes += n;
	if (!progress->enabled)
		return;
	now_ms = tool_progress_now();
	if (now_ms - progress->started_ms >= TOOL_PROGRESS_QUIET_MS &&
	    now_ms - progress->shown_ms >= TOOL_PROGRESS_EVERY_MS)
		tool_progress_draw(progress, now_ms);
}

void tool_progress_end(struct tool_progress *progress)
{
	if (progress->visible)
		fputs("\r\x1b[K", stderr);
	progress->visible = false;
	progress->enabled = false;
}
