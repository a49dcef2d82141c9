/* SPDX-License-Identifier: MIT */
#include "daemon/options.h"

#include <argp.h>
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/listen.h"

enum {
	OPTION_SHARE = 256,
	OPTION_EVENT_LOOP,
	OPTION_PAGES,
	OPTION_SOCKET_MODE,
	OPTION_SOCKET_GROUP,
	OPTION_ADMIN_GROUP,
	OPTION_MAX_CONNECTIONS,
	OPTION_MAX_PER_USER,
	OPTION_MEMORY_MAX,
	OPTION_RETIRED_MAX,
	OPTION_CHECK_CONFIG,
};

static const struct argp_option options[] = {
	{ "socket", 's', "PATH", 0,
	  "Listen at PATH (default: $XDG_RUNTIME_DIR/gpt2d.sock; as root /run/gpt2d/gpt2d.sock)", 0 },
	{ "store", 'd', "DIR", 0, "Serve every DIR/NAME.gpt2w as model NAME", 0 },
	{ "model", 'm', "NAME=FILE", 0, "Serve the pack FILE as model NAME; may be repeated", 0 },
	{ "share", OPTION_SHARE, "sealed|file", 0,
	  "Share sealed memory (default), or the packs' own files, which can be truncated under "
	  "their readers",
	  0 },
	{ "pages", OPTION_PAGES, "auto|small", 0,
	  "Put images on 2 MiB pages where the machine can (default), or never", 0 },
	{ "event-loop", OPTION_EVENT_LOOP, "auto|io_uring|epoll", 0,
	  "How to wait (default: io_uring, epoll where that is refused)", 0 },
	{ "socket-mode", OPTION_SOCKET_MODE, "OCTAL", 0, "Mode of the socket (default: 0660)", 0 },
	{ "socket-group", OPTION_SOCKET_GROUP, "GROUP", 0, "Group of the socket", 0 },
	{ "admin-group", OPTION_ADMIN_GROUP, "GROUP", 0,
	  "Group whose members may reload, load and unload, as root and the daemon's user may", 0 },
	{ "max-connections", OPTION_MAX_CONNECTIONS, "N", 0,
	  "Connections at once (default: what RLIMIT_NOFILE leaves)", 0 },
	{ "max-connections-per-user", OPTION_MAX_PER_USER, "N", 0,
	  "Connections of one user at once (default: a quarter of all)", 0 },
	{ "memory-max", OPTION_MEMORY_MAX, "BYTES", 0,
	  "Memory for all images, with K, M, G or T (default: the control group's limit, at most 75% "
	  "of the machine's)",
	  0 },
	{ "retired-max", OPTION_RETIRED_MAX, "BYTES", 0,
	  "Of it, for generations that are served no longer and still held (default: half)", 0 },
	{ "check-config", OPTION_CHECK_CONFIG, NULL, OPTION_HIDDEN, NULL, 0 },
	{ 0 },
};

/* strtoull with everything that it lets pass refused. */
static uint64_t parse_number(struct argp_state *state, const char *what, const char *text, int base,
			     uint64_t least, uint64_t most)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, base);
	if (text[0] < '0' || text[0] > '9' || *end || errno || value < least || value > most)
		argp_error(state, "--%s is %s, not a number from %llu to %llu", what, text,
			   (unsigned long long)least, (unsigned long long)most);
	return value;
}

/* A number of bytes, at least 1 unless zero is allowed: 300000000, 512M, 2G. */
static uint64_t parse_bytes(struct argp_state *state, const char *what, const char *text,
			    uint64_t least)
{
	static const char units[] = "KMGT";
	char digits[32];
	size_t n = strspn(text, "0123456789");
	const char *unit = n && text[n] && !text[n + 1] ? strchr(units, text[n]) : NULL;
	unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;

	if (!n || n >= sizeof digits || (text[n] && !unit))
		argp_error(state, "--%s is %s, not a number of bytes such as 4096, 512M or 2G", what,
			   text);
	snprintf(digits, sizeof digits, "%.*s", (int)n, text);
	return parse_number(state, what, digits, 10, least, (UINT64_MAX - 1) >> shift) << shift;
}

/* Which of two or three words it is, from 1. */
static int parse_word(struct argp_state *state, const char *what, const char *text,
		      const char *const words[], int n)
{
	for (int i = 0; i < n; i++)
		if (strcmp(text, words[i]) == 0)
			return i + 1;
	argp_error(state, "--%s is %s; see --help", what, text);
	return 1;
}

static gid_t parse_group(struct argp_state *state, const char *what, const char *text)
{
	const struct group *group = getgrnam(text);

	if (group)
		return group->gr_gid;
	if (text[0] < '0' || text[0] > '9')
		argp_error(state, "--%s: there is no group %s", what, text);
	return (gid_t)parse_number(state, what, text, 10, 0, GD_KEEP_GROUP - 1u);
}

static void add_model(struct argp_state *state, struct gd_options *out, const char *text)
{
	const char *equals = strchr(text, '=');

	if (!equals || equals == text || equals[1] == '\0')
		argp_error(state, "--model is %s, not NAME=FILE", text);
	if (out->n_models == GD_MAX_MODELS)
		argp_error(state, "at most %d models", GD_MAX_MODELS);
	out->models[out->n_models++] = text;
}

static void check_together(struct argp_state *state, const struct gd_options *out)
{
	if (!out->directory && out->n_models == 0)
		argp_error(state, "nothing to serve: give --store DIR, or --model NAME=FILE");
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	static const char *const shares[] = { "sealed", "file" };
	static const char *const pages[] = { "auto", "small" };
	static const char *const loops[] = { "auto", "io_uring", "epoll" };
	struct gd_options *out = state->input;

	switch (key) {
	case 's':
		out->socket_path = text;
		break;
	case 'd':
		out->directory = text;
		break;
	case 'm':
		add_model(state, out, text);
		break;
	case OPTION_SHARE:
		out->share = parse_word(state, "share", text, shares, 2) == 1 ? WIRE_SHARE_SEALED :
										WIRE_SHARE_FILE;
		break;
	case OPTION_PAGES:
		out->small_pages = parse_word(state, "pages", text, pages, 2) == 2;
		break;
	case OPTION_EVENT_LOOP:
		out->backend = (enum gd_backend)(parse_word(state, "event-loop", text, loops, 3) - 1);
		break;
	case OPTION_SOCKET_MODE:
		out->socket_mode = (mode_t)parse_number(state, "socket-mode", text, 8, 0, 0777);
		break;
	case OPTION_SOCKET_GROUP:
		out->socket_group = parse_group(state, "socket-group", text);
		break;
	case OPTION_ADMIN_GROUP:
		out->admin_group = parse_group(state, "admin-group", text);
		break;
	case OPTION_MAX_CONNECTIONS:
		out->max_connections =
			parse_number(state, "max-connections", text, 10, 1, GD_MAX_CONNECTIONS);
		break;
	case OPTION_MAX_PER_USER:
		out->max_connections_per_user = parse_number(state, "max-connections-per-user", text,
							     10, 1, GD_MAX_CONNECTIONS);
		break;
	case OPTION_MEMORY_MAX:
		out->memory_max_bytes = parse_bytes(state, "memory-max", text, 1);
		break;
	case OPTION_RETIRED_MAX:
		out->retired_max_bytes = parse_bytes(state, "retired-max", text, 0);
		break;
	case OPTION_CHECK_CONFIG:
		argp_error(state, "--check-config: this release has no configuration file");
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument: %s", text);
		break;
	case ARGP_KEY_END:
		check_together(state, out);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

void gd_options_parse(int argc, char **argv, struct gd_options *out)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.doc = "Shares the token and position tables of GPT-2 models, verified once, with all "
		       "programs of this machine.\vSIGHUP looks at the packs again and loads what has "
		       "changed; SIGTERM ends the daemon, and programs that have a model keep it.",
	};

	*out = (struct gd_options){ .share = WIRE_SHARE_SEALED,
				    .socket_mode = 0660,
				    .socket_group = GD_KEEP_GROUP,
				    .admin_group = GD_KEEP_GROUP,
				    .retired_max_bytes = UINT64_MAX };
	argp_program_version = "gpt2d " GW_RELEASE;
	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, out);
}
