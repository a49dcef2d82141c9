/* SPDX-License-Identifier: MIT */
/* NumPy's archives; the mutator keeps the archive whole around the array that it changes. */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate.h"
#include "tests/fuzz/source.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t room_bytes, unsigned seed)
{
	return fuzz_zip_mutate(data, bytes, room_bytes, seed, fuzz_npy_mutate);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	fuzz_source_run(data, bytes);
	return 0;
}
