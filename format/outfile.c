/* SPDX-License-Identifier: MIT */
#include "format/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* gpt2-pack has two at a time; a few more cost nothing. Guesses. */
#define MAX_OPEN 16
#define NAME_TRIES 16

struct gw_outfile {
	int fd;
	int dir_fd;
	bool replace;
	char name[NAME_MAX + 1];      /* final, last component */
	char temporary[NAME_MAX + 1]; /* beside it */
	int slot;                     /* in open_files */
};

/*
 * The files that gw_outfile_remove_all removes: slots that are free, or point at one that is complete.
 * A signal handler reads them, so they are atomics and nothing is allocated or locked.
 */
static _Atomic(struct gw_outfile *) open_files[MAX_OPEN];

static int register_file(struct gw_outfile *file)
{
	for (int i = 0; i < MAX_OPEN; i++) {
		struct gw_outfile *none = NULL;

		if (atomic_compare_exchange_strong(&open_files[i], &none, file))
			return i;
	}
	return -1;
}

void gw_outfile_remove_all(void)
{
	for (int i = 0; i < MAX_OPEN; i++) {
		struct gw_outfile *file = atomic_exchange(&open_files[i], NULL);

		if (file)
			unlinkat(file->dir_fd, file->temporary, 0);
	}
}

/* Splits path into its directory, opened, and its last component. */
static int open_directory(const char *path, struct gw_outfile *file, struct gw_error *error)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	char *directory;

	if (*name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return gw_fail(error, GW_E_OUTPUT, GW_NO_OFFSET, "%s names a directory", path);
	/* room for ".", ".XXXXXXXX.tmp" around it */
	if (strlen(name) > NAME_MAX - 14)
		return gw_fail(error, GW_E_OUTPUT, GW_NO_OFFSET, "the name of %s is too long", path);
	memcpy(file->name, name, strlen(name) + 1);
	directory = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
	if (!directory)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory");
	file->dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (file->dir_fd < 0)
		gw_fail_errno(error, errno, "cannot open directory %s", directory);
	free(directory);
	return file->dir_fd < 0 ? GW_E_IO : GW_OK;
}

/* What may stand under the final name: nothing, or a regular file that may be replaced. */
static int check_target(const struct gw_outfile *file, const char *path, struct gw_error *error)
{
	struct stat status;

	if (fstatat(file->dir_fd, file->name, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? GW_OK :
					 gw_fail_errno(error, errno, "cannot look at %s", path);
	if (S_ISLNK(status.st_mode))
		return gw_fail(error, GW_E_OUTPUT, GW_NO_OFFSET,
			       "%s is a symbolic link; name the file itself", path);
	if (!S_ISREG(status.st_mode))
		return gw_fail(error, GW_E_OUTPUT, GW_NO_OFFSET, "%s is %s, not a regular file",
			       path, S_ISDIR(status.st_mode) ? "a directory" : "a special file");
	if (!file->replace)
		return gw_fail(error, GW_E_EXISTS, GW_NO_OFFSET,
			       "%s exists already; --force replaces it", path);
	return GW_OK;
}

/* O_EXCL: a link or file that somebody planted under the name is never followed or reused. */
static int create_temporary(struct gw_outfile *file, const char *path, struct gw_error *error)
{
	for (int i = 0; i < NAME_TRIES; i++) {
		uint32_t random;

		if (getrandom(&random, sizeof random, 0) != sizeof random)
			return gw_fail_errno(error, errno, "no random number");
		snprintf(file->temporary, sizeof file->temporary, ".%.*s.%08" PRIx32 ".tmp",
			 NAME_MAX - 14, file->name, random);
		file->fd = openat(file->dir_fd, file->temporary,
				  O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
		if (file->fd >= 0)
			return GW_OK;
		if (errno != EEXIST)
			break;
	}
	return gw_fail_errno(error, errno, "cannot create a temporary file for %s", path);
}

/* Creates the temporary and makes it known to gw_outfile_remove_all, with no signal in between. */
static int create_registered(struct gw_outfile *file, const char *path, struct gw_error *error)
{
	sigset_t all, before;
	int code;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	code = create_temporary(file, path, error);
	if (code == GW_OK)
		file->slot = register_file(file);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return code;
}

int gw_outfile_create(const char *path, bool replace, struct gw_outfile **out,
		      struct gw_error *error)
{
	struct gw_outfile *file = calloc(1, sizeof *file);
	int code;

	if (!file)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory");
	*file = (struct gw_outfile){ .fd = -1, .dir_fd = -1, .replace = replace, .slot = -1 };
	if ((code = open_directory(path, file, error)) || (code = check_target(file, path, error)) ||
	    (code = create_registered(file, path, error))) {
		gw_outfile_free(file);
		return code;
	}
	*out = file;
	return GW_OK;
}

int gw_outfile_refuse_same(const char *path, dev_t dev, ino_t ino, struct gw_error *error)
{
	struct stat status;

	if (stat(path, &status) == 0 && status.st_dev == dev && status.st_ino == ino)
		return gw_fail(error, GW_E_OUTPUT, GW_NO_OFFSET,
			       "%s is the input itself; name another output", path);
	return GW_OK;
}

int gw_outfile_write(struct gw_outfile *out, const void *data, uint64_t n, uint64_t offset,
		     struct gw_error *error)
{
	const uint8_t *from = data;

	while (n) {
		ssize_t done = pwrite(out->fd, from, n < (1u << 30) ? n : 1u << 30, (off_t)offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return gw_fail_errno(error, done ? errno : EIO,
					     "cannot write %s at offset %" PRIu64, out->name,
					     offset);
		from += done;
		offset += (uint64_t)done;
		n -= (uint64_t)done;
	}
	return GW_OK;
}

int gw_outfile_resize(struct gw_outfile *out, uint64_t n, struct gw_error *error)
{
	int failed;

	do
		failed = ftruncate(out->fd, (off_t)n);
	while (failed && errno == EINTR);
	if (failed)
		return gw_fail_errno(error, errno, "cannot give %s its size of %" PRIu64 " bytes",
				     out->name, n);
	return GW_OK;
}

/* Where the file system cannot rename without replacing, a hard link does not replace either. */
static int rename_new(const struct gw_outfile *out)
{
	if (renameat2(out->dir_fd, out->temporary, out->dir_fd, out->name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	if (linkat(out->dir_fd, out->temporary, out->dir_fd, out->name, 0) < 0)
		return -1;
	return unlinkat(out->dir_fd, out->temporary, 0);
}

/* From here on a signal handler leaves the file alone. */
static void unregister_file(struct gw_outfile *out)
{
	struct gw_outfile *self = out;

	if (out->slot >= 0)
		atomic_compare_exchange_strong(&open_files[out->slot], &self, NULL);
	out->slot = -1;
}

int gw_outfile_fd(const struct gw_outfile *out)
{
	return out->fd;
}

int gw_outfile_commit(struct gw_outfile *out, struct gw_error *error)
{
	int failed;

	/* fsync is not tried again: after an EIO the pages may be gone (fsync(2), BUGS) */
	if (fsync(out->fd) < 0)
		return gw_fail_errno(error, errno, "cannot sync %s", out->name);
	failed = close(out->fd);
	out->fd = -1;
	if (failed)
		return gw_fail_errno(error, errno, "cannot close %s", out->name);
	if (out->replace)
		failed = renameat(out->dir_fd, out->temporary, out->dir_fd, out->name);
	else
		failed = rename_new(out);
	if (failed && errno == EEXIST)
		return gw_fail(error, GW_E_EXISTS, GW_NO_OFFSET,
			       "%s appeared while it was being written", out->name);
	if (failed)
		return gw_fail_errno(error, errno, "cannot rename the temporary to %s", out->name);
	unregister_file(out);
	out->temporary[0] = '\0';
	if (fsync(out->dir_fd) < 0)
		return gw_fail_errno(error, errno, "cannot sync the directory of %s", out->name);
	return GW_OK;
}

void gw_outfile_free(struct gw_outfile *out)
{
	if (!out)
		return;
	if (out->fd >= 0)
		close(out->fd);
	/* first the file, then its registration: a signal in between removes what is gone already */
	if (out->temporary[0])
		unlinkat(out->dir_fd, out->temporary, 0);
	unregister_file(out);
	if (out->dir_fd >= 0)
		close(out->dir_fd);
	free(out);
}
