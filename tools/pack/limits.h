/* SPDX-License-Identifier: MIT */
/*
 * Every cap of gpt2-pack, each with its reason. Together they keep its anonymous memory below 64
 * MiB whatever is fed to it: 4 MiB of header, 32 MiB of parsed JSON, 8 MiB of tensor list, 4 MiB of
 * its names, 2 MiB of buffers, a few MiB of process; 8 bytes per 256 KiB of output come on top, 16
 * MiB for the largest pack there can be (512 GiB) and 5 KiB for GPT-2's.
 */
#pragma once

#include <stdint.h>

/*
 * JSON header of a safetensors file, and index of a sharded one. The format allows 100,000,000
 * bytes, for which jansson would need a gigabyte; the official 124M file's is 14,283, GPT-2 XL's 53
 * kB, and a model of 10,000 tensors needs about 1 MB.
 */
#define PACK_MAX_HEADER_BYTES (UINT64_C(4) << 20)
/* What jansson may allocate for one header: about 1 kB per tensor, so some 32,000 of these; hostile
 * text ("0,0,0,…") needs up to 40 bytes for each of its own. */
#define PACK_MAX_JSON_BYTES (UINT64_C(32) << 20)
/* 8 MiB of struct pack_tensor; twice what the JSON budget has room for in one file. */
#define PACK_MAX_SOURCE_TENSORS UINT64_C(65536)
/* Shards are open all at once, and RLIMIT_NOFILE is 1,024 by default. The largest published
 * checkpoints have 200. */
#define PACK_MAX_FILES 512
/*
 * Large enough for sequential reads at full speed, small enough to stay in the cache between
 * reading, hashing and converting; a multiple of every element size.
 */
#define PACK_BUFFER_BYTES (UINT64_C(512) << 10)

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
