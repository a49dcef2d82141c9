/* SPDX-License-Identifier: MIT */
/* The words for the numbers of the protocol, the same in tables and in JSON. */
#pragma once

#include <stdint.h>

#include "format/wire.h"

static inline const char *ctl_state_word(uint32_t state)
{
	return state == WIRE_STATE_LOADING   ? "loading"
	       : state == WIRE_STATE_SERVING ? "serving"
	       : state == WIRE_STATE_FAILED  ? "failed"
	       : state == WIRE_STATE_UNLOADED ? "unloaded"
					      : "unknown";
}

static inline const char *ctl_share_word(uint32_t share)
{
	return share == WIRE_SHARE_SEALED ? "sealed"
	       : share == WIRE_SHARE_FILE ? "file"
					  : "unknown";
}

static inline const char *ctl_life_word(uint32_t life)
{
	return life == WIRE_LIFE_CURRENT ? "current"
	       : life == WIRE_LIFE_RETIRED ? "retired"
					   : "unknown";
}

static inline const char *ctl_backend_word(uint32_t backend)
{
	return backend == WIRE_BACKEND_IO_URING ? "io_uring"
	       : backend == WIRE_BACKEND_EPOLL  ? "epoll"
						: "unknown";
}
