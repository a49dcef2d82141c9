/* SPDX-License-Identifier: MIT */
/* The directory: which packs there are. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/store_parts.h"

#define PACK_SUFFIX ".gpt2w"

bool gd_store_is_pack(const char *file)
{
	size_t n = strlen(file), suffix = strlen(PACK_SUFFIX);

	return file[0] != '.' && n > suffix && strcmp(file + n - suffix, PACK_SUFFIX) == 0;
}

/* One file of the directory. */
static void scan_entry(struct gd_store *store, const char *file)
{
	size_t n = strlen(file), suffix = strlen(PACK_SUFFIX);
	struct gw_error error = GW_ERROR_INIT;
	struct gd_model *model;
	char name[WIRE_MODEL_BYTES], quoted[WIRE_MODEL_BYTES];
	char *path;

	if (!gd_store_is_pack(file))
		return;
	snprintf(name, sizeof name, "%.*s", (int)(n - suffix), file);
	model = gd_store_find(store, name);
	if (model && model->pinned)
		return; /* --model decides */
	if (!model) {
		if (asprintf(&path, "%s/%s", store->options.directory, file) < 0) {
			gd_log("no memory for a path");
			return;
		}
		if (gd_store_add(store, name, path, false, &model, &error))
			gd_log_model(GD_EVENT_LOAD_FAILED, NULL, path, 0, "%s is not served: %s",
				     gw_quote(file, n, quoted, sizeof quoted),
			       error.message);
		free(path);
	}
	if (model)
		model->found = true;
}

int gd_store_scan(struct gd_store *store, bool thorough, struct gw_error *error)
{
	DIR *directory = NULL;
	struct dirent *entry;

	for (size_t i = 0; i < store->n; i++)
		store->models[i]->found = store->models[i]->pinned;
	if (store->options.directory) {
		directory = opendir(store->options.directory);
		if (!directory)
			return gw_fail_errno(error, errno, "cannot read the directory %s",
					     store->options.directory);
		while ((errno = 0, entry = readdir(directory)))
			scan_entry(store, entry->d_name);
		if (errno) {
			gw_fail_errno(error, errno, "cannot read the directory %s",
				      store->options.directory);
			closedir(directory);
			/* what is new was added above, and would else wait for a load that never comes */
			for (size_t i = 0; i < store->n; i++)
				if (store->models[i]->found && !store->models[i]->image)
					gd_store_refresh(store, store->models[i], thorough);
			return GW_E_IO;
		}
		closedir(directory);
	}
	for (size_t i = store->n; i-- > 0;) {
		if (store->models[i]->found)
			gd_store_refresh(store, store->models[i], thorough);
		else if (thorough)
			gd_store_withdraw(store, i);
	}
	return GW_OK;
}
