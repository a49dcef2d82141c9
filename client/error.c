/* SPDX-License-Identifier: MIT */
#include "client/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "format/wire.h"

/* Two of the format's longest messages, so that nothing is cut before the field's own end. */
#define TEXT_BYTES 1024

static void fill(gpt2c_error *error, int code, int sys_errno, int64_t index, const char *text)
{
	uint64_t message_at = offsetof(gpt2c_error, message);
	uint64_t room;

	if (!error)
		return;
	if (error->size >= GPT2C_FIELD_END(gpt2c_error, code))
		error->code = code;
	if (error->size >= GPT2C_FIELD_END(gpt2c_error, sys_errno))
		error->sys_errno = sys_errno;
	if (error->size >= GPT2C_FIELD_END(gpt2c_error, index))
		error->index = index;
	if (error->size <= message_at)
		return;
	room = error->size - message_at;
	wire_put_text(error->message, room < sizeof error->message ? room : sizeof error->message,
		      text);
}

int gpt2c_fail(gpt2c_error *error, int code, int64_t index, const char *format, ...)
{
	int saved = errno;
	char text[TEXT_BYTES];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	fill(error, code, 0, index, text);
	errno = saved;
	return code;
}

int gpt2c_fail_errno(gpt2c_error *error, int code, int sys_errno, const char *format, ...)
{
	int saved = errno;
	char text[TEXT_BYTES];
	char words[128];
	size_t length;
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	length = strlen(text);
	/* strerror_r is thread-safe where strerror is not; the GNU form returns the words */
	snprintf(text + length, sizeof text - length, ": %s",
		 strerror_r(sys_errno, words, sizeof words));
	fill(error, code, sys_errno, -1, text);
	errno = saved;
	return code;
}

int gpt2c_fail_cause(gpt2c_error *error, const struct gw_error *cause, const char *prefix)
{
	int saved = errno;
	int code = gpt2c_code(cause->code, cause->sys_errno);
	char text[TEXT_BYTES];

	snprintf(text, sizeof text, "%s%s%s", prefix ? prefix : "", prefix ? ": " : "",
		 cause->message);
	fill(error, code, cause->sys_errno,
	     cause->offset == GW_NO_OFFSET ? -1 : (int64_t)cause->offset, text);
	errno = saved;
	return code;
}

static int code_of_errno(int sys_errno)
{
	switch (sys_errno) {
	case EACCES:
	case EPERM:
		return GPT2C_E_ACCESS;
	case ENOENT:
	case ENOTDIR:
		return GPT2C_E_NOT_FOUND;
	case ENOMEM:
		return GPT2C_E_MEMORY;
	default:
		return GPT2C_E_SYSTEM;
	}
}

int gpt2c_code(int status, int sys_errno)
{
	switch (status) {
	case GW_OK:
		return GPT2C_OK;
	case GW_E_ARGUMENT:
	case GW_E_PATH:
		return GPT2C_E_ARGUMENT;
	case GW_E_MEMORY:
		return GPT2C_E_MEMORY;
	case GW_E_IO:
		return code_of_errno(sys_errno);
	case GW_E_NOT_FILE:
	case GW_E_MAGIC:
		return GPT2C_E_NOT_A_PACK;
	case GW_E_CHANGED:
	case GW_E_TRUNCATED:
	case GW_E_TRAILING:
		return GPT2C_E_TRUNCATED;
	case GW_E_VERSION:
	case GW_E_FEATURE:
	case GW_E_DTYPE:
		return GPT2C_E_VERSION;
	case GW_E_RESERVED:
	case GW_E_SUPERBLOCK_DIGEST:
	case GW_E_DIRECTORY_DIGEST:
	case GW_E_DIGESTS_DIGEST:
	case GW_E_PROVENANCE_DIGEST:
	case GW_E_CONTENT_ID:
	case GW_E_PADDING:
	case GW_E_BLOCK_DIGEST:
	case GW_E_STORED_DIGEST:
	case GW_E_STORED_BLOCK:
		return GPT2C_E_CORRUPT;
	case GW_E_LIMIT:
	case GW_E_LAYOUT:
	case GW_E_NAME:
	case GW_E_SHAPE:
	case GW_E_ROLE:
	case GW_E_STRIDE:
	case GW_E_ALIGNMENT:
	case GW_E_BOUNDS:
	case GW_E_OVERLAP:
	case GW_E_BLOCK_CODE:
		return GPT2C_E_MALFORMED;
	case GW_E_CONNECT:
		return GPT2C_E_NO_DAEMON;
	case GW_E_TIMEOUT:
		return GPT2C_E_TIMEOUT;
	case GW_E_CLOSED:
		return GPT2C_E_CLOSED;
	case GW_E_WIRE_LENGTH:
	case GW_E_WIRE_MAGIC:
	case GW_E_WIRE_VERSION:
	case GW_E_WIRE_TYPE:
	case GW_E_WIRE_FIELD:
	case GW_E_WIRE_FDS:
		return GPT2C_E_PROTOCOL;
	default: /* codes of the writer, the daemon and of checkpoints, which nothing here calls */
		return GPT2C_E_SYSTEM;
	}
}

void gpt2c_copy_fields(void *to, const void *from, uint64_t size, const size_t *ends, size_t n_ends)
{
	size_t first = sizeof(uint64_t);
	size_t last = first;

	for (size_t i = 0; i < n_ends && ends[i] <= size; i++)
		last = ends[i];
	memcpy((char *)to + first, (const char *)from + first, last - first);
}

const char *gpt2c_strerror(int code)
{
	static const struct {
		int code;
		const char *words;
	} table[] = {
		{ GPT2C_OK, "no error" },
		{ GPT2C_E_ARGUMENT, "invalid argument" },
		{ GPT2C_E_MEMORY, "out of memory" },
		{ GPT2C_E_SYSTEM, "a system call failed" },
		{ GPT2C_E_ID, "token id out of range" },
		{ GPT2C_E_POSITION, "position out of range" },
		{ GPT2C_E_SIZE, "no tokens, or too many" },
		{ GPT2C_E_NO_TENSOR, "no such tensor" },
		{ GPT2C_E_NO_DAEMON, "no daemon listens on the socket" },
		{ GPT2C_E_ACCESS, "permission denied" },
		{ GPT2C_E_TIMEOUT, "the daemon did not answer in time" },
		{ GPT2C_E_LOADING, "the model is still being loaded" },
		{ GPT2C_E_NO_MODEL, "the daemon serves no such model" },
		{ GPT2C_E_LOAD_FAILED, "the daemon could not load the model" },
		{ GPT2C_E_REFUSED, "the daemon refused the connection" },
		{ GPT2C_E_PROTOCOL, "what answers is not a gpt2d of this version" },
		{ GPT2C_E_CLOSED, "the daemon closed the connection" },
		{ GPT2C_E_UNSEALED, "the image is not sealed" },
		{ GPT2C_E_IMAGE, "the descriptor is not the image that was announced" },
		{ GPT2C_E_NOT_FOUND, "no such file" },
		{ GPT2C_E_NOT_A_PACK, "not a gpt2w pack" },
		{ GPT2C_E_VERSION, "the pack needs a newer release" },
		{ GPT2C_E_TRUNCATED, "the pack is shorter or longer than it says" },
		{ GPT2C_E_CORRUPT, "the pack is damaged" },
		{ GPT2C_E_MALFORMED, "the pack contradicts itself or exceeds a limit" },
	};

	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
		if (table[i].code == code)
			return table[i].words;
	return "unknown error";
}

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

const char *gpt2c_version(void)
{
	return TEXT(GPT2C_VERSION_MAJOR) "." TEXT(GPT2C_VERSION_MINOR) "." TEXT(
		GPT2C_VERSION_PATCH);
}
