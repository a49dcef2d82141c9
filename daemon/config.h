/* SPDX-License-Identifier: MIT */
/* The configuration file: gpt2d.conf(5). */
#pragma once

#include "daemon/options.h"

/* Bytes of a line, the newline not counted: inih's line buffer has 200. */
#define GD_CONFIG_LINE_BYTES 197

/*
 * Sets what the file at path says. optional: an absent file is one that says nothing. The first
 * fault ends it. Errors, with a message that begins with FILE:LINE: GW_E_ARGUMENT (a section, key or
 * value that is none; a key given twice; a line that is too long, or no clean UTF-8), GW_E_MEMORY;
 * GW_E_IO (it cannot be read), with a message that names the file. options is then to be thrown away.
 */
int gd_config_read(const char *path, bool optional, struct gd_options *options,
		   struct gw_error *error);
