/* SPDX-License-Identifier: MIT */
/* config.json beside a checkpoint. */
#pragma once

#include "tools/pack/source.h"

/*
 * Reads config.json in the directory folder_fd (borrowed), where there is one: n_layer, n_head,
 * vocab_size (or n_vocab), n_positions (or n_ctx) and n_embd, each of them optional. Errors:
 * GW_E_SOURCE (malformed, or one of these is no whole number), GW_E_IO, GW_E_NOT_FILE, GW_E_MEMORY.
 */
int pack_config_read(int folder_fd, struct pack_config *out, struct gw_error *error);

/* The same for hparams.json, which OpenAI puts beside a TensorFlow checkpoint: n_vocab, n_ctx,
 * n_embd, n_head and n_layer. */
int pack_hparams_read(int folder_fd, struct pack_config *out, struct gw_error *error);
