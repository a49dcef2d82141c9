/* SPDX-License-Identifier: MIT */
/* TensorFlow's checkpoints: several files each, see tf.h; the mutator knows the index. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/source.h"
#include "tests/fuzz/tf.h"
#include "tools/pack/crc32c.h"

#define VALUES "in.data-00000-of-00001"
#define MAX_VALUES_BYTES 65536

/* The data files of a checkpoint that has two, or three: further names of the one. */
static void link_shards(void)
{
	static const char *const names[] = { "00000-of-00002", "00001-of-00002", "00000-of-00003",
					     "00001-of-00003", "00002-of-00003" };
	char path[512];

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		FUZZ_CHECK(snprintf(path, sizeof path, "%s/in.data-%s", fuzz_folder(), names[i]) <
			   (int)sizeof path);
		FUZZ_CHECK(symlink(VALUES, path) == 0);
	}
}

/* What is read of a tensor lies where the index says, and has the checksum that it says, which the
 * reader keeps in the lower half of detail. */
static void check_values(const struct pack_source *source, const struct fuzz_tf *input)
{
	static uint8_t values[MAX_VALUES_BYTES];

	for (size_t i = 0; i < source->tensors.n; i++) {
		const struct pack_tensor *tensor = &source->tensors.items[i];
		struct gw_error error = GW_ERROR_INIT;
		int code;

		FUZZ_CHECK(tensor->encoded && tensor->file >= 1);
		FUZZ_CHECK(tensor->offset_bytes <= input->bytes[FUZZ_TF_VALUES]);
		FUZZ_CHECK(tensor->size_bytes <=
			   input->bytes[FUZZ_TF_VALUES] - tensor->offset_bytes);
		if (tensor->size_bytes > sizeof values)
			continue;
		code = pack_source_read(source, tensor, 0, tensor->size_bytes, values, &error);
		if (code == GW_OK) {
			FUZZ_CHECK(memcmp(values,
					  input->parts[FUZZ_TF_VALUES] + tensor->offset_bytes,
					  tensor->size_bytes) == 0);
			FUZZ_CHECK(pack_crc32c_mask(
					   pack_crc32c_portable(0, values, tensor->size_bytes)) ==
				   (uint32_t)tensor->detail);
		} else {
			fuzz_check_error(code, &error);
			FUZZ_CHECK(code == GW_E_SOURCE);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static int linked;
	struct pack_source *source;
	struct fuzz_tf input;
	const char *path;
	size_t n_state;

	if (bytes < FUZZ_TF_HEAD_BYTES || bytes > FUZZ_MAX_INPUT_BYTES)
		return 0;
	if (!linked++)
		link_shards();
	input = fuzz_tf_split(data, bytes);
	n_state = input.bytes[FUZZ_TF_STATE];
	path = fuzz_companion("in.index", input.parts[FUZZ_TF_INDEX], input.bytes[FUZZ_TF_INDEX]);
	fuzz_companion(VALUES, input.parts[FUZZ_TF_VALUES], input.bytes[FUZZ_TF_VALUES]);
	fuzz_companion("hparams.json",
		       input.bytes[FUZZ_TF_HPARAMS] ? input.parts[FUZZ_TF_HPARAMS] : NULL,
		       input.bytes[FUZZ_TF_HPARAMS]);
	fuzz_companion("checkpoint", n_state ? input.parts[FUZZ_TF_STATE] : NULL, n_state);
	source = fuzz_source_open(n_state ? fuzz_folder() : path);
	if (source && strcmp(source->format, "tensorflow") == 0)
		check_values(source, &input);
	fuzz_source_close(source);
	return 0;
}
