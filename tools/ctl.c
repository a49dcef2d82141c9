/* SPDX-License-Identifier: MIT */
/* gpt2ctl: asks a daemon what it serves and how it is, and steers it. */
#include <argp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "format/endpoint.h"
#include "tools/common/number.h"
#include "tools/common/report.h"
#include "tools/ctl/print.h"
#include "tools/ctl/query.h"
#include "tools/ctl/wait.h"

const char *argp_program_version = "gpt2ctl " GW_RELEASE;

/* As long as a client of the library waits for a load. */
#define CTL_WAIT_S 60
/* A day and a year: more is a mistake. */
#define CTL_WAIT_MOST_S 31622400

enum ctl_key {
	CTL_KEY_SOCKET = 256,
	CTL_KEY_JSON,
	CTL_KEY_GENERATION,
	CTL_KEY_DRAINED,
	CTL_KEY_TIMEOUT,
};

struct ctl_options {
	const char *socket_path;
	const char *command;
	const char *model; /* "": none named */
	bool json, has_generation, has_drained, has_timeout;
	uint64_t generation, drained, timeout_s;
};

static const struct argp_option ctl_argp_options[] = {
	{ "socket", CTL_KEY_SOCKET, "PATH", 0, "The daemon's socket", 0 },
	{ "json", CTL_KEY_JSON, NULL, 0, "JSON instead of a table", 0 },
	{ "generation", CTL_KEY_GENERATION, "N", 0,
	  "wait: until generation N, or a later one, is served", 0 },
	{ "drained", CTL_KEY_DRAINED, "N", 0,
	  "wait: until generation N is neither served nor held by anybody", 0 },
	{ "timeout", CTL_KEY_TIMEOUT, "SECONDS", 0,
	  "Of wait, reload and load (default: 60)", 0 },
	{ NULL, 0, NULL, 0, NULL, 0 },
};

static uint64_t ctl_number(struct argp_state *state, const char *option, const char *text,
			   uint64_t most)
{
	struct gw_error error = GW_ERROR_INIT;
	uint64_t value = 0;

	if (tool_parse_u64(text, option, 0, most, &value, &error))
		argp_error(state, "%s", error.message);
	return value;
}

static error_t ctl_parse_key(int key, char *arg, struct argp_state *state)
{
	struct ctl_options *options = state->input;

	switch (key) {
	case CTL_KEY_SOCKET:
		options->socket_path = arg;
		return 0;
	case CTL_KEY_JSON:
		options->json = true;
		return 0;
	case CTL_KEY_GENERATION:
		options->has_generation = true;
		options->generation = ctl_number(state, "--generation", arg, UINT64_MAX);
		return 0;
	case CTL_KEY_DRAINED:
		options->has_drained = true;
		options->drained = ctl_number(state, "--drained", arg, UINT64_MAX);
		return 0;
	case CTL_KEY_TIMEOUT:
		options->has_timeout = true;
		options->timeout_s = ctl_number(state, "--timeout", arg, CTL_WAIT_MOST_S);
		return 0;
	case ARGP_KEY_ARG:
		if (options->command && options->model[0])
			argp_error(state, "one command, and one model, at a time");
		if (options->command)
			options->model = arg;
		else
			options->command = arg;
		return 0;
	case ARGP_KEY_END:
		if (!options->command)
			argp_error(state, "no command: list, status, ...; see --help");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static uint64_t ctl_deadline_ms(const struct ctl_options *options)
{
	return wire_now_ms() + options->timeout_s * 1000;
}

static enum tool_exit ctl_list(const struct ctl_options *options)
{
	struct gw_error error = GW_ERROR_INIT;
	struct ctl_models models = { 0 };
	int ret = ctl_query_list(options->socket_path, &models, &error);

	if (ret)
		return ctl_fail(&error);
	ret = options->json ? ctl_print_list_json(&models) : ctl_print_list(&models);
	ctl_models_deinit(&models);
	return ret ? TOOL_FAILED : TOOL_DONE;
}

static enum tool_exit ctl_status(const struct ctl_options *options)
{
	struct gw_error error = GW_ERROR_INIT;
	struct ctl_generations generations = { 0 };
	struct wire_status_reply status;
	int ret = ctl_query_status(options->socket_path, &status, &error);

	if (!ret)
		ret = ctl_query_generations(options->socket_path, &generations, &error);
	if (ret)
		return ctl_fail(&error);
	ret = options->json ? ctl_print_status_json(&status, &generations)
			    : ctl_print_status(&status, &generations);
	free(generations.items);
	return ret ? TOOL_FAILED : TOOL_DONE;
}

static enum tool_exit ctl_clients(const struct ctl_options *options)
{
	struct gw_error error = GW_ERROR_INIT;
	struct ctl_clients clients = { 0 };
	int ret = ctl_query_clients(options->socket_path, &clients, &error);

	if (ret)
		return ctl_fail(&error);
	ret = options->json ? ctl_print_clients_json(&clients) : ctl_print_clients(&clients);
	free(clients.items);
	return ret ? TOOL_FAILED : TOOL_DONE;
}

static enum tool_exit ctl_metrics(const struct ctl_options *options)
{
	struct gw_error error = GW_ERROR_INIT;
	struct ctl_generations generations = { 0 };
	struct ctl_models models = { 0 };
	struct wire_status_reply status;
	int ret = ctl_query_status(options->socket_path, &status, &error);

	if (!ret)
		ret = ctl_query_list(options->socket_path, &models, &error);
	if (!ret)
		ret = ctl_query_generations(options->socket_path, &generations, &error);
	if (ret) {
		ctl_models_deinit(&models);
		return ctl_fail(&error);
	}
	ret = options->json ? ctl_print_metrics_json(&status, &models, &generations)
			    : ctl_print_metrics(&status, &models, &generations);
	free(generations.items);
	ctl_models_deinit(&models);
	return ret ? TOOL_FAILED : TOOL_DONE;
}

/* Says which models failed; how many. */
static unsigned ctl_say_failed(const struct ctl_models *models)
{
	char name[2 * WIRE_MODEL_BYTES], message[2 * WIRE_MESSAGE_TEXT_BYTES];
	unsigned failed = 0;

	for (size_t i = 0; i < models->count; i++) {
		const struct wire_listed *model = &models->items[i];

		if (!model->message[0] || model->state == WIRE_STATE_UNLOADED)
			continue;
		failed++;
		tool_say("%s: %s%s", gw_quote(model->model, strlen(model->model), name, sizeof name),
			 gw_quote(model->message, strlen(model->message), message, sizeof message),
			 model->generation ? "; the generation before stays in service" : "");
	}
	return failed;
}

/* Has the daemon begin it, waits for the end, and tells what came of it. */
static enum tool_exit ctl_steer(const struct ctl_options *options, enum wire_action action)
{
	struct gw_error error = GW_ERROR_INIT;
	struct ctl_models models = { 0 };
	uint64_t deadline_ms = ctl_deadline_ms(options);
	unsigned failed;
	int ret = ctl_query_steer(options->socket_path, action, options->model, &error);

	if (!ret)
		ret = ctl_wait_idle(options->socket_path, options->model, deadline_ms, &models,
				    &error);
	if (ret)
		return ctl_fail(&error);
	failed = ctl_say_failed(&models);
	ret = options->json ? ctl_print_list_json(&models) : 0;
	ctl_models_deinit(&models);
	return ret || failed ? TOOL_FAILED : TOOL_DONE;
}

static enum tool_exit ctl_reload(const struct ctl_options *options)
{
	return ctl_steer(options, WIRE_ACTION_RELOAD);
}

static enum tool_exit ctl_load(const struct ctl_options *options)
{
	return ctl_steer(options, WIRE_ACTION_LOAD);
}

static enum tool_exit ctl_unload(const struct ctl_options *options)
{
	return ctl_steer(options, WIRE_ACTION_UNLOAD);
}

static enum tool_exit ctl_wait(const struct ctl_options *options)
{
	struct gw_error error = GW_ERROR_INIT;
	uint64_t deadline_ms = ctl_deadline_ms(options);
	int ret = 0;

	if (!options->has_drained || options->has_generation)
		ret = ctl_wait_generation(options->socket_path, options->model,
					  options->generation, deadline_ms, &error);
	if (!ret && options->has_drained)
		ret = ctl_wait_drained(options->socket_path, options->model, options->drained,
				       deadline_ms, &error);
	if (ret)
		return ctl_fail(&error);
	return options->json ? ctl_list(options) : TOOL_DONE;
}

static const struct ctl_command {
	const char *name;
	enum tool_exit (*run)(const struct ctl_options *options);
	enum { CTL_MODEL_NONE, CTL_MODEL_MAYBE, CTL_MODEL_NEEDED } model;
	bool waits;
} ctl_commands[] = {
	{ "list", ctl_list, CTL_MODEL_NONE, false },
	{ "status", ctl_status, CTL_MODEL_NONE, false },
	{ "clients", ctl_clients, CTL_MODEL_NONE, false },
	{ "metrics", ctl_metrics, CTL_MODEL_NONE, false },
	{ "reload", ctl_reload, CTL_MODEL_MAYBE, true },
	{ "load", ctl_load, CTL_MODEL_NEEDED, true },
	{ "unload", ctl_unload, CTL_MODEL_NEEDED, true },
	{ "wait", ctl_wait, CTL_MODEL_NEEDED, true },
};

/* Whether the command's arguments fit it; says so if not. */
static bool ctl_fits(const struct ctl_command *command, const struct ctl_options *options)
{
	if (options->model[0] && command->model == CTL_MODEL_NONE)
		tool_say("%s takes no model", command->name);
	else if (!options->model[0] && command->model == CTL_MODEL_NEEDED)
		tool_say("%s needs the name of a model", command->name);
	else if (strlen(options->model) >= WIRE_MODEL_BYTES)
		tool_say("a model's name has at most %d bytes", WIRE_MODEL_BYTES - 1);
	else if ((options->has_generation || options->has_drained) && command->run != ctl_wait)
		tool_say("--generation and --drained belong to wait");
	else if (options->has_timeout && !command->waits)
		tool_say("%s waits for nothing: no --timeout", command->name);
	else
		return true;
	return false;
}

static enum tool_exit ctl_run(const struct ctl_options *options)
{
	char quoted[64];

	for (size_t i = 0; i < sizeof ctl_commands / sizeof ctl_commands[0]; i++)
		if (strcmp(options->command, ctl_commands[i].name) == 0)
			return ctl_fits(&ctl_commands[i], options) ? ctl_commands[i].run(options)
								   : TOOL_USAGE;
	tool_say("there is no command \"%s\"; see --help",
		 gw_quote(options->command, strlen(options->command), quoted, sizeof quoted));
	return TOOL_USAGE;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		.options = ctl_argp_options,
		.parser = ctl_parse_key,
		.args_doc = "list\nstatus\nclients\nmetrics\nreload [MODEL]\nload MODEL\n"
			    "unload MODEL\nwait MODEL",
		.doc = "Asks a gpt2d daemon which models it serves (list), how it is (status), who is "
		       "connected (clients), all of that for a monitoring system (metrics); has it "
		       "look at its packs again (reload), stop and start to serve a model (unload, "
		       "load); waits for a rollout (wait).\v"
		       "Exit status: 0 done, 1 failed (no daemon, a pack that cannot be loaded, time "
		       "up ...), 2 usage, 4 I/O. See gpt2ctl(1).",
	};
	struct ctl_options options = { .model = "", .timeout_s = CTL_WAIT_S };

	tool_start("gpt2ctl");
	argp_parse(&argp, argc, argv, 0, NULL, &options);
	return (int)tool_finish(ctl_run(&options));
}
