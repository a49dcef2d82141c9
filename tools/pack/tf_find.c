/* SPDX-License-Identifier: MIT */
/* Where the index of a TensorFlow checkpoint is, given its prefix or its directory. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/pack/source_tf.h"

/* The file in which tf.train.Saver notes the newest checkpoint, a CheckpointState in text form. */
#define PACK_STATE_FILE "checkpoint"
#define PACK_STATE_FIELD "model_checkpoint_path:"
/* Its first line holds the path. */
#define PACK_STATE_BYTES 4096

int pack_tf_open_prefix(const char *path, struct pack_file *out, struct gw_error *error)
{
	struct gw_error inner = GW_ERROR_INIT, other = GW_ERROR_INIT;
	int code = pack_file_open(AT_FDCWD, path, out, &inner);
	char *name;

	if (code == GW_E_IO && inner.sys_errno == ENOENT) {
		if (asprintf(&name, "%s" PACK_INDEX_ENDING, path) < 0)
			return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
		code = pack_file_open(AT_FDCWD, name, out, &other);
		free(name);
		/* where there is neither, the name that was given is missing */
		if (code != GW_E_IO || other.sys_errno != ENOENT)
			inner = other;
	}
	if (code != GW_OK && error)
		*error = inner;
	return code;
}

/* The prefix that the state file's text, which ends in a NUL, names; it ends there too. */
static int pack_tf_parse_state(char *text, char **out_prefix, struct gw_error *error)
{
	size_t field = sizeof PACK_STATE_FIELD - 1;
	char quoted[128];
	char *prefix, *end;

	if (strncmp(text, PACK_STATE_FIELD, field) != 0)
		return gw_fail(error, GW_E_SOURCE, 0,
			       "the directory's file " PACK_STATE_FILE
			       " does not begin with " PACK_STATE_FIELD);
	prefix = text + field + strspn(text + field, " ");
	end = *prefix == '"' ? strpbrk(prefix + 1, "\"\\\n") : NULL;
	if (!end || *end != '"' || end == prefix + 1)
		return gw_fail(error, GW_E_SOURCE, 0,
			       "the directory's file " PACK_STATE_FILE
			       " does not name the checkpoint between quotation marks");
	prefix++;
	*end = 0;
	if (strchr(prefix, '/'))
		return gw_fail(
			error, GW_E_SOURCE, 0,
			"the directory's file " PACK_STATE_FILE
			" names a checkpoint elsewhere (\"%s\"); give the one that you mean, "
			"without its ending .index",
			gw_quote(prefix, strlen(prefix), quoted, sizeof quoted));
	*out_prefix = prefix;
	return GW_OK;
}

/* Opens the index that the state file names. */
static int pack_tf_open_state(int folder_fd, const struct pack_file *state, struct pack_file *out,
			      struct gw_error *error)
{
	struct gw_error inner = GW_ERROR_INIT;
	char text[PACK_STATE_BYTES + 1] = { 0 }, name[PACK_STATE_BYTES + sizeof PACK_INDEX_ENDING];
	uint64_t n = state->size_bytes < PACK_STATE_BYTES ? state->size_bytes : PACK_STATE_BYTES;
	char *prefix = NULL;
	int code = pack_file_read(state, text, n, 0, error);

	if (code == GW_OK)
		code = pack_tf_parse_state(text, &prefix, error);
	if (code != GW_OK)
		return code;
	snprintf(name, sizeof name, "%s" PACK_INDEX_ENDING, prefix);
	code = pack_file_open(folder_fd, name, out, &inner);
	if (code == GW_OK)
		return code;
	return gw_fail(error, code == GW_E_MEMORY ? code : GW_E_SOURCE, GW_NO_OFFSET,
		       "the checkpoint that the directory's file " PACK_STATE_FILE
		       " names is missing: %s",
		       inner.message);
}

/* The first two, by name, of the directory's *.index; "" where there is none. */
static int pack_tf_list(int folder_fd, char out_names[2][NAME_MAX + 1], struct gw_error *error)
{
	const size_t ending = sizeof PACK_INDEX_ENDING - 1;
	int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	if (!folder) {
		int code = gw_fail_errno(error, errno, "cannot list the directory");

		if (fd >= 0)
			close(fd);
		return code;
	}
	while ((entry = readdir(folder)) != NULL) {
		const char *name = entry->d_name;
		size_t n = strlen(name);

		if (n <= ending || n > NAME_MAX || name[0] == '.' ||
		    strcmp(name + n - ending, PACK_INDEX_ENDING) != 0)
			continue;
		if (!out_names[0][0] || strcmp(name, out_names[0]) < 0) {
			strcpy(out_names[1], out_names[0]);
			strcpy(out_names[0], name);
		} else if (!out_names[1][0] || strcmp(name, out_names[1]) < 0) {
			strcpy(out_names[1], name);
		}
	}
	closedir(folder);
	return GW_OK;
}

int pack_tf_open_folder(int folder_fd, struct pack_file *out, struct gw_error *error)
{
	struct pack_file state = PACK_FILE_INIT;
	char names[2][NAME_MAX + 1] = { "", "" };
	char quoted[128], quoted_other[128];
	int code = pack_file_open(folder_fd, PACK_STATE_FILE, &state, NULL);

	if (code == GW_OK) {
		code = pack_tf_open_state(folder_fd, &state, out, error);
		pack_file_close(&state);
		return code;
	}
	code = pack_tf_list(folder_fd, names, error);
	if (code == GW_OK && !names[0][0])
		code = 1;
	else if (code == GW_OK && names[1][0])
		code = gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET,
			       "the directory holds several checkpoints (%s, %s, ...) and no file "
			       "%s that says which; give one of them",
			       gw_quote(names[0], strlen(names[0]), quoted, sizeof quoted),
			       gw_quote(names[1], strlen(names[1]), quoted_other,
					sizeof quoted_other),
			       PACK_STATE_FILE);
	else if (code == GW_OK)
		code = pack_file_open(folder_fd, names[0], out, error);
	return code;
}
