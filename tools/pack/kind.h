/* SPDX-License-Identifier: MIT */
/* What a file is, by its first bytes; its ending proves nothing. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum pack_kind {
	PACK_KIND_UNKNOWN,
	PACK_KIND_EMPTY,
	PACK_KIND_SAFETENSORS, /* it may be one; its reader decides */
	PACK_KIND_JSON,
	PACK_KIND_GPT2W,
	PACK_KIND_LFS,
	PACK_KIND_HTML,
	PACK_KIND_ZIP,
	PACK_KIND_TORCH_LEGACY,
	PACK_KIND_PICKLE,
	PACK_KIND_GGUF,
	PACK_KIND_NPY,
	PACK_KIND_HDF5,
	PACK_KIND_ONNX,
	PACK_KIND_FLAX,
	PACK_KIND_LLMC,
	PACK_KIND_TFLITE,
	PACK_KIND_COMPRESSED,
	PACK_KIND_TAR,
	PACK_KIND_TEXT,
	PACK_KIND_TENSORFLOW,
};

/* Enough to tell: tar's mark is at 257. */
#define PACK_KIND_BYTES 512

/* From the first n bytes of a file of size_bytes; n is the lesser of these and PACK_KIND_BYTES. */
enum pack_kind pack_kind_detect(const uint8_t *bytes, size_t n);

/* The kind that a file's last 8 bytes say, where the first ones (kind) leave room for doubt. */
#define PACK_KIND_END_BYTES 8
enum pack_kind pack_kind_detect_end(enum pack_kind kind, const uint8_t end[PACK_KIND_END_BYTES]);

/* "a Git LFS pointer, not the file itself: run git lfs pull" … */
const char *pack_kind_phrase(enum pack_kind kind);

/* Two lines of Python that make gpt2.npz of such a file called FILE; NULL: there are none. */
const char *pack_kind_python(enum pack_kind kind);
