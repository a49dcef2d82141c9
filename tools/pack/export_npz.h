/* SPDX-License-Identifier: MIT */
/*
 * A pack as NumPy's .npz: a zip archive of one stored .npy file per tensor. The same pack gives the
 * same bytes.
 */
#pragma once

#include "tools/pack/export.h"

/*
 * begin gives GW_E_ARGUMENT for a tensor in bf16, which NumPy has no type for. Members begin at
 * multiples of 64 bytes of the archive, their values at such multiples of the member. zip64 records
 * appear where a size or an offset needs them.
 */
extern const struct pack_exporter pack_export_npz;
