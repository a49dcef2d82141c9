/* SPDX-License-Identifier: MIT */
#include "daemon/page_cache.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Pages that are asked for at a time. */
#define PAGES_PER_LOOK UINT64_C(65536)

struct gd_cached {
	uint64_t page_bytes, n_pages;
	bool some_absent;
	uint8_t absent[]; /* a bit for each page */
};

static void note_pages(struct gd_cached *cached, uint64_t first, const uint8_t *resident, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		if (!(resident[i] & 1)) {
			cached->absent[(first + i) / 8] |= (uint8_t)(1 << (first + i) % 8);
			cached->some_absent = true;
		}
	}
}

/* Nothing of the mapping is touched, so whatever becomes of the file is no matter. */
static void look(struct gd_cached *cached, int fd, uint8_t *resident)
{
	for (uint64_t at = 0; at < cached->n_pages; at += PAGES_PER_LOOK) {
		uint64_t left = cached->n_pages - at;
		uint64_t n = left < PAGES_PER_LOOK ? left : PAGES_PER_LOOK;
		void *map = mmap(NULL, n * cached->page_bytes, PROT_READ, MAP_SHARED, fd,
				 (off_t)(at * cached->page_bytes));

		if (map == MAP_FAILED)
			return;
		if (mincore(map, n * cached->page_bytes, resident) == 0)
			note_pages(cached, at, resident, n);
		munmap(map, n * cached->page_bytes);
	}
}

struct gd_cached *gd_cached_note(int fd, uint64_t size_bytes)
{
	uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t n_pages = size_bytes / page_bytes + (size_bytes % page_bytes != 0);
	struct gd_cached *cached = calloc(1, sizeof *cached + n_pages / 8 + 1);
	uint8_t *resident = malloc(PAGES_PER_LOOK);

	if (cached && resident) {
		cached->page_bytes = page_bytes;
		cached->n_pages = n_pages;
		look(cached, fd, resident);
	}
	free(resident);
	if (cached && !cached->some_absent) {
		free(cached);
		return NULL;
	}
	return cached;
}

static bool is_absent(const struct gd_cached *cached, uint64_t page)
{
	return cached->absent[page / 8] >> page % 8 & 1;
}

void gd_cached_restore(int fd, struct gd_cached *cached)
{
	uint64_t first = 0;

	if (!cached)
		return;
	while (first < cached->n_pages) {
		uint64_t end = first;

		while (end < cached->n_pages && is_absent(cached, end))
			end++;
		if (end > first)
			posix_fadvise(fd, (off_t)(first * cached->page_bytes),
				      (off_t)((end - first) * cached->page_bytes),
				      POSIX_FADV_DONTNEED);
		first = end + 1;
	}
	free(cached);
}
