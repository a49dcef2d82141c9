/* SPDX-License-Identifier: MIT */
/* The command line. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/limits.h"
#include "daemon/loop.h"
#include "format/status.h"
#include "format/wire.h"

struct gd_options {
	const char *socket_path; /* NULL: the default */
	const char *directory;   /* --store, or NULL */
	const char *models[GD_MAX_MODELS]; /* NAME=FILE */
	size_t n_models;
	enum wire_share share;
	enum gd_backend backend;
	bool small_pages;
	mode_t socket_mode;
	gid_t socket_group; /* GD_KEEP_GROUP: none given */
	gid_t admin_group;  /* likewise */
	uint64_t max_connections, max_connections_per_user; /* 0: derived from RLIMIT_NOFILE */
	uint64_t memory_max_bytes;  /* 0: what the control group, or the machine, has */
	uint64_t retired_max_bytes; /* UINT64_MAX: a fraction of that */
};

/* Parses; prints and exits with 2 on misuse, with 0 after --help and --version. Strings are argv's. */
void gd_options_parse(int argc, char **argv, struct gd_options *out);
