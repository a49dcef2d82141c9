/* SPDX-License-Identifier: MIT */
#include "daemon/completion.h"

int gd_completion_take(struct io_uring *ring, bool wait, uint64_t *out_data, int *out_result)
{
	struct io_uring_cqe *cqe;
	int failed = wait ? io_uring_wait_cqe(ring, &cqe) : io_uring_peek_cqe(ring, &cqe);

	if (failed)
		return failed;
	*out_data = io_uring_cqe_get_data64(cqe);
	*out_result = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return 0;
}
