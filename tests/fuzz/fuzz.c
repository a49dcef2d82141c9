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

static char fuzz_folder[256];

static void fuzz_remove_folder(void)
{
	DIR *folder = opendir(fuzz_folder);

	for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;)
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(folder), entry->d_name, 0);
	if (folder)
		closedir(folder);
	rmdir(fuzz_folder);
}

static void fuzz_path(const char *name, char *out, size_t out_bytes)
{
	const char *parent = getenv("TMPDIR");

	if (!fuzz_folder[0]) {
		FUZZ_CHECK(snprintf(fuzz_folder, sizeof fuzz_folder, "%s/gpt2w-fuzz-XXXXXX",
				    parent && *parent ? parent : "/tmp") < (int)sizeof fuzz_folder);
		FUZZ_CHECK(mkdtemp(fuzz_folder) != NULL);
		atexit(fuzz_remove_folder);
	}
	FUZZ_CHECK(snprintf(out, out_bytes, "%s/%s", fuzz_folder, name) < (int)out_bytes);
}

static void fuzz_write(const char *path, const uint8_t *data, size_t bytes, uint64_t size_bytes)
{
	/* no O_TRUNC: ext4 writes a file out that was cut to nothing, 5 ms an input */
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	FUZZ_CHECK(fd >= 0);
	for (size_t done = 0; done < bytes;) {
		ssize_t n = write(fd, data + done, bytes - done);

		FUZZ_CHECK(n > 0);
		done += (size_t)n;
	}
	/* what an earlier input left behind goes first, so that the rest is zeros */
	FUZZ_CHECK(ftruncate(fd, (off_t)bytes) == 0 && ftruncate(fd, (off_t)size_bytes) == 0);
	close(fd);
}

const char *fuzz_file(const uint8_t *data, size_t bytes, uint64_t size_bytes)
{
	static char path[512];

	/* an escape sequence and no UTF-8: a message that repeats the name must quote it */
	fuzz_path("in\x1b[2Jput\xff", path, sizeof path);
	fuzz_write(path, data, bytes, size_bytes);
	return path;
}

void fuzz_companion(const char *name, const uint8_t *data, size_t bytes)
{
	char path[512];

	fuzz_path(name, path, sizeof path);
	fuzz_write(path, data, bytes, bytes);
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
