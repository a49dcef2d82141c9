/* SPDX-License-Identifier: MIT */
/* The checkpoint in a directory as it was downloaded. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/pack/config.h"
#include "tools/pack/formats.h"
#include "tools/pack/source_tf.h"

/* Found by their names alone: of Hugging Face, nanoGPT, our own advice; the last ones only by name. */
static const struct {
	const char *name;
	bool is_read;
} pack_folder_names[] = {
	{ "model.safetensors", true },
	{ "model.safetensors.index.json", true },
	{ "pytorch_model.bin", true },
	{ "pytorch_model.bin.index.json", true },
	{ "ckpt.pt", true },
	{ "model.npz", true },
	{ "tf_model.h5", false },
	{ "flax_model.msgpack", false },
	{ "model.onnx", false },
};

#define PACK_FOLDER_NAMES (sizeof pack_folder_names / sizeof pack_folder_names[0])

/* Found by their endings, where there is only one such file. */
static const char *const pack_folder_endings[] = { ".npz", ".gguf", PACK_INDEX_ENDING };

enum { PACK_FOLDER_INDEX = 2, PACK_FOLDER_ENDINGS };

/* What a directory holds. */
struct pack_folder {
	bool named[PACK_FOLDER_NAMES];
	struct {
		char first[NAME_MAX + 1]; /* by name */
		size_t n;
	} endings[PACK_FOLDER_ENDINGS];
};

static void pack_folder_see(struct pack_folder *folder, const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < PACK_FOLDER_NAMES; i++) {
		if (strcmp(name, pack_folder_names[i].name) == 0) {
			folder->named[i] = true;
			return;
		}
	}
	for (size_t i = 0; i < PACK_FOLDER_ENDINGS; i++) {
		size_t ending = strlen(pack_folder_endings[i]);
		char *first = folder->endings[i].first;

		/* hidden ones are a file manager's, such as macOS's ._gpt2.npz */
		if (name[0] == '.' || n <= ending || n > NAME_MAX ||
		    strcmp(name + n - ending, pack_folder_endings[i]) != 0)
			continue;
		if (folder->endings[i].n++ == 0 || strcmp(name, first) < 0)
			strcpy(first, name);
	}
}

static int pack_folder_list(int folder_fd, struct pack_folder *folder, struct gw_error *error)
{
	int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	if (!entries) {
		int code = gw_fail_errno(error, errno, "cannot list the directory");

		if (fd >= 0)
			close(fd);
		return code;
	}
	while ((entry = readdir(entries)) != NULL)
		pack_folder_see(folder, entry->d_name);
	closedir(entries);
	return GW_OK;
}

/* The file to take; NULL: none but perhaps TensorFlow's. */
static const char *pack_folder_choose(const struct pack_folder *folder)
{
	for (size_t i = 0; i < PACK_FOLDER_NAMES; i++) {
		if (folder->named[i] && pack_folder_names[i].is_read)
			return pack_folder_names[i].name;
	}
	for (size_t i = 0; i < PACK_FOLDER_INDEX; i++) {
		if (folder->endings[i].n == 1)
			return folder->endings[i].first;
	}
	return NULL;
}

static void pack_note_add(char *note, size_t size, size_t *at, const char *name, size_t n)
{
	char quoted[64], more[64] = "";

	if (n > 1)
		snprintf(more, sizeof more, " and %zu more of its kind", n - 1);
	if (*at < size)
		*at += (size_t)snprintf(note + *at, size - *at, ", %s%s",
					gw_quote(name, strlen(name), quoted, sizeof quoted), more);
}

/* Which of several was taken, and what was passed over; "" if there was no choice. */
static void pack_folder_note(const struct pack_folder *folder, const char *taken, char *note,
			     size_t size)
{
	char others[512] = "", quoted[64];
	size_t at = 0;

	for (size_t i = 0; i < PACK_FOLDER_NAMES; i++) {
		if (folder->named[i] && strcmp(pack_folder_names[i].name, taken) != 0)
			pack_note_add(others, sizeof others, &at, pack_folder_names[i].name, 1);
	}
	for (size_t i = 0; i < PACK_FOLDER_ENDINGS; i++) {
		const char *first = folder->endings[i].first;

		if (folder->endings[i].n && strcmp(first, taken) != 0)
			pack_note_add(others, sizeof others, &at, first, folder->endings[i].n);
	}
	if (at)
		snprintf(note, size, "the directory holds several checkpoints: %s is taken, not %s",
			 gw_quote(taken, strlen(taken), quoted, sizeof quoted), others + 2);
}

static int pack_folder_nothing(const struct pack_folder *folder, struct gw_error *error)
{
	char quoted[128];

	for (size_t i = 0; i < PACK_FOLDER_INDEX; i++) {
		const char *first = folder->endings[i].first;

		if (folder->endings[i].n)
			return gw_fail(error, GW_E_SOURCE_KIND, GW_NO_OFFSET,
				       "the directory holds %zu files *%s (%s, ...); give the one "
				       "that you mean",
				       folder->endings[i].n, pack_folder_endings[i],
				       gw_quote(first, strlen(first), quoted, sizeof quoted));
	}
	for (size_t i = 0; i < PACK_FOLDER_NAMES; i++) {
		if (folder->named[i])
			return gw_fail(error, GW_E_SOURCE_KIND, GW_NO_OFFSET,
				       "the directory holds %s, which is not read, and no other "
				       "checkpoint (info %s says how to make an npz of it)",
				       pack_folder_names[i].name, pack_folder_names[i].name);
	}
	return gw_fail(error, GW_E_SOURCE_KIND, GW_NO_OFFSET,
		       "the directory holds no checkpoint: neither model.safetensors nor "
		       "pytorch_model.bin, nor an index of either, nor ckpt.pt, *.npz, *.gguf or "
		       "TensorFlow's *" PACK_INDEX_ENDING);
}

static bool pack_config_is_empty(const struct pack_config *config)
{
	return !config->n_layer && !config->n_head && !config->n_vocab && !config->n_positions &&
	       !config->n_embd;
}

int pack_folder_open(int folder_fd, struct pack_source *source, struct gw_error *error)
{
	struct pack_folder folder = { 0 };
	struct pack_file file = PACK_FILE_INIT;
	const char *taken = NULL;
	int code = pack_folder_list(folder_fd, &folder, error);

	if (code != GW_OK)
		return code;
	taken = pack_folder_choose(&folder);
	if (taken)
		code = pack_file_open(folder_fd, taken, &file, error);
	else
		code = pack_tf_open_folder(folder_fd, &file, error);
	if (code == 1)
		return pack_folder_nothing(&folder, error);
	if (code != GW_OK)
		return code;
	pack_folder_note(&folder, file.name, source->note, sizeof source->note);
	code = pack_source_open_kind(folder_fd, &file, source, error);
	/* what a checkpoint says itself counts for more; TensorFlow's has a file of its own for it */
	if (code == GW_OK && taken && pack_config_is_empty(&source->config))
		code = pack_config_read(folder_fd, &source->config, error);
	return code;
}
