/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/pack/element.h"
#include "tools/pack/limits.h"
#include "tools/pack/torch.h"

#define PACK_NO_LINE UINT32_MAX
#define PACK_GATHER_LINES (PACK_GATHER_BYTES / PACK_GATHER_PAGE_BYTES)

/*
 * A cache of one storage's pages. Which line holds a page is looked up in a table of all pages; the
 * line that was filled first is the next to be replaced. That suits a transposed table: every page
 * of a column is used for as many rows in a row as it holds elements.
 */
struct pack_gather {
	const struct pack_torch_view *view; /* whose storage it is; NULL: none */
	uint64_t page_bytes, n_pages;
	uint32_t n_lines, next; /* next: the line to replace */
	uint8_t *data;          /* [n_lines][page_bytes] */
	uint32_t *line_of_page; /* [n_pages] */
	uint32_t page_of_line[PACK_GATHER_LINES];
};

struct pack_gather *pack_gather_new(void)
{
	struct pack_gather *gather = calloc(1, sizeof *gather);

	if (!gather)
		return NULL;
	gather->data = malloc(PACK_GATHER_BYTES);
	gather->line_of_page = malloc(PACK_MAX_GATHER_PAGES * sizeof(uint32_t));
	if (gather->data && gather->line_of_page)
		return gather;
	pack_gather_free(gather);
	return NULL;
}

void pack_gather_free(struct pack_gather *gather)
{
	if (!gather)
		return;
	free(gather->data);
	free(gather->line_of_page);
	free(gather);
}

/* A deflated storage has no pages that could be read one by one: it becomes the only line. */
static int pack_gather_inflate(struct pack_gather *gather, const struct pack_source *source,
			       const struct pack_tensor *tensor, struct gw_error *error)
{
	const struct pack_torch *torch = source->state;
	const struct pack_torch_view *view = gather->view;
	struct pack_zip_stream *stream = NULL;
	int code;

	if (view->storage_bytes > PACK_GATHER_BYTES)
		return pack_torch_fail(source, tensor,
				       "is a strided view of a large deflated storage; store it "
				       "without compression",
				       error);
	code = pack_torch_effort(source, tensor, PACK_INFLATE_EFFORT * view->storage_bytes, error);
	if (code == GW_OK)
		code = pack_zip_stream_new(torch->zip, view->member, &stream, error);
	if (code == GW_OK)
		code = pack_zip_stream_read(stream, gather->data, view->storage_bytes, error);
	pack_zip_stream_free(stream);
	gather->page_bytes = PACK_GATHER_BYTES;
	gather->line_of_page[0] = 0;
	return code;
}

/* Makes the cache that of view's storage, and empty. */
static int pack_gather_begin(struct pack_gather *gather, const struct pack_source *source,
			     const struct pack_tensor *tensor, const struct pack_torch_view *view,
			     struct gw_error *error)
{
	int code;

	gather->view = view;
	if (view->member && view->member->deflated) {
		code = pack_gather_inflate(gather, source, tensor, error);
		gather->view = code == GW_OK ? view : NULL;
		return code;
	}
	gather->page_bytes = PACK_GATHER_PAGE_BYTES;
	/* of very large storages the pages are larger, up to all of the cache: 2^44 bytes */
	while (gather->page_bytes < PACK_GATHER_BYTES &&
	       view->storage_bytes / gather->page_bytes >= PACK_MAX_GATHER_PAGES)
		gather->page_bytes *= 2;
	gather->n_pages = view->storage_bytes / gather->page_bytes + 1;
	if (gather->n_pages > PACK_MAX_GATHER_PAGES) {
		gather->view = NULL;
		return pack_torch_fail(source, tensor,
				       "is a strided view of a storage of over 16 TiB", error);
	}
	gather->n_lines = (uint32_t)(PACK_GATHER_BYTES / gather->page_bytes);
	gather->next = 0;
	memset(gather->line_of_page, 0xff, gather->n_pages * sizeof(uint32_t));
	memset(gather->page_of_line, 0xff, sizeof gather->page_of_line);
	return pack_torch_effort(source, tensor,
				 gather->n_pages * sizeof(uint32_t) + sizeof gather->page_of_line,
				 error);
}

static int pack_gather_load(struct pack_gather *gather, const struct pack_source *source,
			    const struct pack_tensor *tensor, uint64_t page, struct gw_error *error)
{
	const struct pack_torch_view *view = gather->view;
	uint64_t first = page * gather->page_bytes;
	uint64_t left = view->storage_bytes - first;
	uint32_t line = gather->next;
	int code;

	code = pack_torch_effort(source, tensor, gather->page_bytes, error);
	if (code == GW_OK)
		code = pack_file_read(&source->files[0], gather->data + line * gather->page_bytes,
				      left < gather->page_bytes ? left : gather->page_bytes,
				      view->storage_offset + first, error);
	if (code != GW_OK) {
		gather->view = NULL;
		return code;
	}
	if (gather->page_of_line[line] != PACK_NO_LINE)
		gather->line_of_page[gather->page_of_line[line]] = PACK_NO_LINE;
	gather->page_of_line[line] = (uint32_t)page;
	gather->line_of_page[page] = line;
	gather->next = (line + 1) % gather->n_lines;
	return GW_OK;
}

static void pack_gather_copy(uint8_t *out, const uint8_t *in, unsigned element_bytes)
{
	/* sizes known to the compiler are single instructions */
	switch (element_bytes) {
	case 2:
		memcpy(out, in, 2);
		return;
	case 4:
		memcpy(out, in, 4);
		return;
	default:
		memcpy(out, in, element_bytes);
	}
}

int pack_gather_read(struct pack_gather *gather, const struct pack_source *source,
		     const struct pack_tensor *tensor, uint64_t offset, uint64_t n, uint8_t *out,
		     struct gw_error *error)
{
	const struct pack_torch *torch = source->state;
	const struct pack_torch_view *view = &torch->views[tensor->detail];
	unsigned element_bytes = pack_element_bits(tensor->element) / 8;
	uint64_t index[GW_MAX_RANK] = { 0 }, at = view->first_bytes;
	uint64_t left = offset / element_bytes;
	int code = GW_OK;

	/* a new pass gets a new budget */
	if (gather->view != view || offset == 0)
		code = pack_gather_begin(gather, source, tensor, view, error);
	for (unsigned i = tensor->rank; i-- > 0; left /= tensor->shape[i]) {
		index[i] = left % tensor->shape[i];
		at += index[i] * view->stride_bytes[i];
	}
	for (uint64_t done = 0; code == GW_OK && done < n; done += element_bytes) {
		uint64_t page = at / gather->page_bytes;

		if (gather->line_of_page[page] == PACK_NO_LINE)
			code = pack_gather_load(gather, source, tensor, page, error);
		if (code != GW_OK)
			break;
		pack_gather_copy(out + done,
				 gather->data + gather->line_of_page[page] * gather->page_bytes +
					 at % gather->page_bytes,
				 element_bytes);
		for (unsigned i = tensor->rank; i-- > 0;) {
			at += view->stride_bytes[i];
			if (++index[i] < tensor->shape[i])
				break;
			at -= tensor->shape[i] * view->stride_bytes[i];
			index[i] = 0;
		}
	}
	return code;
}
