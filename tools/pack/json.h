/* SPDX-License-Identifier: MIT */
/* Untrusted JSON within a budget of memory. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "format/status.h"

/*
 * Parses n bytes of text whose top level must be an object. Refused: duplicate keys, NUL bytes,
 * invalid UTF-8, anything after the object but white space, more than PACK_MAX_JSON_BYTES of
 * memory. file_offset: where text stands in its file, for the message. *out_object is the caller's,
 * json_decref ends it. Not for two threads at once: the budget is the process's. Errors:
 * GW_E_SOURCE, GW_E_MEMORY.
 */
int pack_json_load(const char *text, uint64_t n, uint64_t file_offset, json_t **out_object,
		   struct gw_error *error);

/* Whether value is a whole number that is not negative; *out is untouched if not. */
bool pack_json_u64(const json_t *value, uint64_t *out);
