/* SPDX-License-Identifier: MIT */
/*
 * A mutator that knows packs: it changes fields where they are, now and then makes a whole new one,
 * and mostly makes the digests right again, so that the rules behind them are reached.
 */
#include <string.h>

#include "format/bytes.h"
#include "format/directory.h"
#include "format/stored.h"
#include "format/superblock.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/fixture.h"

struct field {
	uint16_t offset, size;
};

#define X(name, offset, size) { offset, size },
static const struct field superblock_fields[] = { GW_SUPERBLOCK_FIELDS(X) };
static const struct field provenance_fields[] = { GW_PROVENANCE_FIELDS(X) };
static const struct field entry_fields[] = { GW_DIRECTORY_FIELDS(X) };
#undef X

static uint64_t below(uint64_t *state, uint64_t n)
{
	return fuzz_random(state) % n;
}

/* Values at which something begins or ends. */
static uint64_t number(uint64_t *state)
{
	/* clang-format off */
	static const uint64_t limits[] = {
		0, 1, 64, GW_PAGE_BYTES, GW_BLOCK_BYTES, GW_HUGE_PAGE_BYTES, GW_MAX_TENSORS,
		GW_MAX_TABLE_ROWS, GW_MAX_N_EMBD, GW_MAX_IMAGE_BYTES, UINT32_MAX, INT64_MAX,
		UINT64_MAX,
	};
	/* clang-format on */
	uint64_t value = limits[below(state, sizeof limits / sizeof *limits)];

	return value + below(state, 5) - 2;
}

static void mutate_number(uint8_t *field, unsigned size, uint64_t *state)
{
	struct gw_bytes bytes = gw_bytes_write(field, size);
	uint64_t value = gw_get(&bytes, 0, size);

	switch (below(state, 4)) {
	case 0:
		value = number(state);
		break;
	case 1:
		value += below(state, 9) - 4;
		break;
	case 2:
		value += (below(state, 9) - 4) * GW_PAGE_BYTES;
		break;
	default:
		value ^= UINT64_C(1) << below(state, 8 * size);
		break;
	}
	gw_put(&bytes, 0, value, size);
}

static void mutate_field(uint8_t *record, const struct field *fields, size_t n, uint64_t *state)
{
	const struct field *field = &fields[below(state, n)];
	uint8_t *at = record + field->offset;
	uint8_t copy[GW_SUPERBLOCK_BYTES];

	if (field->size <= 8) {
		mutate_number(at, field->size, state);
	} else if (field->size % 8 == 0 && below(state, 2)) {
		mutate_number(at + 8 * below(state, field->size / 8), 8, state);
	} else {
		memcpy(copy, at, field->size);
		memcpy(at, copy, LLVMFuzzerMutate(copy, field->size, field->size));
	}
}

/* A byte anywhere, or near the end of a tensor, where its last row is padded. */
static void mutate_byte(uint8_t *data, size_t bytes, const uint8_t *entry, uint64_t *state)
{
	struct gw_bytes in = gw_bytes_read(entry, GW_ENTRY_BYTES);
	uint64_t end = gw_get_u64(&in, GW_DE_DATA_OFFSET) + gw_get_u64(&in, GW_DE_DATA_BYTES);
	uint64_t at =
		below(state, 2) ? end - 1 - below(state, GW_ROW_ALIGN_BYTES) : below(state, bytes);

	data[at < bytes ? at : bytes - 1] = (uint8_t)fuzz_random(state);
}

/* The first entries of a compressed pack's table, or the first bytes of its first block. */
static void mutate_stored(uint8_t *data, size_t bytes, uint64_t *state)
{
	struct gw_bytes in = gw_bytes_read(data, bytes);
	struct gw_regions regions = gw_superblock_regions(gw_get_u32(&in, GW_SB_N_TENSORS),
							  gw_get_u64(&in, GW_SB_N_BLOCKS));
	struct gw_stored_regions at =
		gw_stored_regions(regions.digests_end, gw_get_u64(&in, GW_SB_N_BLOCKS));
	uint64_t entry = at.table_offset + GW_STORED_ENTRY_BYTES * below(state, 2);
	uint64_t byte = at.blocks_offset + below(state, below(state, 2) ? 32 : bytes);

	if (below(state, 2) && gw_bytes_at(&in, entry, GW_STORED_ENTRY_BYTES))
		mutate_number(data + entry + GW_ST_SIZE, GW_ST_SIZE_SIZE, state);
	else if (gw_bytes_at(&in, byte, 1))
		mutate_number(data + byte, 1, state);
}

static void mutate_part(uint8_t *data, size_t bytes, uint64_t *state)
{
	uint64_t n = (bytes - GW_DIRECTORY_OFFSET) / GW_ENTRY_BYTES;
	uint32_t n_tensors = (uint32_t)data[GW_SB_N_TENSORS] + 1;
	uint8_t *entry = data + GW_DIRECTORY_OFFSET +
			 GW_ENTRY_BYTES * below(state, n < n_tensors ? n : n_tensors);

	if ((data[GW_SB_REQUIRED_FEATURES] & GW_FEATURE_STORED_BLOCKS) && below(state, 2)) {
		mutate_stored(data, bytes, state);
		return;
	}
	switch (below(state, 8)) {
	case 0:
	case 1:
		mutate_field(data, superblock_fields,
			     sizeof superblock_fields / sizeof *superblock_fields, state);
		break;
	case 2:
		mutate_field(data + GW_PROVENANCE_OFFSET, provenance_fields,
			     sizeof provenance_fields / sizeof *provenance_fields, state);
		break;
	case 3:
		mutate_byte(data, bytes, entry, state);
		break;
	case 4: /* a dimension */
		mutate_number(entry + GW_DE_SHAPE + 8 * below(state, GW_MAX_RANK), 8, state);
		break;
	default:
		mutate_field(entry, entry_fields, sizeof entry_fields / sizeof *entry_fields,
			     state);
		break;
	}
}

/* A pack of a few small tensors: n of them in the order of their names. */
static size_t make_tensors(struct gw_tensor *tensors, uint64_t *state)
{
	static const char *const names[] = { "a",         "b.bias",    "h.0\xc3\xa9",
					     GW_WPE_NAME, GW_WTE_NAME, "z" };
	uint64_t columns = 1 + below(state, 70);
	size_t n = 0;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (strcmp(names[i], GW_WTE_NAME) != 0 && below(state, 2))
			continue;
		tensors[n] = (struct gw_tensor) {
			.dtype = (uint8_t)(GW_F32 + below(state, 4)),
			.role = strcmp(names[i], GW_WTE_NAME) == 0   ? GW_ROLE_WTE
				: strcmp(names[i], GW_WPE_NAME) == 0 ? GW_ROLE_WPE
								     : GW_ROLE_NONE,
			.rank = 2,
			.shape = { 1 + below(state, 20), columns },
		};
		strcpy(tensors[n].name, names[i]);
		if (tensors[n].role == GW_ROLE_NONE) {
			tensors[n].rank = (uint8_t)below(state, GW_MAX_RANK + 1);
			for (unsigned d = 0; d < GW_MAX_RANK; d++)
				tensors[n].shape[d] = d < tensors[n].rank ? 1 + below(state, 3) : 0;
		}
		FUZZ_CHECK(gw_tensor_measure(&tensors[n], GW_NO_OFFSET, NULL) == GW_OK);
		n++;
	}
	return n;
}

static size_t make_pack(uint8_t *data, size_t room_bytes, uint64_t *state)
{
	struct gw_tensor tensors[8];
	struct gw_superblock superblock = { .version_minor = (uint16_t)below(state, 2) };
	struct gw_provenance provenance = { .source_format = "fuzz", .note = "made" };

	superblock.n_tensors = (uint32_t)make_tensors(tensors, state);
	FUZZ_CHECK(gw_directory_place(tensors, superblock.n_tensors, &superblock.n_blocks,
				      &superblock.image_bytes, NULL) == GW_OK);
	superblock.file_bytes = superblock.image_bytes;
	if (superblock.image_bytes > room_bytes)
		return 0;
	memset(data, 0, superblock.image_bytes);
	gw_superblock_encode(&superblock, data);
	gw_provenance_encode(&provenance, data + GW_PROVENANCE_OFFSET);
	gw_directory_encode(tensors, superblock.n_tensors, data + GW_DIRECTORY_OFFSET);
	for (size_t i = 0; i < superblock.n_tensors; i++)
		for (uint64_t k = 0; k < gw_tensor_row_payload(&tensors[i]); k++)
			data[tensors[i].data_offset + k] = (uint8_t)fuzz_random(state);
	fixture_repair(data, superblock.image_bytes);
	return superblock.image_bytes;
}

/* One of the four digests in the superblock is wrong, and nothing else. */
static void break_digest(uint8_t *data, uint64_t *state)
{
	struct gw_digest digest;

	data[GW_SB_CONTENT_ID + below(state, 4 * GW_DIGEST_BYTES)] ^= 1;
	digest = gw_hash128(data, GW_SB_SUPERBLOCK_DIGEST);
	memcpy(data + GW_SB_SUPERBLOCK_DIGEST, digest.bytes, sizeof digest.bytes);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t room_bytes, unsigned seed)
{
	uint64_t state = seed;
	uint64_t dice = below(&state, 16);
	size_t made = dice == 0 ? make_pack(data, room_bytes, &state) : 0;

	if (made)
		return made;
	if (dice == 1 || bytes < GW_DIRECTORY_OFFSET + GW_ENTRY_BYTES)
		return LLVMFuzzerMutate(data, bytes, room_bytes);
	if (dice == 2 && bytes + GW_PAGE_BYTES <= room_bytes) {
		memset(data + bytes, 0, GW_PAGE_BYTES);
		bytes += GW_PAGE_BYTES;
	}
	for (uint64_t n = 1 + below(&state, 3); n > 0; n--)
		mutate_part(data, bytes, &state);
	if (dice > 3)
		fixture_repair(data, bytes);
	if (dice == 4)
		break_digest(data, &state);
	return bytes;
}
