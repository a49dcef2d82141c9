/* SPDX-License-Identifier: MIT */
/* A file that appears under its name whole and synced, or not at all. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "format/status.h"

struct gw_outfile;

/*
 * Creates the temporary ".NAME.XXXXXXXX.tmp" beside path with the permissions that umask leaves.
 * replace: whether an existing regular file may be replaced. *out is the caller's.
 * Errors: GW_E_EXISTS; GW_E_OUTPUT (a directory, a device, a symbolic link); GW_E_IO.
 */
int gw_outfile_create(const char *path, bool replace, struct gw_outfile **out,
		      struct gw_error *error);

/* Where out differs from every input: GW_E_OUTPUT if path is the file (dev, ino). */
int gw_outfile_refuse_same(const char *path, dev_t dev, ino_t ino, struct gw_error *error);

/* Writes all n bytes at offset. Errors: GW_E_IO. */
int gw_outfile_write(struct gw_outfile *out, const void *data, uint64_t n, uint64_t offset,
		     struct gw_error *error);

/* Sets the size; what was not written is zero. Errors: GW_E_IO. */
int gw_outfile_resize(struct gw_outfile *out, uint64_t n, struct gw_error *error);

/* Its descriptor, which can be read too; borrowed, lives as long as out. */
int gw_outfile_fd(const struct gw_outfile *out);

/* fsync, rename, fsync of the directory. Errors: GW_E_IO, GW_E_EXISTS (it appeared meanwhile). */
int gw_outfile_commit(struct gw_outfile *out, struct gw_error *error);

/* Removes the temporary unless it was committed, and ends out; NULL is fine. */
void gw_outfile_free(struct gw_outfile *out);

/*
 * Removes the temporaries of all outfiles that are open. Async-signal-safe: for a handler of SIGINT
 * and SIGTERM that then ends the process.
 */
void gw_outfile_remove_all(void);
