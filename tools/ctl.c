/* SPDX-License-Identifier: MIT */
/* gpt2ctl: asks a daemon what it serves and how it is. */
#include <argp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tools/common/report.h"
#include "tools/ctl/print.h"
#include "tools/ctl/query.h"

const char *argp_program_version = "gpt2ctl " GW_RELEASE;

enum ctl_key { CTL_KEY_SOCKET = 256, CTL_KEY_JSON };

struct ctl_options {
	const char *socket_path;
	const char *command;
	bool json;
};

static const struct argp_option ctl_argp_options[] = {
	{ "socket", CTL_KEY_SOCKET, "PATH", 0, "The daemon's socket", 0 },
	{ "json", CTL_KEY_JSON, NULL, 0, "JSON instead of a table", 0 },
	{ NULL, 0, NULL, 0, NULL, 0 },
};

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
	case ARGP_KEY_ARG:
		if (options->command)
			argp_error(state, "one command at a time");
		options->command = arg;
		return 0;
	case ARGP_KEY_END:
		if (!options->command)
			argp_error(state, "no command: list or status");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
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
	struct wire_status_reply status;
	int ret = ctl_query_status(options->socket_path, &status, &error);

	if (ret)
		return ctl_fail(&error);
	ret = options->json ? ctl_print_status_json(&status) : ctl_print_status(&status);
	return ret ? TOOL_FAILED : TOOL_DONE;
}

static enum tool_exit ctl_run(const struct ctl_options *options)
{
	char quoted[64];

	if (strcmp(options->command, "list") == 0)
		return ctl_list(options);
	if (strcmp(options->command, "status") == 0)
		return ctl_status(options);
	if (strcmp(options->command, "reload") == 0)
		tool_say("this release has no reload command; send the daemon SIGHUP instead: "
			 "kill -HUP PID, with the pid that \"gpt2ctl status\" shows");
	else if (strcmp(options->command, "metrics") == 0)
		tool_say("this release has no metrics; \"gpt2ctl status --json\" and "
			 "\"gpt2ctl list --json\" have the daemon's counters");
	else
		tool_say("there is no command \"%s\"; list and status are known",
			 gw_quote(options->command, strlen(options->command), quoted,
				  sizeof quoted));
	return TOOL_USAGE;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		.options = ctl_argp_options,
		.parser = ctl_parse_key,
		.args_doc = "list|status",
		.doc = "Asks a gpt2d daemon which models it serves (list) and how it is (status).\v"
		       "Exit status: 0 done, 1 failed (no daemon ...), 2 usage, 4 I/O. "
		       "See gpt2ctl(1).",
	};
	struct ctl_options options = { 0 };

	tool_start("gpt2ctl");
	argp_parse(&argp, argc, argv, 0, NULL, &options);
	return (int)tool_finish(ctl_run(&options));
}
