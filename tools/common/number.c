/* SPDX-License-Identifier: MIT */
#include "tools/common/number.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "format/checked.h"

/* Reads digits from *text and moves it past them; false: none, or more than 64 bits. */
static bool tool_digits(const char **text, uint64_t *out)
{
	uint64_t value = 0;
	const char *at = *text;

	for (; *at >= '0' && *at <= '9'; at++) {
		if (!gw_mul(value, 10, &value) || !gw_add(value, (uint64_t)(*at - '0'), &value))
			return false;
	}
	if (at == *text)
		return false;
	*text = at;
	*out = value;
	return true;
}

static int tool_number_fail(const char *text, const char *what, const char *kind, const char *min,
			    const char *max, struct gw_error *error)
{
	char quoted[64];

	return gw_fail(error, GW_E_ARGUMENT, GW_NO_OFFSET, "%s: \"%s\" is not %s from %s to %s",
		       what, gw_quote(text, strlen(text), quoted, sizeof quoted), kind, min, max);
}

static int tool_parse(const char *text, const char *what, const char *suffixes, uint64_t min,
		      uint64_t max, uint64_t *out, struct gw_error *error)
{
	const char *at = text;
	const char *suffix;
	uint64_t value;
	char low[24], high[24];
	bool good = tool_digits(&at, &value);

	if (good && *at && (suffix = strchr(suffixes, *at)) != NULL) {
		good = gw_mul(value, UINT64_C(1) << 10 * (suffix - suffixes + 1), &value);
		at++;
	}
	if (!good || *at || value < min || value > max) {
		snprintf(low, sizeof low, "%" PRIu64, min);
		snprintf(high, sizeof high, "%" PRIu64, max);
		return tool_number_fail(text, what, *suffixes ? "a size in bytes" : "a number", low,
					high, error);
	}
	*out = value;
	return GW_OK;
}

int tool_parse_u64(const char *text, const char *what, uint64_t min, uint64_t max, uint64_t *out,
		   struct gw_error *error)
{
	return tool_parse(text, what, "", min, max, out, error);
}

int tool_parse_size(const char *text, const char *what, uint64_t min, uint64_t max, uint64_t *out,
		    struct gw_error *error)
{
	return tool_parse(text, what, "KMGT", min, max, out, error);
}

int tool_parse_i64(const char *text, const char *what, int64_t min, int64_t max, int64_t *out,
		   struct gw_error *error)
{
	bool negative = *text == '-';
	const char *at = text + negative;
	uint64_t magnitude = 0;
	int64_t value = 0;
	char low[24], high[24];
	bool good =
		tool_digits(&at, &magnitude) && !*at && magnitude <= (uint64_t)INT64_MAX + negative;

	if (good) /* through unsigned, where the smallest value has a negative of its own */
		value = (int64_t)(negative ? 0 - magnitude : magnitude);
	if (!good || value < min || value > max) {
		snprintf(low, sizeof low, "%" PRId64, min);
		snprintf(high, sizeof high, "%" PRId64, max);
		return tool_number_fail(text, what, "a number", low, high, error);
	}
	*out = value;
	return GW_OK;
}

char *tool_size_text(uint64_t bytes, char out[TOOL_SIZE_TEXT_BYTES])
{
	static const char *const units[] = { "kB", "MB", "GB", "TB" };
	double value = (double)bytes / 1e3;
	size_t unit = 0;

	if (bytes < 1000) {
		snprintf(out, TOOL_SIZE_TEXT_BYTES, "%" PRIu64 " bytes", bytes);
		return out;
	}
	for (; value >= 999.95 && unit + 1 < sizeof units / sizeof units[0]; unit++)
		value /= 1e3;
	snprintf(out, TOOL_SIZE_TEXT_BYTES, "%.1f %s", value, units[unit]);
	return out;
}
