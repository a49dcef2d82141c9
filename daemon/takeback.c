/* SPDX-License-Identifier: MIT */
#include "daemon/takeback.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/log.h"
#include "format/status.h"

struct gd_takeback_entry {
	struct gd_fdname name;
	bool ours; /* it has such a name */
	bool taken, refused;
};

void gd_takeback_init(struct gd_takeback *takeback, struct gd_activation *activation,
		      struct gd_fdstore *fdstore)
{
	struct gw_error error = GW_ERROR_INIT;

	*takeback = (struct gd_takeback){ .activation = activation, .fdstore = fdstore };
	if (activation->n)
		takeback->entries = calloc(activation->n, sizeof *takeback->entries);
	for (size_t i = 0; takeback->entries && i < activation->n; i++) {
		struct gd_takeback_entry *entry = takeback->entries + i;

		if (!gd_fdname_is_ours(activation->passed[i].name))
			continue;
		if (gd_fdname_parse(activation->passed[i].name, &entry->name, &error))
			gd_takeback_refuse(takeback, i, error.message);
		else
			entry->ours = true;
	}
}

const struct gd_fdname *gd_takeback_next(const struct gd_takeback *takeback,
					 enum gd_fdname_kind kind, const char *model, size_t *at)
{
	for (size_t i = *at; takeback && takeback->entries && i < takeback->activation->n; i++) {
		const struct gd_takeback_entry *entry = takeback->entries + i;

		if (!entry->ours || entry->taken || entry->refused || entry->name.kind != kind ||
		    (model && strcmp(entry->name.model, model) != 0))
			continue;
		*at = i;
		return &entry->name;
	}
	return NULL;
}

int gd_takeback_fd(const struct gd_takeback *takeback, size_t at)
{
	return takeback->activation->passed[at].fd;
}

void gd_takeback_take(struct gd_takeback *takeback, size_t at)
{
	struct gd_takeback_entry *entries = takeback->entries;

	takeback->activation->passed[at].fd = -1;
	if (!entries)
		return;
	entries[at].taken = true;
	/* a second owner of the same memory, or name, would in the end take it from the first */
	for (size_t i = 0; entries[at].ours && i < takeback->activation->n; i++)
		if (entries[i].ours && !entries[i].taken && !entries[i].refused &&
		    entries[i].name.kind == entries[at].name.kind &&
		    entries[i].name.inode == entries[at].name.inode)
			gd_takeback_refuse(takeback, i, "it is there twice");
}

void gd_takeback_refuse(struct gd_takeback *takeback, size_t at, const char *why)
{
	const struct gd_passed *passed = takeback->activation->passed + at;
	char name[2 * GD_FDNAME_BYTES];

	gw_quote(passed->name, strlen(passed->name), name, sizeof name);
	gd_log("descriptor %d (\"%s\") is not used: %s", passed->fd, name, why);
	if (takeback->entries)
		takeback->entries[at].refused = true;
}

/* Whether another descriptor of that name has been taken. */
static bool is_name_taken(const struct gd_takeback *takeback, const char *name)
{
	for (size_t i = 0; takeback->entries && i < takeback->activation->n; i++)
		if (takeback->entries[i].taken &&
		    strcmp(takeback->activation->passed[i].name, name) == 0)
			return true;
	return false;
}

static const char *why_left(const struct gd_takeback_entry *entry)
{
	if (!entry || !entry->ours)
		return "it is neither a socket nor stored by gpt2d";
	if (entry->name.kind == GD_FDNAME_SOCKET)
		return "another socket is served";
	return "no model of that name is served";
}

void gd_takeback_deinit(struct gd_takeback *takeback)
{
	struct gd_activation *activation = takeback->activation;

	for (size_t i = 0; activation && i < activation->n; i++) {
		const struct gd_takeback_entry *entry =
			takeback->entries ? takeback->entries + i : NULL;
		const char *name = activation->passed[i].name;
		bool name_taken;

		if (activation->passed[i].fd < 0)
			continue;
		name_taken = is_name_taken(takeback, name);
		if (!entry || !entry->refused)
			gd_takeback_refuse(takeback, i, why_left(entry));
		if (!name_taken)
			gd_fdstore_discard(takeback->fdstore, name);
	}
	if (activation)
		gd_activation_deinit(activation);
	free(takeback->entries);
	*takeback = (struct gd_takeback){ 0 };
}
