/* SPDX-License-Identifier: MIT */
#include "tools/pack/zip.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/bytes.h"
#include "format/checked.h"
#include "tools/pack/limits.h"
#include "tools/pack/text.h"
#include "tools/pack/zip_end.h"

/* APPNOTE 4.3.7, 4.3.12, 4.3.9 */
#define PACK_ZIP_LOCAL_MARK UINT32_C(0x04034b50)
#define PACK_ZIP_LOCAL_BYTES 30
#define PACK_ZIP_ENTRY_MARK UINT32_C(0x02014b50)
#define PACK_ZIP_ENTRY_BYTES 46
#define PACK_ZIP_DESCRIPTOR_MARK UINT32_C(0x08074b50)
/* 4.4.4: how hard the deflater tried, a descriptor follows the data, the name is UTF-8 */
#define PACK_ZIP_FLAG_EFFORT 0x0006
#define PACK_ZIP_FLAG_DESCRIPTOR 0x0008
#define PACK_ZIP_FLAG_UTF8 0x0800
#define PACK_ZIP_STORED 0
#define PACK_ZIP_DEFLATED 8

/* A member as one of its headers describes it. */
struct pack_zip_header {
	uint16_t flags, method, name_bytes, extra_bytes;
	uint32_t crc;
	uint64_t packed_bytes, size_bytes;
	uint64_t offset; /* of the local header; only the directory says it */
};

struct pack_zip_opening {
	struct pack_zip *zip;
	struct pack_zip_end end;
	uint8_t *local; /* room for what follows the fixed part of a local header */
	char quoted_file[96];
};

#define zip_fail(opening, error, offset, format, ...)                            \
	gw_fail(error, GW_E_SOURCE, offset, "%s: " format " at offset %" PRIu64, \
		(opening)->quoted_file, __VA_ARGS__, (uint64_t)(offset))

/*
 * Replaces the sizes and the offset that are all ones by those of the zip64 extra field (4.5.3):
 * only these are in it, in this order. at: where the extra fields stand in the file.
 */
static int pack_zip_extra(const struct pack_zip_opening *opening, const uint8_t *extra, uint64_t at,
			  struct pack_zip_header *header, struct gw_error *error)
{
	uint64_t *wide[3] = { &header->size_bytes, &header->packed_bytes, &header->offset };
	struct gw_bytes window = gw_bytes_read(extra, header->extra_bytes);
	bool needed = header->size_bytes == UINT32_MAX || header->packed_bytes == UINT32_MAX ||
		      header->offset == UINT32_MAX;
	bool found = false;
	uint64_t i = 0, field_bytes, next;

	for (; i + 4 <= header->extra_bytes; i += 4 + field_bytes) {
		field_bytes = gw_get_u16(&window, i + 2);
		if (field_bytes > header->extra_bytes - i - 4)
			return zip_fail(opening, error, at + i,
					"an extra field of %" PRIu64
					" bytes that does not fit its header,",
					field_bytes);
		if (gw_get_u16(&window, i) != 1)
			continue;
		if (found)
			return zip_fail(opening, error, at + i, "%s", "a second zip64 extra field");
		found = true;
		next = i + 4;
		for (size_t k = 0; k < 3; k++) {
			if (*wide[k] != UINT32_MAX)
				continue;
			if (i + 4 + field_bytes - next < 8)
				return zip_fail(opening, error, at + i, "%s",
						"a zip64 extra field that is too short");
			*wide[k] = gw_get_u64(&window, next);
			next += 8;
		}
	}
	/* up to three bytes of padding are common (zipalign) */
	if (!gw_is_zero(extra + i, header->extra_bytes - i))
		return zip_fail(opening, error, at + i, "%s", "an extra field that is cut short");
	if (needed && !found)
		return zip_fail(
			opening, error, at, "%s",
			"a size of 2^32 - 1 without the zip64 extra field that it announces");
	return GW_OK;
}

/* What a member may be at all; both headers are asked. */
static int pack_zip_check_header(const struct pack_zip_opening *opening,
				 const struct pack_zip_header *header, uint64_t at,
				 struct gw_error *error)
{
	const uint16_t known = PACK_ZIP_FLAG_EFFORT | PACK_ZIP_FLAG_DESCRIPTOR | PACK_ZIP_FLAG_UTF8;

	if (header->flags & 0x2041)
		return zip_fail(opening, error, at, "%s", "an encrypted member");
	if (header->flags & ~known)
		return zip_fail(opening, error, at,
				"a member with the flags 0x%04x, of which some are not known,",
				header->flags);
	if (header->method != PACK_ZIP_STORED && header->method != PACK_ZIP_DEFLATED)
		return zip_fail(
			opening, error, at,
			"a member compressed with method %u (0, stored, and 8, deflated, are read)",
			header->method);
	if (header->name_bytes == 0 || header->name_bytes > PACK_MAX_ZIP_NAME_BYTES)
		return zip_fail(opening, error, at, "a name of %u bytes (1 to %d are read)",
				header->name_bytes, PACK_MAX_ZIP_NAME_BYTES);
	return GW_OK;
}

static int pack_zip_check_sizes(const struct pack_zip_opening *opening,
				const struct pack_zip_header *header, uint64_t at,
				struct gw_error *error)
{
	if (header->method == PACK_ZIP_STORED && header->packed_bytes != header->size_bytes)
		return zip_fail(opening, error, at,
				"a stored member of %" PRIu64 " bytes that says it has %" PRIu64,
				header->packed_bytes, header->size_bytes);
	if (header->offset >= opening->end.directory_offset ||
	    header->packed_bytes > opening->end.directory_offset - header->offset)
		return zip_fail(opening, error, at,
				"a member of %" PRIu64 " bytes at %" PRIu64
				", which reaches past the directory,",
				header->packed_bytes, header->offset);
	return GW_OK;
}

/* The directory's entry at i of its bytes; *out_bytes is its length. Its name moves down a byte. */
static int pack_zip_entry(struct pack_zip_opening *opening, uint64_t i,
			  struct pack_zip_member *member, uint64_t *out_bytes,
			  struct gw_error *error)
{
	uint64_t at = opening->end.directory_offset + i, left = opening->end.directory_bytes - i;
	uint8_t *entry = opening->zip->directory + i, *name = entry + PACK_ZIP_ENTRY_BYTES;
	struct gw_bytes window = gw_bytes_read(entry, left);
	struct pack_zip_header header = {
		.flags = gw_get_u16(&window, 8),
		.method = gw_get_u16(&window, 10),
		.crc = gw_get_u32(&window, 16),
		.packed_bytes = gw_get_u32(&window, 20),
		.size_bytes = gw_get_u32(&window, 24),
		.name_bytes = gw_get_u16(&window, 28),
		.extra_bytes = gw_get_u16(&window, 30),
		.offset = gw_get_u32(&window, 42),
	};
	uint64_t bytes = PACK_ZIP_ENTRY_BYTES + (uint64_t)header.name_bytes + header.extra_bytes +
			 gw_get_u16(&window, 32);
	int code;

	if (window.overrun || bytes > left || gw_get_u32(&window, 0) != PACK_ZIP_ENTRY_MARK)
		return zip_fail(opening, error, at, "%s",
				"no whole entry of the central directory");
	if (gw_get_u16(&window, 34) != 0)
		return zip_fail(opening, error, at, "%s", "a member on another disk");
	code = pack_zip_check_header(opening, &header, at, error);
	if (code == GW_OK)
		code = pack_zip_extra(opening, name + header.name_bytes,
				      at + PACK_ZIP_ENTRY_BYTES + header.name_bytes, &header,
				      error);
	if (code == GW_OK)
		code = pack_zip_check_sizes(opening, &header, at, error);
	if (code != GW_OK)
		return code;
	if (!pack_text_valid(name, header.name_bytes))
		return zip_fail(opening, error, at, "%s", "a name that is no clean UTF-8");
	/* one byte down, over what has been read, so that its end has room */
	memmove(name - 1, name, header.name_bytes);
	name[header.name_bytes - 1] = 0;
	*member = (struct pack_zip_member) {
		.name = (const char *)name - 1,
		.packed_bytes = header.packed_bytes,
		.size_bytes = header.size_bytes,
		.crc = header.crc,
		.flags = header.flags,
		.deflated = header.method == PACK_ZIP_DEFLATED,
		.offset_bytes = header.offset, /* of the local header, until that is read */
	};
	*out_bytes = bytes;
	return GW_OK;
}

/* The directory's entries in order; they fill it exactly. */
static int pack_zip_entries(struct pack_zip_opening *opening, struct gw_error *error)
{
	struct pack_zip *zip = opening->zip;
	const struct pack_zip_end *end = &opening->end;
	uint64_t i = 0, bytes = 0;
	int code = GW_OK;

	zip->directory = malloc(end->directory_bytes + 1);
	/* one more: no pointer is NULL for an empty archive */
	zip->members = calloc(end->n + 1, sizeof *zip->members);
	zip->by_name = calloc(end->n + 1, sizeof *zip->by_name);
	opening->local = malloc(PACK_MAX_ZIP_NAME_BYTES + UINT16_MAX);
	zip->held_bytes = end->directory_bytes + end->n * (sizeof *zip->members +
							    sizeof(struct pack_zip_member *));
	if (!zip->directory || !zip->members || !zip->by_name || !opening->local)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	code = pack_file_read(zip->file, zip->directory, end->directory_bytes,
			      end->directory_offset, error);
	for (; code == GW_OK && zip->n < end->n; i += bytes) {
		code = pack_zip_entry(opening, i, &zip->members[zip->n], &bytes, error);
		zip->n += code == GW_OK;
	}
	if (code == GW_OK && i != end->directory_bytes)
		return zip_fail(opening, error, end->directory_offset + i,
				"%" PRIu64 " bytes after the last entry of the central directory,",
				end->directory_bytes - i);
	return code;
}

/* A field of a local header whose descriptor follows the data may be 0 there. */
static bool pack_zip_same(uint16_t flags, uint64_t local, uint64_t entry)
{
	return local == entry || ((flags & PACK_ZIP_FLAG_DESCRIPTOR) && local == 0);
}

/* The local header of a member, at its offset_bytes, which moves on to the data. */
static int pack_zip_local(struct pack_zip_opening *opening, struct pack_zip_member *member,
			  struct gw_error *error)
{
	uint8_t fixed[PACK_ZIP_LOCAL_BYTES] = { 0 };
	struct gw_bytes window = gw_bytes_read(fixed, sizeof fixed);
	struct pack_zip_header header = { 0 };
	uint64_t at = member->offset_bytes, rest;
	const char *differs = NULL;
	int code;

	if (opening->end.directory_offset - at < sizeof fixed)
		return zip_fail(opening, error, at, "%s", "no room for a local header");
	code = pack_file_read(opening->zip->file, fixed, sizeof fixed, at, error);
	if (code != GW_OK)
		return code;
	header.flags = gw_get_u16(&window, 6);
	header.method = gw_get_u16(&window, 8);
	header.crc = gw_get_u32(&window, 14);
	header.packed_bytes = gw_get_u32(&window, 18);
	header.size_bytes = gw_get_u32(&window, 22);
	header.name_bytes = gw_get_u16(&window, 26);
	header.extra_bytes = gw_get_u16(&window, 28);
	if (gw_get_u32(&window, 0) != PACK_ZIP_LOCAL_MARK)
		return zip_fail(opening, error, at, "%s", "no local header");
	if (header.name_bytes != strlen(member->name))
		return zip_fail(opening, error, at, "%s",
				"a name unlike that in the central directory");
	rest = (uint64_t)header.name_bytes + header.extra_bytes;
	if (opening->end.directory_offset - at - sizeof fixed < rest)
		return zip_fail(opening, error, at, "%s", "no room for a local header");
	code = pack_file_read(opening->zip->file, opening->local, rest, at + sizeof fixed, error);
	if (code == GW_OK)
		code = pack_zip_extra(opening, opening->local + header.name_bytes,
				      at + sizeof fixed + header.name_bytes, &header, error);
	if (code != GW_OK)
		return code;
	if (memcmp(opening->local, member->name, header.name_bytes) != 0)
		differs = "name";
	else if (header.flags != member->flags)
		differs = "flags";
	else if (header.method != (member->deflated ? PACK_ZIP_DEFLATED : PACK_ZIP_STORED))
		differs = "method";
	else if (!pack_zip_same(header.flags, header.crc, member->crc))
		differs = "CRC";
	else if (!pack_zip_same(header.flags, header.packed_bytes, member->packed_bytes) ||
		 !pack_zip_same(header.flags, header.size_bytes, member->size_bytes))
		differs = "size";
	if (differs)
		return zip_fail(opening, error, at,
				"a local header whose %s differs from the central directory's,",
				differs);
	member->offset_bytes = at + sizeof fixed + rest;
	return GW_OK;
}

/*
 * What lies between a member's data and next: nothing, or the descriptor that its flags announce,
 * with or without its mark, of 4 or 8 bytes for each size (4.3.9).
 */
static int pack_zip_descriptor(const struct pack_zip_opening *opening,
			       const struct pack_zip_member *member, uint64_t end, uint64_t next,
			       struct gw_error *error)
{
	uint8_t bytes[24] = { 0 };
	struct gw_bytes window = gw_bytes_read(bytes, sizeof bytes);
	uint64_t n = next - end, mark_bytes = n == 16 || n == 24 ? 4 : 0;
	unsigned size_bytes = n < 20 ? 4 : 8;
	int code;

	if (!(member->flags & PACK_ZIP_FLAG_DESCRIPTOR)) {
		if (n == 0)
			return GW_OK;
		return zip_fail(opening, error, end, "%" PRIu64 " bytes that belong to no member,",
				n);
	}
	if (n != 12 && n != 16 && n != 20 && n != 24)
		return zip_fail(opening, error, end,
				"%" PRIu64 " bytes instead of a data descriptor", n);
	code = pack_file_read(opening->zip->file, bytes, n, end, error);
	if (code != GW_OK)
		return code;
	if ((mark_bytes && gw_get_u32(&window, 0) != PACK_ZIP_DESCRIPTOR_MARK) ||
	    gw_get_u32(&window, mark_bytes) != member->crc ||
	    gw_get(&window, mark_bytes + 4, size_bytes) != member->packed_bytes ||
	    gw_get(&window, mark_bytes + 4 + size_bytes, size_bytes) != member->size_bytes)
		return zip_fail(opening, error, end, "%s",
				"a data descriptor unlike the central directory");
	return GW_OK;
}

static int pack_zip_by_offset(const void *a, const void *b)
{
	const struct pack_zip_member *left = a, *right = b;

	return (left->offset_bytes > right->offset_bytes) -
	       (left->offset_bytes < right->offset_bytes);
}

/* The members, in the order of their offsets, fill the file up to the directory. */
static int pack_zip_locals(struct pack_zip_opening *opening, struct gw_error *error)
{
	struct pack_zip *zip = opening->zip;
	uint64_t end = 0;
	int code = GW_OK;

	qsort(zip->members, zip->n, sizeof *zip->members, pack_zip_by_offset);
	for (size_t i = 0; i <= zip->n; i++) {
		uint64_t next =
			i < zip->n ? zip->members[i].offset_bytes : opening->end.directory_offset;

		if (next < end)
			return zip_fail(
				opening, error, next,
				"a member or the directory overlaps the member before it,%s", "");
		if (i > 0)
			code = pack_zip_descriptor(opening, &zip->members[i - 1], end, next, error);
		else if (next > 0)
			code = zip_fail(opening, error, end,
					"%" PRIu64 " bytes before the first member,", next);
		if (code == GW_OK && i < zip->n)
			code = pack_zip_local(opening, &zip->members[i], error);
		if (code != GW_OK)
			return code;
		if (i < zip->n &&
		    zip->members[i].packed_bytes >
			    opening->end.directory_offset - zip->members[i].offset_bytes)
			return zip_fail(opening, error, next,
					"a member of %" PRIu64
					" bytes that reaches into the directory,",
					zip->members[i].packed_bytes);
		end = i < zip->n ? zip->members[i].offset_bytes + zip->members[i].packed_bytes
				 : end;
	}
	return GW_OK;
}

static int pack_zip_by_name(const void *a, const void *b)
{
	const struct pack_zip_member *const *left = a, *const *right = b;

	return strcmp((*left)->name, (*right)->name);
}

static int pack_zip_names(struct pack_zip_opening *opening, struct gw_error *error)
{
	struct pack_zip *zip = opening->zip;
	char quoted[128];

	for (size_t i = 0; i < zip->n; i++)
		zip->by_name[i] = &zip->members[i];
	qsort(zip->by_name, zip->n, sizeof(struct pack_zip_member *), pack_zip_by_name);
	for (size_t i = 1; i < zip->n; i++) {
		const char *name = zip->by_name[i]->name;

		if (strcmp(name, zip->by_name[i - 1]->name) == 0)
			return zip_fail(opening, error, zip->by_name[i]->offset_bytes,
					"a second member called \"%s\"",
					gw_quote(name, strlen(name), quoted, sizeof quoted));
	}
	return GW_OK;
}

int pack_zip_open(const struct pack_file *file, struct pack_zip **out_zip, struct gw_error *error)
{
	struct pack_zip_opening opening = { .zip = calloc(1, sizeof(struct pack_zip)) };
	int code;

	if (!opening.zip)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	opening.zip->file = file;
	gw_quote(file->name, strlen(file->name), opening.quoted_file, sizeof opening.quoted_file);
	code = pack_zip_end_read(file, &opening.end, error);
	if (code == GW_OK)
		code = pack_zip_entries(&opening, error);
	if (code == GW_OK)
		code = pack_zip_locals(&opening, error);
	if (code == GW_OK)
		code = pack_zip_names(&opening, error);
	free(opening.local);
	if (code != GW_OK) {
		pack_zip_free(opening.zip);
		return code;
	}
	*out_zip = opening.zip;
	return GW_OK;
}

void pack_zip_free(struct pack_zip *zip)
{
	if (!zip)
		return;
	free(zip->directory);
	free(zip->members);
	free(zip->by_name);
	free(zip);
}

struct pack_zip_member *pack_zip_find(const struct pack_zip *zip, const char *name)
{
	struct pack_zip_member key = { .name = name }, *wanted = &key;
	struct pack_zip_member **found =
		bsearch(&wanted, zip->by_name, zip->n, sizeof(struct pack_zip_member *),
			pack_zip_by_name);

	return found ? *found : NULL;
}
