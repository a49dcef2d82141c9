/* SPDX-License-Identifier: MIT */
/*
 * Packs: what opens is described completely by what was read from it, a file and a memory are
 * judged alike, units cover every byte once, and no byte can change unnoticed.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "format/bytes.h"
#include "format/reader.h"
#include "format/unit_reader.h"
#include "tests/fuzz/fuzz.h"

/* A small file may stand for a large image: so much of it is decoded. */
#define DECODED_UNITS 8

/* What a reader may need for a superblock that is right but lies about the rest (limits.h). */
#define MEMORY_BYTES (UINT64_C(64) << 20)

/* Everything before the data or the stored blocks, encoded anew from what was decoded. */
static void check_reencoding(const struct gw_pack *pack, const uint8_t *data)
{
	const struct gw_stored_regions at =
		gw_stored_regions(pack->regions.digests_end, pack->superblock.n_blocks);
	uint64_t meta_bytes = pack->stored ? at.blocks_offset : pack->regions.data_offset;
	uint8_t *again = calloc(1, meta_bytes);
	struct gw_bytes out = gw_bytes_write(again, meta_bytes);

	FUZZ_CHECK(again != NULL);
	gw_superblock_encode(&pack->superblock, again);
	gw_provenance_encode(&pack->provenance, again + GW_PROVENANCE_OFFSET);
	gw_directory_encode(pack->tensors, pack->superblock.n_tensors, again + GW_DIRECTORY_OFFSET);
	for (uint64_t i = 0; i < pack->superblock.n_blocks; i++)
		gw_put_u64(&out, pack->regions.digests_offset + 8 * i, pack->digests[i]);
	FUZZ_CHECK(!out.overrun);
	if (pack->stored)
		gw_stored_encode(pack->stored, pack->superblock.n_blocks, again + at.table_offset);
	FUZZ_CHECK(memcmp(again, data, meta_bytes) == 0);
	free(again);
}

/* Marks the bytes of a unit as covered. */
static void cover(uint8_t *covered, const struct gw_pack *pack, struct gw_unit unit)
{
	uint64_t image_bytes = pack->superblock.image_bytes;

	FUZZ_CHECK(unit.offset_bytes >= pack->regions.data_offset);
	FUZZ_CHECK(unit.offset_bytes <= image_bytes);
	FUZZ_CHECK(unit.size_bytes <= image_bytes - unit.offset_bytes);
	FUZZ_CHECK(unit.tensor ? unit.size_bytes >= 1 && unit.size_bytes <= GW_BLOCK_BYTES
			       : unit.size_bytes < GW_HUGE_PAGE_BYTES);
	for (uint64_t i = 0; i < unit.size_bytes; i++)
		FUZZ_CHECK(covered[unit.offset_bytes + i]++ == 0);
}

/* Every byte of the data lies in exactly one unit. Returns the code of the first bad unit. */
static int check_units(const struct gw_pack *pack, const uint8_t *data)
{
	uint64_t image_bytes = pack->superblock.image_bytes;
	uint8_t *covered = calloc(1, image_bytes);
	int first = GW_OK;

	FUZZ_CHECK(covered != NULL);
	for (uint64_t i = 0; i < gw_pack_unit_count(pack); i++) {
		struct gw_unit unit = gw_pack_unit(pack, i);
		struct gw_error error = GW_ERROR_INIT;
		int code;

		cover(covered, pack, unit);
		code = gw_pack_verify_unit(pack, i, data + unit.offset_bytes, &error);
		if (code) {
			fuzz_check_error(code, &error);
			FUZZ_CHECK(code == GW_E_PADDING ||
				   (unit.tensor && code == GW_E_BLOCK_DIGEST));
			FUZZ_CHECK(error.offset >= unit.offset_bytes &&
				   error.offset < unit.offset_bytes + unit.size_bytes);
		}
		first = first ? first : code;
	}
	FUZZ_CHECK(memchr(covered + pack->regions.data_offset, 0,
			  image_bytes - pack->regions.data_offset) == NULL);
	free(covered);
	return first;
}

static void check_tensors(const struct gw_pack *pack)
{
	const struct gw_tensor *wte = gw_pack_find(pack, GW_WTE_NAME);

	FUZZ_CHECK(wte != NULL && wte == pack->wte && wte->row_elements >= 1);
	FUZZ_CHECK(pack->wpe == gw_pack_find(pack, GW_WPE_NAME));
	for (uint32_t i = 0; i < pack->superblock.n_tensors; i++) {
		const struct gw_tensor *tensor = &pack->tensors[i];

		FUZZ_CHECK(gw_pack_find(pack, tensor->name) == tensor);
		FUZZ_CHECK(gw_tensor_row_payload(tensor) <= tensor->row_bytes);
		FUZZ_CHECK(tensor->row_bytes * tensor->row_count == tensor->data_bytes);
		FUZZ_CHECK(tensor->data_bytes + tensor->scales_bytes <= tensor->extent_bytes);
		FUZZ_CHECK(tensor->data_offset + tensor->extent_bytes <=
			   pack->superblock.image_bytes);
	}
}

/* In a pack that verifies, what belongs to no row and to no scale is zero. */
static void check_zeros(const struct gw_pack *pack, const uint8_t *data)
{
	uint64_t at = pack->regions.digests_end;

	for (uint32_t i = 0; i < pack->superblock.n_tensors; i++) {
		const struct gw_tensor *tensor = &pack->tensors[i];

		for (uint64_t row = 0; row < tensor->row_count; row++) {
			uint64_t begin = tensor->data_offset + row * tensor->row_bytes;

			for (; at < begin; at++)
				FUZZ_CHECK(data[at] == 0);
			at = begin + gw_tensor_row_payload(tensor);
		}
		for (; tensor->scales_bytes && at < tensor->scales_offset; at++)
			FUZZ_CHECK(data[at] == 0);
		at += tensor->scales_bytes;
	}
	for (; at < pack->superblock.image_bytes; at++)
		FUZZ_CHECK(data[at] == 0);
}

/* Stored blocks, decoded twice: the same bytes, or the same refusal; nothing beyond the unit. */
static void check_decoding(const struct gw_pack *pack, int fd)
{
	static uint8_t once[GW_HUGE_PAGE_BYTES + 1], twice[GW_HUGE_PAGE_BYTES + 1];
	struct gw_unit_reader *reader = NULL;
	struct gw_error error = GW_ERROR_INIT;

	FUZZ_CHECK(!gw_unit_reader_new(pack, fd, &gw_zstd_linked, &reader, &error));
	for (uint64_t i = 0; i < gw_pack_unit_count(pack) && i < DECODED_UNITS; i++) {
		struct gw_unit unit = gw_pack_unit(pack, i);
		int code;

		once[unit.size_bytes] = twice[unit.size_bytes] = 0x5a;
		code = gw_unit_reader_read(reader, i, once, &error);
		FUZZ_CHECK(gw_unit_reader_read(reader, i, twice, NULL) == code);
		FUZZ_CHECK(once[unit.size_bytes] == 0x5a && twice[unit.size_bytes] == 0x5a);
		if (!code) {
			FUZZ_CHECK(memcmp(once, twice, unit.size_bytes) == 0);
			continue;
		}
		fuzz_check_error(code, &error);
		FUZZ_CHECK(unit.tensor && (code == GW_E_STORED_BLOCK || code == GW_E_BLOCK_CODE));
		FUZZ_CHECK(error.offset >= pack->stored[i].offset_bytes &&
			   error.offset <= pack->stored[i].offset_bytes + pack->stored[i].size_bytes);
	}
	gw_unit_reader_free(reader);
}

/* The file reader comes to the same result; only it reads what is compressed. */
static void check_file(const uint8_t *data, size_t bytes, int expected)
{
	static int fd = -1;
	struct gw_error error = GW_ERROR_INIT;
	struct gw_pack *pack = NULL;
	struct fuzz_resources before;
	int code;

	if (fd < 0)
		fd = memfd_create("fuzz", MFD_CLOEXEC);
	FUZZ_CHECK(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
	FUZZ_CHECK(pwrite(fd, data, bytes, 0) == (ssize_t)bytes);
	before = fuzz_resources_start(MEMORY_BYTES);
	code = gw_pack_open_fd(fd, &pack, &error);
	if (!code && pack->stored) {
		FUZZ_CHECK(expected == GW_E_FEATURE && pack->superblock.file_bytes == bytes);
		check_tensors(pack);
		check_reencoding(pack, data);
		check_decoding(pack, fd);
	} else {
		FUZZ_CHECK(code == expected || expected == GW_E_FEATURE);
	}
	gw_pack_free(pack);
	fuzz_resources_end(&before);
}

static int open_and_verify(const uint8_t *data, size_t bytes)
{
	struct gw_error error = GW_ERROR_INIT;
	struct gw_pack *pack = NULL;
	int code = gw_pack_open_memory(data, bytes, 0, &pack, &error);

	if (!code)
		code = gw_pack_verify_memory(pack, data, 0, gw_pack_unit_count(pack), &error);
	gw_pack_free(pack);
	return code;
}

/* A byte that changes in a pack that verifies: somebody notices. */
static void check_flip(const uint8_t *data, size_t bytes)
{
	uint64_t state = gw_hash64(data, bytes);
	uint8_t *copy = malloc(bytes);

	FUZZ_CHECK(copy != NULL);
	memcpy(copy, data, bytes);
	copy[fuzz_random(&state) % bytes] ^= (uint8_t)(1 + fuzz_random(&state) % 255);
	FUZZ_CHECK(open_and_verify(copy, bytes) != GW_OK);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct fuzz_resources before = fuzz_resources_start(MEMORY_BYTES);
	struct gw_error error = GW_ERROR_INIT;
	struct gw_pack *pack = NULL;
	int code = gw_pack_open_memory(data, bytes, 0, &pack, &error);
	int verified = code;

	if (code) {
		fuzz_check_error(code, &error);
		FUZZ_CHECK(code <= GW_E_TRUNCATED && code > GW_E_BLOCK_DIGEST);
		FUZZ_CHECK(pack == NULL);
	} else {
		FUZZ_CHECK(pack->superblock.image_bytes == bytes);
		check_tensors(pack);
		check_reencoding(pack, data);
		verified = check_units(pack, data);
		if (!verified)
			check_zeros(pack, data);
	}
	gw_pack_free(pack);
	fuzz_resources_end(&before);
	check_file(data, bytes, code);
	if (!verified)
		check_flip(data, bytes);
	return 0;
}
