/* SPDX-License-Identifier: MIT */
#include "format/superblock.h"

#include <inttypes.h>
#include <stddef.h>

#include "format/bytes.h"
#include "format/checked.h"
#include "format/directory.h"
#include "format/stored.h"

static const uint8_t magic[GW_SB_MAGIC_SIZE] = { 0x89, 'G', 'P', 'T', '2', 'W', '\r', '\n' };

struct gw_regions gw_superblock_regions(uint64_t n_tensors, uint64_t n_blocks)
{
	struct gw_regions regions = {
		.directory_bytes = n_tensors * GW_ENTRY_BYTES,
		.digests_bytes = n_blocks * sizeof(uint64_t),
	};

	regions.digests_offset = GW_DIRECTORY_OFFSET + regions.directory_bytes;
	regions.digests_end = regions.digests_offset + regions.digests_bytes;
	regions.data_offset = (regions.digests_end + GW_PAGE_BYTES - 1) & ~(GW_PAGE_BYTES - 1);
	return regions;
}

/* Whether these are a superblock of a version and with a digest that can be read at all. */
static int check_identity(struct gw_bytes *in, uint64_t actual_bytes, struct gw_error *error)
{
	struct gw_digest stored, computed;
	unsigned major;

	if (actual_bytes >= sizeof magic && memcmp(in->data, magic, sizeof magic) != 0)
		return gw_fail(error, GW_E_MAGIC, GW_SB_MAGIC, "not a gpt2w pack: wrong magic");
	if (actual_bytes < GW_SUPERBLOCK_BYTES)
		return gw_fail(error, GW_E_TRUNCATED, actual_bytes,
			       "%" PRIu64 " bytes, but a superblock has %" PRIu64, actual_bytes,
			       GW_SUPERBLOCK_BYTES);
	major = gw_get_u16(in, GW_SB_VERSION_MAJOR);
	if (major != GW_VERSION_MAJOR)
		return gw_fail(error, GW_E_VERSION, GW_SB_VERSION_MAJOR,
			       "version %u.%u; this release reads version %d", major,
			       gw_get_u16(in, GW_SB_VERSION_MINOR), GW_VERSION_MAJOR);
	gw_get_bytes(in, GW_SB_SUPERBLOCK_DIGEST, stored.bytes, sizeof stored.bytes);
	computed = gw_hash128(in->data, GW_SB_SUPERBLOCK_DIGEST);
	if (!gw_digest_equal(&stored, &computed))
		return gw_fail(error, GW_E_SUPERBLOCK_DIGEST, GW_SB_SUPERBLOCK_DIGEST,
			       "the superblock does not match its digest");
	return GW_OK;
}

static int check_features(struct gw_bytes *in, struct gw_error *error)
{
	const struct {
		uint64_t offset, size;
	} zero[] = {
		{ GW_SB_RESERVED_60, GW_SB_RESERVED_60_SIZE },
		{ GW_SB_RESERVED_88, GW_SB_RESERVED_88_SIZE },
		{ GW_SB_RESERVED_176, GW_SB_RESERVED_176_SIZE },
		{ GW_SB_STORED_BYTES, GW_SB_STORED_BYTES_SIZE },
		{ GW_SB_STORED_DIGEST, GW_SB_STORED_DIGEST_SIZE },
	};
	uint64_t features = gw_get_u64(in, GW_SB_REQUIRED_FEATURES);
	uint64_t unknown = features & ~GW_SUPPORTED_FEATURES;
	size_t n = sizeof zero / sizeof *zero;

	if (unknown)
		return gw_fail(error, GW_E_FEATURE, GW_SB_REQUIRED_FEATURES,
			       "required feature %d, which this release does not have",
			       __builtin_ctzll(unknown));
	if (features & GW_FEATURE_STORED_BLOCKS)
		n -= 2; /* the last two */
	for (size_t i = 0; i < n; i++)
		if (!gw_is_zero(in->data + zero[i].offset, zero[i].size))
			return gw_fail(error, GW_E_RESERVED, zero[i].offset,
				       "reserved bytes of the superblock are not zero");
	return GW_OK;
}

static int check_limit(uint64_t value, uint64_t least, uint64_t most, uint64_t offset,
		       const char *what, struct gw_error *error)
{
	if (value >= least && value <= most)
		return GW_OK;
	return gw_fail(error, GW_E_LIMIT, offset, "%s is %" PRIu64 ", not %" PRIu64 " to %" PRIu64,
		       what, value, least, most);
}

static bool is_compressed(struct gw_bytes *in)
{
	return gw_get_u64(in, GW_SB_REQUIRED_FEATURES) & GW_FEATURE_STORED_BLOCKS;
}

static int check_limits(struct gw_bytes *in, struct gw_error *error)
{
	const uint64_t max_blocks = is_compressed(in) ?
					    GW_MAX_STORED_BLOCKS :
					    GW_MAX_IMAGE_BYTES / GW_BLOCK_BYTES + GW_MAX_TENSORS;
	const uint64_t n_blocks = gw_get_u64(in, GW_SB_N_BLOCKS);
	/* no product of two numbers of which one is unchecked */
	const uint64_t max_stored = (n_blocks < max_blocks ? n_blocks : max_blocks) *
				    GW_MAX_STORED_BLOCK_BYTES;
	const struct {
		const char *what;
		uint64_t value, least, most, offset;
	} limits[] = {
		{ "block_bytes", gw_get_u32(in, GW_SB_BLOCK_BYTES), GW_BLOCK_BYTES, GW_BLOCK_BYTES,
		  GW_SB_BLOCK_BYTES },
		{ "image_bytes", gw_get_u64(in, GW_SB_IMAGE_BYTES), GW_SUPERBLOCK_BYTES,
		  GW_MAX_IMAGE_BYTES, GW_SB_IMAGE_BYTES },
		{ "n_tensors", gw_get_u32(in, GW_SB_N_TENSORS), 1, GW_MAX_TENSORS,
		  GW_SB_N_TENSORS },
		{ "n_blocks", n_blocks, 1, max_blocks, GW_SB_N_BLOCKS },
		{ "stored_bytes", gw_get_u64(in, GW_SB_STORED_BYTES), 0, max_stored,
		  GW_SB_STORED_BYTES },
		{ "n_layer", gw_get_u64(in, GW_SB_N_LAYER), 0, GW_MAX_N_LAYER, GW_SB_N_LAYER },
		{ "n_head", gw_get_u64(in, GW_SB_N_HEAD), 0, GW_MAX_N_HEAD, GW_SB_N_HEAD },
	};

	for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
		int code = check_limit(limits[i].value, limits[i].least, limits[i].most,
				       limits[i].offset, limits[i].what, error);

		if (code)
			return code;
	}
	return GW_OK;
}

static int check_sizes(struct gw_bytes *in, uint64_t actual_bytes, uint64_t tail_bytes,
		       struct gw_error *error)
{
	uint64_t image_bytes = gw_get_u64(in, GW_SB_IMAGE_BYTES);
	uint64_t file_bytes = gw_get_u64(in, GW_SB_FILE_BYTES);
	uint64_t n_blocks = gw_get_u64(in, GW_SB_N_BLOCKS), expected = image_bytes;
	struct gw_regions regions = gw_superblock_regions(gw_get_u32(in, GW_SB_N_TENSORS),
							  n_blocks);

	if (image_bytes % GW_PAGE_BYTES || regions.data_offset >= image_bytes)
		return gw_fail(error, GW_E_LAYOUT, GW_SB_IMAGE_BYTES,
			       "image_bytes is %" PRIu64 ", but the data start at %" PRIu64
			       " and end on a page",
			       image_bytes, regions.data_offset);
	if (is_compressed(in))
		expected = gw_stored_regions(regions.digests_end, n_blocks).blocks_offset +
			   gw_get_u64(in, GW_SB_STORED_BYTES);
	if (file_bytes != expected)
		return gw_fail(error, GW_E_LAYOUT, GW_SB_FILE_BYTES,
			       "file_bytes is %" PRIu64 ", but what the superblock says makes "
			       "%" PRIu64,
			       file_bytes, expected);
	if (actual_bytes < file_bytes)
		return gw_fail(error, GW_E_TRUNCATED, actual_bytes,
			       "truncated: %" PRIu64 " bytes of %" PRIu64, actual_bytes, file_bytes);
	if (actual_bytes - file_bytes > tail_bytes)
		return gw_fail(error, GW_E_TRAILING, file_bytes,
			       "%" PRIu64 " bytes follow the pack's %" PRIu64,
			       actual_bytes - file_bytes, file_bytes);
	return GW_OK;
}

int gw_superblock_decode(const uint8_t *bytes, uint64_t actual_bytes, uint64_t tail_bytes,
			 struct gw_superblock *out, struct gw_error *error)
{
	uint64_t n = actual_bytes < GW_SUPERBLOCK_BYTES ? actual_bytes : GW_SUPERBLOCK_BYTES;
	uint8_t copy[GW_SUPERBLOCK_BYTES] = { 0 };
	struct gw_bytes in = gw_bytes_read(copy, n);
	int code;

	/* a mapped file may change between check and use: judge bytes that cannot */
	memcpy(copy, bytes, n);
	if ((code = check_identity(&in, actual_bytes, error)) ||
	    (code = check_features(&in, error)) || (code = check_limits(&in, error)) ||
	    (code = check_sizes(&in, actual_bytes, tail_bytes, error)))
		return code;
	*out = (struct gw_superblock){
		.version_minor = gw_get_u16(&in, GW_SB_VERSION_MINOR),
		.compressed = is_compressed(&in),
		.n_tensors = gw_get_u32(&in, GW_SB_N_TENSORS),
		.informational_flags = gw_get_u64(&in, GW_SB_INFORMATIONAL_FLAGS),
		.image_bytes = gw_get_u64(&in, GW_SB_IMAGE_BYTES),
		.file_bytes = gw_get_u64(&in, GW_SB_FILE_BYTES),
		.n_blocks = gw_get_u64(&in, GW_SB_N_BLOCKS),
		.n_layer = gw_get_u64(&in, GW_SB_N_LAYER),
		.n_head = gw_get_u64(&in, GW_SB_N_HEAD),
		.stored_bytes = gw_get_u64(&in, GW_SB_STORED_BYTES),
	};
	gw_get_bytes(&in, GW_SB_CONTENT_ID, out->content_id.bytes, GW_DIGEST_BYTES);
	gw_get_bytes(&in, GW_SB_DIRECTORY_DIGEST, out->directory_digest.bytes, GW_DIGEST_BYTES);
	gw_get_bytes(&in, GW_SB_DIGESTS_DIGEST, out->digests_digest.bytes, GW_DIGEST_BYTES);
	gw_get_bytes(&in, GW_SB_PROVENANCE_DIGEST, out->provenance_digest.bytes, GW_DIGEST_BYTES);
	gw_get_bytes(&in, GW_SB_STORED_DIGEST, out->stored_digest.bytes, GW_DIGEST_BYTES);
	return GW_OK;
}

void gw_superblock_encode(const struct gw_superblock *superblock, uint8_t *out)
{
	struct gw_bytes to = gw_bytes_write(out, GW_SUPERBLOCK_BYTES);
	struct gw_digest digest;

	memset(out, 0, GW_SUPERBLOCK_BYTES);
	gw_put_bytes(&to, GW_SB_MAGIC, magic, sizeof magic);
	gw_put_u16(&to, GW_SB_VERSION_MAJOR, GW_VERSION_MAJOR);
	gw_put_u16(&to, GW_SB_VERSION_MINOR, superblock->version_minor);
	gw_put_u32(&to, GW_SB_BLOCK_BYTES, GW_BLOCK_BYTES);
	gw_put_u64(&to, GW_SB_REQUIRED_FEATURES,
		   superblock->compressed ? GW_FEATURE_STORED_BLOCKS : 0);
	gw_put_u64(&to, GW_SB_INFORMATIONAL_FLAGS, superblock->informational_flags);
	gw_put_u64(&to, GW_SB_IMAGE_BYTES, superblock->image_bytes);
	gw_put_u64(&to, GW_SB_FILE_BYTES, superblock->file_bytes);
	gw_put_u64(&to, GW_SB_N_BLOCKS, superblock->n_blocks);
	gw_put_u32(&to, GW_SB_N_TENSORS, superblock->n_tensors);
	gw_put_u64(&to, GW_SB_N_LAYER, superblock->n_layer);
	gw_put_u64(&to, GW_SB_N_HEAD, superblock->n_head);
	gw_put_u64(&to, GW_SB_STORED_BYTES, superblock->stored_bytes);
	gw_put_bytes(&to, GW_SB_CONTENT_ID, superblock->content_id.bytes, GW_DIGEST_BYTES);
	gw_put_bytes(&to, GW_SB_DIRECTORY_DIGEST, superblock->directory_digest.bytes,
		     GW_DIGEST_BYTES);
	gw_put_bytes(&to, GW_SB_DIGESTS_DIGEST, superblock->digests_digest.bytes, GW_DIGEST_BYTES);
	gw_put_bytes(&to, GW_SB_PROVENANCE_DIGEST, superblock->provenance_digest.bytes,
		     GW_DIGEST_BYTES);
	gw_put_bytes(&to, GW_SB_STORED_DIGEST, superblock->stored_digest.bytes, GW_DIGEST_BYTES);
	digest = gw_hash128(out, GW_SB_SUPERBLOCK_DIGEST);
	gw_put_bytes(&to, GW_SB_SUPERBLOCK_DIGEST, digest.bytes, GW_DIGEST_BYTES);
}

int gw_provenance_decode(const uint8_t *bytes, struct gw_provenance *out, struct gw_error *error)
{
	struct gw_bytes in = gw_bytes_read(bytes, GW_PROVENANCE_BYTES);
	struct gw_provenance decoded = { .source_bytes = gw_get_u64(&in, GW_PV_SOURCE_BYTES) };
	const struct {
		uint64_t offset;
		char *to;
		size_t size;
	} strings[] = {
		{ GW_PV_SOURCE_FORMAT, decoded.source_format, sizeof decoded.source_format },
		{ GW_PV_SOURCE_NAME, decoded.source_name, sizeof decoded.source_name },
		{ GW_PV_TOOL, decoded.tool, sizeof decoded.tool },
		{ GW_PV_NOTE, decoded.note, sizeof decoded.note },
	};

	for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
		if (gw_string_length(bytes + strings[i].offset, strings[i].size) < 0)
			return gw_fail(error, GW_E_NAME, GW_PROVENANCE_OFFSET + strings[i].offset,
				       "a string of the provenance is no clean, terminated UTF-8");
		gw_get_bytes(&in, strings[i].offset, strings[i].to, strings[i].size);
	}
	if (!gw_is_zero(bytes + GW_PV_RESERVED_632, GW_PV_RESERVED_632_SIZE))
		return gw_fail(error, GW_E_RESERVED, GW_PROVENANCE_OFFSET + GW_PV_RESERVED_632,
			       "reserved bytes of the provenance are not zero");
	gw_get_bytes(&in, GW_PV_SOURCE_DIGEST, decoded.source_digest.bytes, GW_DIGEST_BYTES);
	*out = decoded;
	return GW_OK;
}

static void put_string(struct gw_bytes *to, uint64_t offset, uint64_t size, const char *text)
{
	gw_string_put(gw_bytes_at(to, offset, size), size, text, size);
}

void gw_provenance_encode(const struct gw_provenance *provenance, uint8_t *out)
{
	struct gw_bytes to = gw_bytes_write(out, GW_PROVENANCE_BYTES);

	memset(out, 0, GW_PROVENANCE_BYTES);
	put_string(&to, GW_PV_SOURCE_FORMAT, GW_PV_SOURCE_FORMAT_SIZE, provenance->source_format);
	put_string(&to, GW_PV_SOURCE_NAME, GW_PV_SOURCE_NAME_SIZE, provenance->source_name);
	put_string(&to, GW_PV_TOOL, GW_PV_TOOL_SIZE, provenance->tool);
	put_string(&to, GW_PV_NOTE, GW_PV_NOTE_SIZE, provenance->note);
	gw_put_u64(&to, GW_PV_SOURCE_BYTES, provenance->source_bytes);
	gw_put_bytes(&to, GW_PV_SOURCE_DIGEST, provenance->source_digest.bytes, GW_DIGEST_BYTES);
}
