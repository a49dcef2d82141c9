/* SPDX-License-Identifier: MIT */
/* Every cap of the formats and of the protocol, each with its reason. */
#pragma once

#include <stdint.h>

/* The pack and its image (FORMAT.md) */

/* Page of every machine that this runs on; alignment of small tensors. */
#define GW_PAGE_BYTES UINT64_C(4096)
/* Huge page of x86-64 and of arm64 with 4 KiB granule; alignment of large tables and tensors. */
#define GW_HUGE_PAGE_BYTES (UINT64_C(2) << 20)
/* From here on a tensor without a role is on a huge page of its own: its padding is then at most a
 * sixteenth of it. Fixed by FORMAT.md. */
#define GW_LARGE_TENSOR_BYTES (UINT64_C(32) << 20)
/* Cache line; alignment of table rows. */
#define GW_ROW_ALIGN_BYTES UINT64_C(64)
/* Small enough to stay in a core's L2 while it is hashed or decoded, large enough that its digest
 * (8 bytes) costs 0.003% of it. Fixed by FORMAT.md. */
#define GW_BLOCK_BYTES UINT64_C(262144)
/* 512 GiB: 2 Mi blocks, whose digests take 16 MiB; a reader or writer, which holds them up to twice,
 * stays under 64 MiB. */
#define GW_MAX_IMAGE_BYTES (UINT64_C(1) << 39)
/* 256 GiB compressed: what is kept of a stored block doubles what is kept of a block. */
#define GW_MAX_STORED_BLOCKS (UINT64_C(1) << 20)
/* A block that does not shrink is stored as it is, after a byte that says so. */
#define GW_MAX_STORED_BLOCK_BYTES (GW_BLOCK_BYTES + 1)
/* 6 MiB of directory. GPT-2 XL has 580 tensors, the largest sharded models some thousands. */
#define GW_MAX_TENSORS UINT32_C(16384)
/* gpt2c_tensor.shape has eight places; NumPy allows 32, no checkpoint uses more than 5. */
#define GW_MAX_RANK 8
/* 255 bytes and the NUL. */
#define GW_NAME_BYTES 256
/* ids and positions are int32_t. */
#define GW_MAX_TABLE_ROWS UINT64_C(2147483647)
/* 64 MiB a row in f32; the largest model published has 2^14 + 2^13. */
#define GW_MAX_N_EMBD (UINT64_C(1) << 24)
/* n_layer and n_head are only reported; a million of either is a damaged field. */
#define GW_MAX_N_LAYER UINT64_C(1000000)
#define GW_MAX_N_HEAD UINT64_C(1000000)

/* The socket (WIRE.md) */

/* Largest message of the protocol, and the size of every receive buffer. */
#define WIRE_MAX_MESSAGE_BYTES 2048
/* Descriptors that a reply may carry: the image and the notice board. */
#define WIRE_REPLY_FDS 2
/* Kernel's SCM_MAX_FD: the most descriptors one message can carry, so the room that a receiver
 * needs in order to see, and close, every one of them. */
#define WIRE_MAX_FDS 253
/* Model names are stems of file names (NAME_MAX 255). */
#define WIRE_MODEL_BYTES 256
/* sun_path holds 108 bytes with its NUL. */
#define WIRE_SOCKET_PATH_BYTES 108
