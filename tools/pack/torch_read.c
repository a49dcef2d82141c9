/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "tools/pack/limits.h"
#include "tools/pack/torch.h"

int pack_torch_fail(const struct pack_source *source, const struct pack_tensor *tensor,
		    const char *what, struct gw_error *error)
{
	const char *file = source->files[0].name;
	char quoted_file[96], quoted[128];

	return gw_fail(error, GW_E_SOURCE, tensor->offset_bytes, "%s: tensor \"%s\" %s",
		       gw_quote(file, strlen(file), quoted_file, sizeof quoted_file),
		       gw_quote(tensor->name, strlen(tensor->name), quoted, sizeof quoted), what);
}

int pack_torch_effort(const struct pack_source *source, const struct pack_tensor *tensor, uint64_t n,
		      struct gw_error *error)
{
	const struct pack_torch *torch = source->state;

	/* holes take no room on a disk, and so cost nothing to whoever makes the file */
	uint64_t real_bytes = (uint64_t)source->files[0].status.st_blocks * 512;
	uint64_t more = real_bytes < PACK_MAX_EFFORT_BYTES / 2 ? real_bytes * 2 :
								 PACK_MAX_EFFORT_BYTES;

	*torch->effort_bytes += n;
	if (*torch->effort_bytes <= PACK_FREE_EFFORT_BYTES + more)
		return GW_OK;
	return pack_torch_fail(source, tensor,
			       "is one of views that lie scattered, so that it would take too long "
			       "to read them; torch.save contiguous() ones",
			       error);
}

/* n bytes at offset of a deflated member; forwards without a new beginning. */
static int pack_torch_inflate(struct pack_torch *torch, struct pack_zip_member *member,
			      uint64_t offset, uint64_t n, uint8_t *out, struct gw_error *error)
{
	int code = GW_OK;

	if (torch->stream_member != member || pack_zip_stream_at(torch->stream) > offset) {
		pack_zip_stream_free(torch->stream);
		torch->stream = NULL;
		torch->stream_member = NULL;
		code = pack_zip_stream_new(torch->zip, member, &torch->stream, error);
		if (code != GW_OK)
			return code;
		torch->stream_member = member;
	}
	code = pack_zip_stream_read(torch->stream, NULL, offset - pack_zip_stream_at(torch->stream),
				    error);
	if (code == GW_OK)
		code = pack_zip_stream_read(torch->stream, out, n, error);
	return code;
}

static int pack_torch_read(const struct pack_source *source, const struct pack_tensor *tensor,
			   uint64_t offset, uint64_t n, uint8_t *out, struct gw_error *error)
{
	struct pack_torch *torch = source->state;
	const struct pack_torch_view *view = &torch->views[tensor->detail];
	int code = view->member ? pack_zip_verify(torch->zip, view->member, error) : GW_OK;

	if (code != GW_OK || n == 0)
		return code;
	if (view->dense && view->member && view->member->deflated)
		return pack_torch_inflate(torch, view->member, view->first_bytes + offset, n, out,
					  error);
	if (view->dense)
		return pack_file_read(&source->files[0], out, n,
				      view->storage_offset + view->first_bytes + offset, error);
	if (!torch->gather)
		torch->gather = pack_gather_new();
	if (!torch->gather)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	return pack_gather_read(torch->gather, source, tensor, offset, n, out, error);
}

static void pack_torch_rest(void *state)
{
	struct pack_torch *torch = state;

	pack_zip_stream_free(torch->stream);
	pack_gather_free(torch->gather);
	torch->stream = NULL;
	torch->stream_member = NULL;
	torch->gather = NULL;
}

static void pack_torch_close(void *state)
{
	struct pack_torch *torch = state;

	pack_torch_rest(torch);
	pack_zip_free(torch->zip);
	free(torch->views);
	free(torch);
}

const struct pack_reader pack_torch_reader = {
	.read = pack_torch_read,
	.close = pack_torch_close,
	.rest = pack_torch_rest,
};
