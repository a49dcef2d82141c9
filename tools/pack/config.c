/* SPDX-License-Identifier: MIT */
#include "tools/pack/config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "tools/pack/json.h"
#include "tools/pack/limits.h"

static int pack_config_member(const json_t *object, const char *origin, const char *name,
			      uint64_t max, uint64_t *out, struct gw_error *error)
{
	const json_t *value = json_object_get(object, name);
	uint64_t number = 0;

	if (!value || json_is_null(value))
		return GW_OK;
	if (!pack_json_u64(value, &number) || number > max)
		return gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET,
			       "%s: %s is not a whole number from 0 to %" PRIu64, origin, name,
			       max);
	*out = number;
	return GW_OK;
}

static int pack_config_parse(const json_t *object, const char *origin, struct pack_config *out,
			     struct gw_error *error)
{
	struct pack_config config = { .origin = origin };
	const struct {
		const char *name;
		uint64_t max;
		uint64_t *out;
	} members[] = {
		{ "n_layer", GW_MAX_N_LAYER, &config.n_layer },
		{ "n_head", GW_MAX_N_HEAD, &config.n_head },
		{ "n_vocab", INT64_MAX, &config.n_vocab }, /* its name in hparams.json */
		{ "vocab_size", INT64_MAX, &config.n_vocab },
		{ "n_ctx", INT64_MAX, &config.n_positions },
		{ "n_positions", INT64_MAX, &config.n_positions }, /* wins over n_ctx */
		{ "n_embd", INT64_MAX, &config.n_embd },
	};

	for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
		int code = pack_config_member(object, origin, members[i].name, members[i].max,
					      members[i].out, error);

		if (code != GW_OK)
			return code;
	}
	*out = config;
	return GW_OK;
}

/* origin: the file's name, a constant. */
static int pack_config_load(int folder_fd, const char *origin, struct pack_config *out,
			    struct gw_error *error)
{
	struct pack_file file = PACK_FILE_INIT;
	struct gw_error inner = GW_ERROR_INIT;
	json_t *object = NULL;
	uint64_t size_bytes;
	char *text;
	int code = pack_file_open(folder_fd, origin, &file, &inner);

	if (code == GW_E_IO && inner.sys_errno == ENOENT)
		return GW_OK;
	if (code != GW_OK) {
		if (error)
			*error = inner;
		return code;
	}
	size_bytes = file.size_bytes;
	if (size_bytes > PACK_MAX_HEADER_BYTES) {
		code = gw_fail(error, GW_E_SOURCE, GW_NO_OFFSET,
			       "%s has %" PRIu64 " bytes, at most %" PRIu64, origin, size_bytes,
			       PACK_MAX_HEADER_BYTES);
		pack_file_close(&file);
		return code;
	}
	text = malloc(size_bytes + 1);
	if (text)
		code = pack_file_read(&file, text, size_bytes, 0, error);
	else
		code = gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	pack_file_close(&file);
	if (code == GW_OK) {
		code = pack_json_load(text, size_bytes, 0, &object, &inner);
		if (code == GW_OK)
			code = pack_config_parse(object, origin, out, error);
		else
			gw_fail(error, code, inner.offset, "%s: %s", origin, inner.message);
	}
	free(text);
	json_decref(object);
	return code;
}

int pack_config_read(int folder_fd, struct pack_config *out, struct gw_error *error)
{
	return pack_config_load(folder_fd, "config.json", out, error);
}

int pack_hparams_read(int folder_fd, struct pack_config *out, struct gw_error *error)
{
	return pack_config_load(folder_fd, "hparams.json", out, error);
}
