/* SPDX-License-Identifier: MIT */
/* The subcommands of gpt2-pack. Each gets its own argv, whose [0] is "gpt2-pack NAME". */
#pragma once

#include "format/digest.h"
#include "tools/common/report.h"
#include "tools/pack/quantise.h"

enum tool_exit pack_command_pack(int argc, char **argv);
enum tool_exit pack_command_init(int argc, char **argv);
enum tool_exit pack_command_info(int argc, char **argv);
enum tool_exit pack_command_verify(int argc, char **argv);
enum tool_exit pack_command_unpack(int argc, char **argv);

/* What provenance records as the program. */
#define PACK_TOOL "gpt2-pack " GW_RELEASE

/*
 * The dtype of a --dtype option: f32, f16, bf16 or q8, which is GW_I8. TOOL_USAGE, after saying so, for
 * another.
 */
enum tool_exit pack_parse_dtype_option(const char *text, unsigned *out_dtype);

/* The level of a --zstd option, whose argument may be left out (NULL). TOOL_USAGE, after saying so, for one
 * that is not 1 to GW_BLOCK_MAX_LEVEL. */
enum tool_exit pack_parse_zstd_option(const char *text, int *out_level);
/* What --help says of it. */
#define PACK_ZSTD_HELP \
	"Compress the pack, at one of zstd's levels, 1 to 22 (3); the values stay the same bit for bit"

/* Says how far the int8 rows of a tensor, or of several, are from what they were. */
void pack_say_loss(const char *what, const struct pack_loss *loss);

/*
 * Says what error says and returns the exit code for a command that makes something of a checkpoint or
 * a pack, whose readers begin messages with its name. for_format: the code for what the format does not
 * allow (GW_E_SHAPE, GW_E_LIMIT …), which is the fault of the input where a pack is made, and for
 * damage.
 */
enum tool_exit pack_fail_making(const char *subject, const struct gw_error *error,
				enum tool_exit for_format);
