/* SPDX-License-Identifier: MIT */
#include "tools/pack/kind.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

static const struct {
	enum pack_kind kind;
	unsigned offset, n;
	const char *mark;
} pack_marks[] = {
	{ PACK_KIND_GPT2W, 0, 8, "\x89GPT2W\r\n" },
	{ PACK_KIND_GPT2W, 0, 6, "\x89GPT2W" },
	{ PACK_KIND_LFS, 0, 26, "version https://git-lfs.gi" },
	{ PACK_KIND_ZIP, 0, 4, "PK\3\4" },
	{ PACK_KIND_ZIP, 0, 4, "PK\5\6" },
	{ PACK_KIND_GGUF, 0, 4, "GGUF" },
	{ PACK_KIND_NPY, 0, 6, "\x93NUMPY" },
	{ PACK_KIND_HDF5, 0, 8, "\x89HDF\r\n\x1a\n" },
	/* protocol 2, LONG1 of 10 bytes: PyTorch's magic 0x1950a86a20f9469cfc6c */
	{ PACK_KIND_TORCH_LEGACY, 0, 14,
	  "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19" },
	/* 20240326, little-endian */
	{ PACK_KIND_LLMC, 0, 4, "\xc6\xd7\x34\x01" },
	{ PACK_KIND_TFLITE, 4, 4, "TFL3" },
	{ PACK_KIND_COMPRESSED, 0, 3, "\x1f\x8b\x08" },
	{ PACK_KIND_COMPRESSED, 0, 4, "\x28\xb5\x2f\xfd" },
	{ PACK_KIND_COMPRESSED, 0, 6,
	  "\xfd\x37zXZ\0" },
	{ PACK_KIND_TAR, 257, 5, "ustar" },
};

static bool pack_kind_is_html(const char *text, size_t n)
{
	return (n >= 14 && strncasecmp(text, "<!doctype html", 14) == 0) ||
	       (n >= 5 && strncasecmp(text, "<html", 5) == 0) ||
	       (n >= 5 && strncasecmp(text, "<?xml", 5) == 0);
}

static bool pack_kind_is_text(const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if ((bytes[i] < 0x20 && !strchr("\t\n\r\f", bytes[i])) || bytes[i] == 0 ||
		    bytes[i] == 0x7f || bytes[i] > 0xf4) /* the last are never in UTF-8 */
			return false;
	}
	return true;
}

enum pack_kind pack_kind_detect(const uint8_t *bytes, size_t n)
{
	size_t blank = 0;

	if (n == 0)
		return PACK_KIND_EMPTY;
	for (size_t i = 0; i < sizeof pack_marks / sizeof pack_marks[0]; i++) {
		if (n >= pack_marks[i].offset + pack_marks[i].n &&
		    memcmp(bytes + pack_marks[i].offset, pack_marks[i].mark, pack_marks[i].n) == 0)
			return pack_marks[i].kind;
	}
	/* a pickle of protocol 2 to 5; what follows is an opcode, one of those that as
	 * part of a length would take it over the cap */
	if (n >= 3 && bytes[0] == 0x80 && bytes[1] >= 2 && bytes[1] <= 5 && bytes[2] &&
	    strchr("\x8a\x8c\x95}]c", bytes[2]))
		return PACK_KIND_PICKLE;
	/*
	 * A length below 4 GiB: no text has these zeros. Before the rest, whose marks are so short
	 * that a length can look like them (123 is '{').
	 */
	if (n >= 8 && memcmp(bytes + 4, "\0\0\0\0", 4) == 0)
		return PACK_KIND_SAFETENSORS;
	while (blank < n && strchr("\t\n\r ", bytes[blank]) && bytes[blank])
		blank++;
	if (pack_kind_is_html((const char *)bytes + blank, n - blank))
		return PACK_KIND_HTML;
	if (blank < n && bytes[blank] == '{')
		return PACK_KIND_JSON;
	return pack_kind_is_text(bytes, n) ? PACK_KIND_TEXT : PACK_KIND_UNKNOWN;
}

const char *pack_kind_phrase(enum pack_kind kind)
{
	switch (kind) {
	case PACK_KIND_EMPTY:
		return "an empty file";
	case PACK_KIND_SAFETENSORS:
		return "a safetensors file";
	case PACK_KIND_JSON:
		return "a JSON text";
	case PACK_KIND_GPT2W:
		return "a pack";
	case PACK_KIND_LFS:
		return "a Git LFS pointer and not the weights themselves (git lfs pull fetches "
		       "them)";
	case PACK_KIND_HTML:
		return "an HTML page saved under a weights name (a failed download?)";
	case PACK_KIND_ZIP:
		return "a zip archive";
	case PACK_KIND_TORCH_LEGACY:
		return "a PyTorch file of the time before 1.6";
	case PACK_KIND_PICKLE:
		return "a Python pickle that is no checkpoint as torch.save writes it";
	case PACK_KIND_GGUF:
		return "a GGUF file, which this release does not read";
	case PACK_KIND_NPY:
		return "a NumPy array (.npy)";
	case PACK_KIND_HDF5:
		return "an HDF5 file (Keras), which this release does not read";
	case PACK_KIND_LLMC:
		return "an llm.c checkpoint, which this release does not read";
	case PACK_KIND_TFLITE:
		return "a TensorFlow Lite file, which this release does not read";
	case PACK_KIND_COMPRESSED:
		return "a compressed file; unpack it first";
	case PACK_KIND_TAR:
		return "a tar archive; unpack it first";
	case PACK_KIND_TEXT:
		return "a text";
	case PACK_KIND_UNKNOWN:
		break;
	}
	return "no kind of file that this release knows";
}
