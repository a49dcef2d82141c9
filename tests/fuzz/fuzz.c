/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <fcntl.h>
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

/* From the first fuzz_resources_start on, so less than 0 where older memory was freed. */
static int64_t live_bytes, live_limit_bytes = INT64_MAX;

static void fuzz_on_malloc(const volatile void *memory, size_t bytes)
{
	(void)memory;
	live_bytes += (int64_t)bytes;
	if (live_bytes > live_limit_bytes) {
		live_limit_bytes = INT64_MAX; /* what follows may allocate */
		FUZZ_CHECK(!"more memory than this may take");
	}
}

static void fuzz_on_free(const volatile void *memory)
{
	live_bytes -= memory ? (int64_t)__sanitizer_get_allocated_size(memory) : 0;
}

static int fuzz_lowest_fd(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	FUZZ_CHECK(fd >= 0);
	close(fd);
	return fd;
}

struct fuzz_resources fuzz_resources_start(uint64_t limit_bytes)
{
	static int hooked;

	if (!hooked && __sanitizer_install_malloc_and_free_hooks)
		__sanitizer_install_malloc_and_free_hooks(fuzz_on_malloc, fuzz_on_free);
	hooked = 1;
	live_limit_bytes = live_bytes + (int64_t)limit_bytes;
	return (struct fuzz_resources) { .lowest_fd = fuzz_lowest_fd(), .live_bytes = live_bytes };
}

void fuzz_resources_end(const struct fuzz_resources *before)
{
	live_limit_bytes = INT64_MAX;
	FUZZ_CHECK(fuzz_lowest_fd() == before->lowest_fd);
	FUZZ_CHECK(live_bytes == before->live_bytes);
}

uint64_t fuzz_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}
