/* SPDX-License-Identifier: MIT */
/* What gpt2-pack info prints, for people and as JSON (its members are listed in gpt2-pack(1)). */
#pragma once

#include <stdbool.h>

#include "format/reader.h"
#include "tools/pack/entropy.h"
#include "tools/pack/source.h"

/* entropies: [n_tensors], or NULL where they were not asked for. */
void pack_describe_pack(const struct gw_pack *pack, const struct pack_entropy *entropies, bool json);
void pack_describe_source(const struct pack_source *source, bool json);
