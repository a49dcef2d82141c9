/* SPDX-License-Identifier: MIT */
/* Any bytes as a checkpoint: which kind they are, and everything that its reader then does. */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/source.h"

/* What an index of shards can name. */
#define SHARD_NAME "model-00001-of-00001.safetensors"
static const char shard[] = "\x50\0\0\0\0\0\0\0"
			    "{\"wte.weight\":{\"dtype\":\"F32\",\"shape\":[2,2],"
			    "\"data_offsets\":[0,16]}}                "
			    "\0\0\x80\x3f\0\0\0\x40\0\0\x40\x40\0\0\x80\x40";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static int has_shard;

	if (bytes > FUZZ_MAX_INPUT_BYTES)
		return 0;
	if (!has_shard)
		fuzz_companion(SHARD_NAME, (const uint8_t *)shard, sizeof shard - 1);
	has_shard = 1;
	fuzz_source_close(fuzz_source_open(fuzz_file(data, bytes, bytes)));
	return 0;
}
