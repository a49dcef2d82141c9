/* SPDX-License-Identifier: MIT */
/*
 * Names of the descriptors in the service manager's store. They say what each is, so that
 * descriptor and meaning cannot come apart however we end:
 *
 *   gpt2d/1/board/INODE/MODEL
 *   gpt2d/1/image/INODE/GENERATION/EPOCH/DIGEST/MODEL
 *   gpt2d/1/socket/DEVICE/INODE
 *
 * 1 is the version of all of this, the notice board's layout included. MODEL has %XX for what is no
 * letter, digit, dot, hyphen or underscore: systemd allows printable ASCII without colons.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/digest.h"
#include "format/limits.h"
#include "format/status.h"

/* systemd's FDNAME_MAX, and the NUL. */
#define GD_FDNAME_BYTES 256

enum gd_fdname_kind { GD_FDNAME_BOARD = 1, GD_FDNAME_IMAGE, GD_FDNAME_SOCKET };

struct gd_fdname {
	enum gd_fdname_kind kind;
	uint64_t device;     /* socket: of its file */
	uint64_t inode;      /* of the memory; of the socket's file */
	uint64_t generation; /* image; at most INT64_MAX */
	uint32_t epoch;      /* image: the board's, of the generation */
	struct gw_digest digest; /* image: its superblock's */
	char model[WIRE_MODEL_BYTES]; /* board, image */
};

/* Writes the name; false: the model's name is too long for it. */
bool gd_fdname_format(const struct gd_fdname *name, char out[GD_FDNAME_BYTES]);

/* Whether text is a name of this kind, of whatever version. */
bool gd_fdname_is_ours(const char *text);

/* Reads what gd_fdname_format has written, and nothing else. Errors: GW_E_VERSION, GW_E_NAME. */
int gd_fdname_parse(const char *text, struct gd_fdname *out, struct gw_error *error);

/* Whether the service manager can have such a name; others may hold orders to it. */
bool gd_fdname_is_valid(const char *text);
