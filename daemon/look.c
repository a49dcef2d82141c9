/* SPDX-License-Identifier: MIT */
#include "daemon/look.h"

#include <unistd.h>

#include "daemon/page_cache.h"
#include "daemon/workers.h"

struct check {
	int fd;
	const struct gw_pack *pack;
};

bool gd_look_is_same(const struct gw_superblock *a, const struct gw_superblock *b)
{
	return gw_digest_equal(&a->content_id, &b->content_id) && a->image_bytes == b->image_bytes &&
	       a->n_layer == b->n_layer && a->n_head == b->n_head &&
	       a->informational_flags == b->informational_flags;
}

static int check_unit(void *context, uint64_t index, uint8_t *buffer, struct gw_error *error)
{
	const struct check *check = context;
	struct gw_unit unit = gw_pack_unit(check->pack, index);
	int code = gw_read_at(check->fd, buffer, unit.size_bytes, unit.offset_bytes, error);

	return code ? code : gw_pack_verify_unit(check->pack, index, buffer, error);
}

/* A file that is shared as it is must also be that file: the one before may be gone, and takes room. */
static bool is_served(const struct gw_pack *pack, const struct stat *status,
		      const struct gd_image *served)
{
	struct stat shared;

	if (!served || !gd_look_is_same(&pack->superblock, &served->pack->superblock))
		return false;
	return served->share == WIRE_SHARE_SEALED ||
	       (fstat(served->fd, &shared) == 0 && shared.st_dev == status->st_dev &&
		shared.st_ino == status->st_ino);
}

int gd_look_at(const char *path, const struct gd_image *served, bool head_only,
	       const atomic_bool *cancel, struct gd_look *out, struct stat *out_status,
	       struct gw_error *error)
{
	struct gd_cached *cached;
	struct gw_pack *pack = NULL;
	struct check check;
	bool same;
	int fd, code = gd_image_open_file(path, &fd, out_status, error);

	if (code)
		return code;
	cached = gd_cached_note(fd, S_ISREG(out_status->st_mode) ? (uint64_t)out_status->st_size : 0);
	code = gw_pack_open_fd(fd, &pack, error);
	if (!code) {
		same = (head_only || !pack->superblock.compressed) && is_served(pack, out_status, served);
		check = (struct check){ .fd = fd, .pack = pack };
		if (same && !head_only)
			code = gd_workers_run(gw_pack_unit_count(pack), GW_HUGE_PAGE_BYTES,
					      check_unit, &check, cancel, error);
		if (!code)
			*out = (struct gd_look){ .image_bytes = pack->superblock.image_bytes,
						 .same = same };
		gw_pack_free(pack);
	}
	gd_cached_restore(fd, cached);
	close(fd);
	return code;
}
