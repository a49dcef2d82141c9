/* SPDX-License-Identifier: MIT */
/* The exchange with the daemon: ATTACH, and what it answers (WIRE.md). */
#pragma once

#include "client/api.h"
#include "format/limits.h"
#include "format/wire.h"

/* What an ATTACHED brought; the descriptors are the owner's and not yet trusted. */
struct gpt2c_attachment {
	char socket_path[WIRE_SOCKET_PATH_BYTES]; /* where it was asked for */
	int connection_fd;
	int image_fd;
	int board_fd;
	struct wire_attached reply;
};

#define GPT2C_ATTACHMENT_INIT                                       \
	{                                                           \
		.connection_fd = -1, .image_fd = -1, .board_fd = -1 \
	}

/*
 * Connects and asks for a model. options: socket_path, model and timeout_ms are read. *out: the
 * caller's, for gpt2c_attachment_deinit; untouched on failure. Blocks, within the limits of time.
 * Errors: GPT2C_E_ARGUMENT, _SYSTEM, _NO_DAEMON, _ACCESS, _TIMEOUT, _LOADING, _NO_MODEL,
 * _LOAD_FAILED, _REFUSED, _PROTOCOL, _CLOSED.
 */
int gpt2c_attach(const gpt2c_options *options, struct gpt2c_attachment *out, gpt2c_error *error);

/* Closes the descriptors that are not -1. */
void gpt2c_attachment_deinit(struct gpt2c_attachment *attachment);
