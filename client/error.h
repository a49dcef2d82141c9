/* SPDX-License-Identifier: MIT */
/* How a failure reaches the caller: the public codes, and gpt2c_error of whatever size it has. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/api.h"
#include "format/status.h"

/*
 * All of these fill error, which may be NULL and of which only the fields that fit into its size
 * are written, return the GPT2C_E_… code and leave errno alone. index: of the id or position at
 * fault, or a byte offset; -1 where there is none.
 */
int gpt2c_fail(gpt2c_error *error, int code, int64_t index, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* The same for a failed system call, whose words are appended. */
int gpt2c_fail_errno(gpt2c_error *error, int code, int sys_errno, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* The same for a failure inside format/; prefix (may be NULL) names the file or socket. */
int gpt2c_fail_cause(gpt2c_error *error, const struct gw_error *cause, const char *prefix);

/* The GPT2C_E_… code for a gw_status; sys_errno tells the cases of GW_E_IO apart. */
int gpt2c_code(int status, int sys_errno);

/* Whether error is NULL or has a size; one without would be written past its end. */
static inline bool gpt2c_error_usable(const gpt2c_error *error)
{
	return !error || error->size != 0;
}

/* The end of a field of a public struct, for gpt2c_copy_fields. */
#define GPT2C_FIELD_END(type, field) (offsetof(type, field) + sizeof(((type *)0)->field))

/*
 * Copies what follows the size field from one public struct to another, as many whole fields as fit
 * into size bytes. ends: ascending, the end of every field after size.
 */
void gpt2c_copy_fields(void *to, const void *from, uint64_t size, const size_t *ends,
		       size_t n_ends);
