/* SPDX-License-Identifier: MIT */
/* gpt2-embed's command line. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/limits.h"

struct embed_options {
	const char *socket_path, *file, *model; /* NULL where not given; borrowed from argv */
	uint64_t past;
	bool has_past;
	uint64_t seq; /* 0: not given */
	bool no_positions, allow_unsealed, force;
	const char *ids_path; /* NULL: arguments; "-": standard input */
	char **arguments; /* n_arguments ids as text, allocated; not used where ids_path is set */
	size_t n_arguments;
	const char *output_path; /* NULL: standard output */
};

/* Ends the process with TOOL_USAGE on a usage error. embed_options_deinit ends *out. */
void embed_options_parse(int argc, char **argv, struct embed_options *out);
void embed_options_deinit(struct embed_options *options);
