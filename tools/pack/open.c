/* SPDX-License-Identifier: MIT */
#include "tools/pack/open.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "tools/pack/formats.h"
#include "tools/pack/kind.h"

/* The first bytes must be the magic as far as they go: a short text is no truncated pack. */
static int pack_check_magic(const struct pack_file *file, struct gw_error *error)
{
	static const uint8_t magic[8] = "\x89GPT2W\r\n";
	uint8_t head[PACK_KIND_BYTES];
	uint64_t n = file->size_bytes < sizeof head ? file->size_bytes : sizeof head;
	int code = pack_file_read(file, head, n, 0, error);

	if (code != GW_OK || memcmp(head, magic, n < sizeof magic ? n : sizeof magic) == 0)
		return code;
	if (pack_kind_detect(head, n) == PACK_KIND_GPT2W)
		return gw_fail(error, GW_E_MAGIC, 0,
			       "not a pack any more: its line ends were changed, as a transfer in "
			       "text mode does");
	return gw_fail(error, GW_E_MAGIC, 0, "not a pack but %s",
		       pack_kind_phrase(pack_kind_detect(head, n)));
}

int pack_open_pack(const char *path, struct pack_file *out_file, struct gw_pack **out_pack,
		   struct gw_error *error)
{
	struct pack_file file = PACK_FILE_INIT;
	int code = pack_file_open(AT_FDCWD, path, &file, error);

	if (code == GW_OK)
		code = pack_check_magic(&file, error);
	if (code == GW_OK)
		code = gw_pack_open_fd(file.fd, out_pack, error);
	if (code != GW_OK) {
		pack_file_close(&file);
		return code;
	}
	*out_file = file;
	return GW_OK;
}

int pack_open_repack(const char *path, struct pack_source **out_source, struct gw_error *error)
{
	struct pack_source *source = calloc(1, sizeof *source);
	struct pack_file file = PACK_FILE_INIT;
	int code = source ? pack_file_open(AT_FDCWD, path, &file, error)
			  : gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");

	if (code == GW_OK)
		code = pack_check_magic(&file, error);
	if (code == GW_OK)
		code = pack_repack_open(-1, &file, source, error);
	pack_file_close(&file); /* the source's by now, unless something failed */
	if (code != GW_OK) {
		pack_source_free(source);
		return code;
	}
	*out_source = source;
	return GW_OK;
}
