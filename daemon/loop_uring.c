/* SPDX-License-Identifier: MIT */
/* The loop on io_uring: one poll request per event wanted, submitted together with the next wait. */
#include "daemon/loop_backend.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>

#include "daemon/completion.h"

/* Submissions between two waits; when they run out they are submitted early. A guess: the kernel takes
 * 64 bytes for each. */
#define SUBMISSIONS 256
/* Completions that may wait; beyond it the kernel keeps them in a list (IORING_FEAT_NODROP). */
#define COMPLETIONS 4096
/* Tag of requests whose completion says nothing: no watch has turn and slot of all ones. */
#define NO_TAG UINT64_MAX

/* Flags: those that not every kernel has. */
static int init_ring(struct io_uring *ring, unsigned flags, struct io_uring_params *out)
{
	*out = (struct io_uring_params){ .flags = flags | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
					 .cq_entries = COMPLETIONS };
	return io_uring_queue_init_params(SUBMISSIONS, ring, out);
}

static int uring_open(struct gd_loop *loop, struct gw_error *error)
{
	struct io_uring_params parameters = { 0 };
	struct io_uring *ring = calloc(1, sizeof *ring);
	int failed;

	if (!ring)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory for io_uring");
	/* completions are worked on when the loop waits, instead of interrupting it */
	failed = init_ring(ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
			   &parameters);
	if (failed == -EINVAL) /* before Linux 6.1 */
		failed = init_ring(ring, 0, &parameters);
	if (!failed && !(parameters.features & IORING_FEAT_NODROP)) {
		io_uring_queue_exit(ring);
		failed = -EOPNOTSUPP;
	}
	if (failed) {
		free(ring);
		return gw_fail_errno(error, -failed, "io_uring is refused");
	}
	io_uring_register_ring_fd(ring); /* since Linux 5.18; saves looking it up at each wait */
	loop->state = ring;
	return GW_OK;
}

static void uring_close(struct gd_loop *loop)
{
	io_uring_queue_exit(loop->state);
	free(loop->state);
}

static struct io_uring_sqe *next_sqe(struct gd_loop *loop, struct gw_error *error)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(loop->state);
	int done;

	if (sqe)
		return sqe;
	done = io_uring_submit(loop->state);
	sqe = done < 0 ? NULL : io_uring_get_sqe(loop->state);
	if (!sqe)
		gw_fail_errno(error, done < 0 ? -done : EBUSY, "cannot submit to io_uring");
	return sqe;
}

static int uring_arm(struct gd_loop *loop, struct gd_watch *watch, struct gw_error *error)
{
	struct io_uring_sqe *sqe = next_sqe(loop, error);

	if (!sqe)
		return GW_E_IO;
	io_uring_prep_poll_add(sqe, watch->fd, (unsigned)watch->events);
	io_uring_sqe_set_data64(sqe, gd_loop_tag(loop, watch));
	return GW_OK;
}

/* The poll request holds the file open until it is taken back: done before the loop waits again. */
static void uring_disarm(struct gd_loop *loop, struct gd_watch *watch)
{
	struct io_uring_sqe *sqe = next_sqe(loop, NULL);

	if (!sqe)
		return; /* the request stays until its file is ready; its tag is stale by then */
	io_uring_prep_poll_remove(sqe, gd_loop_tag(loop, watch));
	io_uring_sqe_set_data64(sqe, NO_TAG);
}

static int uring_wait_some(struct gd_loop *loop, bool look_only, struct gw_error *error)
{
	/* submitting makes room for what could not be armed, which may be all that there is to wait for */
	bool at_once = look_only || loop->unarmed;
	int done = at_once ? io_uring_submit_and_get_events(loop->state) :
			     io_uring_submit_and_wait(loop->state, 1);
	int result;
	uint64_t tag;

	if (done < 0 && done != -EINTR && done != -EAGAIN && done != -EBUSY)
		return gw_fail_errno(error, -done, "io_uring_enter failed");
	while (gd_completion_take(loop->state, false, &tag, &result) == 0) {
		/* a poll that failed or was cancelled is reported as an error of its file: the
		 * handler finds out what it is when it reads */
		if (tag != NO_TAG)
			gd_loop_dispatch(loop, tag, (short)(result < 0 ? POLLERR : result));
		if (loop->stopped)
			break;
	}
	return GW_OK;
}

const struct gd_loop_backend gd_loop_uring = {
	.id = WIRE_BACKEND_IO_URING,
	.open = uring_open,
	.close = uring_close,
	.arm = uring_arm,
	.disarm = uring_disarm,
	.wait = uring_wait_some,
};
