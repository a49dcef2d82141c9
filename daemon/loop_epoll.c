/* SPDX-License-Identifier: MIT */
/* The loop on epoll: one shot, armed anew after each event, so that both back ends behave alike. */
#include "daemon/loop_backend.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "daemon/limits.h"

/* Poll's and epoll's events have the same values (asserted below), so they are passed on as they are. */
_Static_assert(POLLIN == EPOLLIN && POLLOUT == EPOLLOUT && POLLERR == EPOLLERR &&
		       POLLHUP == EPOLLHUP && POLLRDHUP == EPOLLRDHUP,
	       "poll and epoll differ");

static int epoll_fd(const struct gd_loop *loop)
{
	return (int)(intptr_t)loop->state;
}

static int epoll_open(struct gd_loop *loop, struct gw_error *error)
{
	int fd = epoll_create1(EPOLL_CLOEXEC);

	if (fd < 0)
		return gw_fail_errno(error, errno, "cannot make an epoll descriptor");
	loop->state = (void *)(intptr_t)fd;
	return GW_OK;
}

static void epoll_close(struct gd_loop *loop)
{
	close(epoll_fd(loop));
}

static int epoll_arm(struct gd_loop *loop, struct gd_watch *watch, struct gw_error *error)
{
	/* EPOLLRDHUP: io_uring always waits for it, so both do */
	struct epoll_event event = { .events = (uint32_t)watch->events | EPOLLRDHUP | EPOLLONESHOT,
				     .data.u64 = gd_loop_tag(loop, watch) };

	if (epoll_ctl(epoll_fd(loop), EPOLL_CTL_MOD, watch->fd, &event) == 0)
		return GW_OK;
	if (errno == ENOENT && epoll_ctl(epoll_fd(loop), EPOLL_CTL_ADD, watch->fd, &event) == 0)
		return GW_OK;
	return gw_fail_errno(error, errno, "epoll_ctl failed");
}

/* Deleting one that is not there is fine: its one shot may be spent. */
static void epoll_disarm(struct gd_loop *loop, struct gd_watch *watch)
{
	epoll_ctl(epoll_fd(loop), EPOLL_CTL_DEL, watch->fd, NULL);
}

static int epoll_wait_some(struct gd_loop *loop, bool look_only, struct gw_error *error)
{
	struct epoll_event events[64];
	int n = epoll_wait(epoll_fd(loop), events, sizeof events / sizeof *events,
			   look_only ? 0 : loop->unarmed ? GD_ARM_AGAIN_MS : -1);

	if (n < 0 && errno != EINTR)
		return gw_fail_errno(error, errno, "epoll_wait failed");
	for (int i = 0; i < n; i++)
		gd_loop_dispatch(loop, events[i].data.u64, (short)events[i].events);
	return GW_OK;
}

const struct gd_loop_backend gd_loop_epoll = {
	.id = WIRE_BACKEND_EPOLL,
	.open = epoll_open,
	.close = epoll_close,
	.arm = epoll_arm,
	.disarm = epoll_disarm,
	.wait = epoll_wait_some,
};
