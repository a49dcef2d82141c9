/* SPDX-License-Identifier: MIT */
#include "daemon/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/fill.h"
#include "daemon/image_memory.h"
#include "daemon/memfd.h"
#include "daemon/page_cache.h"
#include "daemon/workers.h"
#include "format/bytes.h"

/* linux/mman.h since 6.1, which is Debian 12's kernel but not its libc's headers'. */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* Units are verified this many at a time: blocks of 256 KiB, so 1 MiB between two looks at cancel. */
#define UNITS_PER_PART 4

struct load {
	int file_fd;
	uint64_t file_bytes;
	const struct gd_image_options *options;
	struct gd_image *image;
	uint8_t *map; /* of the memory that is being verified */
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

/* Judges the sealed memory itself: what the file said while it was copied counts for nothing. */
static int verify_sealed(struct load *load, struct gw_error *error)
{
	struct gd_image *image = load->image;
	uint64_t tail_bytes = image->fd_bytes - image->pack->superblock.image_bytes, units;
	int code = gd_map_aligned(image->fd, image->fd_bytes, PROT_READ, &load->map, error);

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

/* The memory, filled and sealed; nothing of it is mapped any more. */
static int make_sealed(struct load *load, struct gw_error *error)
{
	const int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	struct gd_image *image = load->image;
	struct gd_image_memory memory;
	int code = gd_image_memory_init(&memory, image->pack->superblock.image_bytes,
					load->options->small_pages, load->options->cancel, error);

	if (code)
		return code;
	image->fd_bytes = memory.fd_bytes;
	image->huge_bytes = memory.huge_bytes;
	code = gd_fill(image->pack, load->file_fd, memory.map, load->options->cancel, error);
	munmap(memory.map, memory.fd_bytes);
	memory.map = NULL;
	if (!code)
		code = gd_memfd_seal(memory.fd, seals, error);
	if (!code)
		code = gd_reopen(memory.fd, &image->fd, error);
	gd_image_memory_deinit(&memory);
	return code;
}

static int load_sealed(struct load *load, struct gw_error *error)
{
	int code = make_sealed(load, error);

	return code ? code : verify_sealed(load, error);
}

static int load_file(struct load *load, struct gw_error *error)
{
	struct gd_image *image = load->image;

	if (image->pack->superblock.compressed)
		return gw_fail(error, GW_E_FEATURE, GW_NO_OFFSET,
			       "it is compressed, so its file cannot be shared as it is: take --share "
			       "sealed, or unpack it");
	image->fd_bytes = image->pack->superblock.image_bytes;
	image->fd = fcntl(load->file_fd, F_DUPFD_CLOEXEC, 0);
	if (image->fd < 0)
		return gw_fail_errno(error, errno, "cannot keep the file open");
	return gd_workers_run(gw_pack_unit_count(image->pack), GW_HUGE_PAGE_BYTES, verify_file_part,
			      load, load->options->cancel, error);
}

/* Pages of the file that the load alone has brought into memory leave it again. */
static int load_from(struct load *load, struct gw_error *error)
{
	struct gd_cached *cached = NULL;
	int code;

	if (load->options->share == WIRE_SHARE_SEALED)
		cached = gd_cached_note(load->file_fd, load->file_bytes);
	code = gw_pack_open_fd(load->file_fd, &load->image->pack, error);
	if (!code)
		code = load->options->share == WIRE_SHARE_FILE ? load_file(load, error)
							       : load_sealed(load, error);
	gd_cached_restore(load->file_fd, cached);
	return code;
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
	if (!code) {
		load.file_bytes = S_ISREG(out_status->st_mode) ? (uint64_t)out_status->st_size : 0;
		code = load_from(&load, error);
		close(load.file_fd);
	}
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

	if (gd_map_aligned(image->fd, image->fd_bytes, PROT_READ, &map, NULL))
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
	gd_fdstore_drop(&image->kept);
	if (image->fd >= 0)
		close(image->fd);
	gw_pack_free(image->pack);
	free(image);
}
