/* SPDX-License-Identifier: MIT */
#include "daemon/read_ahead.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>

#include "daemon/completion.h"
#include "daemon/limits.h"
#include "format/reader.h"

struct request {
	uint64_t tag;
	uint8_t *out; /* NULL: not in use */
	uint64_t bytes, offset;
	bool done; /* without the ring */
};

struct gd_reads {
	int fd;
	bool has_ring; /* there is one */
	bool uses_ring; /* and it takes requests */
	unsigned depth;
	unsigned in_ring; /* requests that the kernel has */
	struct io_uring ring;
	struct request requests[GD_READS];
};

int gd_reads_new(int fd, unsigned depth, struct gd_reads **out_reads, struct gw_error *error)
{
	struct gd_reads *reads = calloc(1, sizeof *reads);

	assert(depth && depth <= GD_READS);
	if (!reads)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory to read ahead");
	reads->fd = fd;
	reads->depth = depth;
	reads->has_ring = io_uring_queue_init(depth, &reads->ring, 0) == 0;
	reads->uses_ring = reads->has_ring;
	*out_reads = reads;
	return GW_OK;
}

static struct request *unused_request(struct gd_reads *reads)
{
	for (unsigned i = 0; i < reads->depth; i++)
		if (!reads->requests[i].out)
			return &reads->requests[i];
	assert(!"more reads than depth");
	return NULL;
}

/* What is not submitted stays in the ring's queue, which is therefore not used again. */
static bool submit_to_ring(struct gd_reads *reads, struct request *request)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&reads->ring);

	if (sqe) {
		io_uring_prep_read(sqe, reads->fd, request->out, (unsigned)request->bytes,
				   request->offset);
		io_uring_sqe_set_data64(sqe, (uint64_t)(request - reads->requests));
		if (io_uring_submit(&reads->ring) == 1) {
			reads->in_ring++;
			return true;
		}
	}
	reads->uses_ring = false;
	return false;
}

int gd_reads_submit(struct gd_reads *reads, uint64_t tag, void *out, uint64_t bytes, uint64_t offset,
		    struct gw_error *error)
{
	struct request *request = unused_request(reads);
	int code;

	*request = (struct request){ .tag = tag, .out = out, .bytes = bytes, .offset = offset };
	if (reads->uses_ring && submit_to_ring(reads, request))
		return GW_OK;
	code = gw_read_at(reads->fd, out, bytes, offset, error);
	request->done = !code;
	if (code)
		request->out = NULL;
	return code;
}

static struct request *done_request(struct gd_reads *reads)
{
	for (unsigned i = 0; i < reads->depth; i++)
		if (reads->requests[i].out && reads->requests[i].done)
			return &reads->requests[i];
	return NULL;
}

bool gd_reads_ready(struct gd_reads *reads)
{
	return done_request(reads) || (reads->in_ring && io_uring_cq_ready(&reads->ring));
}

/* One that the kernel is done with, and how it went. */
static struct request *take_from_ring(struct gd_reads *reads, int *out_result,
				      struct gw_error *error)
{
	uint64_t data;
	int failed;

	do
		failed = gd_completion_take(&reads->ring, true, &data, out_result);
	while (failed == -EINTR || failed == -EAGAIN);
	if (failed) {
		gw_fail_errno(error, -failed, "io_uring_enter failed");
		return NULL;
	}
	reads->in_ring--;
	return &reads->requests[data];
}

int gd_reads_take(struct gd_reads *reads, uint64_t *out_tag, struct gw_error *error)
{
	struct request *request = done_request(reads);
	int result = 0, code = GW_OK;

	if (!request) {
		request = take_from_ring(reads, &result, error);
		if (!request)
			return GW_E_IO;
		/* what is missing pread fetches, or says why it is not to be had */
		if (result < 0 || (uint64_t)result > request->bytes)
			result = 0;
		code = gw_read_at(reads->fd, request->out + result,
				  request->bytes - (uint64_t)result,
				  request->offset + (uint64_t)result, error);
	}
	*out_tag = request->tag;
	request->out = NULL;
	return code;
}

void gd_reads_free(struct gd_reads *reads)
{
	int result;

	if (!reads)
		return;
	while (reads->in_ring && take_from_ring(reads, &result, NULL))
		;
	if (reads->has_ring)
		io_uring_queue_exit(&reads->ring);
	free(reads);
}
