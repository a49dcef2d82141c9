/* SPDX-License-Identifier: MIT */
/* One input file: opened without side effects, read with pread only, watched for changes. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "format/status.h"

struct pack_file {
	char *name; /* last component of its path, as the user or the index spelled it */
	int fd;     /* -1: not open */
	uint64_t size_bytes;
	struct stat status; /* as it was opened */
};

#define PACK_FILE_INIT   \
	{                \
		.fd = -1 \
	}

/*
 * Opens path relative to the directory folder_fd (AT_FDCWD as in openat). Symbolic links are
 * followed: a downloaded checkpoint consists of them. Never waits (a FIFO) and never reads a
 * device. *out is the caller's; pack_file_close ends it. Errors: GW_E_IO, GW_E_NOT_FILE (says what
 * it is), GW_E_MEMORY.
 */
int pack_file_open(int folder_fd, const char *path, struct pack_file *out, struct gw_error *error);

void pack_file_close(struct pack_file *file); /* fine on PACK_FILE_INIT, and twice */

/* n bytes at offset. Errors: GW_E_IO, GW_E_CHANGED (the file is shorter now). */
int pack_file_read(const struct pack_file *file, void *out, uint64_t n, uint64_t offset,
		   struct gw_error *error);

/* GW_E_CHANGED if the size or the time of the last change is not what it was at the opening. */
int pack_file_unchanged(const struct pack_file *file, struct gw_error *error);

/* "a directory", "a FIFO" … */
const char *pack_file_type(mode_t mode);
