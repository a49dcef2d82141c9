/* SPDX-License-Identifier: MIT */
/* An open store: one verified image, where its tables lie, and the connection behind it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "client/api.h"
#include "client/kernels.h"
#include "client/mapping.h"
#include "format/limits.h"
#include "format/reader.h"

/* Immutable once open, but for references. */
struct gpt2c_store {
	uint32_t references; /* atomic */
	uint32_t info_flags; /* GPT2C_INFO_… */
	struct gw_pack *pack;
	struct gpt2c_mapping image;
	struct gpt2c_mapping board; /* no data: a file */
	uint64_t generation;        /* of the ATTACHED message; 0 for a file */
	uint32_t epoch;             /* likewise */
	int connection_fd;          /* -1: a file */
	/* how to ask again; of a daemon's model only */
	char socket_path[WIRE_SOCKET_PATH_BYTES];
	char model[WIRE_MODEL_BYTES];
	uint64_t timeout_ms, flags; /* of gpt2c_options */
	size_t n_embd;
	struct gpt2c_table wte, wpe;
	const struct gpt2c_kernels *kernels;
	uint64_t stream_above; /* bytes of out beyond which kernels store past the caches */
};

/* One reference, nothing in it. NULL: no memory. gpt2c_close ends it. */
struct gpt2c_store *gpt2c_store_new(void);

/* Finds the tables and the kernels, once pack and image are there. */
void gpt2c_store_bind(struct gpt2c_store *store);
