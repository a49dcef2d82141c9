/* SPDX-License-Identifier: MIT */
#include "tools/pack/archive.h"

#include <string.h>

#include "tools/pack/torch.h"

/*
 * Each kind of archive: whether this is one, and who opens it. open gets an archive of
 * source->files[0], which is consumed in any case; it fills format, tensors, reader and state.
 */
static const struct {
	bool (*takes)(const struct pack_zip *zip);
	int (*open)(struct pack_zip *zip, struct pack_source *source, struct gw_error *error);
} pack_archives[] = {
	{ pack_torch_zip_takes, pack_torch_zip_open },
	{ pack_npz_takes, pack_npz_open },
};

int pack_archive_open(int folder_fd, struct pack_file *file, struct pack_source *source,
		      struct gw_error *error)
{
	struct pack_zip *zip = NULL;
	const char *name;
	char quoted[128];
	int code = pack_source_take_file(source, file, error);

	(void)folder_fd;
	if (code == GW_OK)
		code = pack_zip_open(&source->files[0], &zip, error);
	if (code != GW_OK)
		return code;
	for (size_t i = 0; i < sizeof pack_archives / sizeof pack_archives[0]; i++)
		if (pack_archives[i].takes(zip))
			return pack_archives[i].open(zip, source, error);
	pack_zip_free(zip);
	name = source->files[0].name;
	return gw_fail(error, GW_E_SOURCE_KIND, 0,
		       "%s is a zip archive, but neither one of PyTorch (with a data.pkl) nor one "
		       "of NumPy (of .npy files)",
		       gw_quote(name, strlen(name), quoted, sizeof quoted));
}
