/* SPDX-License-Identifier: MIT */
#include "tools/pack/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/reader.h"

const char *pack_file_type(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "a regular file";
	case S_IFDIR:
		return "a directory";
	case S_IFIFO:
		return "a FIFO or pipe";
	case S_IFSOCK:
		return "a socket";
	case S_IFCHR:
		return "a character device";
	case S_IFBLK:
		return "a block device";
	default:
		return "something else";
	}
}

static const char *pack_file_base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

int pack_file_open(int folder_fd, const char *path, struct pack_file *out, struct gw_error *error)
{
	struct pack_file file = PACK_FILE_INIT;
	const char *base = pack_file_base(path);
	char quoted[128];
	int code;

	gw_quote(base, strlen(base), quoted, sizeof quoted);
	/* O_NONBLOCK: the opening of a FIFO would wait for a writer */
	file.fd = openat(folder_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (file.fd < 0)
		return gw_fail_errno(error, errno, "cannot open %s", quoted);
	if (fstat(file.fd, &file.status) != 0) {
		code = gw_fail_errno(error, errno, "cannot examine %s", quoted);
	} else if (!S_ISREG(file.status.st_mode)) {
		code = gw_fail(error, GW_E_NOT_FILE, GW_NO_OFFSET, "%s is %s, not a regular file",
			       quoted, pack_file_type(file.status.st_mode));
	} else {
		file.size_bytes = (uint64_t)file.status.st_size;
		file.name = strdup(base);
		code = file.name ? GW_OK
				 : gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	}
	if (code != GW_OK) {
		pack_file_close(&file);
		return code;
	}
	*out = file;
	return GW_OK;
}

void pack_file_close(struct pack_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	free(file->name);
	*file = (struct pack_file)PACK_FILE_INIT;
}

int pack_file_read(const struct pack_file *file, void *out, uint64_t n, uint64_t offset,
		   struct gw_error *error)
{
	struct gw_error inner = GW_ERROR_INIT;
	char quoted[128];
	int code = gw_read_at(file->fd, out, n, offset, &inner);

	if (code == GW_OK)
		return GW_OK;
	gw_quote(file->name, strlen(file->name), quoted, sizeof quoted);
	if (code == GW_E_CHANGED)
		return gw_fail(error, code, offset, "%s became shorter while it was read", quoted);
	if (error) {
		*error = inner;
		gw_fail(error, code, inner.offset, "cannot read %s: %s", quoted, inner.message);
		error->sys_errno = inner.sys_errno;
	}
	return code;
}

int pack_file_unchanged(const struct pack_file *file, struct gw_error *error)
{
	const struct stat *before = &file->status;
	struct stat now;
	char quoted[128];

	gw_quote(file->name, strlen(file->name), quoted, sizeof quoted);
	if (fstat(file->fd, &now) != 0)
		return gw_fail_errno(error, errno, "cannot examine %s", quoted);
	if (now.st_size == before->st_size && now.st_mtim.tv_sec == before->st_mtim.tv_sec &&
	    now.st_mtim.tv_nsec == before->st_mtim.tv_nsec)
		return GW_OK;
	return gw_fail(error, GW_E_CHANGED, GW_NO_OFFSET, "%s was changed while it was read",
		       quoted);
}
