/* SPDX-License-Identifier: MIT */
/* Checkpoints of any kind: what holds for every one that opens. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "tools/pack/source.h"

/* Longer inputs are not tried: time goes into more of them. */
#define FUZZ_MAX_INPUT_BYTES (UINT64_C(1) << 20)

/*
 * Opens the checkpoint and checks what must hold: the error's code if it does not open; that every
 * tensor is described within its limits and lies in its file; that a plan fits it and its rows can
 * be read. NULL: it does not open. fuzz_source_close ends it and checks that nothing was leaked.
 */
struct pack_source *fuzz_source_open(const char *path);
void fuzz_source_close(struct pack_source *source);

/* Both, of a file of these bytes. */
void fuzz_source_run(const uint8_t *data, size_t bytes);
