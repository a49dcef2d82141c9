/* SPDX-License-Identifier: MIT */
/* Names from untrusted files. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether n bytes are UTF-8 (RFC 3629: shortest form, no surrogates) without a NUL. */
bool pack_text_valid(const uint8_t *text, size_t n);
