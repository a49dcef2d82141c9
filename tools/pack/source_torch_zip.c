/* SPDX-License-Identifier: MIT */
/* PyTorch since 1.6: ROOT/data.pkl, ROOT/data/KEY for each storage, ROOT/version and more. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/pack/limits.h"
#include "tools/pack/torch.h"

/* A member's name: the root, /data/, a key. */
#define PACK_MEMBER_NAME_BYTES (PACK_MAX_ZIP_NAME_BYTES + 128)

/* ROOT/name; the root is what the first member's name has before its first slash, as in PyTorch. */
static struct pack_zip_member *pack_torch_part(const struct pack_zip *zip, const char *name)
{
	const char *first = zip->n ? zip->members[0].name : "";
	const char *slash = strchr(first, '/');
	char path[PACK_MEMBER_NAME_BYTES];

	if (!slash)
		return NULL;
	snprintf(path, sizeof path, "%.*s/%s", (int)(slash - first), first, name);
	return pack_zip_find(zip, path);
}

bool pack_torch_zip_takes(const struct pack_zip *zip)
{
	return pack_torch_part(zip, "data.pkl") != NULL;
}

static int pack_torch_zip_fail(const struct pack_torch *torch, uint64_t offset,
			       struct gw_error *error, const char *what)
{
	const char *name = torch->zip->file->name;
	char quoted[96];

	return gw_fail(error, GW_E_SOURCE, offset, "%s: %s",
		       gw_quote(name, strlen(name), quoted, sizeof quoted), what);
}

/* Reads a whole member of at most most bytes; *out is the caller's. */
static int pack_torch_load(const struct pack_torch *torch, struct pack_zip_member *member,
			   uint64_t most, uint8_t **out, struct gw_error *error)
{
	const char *file = torch->zip->file->name;
	struct pack_zip_stream *stream = NULL;
	char quoted[96];
	uint8_t *bytes;
	int code;

	if (member->size_bytes > most)
		return gw_fail(error, GW_E_SOURCE, member->offset_bytes,
			       "%s: a pickle (or a text) of %" PRIu64
			       " bytes, over this program's limit of %" PRIu64,
			       gw_quote(file, strlen(file), quoted, sizeof quoted),
			       member->size_bytes, most);
	bytes = malloc(member->size_bytes + 1);
	if (!bytes)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	code = pack_zip_stream_new(torch->zip, member, &stream, error);
	if (code == GW_OK)
		code = pack_zip_stream_read(stream, bytes, member->size_bytes, error);
	pack_zip_stream_free(stream);
	if (code != GW_OK) {
		free(bytes);
		return code;
	}
	*out = bytes;
	return GW_OK;
}

/* A big-endian machine says so in this member, which there is since PyTorch 2.0. */
static int pack_torch_byteorder(const struct pack_torch *torch, struct gw_error *error)
{
	struct pack_zip_member *member = pack_torch_part(torch->zip, "byteorder");
	uint8_t *text = NULL;
	int code;

	if (!member)
		return GW_OK;
	code = pack_torch_load(torch, member, 16, &text, error);
	if (code == GW_OK && (member->size_bytes != 6 || memcmp(text, "little", 6) != 0))
		code = pack_torch_zip_fail(
			torch, member->offset_bytes, error,
			"its byteorder is not \"little\": it was saved on a "
			"big-endian machine; save it again on a little-endian one");
	free(text);
	return code;
}

static int pack_torch_zip_find(const struct pack_torch_finder *finder,
			       const struct pack_pickle_storage *storage,
			       struct pack_torch_view *view, struct gw_error *error)
{
	const struct pack_torch *torch = finder->torch;
	const char *file = torch->zip->file->name;
	struct pack_zip_member *member;
	char name[80], quoted[96];

	gw_quote(file, strlen(file), quoted, sizeof quoted);
	/* a key has at most 64 bytes, all of them letters and digits */
	snprintf(name, sizeof name, "data/%.*s", (int)storage->key_bytes, storage->key);
	member = pack_torch_part(torch->zip, name);
	if (!member)
		return gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET,
			       "%s: the storage %s, which the pickle names, is missing", quoted,
			       name);
	if (member->size_bytes != storage->size_bytes)
		return gw_fail(error, GW_E_SOURCE, member->offset_bytes,
			       "%s: the storage %s has %" PRIu64
			       " bytes, but the pickle says %" PRIu64,
			       quoted, name, member->size_bytes, storage->size_bytes);
	view->member = member;
	view->storage_offset = member->offset_bytes;
	view->storage_bytes = member->size_bytes;
	return GW_OK;
}

static int pack_torch_zip_list(struct pack_torch *torch, struct pack_source *source,
			       struct gw_error *error)
{
	struct pack_zip_member *member = pack_torch_part(torch->zip, "data.pkl");
	const struct pack_torch_finder finder = { .find = pack_torch_zip_find, .torch = torch };
	const char *file = source->files[0].name;
	struct pack_pickle *pickle = NULL;
	uint8_t *bytes = NULL;
	char quoted[96], label[128];
	int code = pack_torch_load(torch, member, PACK_MAX_PICKLE_BYTES, &bytes, error);

	if (code != GW_OK)
		return code;
	/* in deflated data there are no offsets of the file, only those of the pickle */
	snprintf(label, sizeof label, "%s: data.pkl%s",
		 gw_quote(file, strlen(file), quoted, sizeof quoted),
		 member->deflated ? " (inflated)" : "");
	code = pack_pickle_load(&(struct pack_pickle_input) { .bytes = bytes,
							      .n = member->size_bytes,
							      .at = member->deflated
									    ? 0
									    : member->offset_bytes,
							      .label = label },
				&pickle, error);
	if (code == GW_OK && pickle->used_bytes != member->size_bytes)
		code = gw_fail(error, GW_E_SOURCE, pickle->in.at + pickle->used_bytes,
			       "%s: %" PRIu64 " bytes after the pickle, at offset %" PRIu64, label,
			       member->size_bytes - pickle->used_bytes,
			       pickle->in.at + pickle->used_bytes);
	if (code == GW_OK)
		code = pack_torch_list(pickle, &finder, source, torch, error);
	pack_pickle_free(pickle);
	free(bytes);
	return code;
}

int pack_torch_zip_open(struct pack_zip *zip, struct pack_source *source, struct gw_error *error)
{
	struct pack_torch *torch = NULL;
	int code = pack_torch_begin(source, zip, &torch, error);

	source->format = "pytorch";
	if (code == GW_OK && pack_torch_part(zip, "constants.pkl"))
		return gw_fail(
			error, GW_E_SOURCE_KIND, 0,
			"a TorchScript archive, which holds a program: save the model's "
			"state_dict() with torch.save instead");
	if (code == GW_OK)
		code = pack_torch_byteorder(torch, error);
	return code == GW_OK ? pack_torch_zip_list(torch, source, error) : code;
}
