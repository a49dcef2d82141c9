/* SPDX-License-Identifier: MIT */
/* What bench-first-map and bench-first-attach have in common. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* n ids all over the table, the same in every run. */
static inline void bench_first_ids(int32_t *ids, size_t n, uint64_t n_vocab)
{
	uint64_t state = 1;

	for (size_t i = 0; i < n; i++) {
		state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		ids[i] = (int32_t)((state >> 33) % n_vocab);
	}
}
