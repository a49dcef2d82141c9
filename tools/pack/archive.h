/* SPDX-License-Identifier: MIT */
/* Checkpoints that are zip archives: which reader takes which. */
#pragma once

#include "tools/pack/source.h"
#include "tools/pack/zip.h"

/* The opener for PACK_KIND_ZIP (see source.c); its errors are those of pack_source_open. */
int pack_archive_open(int folder_fd, struct pack_file *file, struct pack_source *source,
		      struct gw_error *error);

/* NumPy's: all members are .npy files. */
bool pack_npz_takes(const struct pack_zip *zip);
int pack_npz_open(struct pack_zip *zip, struct pack_source *source, struct gw_error *error);
