/* SPDX-License-Identifier: MIT */
/* Which bytes are hashed, and with what: XXH3 with seed 0 (FORMAT.md, Conventions). */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define GW_DIGEST_BYTES 16

struct gw_digest {
	uint8_t bytes[GW_DIGEST_BYTES]; /* XXH128's canonical form */
};

/* A digest of bytes that arrive in pieces, 64 and 128 bits. */
struct gw_hasher;

uint64_t gw_hash64(const void *data, uint64_t n);
struct gw_digest gw_hash128(const void *data, uint64_t n);
/* Of a followed by b, without joining them. */
struct gw_digest gw_hash128_two(const void *a, uint64_t a_bytes, const void *b, uint64_t b_bytes);

struct gw_hasher *gw_hasher_new(void); /* NULL: no memory; gw_hasher_free ends it */
void gw_hasher_free(struct gw_hasher *hasher);
void gw_hasher_reset(struct gw_hasher *hasher);
void gw_hasher_update(struct gw_hasher *hasher, const void *data, uint64_t n);
uint64_t gw_hasher_digest64(const struct gw_hasher *hasher);
struct gw_digest gw_hasher_digest128(const struct gw_hasher *hasher);

static inline bool gw_digest_equal(const struct gw_digest *a, const struct gw_digest *b)
{
	return memcmp(a->bytes, b->bytes, GW_DIGEST_BYTES) == 0;
}

#define GW_DIGEST_TEXT_BYTES 33

/* 32 lowercase hexadecimal digits and a NUL. Returns out. */
char *gw_digest_text(const struct gw_digest *digest, char out[GW_DIGEST_TEXT_BYTES]);
