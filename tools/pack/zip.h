/* SPDX-License-Identifier: MIT */
/*
 * Zip archives (PKWARE's APPNOTE.TXT 6.3), read strictly: the members and the central directory
 * cover the file from its first byte to its last without hole or overlap, every local header says
 * what the directory says, names are unique. Stored and deflated members, zip64, data descriptors,
 * comments and any extra fields are read; encryption, several disks and other methods are refused.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/status.h"
#include "tools/pack/file.h"

struct pack_zip_member {
	const char *name;      /* valid UTF-8, not empty, no NUL; lives as long as the archive */
	uint64_t offset_bytes; /* of its data in the file */
	uint64_t packed_bytes; /* of these; as many as size_bytes if it is stored */
	uint64_t size_bytes;
	uint32_t crc;
	uint16_t flags; /* as both headers have them */
	bool deflated;  /* false: stored, the data lie in the file as they are */
	bool verified;  /* pack_zip_verify has found them right */
	bool counted;   /* among thin_bytes: once, however often it is read */
};

struct pack_zip {
	const struct pack_file *file;    /* borrowed */
	struct pack_zip_member *members; /* in the order in which they lie in the file */
	size_t n;
	struct pack_zip_member **by_name; /* the same, sorted */
	uint8_t *directory;               /* holds the names */
	uint64_t held_bytes;              /* of memory, all of the above */
	uint64_t thin_bytes; /* of members read to their end that are beyond PACK_MAX_ZIP_RATIO */
};

/*
 * Reads and checks the directory and every local header; no data. file is borrowed until
 * pack_zip_free. *out_zip is the caller's. Memory: less than twice PACK_MAX_ZIP_DIRECTORY_BYTES.
 * Errors: GW_E_SOURCE, GW_E_IO, GW_E_CHANGED, GW_E_MEMORY.
 */
int pack_zip_open(const struct pack_file *file, struct pack_zip **out_zip, struct gw_error *error);

void pack_zip_free(struct pack_zip *zip); /* NULL is fine */

/* The member of that name, or NULL. */
struct pack_zip_member *pack_zip_find(const struct pack_zip *zip, const char *name);

/*
 * Reads all of a member once and compares its size and CRC; a member that was found right is not
 * read again. Afterwards the values of a stored one may be taken from the file directly
 * (pack_file_read at offset_bytes), and those of a deflated one from a stream that is not read to
 * its end: every reader verifies a member before it uses any byte of it. Errors: GW_E_SOURCE,
 * GW_E_IO, GW_E_CHANGED, GW_E_MEMORY.
 */
int pack_zip_verify(struct pack_zip *zip, struct pack_zip_member *member, struct gw_error *error);

/*
 * A member's contents from beginning to end, inflated where they are deflated; some 110 KiB.
 * GW_E_SOURCE for a bomb (PACK_MAX_ZIP_RATIO), GW_E_MEMORY.
 */
struct pack_zip_stream;

int pack_zip_stream_new(struct pack_zip *zip, struct pack_zip_member *member,
			struct pack_zip_stream **out_stream, struct gw_error *error);

/*
 * The next n bytes; GW_E_SOURCE beyond size_bytes. The read that gives the last byte also checks
 * the CRC, and that the archive is no bomb of many members (PACK_MAX_ZIP_THIN_BYTES), so who reads to the end (of an empty member: n = 0) need not verify. out NULL: skips
 * them. Errors: those of pack_zip_verify; the stream is of no use after one.
 */
int pack_zip_stream_read(struct pack_zip_stream *stream, void *out, uint64_t n,
			 struct gw_error *error);

uint64_t pack_zip_stream_at(const struct pack_zip_stream *stream); /* bytes read so far */

void pack_zip_stream_free(struct pack_zip_stream *stream); /* NULL is fine */
