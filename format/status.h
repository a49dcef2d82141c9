/* SPDX-License-Identifier: MIT */
/* The one internal error enum, its words, and the record that carries details. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * 0 is done, negative is a failure and is forwarded unchanged. Values are pinned: tests and logs
 * quote them. A positive return is documented at the function that gives it.
 */
enum gw_status {
	GW_OK = 0,

	/* the caller and the system */
	GW_E_ARGUMENT = -1, /* a parameter breaks the function's contract */
	GW_E_MEMORY = -2,   /* an allocation or a mapping failed */
	GW_E_IO = -3,       /* a system call failed; see sys_errno */
	GW_E_EXISTS = -4,   /* the output is there already */
	GW_E_NOT_FILE = -5, /* not a regular file */
	GW_E_CHANGED = -6,  /* the file changed while it was read */
	GW_E_OUTPUT = -7,   /* the output cannot be this (directory, device, the input itself) */

	/* the pack and the image */
	GW_E_TRUNCATED = -10,         /* shorter than it says */
	GW_E_TRAILING = -11,          /* longer than it says */
	GW_E_MAGIC = -12,             /* not a pack */
	GW_E_VERSION = -13,           /* a major version that this release cannot read */
	GW_E_FEATURE = -14,           /* a required feature that this release does not have */
	GW_E_RESERVED = -15,          /* a reserved byte or bit is not zero */
	GW_E_SUPERBLOCK_DIGEST = -16, /* the superblock does not match its digest */
	GW_E_LIMIT = -17,             /* a count or size beyond limits.h */
	GW_E_LAYOUT = -18,            /* sizes or offsets that contradict each other */
	GW_E_DIRECTORY_DIGEST = -19,  /* the directory does not match its digest */
	GW_E_DIGESTS_DIGEST = -20,    /* the block digests do not match theirs */
	GW_E_PROVENANCE_DIGEST = -21, /* the provenance does not match its digest */
	GW_E_CONTENT_ID = -22,        /* the content id does not match the contents */
	GW_E_NAME = -23,              /* a name or string is empty, unterminated, no UTF-8 or unordered */
	GW_E_DTYPE = -24,             /* an element type that is unknown or not supported */
	GW_E_SHAPE = -25,             /* a rank or dimension that is not allowed, or a product too large */
	GW_E_ROLE = -26,              /* a role twice, missing, or on the wrong tensor */
	GW_E_STRIDE = -27,            /* row_bytes is not what the shape asks for */
	GW_E_ALIGNMENT = -28,         /* a tensor that is not on its boundary */
	GW_E_BOUNDS = -29,            /* a tensor that reaches past the end */
	GW_E_OVERLAP = -30,           /* a tensor that begins before the one before it ends */
	GW_E_PADDING = -31,           /* a byte of padding that is not zero */
	GW_E_BLOCK_DIGEST = -32,      /* a block does not match its digest */
	GW_E_BLOCK_CODE = -33,        /* a stored block is not what a block is decoded from */
	GW_E_STORED_DIGEST = -34,     /* the table of stored blocks does not match its digest */
	GW_E_STORED_BLOCK = -35,      /* a stored block does not match its digest */

	/* the socket */
	GW_E_PATH = -50,         /* a socket path that is empty or too long, or no place for one */
	GW_E_CONNECT = -51,      /* nobody listens; see sys_errno */
	GW_E_TIMEOUT = -52,      /* the peer did not answer in time */
	GW_E_CLOSED = -53,       /* the peer closed the connection */
	GW_E_WIRE_LENGTH = -54,  /* a message of the wrong length */
	GW_E_WIRE_MAGIC = -55,   /* not a message of this protocol */
	GW_E_WIRE_VERSION = -56, /* a version of the protocol that this release does not speak */
	GW_E_WIRE_TYPE = -57,    /* an unknown or unexpected type of message */
	GW_E_WIRE_FIELD = -58,   /* a field out of its range */
	GW_E_WIRE_FDS = -59,     /* too many or too few descriptors came with a message */

	/* descriptors that a daemon before us stored */
	GW_E_FD_KIND = -70,  /* no read-only descriptor of shared memory of ours */
	GW_E_FD_SEALS = -71, /* seals that it must not have, or lacks */
	GW_E_FD_OTHER = -72, /* not the one that its name says */

	/* checkpoints (tools) */
	GW_E_SOURCE = -80,        /* the checkpoint is malformed */
	GW_E_SOURCE_KIND = -81,   /* not a kind of checkpoint that this release reads */
	GW_E_SOURCE_TABLES = -82, /* the tables are missing, ambiguous or do not fit each other */
};

/* Where and why. offset is a byte offset in the file at fault, GW_NO_OFFSET where there is none. */
struct gw_error {
	int code;      /* enum gw_status */
	int sys_errno; /* errno of the failed call, else 0 */
	uint64_t offset;
	char message[512]; /* one sentence without a full stop; peers' and files' text is quoted */
};

#define GW_NO_OFFSET UINT64_MAX
#define GW_ERROR_INIT { .offset = GW_NO_OFFSET }

/* A fixed phrase for a code, never NULL; lives for ever. */
const char *gw_strstatus(int code);

/*
 * Fills error (may be NULL) and returns code, so that a failure is one statement:
 * return gw_fail(error, GW_E_LIMIT, 56, "%u tensors, at most %u", n, GW_MAX_TENSORS).
 */
int gw_fail(struct gw_error *error, int code, uint64_t offset, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* The same for a failed system call: GW_E_IO with the given errno, whose words are appended. */
int gw_fail_errno(struct gw_error *error, int sys_errno, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Copies text that a file or a peer supplied into out (NUL-terminated) for a message: what is not
 * printable ASCII or valid UTF-8 becomes \xNN, a long text is cut and ends in "...". Returns out.
 */
char *gw_quote(const char *text, size_t text_bytes, char *out, size_t out_bytes);
