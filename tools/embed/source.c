/* SPDX-License-Identifier: MIT */
#include "tools/embed/source.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int embed_source_stat(struct embed_source *source, struct gw_error *error)
{
	struct stat st;
	off_t at;

	if (fstat(source->fd, &st) != 0)
		return gw_fail_errno(error, errno, "cannot look at it");
	if (S_ISDIR(st.st_mode))
		return gw_fail(error, GW_E_NOT_FILE, GW_NO_OFFSET, "it is a directory");
	source->dev = st.st_dev;
	source->ino = st.st_ino;
	source->is_regular = S_ISREG(st.st_mode);
	if (!source->is_regular)
		return 0;
	/* standard input may stand anywhere in a file that the shell opened */
	at = lseek(source->fd, 0, SEEK_CUR);
	if (at < 0)
		return gw_fail_errno(error, errno, "cannot find the place to read from");
	source->size_bytes = at < st.st_size ? (uint64_t)(st.st_size - at) : 0;
	return 0;
}

int embed_source_open(const char *path, struct embed_source *out, struct gw_error *error)
{
	bool is_stdin = strcmp(path, "-") == 0;
	int ret;

	memset(out, 0, offsetof(struct embed_source, buffer));
	out->name = is_stdin ? "standard input" : path;
	out->fd = STDIN_FILENO;
	/* not blocking: a FIFO without a writer must not hold us before its type is known */
	if (!is_stdin)
		out->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (out->fd < 0)
		return gw_fail_errno(error, errno, "cannot open it");
	ret = embed_source_stat(out, error);
	if (!ret && !is_stdin && !out->is_regular)
		ret = gw_fail(error, GW_E_NOT_FILE, GW_NO_OFFSET,
			      "it is not a regular file; a stream goes to standard input");
	if (ret)
		embed_source_close(out);
	return ret;
}

void embed_source_close(struct embed_source *source)
{
	if (source->fd > STDIN_FILENO)
		close(source->fd);
	source->fd = -1;
}

int embed_source_peek(struct embed_source *source, size_t n, const uint8_t **out_bytes,
		      size_t *out_n, struct gw_error *error)
{
	ssize_t got = 1;

	assert(n <= sizeof source->buffer);
	if (source->filled - source->at < n && source->at > 0) {
		memmove(source->buffer, source->buffer + source->at, source->filled - source->at);
		source->filled -= source->at;
		source->at = 0;
	}
	while (source->filled - source->at < n && got != 0) {
		got = read(source->fd, source->buffer + source->filled,
			   sizeof source->buffer - source->filled);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return gw_fail_errno(error, errno, "cannot read it");
		source->filled += (size_t)got;
	}
	*out_bytes = source->buffer + source->at;
	*out_n = source->filled - source->at < n ? source->filled - source->at : n;
	return 0;
}

void embed_source_take(struct embed_source *source, size_t n)
{
	assert(n <= source->filled - source->at);
	source->at += n;
	source->taken_bytes += n;
}
