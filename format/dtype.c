/* SPDX-License-Identifier: MIT */
#include "format/dtype.h"

const char *gw_dtype_name(unsigned dtype)
{
	switch (dtype) {
	case GW_DTYPE_NONE:
		return "none";
	case GW_F32:
		return "f32";
	case GW_F16:
		return "f16";
	case GW_BF16:
		return "bf16";
	case GW_I8:
		return "int8";
	default:
		return "unknown";
	}
}
