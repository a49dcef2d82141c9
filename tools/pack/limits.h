/* SPDX-License-Identifier: MIT */
/*
 * Every cap of gpt2-pack, each with its reason. Together they keep its anonymous memory below 64
 * MiB whatever is fed to it: 4 MiB of header, 32 MiB of parsed JSON, 8 MiB of tensor list, 4 MiB of
 * its names, 2 MiB of buffers, 9 MiB for a tensor that becomes int8, a few MiB of process; what compresses (3 to 4 MiB for each
 * processor) comes when the largest of these are gone; 8 bytes
 * per 256 KiB of output come on top, 16 MiB for the largest pack there can be (512 GiB) and 5 KiB for
 * GPT-2's.
 */
#pragma once

#include <stdint.h>

/*
 * JSON header of a safetensors file, and index of a sharded one. The format allows 100,000,000
 * bytes, for which jansson would need a gigabyte; the official 124M file's is 14,283, GPT-2 XL's 53
 * kB, and a model of 10,000 tensors needs about 1 MB.
 */
#define PACK_MAX_HEADER_BYTES (UINT64_C(4) << 20)
/* What jansson may allocate for one header: about 1.2 kB per tensor, so some 27,000 of these; hostile
 * text ("0,0,0,…") needs up to 40 bytes for each of its own. */
#define PACK_MAX_JSON_BYTES (UINT64_C(32) << 20)
/* 8 MiB of struct pack_tensor; twice what the JSON budget has room for in one file. */
#define PACK_MAX_SOURCE_TENSORS UINT64_C(65536)
/* Shards are open all at once, and RLIMIT_NOFILE is 1,024 by default. The largest published
 * checkpoints have 200. */
#define PACK_MAX_FILES 512
/*
 * What several inputs, or the shards of one, keep in memory for as long as they are open: directories
 * of archives, names. An archive of all 160 tensors of GPT-2 takes 50 KiB.
 */
#define PACK_MAX_PARTS_BYTES (UINT64_C(16) << 20)
/* Of these, the decoder of a compressed pack: 256 KiB of its own and libzstd's context, 94 KiB in 1.5.4. */
#define PACK_DECODER_BYTES (UINT64_C(512) << 10)
/*
 * All of a GGUF file that is before its data. It is gone through once and not kept; the largest
 * vocabularies (262,144 tokens, 514,906 merges) take some 20 MiB.
 */
#define PACK_MAX_GGUF_BYTES (UINT64_C(128) << 20)
/* Key/value pairs of a GGUF file: 24 bytes each, so that duplicates are found. Files have 20 to 60. */
#define PACK_MAX_GGUF_PAIRS UINT64_C(16384)
/* Arrays in arrays; the specification allows them, no published file has any. */
#define PACK_MAX_GGUF_DEPTH 8
/*
 * Large enough for sequential reads at full speed, small enough to stay in the cache between
 * reading, hashing and converting; a multiple of every element size.
 */
#define PACK_BUFFER_BYTES (UINT64_C(512) << 10)

/*
 * A tensor that is made int8: its scales (4 bytes for each row) are kept until all rows are written, and
 * a row until its scale is known, 4 MiB each. The largest vocabularies have 262,144 rows, the widest
 * matrices of published models some 60,000 columns. Little more would fit beside two arrays in Fortran
 * order (PACK_BAND_BYTES).
 */
#define PACK_MAX_Q8_ROWS (UINT64_C(1) << 20)
#define PACK_MAX_Q8_COLUMNS (UINT64_C(1) << 20)

/* Members of a zip archive: a tensor each in an npz, a storage each in a PyTorch file, and a few more. */
#define PACK_MAX_ZIP_MEMBERS (PACK_MAX_SOURCE_TENSORS + 64)
/* A zip archive's central directory, which is held in memory: about 70 bytes per member in PyTorch's
 * files, 46 and the name in NumPy's. */
#define PACK_MAX_ZIP_DIRECTORY_BYTES (UINT64_C(8) << 20)
/* The name of a member. Tensors' names have some 40 bytes; file systems allow 255 between slashes. */
#define PACK_MAX_ZIP_NAME_BYTES 1024
/*
 * A deflated member of more than the first is refused if it is more than the second as large as its
 * deflated bytes: trained weights deflate to no less than a third, while a bomb reaches 1,032 (the most
 * that deflate can do). Below the first it costs nobody anything, and tables of zeros exist.
 */
#define PACK_ZIP_FREE_BYTES (UINT64_C(16) << 20)
#define PACK_MAX_ZIP_RATIO UINT64_C(100)
/*
 * Members beyond that ratio, as far as they are read, may together have this many bytes: --all reads
 * every one, and an archive has room for thousands. The causal masks of GPT-2 XL, 48 of 4 MiB which
 * deflate to next to nothing, are the most that is known; to inflate all of it takes about a second.
 */
#define PACK_MAX_ZIP_THIN_BYTES (UINT64_C(256) << 20)
/*
 * A pickle, which is read whole: PyTorch's describe a tensor with 150 bytes, an optimizer's state
 * included 0.2 MB for GPT-2 XL.
 */
#define PACK_MAX_PICKLE_BYTES (UINT64_C(4) << 20)
/* Its values (24 bytes each; a tensor has about 12) and the places in its lists (8 bytes): 10 MiB. */
#define PACK_MAX_PICKLE_NODES UINT32_C(262144)
#define PACK_MAX_PICKLE_CELLS UINT32_C(524288)
/* Values that wait for their list: Python's pickler collects 1,000 pairs at most. */
#define PACK_MAX_PICKLE_STACK UINT32_C(65536)
/* Open brackets: Python's pickler gives up at a depth of about 1,000 calls. */
#define PACK_MAX_PICKLE_MARKS UINT32_C(1024)
/*
 * Views may share a storage or repeat its elements, so their sizes are not bounded by the file's. All
 * tensors of a checkpoint together may have this many times the bytes of the file (tied tables: twice)
 * and this many more (the largest table of GPT-2, repeated from one row, has 322 MB).
 */
#define PACK_MAX_VIEW_FACTOR UINT64_C(4)
#define PACK_MAX_VIEW_BYTES (UINT64_C(512) << 20)
/*
 * Strided views are gathered through a cache of pages: enough for one page per column of a transposed
 * table of 4,096 columns, each of which is then read once.
 */
#define PACK_GATHER_BYTES (UINT64_C(16) << 20)
#define PACK_GATHER_PAGE_BYTES UINT64_C(4096)
#define PACK_MAX_GATHER_PAGES (UINT64_C(1) << 20)
/*
 * Strides can be chosen so that every element needs a page, and every tensor a new beginning. What
 * all tensors of a checkpoint may cost together, in bytes of the pages that are read and of their
 * tables: the first, and twice what the file takes on the disk, up to the second. All of GPT-2 XL,
 * every matrix transposed, takes 6.2 GB. What is inflated counts 8 times, as it is that much slower.
 */
#define PACK_FREE_EFFORT_BYTES (UINT64_C(1) << 30)
#define PACK_MAX_EFFORT_BYTES (UINT64_C(7) << 30)
#define PACK_INFLATE_EFFORT UINT64_C(8)
/*
 * Rows of a column-major array that are put together in memory at once. The file is gone through as
 * often as the array has such bands: 7 times for GPT-2's wte, 13 times for GPT-2 XL's. One that is
 * deflated and has more than one band is inflated into a temporary file first.
 */
#define PACK_BAND_BYTES (UINT64_C(24) << 20)
/* Fewer rows at once would mean a read of a few bytes for each of an array's columns. A row may have
 * 2 MiB then, half a million elements in f32. */
#define PACK_BAND_MIN_ROWS UINT64_C(12)
/* A key of a TensorFlow checkpoint's index; names of variables have some tens of bytes, and
 * TensorFlow 2 makes paths of attributes of them, which may have hundreds. */
#define PACK_MAX_KEY_BYTES 4096
/* Zeros that may stand after a tensor in a TensorFlow data file, whose writer can align tensors: to
 * pages at most, of which the largest in use have 64 KiB. */
#define PACK_MAX_ALIGNMENT_BYTES (UINT64_C(64) << 10)
