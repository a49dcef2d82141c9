/* SPDX-License-Identifier: MIT */
/* XXH3-64 compiled for several instruction sets; all give the same digests. */
#pragma once

#include <stdint.h>

uint64_t gw_hash64_portable(const void *data, uint64_t n);
uint64_t gw_hash64_avx2(const void *data, uint64_t n);
uint64_t gw_hash64_avx512(const void *data, uint64_t n);

/* The index-th of those that this machine can run, the fastest first; NULL beyond the last one. */
uint64_t (*gw_hash64_at(unsigned index))(const void *data, uint64_t n);
