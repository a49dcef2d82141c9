/* SPDX-License-Identifier: MIT */
/*
 * tamper SOCKET MODEL UID: receives the image and the notice board as a client does, then, as user UID
 * (-1: as it is), tries everything to change what others see. Each attempt must fail with the errno
 * that is written here, or be harmless. Says "tried N"; anything unexpected is told and ends it with 1.
 * After that it holds on to its descriptors, locks and leases until its input ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "format/endpoint.h"

#define WAIT_MS 60000

static unsigned n_tried, n_wrong;

/* One attempt: failed is what it returned was a failure; expected 0: it succeeds, harmlessly. */
static void expect(const char *what, const char *attempt, bool failed, int expected)
{
	int got = failed ? errno : 0;

	n_tried++;
	if (got == expected)
		return;
	n_wrong++;
	printf("%s: %s: %s instead of %s\n", what, attempt, got ? strerrorname_np(got) : "success",
	       expected ? strerrorname_np(expected) : "success");
}

#define EXPECT(what, expected, call) expect(what, #call, (call) < 0, expected)

/* As it was received: opened for reading. */
static void try_descriptor(const char *what, int fd, size_t size)
{
	const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	const int zero = FALLOC_FL_ZERO_RANGE;
	char byte = 'x';
	struct iovec part = { .iov_base = &byte, .iov_len = 1 };

	EXPECT(what, EBADF, write(fd, &byte, 1));
	EXPECT(what, EBADF, pwrite(fd, &byte, 1, 0));
	EXPECT(what, EBADF, pwritev(fd, &part, 1, 0));
	EXPECT(what, EINVAL, ftruncate(fd, 0));
	EXPECT(what, EINVAL, ftruncate(fd, 4096));
	EXPECT(what, EINVAL, ftruncate(fd, (off_t)size + 4096));
	EXPECT(what, EBADF, fallocate(fd, punch, 0, 4096));
	EXPECT(what, EBADF, fallocate(fd, zero, 0, 4096));
	EXPECT(what, EBADF, fallocate(fd, 0, (off_t)size, 4096));
	EXPECT(what, EPERM, fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
	EXPECT(what, EPERM, fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT(what, 0, fcntl(fd, F_SETFL, O_NONBLOCK | O_APPEND));
	EXPECT(what, EBADF, write(fd, &byte, 1));
	EXPECT(what, 0, lseek(fd, 17, SEEK_SET));
	EXPECT(what, 0, posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	EXPECT(what, 0, flock(fd, LOCK_EX | LOCK_NB));
}

static void try_mapping(const char *what, int fd, size_t size)
{
	void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	expect(what, "mmap(PROT_WRITE, MAP_SHARED)", map == MAP_FAILED, EACCES);
	map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	expect(what, "mmap(PROT_READ, MAP_SHARED)", map == MAP_FAILED, 0);
	if (map == MAP_FAILED)
		return;
	EXPECT(what, EACCES, mprotect(map, size, PROT_READ | PROT_WRITE));
	EXPECT(what, EACCES, madvise(map, size, MADV_REMOVE));
	EXPECT(what, 0, madvise(map, size, MADV_DONTNEED));
	EXPECT(what, 0, madvise(map, size, MADV_COLD));
	EXPECT(what, 0, madvise(map, size, MADV_PAGEOUT));
	EXPECT(what, EINVAL, madvise(map, size, MADV_FREE));
	munmap(map, size);
	/* a copy of one's own may be written to: nobody else sees it */
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	expect(what, "mmap(PROT_WRITE, MAP_PRIVATE)", map == MAP_FAILED, 0);
	if (map == MAP_FAILED)
		return;
	memset(map, 'x', size);
	munmap(map, size);
}

/* Opened for writing, by one who may: the seals hold all the same. */
static void try_writable(const char *what, int fd, size_t size, bool sealed_for_writing)
{
	const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	char byte = 'x';
	void *map;

	EXPECT(what, EPERM, ftruncate(fd, 0));
	EXPECT(what, EPERM, ftruncate(fd, (off_t)size + 4096));
	EXPECT(what, EPERM, fallocate(fd, 0, (off_t)size, 4096));
	EXPECT(what, EPERM, fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	if (!sealed_for_writing)
		return;
	EXPECT(what, EPERM, write(fd, &byte, 1));
	EXPECT(what, EPERM, pwrite(fd, &byte, 1, 4096));
	EXPECT(what, EPERM, fallocate(fd, punch, 0, 4096));
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	expect(what, "mmap(PROT_WRITE) of a writable descriptor", map == MAP_FAILED, EPERM);
	map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) /* before Linux 6.7 */
		return;
	EXPECT(what, EACCES, mprotect(map, size, PROT_READ | PROT_WRITE));
	munmap(map, size);
}

/* owner: whether we are the file's owner, or root. */
static void try_reopening(const char *what, int fd, size_t size, bool owner, bool root)
{
	const int refused = root ? 0 : EACCES;
	char path[32];
	int other;

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	other = open(path, O_RDONLY | O_CLOEXEC);
	expect(what, "open(O_RDONLY)", other < 0, 0);
	close(other);
	if (root)
		EXPECT(what, EPERM, truncate(path, 0));
	else
		EXPECT(what, EACCES, truncate(path, 0));
	other = open(path, O_RDWR | O_CLOEXEC);
	expect(what, "open(O_RDWR)", other < 0, refused);
	close(other);
	other = open(path, O_RDONLY | O_TRUNC | O_CLOEXEC);
	expect(what, "open(O_TRUNC)", other < 0, root ? EPERM : EACCES);
	close(other);
	EXPECT(what, owner ? 0 : EPERM, fchmod(fd, 0666));
	EXPECT(what, root ? 0 : EPERM, fchown(fd, 12345, (gid_t)-1));
	if (root)
		fchown(fd, 0, (gid_t)-1);
	if (!owner)
		return;
	other = open(path, O_RDWR | O_CLOEXEC);
	expect(what, "open(O_RDWR) after fchmod", other < 0, 0);
	try_writable(what, other, size, strcmp(what, "image") == 0);
	close(other);
	EXPECT(what, 0, fchmod(fd, 0000)); /* those who have it keep it; see the test */
}

static int become(uid_t uid)
{
	/* /proc/self/fd belongs to root in a process that changed its user, unless told otherwise */
	return setresuid(uid, uid, uid) || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) ? -1 : 0;
}

static int receive(const char *path, const char *model, int *out_fds)
{
	struct wire_message message = { .type = WIRE_ATTACH, .request = 1 };
	struct gw_error error = GW_ERROR_INIT;
	const uint64_t deadline_ms = wire_now_ms() + WAIT_MS;
	size_t n_fds = 0;
	int fd = -1;

	wire_put_text(message.attach.model, sizeof message.attach.model, model);
	if (wire_connect(path, deadline_ms, &fd, &error) ||
	    wire_send(fd, &message, NULL, 0, deadline_ms, &error) ||
	    wire_receive(fd, &message, out_fds, WIRE_REPLY_FDS, &n_fds, NULL, deadline_ms, &error)) {
		printf("%s\n", error.message);
		return -1;
	}
	if (message.type != WIRE_ATTACHED || n_fds != WIRE_REPLY_FDS) {
		printf("not attached: message of type %u\n", message.type);
		return -1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "image", "board" };
	int fds[WIRE_REPLY_FDS];
	long uid = argc == 4 ? strtol(argv[3], NULL, 10) : -2;

	if (uid < -1)
		return 2;
	if ((uid >= 0 && become((uid_t)uid)) || receive(argv[1], argv[2], fds))
		return 1;
	for (int i = 0; i < WIRE_REPLY_FDS; i++) {
		struct stat status;

		if (fstat(fds[i], &status) < 0)
			return 1;
		expect(names[i], "mode 0444", (errno = 0, (status.st_mode & 0777) != 0444), 0);
		try_descriptor(names[i], fds[i], (size_t)status.st_size);
		try_mapping(names[i], fds[i], (size_t)status.st_size);
		try_reopening(names[i], fds[i], (size_t)status.st_size,
			      geteuid() == status.st_uid || geteuid() == 0, geteuid() == 0);
		fcntl(fds[i], F_SETLEASE, F_WRLCK); /* whether or not: see the test */
		fcntl(fds[i], F_SETLEASE, F_RDLCK);
	}
	printf("%s %u\n", n_wrong ? "wrong" : "tried", n_tried);
	fflush(stdout);
	while (getchar() != EOF)
		;
	return n_wrong ? 1 : 0;
}
