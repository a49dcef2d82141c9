/* SPDX-License-Identifier: MIT */
#include "format/block.h"

#include "format/dtype.h"

unsigned gw_block_width(unsigned dtype)
{
	switch (dtype) {
	case GW_F32:
		return 4;
	case GW_F16:
	case GW_BF16:
		return 2;
	case GW_I8:
		return 1;
	default:
		return 0;
	}
}
