/* SPDX-License-Identifier: MIT */
/*
 * Archives are taken apart without trust in their lengths: a member is what lies between two marks.
 * What is written has the simplest headers there are; libFuzzer's own changes make others of them.
 */
#include <stdbool.h>
#include <string.h>
#include <zlib.h>

#include "format/bytes.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate.h"

#define MAX_MEMBERS 16
#define MAX_CONTENT_BYTES 65536
#define LOCAL_BYTES 30
#define ENTRY_BYTES 46
#define END_BYTES 22
#define DEFLATED 8

struct member {
	uint8_t name[64];
	size_t name_bytes;
	bool deflated;
	uint32_t crc;
	uint8_t *content; /* inflated; room for MAX_CONTENT_BYTES, as in packed */
	size_t bytes;
	uint8_t *packed;
	size_t packed_bytes;
	size_t offset;
};

static size_t next_mark(const uint8_t *data, size_t bytes, size_t at)
{
	while (at + 4 <= bytes && (memcmp(data + at, "PK", 2) != 0 || data[at + 2] > 7 ||
				   data[at + 3] != data[at + 2] + 1))
		at++;
	return at + 4 <= bytes ? at : bytes;
}

/*
 * zlib's raw deflate, either way; 0: it does not go. Its states, some 300 KiB, are kept: to make
 * them anew takes longer than all the rest.
 */
static size_t recode(bool inflating, uint8_t *in, size_t bytes, uint8_t *out, size_t room_bytes)
{
	static z_stream inflater, deflater;
	z_stream *z = inflating ? &inflater : &deflater;

	if (!z->state)
		FUZZ_CHECK((inflating ? inflateInit2(z, -MAX_WBITS)
				      : deflateInit2(z, 1, Z_DEFLATED, -MAX_WBITS, 8,
						     Z_DEFAULT_STRATEGY)) == Z_OK);
	FUZZ_CHECK((inflating ? inflateReset(z) : deflateReset(z)) == Z_OK);
	z->next_in = in;
	z->avail_in = (uInt)bytes;
	z->next_out = out;
	z->avail_out = (uInt)room_bytes;
	if (inflating)
		inflate(z, Z_FINISH);
	else
		deflate(z, Z_FINISH);
	return room_bytes - z->avail_out;
}

/* The members; their number. What they contain is valid until the next call. */
static size_t take_apart(uint8_t *data, size_t bytes, struct member *members)
{
	static uint8_t contents[MAX_MEMBERS][2][MAX_CONTENT_BYTES];
	size_t n = 0;

	for (size_t at = next_mark(data, bytes, 0); at + LOCAL_BYTES <= bytes && n < MAX_MEMBERS;) {
		size_t next = next_mark(data, bytes, at + 4);
		struct gw_bytes in = gw_bytes_read(data + at, next - at);
		size_t name_bytes = gw_get_u16(&in, 26);
		size_t head = LOCAL_BYTES + name_bytes + gw_get_u16(&in, 28);
		struct member *member = &members[n];

		if (data[at + 2] == 3 && !in.overrun && head <= next - at &&
		    name_bytes <= sizeof member->name) {
			*member = (struct member) { .name_bytes = name_bytes,
						    .deflated = gw_get_u16(&in, 8) == DEFLATED,
						    .content = contents[n][0],
						    .packed = contents[n][1] };
			memcpy(member->name, data + at + LOCAL_BYTES, name_bytes);
			member->bytes = next - at - head;
			if (member->bytes > MAX_CONTENT_BYTES / 2)
				member->bytes = MAX_CONTENT_BYTES / 2;
			if (member->deflated)
				member->bytes = recode(true, data + at + head, member->bytes,
						       member->content, MAX_CONTENT_BYTES / 2);
			else
				memcpy(member->content, data + at + head, member->bytes);
			n++;
		}
		at = next;
	}
	return n;
}

/* Fields that local headers and the directory have in common, from the flags on. */
static void put_common(struct gw_bytes *out, size_t at, const struct member *member)
{
	gw_put_u16(out, at + 2, member->deflated ? DEFLATED : 0);
	gw_put_u16(out, at + 6, 0x21); /* 1980-01-01 */
	gw_put_u32(out, at + 8, member->crc);
	gw_put_u32(out, at + 12, member->packed_bytes);
	gw_put_u32(out, at + 16, member->bytes);
	gw_put_u16(out, at + 20, (uint16_t)member->name_bytes);
}

/* Returns the size; 0: there is no room. */
static size_t put_together(struct member *members, size_t n, uint8_t *data, size_t room_bytes)
{
	struct gw_bytes out = gw_bytes_write(data, room_bytes);
	size_t at = 0, directory;

	memset(data, 0, room_bytes < 4096 ? room_bytes : 4096);
	for (size_t i = 0; i < n; i++) {
		struct member *member = &members[i];
		size_t head = LOCAL_BYTES + member->name_bytes;

		member->crc = (uint32_t)crc32(0, member->content, (uInt)member->bytes);
		member->offset = at;
		member->packed_bytes = member->deflated
					       ? recode(false, member->content, member->bytes,
							member->packed, MAX_CONTENT_BYTES)
					       : member->bytes;
		if (room_bytes - at < head + member->packed_bytes)
			return 0;
		memset(data + at, 0, head);
		gw_put_u32(&out, at, 0x04034b50);
		gw_put_u16(&out, at + 4, 20);
		put_common(&out, at + 6, member);
		memcpy(data + at + LOCAL_BYTES, member->name, member->name_bytes);
		memcpy(data + at + head, member->deflated ? member->packed : member->content,
		       member->packed_bytes);
		at += head + member->packed_bytes;
	}
	directory = at;
	for (size_t i = 0; i < n; i++) {
		size_t head = ENTRY_BYTES + members[i].name_bytes;

		if (room_bytes - at < head)
			return 0;
		memset(data + at, 0, head);
		gw_put_u32(&out, at, 0x02014b50);
		put_common(&out, at + 8, &members[i]);
		gw_put_u32(&out, at + 42, members[i].offset);
		memcpy(data + at + ENTRY_BYTES, members[i].name, members[i].name_bytes);
		at += head;
	}
	if (room_bytes - at < END_BYTES)
		return 0;
	memset(data + at, 0, END_BYTES);
	gw_put_u32(&out, at, 0x06054b50);
	gw_put_u16(&out, at + 8, (uint16_t)n);
	gw_put_u16(&out, at + 10, (uint16_t)n);
	gw_put_u32(&out, at + 12, at - directory);
	gw_put_u32(&out, at + 16, directory);
	return at + END_BYTES;
}

size_t fuzz_zip_mutate(uint8_t *data, size_t bytes, size_t room_bytes, unsigned seed,
		       fuzz_mutate *mutate_member)
{
	struct member members[MAX_MEMBERS];
	uint64_t state = seed, dice = fuzz_random(&state) % 8;
	size_t made = 0, n = dice == 0 ? 0 : take_apart(data, bytes, members);

	if (n > 0) {
		struct member *member = &members[fuzz_random(&state) % n];

		/* the first one, of PyTorch's the pickle, is the most interesting one */
		if (dice > 3)
			member = &members[0];
		if (dice == 1)
			member->deflated = !member->deflated;
		else
			member->bytes = mutate_member(member->content, member->bytes,
						      MAX_CONTENT_BYTES / 2);
		if (dice == 2)
			member->name_bytes = LLVMFuzzerMutate(member->name, member->name_bytes,
							      sizeof member->name);
		made = put_together(members, n, data, room_bytes);
	}
	/* without room the archive is damaged, which is worth a try too */
	return made ? made : LLVMFuzzerMutate(data, bytes, room_bytes);
}
