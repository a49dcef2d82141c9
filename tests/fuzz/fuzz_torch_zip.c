/* SPDX-License-Identifier: MIT */
/* PyTorch's archives; the mutator keeps the archive whole around the pickle that it changes. */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate.h"
#include "tests/fuzz/source.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t room_bytes, unsigned seed)
{
	return fuzz_zip_mutate(data, bytes, room_bytes, seed, LLVMFuzzerMutate);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	fuzz_source_run(data, bytes);
	return 0;
}
