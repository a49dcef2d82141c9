/* SPDX-License-Identifier: MIT */
/* PyTorch's files of before 1.6: five pickles and their storages, without lengths or checksums. */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	fuzz_source_run(data, bytes);
	return 0;
}
