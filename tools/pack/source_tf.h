/* SPDX-License-Identifier: MIT */
/*
 * TensorFlow's checkpoint (tensor bundle, "V2"): NAME.index, a table of the tensors, and data files
 * NAME.data-00000-of-00001 … beside it. NAME itself does not exist.
 */
#pragma once

#include "tools/pack/source.h"

#define PACK_INDEX_ENDING ".index"

/*
 * The checkpoint of an index, which lies in the directory folder_fd; opener of its kind. Its data
 * files and hparams.json, if that is there, are looked for in that directory only. Every tensor is
 * encoded: its checksum is compared before its first value is given. Errors: GW_E_SOURCE,
 * GW_E_SOURCE_KIND (big-endian, or an older or newer format), GW_E_IO, GW_E_NOT_FILE,
 * GW_E_CHANGED, GW_E_MEMORY.
 */
int pack_tf_open(int folder_fd, struct pack_file *index, struct pack_source *source,
		 struct gw_error *error);

/* Finding an index, in tf_find.c: */

/* Opens the file at path or, where nothing is called so, path.index. Errors: pack_file_open's. */
int pack_tf_open_prefix(const char *path, struct pack_file *out, struct gw_error *error);

/*
 * Opens the index of the checkpoint in a directory: the one that its file "checkpoint" names, or
 * the only one. 1: the directory holds none, *out is untouched. Errors: GW_E_SOURCE (a malformed
 * "checkpoint", one that names what is not there, several indexes), GW_E_IO, GW_E_NOT_FILE,
 * GW_E_CHANGED, GW_E_MEMORY.
 */
int pack_tf_open_folder(int folder_fd, struct pack_file *out, struct gw_error *error);
