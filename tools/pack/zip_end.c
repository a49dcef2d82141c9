/* SPDX-License-Identifier: MIT */
#include "tools/pack/zip_end.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/bytes.h"
#include "format/checked.h"
#include "tools/pack/limits.h"

/* APPNOTE 4.3.16, 4.3.15, 4.3.14 */
#define PACK_ZIP_END_MARK UINT32_C(0x06054b50)
#define PACK_ZIP_END_BYTES UINT64_C(22)
#define PACK_ZIP_LOCATOR_MARK UINT32_C(0x07064b50)
#define PACK_ZIP_LOCATOR_BYTES UINT64_C(20)
#define PACK_ZIP_END64_MARK UINT32_C(0x06064b50)
#define PACK_ZIP_END64_BYTES UINT64_C(56)

#define zip_fail(file, error, offset, format, ...)                                               \
	gw_fail(error, GW_E_SOURCE, offset, "%s: " format " at offset %" PRIu64,                 \
		gw_quote((file)->name, strlen((file)->name), (char[96]) { 0 }, 96), __VA_ARGS__, \
		(uint64_t)(offset))

/*
 * The end record, which is the last thing in the file but for a comment of at most 65,535 bytes.
 * The last mark counts: a comment in which another reader could find a second one is refused.
 */
static int pack_zip_find_end(const struct pack_file *file, uint8_t record[PACK_ZIP_END_BYTES],
			     uint64_t *out_offset, struct gw_error *error)
{
	uint64_t room = PACK_ZIP_END_BYTES + UINT16_MAX;
	uint64_t n = file->size_bytes < room ? file->size_bytes : room;
	uint64_t first = file->size_bytes - n, at = n;
	uint8_t *tail = calloc(n + 1, 1);
	struct gw_bytes window = gw_bytes_read(tail, n);
	int code;

	if (!tail)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	code = pack_file_read(file, tail, n, first, error);
	while (code == GW_OK && at > 0) {
		at--;
		if (n - at >= 4 && tail[at] == 'P' && gw_get_u32(&window, at) == PACK_ZIP_END_MARK)
			break;
	}
	if (code == GW_OK &&
	    (n - at < PACK_ZIP_END_BYTES || gw_get_u32(&window, at) != PACK_ZIP_END_MARK))
		code = zip_fail(file, error, file->size_bytes, "%s",
				"no end record of a zip archive (cut short?) before the end");
	if (code == GW_OK && gw_get_u16(&window, at + 20) != n - at - PACK_ZIP_END_BYTES)
		code = zip_fail(file, error, first + at,
				"%" PRIu64
				" bytes follow the end record, whose comment has %u, which stands",
				n - at - PACK_ZIP_END_BYTES, gw_get_u16(&window, at + 20));
	if (code == GW_OK) {
		memcpy(record, tail + at, PACK_ZIP_END_BYTES);
		*out_offset = first + at;
	}
	free(tail);
	return code;
}

/* A field of the end record: all ones, or the same as that of zip64. */
static bool pack_zip_agrees(struct gw_bytes *record, uint64_t offset, unsigned n, uint64_t wide)
{
	uint64_t narrow = gw_get(record, offset, n);

	return narrow == wide || narrow == (n == 2 ? UINT16_MAX : UINT32_MAX);
}

/* The record of zip64, if there is a locator before the end record at *at; *at becomes its own. */
static int pack_zip_find_end64(const struct pack_file *file, struct gw_bytes *record, uint64_t *at,
			       struct pack_zip_end *end, struct gw_error *error)
{
	uint8_t locator[PACK_ZIP_LOCATOR_BYTES] = { 0 };
	uint8_t record64[PACK_ZIP_END64_BYTES] = { 0 };
	struct gw_bytes window = gw_bytes_read(locator, sizeof locator);
	struct gw_bytes wide = gw_bytes_read(record64, sizeof record64);
	uint64_t locator_at, record_at;
	int code;

	if (*at < sizeof locator + sizeof record64)
		return GW_OK;
	locator_at = *at - sizeof locator;
	code = pack_file_read(file, locator, sizeof locator, locator_at, error);
	if (code != GW_OK || gw_get_u32(&window, 0) != PACK_ZIP_LOCATOR_MARK)
		return code;
	record_at = gw_get_u64(&window, 8);
	if (gw_get_u32(&window, 4) != 0 || gw_get_u32(&window, 16) > 1)
		return zip_fail(file, error, locator_at, "%s", "an archive on several disks");
	if (record_at > locator_at - sizeof record64)
		return zip_fail(file, error, locator_at, "a zip64 locator that points to %" PRIu64,
				record_at);
	code = pack_file_read(file, record64, sizeof record64, record_at, error);
	if (code != GW_OK)
		return code;
	/* its own size counts from behind the size */
	if (gw_get_u32(&wide, 0) != PACK_ZIP_END64_MARK ||
	    gw_get_u64(&wide, 4) != locator_at - record_at - 12)
		return zip_fail(file, error, record_at, "%s",
				"no zip64 end record that reaches to its locator");
	if (gw_get_u32(&wide, 16) != 0 || gw_get_u32(&wide, 20) != 0)
		return zip_fail(file, error, record_at, "%s", "an archive on several disks");
	*end = (struct pack_zip_end) {
		.n = gw_get_u64(&wide, 32),
		.directory_bytes = gw_get_u64(&wide, 40),
		.directory_offset = gw_get_u64(&wide, 48),
	};
	if (gw_get_u64(&wide, 24) != end->n || !pack_zip_agrees(record, 8, 2, end->n) ||
	    !pack_zip_agrees(record, 10, 2, end->n) ||
	    !pack_zip_agrees(record, 12, 4, end->directory_bytes) ||
	    !pack_zip_agrees(record, 16, 4, end->directory_offset))
		return zip_fail(file, error, record_at, "%s",
				"a zip64 end record that contradicts the end record");
	*at = record_at;
	return GW_OK;
}

int pack_zip_end_read(const struct pack_file *file, struct pack_zip_end *out,
		      struct gw_error *error)
{
	uint8_t bytes[PACK_ZIP_END_BYTES] = { 0 };
	struct gw_bytes record = gw_bytes_read(bytes, sizeof bytes);
	struct pack_zip_end end;
	uint64_t at = 0, directory_end;
	int code = pack_zip_find_end(file, bytes, &at, error);

	if (code != GW_OK)
		return code;
	end = (struct pack_zip_end) {
		.n = gw_get_u16(&record, 10),
		.directory_bytes = gw_get_u32(&record, 12),
		.directory_offset = gw_get_u32(&record, 16),
	};
	if (gw_get_u16(&record, 4) != 0 || gw_get_u16(&record, 6) != 0)
		return zip_fail(file, error, at, "%s", "an archive on several disks");
	if (gw_get_u16(&record, 8) != gw_get_u16(&record, 10))
		return zip_fail(file, error, at, "%s",
				"an end record with two different counts of members");
	code = pack_zip_find_end64(file, &record, &at, &end, error);
	if (code != GW_OK)
		return code;
	if (!gw_add(end.directory_offset, end.directory_bytes, &directory_end) ||
	    directory_end != at)
		return zip_fail(file, error, at,
				"a central directory of %" PRIu64 " bytes at %" PRIu64
				", which does not end where the end records begin,",
				end.directory_bytes, end.directory_offset);
	if (end.directory_bytes > PACK_MAX_ZIP_DIRECTORY_BYTES)
		return zip_fail(file, error, end.directory_offset,
				"a central directory of %" PRIu64 " bytes (at most %" PRIu64
				" are read)",
				end.directory_bytes, PACK_MAX_ZIP_DIRECTORY_BYTES);
	if (end.n > PACK_MAX_ZIP_MEMBERS)
		return zip_fail(file, error, end.directory_offset,
				"%" PRIu64 " members (at most %" PRIu64 " are read)", end.n,
				PACK_MAX_ZIP_MEMBERS);
	*out = end;
	return GW_OK;
}
