/* SPDX-License-Identifier: MIT */
/*
 * Models of the daemon before us. The word of owner and epoch on a notice board is the one truth,
 * as it changes in one store; an image belongs to it whose name has that epoch and the board's
 * generation. Where a daemon was killed between its steps they may not agree: then nothing is taken
 * back, and the pack is loaded.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/log.h"
#include "daemon/store_parts.h"
#include "format/endpoint.h"

void gd_store_keep_board(struct gd_store *store, struct gd_model *model)
{
	struct gd_fdname name = { .kind = GD_FDNAME_BOARD };
	struct stat status;

	if (!gd_fdstore_is_there(store->options.fdstore))
		return;
	if (fstat(model->board.fd, &status) < 0) {
		gd_log_model(GD_EVENT_NONE, model->name, model->path, 0,
			     "%s: the notice board is not stored: %s", model->name, strerror(errno));
		return;
	}
	name.inode = status.st_ino;
	memcpy(name.model, model->name, sizeof name.model);
	gd_fdstore_put(store->options.fdstore, &model->kept_board, &name, model->board.fd);
}

void gd_store_keep_image(struct gd_store *store, const struct gd_model *model,
			 struct gd_image *image, uint64_t generation)
{
	struct gw_error error = GW_ERROR_INIT;
	struct gd_fdname name;

	if (image->share != WIRE_SHARE_SEALED || !gd_fdstore_is_there(store->options.fdstore))
		return;
	if (gd_image_name(image, model->name, generation, gd_board_epoch(&model->board) + 1, &name,
			  &error))
		gd_log_model(GD_EVENT_NONE, model->name, model->path, generation,
			     "%s: the image is not stored: %s", model->name, error.message);
	else
		gd_fdstore_put(store->options.fdstore, &image->kept, &name, image->fd);
}

/* The model's board, where there is one that is in order. It is to be claimed. */
static bool take_board(struct gd_store *store, struct gd_model *model)
{
	struct gd_takeback *takeback = store->options.takeback;
	const struct gd_fdname *name;
	size_t at = 0;

	while ((name = gd_takeback_next(takeback, GD_FDNAME_BOARD, model->name, &at))) {
		struct gw_error error = GW_ERROR_INIT;
		int fd = gd_takeback_fd(takeback, at);

		if (gd_board_take(&model->board, store->boards, fd, name->inode, &error)) {
			gd_takeback_refuse(takeback, at, error.message);
			continue;
		}
		gd_takeback_take(takeback, at);
		gd_fdstore_put_back(store->options.fdstore, &model->kept_board, name, fd);
		return true;
	}
	return false;
}

/* Where the image is that was served: the one that board is about; without one (NULL), the newest. */
static const struct gd_fdname *find_image(const struct gd_takeback *takeback, const char *model,
					  const struct gd_board *board, size_t *out_at)
{
	const struct gd_fdname *name, *best = NULL;

	for (size_t at = 0;
	     (name = gd_takeback_next(takeback, GD_FDNAME_IMAGE, model, &at)); at++) {
		if (board ? name->epoch != gd_board_epoch(board) ||
				    name->generation != gd_board_generation(board) :
			    best && name->generation <= best->generation)
			continue;
		best = name;
		*out_at = at;
	}
	return best;
}

static struct gd_image *take_at(struct gd_store *store, size_t at, const struct gd_fdname *name)
{
	struct gd_takeback *takeback = store->options.takeback;
	struct gw_error error = GW_ERROR_INIT;
	struct gd_image *image = NULL;
	int fd = gd_takeback_fd(takeback, at);

	if (gd_image_take(fd, name, &image, &error)) {
		gd_takeback_refuse(takeback, at, error.message);
		return NULL;
	}
	gd_takeback_take(takeback, at);
	gd_fdstore_put_back(store->options.fdstore, &image->kept, name, fd);
	return image;
}

/* Takes the image that was served; its name is *out_name. */
static struct gd_image *take_image(struct gd_store *store, const struct gd_model *model,
				   const struct gd_board *board, struct gd_fdname *out_name)
{
	const struct gd_fdname *name;
	struct gd_image *image = NULL;
	size_t at = 0;

	if (store->options.share != WIRE_SHARE_SEALED)
		return NULL;
	while (!image &&
	       (name = find_image(store->options.takeback, model->name, board, &at))) {
		*out_name = *name;
		image = take_at(store, at, name);
	}
	return image;
}

static void serve_again(struct gd_model *model, struct gd_image *image,
			const struct gd_fdname *name)
{
	model->image = image;
	model->generation = name->generation;
	model->epoch = name->epoch;
	model->since_ms = wire_now_ms();
	model->taken_back = true;
	gd_log_model(GD_EVENT_SERVING, model->name, model->path, name->generation,
		     "%s: generation %" PRIu64 " is taken back: %.1f MB, nothing loaded", model->name,
		     name->generation, (double)image->pack->superblock.image_bytes / 1e6);
}

int gd_store_open_board(struct gd_store *store, struct gd_model *model, struct gw_error *error)
{
	const bool taken = take_board(store, model);
	struct gd_fdname name = { 0 };
	struct gd_image *image;

	if (!taken) {
		int code = gd_board_init(&model->board, store->boards, error);

		if (code)
			return code;
	}
	image = take_image(store, model, taken ? &model->board : NULL, &name);
	if (!image) {
		/* what its readers have is gone: they are to ask anew, not to believe it current */
		name.generation = 0;
		name.epoch = gd_board_epoch(&model->board) +
			     (gd_board_generation(&model->board) != 0);
	}
	if (taken)
		gd_board_claim(&model->board, name.generation, name.epoch);
	else
		gd_board_begin_at(&model->board, name.generation, name.epoch);
	model->epoch = name.epoch;
	if (image)
		serve_again(model, image, &name);
	if (!taken)
		gd_store_keep_board(store, model);
	return GW_OK;
}

uint64_t gd_store_last_taken(const struct gd_takeback *takeback)
{
	const struct gd_fdname *name;
	uint64_t last = 0;

	for (size_t at = 0; (name = gd_takeback_next(takeback, GD_FDNAME_IMAGE, NULL, &at)); at++)
		if (name->generation > last)
			last = name->generation;
	return last;
}

/* The oldest of those that are left. */
static const struct gd_fdname *find_oldest(const struct gd_takeback *takeback, size_t *out_at)
{
	const struct gd_fdname *name, *oldest = NULL;

	for (size_t at = 0; (name = gd_takeback_next(takeback, GD_FDNAME_IMAGE, NULL, &at)); at++) {
		if (oldest && name->generation >= oldest->generation)
			continue;
		oldest = name;
		*out_at = at;
	}
	return oldest;
}

void gd_store_take_retired(struct gd_store *store)
{
	const struct gd_fdname *name;
	size_t at = 0;

	while ((name = find_oldest(store->options.takeback, &at))) {
		struct gd_image *image = take_at(store, at, name);

		if (image)
			gd_retired_add(&store->retired, name->model, name->generation, image);
	}
	if (store->retired.count)
		gd_log("old generations that are still held: %" PRIu64 ", %.1f MB",
		       store->retired.count, (double)store->retired.bytes / 1e6);
}
