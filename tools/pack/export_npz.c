/* SPDX-License-Identifier: MIT */
#include "tools/pack/export_npz.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "format/bytes.h"
#include "tools/common/npy.h"

/* PKWARE's APPNOTE.TXT 4.3.7, 4.3.12, 4.3.14 to 4.3.16: marks and the sizes of fixed parts. */
#define PACK_ZIP_LOCAL_MARK UINT32_C(0x04034b50)
#define PACK_ZIP_LOCAL_BYTES 30
#define PACK_ZIP_ENTRY_MARK UINT32_C(0x02014b50)
#define PACK_ZIP_ENTRY_BYTES 46
#define PACK_ZIP_END64_MARK UINT32_C(0x06064b50)
#define PACK_ZIP_END64_BYTES 56
#define PACK_ZIP_LOCATOR_MARK UINT32_C(0x07064b50)
#define PACK_ZIP_LOCATOR_BYTES 20
#define PACK_ZIP_END_MARK UINT32_C(0x06054b50)
#define PACK_ZIP_END_BYTES 22
/* 4.5.3: tag, length and up to three numbers */
#define PACK_ZIP_WIDE_TAG 0x0001
#define PACK_ZIP_WIDE_BYTES 28
/* 4.4.3: the version of the specification that a reader needs, without and with zip64 */
#define PACK_ZIP_VERSION 20
#define PACK_ZIP_VERSION_WIDE 45
/* 4.4.2: the upper byte of "made by", the file attributes are those of Unix */
#define PACK_ZIP_UNIX (3 << 8)
#define PACK_ZIP_UNIX_FILE (UINT32_C(0100644) << 16)
#define PACK_ZIP_FLAG_UTF8 0x0800
/* 1980-01-01, the first day there is (year - 1980 << 9 | month << 5 | day): archives of one pack are
 * the same */
#define PACK_ZIP_DATE (1 << 5 | 1)
/*
 * The extra field by which Android's zipalign moves the data of a member to a multiple: tag, length,
 * the multiple, zeros. Readers that do not know it skip it.
 */
#define PACK_ZIP_ALIGN_TAG 0xd935
#define PACK_ZIP_ALIGN_MIN_BYTES 6
/* What NumPy aligns values to (numpy.lib.format.ARRAY_ALIGN). */
#define PACK_NPZ_ALIGN 64
#define PACK_NPZ_ENDING ".npy"
#define PACK_NPZ_NAME_BYTES (GW_NAME_BYTES + sizeof PACK_NPZ_ENDING)
/* Enough for eight dimensions of 20 digits. */
#define PACK_NPZ_HEADER_BYTES 320

/* A member: its local header, then the .npy file, of size_bytes. */
struct pack_npz_member {
	const struct gw_tensor *tensor;
	uint64_t offset;      /* of the local header */
	uint64_t file_offset; /* of the .npy file */
	uint64_t data_offset; /* of the values */
	uint64_t size_bytes;
	uint32_t crc; /* of what has been written of it so far */
};

struct pack_npz_out {
	const struct gw_pack *pack;
	struct pack_npz_member *members; /* of the pack's tensors, in their order */
	size_t n;
	uint64_t end; /* of the members */
};

static size_t pack_npz_name(const struct pack_npz_member *member, char out[PACK_NPZ_NAME_BYTES])
{
	return (size_t)snprintf(out, PACK_NPZ_NAME_BYTES, "%s" PACK_NPZ_ENDING,
				member->tensor->name);
}

static bool pack_npz_is_wide(const struct pack_npz_member *member)
{
	return member->size_bytes >= UINT32_MAX;
}

/* Without the extra field for the alignment, which fills the rest. */
static uint64_t pack_npz_local_bytes(const struct pack_npz_member *member)
{
	return PACK_ZIP_LOCAL_BYTES + strlen(member->tensor->name) + strlen(PACK_NPZ_ENDING) +
	       (pack_npz_is_wide(member) ? 20 : 0);
}

/* The .npy header of a tensor, as numpy.save writes it; returns its length. */
static size_t pack_npz_header(const struct gw_tensor *tensor, char out[PACK_NPZ_HEADER_BYTES])
{
	size_t at = TOOL_NPY_MAGIC_BYTES + 4, n;
	struct gw_bytes window = gw_bytes_write((uint8_t *)out, PACK_NPZ_HEADER_BYTES);

	at += (size_t)snprintf(out + at, PACK_NPZ_HEADER_BYTES - at,
			       "{'descr': '<f%u', 'fortran_order': False, 'shape': (",
			       gw_dtype_bytes(pack_export_type(tensor)));
	for (unsigned i = 0; i < tensor->rank; i++)
		at += (size_t)snprintf(out + at, PACK_NPZ_HEADER_BYTES - at, "%s%" PRIu64,
				       i ? ", " : "", tensor->shape[i]);
	at += (size_t)snprintf(out + at, PACK_NPZ_HEADER_BYTES - at, "%s), }",
			       tensor->rank == 1 ? "," : "");
	n = (at + 1 + PACK_NPZ_ALIGN - 1) & ~(size_t)(PACK_NPZ_ALIGN - 1);
	memset(out + at, ' ', n - at);
	out[n - 1] = '\n';
	gw_put_bytes(&window, 0, TOOL_NPY_MAGIC, TOOL_NPY_MAGIC_BYTES);
	gw_put_u16(&window, TOOL_NPY_MAGIC_BYTES, 1); /* version 1.0 */
	gw_put_u16(&window, TOOL_NPY_MAGIC_BYTES + 2, n - TOOL_NPY_MAGIC_BYTES - 4);
	return n;
}

static int pack_npz_check(const struct gw_tensor *tensor, struct gw_error *error)
{
	char quoted[128];

	if (tensor->dtype != GW_BF16)
		return GW_OK;
	return gw_fail(error, GW_E_ARGUMENT, GW_NO_OFFSET,
		       "\"%s\" has the type bf16, which NumPy does not have: unpack it --to "
		       "safetensors, or make a pack of it with pack --dtype f32, which loses nothing",
		       gw_quote(tensor->name, strlen(tensor->name), quoted, sizeof quoted));
}

/* Where the member is, which begins at offset; writes the header of its .npy file. */
static int pack_npz_place(struct pack_npz_member *member, uint64_t offset, struct gw_outfile *out,
			  struct gw_error *error)
{
	const struct gw_tensor *tensor = member->tensor;
	char header[PACK_NPZ_HEADER_BYTES];
	size_t n = pack_npz_header(tensor, header);

	member->offset = offset;
	/* a pack has at most 2^39 bytes: none of this wraps */
	member->size_bytes = n + pack_export_bytes(tensor);
	member->file_offset = (offset + pack_npz_local_bytes(member) + PACK_ZIP_ALIGN_MIN_BYTES +
			       PACK_NPZ_ALIGN - 1) &
			      ~(uint64_t)(PACK_NPZ_ALIGN - 1);
	member->data_offset = member->file_offset + n;
	member->crc = (uint32_t)crc32_z(0, (const uint8_t *)header, n);
	return gw_outfile_write(out, header, n, member->file_offset, error);
}

static void pack_npz_end(void *state)
{
	struct pack_npz_out *npz = state;

	if (npz)
		free(npz->members);
	free(npz);
}

static int pack_npz_begin(const struct gw_pack *pack, struct gw_outfile *out, void **out_state,
			  struct gw_error *error)
{
	struct pack_npz_out *npz = calloc(1, sizeof *npz);
	int code = GW_OK;

	if (npz)
		npz->members = calloc(pack->superblock.n_tensors, sizeof *npz->members);
	if (!npz || !npz->members) {
		pack_npz_end(npz);
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	}
	npz->pack = pack;
	npz->n = pack->superblock.n_tensors;
	for (size_t i = 0; code == GW_OK && i < npz->n; i++) {
		struct pack_npz_member *member = &npz->members[i];

		member->tensor = &pack->tensors[i];
		code = pack_npz_check(member->tensor, error);
		if (code == GW_OK)
			code = pack_npz_place(member, npz->end, out, error);
		npz->end = member->file_offset + member->size_bytes;
	}
	if (code != GW_OK) {
		pack_npz_end(npz);
		return code;
	}
	*out_state = npz;
	return GW_OK;
}

static int pack_npz_write(void *state, struct gw_outfile *out, const struct gw_tensor *tensor,
			  uint64_t within, const uint8_t *bytes, uint64_t n, struct gw_error *error)
{
	struct pack_npz_out *npz = state;
	struct pack_npz_member *member = &npz->members[tensor - npz->pack->tensors];

	member->crc = (uint32_t)crc32_z(member->crc, bytes, n);
	return gw_outfile_write(out, bytes, n, member->data_offset + within, error);
}

/* Version, flags, method, time, CRC and sizes, which both headers have; at: of the version. */
static void pack_npz_common(const struct pack_npz_member *member, bool is_wide,
			    struct gw_bytes *window, uint64_t at)
{
	uint32_t size_bytes = pack_npz_is_wide(member) ? UINT32_MAX : (uint32_t)member->size_bytes;
	bool is_utf8 = false;

	for (const char *c = member->tensor->name; *c; c++)
		is_utf8 = is_utf8 || (*c & 0x80);
	gw_put_u16(window, at, is_wide ? PACK_ZIP_VERSION_WIDE : PACK_ZIP_VERSION);
	gw_put_u16(window, at + 2, is_utf8 ? PACK_ZIP_FLAG_UTF8 : 0);
	gw_put_u16(window, at + 4, 0); /* stored */
	gw_put_u16(window, at + 6, 0); /* midnight */
	gw_put_u16(window, at + 8, PACK_ZIP_DATE);
	gw_put_u32(window, at + 10, member->crc);
	gw_put_u32(window, at + 14, size_bytes); /* packed … */
	gw_put_u32(window, at + 18, size_bytes); /* … and not */
}

/* The zip64 field with its n numbers at at; its length. */
static uint64_t pack_npz_put_wide(struct gw_bytes *window, uint64_t at, const uint64_t *numbers,
				  size_t n)
{
	if (n == 0)
		return 0;
	gw_put_u16(window, at, PACK_ZIP_WIDE_TAG);
	gw_put_u16(window, at + 2, (uint16_t)(8 * n));
	for (size_t i = 0; i < n; i++)
		gw_put_u64(window, at + 4 + 8 * i, numbers[i]);
	return 4 + 8 * n;
}

static int pack_npz_put_local(const struct pack_npz_member *member, struct gw_outfile *out,
			      struct gw_error *error)
{
	uint8_t bytes[PACK_ZIP_LOCAL_BYTES + PACK_NPZ_NAME_BYTES + PACK_ZIP_WIDE_BYTES +
		      PACK_ZIP_ALIGN_MIN_BYTES + PACK_NPZ_ALIGN] = { 0 };
	struct gw_bytes window = gw_bytes_write(bytes, sizeof bytes);
	const uint64_t sizes[] = { member->size_bytes, member->size_bytes };
	uint64_t n = member->file_offset - member->offset, at = PACK_ZIP_LOCAL_BYTES;
	char name[PACK_NPZ_NAME_BYTES];
	size_t name_bytes = pack_npz_name(member, name);

	gw_put_u32(&window, 0, PACK_ZIP_LOCAL_MARK);
	pack_npz_common(member, pack_npz_is_wide(member), &window, 4);
	gw_put_u16(&window, 26, (uint16_t)name_bytes);
	gw_put_u16(&window, 28, (uint16_t)(n - at - name_bytes));
	gw_put_bytes(&window, at, name, name_bytes);
	at += name_bytes;
	at += pack_npz_put_wide(&window, at, sizes, pack_npz_is_wide(member) ? 2 : 0);
	gw_put_u16(&window, at, PACK_ZIP_ALIGN_TAG);
	gw_put_u16(&window, at + 2, (uint16_t)(n - at - 4));
	gw_put_u16(&window, at + 4, PACK_NPZ_ALIGN);
	return gw_outfile_write(out, bytes, n, member->offset, error);
}

/* The entry of the central directory at *at, which moves on. */
static int pack_npz_put_entry(const struct pack_npz_member *member, struct gw_outfile *out,
			      uint64_t *at, struct gw_error *error)
{
	uint8_t bytes[PACK_ZIP_ENTRY_BYTES + PACK_NPZ_NAME_BYTES + PACK_ZIP_WIDE_BYTES] = { 0 };
	struct gw_bytes window = gw_bytes_write(bytes, sizeof bytes);
	bool is_far = member->offset >= UINT32_MAX;
	bool is_wide = is_far || pack_npz_is_wide(member);
	uint64_t numbers[3], n = PACK_ZIP_ENTRY_BYTES, wide_bytes, begin = *at;
	size_t n_numbers = 0;
	char name[PACK_NPZ_NAME_BYTES];
	size_t name_bytes = pack_npz_name(member, name);

	if (pack_npz_is_wide(member)) {
		numbers[n_numbers++] = member->size_bytes;
		numbers[n_numbers++] = member->size_bytes;
	}
	if (is_far)
		numbers[n_numbers++] = member->offset;
	gw_put_u32(&window, 0, PACK_ZIP_ENTRY_MARK);
	gw_put_u16(&window, 4, PACK_ZIP_UNIX | PACK_ZIP_VERSION_WIDE);
	pack_npz_common(member, is_wide, &window, 6);
	gw_put_u16(&window, 28, (uint16_t)name_bytes);
	/* no comment, on the first disk, no internal attributes: zeros */
	gw_put_u32(&window, 38, PACK_ZIP_UNIX_FILE);
	gw_put_u32(&window, 42, is_far ? UINT32_MAX : (uint32_t)member->offset);
	gw_put_bytes(&window, n, name, name_bytes);
	n += name_bytes;
	wide_bytes = pack_npz_put_wide(&window, n, numbers, n_numbers);
	gw_put_u16(&window, 30, (uint16_t)wide_bytes);
	*at += n + wide_bytes;
	return gw_outfile_write(out, bytes, n + wide_bytes, begin, error);
}

/* The end records at end, behind the directory that begins at directory. */
static int pack_npz_put_end(const struct pack_npz_out *npz, struct gw_outfile *out,
			    uint64_t directory, uint64_t end, struct gw_error *error)
{
	uint8_t bytes[PACK_ZIP_END64_BYTES + PACK_ZIP_LOCATOR_BYTES + PACK_ZIP_END_BYTES] = { 0 };
	struct gw_bytes window = gw_bytes_write(bytes, sizeof bytes);
	bool is_far = directory >= UINT32_MAX; /* the directory itself has a few MB at most */
	uint64_t at = 0;

	if (is_far) {
		gw_put_u32(&window, 0, PACK_ZIP_END64_MARK);
		gw_put_u64(&window, 4, PACK_ZIP_END64_BYTES - 12); /* of what follows */
		gw_put_u16(&window, 12, PACK_ZIP_UNIX | PACK_ZIP_VERSION_WIDE);
		gw_put_u16(&window, 14, PACK_ZIP_VERSION_WIDE);
		gw_put_u64(&window, 24, npz->n);
		gw_put_u64(&window, 32, npz->n);
		gw_put_u64(&window, 40, end - directory);
		gw_put_u64(&window, 48, directory);
		at = PACK_ZIP_END64_BYTES;
		gw_put_u32(&window, at, PACK_ZIP_LOCATOR_MARK);
		gw_put_u64(&window, at + 8, end);
		gw_put_u32(&window, at + 16, 1); /* disk in all */
		at += PACK_ZIP_LOCATOR_BYTES;
	}
	gw_put_u32(&window, at, PACK_ZIP_END_MARK);
	/* GW_MAX_TENSORS is below what these two hold */
	gw_put_u16(&window, at + 8, (uint16_t)npz->n);
	gw_put_u16(&window, at + 10, (uint16_t)npz->n);
	gw_put_u32(&window, at + 12, (uint32_t)(end - directory));
	gw_put_u32(&window, at + 16, is_far ? UINT32_MAX : (uint32_t)directory);
	return gw_outfile_write(out, bytes, at + PACK_ZIP_END_BYTES, end, error);
}

static int pack_npz_finish(void *state, struct gw_outfile *out, struct gw_error *error)
{
	const struct pack_npz_out *npz = state;
	uint64_t at = npz->end;
	int code = GW_OK;

	for (size_t i = 0; code == GW_OK && i < npz->n; i++)
		code = pack_npz_put_local(&npz->members[i], out, error);
	for (size_t i = 0; code == GW_OK && i < npz->n; i++)
		code = pack_npz_put_entry(&npz->members[i], out, &at, error);
	return code == GW_OK ? pack_npz_put_end(npz, out, npz->end, at, error) : code;
}

const struct pack_exporter pack_export_npz = {
	.name = "npz",
	.begin = pack_npz_begin,
	.write = pack_npz_write,
	.finish = pack_npz_finish,
	.end = pack_npz_end,
};
