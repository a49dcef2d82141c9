/* SPDX-License-Identifier: MIT */
#include "daemon/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/limits.h"
#include "daemon/memfd.h"
#include "daemon/workers.h"
#include "format/bytes.h"
#include "format/checked.h"

/* linux/mman.h since 6.1, which is Debian 12's kernel but not its libc's headers'. */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21U << 26)
#endif

/* Units are verified this many at a time: blocks of 256 KiB, so 1 MiB between two looks at cancel. */
#define UNITS_PER_PART 4

struct load {
	int file_fd;
	const struct gd_image_options *options;
	struct gd_image *image;
	uint8_t *map;       /* of the memory that is being filled or verified */
	uint64_t map_bytes; /* a multiple of a page */
};

int gd_image_open_file(const char *path, int *out_fd, struct stat *out_status,
		       struct gw_error *error)
{
	/* O_NONBLOCK: opening a FIFO must not wait for a writer */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0)
		return gw_fail_errno(error, errno, "cannot open it");
	if (fstat(fd, out_status) < 0) {
		gw_fail_errno(error, errno, "cannot look at it");
		close(fd);
		return GW_E_IO;
	}
	*out_fd = fd;
	return GW_OK;
}

/* Part of a file's bytes into the mapping. */
static int copy_part(void *context, uint64_t index, uint8_t *buffer, struct gw_error *error)
{
	const struct load *load = context;
	uint64_t image_bytes = load->image->pack->superblock.image_bytes;
	uint64_t offset = index * GD_COPY_BYTES;
	uint64_t left = image_bytes - offset;

	(void)buffer;
	return gw_read_at(load->file_fd, load->map + offset,
			  left < GD_COPY_BYTES ? left : GD_COPY_BYTES, offset, error);
}

/* Verifies some units where they are shared. */
static int verify_part(void *context, uint64_t index, uint8_t *buffer, struct gw_error *error)
{
	const struct load *load = context;
	uint64_t first = index * UNITS_PER_PART;
	uint64_t left = gw_pack_unit_count(load->image->pack) - first;

	(void)buffer;
	return gw_pack_verify_memory(load->image->pack, load->map, first,
				     left < UNITS_PER_PART ? left : UNITS_PER_PART, error);
}

/* Verifies one unit of a file that is shared as it is; read, not mapped: it may be truncated. */
static int verify_file_part(void *context, uint64_t index, uint8_t *buffer, struct gw_error *error)
{
	const struct load *load = context;
	struct gw_unit unit = gw_pack_unit(load->image->pack, index);
	int code = gw_read_at(load->file_fd, buffer, unit.size_bytes, unit.offset_bytes, error);

	return code ? code : gw_pack_verify_unit(load->image->pack, index, buffer, error);
}

/*
 * Takes memory for the whole of fd: what is not to be had is an error here, a signal when it is touched.
 * In pieces, so that a stop need not wait for all; again after a signal (a machine that was suspended).
 */
static int reserve(const struct load *load, int fd, uint64_t size_bytes, struct gw_error *error)
{
	for (uint64_t at = 0; at < size_bytes;) {
		uint64_t left = size_bytes - at;
		uint64_t n = left < GD_RESERVE_BYTES ? left : GD_RESERVE_BYTES;

		if (atomic_load(load->options->cancel))
			return gw_fail(error, GW_E_CLOSED, GW_NO_OFFSET, "the daemon is stopping");
		if (fallocate(fd, 0, (off_t)at, (off_t)n) == 0)
			at += n;
		else if (errno != EINTR)
			return gw_fail_errno(error, errno,
					     "no memory for an image of %" PRIu64 " bytes",
					     size_bytes);
	}
	return GW_OK;
}

/* A memfd with all its memory, on reserved 2 MiB pages where there are enough. */
static int make_memory(struct load *load, int *out_fd, struct gw_error *error)
{
	uint64_t image_bytes = load->image->pack->superblock.image_bytes, huge_bytes = 0;
	const unsigned huge = MFD_HUGETLB | MFD_HUGE_2MB;
	int fd, code;

	gw_align(image_bytes, GW_HUGE_PAGE_BYTES, &huge_bytes); /* image_bytes <= 2^39 */
	if (!load->options->small_pages &&
	    gd_memfd_new("gpt2d-image", huge, huge_bytes, &fd, NULL) == GW_OK) {
		if (reserve(load, fd, huge_bytes, NULL) == GW_OK) {
			load->image->fd_bytes = huge_bytes;
			load->image->huge_bytes = huge_bytes;
			*out_fd = fd;
			return GW_OK;
		}
		close(fd);
	}
	code = gd_memfd_new("gpt2d-image", 0, image_bytes, &fd, error);
	if (code)
		return code;
	code = reserve(load, fd, image_bytes, error);
	if (code) {
		close(fd);
		return code;
	}
	load->image->fd_bytes = image_bytes;
	*out_fd = fd;
	return GW_OK;
}

/* Maps size bytes of fd so that 2 MiB pages fit; *out_map ends with munmap. */
static int map_aligned(int fd, uint64_t size_bytes, int protection, uint8_t **out_map,
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

/* Fills the memory from the file. */
static int fill(struct load *load, int fd, struct gw_error *error)
{
	uint64_t image_bytes = load->image->pack->superblock.image_bytes;
	int code = map_aligned(fd, load->image->fd_bytes, PROT_READ | PROT_WRITE, &load->map, error);

	if (code)
		return code;
	code = gd_workers_run((image_bytes + GD_COPY_BYTES - 1) / GD_COPY_BYTES, 64, copy_part,
			      load, load->options->cancel, error);
	munmap(load->map, load->image->fd_bytes);
	return code;
}

/* Judges the sealed memory itself: what the file said while it was copied counts for nothing. */
static int verify_sealed(struct load *load, struct gw_error *error)
{
	struct gd_image *image = load->image;
	uint64_t tail_bytes = image->fd_bytes - image->pack->superblock.image_bytes, units;
	int code = map_aligned(image->fd, image->fd_bytes, PROT_READ, &load->map, error);

	if (code)
		return code;
	gw_pack_free(image->pack);
	image->pack = NULL;
	code = gw_pack_open_memory(load->map, image->fd_bytes, tail_bytes, &image->pack, error);
	if (!code) {
		units = gw_pack_unit_count(image->pack);
		code = gd_workers_run((units + UNITS_PER_PART - 1) / UNITS_PER_PART, 64,
				      verify_part, load, load->options->cancel, error);
	}
	if (!code && !gw_is_zero(load->map + image->pack->superblock.image_bytes,
				 image->fd_bytes - image->pack->superblock.image_bytes))
		code = gw_fail(error, GW_E_PADDING, image->pack->superblock.image_bytes,
			       "the bytes after the image are not zero");
	munmap(load->map, image->fd_bytes);
	return code;
}

static int load_sealed(struct load *load, struct gw_error *error)
{
	const int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	int fd, code = make_memory(load, &fd, error);

	if (code)
		return code;
	code = fill(load, fd, error);
	if (!code)
		code = gd_memfd_seal(fd, seals, error);
	if (!code)
		code = gd_reopen(fd, &load->image->fd, error);
	close(fd);
	return code ? code : verify_sealed(load, error);
}

static int load_file(struct load *load, struct gw_error *error)
{
	struct gd_image *image = load->image;

	image->fd_bytes = image->pack->superblock.image_bytes;
	image->fd = fcntl(load->file_fd, F_DUPFD_CLOEXEC, 0);
	if (image->fd < 0)
		return gw_fail_errno(error, errno, "cannot keep the file open");
	return gd_workers_run(gw_pack_unit_count(image->pack), GW_HUGE_PAGE_BYTES, verify_file_part,
			      load, load->options->cancel, error);
}

int gd_image_load(const char *path, const struct gd_image_options *options,
		  struct gd_image **out_image, struct stat *out_status, struct gw_error *error)
{
	struct load load = { .file_fd = -1, .options = options };
	int code;

	load.image = calloc(1, sizeof *load.image);
	if (!load.image)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory");
	load.image->fd = -1;
	load.image->references = 1;
	load.image->share = options->share;
	code = gd_image_open_file(path, &load.file_fd, out_status, error);
	if (!code)
		code = gw_pack_open_fd(load.file_fd, &load.image->pack, error);
	if (!code)
		code = options->share == WIRE_SHARE_FILE ? load_file(&load, error) :
							   load_sealed(&load, error);
	if (load.file_fd >= 0)
		close(load.file_fd);
	if (code)
		gd_image_unref(load.image);
	else
		*out_image = load.image;
	return code;
}

uint64_t gd_image_collapse(const struct gd_image *image, const atomic_bool *cancel)
{
	uint64_t huge_bytes = 0;
	uint8_t *map;

	if (map_aligned(image->fd, image->fd_bytes, PROT_READ, &map, NULL))
		return 0;
	/* page by page, so that a stop need not wait for all of it */
	for (uint64_t at = 0; at + GW_HUGE_PAGE_BYTES <= image->fd_bytes && !atomic_load(cancel);
	     at += GW_HUGE_PAGE_BYTES)
		if (madvise(map + at, GW_HUGE_PAGE_BYTES, MADV_COLLAPSE) == 0)
			huge_bytes += GW_HUGE_PAGE_BYTES;
	munmap(map, image->fd_bytes);
	return huge_bytes;
}

struct gd_image *gd_image_ref(struct gd_image *image)
{
	image->references++;
	return image;
}

void gd_image_unref(struct gd_image *image)
{
	if (!image || --image->references)
		return;
	if (image->fd >= 0)
		close(image->fd);
	gw_pack_free(image->pack);
	free(image);
}
