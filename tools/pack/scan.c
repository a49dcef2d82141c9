/* SPDX-License-Identifier: MIT */
#include "tools/pack/scan.h"

#include <inttypes.h>
#include <string.h>

#include "format/bytes.h"

void pack_scan_init(struct pack_scan *scan, const struct pack_file *file, uint64_t max_bytes)
{
	scan->file = file;
	scan->at = 0;
	scan->max_bytes = max_bytes;
	scan->first = 0;
	scan->n = 0;
	gw_quote(file->name, strlen(file->name), scan->quoted_file, sizeof scan->quoted_file);
}

uint64_t pack_scan_left(const struct pack_scan *scan)
{
	uint64_t end = scan->file->size_bytes;

	if (end > scan->max_bytes)
		end = scan->max_bytes;
	return end - scan->at;
}

static int pack_scan_check(const struct pack_scan *scan, uint64_t n, const char *what,
			   struct gw_error *error)
{
	if (n <= pack_scan_left(scan))
		return GW_OK;
	if (n <= scan->file->size_bytes - scan->at)
		return gw_fail(error, GW_E_SOURCE, scan->at,
			       "%s: %s at offset %" PRIu64 " takes %" PRIu64
			       " bytes, which is over this program's limit of %" PRIu64
			       " for all before the data",
			       scan->quoted_file, what, scan->at, n, scan->max_bytes);
	return gw_fail(error, GW_E_SOURCE, scan->at,
		       "%s: %s at offset %" PRIu64 " takes %" PRIu64
		       " bytes, past the end of the file (%" PRIu64 " bytes)",
		       scan->quoted_file, what, scan->at, n, scan->file->size_bytes);
}

int pack_scan_take(struct pack_scan *scan, uint64_t n, const char *what, const uint8_t **out,
		   struct gw_error *error)
{
	uint64_t left;
	int code = pack_scan_check(scan, n, what, error);

	if (code != GW_OK)
		return code;
	/* at never goes back, so it is at or after first */
	if (scan->at - scan->first > scan->n || n > scan->n - (scan->at - scan->first)) {
		left = scan->file->size_bytes - scan->at;
		scan->n = 0;
		scan->first = scan->at;
		left = left < sizeof scan->buffer ? left : sizeof scan->buffer;
		code = pack_file_read(scan->file, scan->buffer, left, scan->at, error);
		if (code != GW_OK)
			return code;
		scan->n = left;
	}
	*out = scan->buffer + (scan->at - scan->first);
	scan->at += n;
	return GW_OK;
}

int pack_scan_skip(struct pack_scan *scan, uint64_t n, const char *what, struct gw_error *error)
{
	int code = pack_scan_check(scan, n, what, error);

	if (code == GW_OK)
		scan->at += n;
	return code;
}

int pack_scan_number(struct pack_scan *scan, unsigned n, const char *what, uint64_t *out,
		     struct gw_error *error)
{
	const uint8_t *bytes = NULL;
	struct gw_bytes window;
	int code = pack_scan_take(scan, n, what, &bytes, error);

	if (code != GW_OK)
		return code;
	window = gw_bytes_read(bytes, n);
	*out = gw_get(&window, 0, n);
	return GW_OK;
}
