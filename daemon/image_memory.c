/* SPDX-License-Identifier: MIT */
#include "daemon/image_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/limits.h"
#include "daemon/memfd.h"
#include "daemon/memory.h"
#include "daemon/workers.h"
#include "format/checked.h"
#include "format/limits.h"

/* linux/mman.h since 5.14 and 6.1, which is Debian 12's kernel but not its libc's headers'. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21U << 26)
#endif

struct reservation {
	const struct gd_image_memory *memory;
	atomic_bool try_huge; /* until it fails once */
	_Atomic uint64_t huge_bytes;
};

int gd_map_aligned(int fd, uint64_t size_bytes, int protection, uint8_t **out_map,
		   struct gw_error *error)
{
	uint64_t room_bytes = size_bytes + GW_HUGE_PAGE_BYTES, skip;
	uint8_t *room, *map;

	room = mmap(NULL, room_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (room == MAP_FAILED)
		return gw_fail_errno(error, errno, "no address space for an image");
	skip = -(uintptr_t)room & (GW_HUGE_PAGE_BYTES - 1);
	map = mmap(room + skip, size_bytes, protection, MAP_SHARED | MAP_FIXED, fd, 0);
	if (map == MAP_FAILED) {
		gw_fail_errno(error, errno, "cannot map an image");
		munmap(room, room_bytes);
		return GW_E_IO;
	}
	if (skip)
		munmap(room, skip);
	if (skip < GW_HUGE_PAGE_BYTES)
		munmap(map + size_bytes, GW_HUGE_PAGE_BYTES - skip);
	*out_map = map;
	return GW_OK;
}

/*
 * Has the kernel put whole 2 MiB pages in place, before there is anything to move: a twentieth of the
 * faults, and cleared at a third of the cost. A page that nothing of is mapped is passed over, so each
 * gets one small one first.
 */
static bool make_huge(uint8_t *map, uint64_t bytes)
{
	for (uint64_t at = 0; at < bytes; at += GW_HUGE_PAGE_BYTES)
		if (madvise(map + at, GW_PAGE_BYTES, MADV_POPULATE_WRITE) < 0)
			return false;
	return madvise(map, bytes, MADV_COLLAPSE) == 0;
}

static int reserve_piece(void *context, uint64_t index, uint8_t *buffer, struct gw_error *error)
{
	struct reservation *reservation = context;
	const struct gd_image_memory *memory = reservation->memory;
	uint64_t at = index * GD_RESERVE_BYTES, left = memory->fd_bytes - at;
	uint64_t n = left < GD_RESERVE_BYTES ? left : GD_RESERVE_BYTES;
	uint64_t huge = n & ~(uint64_t)(GW_HUGE_PAGE_BYTES - 1);

	(void)buffer;
	if (huge && atomic_load(&reservation->try_huge)) {
		if (make_huge(memory->map + at, huge)) {
			atomic_fetch_add(&reservation->huge_bytes, huge);
			at += huge;
			n -= huge;
		} else {
			atomic_store(&reservation->try_huge, false);
		}
	}
	/* again after a signal (a machine that was suspended) */
	while (n && fallocate(memory->fd, 0, (off_t)at, (off_t)n) < 0)
		if (errno != EINTR)
			return gw_fail_errno(error, errno,
					     "no memory for an image of %" PRIu64 " bytes",
					     memory->fd_bytes);
	return GW_OK;
}

/* Takes all of the memory, in pieces, so that a stop need not wait for all. */
static int reserve(struct gd_image_memory *memory, bool try_huge, const atomic_bool *cancel,
		   struct gw_error *error)
{
	struct reservation reservation = { .memory = memory, .try_huge = try_huge };
	uint64_t pieces = (memory->fd_bytes + GD_RESERVE_BYTES - 1) / GD_RESERVE_BYTES;
	int code = gd_workers_run(pieces, 64, reserve_piece, &reservation, cancel, error);

	if (atomic_load(&reservation.try_huge))
		memory->huge_bytes = atomic_load(&reservation.huge_bytes);
	return code;
}

static int init(struct gd_image_memory *out, unsigned flags, uint64_t bytes, bool try_huge,
		const atomic_bool *cancel, struct gw_error *error)
{
	struct gd_image_memory memory = { .fd = -1, .fd_bytes = bytes };
	int code = gd_memfd_new("gpt2d-image", flags, bytes, &memory.fd, error);

	if (code)
		return code;
	code = gd_map_aligned(memory.fd, bytes, PROT_READ | PROT_WRITE, &memory.map, error);
	if (!code)
		code = reserve(&memory, try_huge, cancel, error);
	if (code)
		gd_image_memory_deinit(&memory);
	else
		*out = memory;
	return code;
}

int gd_image_memory_init(struct gd_image_memory *out, uint64_t image_bytes, bool small_pages,
			 const atomic_bool *cancel, struct gw_error *error)
{
	uint64_t huge_bytes = 0;
	int code;

	gw_align(image_bytes, GW_HUGE_PAGE_BYTES, &huge_bytes); /* image_bytes <= 2^39 */
	if (!small_pages &&
	    init(out, MFD_HUGETLB | MFD_HUGE_2MB, huge_bytes, false, cancel, NULL) == GW_OK) {
		out->huge_bytes = huge_bytes;
		return GW_OK;
	}
	code = gd_memory_check("", image_bytes, error);
	return code ? code : init(out, 0, image_bytes, !small_pages, cancel, error);
}

void gd_image_memory_deinit(struct gd_image_memory *memory)
{
	if (memory->map)
		munmap(memory->map, memory->fd_bytes);
	if (memory->fd >= 0)
		close(memory->fd);
}
