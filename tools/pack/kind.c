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

/* A varint of protobuf, of at most 5 bytes; false, with *at untouched, where there is none. */
static bool pack_kind_varint(const uint8_t *bytes, size_t n, size_t *at, uint64_t *out)
{
	uint64_t value = 0;

	for (size_t i = 0; i < 5 && *at + i < n; i++) {
		value |= (uint64_t)(bytes[*at + i] & 0x7f) << 7 * i;
		if (!(bytes[*at + i] & 0x80)) {
			*at += i + 1;
			*out = value;
			return true;
		}
	}
	return false;
}

/*
 * An ONNX ModelProto (onnx.proto): field 1, the version of its representation, then short texts and
 * numbers of the producer (2 to 6, 8), then field 7, the graph, whose first field is a node (1), a
 * name (2) or a tensor (5).
 */
static bool pack_kind_is_onnx(const uint8_t *bytes, size_t n)
{
	size_t at = 2;
	uint64_t value;

	if (n < 8 || bytes[0] != 0x08 || bytes[1] < 1 || bytes[1] > 32)
		return false;
	while (at < n) {
		uint8_t tag = bytes[at++];

		if (!pack_kind_varint(bytes, n, &at, &value))
			return false;
		if (tag == 0x28) /* model_version */
			continue;
		if (tag == 0x3a)
			return value > 1 && at < n && strchr("\x0a\x12\x2a", bytes[at]) &&
			       bytes[at];
		if (!strchr("\x12\x1a\x22\x32\x42", tag) || !tag || value > n - at)
			return false;
		at += value;
	}
	return false;
}

/* A short text of msgpack that is a plain name; its length with the byte before it, or 0. */
static size_t pack_kind_key(const uint8_t *bytes, size_t n)
{
	size_t length = n && (bytes[0] & 0xe0) == 0xa0 ? bytes[0] & 0x1f : 0;

	if (length == 0 || length + 1 > n)
		return 0;
	for (size_t i = 1; i <= length; i++) {
		if (bytes[i] < 0x21 || bytes[i] > 0x7e)
			return 0;
	}
	return length + 1;
}

/*
 * Flax's msgpack (flax.serialization): maps within maps, all keys names, down to an array, which is
 * the extension of type 1.
 */
static bool pack_kind_is_flax(const uint8_t *bytes, size_t n)
{
	size_t at = 0;

	while (at < n && ((bytes[at] > 0x80 && bytes[at] <= 0x8f) || bytes[at] == 0xde)) {
		size_t key;

		at += bytes[at] == 0xde ? 3 : 1;
		key = at < n ? pack_kind_key(bytes + at, n - at) : 0;
		if (key == 0)
			return false;
		at += key;
	}
	/* of a length of 8, 16 or 32 bits */
	if (at == 0 || at >= n || bytes[at] < 0xc7 || bytes[at] > 0xc9)
		return false;
	at += 1 + ((size_t)1 << (bytes[at] - 0xc7));
	return at < n && bytes[at] == 1;
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
	if (pack_kind_is_onnx(bytes, n))
		return PACK_KIND_ONNX;
	if (pack_kind_is_flax(bytes, n))
		return PACK_KIND_FLAX;
	while (blank < n && strchr("\t\n\r ", bytes[blank]) && bytes[blank])
		blank++;
	if (pack_kind_is_html((const char *)bytes + blank, n - blank))
		return PACK_KIND_HTML;
	if (blank < n && bytes[blank] == '{')
		return PACK_KIND_JSON;
	return pack_kind_is_text(bytes, n) ? PACK_KIND_TEXT : PACK_KIND_UNKNOWN;
}

enum pack_kind pack_kind_detect_end(enum pack_kind kind, const uint8_t end[PACK_KIND_END_BYTES])
{
	/* a LevelDB table begins with a block, which may look like any of these */
	bool open = kind == PACK_KIND_UNKNOWN || kind == PACK_KIND_SAFETENSORS ||
		    kind == PACK_KIND_JSON || kind == PACK_KIND_PICKLE;

	return open && memcmp(end, "\x57\xfb\x80\x8b\x24\x75\x47\xdb", PACK_KIND_END_BYTES) == 0
		       ? PACK_KIND_TENSORFLOW
		       : kind;
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
		return "a GGUF file";
	case PACK_KIND_NPY:
		return "a NumPy array (.npy)";
	case PACK_KIND_HDF5:
		return "an HDF5 file (Keras), which is not read; Python can make an npz of it";
	case PACK_KIND_ONNX:
		return "an ONNX model, which is not read; Python can make an npz of it";
	case PACK_KIND_FLAX:
		return "a Flax checkpoint (msgpack), which is not read; Python can make an npz of "
		       "it";
	case PACK_KIND_LLMC:
		return "an llm.c checkpoint";
	case PACK_KIND_TFLITE:
		return "a TensorFlow Lite file, which this release does not read";
	case PACK_KIND_COMPRESSED:
		return "a compressed file; unpack it first";
	case PACK_KIND_TAR:
		return "a tar archive; unpack it first";
	case PACK_KIND_TEXT:
		return "a text";
	case PACK_KIND_TENSORFLOW:
		return "the index of a TensorFlow checkpoint";
	case PACK_KIND_UNKNOWN:
		break;
	}
	return "no kind of file that this release knows";
}

const char *pack_kind_python(enum pack_kind kind)
{
	switch (kind) {
	case PACK_KIND_HDF5:
		return "import h5py, numpy; a = {}; p = lambda n: n.split(\"/\")[-2:-1]\n"
		       "h5py.File(\"FILE\", \"r\").visititems(lambda n, d: a.update({p(n)[0]: "
		       "d[()]}) if hasattr(d, \"shape\") and p(n) in ([\"wte\"], [\"wpe\"]) else "
		       "None); numpy.savez(\"gpt2.npz\", **a)";
	case PACK_KIND_ONNX:
		return "import numpy, onnx; from onnx.numpy_helper import to_array\n"
		       "numpy.savez(\"gpt2.npz\", **{t.name.split(\".\")[-2]: to_array(t) for t in "
		       "onnx.load(\"FILE\").graph.initializer if "
		       "t.name.endswith((\"wte.weight\", \"wpe.weight\"))})";
	case PACK_KIND_FLAX:
		return "import msgpack, numpy; m = msgpack.unpackb(open(\"FILE\", \"rb\").read(), "
		       "ext_hook=lambda c, b: (lambda s, t, d: numpy.frombuffer(d, "
		       "t).reshape(s))(*msgpack.unpackb(b)))\n"
		       "m = m.get(\"transformer\", m); numpy.savez(\"gpt2.npz\", **{k: "
		       "m[k][\"embedding\"] for k in (\"wte\", \"wpe\")})";
	default:
		return NULL;
	}
}
