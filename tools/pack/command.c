/* SPDX-License-Identifier: MIT */
#include "tools/pack/command.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "format/block.h"
#include "format/dtype.h"
#include "tools/common/number.h"
#include "tools/pack/file.h"
#include "tools/pack/kind.h"

enum tool_exit pack_parse_dtype_option(const char *text, unsigned *out_dtype)
{
	char quoted[64];

	for (unsigned dtype = GW_F32; dtype <= GW_BF16; dtype++) {
		if (strcmp(text, gw_dtype_name(dtype)) == 0) {
			*out_dtype = dtype;
			return TOOL_DONE;
		}
	}
	if (strcmp(text, "q8") == 0) {
		*out_dtype = GW_I8;
		return TOOL_DONE;
	}
	tool_say("--dtype: \"%s\" is not f32, f16, bf16 or q8",
		 gw_quote(text, strlen(text), quoted, sizeof quoted));
	return TOOL_USAGE;
}

enum tool_exit pack_parse_zstd_option(const char *text, int *out_level)
{
	struct gw_error error = GW_ERROR_INIT;
	uint64_t level = GW_BLOCK_LEVEL;

	if (text && tool_parse_u64(text, "--zstd", 1, GW_BLOCK_MAX_LEVEL, &level, &error) != GW_OK)
		return tool_fail(NULL, &error);
	*out_level = (int)level;
	return TOOL_DONE;
}

void pack_say_loss(const char *what, const struct pack_loss *loss)
{
	tool_say("note: %s as int8 rows: largest error %.3g (%.3f of its row's scale; the bound is "
		 "0.5), root mean square %.3g",
		 what, loss->largest, loss->in_scales, loss->rms);
}

/* A reader of one file begins its messages with the name that the path ends in; once will do. */
static void pack_drop_name(const char *subject, struct gw_error *error)
{
	const char *slash = strrchr(subject, '/');
	const char *base = slash && slash[1] ? slash + 1 : subject;
	size_t n = strlen(base);

	if (strncmp(error->message, base, n) == 0 && strncmp(error->message + n, ": ", 2) == 0)
		memmove(error->message, error->message + n + 2, strlen(error->message + n + 2) + 1);
}

/* The way round a kind of file that is recognised only, as lines that can be copied. */
static void pack_say_python(const char *path)
{
	struct pack_file file = PACK_FILE_INIT;
	uint8_t head[PACK_KIND_BYTES];
	const char *python = NULL;
	uint64_t n;

	if (pack_file_open(AT_FDCWD, path, &file, NULL) != GW_OK)
		return;
	n = file.size_bytes < sizeof head ? file.size_bytes : sizeof head;
	if (pack_file_read(&file, head, n, 0, NULL) == GW_OK)
		python = pack_kind_python(pack_kind_detect(head, n));
	pack_file_close(&file);
	if (python)
		fprintf(stderr, "%s\n", python);
}

enum tool_exit pack_fail_making(const char *subject, const struct gw_error *error,
				enum tool_exit for_format)
{
	struct gw_error shown = *error;
	enum tool_exit code;

	if (subject)
		pack_drop_name(subject, &shown);
	code = tool_fail(subject, &shown);
	if (subject && shown.code == GW_E_SOURCE_KIND)
		pack_say_python(subject);
	return code == TOOL_VERIFY ? for_format : code;
}
