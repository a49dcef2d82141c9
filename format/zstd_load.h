/* SPDX-License-Identifier: MIT */
/* libzstd at run time, for a library that must not need it to be loaded itself. */
#pragma once

#include "format/status.h"
#include "format/zstd.h"

/*
 * Fills out with libzstd.so.1's functions. The library stays loaded until the process ends: one more
 * dlopen of it costs nothing, and what it may have registered is never pulled away. Thread-safe.
 * GW_E_FEATURE: there is no such library, or it lacks a function or is older than 1.4.0; out is
 * untouched.
 */
int gw_zstd_load(struct gw_zstd *out, struct gw_error *error);
/* The same by another name, for the tests. */
int gw_zstd_load_from(const char *library, struct gw_zstd *out, struct gw_error *error);
