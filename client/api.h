/* SPDX-License-Identifier: MIT */
/* The public header, its functions visible; everything else in the library is hidden. */
#pragma once

#pragma GCC visibility push(default)
#include "client/include/gpt2client.h"
#pragma GCC visibility pop
