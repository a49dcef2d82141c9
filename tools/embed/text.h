/* SPDX-License-Identifier: MIT */
/* Decimal ids between white space and commas, fed piece by piece. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/status.h"
#include "tools/embed/ids.h"

struct embed_text {
	struct embed_ids *ids; /* borrowed */
	uint64_t offset;       /* bytes fed so far */
	uint64_t word_offset;
	size_t word_bytes;
	char word[32];       /* the number being read, for messages; a longer one is cut */
	bool is_after_comma; /* nothing but white space since a comma, or since the start */
};

void embed_text_init(struct embed_text *text, struct embed_ids *ids);

/* Errors: EMBED_E_TEXT with the offset, EMBED_E_ID, EMBED_E_COUNT, GW_E_MEMORY. */
int embed_text_feed(struct embed_text *text, const uint8_t *bytes, size_t n,
		    struct gw_error *error);

/* The input ends: completes the last number. Same errors. */
int embed_text_end(struct embed_text *text, struct gw_error *error);
