/* SPDX-License-Identifier: MIT */
#include "tests/unit/tools/pack/injected.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <zlib.h>

static enum injected wanted = INJECTED_KINDS; /* this: nothing */
static long countdown;

void injected_begin(enum injected kind, long n)
{
	wanted = kind;
	countdown = n;
}

bool injected_end(void)
{
	wanted = INJECTED_KINDS;
	return countdown < 0;
}

static bool fails(enum injected kind)
{
	if (kind != wanted || countdown < 0 || countdown-- > 0)
		return false;
	errno = kind == INJECTED_MEMORY ? ENOMEM : EIO;
	return true;
}

#define WRAP(result, name, ...)            \
	result __wrap_##name(__VA_ARGS__); \
	result __real_##name(__VA_ARGS__); \
	result __wrap_##name(__VA_ARGS__)

WRAP(void *, malloc, size_t size)
{
	return fails(INJECTED_MEMORY) ? NULL : __real_malloc(size);
}

WRAP(void *, calloc, size_t n, size_t size)
{
	return fails(INJECTED_MEMORY) ? NULL : __real_calloc(n, size);
}

WRAP(void *, realloc, void *old, size_t size)
{
	return fails(INJECTED_MEMORY) ? NULL : __real_realloc(old, size);
}

WRAP(void *, reallocarray, void *old, size_t n, size_t size)
{
	return fails(INJECTED_MEMORY) ? NULL : __real_reallocarray(old, n, size);
}

WRAP(char *, strdup, const char *text)
{
	return fails(INJECTED_MEMORY) ? NULL : __real_strdup(text);
}

WRAP(char *, strndup, const char *text, size_t n)
{
	return fails(INJECTED_MEMORY) ? NULL : __real_strndup(text, n);
}

__attribute__((format(printf, 2, 3))) WRAP(int, asprintf, char **out, const char *format, ...)
{
	va_list arguments;
	int n = -1;

	va_start(arguments, format);
	if (!fails(INJECTED_MEMORY))
		n = vasprintf(out, format, arguments);
	va_end(arguments);
	return n;
}

WRAP(int, inflateInit2_, z_stream *z, int bits, const char *version, int size)
{
	return fails(INJECTED_MEMORY) ? Z_MEM_ERROR : __real_inflateInit2_(z, bits, version, size);
}

WRAP(int, inflate, z_stream *z, int flush)
{
	return fails(INJECTED_MEMORY) ? Z_MEM_ERROR : __real_inflate(z, flush);
}

WRAP(int, openat64, int folder_fd, const char *path, int flags, ...)
{
	return fails(INJECTED_OPEN) ? -1 : __real_openat64(folder_fd, path, flags);
}

/* Only temporary files are made. */
WRAP(int, open64, const char *path, int flags, ...)
{
	return fails(INJECTED_OPEN) ? -1 : __real_open64(path, flags, 0600);
}

WRAP(DIR *, fdopendir, int fd)
{
	return fails(INJECTED_IO) ? NULL : __real_fdopendir(fd);
}

WRAP(int, fstat64, int fd, struct stat64 *out)
{
	return fails(INJECTED_IO) ? -1 : __real_fstat64(fd, out);
}

WRAP(ssize_t, pread64, int fd, void *out, size_t n, off64_t offset)
{
	if (fails(INJECTED_IO))
		return -1;
	return fails(INJECTED_SHORT) ? 0 : __real_pread64(fd, out, n, offset);
}
