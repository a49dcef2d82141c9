/* SPDX-License-Identifier: MIT */
/*
 * An input that is a TensorFlow checkpoint: three lengths of 2 bytes, then the index, hparams.json,
 * the file "checkpoint" and, up to the end, the values of which every data file has the same.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define FUZZ_TF_HEAD_BYTES 6

enum fuzz_tf_part { FUZZ_TF_INDEX, FUZZ_TF_HPARAMS, FUZZ_TF_STATE, FUZZ_TF_VALUES, FUZZ_TF_PARTS };

struct fuzz_tf {
	const uint8_t *parts[FUZZ_TF_PARTS];
	size_t bytes[FUZZ_TF_PARTS];
};

/* The parts, which lie in data (FUZZ_TF_HEAD_BYTES at least); what goes past its end is cut. */
struct fuzz_tf fuzz_tf_split(const uint8_t *data, size_t bytes);
