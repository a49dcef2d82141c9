/* SPDX-License-Identifier: MIT */
/* The settings: each is the option --NAME of the command line and the key NAME of the file. */
#pragma once

#include "daemon/options.h"

enum gd_setting_kind {
	GD_KIND_TEXT,   /* char * */
	GD_KIND_MODEL,  /* NAME=FILE, many */
	GD_KIND_WORD,   /* an enum */
	GD_KIND_NUMBER, /* uint64_t */
	GD_KIND_BYTES,  /* uint64_t */
	GD_KIND_OCTAL,  /* mode_t */
	GD_KIND_GROUP,  /* gid_t */
};

struct gd_setting {
	const char *name;
	char letter;                 /* of the command line; 0: none */
	const char *argument;
	enum gd_setting_kind kind;
	size_t field;         /* offset in struct gd_options */
	uint64_t least, most; /* of numbers; least of words: the first one's value */
	const char *words[4];
	const char *text; /* for --help */
};

extern const struct gd_setting gd_settings[GD_N_SETTINGS];

/* NULL: there is none of that name. */
const struct gd_setting *gd_setting_find(const char *name);

/*
 * Sets one setting, and its origin; a model is added. Errors: GW_E_ARGUMENT, with a message that
 * begins with the setting's name and quotes value; GW_E_MEMORY.
 */
int gd_setting_set(const struct gd_setting *setting, const char *value, int origin,
		   struct gd_options *options, struct gw_error *error);

/* Forgets the value of a text, or all models. */
void gd_setting_clear(const struct gd_setting *setting, struct gd_options *options);

/* The value as it would be written, cut to out_bytes; empty: none. Not for models. */
void gd_setting_show(const struct gd_setting *setting, const struct gd_options *options, char *out,
		     size_t out_bytes);
