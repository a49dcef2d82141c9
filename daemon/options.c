/* SPDX-License-Identifier: MIT */
#include "daemon/options.h"

#include <argp.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "daemon/config.h"
#include "daemon/listen.h"
#include "daemon/log.h"
#include "daemon/memory.h"
#include "daemon/settings.h"
#include "format/endpoint.h"

/* argp's keys: a setting's letter, or this and its place. */
#define FIRST_KEY 256
enum { OPTION_CONFIG = FIRST_KEY + GD_N_SETTINGS, OPTION_CHECK_CONFIG };

/* The command line as it is read; applied at its end, over the file that it names. */
struct command_line {
	struct gd_options *options;
	const char *config;
	struct {
		const struct gd_setting *setting;
		const char *value;
	} * given;
	size_t n_given;
};

void gd_options_init(struct gd_options *options)
{
	*options = (struct gd_options) { .share = WIRE_SHARE_SEALED,
					 .socket_mode = 0660,
					 .socket_group = GD_KEEP_GROUP,
					 .admin_group = GD_KEEP_GROUP,
					 .retired_max_bytes = UINT64_MAX };
}

void gd_options_deinit(struct gd_options *options)
{
	for (size_t i = 0; i < GD_N_SETTINGS; i++)
		gd_setting_clear(gd_settings + i, options);
	free(options->config_path);
	options->config_path = NULL;
}

/* What is served is said by one of both: who serves one pack does not mean the machine's too. */
static void forget_file_packs(const struct command_line *line)
{
	for (size_t i = 0; i < line->n_given; i++) {
		const struct gd_setting *setting = line->given[i].setting;

		if (setting == &gd_settings[GD_SET_STORE] ||
		    setting == &gd_settings[GD_SET_MODEL]) {
			gd_setting_clear(&gd_settings[GD_SET_STORE], line->options);
			gd_setting_clear(&gd_settings[GD_SET_MODEL], line->options);
			return;
		}
	}
}

static void check_together(struct argp_state *state, struct gd_options *options)
{
	struct stat status;

	if (options->directory || options->n_models)
		return;
	if (stat(GD_DEFAULT_STORE, &status) < 0 || !S_ISDIR(status.st_mode))
		argp_error(state,
			   "nothing to serve: give --store DIR, or --model NAME=FILE (there is no %s)",
			   GD_DEFAULT_STORE);
	options->directory = strdup(GD_DEFAULT_STORE);
	if (!options->directory)
		argp_failure(state, 1, 0, "no memory");
}

/* What the caller has written is wrong usage; what the machine lacks is not. */
static int failure_exit(const struct gw_error *error)
{
	return error->code == GW_E_MEMORY ? 1 : argp_err_exit_status;
}

static void apply(struct argp_state *state, const struct command_line *line)
{
	struct gw_error error = GW_ERROR_INIT;

	if (gd_config_read(line->config ? line->config : GD_CONFIG_FILE, !line->config,
			   line->options, &error))
		argp_failure(state, failure_exit(&error), 0, "%s", error.message);
	forget_file_packs(line);
	for (size_t i = 0; i < line->n_given; i++)
		if (gd_setting_set(line->given[i].setting, line->given[i].value,
				   GD_FROM_COMMAND_LINE, line->options, &error)) {
			if (error.code == GW_E_MEMORY)
				argp_failure(state, failure_exit(&error), 0, "%s", error.message);
			argp_error(state, "--%s", error.message);
		}
	check_together(state, line->options);
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct command_line *line = state->input;

	for (size_t i = 0; i < GD_N_SETTINGS; i++) {
		const struct gd_setting *setting = gd_settings + i;

		if (key == (setting->letter ? setting->letter : FIRST_KEY + (int)i)) {
			line->given[line->n_given].setting = setting;
			line->given[line->n_given++].value = text;
			return 0;
		}
	}
	switch (key) {
	case OPTION_CONFIG:
		line->config = text;
		return 0;
	case OPTION_CHECK_CONFIG:
		line->options->check_config = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument: %s", text);
		return 0;
	case ARGP_KEY_END:
		apply(state, line);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

void gd_options_parse(int argc, char **argv, struct gd_options *out)
{
	struct argp_option options[GD_N_SETTINGS + 3] = {
		[GD_N_SETTINGS] = { "config", OPTION_CONFIG, "FILE", 0,
				    "Read FILE, which must exist (default: " GD_CONFIG_FILE
				    ", if it does); what the command line says comes before it",
				    0 },
		[GD_N_SETTINGS +
			1] = { "check-config", OPTION_CHECK_CONFIG, NULL, 0,
			       "Check the file and the options, print what would hold and where "
			       "it is from, and end",
			       0 },
	};
	const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.doc = "Shares the token and position tables of GPT-2 models, verified once, with all "
		       "programs of this machine.\vSIGHUP looks at the packs again and loads what has "
		       "changed; SIGTERM ends the daemon, and programs that have a model keep it.\n",
	};
	/* no more than one for each word */
	struct command_line line = { .options = out,
				     .given = calloc((size_t)argc + 1, sizeof *line.given) };

	gd_options_init(out);
	for (size_t i = 0; i < GD_N_SETTINGS; i++)
		options[i] = (struct argp_option) {
			.name = gd_settings[i].name,
			.key = gd_settings[i].letter ? gd_settings[i].letter : FIRST_KEY + (int)i,
			.arg = gd_settings[i].argument,
			.doc = gd_settings[i].text,
		};
	argp_program_version = "gpt2d " GW_RELEASE;
	argp_err_exit_status = 2;
	if (!line.given) {
		gd_log("no memory for the command line");
		exit(1);
	}
	argp_parse(&argp, argc, argv, 0, NULL, &line);
	free(line.given);
}

uint64_t gd_options_reserved_fds(void)
{
	struct rlimit limit = { 0 };

	getrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur / 4 < GD_RESERVED_FDS ? limit.rlim_cur / 4 : GD_RESERVED_FDS;
}

/* All the descriptors that we may have, and limits that they can bear. */
static void derive_connections(struct gd_options *options)
{
	struct rlimit limit = { 0 };
	uint64_t most;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	getrlimit(RLIMIT_NOFILE, &limit);
	most = limit.rlim_cur - gd_options_reserved_fds();
	if (most > GD_MAX_CONNECTIONS)
		most = GD_MAX_CONNECTIONS;
	if (!options->max_unread_fds_per_user)
		options->max_unread_fds_per_user = most / GD_USER_SHARE + WIRE_REPLY_FDS;
	else if (options->max_unread_fds_per_user > most)
		options->max_unread_fds_per_user = most;
	if (!options->max_connections || options->max_connections > most)
		options->max_connections = most;
	most = options->max_connections;
	if (!options->max_connections_per_user)
		options->max_connections_per_user =
			most > 2 * GD_USER_SHARE ? most / GD_USER_SHARE : most;
	if (!options->max_requests_per_user)
		options->max_requests_per_user = options->max_connections_per_user;
	if (!options->max_unread_replies_per_user)
		options->max_unread_replies_per_user =
			GD_UNREAD_REPLIES * options->max_connections_per_user;
}

void gd_options_derive(struct gd_options *options)
{
	struct stat status;

	derive_connections(options);
	if (!options->memory_max_bytes)
		options->memory_max_bytes = gd_memory_limit("");
	if (options->retired_max_bytes == UINT64_MAX)
		options->retired_max_bytes = options->memory_max_bytes / GD_RETIRED_SHARE;
	if (options->admin_group == GD_KEEP_GROUP && options->directory &&
	    stat(options->directory, &status) == 0 && S_ISDIR(status.st_mode) &&
	    status.st_mode & S_IWGRP)
		options->admin_group = status.st_gid;
}

static void print_origin(const struct gd_options *options, int origin, FILE *out)
{
	if (origin == GD_FROM_DEFAULT)
		fprintf(out, " ; default\n");
	else if (origin == GD_FROM_COMMAND_LINE)
		fprintf(out, " ; command line\n");
	else
		fprintf(out, " ; %s:%d\n", options->config_path, origin);
}

static void print_models(const struct gd_options *options, FILE *out)
{
	const int origin = options->origins[GD_SET_MODEL];

	char model[PATH_MAX];

	for (size_t i = 0; i < options->n_models; i++)
		fprintf(out, "model = %s ; %s\n",
			gw_quote(options->models[i], strlen(options->models[i]), model,
				 sizeof model),
			origin == GD_FROM_COMMAND_LINE ? "command line" : options->config_path);
}

void gd_options_print(const struct gd_options *options, FILE *out)
{
	char value[PATH_MAX];

	fprintf(out, "# configuration file: %s\n[gpt2d]\n",
		options->config_path ? options->config_path
				     : "none (there is no " GD_CONFIG_FILE ")");
	for (size_t i = 0; i < GD_N_SETTINGS; i++) {
		if (i == GD_SET_MODEL) {
			print_models(options, out);
			continue;
		}
		gd_setting_show(gd_settings + i, options, value, sizeof value);
		if (i == GD_SET_SOCKET && !options->socket_path &&
		    wire_daemon_socket_path(value, NULL))
			value[0] = '\0';
		fprintf(out, value[0] ? "%s = %s" : "#%s =%s", gd_settings[i].name, value);
		print_origin(options, options->origins[i], out);
	}
}
