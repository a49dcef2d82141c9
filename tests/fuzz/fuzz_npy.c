/* SPDX-License-Identifier: MIT */
/* NumPy's arrays. */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate.h"
#include "tests/fuzz/source.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t room_bytes, unsigned seed)
{
	return seed % 8 ? fuzz_npy_mutate(data, bytes, room_bytes)
			: LLVMFuzzerMutate(data, bytes, room_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	fuzz_source_run(data, bytes);
	return 0;
}
