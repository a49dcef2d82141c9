/* SPDX-License-Identifier: MIT */
/* Packs for tests: known values, and digests that fit whatever a test has done to the bytes. */
#include "tests/support/fixture.h"

#include <assert.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/bytes.h"
#include "format/digest.h"
#include "format/dtype.h"
#include "format/block.h"
#include "format/reader.h"
#include "format/stored.h"
#include "format/stored_writer.h"
#include "format/superblock.h"
#include "format/unit_reader.h"
#include "format/writer.h"

float fixture_value(uint64_t seed, uint64_t row, uint64_t column)
{
	uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) ^ row * UINT64_C(0xbf58476d1ce4e5b9) ^
		     column * UINT64_C(0x94d049bb133111eb);
	float magnitude;

	/* SplitMix64's finish */
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	x ^= x >> 31;
	/* 8 significant bits, as many as bf16 has; 2^-8 to 2^7, normal in f16 */
	magnitude = ldexpf((float)(128 + (x & 127)) / 128, (int)(x >> 7 & 15) - 8);
	return x >> 11 & 1 ? -magnitude : magnitude;
}

unsigned fixture_element(float value, unsigned dtype, uint8_t *out)
{
	unsigned n = gw_dtype_bytes(dtype);
	struct gw_bytes bytes = gw_bytes_write(out, n);

	if (dtype == GW_I8)
		gw_put_u8(&bytes, 0, (uint8_t)(int8_t)(value / 2));
	else if (dtype == GW_F32)
		gw_put_u32(&bytes, 0, gw_f32_bits(value));
	else
		gw_put_u16(&bytes, 0,
			   dtype == GW_F16 ? gw_f32_to_f16(value) : gw_f32_to_bf16(value));
	return n;
}

float fixture_scale(uint64_t seed, uint64_t row)
{
	return ldexpf((float)(1 + row % 200), -8 - (int)seed);
}

struct gw_tensor fixture_tensor(const char *name, unsigned dtype, uint64_t rows, uint64_t columns)
{
	struct gw_tensor tensor = { .dtype = (uint8_t)dtype, .rank = columns ? 2 : 1 };

	ck_assert_uint_lt(strlen(name), sizeof tensor.name);
	strcpy(tensor.name, name);
	tensor.role = strcmp(name, GW_WTE_NAME) == 0   ? GW_ROLE_WTE
		      : strcmp(name, GW_WPE_NAME) == 0 ? GW_ROLE_WPE
						       : GW_ROLE_NONE;
	tensor.shape[0] = rows;
	tensor.shape[1] = columns;
	return tensor;
}

static void append_values(struct gw_writer *writer, size_t index, const struct gw_tensor *tensor)
{
	uint64_t rows = tensor->rank == 2 ? tensor->shape[0] : 1;
	uint64_t columns = tensor->rank == 2 ? tensor->shape[1] : tensor->shape[0];
	uint64_t seed = tensor->role ? tensor->role : 3;
	struct gw_error error = GW_ERROR_INIT;
	uint8_t *row = malloc(columns * 4);

	ck_assert_ptr_nonnull(row);
	for (uint64_t r = 0; r < rows; r++) {
		uint64_t n = 0;

		for (uint64_t c = 0; c < columns; c++)
			n += fixture_element(fixture_value(seed, r, c), tensor->dtype, row + n);
		ck_assert_code(error, gw_writer_append(writer, index, row, n, &error), GW_OK);
	}
	free(row);
	for (uint64_t r = 0; tensor->dtype == GW_I8 && r < rows; r++) {
		float scale = fixture_scale(seed, r);

		ck_assert_code(error, gw_writer_append(writer, index, &scale, sizeof scale, &error),
			       GW_OK);
	}
}

void fixture_pack_tensors(const char *path, const struct gw_tensor *tensors, size_t n)
{
	struct gw_provenance provenance = { .source_format = "fixture",
					    .source_name = "fixture_value",
					    .tool = "tests",
					    .note = "test tables" };
	struct gw_error error = GW_ERROR_INIT;
	struct gw_writer *writer = NULL;

	ck_assert_code(error, gw_writer_new(path, true, tensors, n, &writer, &error), GW_OK);
	for (size_t i = 0; i < n; i++)
		append_values(writer, i, &tensors[i]);
	ck_assert_code(error, gw_writer_finish(writer, &provenance, 12, 12, NULL, &error), GW_OK);
	gw_writer_free(writer);
}

void fixture_pack(const char *path, uint64_t n_vocab, uint64_t n_positions, uint64_t n_embd,
		  unsigned wte_dtype, unsigned wpe_dtype)
{
	struct gw_tensor tensors[2] = { fixture_tensor(GW_WTE_NAME, wte_dtype, n_vocab, n_embd) };

	if (n_positions)
		tensors[1] = fixture_tensor(GW_WPE_NAME, wpe_dtype, n_positions, n_embd);
	fixture_pack_tensors(path, tensors, n_positions ? 2 : 1);
}

uint8_t *fixture_image(const struct gw_tensor *tensors, size_t n, size_t *out_bytes)
{
	char *folder = fixture_folder_new();
	const char *path = fixture_path(folder, "image.gpt2w");
	uint8_t *pack;

	fixture_pack_tensors(path, tensors, n);
	pack = fixture_read(path, out_bytes);
	fixture_folder_free(folder);
	return pack;
}

static void append_stored(struct gw_stored_writer *writer, const struct gw_pack *pack,
			  const uint8_t *data)
{
	static uint8_t stored[GW_MAX_STORED_BLOCK_BYTES];
	struct gw_error error = GW_ERROR_INIT;
	struct gw_block_encoder *encoder = NULL;

	ck_assert_code(error, gw_block_encoder_new(GW_BLOCK_LEVEL, &encoder, &error), GW_OK);
	for (uint64_t i = 0; i < pack->superblock.n_blocks; i++) {
		struct gw_unit unit = gw_pack_unit(pack, i);
		size_t n = 0;

		ck_assert_code(error,
			       gw_block_encode(encoder, unit.tensor->dtype, unit.tensor->row_bytes,
					       data + unit.offset_bytes, unit.size_bytes, stored,
					       sizeof stored, &n, &error),
			       GW_OK);
		ck_assert_code(error, gw_stored_writer_append(writer, stored, n, &error), GW_OK);
	}
	gw_block_encoder_free(encoder);
}

uint8_t *fixture_compress(const uint8_t *data, size_t bytes, size_t *out_bytes)
{
	struct gw_error error = GW_ERROR_INIT;
	char *folder = fixture_folder_new();
	const char *raw = fixture_path(folder, "raw.gpt2w"), *path = fixture_path(folder, "c.gpt2w");
	struct gw_stored_writer *writer = NULL;
	struct gw_pack *pack = NULL;
	uint64_t said = 0;
	uint8_t *compressed;
	int fd;

	fixture_write(raw, data, bytes);
	fd = open(raw, O_RDONLY | O_CLOEXEC);
	ck_assert_code(error, gw_pack_open_fd(fd, &pack, &error), GW_OK);
	ck_assert_code(error, gw_stored_writer_new(pack, fd, path, false, &writer, &error), GW_OK);
	append_stored(writer, pack, data);
	ck_assert_code(error, gw_stored_writer_finish(writer, &said, &error), GW_OK);
	gw_stored_writer_free(writer);
	gw_pack_free(pack);
	close(fd);
	compressed = fixture_read(path, out_bytes);
	ck_assert_uint_eq(said, *out_bytes);
	fixture_folder_free(folder);
	return compressed;
}

int fixture_check_file(const char *path, struct gw_error *error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct gw_unit_reader *reader = NULL;
	uint8_t *buffer = malloc(GW_HUGE_PAGE_BYTES);
	struct gw_pack *pack = NULL;
	int r;

	ck_assert_int_ge(fd, 0);
	ck_assert_ptr_nonnull(buffer);
	r = gw_pack_open_fd(fd, &pack, error);
	if (r == GW_OK)
		r = gw_unit_reader_new(pack, fd, &gw_zstd_linked, &reader, error);
	for (uint64_t i = 0; r == GW_OK && i < gw_pack_unit_count(pack); i++)
		r = gw_unit_reader_verify(reader, i, buffer, error);
	gw_unit_reader_free(reader);
	gw_pack_free(pack);
	free(buffer);
	close(fd);
	return r;
}

int fixture_check(const uint8_t *data, size_t bytes, struct gw_error *error)
{
	struct gw_pack *pack = NULL;
	int r = gw_pack_open_memory(data, bytes, 0, &pack, error);

	if (r == GW_OK)
		r = gw_pack_verify_memory(pack, data, 0, gw_pack_unit_count(pack), error);
	gw_pack_free(pack);
	return r;
}

/* Digests of the blocks of the entries, as far as both are within the bytes. */
static void repair_blocks(struct gw_bytes *pack, uint64_t n_tensors, uint64_t digests_at,
			  uint64_t n_blocks)
{
	uint64_t block = 0;

	for (uint64_t i = 0; i < n_tensors; i++) {
		uint64_t entry = GW_DIRECTORY_OFFSET + i * GW_ENTRY_BYTES;
		uint64_t at = gw_get_u64(pack, entry + GW_DE_DATA_OFFSET);
		uint64_t left = gw_get_u64(pack, entry + GW_DE_DATA_BYTES);
		uint64_t scales = gw_get_u64(pack, entry + GW_DE_SCALES_OFFSET);

		if (gw_get_u8(pack, entry + GW_DE_DTYPE) == GW_I8)
			left = scales - at + gw_get_u64(pack, entry + GW_DE_SCALES_BYTES);
		while (left && block < n_blocks) {
			uint64_t n = left < GW_BLOCK_BYTES ? left : GW_BLOCK_BYTES;
			const uint8_t *data = gw_bytes_at(pack, at, n);

			if (!data)
				break;
			gw_put_u64(pack, digests_at + 8 * block++, gw_hash64(data, n));
			at += n;
			left -= n;
		}
	}
}

static void put_digest(struct gw_bytes *pack, uint64_t at, struct gw_digest digest)
{
	gw_put_bytes(pack, at, digest.bytes, GW_DIGEST_BYTES);
}

/* Digests of the stored blocks and of their table, as far as they are within the bytes. */
static void repair_stored(struct gw_bytes *pack, uint64_t digests_end, uint64_t n_blocks)
{
	struct gw_stored_regions at;
	uint64_t offset;

	if (n_blocks > (pack->size_bytes - digests_end) / GW_STORED_ENTRY_BYTES)
		n_blocks = (pack->size_bytes - digests_end) / GW_STORED_ENTRY_BYTES;
	at = gw_stored_regions(digests_end, n_blocks);
	offset = at.blocks_offset;
	for (uint64_t i = 0; i < n_blocks; i++) {
		uint64_t entry = at.table_offset + i * GW_STORED_ENTRY_BYTES;
		uint64_t n = gw_get_u32(pack, entry + GW_ST_SIZE);
		const uint8_t *stored = gw_bytes_at(pack, offset, n);

		if (stored)
			gw_put_u64(pack, entry + GW_ST_DIGEST, gw_hash64(stored, n));
		offset += n;
	}
	put_digest(pack, GW_SB_STORED_DIGEST,
		   gw_hash128(pack->data + at.table_offset, at.table_bytes));
}

void fixture_repair(uint8_t *data, size_t bytes)
{
	bool compressed;
	struct gw_bytes pack = gw_bytes_write(data, bytes);
	uint64_t n_tensors = gw_get_u32(&pack, GW_SB_N_TENSORS);
	uint64_t n_blocks = gw_get_u64(&pack, GW_SB_N_BLOCKS);
	uint64_t digests_at;

	assert(bytes >= GW_DIRECTORY_OFFSET);
	if (n_tensors > (bytes - GW_DIRECTORY_OFFSET) / GW_ENTRY_BYTES)
		n_tensors = (bytes - GW_DIRECTORY_OFFSET) / GW_ENTRY_BYTES;
	digests_at = GW_DIRECTORY_OFFSET + n_tensors * GW_ENTRY_BYTES;
	if (n_blocks > (bytes - digests_at) / 8)
		n_blocks = (bytes - digests_at) / 8;
	compressed = gw_get_u64(&pack, GW_SB_REQUIRED_FEATURES) & GW_FEATURE_STORED_BLOCKS;
	if (compressed)
		repair_stored(&pack, digests_at + n_blocks * 8, n_blocks);
	else
		repair_blocks(&pack, n_tensors, digests_at, n_blocks);
	put_digest(&pack, GW_SB_DIRECTORY_DIGEST,
		   gw_hash128(data + GW_DIRECTORY_OFFSET, n_tensors * GW_ENTRY_BYTES));
	put_digest(&pack, GW_SB_DIGESTS_DIGEST, gw_hash128(data + digests_at, n_blocks * 8));
	put_digest(&pack, GW_SB_CONTENT_ID,
		   gw_hash128(data + GW_DIRECTORY_OFFSET,
			      n_tensors * GW_ENTRY_BYTES + n_blocks * 8));
	put_digest(&pack, GW_SB_PROVENANCE_DIGEST,
		   gw_hash128(data + GW_PROVENANCE_OFFSET, GW_PROVENANCE_BYTES));
	put_digest(&pack, GW_SB_SUPERBLOCK_DIGEST, gw_hash128(data, GW_SB_SUPERBLOCK_DIGEST));
}
