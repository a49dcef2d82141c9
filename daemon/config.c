/* SPDX-License-Identifier: MIT */
#include "daemon/config.h"

#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/settings.h"
#include "format/directory.h"

#define SECTION "gpt2d"

/* What inih reads from. It neither says which line a key is in, nor refuses one that it cuts. */
struct source {
	FILE *file;
	const char *path;
	int line;
	struct gd_options *options;
	struct gw_error *error;
	int code;
};

/* The first failure stays. */
__attribute__((format(printf, 4, 5))) static void fail(struct source *source, int code, int line,
						       const char *format, ...)
{
	char path[256], text[400];
	va_list arguments;

	if (source->code)
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	gw_quote(source->path, strlen(source->path), path, sizeof path);
	source->code = gw_fail(source->error, code, GW_NO_OFFSET, "%s:%d: %s", path, line, text);
}

/* One line without its newline; its length, -1: the file has ended, or *source has failed. */
static int read_bytes(struct source *source, char *out, int most)
{
	int n = 0, c;

	while ((c = getc(source->file)) != EOF && c != '\n') {
		if (n == 0)
			source->line++;
		if (n == most)
			fail(source, GW_E_ARGUMENT, source->line,
			     "the line is longer than %d bytes", most);
		else if (c == '\0')
			fail(source, GW_E_ARGUMENT, source->line, "the line holds a NUL byte");
		else if ((c < ' ' && c != '\t') || c == 0x7f)
			fail(source, GW_E_ARGUMENT, source->line,
			     "the line holds the control byte \\x%02x", (unsigned)c);
		if (source->code)
			return -1;
		out[n++] = (char)c;
	}
	if (ferror(source->file)) {
		source->code = gw_fail_errno(source->error, errno, "cannot read %s", source->path);
		return -1;
	}
	if (c == EOF && n == 0)
		return -1;
	if (n == 0)
		source->line++;
	return n;
}

static bool is_utf8(const char *line, int n)
{
	char field[GD_CONFIG_LINE_BYTES + 1] = "";

	for (int i = 0; i < n; i++)
		field[i] = line[i] == '\t' ? ' ' : line[i]; /* else a control byte */
	return gw_string_length((const uint8_t *)field, sizeof field) == n;
}

/* What inih would take for something else: it joins an indented line to the one before, and leaves
 * out what stands behind a section's name, and sections without keys. */
static void check_form(struct source *source, const char *line)
{
	static const char heading[] = "[" SECTION "]";
	const char *text = line + strspn(line, " \t"), *rest;
	char quoted[128];
	bool comment = !*text || *text == '#' || *text == ';';

	if (comment)
		return;
	if (text != line) {
		fail(source, GW_E_ARGUMENT, source->line, "the line begins with white space");
	} else if (*line == '[') {
		rest = line + strlen(heading);
		if (strncmp(line, heading, strlen(heading)) != 0)
			fail(source, GW_E_ARGUMENT, source->line, "%s is no section; there is %s",
			     gw_quote(line, strlen(line), quoted, sizeof quoted), heading);
		else if (rest[strspn(rest, " \t")] && rest[strspn(rest, " \t")] != ';')
			fail(source, GW_E_ARGUMENT, source->line, "%s is followed by something",
			     heading);
	}
}

/* inih's reader, as fgets. */
static char *read_line(char *out, int room, void *context)
{
	struct source *source = context;
	int most = room - 2 < GD_CONFIG_LINE_BYTES ? room - 2 : GD_CONFIG_LINE_BYTES;
	int n = source->code ? -1 : read_bytes(source, out, most);

	if (n < 0)
		return NULL;
	out[n] = '\0';
	if (!is_utf8(out, n))
		fail(source, GW_E_ARGUMENT, source->line, "the line is not UTF-8");
	else
		check_form(source, out);
	if (source->code)
		return NULL;
	out[n] = '\n';
	out[n + 1] = '\0';
	return out;
}

/* inih's handler; 0: failed. */
static int take_key(void *context, const char *section, const char *name, const char *value)
{
	struct source *source = context;
	const struct gd_setting *setting = gd_setting_find(name);
	struct gw_error error = GW_ERROR_INIT;
	char quoted[128];
	const int *origin;
	int code;

	if (source->code)
		return 0;
	gw_quote(name, strlen(name), quoted, sizeof quoted);
	if (strcmp(section, SECTION) != 0) {
		fail(source, GW_E_ARGUMENT, source->line, "%s stands before [" SECTION "]", quoted);
		return 0;
	}
	if (!setting) {
		fail(source, GW_E_ARGUMENT, source->line, "there is no key %s; see gpt2d.conf(5)",
		     quoted);
		return 0;
	}
	origin = source->options->origins + (setting - gd_settings);
	if (*origin && setting->kind != GD_KIND_MODEL) {
		fail(source, GW_E_ARGUMENT, source->line, "%s is given twice, first in line %d",
		     name, *origin);
		return 0;
	}
	code = gd_setting_set(setting, value, source->line, source->options, &error);
	if (code)
		fail(source, code, source->line, "%s", error.message);
	return code == GW_OK;
}

int gd_config_read(const char *path, bool optional, struct gd_options *options,
		   struct gw_error *error)
{
	struct source source = { .path = path, .options = options, .error = error };
	int line;

	source.file = fopen(path, "re");
	if (!source.file && errno == ENOENT && optional)
		return GW_OK;
	if (!source.file)
		return gw_fail_errno(error, errno, "cannot open %s", path);
	free(options->config_path);
	options->config_path = strdup(path);
	line = ini_parse_stream(read_line, &source, take_key, &source);
	fclose(source.file);
	/* its own complaint; it goes on to later lines, which may have failed too */
	if (line > 0 && (!source.code || line < source.line)) {
		source.code = GW_OK;
		fail(&source, GW_E_ARGUMENT, line, "the line is no KEY = VALUE");
	} else if (line < 0 || !options->config_path) {
		fail(&source, GW_E_MEMORY, source.line, "no memory");
	}
	return source.code;
}
