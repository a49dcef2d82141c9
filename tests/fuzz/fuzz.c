/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/directory.h"

_Noreturn void fuzz_broken(const char *file, int line, const char *property)
{
	fprintf(stderr, "%s:%d: this does not hold: %s\n", file, line, property);
	abort();
}

void fuzz_check_error(int code, const struct gw_error *error)
{
	char text[sizeof error->message] = { 0 };

	FUZZ_CHECK(code < 0);
	FUZZ_CHECK(error->code == code);
	FUZZ_CHECK(memchr(error->message, 0, sizeof error->message) != NULL);
	strcpy(text, error->message);
	FUZZ_CHECK(gw_string_length((const uint8_t *)text, sizeof text) > 0);
}

static char folder_path[256];

static void fuzz_remove_folder(void)
{
	DIR *folder = opendir(folder_path);

	for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;)
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(folder), entry->d_name, 0);
	if (folder)
		closedir(folder);
	rmdir(folder_path);
}

const char *fuzz_folder(void)
{
	const char *parent = getenv("TMPDIR");

	if (folder_path[0])
		return folder_path;
	FUZZ_CHECK(snprintf(folder_path, sizeof folder_path, "%s/gpt2w-fuzz-XXXXXX",
			    parent && *parent ? parent : "/tmp") < (int)sizeof folder_path);
	FUZZ_CHECK(mkdtemp(folder_path) != NULL);
	atexit(fuzz_remove_folder);
	return folder_path;
}

/* A file that stays open: what an input costs is mostly system calls. */
struct fuzz_kept {
	const char *name;
	char path[512];
	int fd;
	uint64_t size_bytes;
};

static struct fuzz_kept *fuzz_kept(const char *name)
{
	static struct fuzz_kept files[8];
	size_t i = 0;

	while (i < sizeof files / sizeof *files && files[i].name &&
	       strcmp(files[i].name, name) != 0)
		i++;
	FUZZ_CHECK(i < sizeof files / sizeof *files);
	if (files[i].name)
		return &files[i];
	files[i] = (struct fuzz_kept) { .name = name, .fd = -1 };
	FUZZ_CHECK(snprintf(files[i].path, sizeof files[i].path, "%s/%s", fuzz_folder(), name) <
		   (int)sizeof files[i].path);
	return &files[i];
}

static void fuzz_write(struct fuzz_kept *file, const uint8_t *data, size_t bytes,
		       uint64_t size_bytes)
{
	if (file->fd < 0)
		file->fd = open(file->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	FUZZ_CHECK(file->fd >= 0);
	for (size_t done = 0; done < bytes;) {
		ssize_t n = pwrite(file->fd, data + done, bytes - done, (off_t)done);

		FUZZ_CHECK(n > 0);
		done += (size_t)n;
	}
	/* what an earlier input left behind goes first, so that the rest is zeros */
	if (file->size_bytes > bytes)
		FUZZ_CHECK(ftruncate(file->fd, (off_t)bytes) == 0);
	if (size_bytes > bytes)
		FUZZ_CHECK(ftruncate(file->fd, (off_t)size_bytes) == 0);
	file->size_bytes = size_bytes;
}

const char *fuzz_file(const uint8_t *data, size_t bytes, uint64_t size_bytes)
{
	/* an escape sequence and no UTF-8: a message that repeats the name must quote it */
	struct fuzz_kept *file = fuzz_kept("in\x1b[2Jput\xff");

	FUZZ_CHECK(bytes <= size_bytes);
	fuzz_write(file, data, bytes, size_bytes);
	return file->path;
}

const char *fuzz_companion(const char *name, const uint8_t *data, size_t bytes)
{
	struct fuzz_kept *file = fuzz_kept(name);

	if (data) {
		fuzz_write(file, data, bytes, bytes);
	} else if (file->fd >= 0) {
		FUZZ_CHECK(unlink(file->path) == 0);
		close(file->fd);
		file->fd = -1;
		file->size_bytes = 0;
	}
	return file->path;
}

/* AddressSanitizer's, where it is linked (sanitizer/allocator_interface.h). */
__attribute__((weak)) int
__sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
					  void (*on_free)(const volatile void *));
__attribute__((weak)) size_t __sanitizer_get_allocated_size(const volatile void *memory);

/*
 * What was allocated since fuzz_resources_start, and not freed yet: a hash table with open
 * addressing, so that memory from before, whoever frees it, is told from what the target allocated.
 * Most of it is never touched.
 */
#define BLOCK_BITS 20
#define MAX_BLOCKS ((size_t)1 << BLOCK_BITS)
static const volatile void *blocks[MAX_BLOCKS];
static size_t n_blocks;
static uint64_t live_bytes, live_limit_bytes;
/* Only in the thread that runs the target, and only while it runs: libFuzzer has threads, too. */
static _Thread_local bool counting;

static size_t fuzz_block_slot(const volatile void *memory)
{
	return (size_t)((uint64_t)(uintptr_t)memory * UINT64_C(0x9e3779b97f4a7c15) >>
			(64 - BLOCK_BITS));
}

/* Where memory is in the table, or would be. */
static size_t fuzz_block_find(const volatile void *memory)
{
	size_t i = fuzz_block_slot(memory);

	while (blocks[i] && blocks[i] != memory)
		i = (i + 1) % MAX_BLOCKS;
	return i;
}

static void fuzz_on_malloc(const volatile void *memory, size_t bytes)
{
	if (!counting || !memory)
		return;
	blocks[fuzz_block_find(memory)] = memory;
	n_blocks++;
	live_bytes += bytes;
	if (n_blocks < MAX_BLOCKS / 2 && live_bytes <= live_limit_bytes)
		return;
	counting = false; /* what follows may allocate */
	FUZZ_CHECK(!"more memory than this may take");
}

static void fuzz_on_free(const volatile void *memory)
{
	size_t hole = counting && memory ? fuzz_block_find(memory) : 0, wanted;

	if (!counting || !memory || !blocks[hole])
		return;
	n_blocks--;
	live_bytes -= __sanitizer_get_allocated_size(memory);
	/* what follows moves up where the hole would hide it */
	for (size_t i = (hole + 1) % MAX_BLOCKS; blocks[i]; i = (i + 1) % MAX_BLOCKS) {
		wanted = fuzz_block_slot(blocks[i]);
		if ((i - wanted) % MAX_BLOCKS < (i - hole) % MAX_BLOCKS)
			continue;
		blocks[hole] = blocks[i];
		hole = i;
	}
	blocks[hole] = NULL;
}

static int fuzz_lowest_fd(void)
{
	int fd = dup(STDERR_FILENO);

	FUZZ_CHECK(fd >= 0);
	close(fd);
	return fd;
}

struct fuzz_resources fuzz_resources_start(uint64_t limit_bytes)
{
	static bool hooked;

	if (!hooked && __sanitizer_install_malloc_and_free_hooks)
		FUZZ_CHECK(__sanitizer_install_malloc_and_free_hooks(fuzz_on_malloc, fuzz_on_free));
	hooked = true;
	FUZZ_CHECK(!counting && n_blocks == 0);
	live_limit_bytes = limit_bytes;
	counting = true;
	return (struct fuzz_resources) { .lowest_fd = fuzz_lowest_fd() };
}

void fuzz_resources_end(const struct fuzz_resources *before)
{
	counting = false;
	FUZZ_CHECK(fuzz_lowest_fd() == before->lowest_fd);
	FUZZ_CHECK(n_blocks == 0 && live_bytes == 0);
}

uint64_t fuzz_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}
