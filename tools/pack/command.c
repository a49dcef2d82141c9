/* SPDX-License-Identifier: MIT */
#include "tools/pack/command.h"

#include <string.h>

#include "format/dtype.h"

enum tool_exit pack_parse_dtype_option(const char *text, unsigned *out_dtype)
{
	char quoted[64];

	for (unsigned dtype = GW_F32; dtype <= GW_BF16; dtype++) {
		if (strcmp(text, gw_dtype_name(dtype)) == 0) {
			*out_dtype = dtype;
			return TOOL_DONE;
		}
	}
	if (strcmp(text, "q8") == 0)
		tool_say("--dtype q8: this release does not have quantised packs; it has f32, f16 "
			 "and bf16");
	else
		tool_say("--dtype: \"%s\" is not f32, f16 or bf16",
			 gw_quote(text, strlen(text), quoted, sizeof quoted));
	return TOOL_USAGE;
}

enum tool_exit pack_fail_making(const char *subject, const struct gw_error *error,
				enum tool_exit for_format)
{
	enum tool_exit code = tool_fail(subject, error);

	return code == TOOL_VERIFY ? for_format : code;
}
