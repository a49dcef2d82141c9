/* SPDX-License-Identifier: MIT */
/*
 * A bounded window on untrusted bytes, read and written little-endian at named offsets; no casts.
 * A read outside the window gives 0 and sets overrun, which the caller checks once at the end; a
 * write outside it is dropped and sets overrun too.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct gw_bytes {
	uint8_t *data; /* borrowed; only the put functions write */
	uint64_t size_bytes;
	bool overrun;
};

static inline struct gw_bytes gw_bytes_read(const uint8_t *data, uint64_t size_bytes)
{
	return (struct gw_bytes){ .data = (uint8_t *)(uintptr_t)data, .size_bytes = size_bytes };
}

static inline struct gw_bytes gw_bytes_write(uint8_t *data, uint64_t size_bytes)
{
	return (struct gw_bytes){ .data = data, .size_bytes = size_bytes };
}

/* The n bytes at offset, or NULL (overrun is set). */
static inline uint8_t *gw_bytes_at(struct gw_bytes *bytes, uint64_t offset, uint64_t n)
{
	if (offset > bytes->size_bytes || n > bytes->size_bytes - offset) {
		bytes->overrun = true;
		return NULL;
	}
	return bytes->data + offset;
}

static inline uint64_t gw_get(struct gw_bytes *bytes, uint64_t offset, unsigned n)
{
	const uint8_t *at = gw_bytes_at(bytes, offset, n);
	uint64_t value = 0;

	for (unsigned i = n; at && i-- > 0;)
		value = value << 8 | at[i];
	return value;
}

static inline uint8_t gw_get_u8(struct gw_bytes *bytes, uint64_t offset)
{
	return (uint8_t)gw_get(bytes, offset, 1);
}

static inline uint16_t gw_get_u16(struct gw_bytes *bytes, uint64_t offset)
{
	return (uint16_t)gw_get(bytes, offset, 2);
}

static inline uint32_t gw_get_u32(struct gw_bytes *bytes, uint64_t offset)
{
	return (uint32_t)gw_get(bytes, offset, 4);
}

static inline uint64_t gw_get_u64(struct gw_bytes *bytes, uint64_t offset)
{
	return gw_get(bytes, offset, 8);
}

static inline void gw_get_bytes(struct gw_bytes *bytes, uint64_t offset, void *out, uint64_t n)
{
	const uint8_t *at = gw_bytes_at(bytes, offset, n);

	if (at)
		memcpy(out, at, n);
	else
		memset(out, 0, n);
}

static inline void gw_put(struct gw_bytes *bytes, uint64_t offset, uint64_t value, unsigned n)
{
	uint8_t *at = gw_bytes_at(bytes, offset, n);

	for (unsigned i = 0; at && i < n; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

static inline void gw_put_u8(struct gw_bytes *bytes, uint64_t offset, uint8_t value)
{
	gw_put(bytes, offset, value, 1);
}

static inline void gw_put_u16(struct gw_bytes *bytes, uint64_t offset, uint16_t value)
{
	gw_put(bytes, offset, value, 2);
}

static inline void gw_put_u32(struct gw_bytes *bytes, uint64_t offset, uint32_t value)
{
	gw_put(bytes, offset, value, 4);
}

static inline void gw_put_u64(struct gw_bytes *bytes, uint64_t offset, uint64_t value)
{
	gw_put(bytes, offset, value, 8);
}

static inline void gw_put_bytes(struct gw_bytes *bytes, uint64_t offset, const void *in, uint64_t n)
{
	uint8_t *at = gw_bytes_at(bytes, offset, n);

	if (at)
		memcpy(at, in, n);
}

/* Whether n bytes are all zero. */
static inline bool gw_is_zero(const uint8_t *data, uint64_t n)
{
	uint64_t any = 0, word;
	uint64_t i = 0;

	for (; i + 8 <= n; i += 8) {
		memcpy(&word, data + i, 8);
		any |= word;
	}
	for (; i < n; i++)
		any |= data[i];
	return any == 0;
}
