/* SPDX-License-Identifier: MIT */
#include "client/expand.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "client/error.h"
#include "format/endpoint.h"
#include "format/unit_reader.h"
#include "format/zstd_load.h"

/* Blocks into place; what is between tensors is zero as it comes. */
static int expand_blocks(const struct gw_pack *pack, struct gw_unit_reader *reader, uint64_t flags,
			 uint64_t deadline_ms, const char *text, uint8_t *image,
			 gpt2c_error *error)
{
	struct gw_error cause = GW_ERROR_INIT;
	uint64_t n_blocks = pack->superblock.n_blocks;

	for (uint64_t i = 0; i < n_blocks; i++) {
		uint8_t *to = image + gw_pack_unit(pack, i).offset_bytes;
		int code = flags & GPT2C_NO_VERIFY ?
				   gw_unit_reader_read(reader, i, to, &cause) :
				   gw_unit_reader_verify(reader, i, to, &cause);

		if (code < 0)
			return gpt2c_fail_cause(error, &cause, text);
		if (wire_now_ms() > deadline_ms)
			return gpt2c_fail(error, GPT2C_E_TIMEOUT, -1,
					  "%s: not yet expanded when the time was up: %llu of %llu "
					  "blocks",
					  text, (unsigned long long)(i + 1),
					  (unsigned long long)n_blocks);
	}
	return GPT2C_OK;
}

static int expand_into(int fd, const struct gw_pack *pack, uint64_t flags, uint64_t deadline_ms,
		       const char *text, uint8_t *image, gpt2c_error *error)
{
	struct gw_error cause = GW_ERROR_INIT;
	struct gw_unit_reader *reader = NULL;
	struct gw_zstd zstd;
	int result;

	if (gw_zstd_load(&zstd, &cause) < 0 ||
	    gw_unit_reader_new(pack, fd, &zstd, &reader, &cause) < 0)
		return gpt2c_fail_cause(error, &cause, text);
	if (gw_pack_read_head(pack, fd, image, &cause) < 0)
		result = gpt2c_fail_cause(error, &cause, text);
	else
		result = expand_blocks(pack, reader, flags, deadline_ms, text, image, error);
	gw_unit_reader_free(reader);
	return result;
}

int gpt2c_expand(int fd, uint64_t flags, uint64_t deadline_ms, const char *text,
		 struct gw_pack **pack, struct gpt2c_mapping *out_mapping, gpt2c_error *error)
{
	uint64_t image_bytes = (*pack)->superblock.image_bytes;
	struct gpt2c_mapping mapping = { 0 };
	struct gw_error cause = GW_ERROR_INIT;
	struct gw_pack *of_image = NULL;
	int result = gpt2c_map_private(image_bytes, &mapping, error);

	if (result < 0)
		return result;
	result = expand_into(fd, *pack, flags, deadline_ms, text, mapping.data, error);
	/* judged again where it lies: what the head said when the file was opened is not what counts */
	if (result == 0 && gw_pack_open_memory(mapping.data, image_bytes, 0, &of_image, &cause) < 0)
		result = gpt2c_fail_cause(error, &cause, text);
	if (result == 0 && !(flags & GPT2C_COPY_ON_WRITE) &&
	    mprotect(mapping.data, image_bytes, PROT_READ) < 0)
		result = gpt2c_fail_errno(error, GPT2C_E_SYSTEM, errno,
					  "%s: cannot protect the image", text);
	if (result < 0) {
		gw_pack_free(of_image);
		gpt2c_unmap(&mapping);
		return result;
	}
	gw_pack_free(*pack);
	*pack = of_image;
	*out_mapping = mapping;
	return GPT2C_OK;
}
