/* SPDX-License-Identifier: MIT */
#include "daemon/settings.h"

#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/listen.h"
#include "format/directory.h"

#define FIELD(name) offsetof(struct gd_options, name)
#define MAX_GROUP (GD_KEEP_GROUP - 1u)

static_assert(sizeof(enum wire_share) == sizeof(unsigned) &&
		      sizeof(enum gd_backend) == sizeof(unsigned) &&
		      sizeof(enum gd_pages) == sizeof(unsigned),
	      "words are stored as unsigned");

/* In the order of enum gd_setting_id. */
const struct gd_setting gd_settings[GD_N_SETTINGS] = {
	{ "socket", 's', "PATH", GD_KIND_TEXT, FIELD(socket_path), 0, 0, { 0 },
	  "Listen at PATH (default: $XDG_RUNTIME_DIR/gpt2d.sock; as root /run/gpt2d/gpt2d.sock)" },
	{ "socket-mode", 0, "OCTAL", GD_KIND_OCTAL, FIELD(socket_mode), 0, 0777, { 0 },
	  "Mode of the socket (default: 0660, or that of a socket that is passed)" },
	{ "socket-group", 0, "GROUP", GD_KIND_GROUP, FIELD(socket_group), 0, MAX_GROUP, { 0 },
	  "Group of the socket" },
	{ "store", 'd', "DIR", GD_KIND_TEXT, FIELD(directory), 0, 0, { 0 },
	  "Serve every DIR/NAME.gpt2w as model NAME (default, without --model: " GD_DEFAULT_STORE
	  ")" },
	{ "model", 'm', "NAME=FILE", GD_KIND_MODEL, 0, 0, 0, { 0 },
	  "Serve the pack FILE as model NAME; may be repeated" },
	{ "share", 0, "sealed|file", GD_KIND_WORD, FIELD(share), WIRE_SHARE_SEALED, 0,
	  { "sealed", "file" },
	  "Share sealed memory (default), or the packs' own files, which can be truncated under "
	  "their readers" },
	{ "pages", 0, "auto|small", GD_KIND_WORD, FIELD(pages), GD_PAGES_AUTO, 0,
	  { "auto", "small" },
	  "Put images on 2 MiB pages where the machine can (default), or never" },
	{ "event-loop", 0, "auto|io_uring|epoll", GD_KIND_WORD, FIELD(backend), GD_BACKEND_AUTO, 0,
	  { "auto", "io_uring", "epoll" },
	  "How to wait (default: io_uring, epoll where that is refused)" },
	{ "admin-group", 0, "GROUP", GD_KIND_GROUP, FIELD(admin_group), 0, MAX_GROUP, { 0 },
	  "Group whose members may reload, load and unload, as root and the daemon's user may "
	  "(default: the one that may write to the store)" },
	{ "memory-max", 0, "BYTES", GD_KIND_BYTES, FIELD(memory_max_bytes), 1, 0, { 0 },
	  "Memory for all images, with K, M, G or T (default: the control group's limit, at most 75% "
	  "of the machine's)" },
	{ "retired-max", 0, "BYTES", GD_KIND_BYTES, FIELD(retired_max_bytes), 0, 0, { 0 },
	  "Memory for generations that are served no longer and still held (default: half of that for "
	  "all images)" },
	{ "max-connections", 0, "N", GD_KIND_NUMBER, FIELD(max_connections), 1, GD_MAX_CONNECTIONS,
	  { 0 },
	  "Connections at once (default: what RLIMIT_NOFILE leaves)" },
	{ "max-connections-per-user", 0, "N", GD_KIND_NUMBER, FIELD(max_connections_per_user), 1,
	  GD_MAX_CONNECTIONS, { 0 },
	  "Connections of one user at once (default: a quarter of all)" },
	{ "max-requests-per-user", 0, "N", GD_KIND_NUMBER, FIELD(max_requests_per_user), 1,
	  GD_MAX_CONNECTIONS, { 0 },
	  "Requests of one user that wait for models to be loaded (default: one per connection)" },
	{ "max-unread-replies-per-user", 0, "N", GD_KIND_NUMBER,
	  FIELD(max_unread_replies_per_user), 1, GD_MAX_UNREAD_REPLIES, { 0 },
	  "Answers that one user has not read (default: four per connection)" },
	{ "max-unread-fds-per-user", 0, "N", GD_KIND_NUMBER, FIELD(max_unread_fds_per_user),
	  WIRE_REPLY_FDS, GD_MAX_CONNECTIONS, { 0 },
	  "Descriptors in answers that one user has not read (default: a quarter of what "
	  "RLIMIT_NOFILE leaves)" },
};

const struct gd_setting *gd_setting_find(const char *name)
{
	for (size_t i = 0; i < GD_N_SETTINGS; i++)
		if (strcmp(gd_settings[i].name, name) == 0)
			return gd_settings + i;
	return NULL;
}

/* "NAME is "VALUE", not ..." */
static int refuse(const struct gd_setting *setting, const char *value, const char *not_what,
		  struct gw_error *error)
{
	char quoted[128];

	return gw_fail(error, GW_E_ARGUMENT, GW_NO_OFFSET, "%s is \"%s\", not %s", setting->name,
		       gw_quote(value, strlen(value), quoted, sizeof quoted), not_what);
}

/* strtoull with everything that it lets pass refused. */
static int parse_number(const struct gd_setting *setting, const char *value, int base,
			uint64_t *out, struct gw_error *error)
{
	char what[80], *end;
	unsigned long long number;

	errno = 0;
	number = strtoull(value, &end, base);
	if (value[0] < '0' || value[0] > '9' || *end || errno || number < setting->least ||
	    number > setting->most) {
		snprintf(what, sizeof what,
			 base == 8 ? "a number from %" PRIo64 " to %" PRIo64
				   : "a number from %" PRIu64 " to %" PRIu64,
			 setting->least, setting->most);
		return refuse(setting, value, what, error);
	}
	*out = number;
	return GW_OK;
}

/* A number of bytes: 300000000, 512M, 2G. UINT64_MAX is no such number. */
static int parse_bytes(const struct gd_setting *setting, const char *value, uint64_t *out,
		       struct gw_error *error)
{
	static const char units[] = "KMGT";
	size_t n = strspn(value, "0123456789");
	const char *unit = n && value[n] && !value[n + 1] ? strchr(units, value[n]) : NULL;
	unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
	unsigned long long number;

	errno = 0;
	number = strtoull(value, NULL, 10);
	if (!n || (value[n] && !unit) || errno || number > (UINT64_MAX - 1) >> shift)
		return refuse(setting, value, "a number of bytes such as 4096, 512M or 2G", error);
	if (number < setting->least)
		return refuse(setting, value, "a number from 1", error);
	*out = (uint64_t)number << shift;
	return GW_OK;
}

static int parse_word(const struct gd_setting *setting, const char *value, unsigned *out,
		      struct gw_error *error)
{
	for (unsigned i = 0; setting->words[i]; i++) {
		if (strcmp(value, setting->words[i]) == 0) {
			*out = (unsigned)setting->least + i;
			return GW_OK;
		}
	}
	return refuse(setting, value, setting->argument, error);
}

static int parse_group(const struct gd_setting *setting, const char *value, gid_t *out,
		       struct gw_error *error)
{
	const struct group *group = getgrnam(value);
	uint64_t number;
	int code;

	if (group) {
		*out = group->gr_gid;
		return GW_OK;
	}
	if (value[0] < '0' || value[0] > '9')
		return refuse(setting, value, "the name of a group that there is", error);
	code = parse_number(setting, value, 10, &number, error);
	if (!code)
		*out = (gid_t)number;
	return code;
}

static int set_text(const struct gd_setting *setting, const char *value, char **field,
		    struct gw_error *error)
{
	char *copy;

	if (!value[0])
		return refuse(setting, value, "a path", error);
	copy = strdup(value);
	if (!copy)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "%s: no memory", setting->name);
	free(*field);
	*field = copy;
	return GW_OK;
}

static int add_model(const struct gd_setting *setting, const char *value,
		     struct gd_options *options, struct gw_error *error)
{
	const char *equals = strchr(value, '=');
	char name[WIRE_MODEL_BYTES] = { 0 }, quoted[128];
	size_t n = equals ? (size_t)(equals - value) : 0;

	if (!n || !equals[1])
		return refuse(setting, value, "NAME=FILE", error);
	if (n < sizeof name)
		memcpy(name, value, n);
	if (gw_string_length((const uint8_t *)name, sizeof name) <= 0)
		return refuse(
			setting, value,
			"NAME=FILE with a name of 1 to 255 bytes of UTF-8 without control bytes",
			error);
	for (size_t i = 0; i < options->n_models; i++)
		if (strncmp(options->models[i], value, n + 1) == 0)
			return gw_fail(error, GW_E_ARGUMENT, GW_NO_OFFSET,
				       "%s \"%s\" is given twice", setting->name,
				       gw_quote(value, n, quoted, sizeof quoted));
	if (options->n_models == GD_MAX_MODELS)
		return gw_fail(error, GW_E_ARGUMENT, GW_NO_OFFSET, "%s: at most %d", setting->name,
			       GD_MAX_MODELS);
	options->models[options->n_models] = strdup(value);
	if (!options->models[options->n_models])
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "%s: no memory", setting->name);
	options->n_models++;
	return GW_OK;
}

static int set_value(const struct gd_setting *setting, const char *value,
		     struct gd_options *options, void *field, struct gw_error *error)
{
	uint64_t number;
	int code;

	switch (setting->kind) {
	case GD_KIND_TEXT:
		return set_text(setting, value, field, error);
	case GD_KIND_MODEL:
		return add_model(setting, value, options, error);
	case GD_KIND_WORD:
		return parse_word(setting, value, field, error);
	case GD_KIND_NUMBER:
		return parse_number(setting, value, 10, field, error);
	case GD_KIND_BYTES:
		return parse_bytes(setting, value, field, error);
	case GD_KIND_OCTAL:
		code = parse_number(setting, value, 8, &number, error);
		if (!code)
			*(mode_t *)field = (mode_t)number;
		return code;
	case GD_KIND_GROUP:
		return parse_group(setting, value, field, error);
	}
	return GW_E_ARGUMENT;
}

int gd_setting_set(const struct gd_setting *setting, const char *value, int origin,
		   struct gd_options *options, struct gw_error *error)
{
	int code = set_value(setting, value, options, (char *)options + setting->field, error);

	if (!code)
		options->origins[setting - gd_settings] = origin;
	return code;
}

void gd_setting_clear(const struct gd_setting *setting, struct gd_options *options)
{
	options->origins[setting - gd_settings] = GD_FROM_DEFAULT;
	if (setting->kind == GD_KIND_MODEL) {
		while (options->n_models)
			free(options->models[--options->n_models]);
	} else if (setting->kind == GD_KIND_TEXT) {
		char **text = (void *)((char *)options + setting->field);

		free(*text);
		*text = NULL;
	}
}

static void show_group(gid_t gid, char *out, size_t out_bytes)
{
	const struct group *group = gid == GD_KEEP_GROUP ? NULL : getgrgid(gid);

	if (group)
		snprintf(out, out_bytes, "%s", group->gr_name);
	else if (gid != GD_KEEP_GROUP)
		snprintf(out, out_bytes, "%u", (unsigned)gid);
}

void gd_setting_show(const struct gd_setting *setting, const struct gd_options *options, char *out,
		     size_t out_bytes)
{
	const void *field = (const char *)options + setting->field;
	const char *text;

	out[0] = '\0';
	switch (setting->kind) {
	case GD_KIND_TEXT:
		text = *(char *const *)field;
		if (text)
			gw_quote(text, strlen(text), out, out_bytes);
		break;
	case GD_KIND_MODEL:
		break;
	case GD_KIND_WORD:
		snprintf(out, out_bytes, "%s",
			 setting->words[*(const unsigned *)field - setting->least]);
		break;
	case GD_KIND_NUMBER:
	case GD_KIND_BYTES:
		snprintf(out, out_bytes, "%" PRIu64, *(const uint64_t *)field);
		break;
	case GD_KIND_OCTAL:
		snprintf(out, out_bytes, "%04o", (unsigned)*(const mode_t *)field);
		break;
	case GD_KIND_GROUP:
		show_group(*(const gid_t *)field, out, out_bytes);
		break;
	}
}
