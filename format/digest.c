/* SPDX-License-Identifier: MIT */
#include "format/digest.h"

#include <stdlib.h>
#ifdef __x86_64__
#include <sys/platform/x86.h>
#endif

#include "format/digest_kernels.h"

/* Header-only: the client library links libc and nothing else. */
#define XXH_INLINE_ALL
#include <xxhash.h>

struct gw_hasher {
	XXH3_state_t state;
};

static struct gw_digest canonical(XXH128_hash_t hash)
{
	XXH128_canonical_t canonical;
	struct gw_digest digest;

	XXH128_canonicalFromHash(&canonical, hash);
	memcpy(digest.bytes, canonical.digest, sizeof digest.bytes);
	return digest;
}

uint64_t (*gw_hash64_at(unsigned index))(const void *data, uint64_t n)
{
#ifdef __x86_64__
	if (CPU_FEATURE_ACTIVE(AVX512F) && CPU_FEATURE_ACTIVE(AVX512BW) && index-- == 0)
		return gw_hash64_avx512;
	if (CPU_FEATURE_ACTIVE(AVX2) && index-- == 0)
		return gw_hash64_avx2;
#endif
	return index == 0 ? gw_hash64_portable : NULL;
}

uint64_t gw_hash64(const void *data, uint64_t n)
{
	return gw_hash64_at(0)(data, n);
}

struct gw_digest gw_hash128(const void *data, uint64_t n)
{
	return canonical(XXH3_128bits(data, n));
}

struct gw_digest gw_hash128_two(const void *a, uint64_t a_bytes, const void *b, uint64_t b_bytes)
{
	XXH3_state_t state;

	XXH3_INITSTATE(&state);
	XXH3_128bits_reset(&state);
	XXH3_128bits_update(&state, a, a_bytes);
	XXH3_128bits_update(&state, b, b_bytes);
	return canonical(XXH3_128bits_digest(&state));
}

struct gw_hasher *gw_hasher_new(void)
{
	struct gw_hasher *hasher;

	/* XXH3_state_t asks for 64-byte alignment */
	hasher = aligned_alloc(_Alignof(struct gw_hasher), sizeof *hasher);
	if (hasher) {
		XXH3_INITSTATE(&hasher->state);
		gw_hasher_reset(hasher);
	}
	return hasher;
}

void gw_hasher_free(struct gw_hasher *hasher)
{
	free(hasher);
}

/* The 64- and the 128-bit variant share state, reset and update; only the digest differs
 * (xxhash.h: "XXH3_128bits_update" is "XXH3_64bits_update"). */
void gw_hasher_reset(struct gw_hasher *hasher)
{
	XXH3_128bits_reset(&hasher->state);
}

void gw_hasher_update(struct gw_hasher *hasher, const void *data, uint64_t n)
{
	XXH3_128bits_update(&hasher->state, data, n);
}

uint64_t gw_hasher_digest64(const struct gw_hasher *hasher)
{
	return XXH3_64bits_digest(&hasher->state);
}

struct gw_digest gw_hasher_digest128(const struct gw_hasher *hasher)
{
	return canonical(XXH3_128bits_digest(&hasher->state));
}

char *gw_digest_text(const struct gw_digest *digest, char out[GW_DIGEST_TEXT_BYTES])
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < GW_DIGEST_BYTES; i++) {
		out[2 * i] = digits[digest->bytes[i] >> 4];
		out[2 * i + 1] = digits[digest->bytes[i] & 15];
	}
	out[GW_DIGEST_TEXT_BYTES - 1] = '\0';
	return out;
}
