/* SPDX-License-Identifier: MIT */
#include "tools/ctl/print.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "format/dtype.h"
#include "tools/common/number.h"
#include "tools/ctl/words.h"

#define CTL_COLUMNS 9
#define CTL_CELL_BYTES 96

static const char *const ctl_heads[CTL_COLUMNS] = {
	"MODEL", "STATE", "GENERATION", "SHARE", "SIZE", "HUGE PAGES", "TABLES", "TYPE", "ATTACHED",
};

static void ctl_row_tables(const struct wire_listed *model, char *tables, char *types)
{
	if (model->n_positions == 0) {
		snprintf(tables, CTL_CELL_BYTES, "%" PRIu64 " x %" PRIu64, model->n_vocab,
			 model->n_embd);
		snprintf(types, CTL_CELL_BYTES, "%s", gw_dtype_name(model->wte_dtype));
		return;
	}
	snprintf(tables, CTL_CELL_BYTES, "%" PRIu64 "+%" PRIu64 " x %" PRIu64, model->n_vocab,
		 model->n_positions, model->n_embd);
	if (model->wte_dtype == model->wpe_dtype)
		snprintf(types, CTL_CELL_BYTES, "%s", gw_dtype_name(model->wte_dtype));
	else
		snprintf(types, CTL_CELL_BYTES, "%s+%s", gw_dtype_name(model->wte_dtype),
			 gw_dtype_name(model->wpe_dtype));
}

static void ctl_row(const struct wire_listed *model, char cells[CTL_COLUMNS][CTL_CELL_BYTES])
{
	gw_quote(model->model, strlen(model->model), cells[0], CTL_CELL_BYTES);
	snprintf(cells[1], CTL_CELL_BYTES, "%s", ctl_state_word(model->state));
	snprintf(cells[8], CTL_CELL_BYTES, "%" PRIu64, model->attached);
	for (int i = 2; i < 8; i++)
		strcpy(cells[i], "-");
	if (model->generation == 0)
		return;
	snprintf(cells[2], CTL_CELL_BYTES, "%" PRIu64, model->generation);
	snprintf(cells[3], CTL_CELL_BYTES, "%s", ctl_share_word(model->share));
	tool_size_text(model->image_bytes, cells[4]);
	tool_size_text(model->huge_bytes, cells[5]);
	ctl_row_tables(model, cells[6], cells[7]);
}

static void ctl_measure(char cells[CTL_COLUMNS][CTL_CELL_BYTES], int *widths)
{
	for (int i = 0; i < CTL_COLUMNS; i++)
		if ((int)strlen(cells[i]) > widths[i])
			widths[i] = (int)strlen(cells[i]);
}

/* What has no place in the table: where it comes from, and why it is not served. */
static void ctl_print_details(const struct wire_listed *model)
{
	char quoted[2 * WIRE_FILE_BYTES], id[GW_DIGEST_TEXT_BYTES];

	printf("    file        %s\n",
	       gw_quote(model->file, strlen(model->file), quoted, sizeof quoted));
	if (model->generation != 0)
		printf("    content id  %s\n", gw_digest_text(&model->content_id, id));
	if (model->message[0])
		printf("    last load   %s\n",
		       gw_quote(model->message, strlen(model->message), quoted, sizeof quoted));
}

int ctl_print_list(const struct ctl_models *models)
{
	char cells[CTL_COLUMNS][CTL_CELL_BYTES];
	int widths[CTL_COLUMNS];

	if (models->count == 0) {
		puts("the daemon serves no model");
		return 0;
	}
	for (int i = 0; i < CTL_COLUMNS; i++)
		widths[i] = (int)strlen(ctl_heads[i]);
	for (size_t i = 0; i < models->count; i++) {
		ctl_row(&models->items[i], cells);
		ctl_measure(cells, widths);
	}
	for (int i = 0; i < CTL_COLUMNS; i++)
		printf("%-*s%s", i + 1 < CTL_COLUMNS ? widths[i] : 0, ctl_heads[i],
		       i + 1 < CTL_COLUMNS ? "  " : "\n");
	for (size_t i = 0; i < models->count; i++) {
		ctl_row(&models->items[i], cells);
		for (int j = 0; j < CTL_COLUMNS; j++)
			printf("%-*s%s", j + 1 < CTL_COLUMNS ? widths[j] : 0, cells[j],
			       j + 1 < CTL_COLUMNS ? "  " : "\n");
		ctl_print_details(&models->items[i]);
	}
	return 0;
}

static void ctl_print_uptime(uint64_t uptime_ms)
{
	uint64_t s = uptime_ms / 1000;

	printf("uptime       ");
	if (s >= 86400)
		printf("%" PRIu64 " d ", s / 86400);
	if (s >= 3600)
		printf("%" PRIu64 " h ", s / 3600 % 24);
	if (s >= 60)
		printf("%" PRIu64 " min ", s / 60 % 60);
	printf("%" PRIu64 " s\n", s % 60);
}

/* What is in memory: one line per generation that is served or held. */
static void ctl_print_generations(const struct ctl_generations *generations)
{
	char quoted[2 * WIRE_MODEL_BYTES], size[TOOL_SIZE_TEXT_BYTES];

	for (size_t i = 0; i < generations->count; i++) {
		const struct wire_generation_reply *item = &generations->items[i];

		printf("  %s %" PRIu64 ": %s, %s, %s",
		       gw_quote(item->model, strlen(item->model), quoted, sizeof quoted),
		       item->generation, ctl_life_word(item->life), ctl_share_word(item->share),
		       tool_size_text(item->image_bytes, size));
		if (item->resident_bytes != WIRE_UNKNOWN)
			printf(", %s resident", tool_size_text(item->resident_bytes, size));
		printf(", %s on huge pages", tool_size_text(item->huge_bytes, size));
		printf(", %" PRIu64 " attached\n", item->attached);
	}
}

int ctl_print_clients(const struct ctl_clients *clients)
{
	char quoted[2 * WIRE_MODEL_BYTES];

	printf("%10s %10s %12s %18s  MODEL\n", "UID", "PID", "SECONDS", "GENERATION");
	for (size_t i = 0; i < clients->count; i++) {
		const struct wire_client_reply *item = &clients->items[i];

		printf("%10" PRIu32 " %10" PRIu32 " %12" PRIu64 " %18" PRIu64 "  %s\n", item->uid,
		       item->pid, item->age_ms / 1000, item->generation,
		       item->model[0] ? gw_quote(item->model, strlen(item->model), quoted,
						 sizeof quoted)
				      : "-");
	}
	return 0;
}

int ctl_print_status(const struct wire_status_reply *status,
		     const struct ctl_generations *generations)
{
	char quoted[2 * WIRE_MESSAGE_TEXT_BYTES], size[TOOL_SIZE_TEXT_BYTES];

	printf("release      %s\n",
	       gw_quote(status->release, strlen(status->release), quoted, sizeof quoted));
	printf("pid          %" PRIu64 "\n", status->pid);
	ctl_print_uptime(status->uptime_ms);
	printf("event loop   %s\n", ctl_backend_word(status->backend));
	if (status->note[0])
		printf("note         %s\n",
		       gw_quote(status->note, strlen(status->note), quoted, sizeof quoted));
	printf("models       %" PRIu32 "\n", status->n_models);
	printf("images       %s\n", tool_size_text(status->image_bytes, size));
	printf("connections  %" PRIu64 " now, %" PRIu64 " so far; at most %" PRIu64 ", %" PRIu64
	       " of one user\n",
	       status->connections, status->connections_total, status->max_connections,
	       status->max_connections_per_user);
	printf("attached     %" PRIu64 " times\n", status->attached_total);
	printf("refused      %" PRIu64 "\n", status->refused_total);
	printf("foreign fds  %" PRIu64 "\n", status->foreign_fds);
	printf("generations  %" PRIu64 " published, %" PRIu64 " loads failed\n",
	       status->published_total, status->failed_total);
	printf("retired      %" PRIu64 ", %s", status->retired,
	       tool_size_text(status->retired_bytes, size));
	printf(" of at most %s", tool_size_text(status->max_retired_bytes, size));
	printf("; all images at most %s\n", tool_size_text(status->max_bytes, size));
	ctl_print_generations(generations);
	return 0;
}
