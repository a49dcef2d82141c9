/* SPDX-License-Identifier: MIT */
/* What gpt2-pack info prints, for people and as JSON (its members are listed in gpt2-pack(1)). */
#pragma once

#include <stdbool.h>

#include "format/reader.h"
#include "tools/pack/source.h"

void pack_describe_pack(const struct gw_pack *pack, bool json);
void pack_describe_source(const struct pack_source *source, bool json);
