/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/attach.h"
#include "client/error.h"
#include "client/expand.h"
#include "client/store.h"
#include "format/checked.h"
#include "format/endpoint.h"

#define KNOWN_FLAGS \
	((uint64_t)(GPT2C_ALLOW_UNSEALED | GPT2C_COPY_ON_WRITE | GPT2C_NO_VERIFY | GPT2C_POPULATE))

/* A path in a message: the rest of the 256 bytes is for what went wrong. */
#define PATH_TEXT_BYTES 120

static const size_t options_ends[] = {
	GPT2C_FIELD_END(gpt2c_options, socket_path), GPT2C_FIELD_END(gpt2c_options, model),
	GPT2C_FIELD_END(gpt2c_options, file),        GPT2C_FIELD_END(gpt2c_options, timeout_ms),
	GPT2C_FIELD_END(gpt2c_options, flags),
};

static int fail_memory(gpt2c_error *error)
{
	return gpt2c_fail(error, GPT2C_E_MEMORY, -1, "no memory for the store");
}

static int map_attachment(struct gpt2c_store *store, const struct gpt2c_attachment *attachment,
			  uint64_t flags, gpt2c_error *error)
{
	uint32_t sealed = 0;
	int result = gpt2c_map_image(attachment->image_fd, &attachment->reply, flags, &store->image,
				     &store->pack, &sealed, error);

	if (result < 0)
		return result;
	store->info_flags = sealed | GPT2C_INFO_DAEMON | GPT2C_INFO_VERIFIED;
	return gpt2c_map_board(attachment->board_fd, &store->board, error);
}

static int open_daemon(struct gpt2c_store *store, const gpt2c_options *options, gpt2c_error *error)
{
	struct gpt2c_attachment attachment = GPT2C_ATTACHMENT_INIT;
	int result = gpt2c_attach(options, &attachment, error);

	if (result < 0)
		return result;
	result = map_attachment(store, &attachment, options->flags, error);
	if (result == 0) {
		store->generation = attachment.reply.generation;
		store->epoch = attachment.reply.epoch;
		store->connection_fd = attachment.connection_fd;
		attachment.connection_fd = -1;
		memcpy(store->socket_path, attachment.socket_path, sizeof store->socket_path);
		memcpy(store->model, attachment.reply.model, sizeof store->model);
		store->timeout_ms = options->timeout_ms;
		store->flags = options->flags;
	}
	/* the mappings keep image and board; their descriptors have done their work */
	gpt2c_attachment_deinit(&attachment);
	return result;
}

/* Reads every unit with pread, which reports a file that shrinks where a mapping would be
 * SIGBUS. */
static int verify_units(int fd, const struct gw_pack *pack, uint8_t *buffer, uint64_t deadline_ms,
			const char *text, gpt2c_error *error)
{
	struct gw_error cause = GW_ERROR_INIT;
	uint64_t n_units = gw_pack_unit_count(pack);

	for (uint64_t i = 0; i < n_units; i++) {
		struct gw_unit unit = gw_pack_unit(pack, i);

		if (gw_read_at(fd, buffer, unit.size_bytes, unit.offset_bytes, &cause) < 0 ||
		    gw_pack_verify_unit(pack, i, buffer, &cause) < 0)
			return gpt2c_fail_cause(error, &cause, text);
		if (wire_now_ms() > deadline_ms)
			return gpt2c_fail(error, GPT2C_E_TIMEOUT, -1,
					  "%s: not yet verified when the time was up: %llu of %llu "
					  "units",
					  text, (unsigned long long)(i + 1),
					  (unsigned long long)n_units);
	}
	return GPT2C_OK;
}

static int verify_file(int fd, const struct gw_pack *pack, uint64_t deadline_ms, const char *text,
		       gpt2c_error *error)
{
	uint8_t *buffer;
	int result;

	buffer = malloc(GW_HUGE_PAGE_BYTES); /* the largest unit: a gap between tensors */
	if (!buffer)
		return gpt2c_fail(error, GPT2C_E_MEMORY, -1, "%s: no memory to verify it", text);
	result = verify_units(fd, pack, buffer, deadline_ms, text, error);
	free(buffer);
	return result;
}

static int open_pack(struct gpt2c_store *store, int fd, const gpt2c_options *options,
		     const char *text, gpt2c_error *error)
{
	struct gw_error cause = GW_ERROR_INIT;
	uint64_t deadline_ms = UINT64_MAX;
	int result;

	if (options->timeout_ms && !gw_add(wire_now_ms(), options->timeout_ms, &deadline_ms))
		deadline_ms = UINT64_MAX;
	if (gw_pack_open_fd(fd, &store->pack, &cause) < 0)
		return gpt2c_fail_cause(error, &cause, text);
	if (!(options->flags & GPT2C_NO_VERIFY))
		store->info_flags |= GPT2C_INFO_VERIFIED;
	if (store->pack->stored) {
		store->info_flags |= GPT2C_INFO_EXPANDED;
		return gpt2c_expand(fd, options->flags, deadline_ms, text, &store->pack,
				    &store->image, error);
	}
	if (store->info_flags & GPT2C_INFO_VERIFIED) {
		result = verify_file(fd, store->pack, deadline_ms, text, error);
		if (result < 0)
			return result;
	}
	return gpt2c_map_file(fd, store->pack->superblock.image_bytes, options->flags,
			      &store->image, error);
}

static int open_file(struct gpt2c_store *store, const gpt2c_options *options, gpt2c_error *error)
{
	char text[PATH_TEXT_BYTES];
	int fd, result;

	gw_quote(options->file, strlen(options->file), text, sizeof text);
	/* non-blocking: a FIFO would wait for a writer, which nobody promised */
	fd = open(options->file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0) {
		int code = errno == ENXIO ? GPT2C_E_NOT_A_PACK : gpt2c_code(GW_E_IO, errno);

		return gpt2c_fail_errno(error, code, errno, "cannot open %s", text);
	}
	result = open_pack(store, fd, options, text, error);
	close(fd);
	return result;
}

static int check_options(const gpt2c_options *options, gpt2c_error *error)
{
	if (options->flags & ~KNOWN_FLAGS)
		return gpt2c_fail(error, GPT2C_E_ARGUMENT, -1, "flags 0x%llx are unknown",
				  (unsigned long long)(options->flags & ~KNOWN_FLAGS));
	if (options->file && (options->socket_path || options->model))
		return gpt2c_fail(
			error, GPT2C_E_ARGUMENT, -1,
			"a file is opened without a daemon: socket_path and model must be "
			"NULL");
	return GPT2C_OK;
}

static int open_store(const gpt2c_options *options, gpt2c_store **out_store, gpt2c_error *error)
{
	struct gpt2c_store *store;
	int result;

	if (!out_store)
		return gpt2c_fail(error, GPT2C_E_ARGUMENT, -1, "out_store is NULL");
	result = check_options(options, error);
	if (result < 0)
		return result;
	store = gpt2c_store_new();
	if (!store)
		return fail_memory(error);
	result = options->file ? open_file(store, options, error)
			       : open_daemon(store, options, error);
	if (result < 0) {
		gpt2c_close(store);
		return result;
	}
	gpt2c_store_bind(store);
	*out_store = store;
	return GPT2C_OK;
}

/* The public entries: errno stays as it was. */
static int open_quietly(const gpt2c_options *options, gpt2c_store **out_store, gpt2c_error *error)
{
	int saved = errno;
	int result;

	if (!gpt2c_error_usable(error))
		return GPT2C_E_ARGUMENT;
	result = open_store(options, out_store, error);
	errno = saved;
	return result;
}

int gpt2c_open(const char *socket_path, const char *model, gpt2c_store **out_store,
	       gpt2c_error *error)
{
	gpt2c_options options = GPT2C_OPTIONS_INIT;

	options.socket_path = socket_path;
	options.model = model;
	return open_quietly(&options, out_store, error);
}

int gpt2c_open_file(const char *path, gpt2c_store **out_store, gpt2c_error *error)
{
	gpt2c_options options = GPT2C_OPTIONS_INIT;

	if (!gpt2c_error_usable(error))
		return GPT2C_E_ARGUMENT;
	if (!path)
		return gpt2c_fail(error, GPT2C_E_ARGUMENT, -1, "path is NULL");
	options.file = path;
	return open_quietly(&options, out_store, error);
}

int gpt2c_open_with(const gpt2c_options *options, gpt2c_store **out_store, gpt2c_error *error)
{
	gpt2c_options known = GPT2C_OPTIONS_INIT;

	if (!gpt2c_error_usable(error))
		return GPT2C_E_ARGUMENT;
	if (!options || options->size == 0)
		return gpt2c_fail(error, GPT2C_E_ARGUMENT, -1,
				  "options is NULL or without a size; use GPT2C_OPTIONS_INIT");
	gpt2c_copy_fields(&known, options, options->size, options_ends,
			  sizeof options_ends / sizeof options_ends[0]);
	return open_quietly(&known, out_store, error);
}

int gpt2c_refresh(const gpt2c_store *store, gpt2c_store **out_store, gpt2c_error *error)
{
	gpt2c_options options = GPT2C_OPTIONS_INIT;

	if (!gpt2c_error_usable(error))
		return GPT2C_E_ARGUMENT;
	if (!store)
		return gpt2c_fail(error, GPT2C_E_ARGUMENT, -1, "store is NULL");
	if (store->connection_fd < 0)
		return gpt2c_fail(error, GPT2C_E_ARGUMENT, -1,
				  "the store is of a file, which has no generations");
	options.socket_path = store->socket_path;
	options.model = store->model;
	options.timeout_ms = store->timeout_ms;
	options.flags = store->flags;
	return open_quietly(&options, out_store, error);
}
