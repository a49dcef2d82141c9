/* SPDX-License-Identifier: MIT */
/* Shared memory that is handed out: making it, sealing it, descriptions of one's own. */
#pragma once

#include <stdint.h>
#include <sys/stat.h>

#include "format/status.h"

/*
 * A memfd of that size, close-on-exec, sealable, not executable where the kernel knows that
 * (MFD_NOEXEC_SEAL, Linux 6.3). flags: further MFD_ bits. Errors: GW_E_IO.
 */
int gd_memfd_new(const char *name, unsigned flags, uint64_t size_bytes, int *out_fd,
		 struct gw_error *error);

/* Mode 0444, so that another user's reopening for writing fails, then the seals. Errors: GW_E_IO. */
int gd_memfd_seal(int fd, int seals, struct gw_error *error);

/*
 * An open description of its own of the same file, read-only, close-on-exec: whoever holds one cannot
 * touch another's offset, flags or locks. Errors: GW_E_IO.
 */
int gd_reopen(int fd, int *out_fd, struct gw_error *error);
/* Spares gd_reopen a walk through /proc each time, until gd_reopen_release. A process that forks must not:
 * the child would reopen its parent's descriptors. */
void gd_reopen_prepare(void);
void gd_reopen_release(void);

/*
 * Checks a descriptor that we are given back: read-only, of memory that gd_memfd_seal has sealed
 * and that is our user's, with all of the seals wanted and none of unwanted, and the inode number
 * that it is said to have. Puts its mode right. Errors: GW_E_FD_KIND, _FD_SEALS, _FD_OTHER, _IO.
 */
int gd_memfd_check(int fd, uint64_t inode, int wanted, int unwanted, struct stat *out_status,
		   struct gw_error *error);
