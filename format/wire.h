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
	WIRE_STEER = 10,
	WIRE_STEERED = 11,
	WIRE_GENERATION = 12,
	WIRE_GENERATION_REPLY = 13,
	WIRE_CLIENT = 14,
	WIRE_CLIENT_REPLY = 15,
	WIRE_LAST_TYPE = WIRE_CLIENT_REPLY,
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
	WIRE_REASON_PERMISSION = 9,
};

enum wire_state {
	WIRE_STATE_NONE = 0,
	WIRE_STATE_LOADING,
	WIRE_STATE_SERVING,
	WIRE_STATE_FAILED,
	WIRE_STATE_UNLOADED,
};

enum wire_action { WIRE_ACTION_RELOAD = 1, WIRE_ACTION_LOAD = 2, WIRE_ACTION_UNLOAD = 3 };

/* Of a generation. */
enum wire_life { WIRE_LIFE_NONE = 0, WIRE_LIFE_CURRENT = 1, WIRE_LIFE_RETIRED = 2 };

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
	X(LISTED, MESSAGE, 1416, 256)                                                              \
	X(LISTED, BUSY, 1672, 4)                                                                   \
	X(LISTED, TAKEN_BACK, 1676, 4)                                                             \
	X(LISTED, RETIRED, 1680, 8)                                                                \
	X(LISTED, RETIRED_BYTES, 1688, 8)
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
	X(STATUS_REPLY, NOTE, 136, 256)                                                            \
	X(STATUS_REPLY, RETIRED, 392, 8)                                                           \
	X(STATUS_REPLY, RETIRED_BYTES, 400, 8)                                                     \
	X(STATUS_REPLY, MAX_BYTES, 408, 8)                                                         \
	X(STATUS_REPLY, MAX_RETIRED_BYTES, 416, 8)                                                 \
	X(STATUS_REPLY, PUBLISHED_TOTAL, 424, 8)                                                   \
	X(STATUS_REPLY, FAILED_TOTAL, 432, 8)                                                      \
	X(STATUS_REPLY, UNREAD_FDS, 440, 8)                                                        \
	X(STATUS_REPLY, MAX_UNREAD_FDS_PER_USER, 448, 8)
#define WIRE_STEER_FIELDS(X)                                                                       \
	X(STEER, ACTION, 16, 4)                                                                    \
	X(STEER, RESERVED, 20, 4)                                                                  \
	X(STEER, MODEL, 24, 256)
#define WIRE_STEERED_FIELDS(X)                                                                     \
	X(STEERED, N_MODELS, 16, 4)                                                                \
	X(STEERED, RESERVED, 20, 4)
#define WIRE_GENERATION_FIELDS(X)                                                                  \
	X(GENERATION, INDEX, 16, 4)                                                                \
	X(GENERATION, RESERVED, 20, 4)
#define WIRE_GENERATION_REPLY_FIELDS(X)                                                            \
	X(GENERATION_REPLY, INDEX, 16, 4)                                                          \
	X(GENERATION_REPLY, N_GENERATIONS, 20, 4)                                                  \
	X(GENERATION_REPLY, LIFE, 24, 4)                                                           \
	X(GENERATION_REPLY, SHARE, 28, 4)                                                          \
	X(GENERATION_REPLY, GENERATION, 32, 8)                                                     \
	X(GENERATION_REPLY, IMAGE_BYTES, 40, 8)                                                    \
	X(GENERATION_REPLY, RESIDENT_BYTES, 48, 8)                                                 \
	X(GENERATION_REPLY, HUGE_BYTES, 56, 8)                                                     \
	X(GENERATION_REPLY, ATTACHED, 64, 8)                                                       \
	X(GENERATION_REPLY, AGE_MS, 72, 8)                                                         \
	X(GENERATION_REPLY, CONTENT_ID, 80, 16)                                                    \
	X(GENERATION_REPLY, MODEL, 96, 256)
#define WIRE_CLIENT_FIELDS(X)                                                                      \
	X(CLIENT, INDEX, 16, 4)                                                                    \
	X(CLIENT, RESERVED, 20, 4)
#define WIRE_CLIENT_REPLY_FIELDS(X)                                                                \
	X(CLIENT_REPLY, INDEX, 16, 4)                                                              \
	X(CLIENT_REPLY, N_CLIENTS, 20, 4)                                                          \
	X(CLIENT_REPLY, UID, 24, 4)                                                                \
	X(CLIENT_REPLY, PID, 28, 4)                                                                \
	X(CLIENT_REPLY, GENERATION, 32, 8)                                                         \
	X(CLIENT_REPLY, UNREAD_FDS, 40, 8)                                                         \
	X(CLIENT_REPLY, AGE_MS, 48, 8)                                                             \
	X(CLIENT_REPLY, MODEL, 56, 256)
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
	WIRE_STATUS_REPLY_FIELDS(X) WIRE_STEER_FIELDS(X) WIRE_STEERED_FIELDS(X)
	WIRE_GENERATION_FIELDS(X) WIRE_GENERATION_REPLY_FIELDS(X) WIRE_CLIENT_FIELDS(X)
	WIRE_CLIENT_REPLY_FIELDS(X) WIRE_BOARD_FIELDS(X)
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
	uint32_t busy; /* 1: its pack is being looked at or loaded */
	uint32_t taken_back; /* 1: its image is that of the daemon before */
	uint64_t retired, retired_bytes;
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
	uint64_t retired, retired_bytes;
	uint64_t max_bytes, max_retired_bytes;
	uint64_t published_total, failed_total;
	uint64_t unread_fds, max_unread_fds_per_user;
};

struct wire_steer {
	uint32_t action; /* enum wire_action */
	char model[WIRE_MODEL_BYTES]; /* "": all, of WIRE_ACTION_RELOAD only */
};

struct wire_steered {
	uint32_t n_models;
};

struct wire_generation {
	uint32_t index;
};

struct wire_generation_reply {
	uint32_t index, n_generations;
	uint32_t life; /* enum wire_life */
	uint32_t share;
	uint64_t generation;
	uint64_t image_bytes, resident_bytes, huge_bytes;
	uint64_t attached;
	uint64_t age_ms;
	struct gw_digest content_id;
	char model[WIRE_MODEL_BYTES];
};

struct wire_client {
	uint32_t index;
};

struct wire_client_reply {
	uint32_t index, n_clients;
	uint32_t uid, pid;
	uint64_t generation;
	uint64_t unread_fds;
	uint64_t age_ms;
	char model[WIRE_MODEL_BYTES];
};

/* resident_bytes that cannot be found out. */
#define WIRE_UNKNOWN UINT64_MAX

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
		struct wire_steer steer;
		struct wire_steered steered;
		struct wire_generation generation;
		struct wire_generation_reply generation_reply;
		struct wire_client client;
		struct wire_client_reply client_reply;
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
