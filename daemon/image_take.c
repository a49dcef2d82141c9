/* SPDX-License-Identifier: MIT */
/* Images that outlive the daemon: their names, and what is checked when they come back. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "daemon/image.h"
#include "daemon/image_memory.h"
#include "daemon/memfd.h"
#include "format/bytes.h"
#include "format/superblock.h"

#define IMAGE_SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

int gd_image_name(const struct gd_image *image, const char *model, uint64_t generation,
		  uint32_t epoch, struct gd_fdname *out, struct gw_error *error)
{
	struct stat status;
	int code;

	*out = (struct gd_fdname){ .kind = GD_FDNAME_IMAGE, .generation = generation,
				   .epoch = epoch };
	snprintf(out->model, sizeof out->model, "%s", model);
	if (fstat(image->fd, &status) < 0)
		return gw_fail_errno(error, errno, "cannot look at an image");
	out->inode = status.st_ino;
	code = gw_read_at(image->fd, out->digest.bytes, sizeof out->digest.bytes,
			  GW_SB_SUPERBLOCK_DIGEST, error);
	return code;
}

/* Everything but the tensors, and that only zeros follow: on hugetlb pages it may be longer. */
static int open_head(struct gd_image *image, const uint8_t *map, uint64_t tail_bytes,
		     const struct gd_fdname *name, struct gw_error *error)
{
	uint64_t image_bytes;
	int code = gw_pack_open_memory(map, image->fd_bytes, tail_bytes, &image->pack, error);

	if (code)
		return code;
	if (memcmp(map + GW_SB_SUPERBLOCK_DIGEST, name->digest.bytes,
		   sizeof name->digest.bytes) != 0)
		return gw_fail(error, GW_E_FD_OTHER, GW_NO_OFFSET,
			       "its superblock's digest is not the one in its name");
	image_bytes = image->pack->superblock.image_bytes;
	if (!gw_is_zero(map + image_bytes, image->fd_bytes - image_bytes))
		return gw_fail(error, GW_E_PADDING, image_bytes,
			       "the bytes after the image are not zero");
	return GW_OK;
}

static int check(struct gd_image *image, const struct gd_fdname *name, struct gw_error *error)
{
	struct stat status;
	uint8_t *map;
	bool huge;
	int code = gd_memfd_check(image->fd, name->inode, IMAGE_SEALS, 0, &status, error);

	if (code)
		return code;
	huge = status.st_blksize >= (blksize_t)GW_HUGE_PAGE_BYTES;
	image->fd_bytes = (uint64_t)status.st_size;
	if (image->fd_bytes < GW_SUPERBLOCK_BYTES)
		return gw_fail(error, GW_E_TRUNCATED, image->fd_bytes,
			       "it ends within its superblock");
	if (image->fd_bytes > GW_MAX_IMAGE_BYTES + GW_HUGE_PAGE_BYTES)
		return gw_fail(error, GW_E_LIMIT, GW_NO_OFFSET, "it is larger than any image");
	image->huge_bytes = huge ? image->fd_bytes : 0;
	code = gd_map_aligned(image->fd, image->fd_bytes, PROT_READ, &map, error);
	if (code)
		return code;
	code = open_head(image, map, huge ? GW_HUGE_PAGE_BYTES - 1 : 0, name, error);
	munmap(map, image->fd_bytes);
	return code;
}

int gd_image_take(int fd, const struct gd_fdname *name, struct gd_image **out_image,
		  struct gw_error *error)
{
	struct gd_image *image = calloc(1, sizeof *image);
	int code;

	if (!image)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory");
	*image = (struct gd_image){ .fd = fd, .share = WIRE_SHARE_SEALED, .references = 1 };
	code = check(image, name, error);
	if (code) {
		image->fd = -1; /* the caller's */
		gd_image_unref(image);
		return code;
	}
	/* a daemon that was killed while it looked who holds the image (lease.h) left its lease, which
	 * would hold up whoever opens it */
	fcntl(fd, F_SETLEASE, F_UNLCK);
	*out_image = image;
	return GW_OK;
}
