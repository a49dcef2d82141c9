/* SPDX-License-Identifier: MIT */
/*
 * What can fail, and how: every call of libc, libzstd, zlib and liburing that gpt2d and gpt2-pack make and
 * whose failure the kernel, or a lack of memory, can bring about. wrapped.txt names them for the linker;
 * sure.txt names the calls that cannot fail. The errors are those of the manual's pages (section 2), as far
 * as a correct program can meet them.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "daemon/journal.h"
#include "wrap.h"

/* --- memory ------------------------------------------------------------------------------------- */

WRAP(void *, malloc, (size_t n), (n), NULL, NO_MEMORY, NONE)
WRAP(void *, calloc, (size_t n, size_t size), (n, size), NULL, NO_MEMORY, NONE)
WRAP(void *, realloc, (void *old, size_t n), (old, n), NULL, NO_MEMORY, NONE)
WRAP(void *, reallocarray, (void *old, size_t n, size_t size), (old, n, size), NULL, NO_MEMORY, NONE)
WRAP(void *, aligned_alloc, (size_t align, size_t n), (align, n), NULL, NO_MEMORY, NONE)
WRAP(char *, strdup, (const char *s), (s), NULL, NO_MEMORY, NONE)
WRAP(char *, strndup, (const char *s, size_t n), (s, n), NULL, NO_MEMORY, NONE)

int __wrap_asprintf(char **out, const char *format, ...);
__attribute__((format(printf, 2, 3))) int __wrap_asprintf(char **out, const char *format, ...)
{
	va_list arguments;
	int error, done;

	if (FAILS("asprintf", NO_MEMORY, NONE, false, &error))
		return -1;
	va_start(arguments, format);
	done = vasprintf(out, format, arguments);
	va_end(arguments);
	return done;
}

WRAP(void *, mmap64, (void *at, size_t n, int protection, int flags, int fd, off64_t offset),
     (at, n, protection, flags, fd, offset), MAP_FAILED, NO_MEMORY, NONE)
WRAP_DONE(munmap, (void *at, size_t n), (at, n), NO_MEMORY, false)
WRAP(int, madvise, (void *at, size_t n, int advice), (at, n, advice), -1, LASTING(ENOMEM, EINVAL),
     PASSING(EAGAIN))
WRAP(int, mincore, (void *at, size_t n, unsigned char *out), (at, n, out), -1, NO_MEMORY,
     PASSING(EAGAIN))
WRAP(int, memfd_create, (const char *name, unsigned flags), (name, flags), -1,
     LASTING(EMFILE, ENFILE, ENOMEM, EINVAL), NONE)
WRAP(ZSTD_CCtx *, ZSTD_createCCtx, (void), (), NULL, NO_MEMORY, NONE)
WRAP(ZSTD_DCtx *, ZSTD_createDCtx, (void), (), NULL, NO_MEMORY, NONE)
WRAP(size_t, ZSTD_compress2, (ZSTD_CCtx * context, void *out, size_t room, const void *in, size_t n),
     (context, out, room, in, n), (size_t)-64 /* memory_allocation */, NO_MEMORY, NONE)
WRAP(int, inflateInit2_, (z_streamp stream, int bits, const char *version, int size),
     (stream, bits, version, size), Z_MEM_ERROR, NO_MEMORY, NONE)

/* --- threads; these return an error instead of setting errno ------------------------------------ */

WRAP(int, pthread_create,
     (pthread_t * thread, const pthread_attr_t *attributes, void *(*routine)(void *), void *argument),
     (thread, attributes, routine, argument), error, LASTING(EAGAIN), NONE)
WRAP(int, pthread_attr_init, (pthread_attr_t * attributes), (attributes), error, NO_MEMORY, NONE)
WRAP(int, posix_fadvise64, (int fd, off64_t at, off64_t n, int advice), (fd, at, n, advice), error,
     LASTING(EINVAL), NONE)
WRAP(int, sched_getaffinity, (pid_t pid, size_t n, cpu_set_t *out), (pid, n, out), -1,
     LASTING(EINVAL), NONE)

/* --- files -------------------------------------------------------------------------------------- */

#define CANNOT_OPEN LASTING(EACCES, EMFILE, ENFILE, ENOMEM, EIO, ENOENT)
#define CANNOT_LOOK LASTING(EACCES, EIO, ENOENT, ENOMEM)
#define CANNOT_CHANGE LASTING(EACCES, EIO, ENOSPC, EROFS, EDQUOT)

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
	mode_t mode = 0;
	int error;

	if (flags & (O_CREAT | __O_TMPFILE)) {
		va_list arguments;

		va_start(arguments, flags);
		mode = va_arg(arguments, mode_t);
		va_end(arguments);
	}
	if (!FAILS("open", CANNOT_OPEN, PASSING(EINTR), false, &error))
		return __real_open64(path, flags, mode);
	errno = error;
	return -1;
}

int __real_openat64(int folder, const char *path, int flags, ...);
int __wrap_openat64(int folder, const char *path, int flags, ...);
int __wrap_openat64(int folder, const char *path, int flags, ...)
{
	mode_t mode = 0;
	int error;

	if (flags & O_CREAT) {
		va_list arguments;

		va_start(arguments, flags);
		mode = va_arg(arguments, mode_t);
		va_end(arguments);
	}
	if (!FAILS("openat", LASTING(EACCES, EMFILE, ENOSPC, EROFS, ENOMEM, EIO), PASSING(EINTR), false,
		   &error))
		return __real_openat64(folder, path, flags, mode);
	errno = error;
	return -1;
}

WRAP(int, mkostemp64, (char *path, int flags), (path, flags), -1, LASTING(EACCES, EMFILE, ENOSPC), NONE)
/* the descriptor is gone whatever close says */
WRAP_DONE(close, (int fd), (fd), LASTING(EIO, ENOSPC, EINTR), false)
WRAP(FILE *, fopen64, (const char *path, const char *mode), (path, mode), NULL, CANNOT_OPEN, NONE)
WRAP(int, fflush, (FILE * file), (file), EOF, LASTING(EIO, ENOSPC), NONE)
WRAP(DIR *, opendir, (const char *path), (path), NULL, CANNOT_OPEN, NONE)
WRAP(DIR *, fdopendir, (int fd), (fd), NULL, NO_MEMORY, NONE)
WRAP(struct dirent64 *, readdir64, (DIR * folder), (folder), NULL, LASTING(EIO, ENOENT), NONE)
WRAP(int, access, (const char *path, int mode), (path, mode), -1, CANNOT_LOOK, NONE)
WRAP(int, stat64, (const char *path, struct stat64 *out), (path, out), -1, CANNOT_LOOK, NONE)
WRAP(int, lstat64, (const char *path, struct stat64 *out), (path, out), -1, CANNOT_LOOK, NONE)
WRAP(int, fstat64, (int fd, struct stat64 *out), (fd, out), -1, LASTING(EIO, ESTALE, ENOMEM), NONE)
WRAP(int, fstatat64, (int folder, const char *path, struct stat64 *out, int flags),
     (folder, path, out, flags), -1, CANNOT_LOOK, NONE)
WRAP(int, ftruncate64, (int fd, off64_t n), (fd, n), -1, LASTING(EFBIG, EIO, ENOSPC), PASSING(EINTR))
WRAP(int, fallocate64, (int fd, int mode, off64_t at, off64_t n), (fd, mode, at, n), -1,
     LASTING(ENOSPC, ENOMEM), PASSING(EINTR))
WRAP(int, fsync, (int fd), (fd), -1, LASTING(EIO, ENOSPC, EDQUOT), NONE)
WRAP(int, fchmod, (int fd, mode_t mode), (fd, mode), -1, LASTING(EPERM, EIO), NONE)
WRAP(int, chmod, (const char *path, mode_t mode), (path, mode), -1, LASTING(EPERM, EROFS, EIO), NONE)
WRAP(int, lchown, (const char *path, uid_t owner, gid_t group), (path, owner, group), -1,
     LASTING(EPERM, EROFS), NONE)
WRAP(int, linkat, (int from_folder, const char *from, int to_folder, const char *to, int flags),
     (from_folder, from, to_folder, to, flags), -1, CANNOT_CHANGE, NONE)
WRAP(int, renameat, (int from_folder, const char *from, int to_folder, const char *to),
     (from_folder, from, to_folder, to), -1, CANNOT_CHANGE, NONE)
WRAP(int, renameat2, (int from_folder, const char *from, int to_folder, const char *to, unsigned flags),
     (from_folder, from, to_folder, to, flags), -1, LASTING(EINVAL, EACCES, EIO, ENOSPC, EEXIST), NONE)
/* what has failed is cleared away with these: they go on working, or nobody could */
WRAP_DONE(unlink, (const char *path), (path), LASTING(EACCES, EIO), true)
WRAP_DONE(unlinkat, (int folder, const char *path, int flags), (folder, path, flags),
	  LASTING(EACCES, EIO), true)
WRAP(int, flock, (int fd, int operation), (fd, operation), -1, LASTING(EWOULDBLOCK, ENOLCK),
     PASSING(EINTR))

/* Seals and leases; other commands cannot fail on an open descriptor. */
int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...)
{
	va_list arguments;
	bool fails = false;
	long argument;
	int error;

	va_start(arguments, command);
	argument = va_arg(arguments, long);
	va_end(arguments);
	if (command == F_SETLEASE && argument != F_UNLCK)
		fails = FAILS("fcntl F_SETLEASE", LASTING(EAGAIN, ENOMEM), NONE, false, &error);
	else if (command == F_ADD_SEALS)
		fails = FAILS("fcntl F_ADD_SEALS", LASTING(EBUSY, EPERM), NONE, false, &error);
	else if (command == F_DUPFD_CLOEXEC)
		fails = FAILS("fcntl F_DUPFD_CLOEXEC", LASTING(EMFILE), NONE, false, &error);
	if (!fails)
		return __real_fcntl64(fd, command, argument);
	errno = error;
	return -1;
}

/* --- reading and writing ------------------------------------------------------------------------ */

#define CANNOT_WRITE LASTING(EIO, ENOSPC, EDQUOT, EFBIG)

DECLARE(ssize_t, pread64, (int fd, void *out, size_t n, off64_t at))
ssize_t __wrap_pread64(int fd, void *out, size_t n, off64_t at)
{
	int error;

	if (!FAILS("pread", LASTING(EIO, INJECT_END), PASSING(EINTR, INJECT_SHORT), false, &error))
		return __real_pread64(fd, out, n, at);
	if (error == INJECT_END)
		return 0;
	if (error == INJECT_SHORT)
		return __real_pread64(fd, out, (n + 1) / 2, at);
	errno = error;
	return -1;
}

DECLARE(ssize_t, pwrite64, (int fd, const void *data, size_t n, off64_t at))
ssize_t __wrap_pwrite64(int fd, const void *data, size_t n, off64_t at)
{
	int error;

	if (!FAILS("pwrite", CANNOT_WRITE, PASSING(EINTR, INJECT_SHORT), false, &error))
		return __real_pwrite64(fd, data, n, at);
	if (error == INJECT_SHORT)
		return __real_pwrite64(fd, data, (n + 1) / 2, at);
	errno = error;
	return -1;
}

/* Of eventfds, timerfds, signalfds and inotify alone: they give nothing but reasons to try again. */
WRAP(ssize_t, read, (int fd, void *out, size_t n), (fd, out, n), -1, NONE, PASSING(EINTR, EAGAIN))

/* The log; an eventfd takes what it is given. */
DECLARE(ssize_t, write, (int fd, const void *data, size_t n))
ssize_t __wrap_write(int fd, const void *data, size_t n)
{
	int error;

	if (fd != STDERR_FILENO ||
	    !FAILS("write", LASTING(EIO, ENOSPC, EPIPE), PASSING(EAGAIN, EINTR), true, &error))
		return __real_write(fd, data, n);
	errno = error;
	return -1;
}

WRAP(ssize_t, getrandom, (void *out, size_t n, unsigned flags), (out, n, flags), -1, LASTING(ENOSYS),
     PASSING(EINTR))

/* --- sockets ------------------------------------------------------------------------------------ */

WRAP(int, socket, (int domain, int type, int protocol), (domain, type, protocol), -1, NO_DESCRIPTOR,
     NONE)
WRAP(int, bind, (int fd, const struct sockaddr *address, socklen_t n), (fd, address, n), -1,
     LASTING(EACCES, EADDRINUSE, EROFS, ENOSPC, ENOMEM), NONE)
WRAP(int, listen, (int fd, int backlog), (fd, backlog), -1, LASTING(EADDRINUSE), NONE)
WRAP(int, connect, (int fd, const struct sockaddr *address, socklen_t n), (fd, address, n), -1,
     LASTING(EACCES, ECONNREFUSED, EAGAIN), PASSING(EINTR))
WRAP(int, accept4, (int fd, struct sockaddr *address, socklen_t *n, int flags), (fd, address, n, flags),
     -1, LASTING(EMFILE, ENFILE, ENOMEM, ENOBUFS), PASSING(ECONNABORTED, EINTR, EAGAIN))
WRAP(int, getsockname, (int fd, struct sockaddr *address, socklen_t *n), (fd, address, n), -1,
     LASTING(ENOBUFS), NONE)
WRAP(int, getsockopt, (int fd, int level, int option, void *out, socklen_t *n),
     (fd, level, option, out, n), -1, LASTING(EACCES /* a security module's */), NONE)
WRAP(int, setsockopt, (int fd, int level, int option, const void *value, socklen_t n),
     (fd, level, option, value, n), -1, NO_MEMORY, NONE)
WRAP(int, shutdown, (int fd, int how), (fd, how), -1, LASTING(ENOTCONN), NONE)
WRAP(ssize_t, recv, (int fd, void *out, size_t n, int flags), (fd, out, n, flags), -1,
     LASTING(ECONNRESET, ENOMEM), PASSING(EINTR, EAGAIN))
WRAP(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags), -1,
     LASTING(ECONNRESET, ENOMEM), PASSING(EINTR, EAGAIN))
WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags), -1,
     LASTING(EPIPE, ENOBUFS, ENOMEM, ETOOMANYREFS), PASSING(EINTR, EAGAIN))
/* The journal's socket is where GPT2W_INJECT_JOURNAL says. */
static const struct sockaddr *redirected(const struct sockaddr *to, struct sockaddr_un *out)
{
	const struct sockaddr_un *address = (const struct sockaddr_un *)to;
	const char *path = getenv("GPT2W_INJECT_JOURNAL");

	if (!path || strcmp(address->sun_path, GD_JOURNAL_SOCKET) != 0)
		return to;
	*out = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(out->sun_path, sizeof out->sun_path, "%s", path);
	return (const struct sockaddr *)out;
}

DECLARE(ssize_t, sendto,
	(int fd, const void *data, size_t n, int flags, const struct sockaddr *to, socklen_t to_n))
ssize_t __wrap_sendto(int fd, const void *data, size_t n, int flags, const struct sockaddr *to,
		      socklen_t to_n)
{
	struct sockaddr_un address;
	int error;

	if (!FAILS("sendto", LASTING(ECONNREFUSED, ENOBUFS), PASSING(EAGAIN), false, &error))
		return __real_sendto(fd, data, n, flags, redirected(to, &address), to_n);
	errno = error;
	return -1;
}

/* --- waiting ------------------------------------------------------------------------------------ */

WRAP(int, poll, (struct pollfd * fds, nfds_t n, int timeout), (fds, n, timeout), -1, NO_MEMORY,
     PASSING(EINTR))
WRAP(int, epoll_create1, (int flags), (flags), -1, NO_DESCRIPTOR, NONE)

/* Changing and removing what is there takes no memory. */
DECLARE(int, epoll_ctl, (int fd, int operation, int of, struct epoll_event *event))
int __wrap_epoll_ctl(int fd, int operation, int of, struct epoll_event *event)
{
	int error;

	if (operation != EPOLL_CTL_ADD ||
	    !FAILS("epoll_ctl", LASTING(ENOMEM, ENOSPC), NONE, false, &error))
		return __real_epoll_ctl(fd, operation, of, event);
	errno = error;
	return -1;
}

WRAP(int, epoll_wait, (int fd, struct epoll_event *out, int n, int timeout), (fd, out, n, timeout), -1,
     NONE, PASSING(EINTR))
WRAP(int, eventfd, (unsigned value, int flags), (value, flags), -1, NO_DESCRIPTOR, NONE)
WRAP(int, signalfd, (int fd, const sigset_t *signals, int flags), (fd, signals, flags), -1,
     NO_DESCRIPTOR, NONE)
WRAP(int, timerfd_create, (int clock, int flags), (clock, flags), -1, NO_DESCRIPTOR, NONE)
WRAP(int, inotify_init1, (int flags), (flags), -1, NO_DESCRIPTOR, NONE)
WRAP(int, inotify_add_watch, (int fd, const char *path, uint32_t wanted), (fd, path, wanted), -1,
     LASTING(ENOSPC, ENOMEM, EACCES), NONE)
WRAP(int, inotify_rm_watch, (int fd, int watch), (fd, watch), -1, LASTING(EINVAL), NONE)
WRAP(long, syscall, (long number, long a, long b), (number, a, b), -1, LASTING(ENOSYS), NONE)
