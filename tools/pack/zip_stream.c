/* SPDX-License-Identifier: MIT */
#include "tools/pack/zip.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "tools/pack/limits.h"

/* Read from the file, and thrown away when bytes are skipped, at a time. */
#define PACK_ZIP_CHUNK_BYTES UINT64_C(32768)

struct pack_zip_stream {
	struct pack_zip *zip;
	struct pack_zip_member *member;
	uint64_t at;        /* of its contents */
	uint64_t packed_at; /* of its data: what has been read from the file */
	uint32_t crc;
	bool inflating, ended; /* ended: deflate's last block is over */
	z_stream z;
	uint8_t in[PACK_ZIP_CHUNK_BYTES];
	uint8_t skipped[PACK_ZIP_CHUNK_BYTES];
};

static int pack_zip_stream_fail(const struct pack_zip_stream *stream, const char *what,
				struct gw_error *error)
{
	const char *file = stream->zip->file->name, *name = stream->member->name;
	char quoted_file[96], quoted[128];

	return gw_fail(error, GW_E_SOURCE, stream->member->offset_bytes,
		       "%s: member \"%s\" (data at offset %" PRIu64 ") %s",
		       gw_quote(file, strlen(file), quoted_file, sizeof quoted_file),
		       gw_quote(name, strlen(name), quoted, sizeof quoted),
		       stream->member->offset_bytes, what);
}

/* Whether it is far larger than its deflated data. */
static bool pack_zip_is_thin(const struct pack_zip_member *member)
{
	return member->size_bytes / PACK_MAX_ZIP_RATIO > member->packed_bytes;
}

int pack_zip_stream_new(struct pack_zip *zip, struct pack_zip_member *member,
			struct pack_zip_stream **out_stream, struct gw_error *error)
{
	struct pack_zip_stream *stream = calloc(1, sizeof *stream);
	int code;

	if (!stream)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	stream->zip = zip;
	stream->member = member;
	if (member->size_bytes > PACK_ZIP_FREE_BYTES && pack_zip_is_thin(member)) {
		code = pack_zip_stream_fail(stream, "is a bomb: far larger than its deflated data",
					    error);
		free(stream);
		return code;
	}
	/* negative: deflate without zlib's header */
	if (member->deflated && inflateInit2(&stream->z, -MAX_WBITS) != Z_OK) {
		free(stream);
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	}
	stream->inflating = member->deflated;
	*out_stream = stream;
	return GW_OK;
}

void pack_zip_stream_free(struct pack_zip_stream *stream)
{
	if (stream && stream->inflating)
		inflateEnd(&stream->z);
	free(stream);
}

uint64_t pack_zip_stream_at(const struct pack_zip_stream *stream)
{
	return stream->at;
}

static int pack_zip_read_stored(struct pack_zip_stream *stream, uint8_t *out, uint64_t n,
				struct gw_error *error)
{
	int code = pack_file_read(stream->zip->file, out, n,
				  stream->member->offset_bytes + stream->packed_at, error);

	if (code == GW_OK)
		stream->packed_at += n;
	return code;
}

/* More of the member's data for the inflater, if it has none. */
static int pack_zip_refill(struct pack_zip_stream *stream, struct gw_error *error)
{
	uint64_t n = stream->member->packed_bytes - stream->packed_at;
	int code;

	if (stream->z.avail_in > 0 || n == 0)
		return GW_OK;
	n = n < sizeof stream->in ? n : sizeof stream->in;
	code = pack_zip_read_stored(stream, stream->in, n, error);
	stream->z.next_in = stream->in;
	stream->z.avail_in = code == GW_OK ? (uInt)n : 0;
	return code;
}

/* n bytes, at most PACK_ZIP_CHUNK_BYTES; n 0: up to the end of the last block. */
static int pack_zip_inflate(struct pack_zip_stream *stream, uint8_t *out, uint64_t n,
			    struct gw_error *error)
{
	uint8_t beyond;

	/* room for a byte too many shows data that go on beyond the size */
	stream->z.next_out = n ? out : &beyond;
	stream->z.avail_out = n ? (uInt)n : 1;
	while (!stream->ended && stream->z.avail_out > 0) {
		int code = pack_zip_refill(stream, error);
		int state;

		if (code != GW_OK)
			return code;
		state = inflate(&stream->z, Z_NO_FLUSH);
		if (state == Z_STREAM_END)
			stream->ended = true;
		else if (state == Z_MEM_ERROR)
			return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
		else if (state != Z_OK)
			return pack_zip_stream_fail(stream, "is damaged, or shorter than it says",
						    error);
	}
	if (n && stream->z.avail_out > 0)
		return pack_zip_stream_fail(stream, "is shorter than it says", error);
	if (!n && stream->z.avail_out == 0)
		return pack_zip_stream_fail(stream, "is longer than it says", error);
	return GW_OK;
}

/* Many small bombs are a large one. */
static int pack_zip_count(struct pack_zip_stream *stream, struct gw_error *error)
{
	struct pack_zip *zip = stream->zip;

	if (stream->member->counted || !pack_zip_is_thin(stream->member))
		return GW_OK;
	stream->member->counted = true;
	zip->thin_bytes += stream->member->size_bytes; /* each at most PACK_ZIP_FREE_BYTES */
	if (zip->thin_bytes > PACK_MAX_ZIP_THIN_BYTES)
		return pack_zip_stream_fail(stream,
					    "is part of a bomb: with those before it, far larger "
					    "than the deflated data",
					    error);
	return GW_OK;
}

/* All bytes have been read: nothing may follow in the data, and the CRC must be right. */
static int pack_zip_finish(struct pack_zip_stream *stream, struct gw_error *error)
{
	int code = stream->inflating ? pack_zip_inflate(stream, NULL, 0, error) : GW_OK;

	if (code != GW_OK)
		return code;
	if (stream->packed_at != stream->member->packed_bytes || stream->z.avail_in > 0)
		return pack_zip_stream_fail(stream, "has bytes after its deflated data", error);
	if (stream->crc != stream->member->crc)
		return pack_zip_stream_fail(stream, "does not have the CRC that it says", error);
	return pack_zip_count(stream, error);
}

int pack_zip_stream_read(struct pack_zip_stream *stream, void *out, uint64_t n,
			 struct gw_error *error)
{
	int code = GW_OK;

	if (n > stream->member->size_bytes - stream->at)
		return pack_zip_stream_fail(stream, "is shorter than what is asked of it", error);
	for (uint64_t done = 0, some; code == GW_OK && done < n; done += some) {
		uint8_t *to = out ? (uint8_t *)out + done : stream->skipped;

		some = n - done < PACK_ZIP_CHUNK_BYTES ? n - done : PACK_ZIP_CHUNK_BYTES;
		code = stream->inflating ? pack_zip_inflate(stream, to, some, error)
					 : pack_zip_read_stored(stream, to, some, error);
		if (code == GW_OK)
			stream->crc = (uint32_t)crc32(stream->crc, to, (uInt)some);
		stream->at += some;
	}
	if (code == GW_OK && stream->at == stream->member->size_bytes)
		code = pack_zip_finish(stream, error);
	return code;
}

int pack_zip_verify(struct pack_zip *zip, struct pack_zip_member *member, struct gw_error *error)
{
	struct pack_zip_stream *stream = NULL;
	int code;

	if (member->verified)
		return GW_OK;
	code = pack_zip_stream_new(zip, member, &stream, error);
	if (code == GW_OK)
		code = pack_zip_stream_read(stream, NULL, member->size_bytes, error);
	pack_zip_stream_free(stream);
	member->verified = code == GW_OK;
	return code;
}
