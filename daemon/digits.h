/* SPDX-License-Identifier: MIT */
/* Numbers in the environment, which anybody may have written. */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* text, decimal digits and nothing else, at most the number most, into *out. Whether it is that. */
static inline bool gd_digits(const char *text, uint64_t most, uint64_t *out)
{
	unsigned long long value;

	if (!text[0] || text[strspn(text, "0123456789")])
		return false;
	errno = 0;
	value = strtoull(text, NULL, 10);
	if (errno || value > most)
		return false;
	*out = value;
	return true;
}
