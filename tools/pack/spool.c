/* SPDX-License-Identifier: MIT */
#include "tools/pack/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/reader.h"

struct pack_spool {
	int fd;
	uint64_t size_bytes;
	char quoted_folder[128];
};

/* For file systems that have no O_TMPFILE: a name for as long as it takes to remove it. */
static int pack_spool_named(const char *folder)
{
	size_t n = strlen(folder) + sizeof "/gpt2-pack.XXXXXX";
	char *path = malloc(n);
	int fd = -1;

	if (!path)
		return -1;
	snprintf(path, n, "%s/gpt2-pack.XXXXXX", folder);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	free(path);
	return fd;
}

static int pack_spool_fail(const struct pack_spool *spool, struct gw_error *error)
{
	return gw_fail_errno(error, errno,
			     "cannot write a temporary file in %s (TMPDIR names another place)",
			     spool->quoted_folder);
}

int pack_spool_new(struct pack_spool **out, struct gw_error *error)
{
	const char *folder = secure_getenv("TMPDIR");
	struct pack_spool *spool = calloc(1, sizeof *spool);
	int code;

	if (!spool)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	if (!folder || !*folder)
		folder = "/var/tmp"; /* /tmp is often memory */
	gw_quote(folder, strlen(folder), spool->quoted_folder, sizeof spool->quoted_folder);
	spool->fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (spool->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
		spool->fd = pack_spool_named(folder);
	if (spool->fd < 0) {
		code = pack_spool_fail(spool, error);
		free(spool);
		return code;
	}
	*out = spool;
	return GW_OK;
}

void pack_spool_free(struct pack_spool *spool)
{
	if (!spool)
		return;
	close(spool->fd);
	free(spool);
}

int pack_spool_add(struct pack_spool *spool, const void *bytes, uint64_t n, struct gw_error *error)
{
	const uint8_t *from = bytes;

	while (n > 0) {
		ssize_t done = pwrite(spool->fd, from, n, (off_t)spool->size_bytes);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0) {
			errno = done < 0 ? errno : ENOSPC;
			return pack_spool_fail(spool, error);
		}
		from += done;
		spool->size_bytes += (uint64_t)done;
		n -= (uint64_t)done;
	}
	return GW_OK;
}

int pack_spool_read(const struct pack_spool *spool, uint64_t offset, uint64_t n, void *out,
		    struct gw_error *error)
{
	return gw_read_at(spool->fd, out, n, offset, error);
}
