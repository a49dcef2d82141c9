/* SPDX-License-Identifier: MIT */
/* Socket messages to and from structs, and the notice board's layout (WIRE.md). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "format/digest.h"
#include "format/limits.h"
#include "format/status.h"

#define WIRE_VERSION 1

enum wire_type {
	WIRE_ATTACH = 1,
	WIRE_ATTACHED = 2,
	WIRE_LOADING = 3,
	WIRE_REFUSED = 4,
	WIRE_NEWS = 5,
	WIRE_LIST = 6,
	WIRE_LISTED = 7,
	WIRE_STATUS = 8,
	WIRE_STATUS_REPLY = 9,
};

enum wire_share { WIRE_SHARE_SEALED = 1, WIRE_SHARE_FILE = 2 };

enum wire_reason {
	WIRE_REASON_MALFORMED = 1,
	WIRE_REASON_VERSION = 2,
	WIRE_REASON_UNKNOWN_MODEL = 3,
	WIRE_REASON_NAME_NEEDED = 4,
	WIRE_REASON_LOAD_FAILED = 5,
	WIRE_REASON_LIMIT = 6,
	WIRE_REASON_NO_MODEL = 7,
	WIRE_REASON_RESOURCE = 8,
};

enum wire_state { WIRE_STATE_NONE = 0, WIRE_STATE_LOADING, WIRE_STATE_SERVING, WIRE_STATE_FAILED };

enum wire_backend { WIRE_BACKEND_IO_URING = 1, WIRE_BACKEND_EPOLL = 2 };

/* WIRE.md's tables: prefix, name, offset, size. */
#define WIRE_HEADER_FIELDS(X)                                                                      \
	X(HEADER, MAGIC, 0, 4)                                                                     \
	X(HEADER, VERSION, 4, 2)                                                                   \
	X(HEADER, TYPE, 6, 2)                                                                      \
	X(HEADER, MESSAGE_BYTES, 8, 4)                                                             \
	X(HEADER, REQUEST, 12, 4)
#define WIRE_ATTACH_FIELDS(X)                                                                      \
	X(ATTACH, RESERVED, 16, 8)                                                                 \
	X(ATTACH, MODEL, 24, 256)
#define WIRE_ATTACHED_FIELDS(X)                                                                    \
	X(ATTACHED, GENERATION, 16, 8)                                                             \
	X(ATTACHED, IMAGE_BYTES, 24, 8)                                                            \
	X(ATTACHED, CONTENT_ID, 32, 16)                                                            \
	X(ATTACHED, SHARE, 48, 4)                                                                  \
	X(ATTACHED, EPOCH, 52, 4)                                                                  \
	X(ATTACHED, MODEL, 56, 256)
#define WIRE_LOADING_FIELDS(X) X(LOADING, MODEL, 16, 256)
#define WIRE_REFUSED_FIELDS(X)                                                                     \
	X(REFUSED, REASON, 16, 4)                                                                  \
	X(REFUSED, RESERVED, 20, 4)                                                                \
	X(REFUSED, MESSAGE, 24, 256)
#define WIRE_NEWS_FIELDS(X)                                                                        \
	X(NEWS, GENERATION, 16, 8)                                                                 \
	X(NEWS, EPOCH, 24, 4)                                                                      \
	X(NEWS, RESERVED, 28, 4)
#define WIRE_LIST_FIELDS(X)                                                                        \
	X(LIST, INDEX, 16, 4)                                                                      \
	X(LIST, RESERVED, 20, 4)
#define WIRE_LISTED_FIELDS(X)                                                                      \
	X(LISTED, INDEX, 16, 4)                                                                    \
	X(LISTED, N_MODELS, 20, 4)                                                                 \
	X(LISTED, STATE, 24, 4)                                                                    \
	X(LISTED, SHARE, 28, 4)                                                                    \
	X(LISTED, GENERATION, 32, 8)                                                               \
	X(LISTED, IMAGE_BYTES, 40, 8)                                                              \
	X(LISTED, N_VOCAB, 48, 8)                                                                  \
	X(LISTED, N_POSITIONS, 56, 8)                                                              \
	X(LISTED, N_EMBD, 64, 8)                                                                   \
	X(LISTED, N_TENSORS, 72, 8)                                                                \
	X(LISTED, HUGE_BYTES, 80, 8)                                                               \
	X(LISTED, ATTACHED, 88, 8)                                                                 \
	X(LISTED, ATTACHED_TOTAL, 96, 8)                                                           \
	X(LISTED, CONTENT_ID, 104, 16)                                                             \
	X(LISTED, WTE_DTYPE, 120, 4)                                                               \
	X(LISTED, WPE_DTYPE, 124, 4)                                                               \
	X(LISTED, LOAD_US, 128, 8)                                                                 \
	X(LISTED, MODEL, 136, 256)                                                                 \
	X(LISTED, FILE, 392, 1024)                                                                 \
	X(LISTED, MESSAGE, 1416, 256)
#define WIRE_STATUS_REPLY_FIELDS(X)                                                                \
	X(STATUS_REPLY, PID, 16, 8)                                                                \
	X(STATUS_REPLY, UPTIME_MS, 24, 8)                                                          \
	X(STATUS_REPLY, BACKEND, 32, 4)                                                            \
	X(STATUS_REPLY, N_MODELS, 36, 4)                                                           \
	X(STATUS_REPLY, CONNECTIONS, 40, 8)                                                        \
	X(STATUS_REPLY, CONNECTIONS_TOTAL, 48, 8)                                                  \
	X(STATUS_REPLY, ATTACHED_TOTAL, 56, 8)                                                     \
	X(STATUS_REPLY, REFUSED_TOTAL, 64, 8)                                                      \
	X(STATUS_REPLY, FOREIGN_FDS, 72, 8)                                                        \
	X(STATUS_REPLY, IMAGE_BYTES, 80, 8)                                                        \
	X(STATUS_REPLY, MAX_CONNECTIONS, 88, 8)                                                    \
	X(STATUS_REPLY, MAX_CONNECTIONS_PER_USER, 96, 8)                                           \
	X(STATUS_REPLY, RELEASE, 104, 32)                                                          \
	X(STATUS_REPLY, NOTE, 136, 256)
#define WIRE_BOARD_FIELDS(X)                                                                       \
	X(BOARD, MAGIC, 0, 8)                                                                      \
	X(BOARD, OWNER, 8, 4)                                                                      \
	X(BOARD, EPOCH, 12, 4)                                                                     \
	X(BOARD, GENERATION, 16, 8)

#define X(table, name, offset, size)                                                               \
	WIRE_##table##_##name##_AT = (offset), WIRE_##table##_##name##_SIZE = (size),
enum wire_field {
	WIRE_HEADER_FIELDS(X) WIRE_ATTACH_FIELDS(X) WIRE_ATTACHED_FIELDS(X) WIRE_LOADING_FIELDS(X)
	WIRE_REFUSED_FIELDS(X) WIRE_NEWS_FIELDS(X) WIRE_LIST_FIELDS(X) WIRE_LISTED_FIELDS(X)
	WIRE_STATUS_REPLY_FIELDS(X) WIRE_BOARD_FIELDS(X)
};
#undef X

#define WIRE_HEADER_BYTES 16
#define WIRE_MESSAGE_TEXT_BYTES 256
#define WIRE_FILE_BYTES 1024
#define WIRE_RELEASE_BYTES 32

struct wire_attach {
	char model[WIRE_MODEL_BYTES]; /* "": the only one served */
};

struct wire_attached {
	uint64_t generation;
	uint64_t image_bytes;
	struct gw_digest content_id;
	uint32_t share; /* enum wire_share */
	uint32_t epoch;
	char model[WIRE_MODEL_BYTES];
};

struct wire_loading {
	char model[WIRE_MODEL_BYTES];
};

struct wire_refused {
	uint32_t reason; /* enum wire_reason */
	char message[WIRE_MESSAGE_TEXT_BYTES];
};

struct wire_news {
	uint64_t generation;
	uint32_t epoch;
};

struct wire_list {
	uint32_t index;
};

struct wire_listed {
	uint32_t index, n_models;
	uint32_t state; /* enum wire_state */
	uint32_t share;
	uint64_t generation;
	uint64_t image_bytes;
	uint64_t n_vocab, n_positions, n_embd, n_tensors;
	uint64_t huge_bytes;
	uint64_t attached, attached_total;
	struct gw_digest content_id;
	uint32_t wte_dtype, wpe_dtype;
	uint64_t load_us;
	char model[WIRE_MODEL_BYTES];
	char file[WIRE_FILE_BYTES];
	char message[WIRE_MESSAGE_TEXT_BYTES];
};

struct wire_status_reply {
	uint64_t pid;
	uint64_t uptime_ms;
	uint32_t backend; /* enum wire_backend */
	uint32_t n_models;
	uint64_t connections, connections_total;
	uint64_t attached_total, refused_total;
	uint64_t foreign_fds;
	uint64_t image_bytes;
	uint64_t max_connections, max_connections_per_user;
	char release[WIRE_RELEASE_BYTES];
	char note[WIRE_MESSAGE_TEXT_BYTES];
};

/* Any message; type says which member holds it (STATUS has none). */
struct wire_message {
	uint16_t type; /* enum wire_type */
	uint32_t request;
	union {
		struct wire_attach attach;
		struct wire_attached attached;
		struct wire_loading loading;
		struct wire_refused refused;
		struct wire_news news;
		struct wire_list list;
		struct wire_listed listed;
		struct wire_status_reply status_reply;
	};
};

/* Bytes of a message of that type; 0: no such type. */
uint32_t wire_message_bytes(uint16_t type);

/* A fixed phrase for an enum wire_reason; never NULL. */
const char *wire_strreason(uint32_t reason);

/*
 * Encodes message into out (WIRE_MAX_MESSAGE_BYTES) and returns its size. Strings must end in NUL
 * within their field; what follows the NUL is encoded as zero.
 */
uint32_t wire_encode(const struct wire_message *message, uint8_t *out);

/*
 * Decodes and validates n bytes as received. *out is untouched on failure, but for GW_E_WIRE_VERSION,
 * where its request is set so that the peer can be answered. Errors: GW_E_WIRE_LENGTH, _MAGIC,
 * _VERSION, _TYPE, _FIELD.
 */
int wire_decode(const uint8_t *bytes, size_t n, struct wire_message *out, struct gw_error *error);

/* Copies a string into a field of a message, cut at a whole character where it is too long; bytes that
 * a string may not hold become "?". */
void wire_put_text(char *field, size_t field_bytes, const char *text);

/* The notice board, one page of shared memory. */
#define WIRE_BOARD_BYTES GW_PAGE_BYTES
#define WIRE_BOARD_MAGIC "GW2BOARD"
/* linux/futex.h: FUTEX_OWNER_DIED and FUTEX_TID_MASK */
#define WIRE_OWNER_DIED UINT32_C(0x40000000)
#define WIRE_OWNER_TID_MASK UINT32_C(0x3fffffff)

/* The word at WIRE_BOARD_OWNER_AT: owner in the low half, epoch in the high one. */
static inline uint32_t wire_board_owner(uint64_t word)
{
	return (uint32_t)word;
}

static inline uint32_t wire_board_epoch(uint64_t word)
{
	return (uint32_t)(word >> 32);
}
