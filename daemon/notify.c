/* SPDX-License-Identifier: MIT */
#include "daemon/notify.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "daemon/digits.h"

int gd_notify_init(struct gd_notify *notify, const char *address, struct gw_error *error)
{
	size_t n = address ? strlen(address) : 0;

	*notify = (struct gd_notify){ .fd = -1, .address.sun_family = AF_UNIX };
	if (!address)
		return GW_OK;
	/* a path needs room for its NUL, an abstract name has none */
	if (n < 2 || (address[0] != '/' && address[0] != '@') ||
	    n + (address[0] == '/') > sizeof notify->address.sun_path)
		return GD_NOTIFY_NO_ADDRESS;
	memcpy(notify->address.sun_path, address, n);
	if (address[0] == '@')
		notify->address.sun_path[0] = '\0';
	notify->address_bytes =
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (address[0] == '/'));
	notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (notify->fd < 0)
		return gw_fail_errno(error, errno, "cannot make a socket for the service manager");
	return GW_OK;
}

void gd_notify_deinit(struct gd_notify *notify)
{
	if (notify->fd >= 0)
		close(notify->fd);
	notify->fd = -1;
}

bool gd_notify_send(const struct gd_notify *notify, const char *text)
{
	return notify->fd < 0 ||
	       sendto(notify->fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL,
		      (const struct sockaddr *)&notify->address, notify->address_bytes) >= 0;
}

bool gd_notify_send_fd(const struct gd_notify *notify, const char *text, int fd)
{
	struct sockaddr_un address = notify->address;
	struct iovec data = { .iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text) };
	union {
		char bytes[CMSG_SPACE(sizeof fd)];
		struct cmsghdr align;
	} control = { .bytes = { 0 } };
	struct msghdr message = { .msg_name = &address,
				  .msg_namelen = notify->address_bytes,
				  .msg_iov = &data,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof control };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(header), &fd, sizeof fd);
	return notify->fd < 0 || sendmsg(notify->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

uint64_t gd_notify_watchdog_us(const char *usec, const char *watchdog_pid, int64_t pid)
{
	uint64_t us, whose;

	if (!usec || !gd_digits(usec, INT64_MAX / 1000, &us) || us < 4)
		return 0;
	if (watchdog_pid &&
	    (!gd_digits(watchdog_pid, INT64_MAX, &whose) || whose != (uint64_t)pid))
		return 0;
	return us;
}
