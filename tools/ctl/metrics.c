/* SPDX-License-Identifier: MIT */
/* OpenMetrics text, version 1.0.0. The names are documented in gpt2ctl(1) and do not change. */
#include <inttypes.h>
#include <stdio.h>

#include "tools/ctl/print.h"
#include "tools/ctl/words.h"


static void ctl_metric_head(const char *name, const char *type, const char *help)
{
	printf("# TYPE gpt2d_%s %s\n# HELP gpt2d_%s %s\n", name, type, name, help);
}

static void ctl_gauge(const char *name, const char *help, uint64_t value)
{
	ctl_metric_head(name, "gauge", help);
	printf("gpt2d_%s %" PRIu64 "\n", name, value);
}

static void ctl_counter(const char *name, const char *help, uint64_t value)
{
	ctl_metric_head(name, "counter", help);
	printf("gpt2d_%s_total %" PRIu64 "\n", name, value);
}

/* A label's value; control characters are not in what a daemon sends (WIRE.md). */
static void ctl_label(const char *text)
{
	for (; *text; text++) {
		if (*text == '\\' || *text == '"')
			putchar('\\');
		putchar(*text);
	}
}

static void ctl_metrics_status(const struct wire_status_reply *status)
{
	ctl_counter("connections", "Connections taken in.", status->connections_total);
	ctl_counter("attached", "Models handed out.", status->attached_total);
	ctl_counter("refused", "Connections and requests refused.", status->refused_total);
	ctl_counter("foreign_fds", "Descriptors that clients sent, closed.", status->foreign_fds);
	ctl_counter("generations", "Generations published.", status->published_total);
	ctl_counter("failed_loads", "Loads that failed or were refused.", status->failed_total);
	ctl_gauge("uptime_seconds", "Since the daemon started.", status->uptime_ms / 1000);
	ctl_gauge("open_connections", "Connections now.", status->connections);
	ctl_gauge("max_connections", "Limit of connections.", status->max_connections);
	ctl_gauge("unread_fds", "Descriptors in answers not known to be read.", status->unread_fds);
	ctl_gauge("models", "Models.", status->n_models);
	ctl_gauge("retired_generations", "Generations served no longer and held.", status->retired);
	ctl_gauge("retired_bytes", "Bytes of their images.", status->retired_bytes);
	ctl_gauge("max_retired_bytes", "Limit of those.", status->max_retired_bytes);
	ctl_gauge("memory_max_bytes", "Limit of all sealed images.", status->max_bytes);
}

static void ctl_metrics_models(const struct ctl_models *models)
{
	ctl_metric_head("model_up", "gauge", "Whether a generation of the model is served.");
	for (size_t i = 0; i < models->count; i++) {
		printf("gpt2d_model_up{model=\"");
		ctl_label(models->items[i].model);
		printf("\"} %d\n", models->items[i].generation != 0);
	}
	ctl_metric_head("model_failed", "gauge", "Whether the last load of the model failed.");
	for (size_t i = 0; i < models->count; i++) {
		printf("gpt2d_model_failed{model=\"");
		ctl_label(models->items[i].model);
		printf("\"} %d\n", models->items[i].message[0] &&
					   models->items[i].state != WIRE_STATE_UNLOADED);
	}
	ctl_metric_head("model_taken_back", "gauge", "Whether its image is the last daemon's.");
	for (size_t i = 0; i < models->count; i++) {
		printf("gpt2d_model_taken_back{model=\"");
		ctl_label(models->items[i].model);
		printf("\"} %d\n", models->items[i].taken_back != 0);
	}
}

static uint64_t ctl_image_bytes(const struct wire_generation_reply *item)
{
	return item->image_bytes;
}

static uint64_t ctl_resident_bytes(const struct wire_generation_reply *item)
{
	return item->resident_bytes;
}

static uint64_t ctl_huge_bytes(const struct wire_generation_reply *item)
{
	return item->huge_bytes;
}

static uint64_t ctl_attached(const struct wire_generation_reply *item)
{
	return item->attached;
}

static void ctl_metrics_generations(const struct ctl_generations *generations)
{
	static const struct {
		const char *name, *help;
		uint64_t (*value)(const struct wire_generation_reply *item);
	} gauges[] = {
		{ "generation_image_bytes", "Size of the image.", ctl_image_bytes },
		{ "generation_resident_bytes", "Of it in memory.", ctl_resident_bytes },
		{ "generation_huge_bytes", "Of it on 2 MiB pages.", ctl_huge_bytes },
		{ "generation_attached", "Open connections that have it.", ctl_attached },
	};

	for (size_t g = 0; g < sizeof gauges / sizeof gauges[0]; g++) {
		ctl_metric_head(gauges[g].name, "gauge", gauges[g].help);
		for (size_t i = 0; i < generations->count; i++) {
			const struct wire_generation_reply *item = &generations->items[i];

			if (gauges[g].value(item) == WIRE_UNKNOWN)
				continue;
			printf("gpt2d_%s{model=\"", gauges[g].name);
			ctl_label(item->model);
			printf("\",generation=\"%" PRIu64 "\",life=\"%s\",share=\"%s\"} %" PRIu64
			       "\n",
			       item->generation, ctl_life_word(item->life),
			       ctl_share_word(item->share), gauges[g].value(item));
		}
	}
}

int ctl_print_metrics(const struct wire_status_reply *status, const struct ctl_models *models,
		      const struct ctl_generations *generations)
{
	ctl_metrics_status(status);
	ctl_metrics_models(models);
	ctl_metrics_generations(generations);
	puts("# EOF");
	return 0;
}
