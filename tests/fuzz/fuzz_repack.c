/* SPDX-License-Identifier: MIT */
/* Packs as checkpoints, with the mutator that knows them (mutate_pack.c). */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	fuzz_source_run(data, bytes);
	return 0;
}
