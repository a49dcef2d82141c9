/* SPDX-License-Identifier: MIT */
/* As calls.c, of io_uring, which gpt2d alone uses. liburing returns -errno. */
#include <liburing.h>
#include <stdint.h>

#include "wrap.h"

#define CANNOT_MAKE_RING LASTING(EPERM, ENOSYS, ENOMEM, EMFILE)

WRAP(int, io_uring_queue_init, (unsigned n, struct io_uring *ring, unsigned flags), (n, ring, flags),
     -error, CANNOT_MAKE_RING, NONE)
WRAP(int, io_uring_queue_init_params,
     (unsigned n, struct io_uring *ring, struct io_uring_params *parameters), (n, ring, parameters),
     -error, CANNOT_MAKE_RING, NONE)
WRAP(int, io_uring_submit, (struct io_uring * ring), (ring), -error, NONE, PASSING(EAGAIN, EBUSY))
WRAP(int, io_uring_submit_and_wait, (struct io_uring * ring, unsigned n), (ring, n), -error,
     LASTING(EBADR), PASSING(EINTR, EAGAIN, EBUSY))
WRAP(int, io_uring_submit_and_get_events, (struct io_uring * ring), (ring), -error, LASTING(EBADR),
     PASSING(EINTR, EAGAIN, EBUSY))
WRAP(int, io_uring_register_ring_fd, (struct io_uring * ring), (ring), -error,
     LASTING(EINVAL /* before Linux 5.18 */, ENOMEM), NONE)

/* The completion itself fails; the waiting for it can only be interrupted. */
DECLARE(int, gd_completion_take, (struct io_uring * ring, bool wait, uint64_t *out_data, int *out_result))
int __wrap_gd_completion_take(struct io_uring *ring, bool wait, uint64_t *out_data, int *out_result)
{
	int error, failed;

	if (wait && FAILS("io_uring_wait_cqe", NONE, PASSING(EINTR, EAGAIN), false, &error))
		return -error;
	failed = __real_gd_completion_take(ring, wait, out_data, out_result);
	if (failed || !FAILS("completion", LASTING(EIO, ENOMEM, ECANCELED),
			     PASSING(EINTR, EAGAIN, INJECT_SHORT), false, &error))
		return failed;
	if (error != INJECT_SHORT)
		*out_result = -error;
	else if (wait) /* a read, not a poll */
		*out_result /= 2;
	return 0;
}
