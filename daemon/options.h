/* SPDX-License-Identifier: MIT */
/* What the daemon is told: the command line over the configuration file over the defaults. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "daemon/limits.h"
#include "daemon/loop.h"
#include "format/status.h"
#include "format/wire.h"

/* Served where nothing else is asked for and it exists. */
#define GD_DEFAULT_STORE "/var/lib/gpt2d"

enum gd_pages { GD_PAGES_AUTO, GD_PAGES_SMALL };

/* The settings, in the order of --check-config; each an option and a key (settings.h). */
enum gd_setting_id {
	GD_SET_SOCKET,
	GD_SET_SOCKET_MODE,
	GD_SET_SOCKET_GROUP,
	GD_SET_STORE,
	GD_SET_MODEL,
	GD_SET_SHARE,
	GD_SET_PAGES,
	GD_SET_EVENT_LOOP,
	GD_SET_ADMIN_GROUP,
	GD_SET_MEMORY_MAX,
	GD_SET_RETIRED_MAX,
	GD_SET_MAX_CONNECTIONS,
	GD_SET_MAX_CONNECTIONS_PER_USER,
	GD_SET_MAX_REQUESTS_PER_USER,
	GD_SET_MAX_UNREAD_REPLIES_PER_USER,
	GD_SET_MAX_UNREAD_FDS_PER_USER,
	GD_N_SETTINGS,
};

/* Where a setting's value is from; above 0 it is a line of the configuration file. */
#define GD_FROM_DEFAULT 0
#define GD_FROM_COMMAND_LINE (-1)

struct gd_options {
	char *socket_path;           /* NULL: the default */
	char *directory;             /* --store, or NULL */
	char *models[GD_MAX_MODELS]; /* NAME=FILE, names valid and distinct */
	size_t n_models;
	enum wire_share share;
	enum gd_backend backend;
	enum gd_pages pages;
	mode_t socket_mode;
	gid_t socket_group;                                 /* GD_KEEP_GROUP: none given */
	gid_t admin_group;                                  /* likewise */
	uint64_t max_connections, max_connections_per_user; /* 0: derived from RLIMIT_NOFILE */
	uint64_t memory_max_bytes;        /* 0: what the control group, or the machine, has */
	uint64_t retired_max_bytes;       /* UINT64_MAX: a fraction of that */
	uint64_t max_requests_per_user, max_unread_replies_per_user; /* 0: from those connections */
	uint64_t max_unread_fds_per_user; /* 0: from RLIMIT_NOFILE */
	int origins[GD_N_SETTINGS];
	char *config_path; /* the configuration file; NULL: none was read */
	bool check_config; /* print and end */
};

/* Nothing given. */
void gd_options_init(struct gd_options *options);
void gd_options_deinit(struct gd_options *options);

/*
 * Reads the command line, and the configuration file that it names, or the default one if there is
 * one. Prints and exits with 2 on misuse, with 0 after --help and --version.
 */
void gd_options_parse(int argc, char **argv, struct gd_options *out);

/*
 * Raises RLIMIT_NOFILE to its hard limit, and fills in what is derived: the limits, and as admin
 * group, if none was given, that of the directory, where it may write: it decides what is served
 * anyhow.
 */
void gd_options_derive(struct gd_options *options);

/* Descriptors that the daemon keeps for itself, of those that RLIMIT_NOFILE allows now. */
uint64_t gd_options_reserved_fds(void);

/*
 * Prints every setting, after gd_options_derive, in the form of the configuration file, and where
 * each is from.
 */
void gd_options_print(const struct gd_options *options, FILE *out);
