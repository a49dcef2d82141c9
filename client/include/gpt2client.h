/* SPDX-License-Identifier: MIT */
/*
 * gpt2client - GPT-2's token and position tables from a gpt2d daemon or a pack file, shared and
 * verified; rows without a copy and the input embeddings computed from them.
 *
 * The library makes no threads, installs no signal handlers, prints nothing, never ends the process
 * and never waits without a limit. It leaves errno as it was.
 */
#ifndef GPT2CLIENT_H
#define GPT2CLIENT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GPT2C_VERSION_MAJOR 0
#define GPT2C_VERSION_MINOR 2
#define GPT2C_VERSION_PATCH 0

/* Element types, as in a pack's directory. GPT2C_NONE: no such table. */
#define GPT2C_NONE 0
#define GPT2C_F32 1
#define GPT2C_F16 2  /* IEEE binary16 */
#define GPT2C_BF16 3 /* the upper half of an f32 */
#define GPT2C_I8 4   /* int8 with one f32 scale per row: a value is (float)q * scale, rounded once */

#define GPT2C_MAX_RANK 8

/* Flags of gpt2c_options. */
#define GPT2C_ALLOW_UNSEALED 0x1 /* accept a daemon that shares the pack's own file (--share file) */
#define GPT2C_COPY_ON_WRITE 0x2  /* map writable; writes stay in this process */
#define GPT2C_NO_VERIFY 0x4      /* gpt2c_open_file without checking the tensors' digests */
#define GPT2C_POPULATE 0x8       /* touch all pages while opening */

/* Flags of gpt2c_info. */
#define GPT2C_INFO_SEALED 0x1   /* nothing can change or truncate the image */
#define GPT2C_INFO_DAEMON 0x2   /* attached to a daemon, not opened as a file */
#define GPT2C_INFO_VERIFIED 0x4 /* every byte was checked: by the daemon, or when the file was opened */
#define GPT2C_INFO_EXPANDED 0x8 /* a compressed pack, expanded into this process' own memory */

/* What gpt2c_state says. */
#define GPT2C_CURRENT 0    /* the daemon serves this generation (always so for a file) */
#define GPT2C_SUPERSEDED 1 /* the daemon serves another generation, or none, under this name */
#define GPT2C_ORPHANED 2   /* the daemon is gone; the image stays valid */

/* Errors. Values are pinned. */
#define GPT2C_OK 0
#define GPT2C_E_ARGUMENT (-1)      /* a NULL or unknown argument, or a struct whose size is 0 */
#define GPT2C_E_MEMORY (-2)        /* no memory, or no room to map the image */
#define GPT2C_E_SYSTEM (-3)        /* another system call failed; see sys_errno */
#define GPT2C_E_ID (-10)           /* a token id outside 0 … n_vocab-1; index says which */
#define GPT2C_E_POSITION (-11)     /* a position outside 0 … n_positions-1; index says which token */
#define GPT2C_E_SIZE (-12)         /* no tokens, or sizes whose product does not fit */
#define GPT2C_E_NO_TENSOR (-13)    /* no tensor of that name or index */
#define GPT2C_E_NO_DAEMON (-20)    /* nobody listens on the socket */
#define GPT2C_E_ACCESS (-21)       /* no permission to connect, or to open the file */
#define GPT2C_E_TIMEOUT (-22)      /* the daemon accepted but did not answer in time */
#define GPT2C_E_LOADING (-23)      /* the model was still being loaded when the time was up */
#define GPT2C_E_NO_MODEL (-24)     /* the daemon has no such model, or several and none was named */
#define GPT2C_E_LOAD_FAILED (-25)  /* the daemon could not load the model; the message says why */
#define GPT2C_E_REFUSED (-26)      /* the daemon refused: a limit, or a lack of resources */
#define GPT2C_E_PROTOCOL (-27)     /* what answers is no gpt2d, or speaks another version */
#define GPT2C_E_CLOSED (-28)       /* the daemon closed the connection */
#define GPT2C_E_UNSEALED (-30)     /* the image can be changed or truncated by others */
#define GPT2C_E_IMAGE (-31)        /* the descriptor is no image: wrong kind, size or mode */
#define GPT2C_E_NOT_FOUND (-40)    /* no such file */
#define GPT2C_E_NOT_A_PACK (-41)   /* the file is not a gpt2w pack */
#define GPT2C_E_VERSION (-42)      /* a pack of a version or with a feature not supported here */
#define GPT2C_E_TRUNCATED (-43)    /* the file is shorter or longer than it says */
#define GPT2C_E_CORRUPT (-44)      /* a digest, or bytes that must be zero, do not match */
#define GPT2C_E_MALFORMED (-45)    /* fields that contradict each other or exceed a limit */

typedef struct gpt2c_store gpt2c_store;

/*
 * Details of a failure. Set size with GPT2C_ERROR_INIT. A call that succeeds leaves it alone.
 */
typedef struct gpt2c_error {
	uint64_t size;     /* sizeof(gpt2c_error) */
	int32_t code;      /* the GPT2C_E_… that the call returned */
	int32_t sys_errno; /* errno of the system call at fault, or 0 */
	int64_t index;     /* index of the id or position at fault, or byte offset in a file; else -1 */
	char message[256]; /* one sentence, NUL-terminated, UTF-8 */
} gpt2c_error;

#define GPT2C_ERROR_INIT { sizeof(gpt2c_error), 0, 0, -1, { 0 } }

/*
 * How to open. Set size with GPT2C_OPTIONS_INIT; a smaller size leaves the later fields at 0.
 */
typedef struct gpt2c_options {
	uint64_t size;           /* sizeof(gpt2c_options) */
	const char *socket_path; /* NULL: see gpt2c_open; borrowed for the call */
	const char *model;       /* NULL: the only model served; borrowed for the call */
	const char *file;        /* open this pack, without a daemon; then socket_path and model must be
				    NULL; borrowed for the call */
	uint64_t timeout_ms;     /* limit for the whole call; 0: 5 s for the daemon to answer and 60 s for
				    a model that is loading */
	uint64_t flags;          /* GPT2C_ALLOW_UNSEALED … */
} gpt2c_options;

#define GPT2C_OPTIONS_INIT { sizeof(gpt2c_options), NULL, NULL, NULL, 0, 0 }

/* What is open. Set size to sizeof(gpt2c_info) before the call. */
typedef struct gpt2c_info {
	uint64_t size;
	uint64_t n_vocab;       /* rows of wte */
	uint64_t n_positions;   /* rows of wpe; 0: no position table */
	uint64_t n_embd;        /* elements of a row */
	uint64_t n_layer;       /* 0: the pack does not say */
	uint64_t n_head;        /* 0: the pack does not say */
	uint64_t n_tensors;     /* for gpt2c_get_tensor_at */
	uint64_t generation;    /* 0 for a file */
	uint8_t content_id[16]; /* equal for equal tensors, whoever packed them */
	uint32_t wte_dtype;     /* GPT2C_F32 … */
	uint32_t wpe_dtype;     /* GPT2C_NONE without a position table */
	uint32_t flags;         /* GPT2C_INFO_… */
	uint32_t reserved;      /* 0 */
	uint64_t image_bytes;   /* size of the image */
} gpt2c_info;

/* One tensor where it lies. Set size to sizeof(gpt2c_tensor) before the call. */
typedef struct gpt2c_tensor {
	uint64_t size;
	const char *name;     /* lives as long as the store */
	const void *data;     /* row 0; lives as long as the store; read-only unless GPT2C_COPY_ON_WRITE */
	const float *scales;  /* of GPT2C_I8: one per row, as long-lived as data; else NULL */
	uint32_t dtype;       /* GPT2C_F32 … */
	uint32_t rank;        /* 0 … GPT2C_MAX_RANK */
	uint64_t shape[GPT2C_MAX_RANK]; /* outermost first; 0 from rank on */
	uint64_t row_bytes;   /* from one row to the next; divided by the element's size, the leading
				 dimension for a GEMM */
} gpt2c_tensor;

/*
 * Attaches to a model of a daemon: one round trip and one mapping.
 *   socket_path  NULL: $GPT2D_SOCKET, else $XDG_RUNTIME_DIR/gpt2d.sock where it exists (both ignored in
 *                set-uid programs), else /run/gpt2d/gpt2d.sock
 *   model        NULL: the only one served
 *   out_store    receives a store with one reference, for gpt2c_close; untouched on failure
 *   error        details, may be NULL
 * Waits at most 5 s for the daemon and 60 s for a model that is loading. Seals, size, type and all
 * metadata of the image are checked before any of it is used.
 * Errors: GPT2C_E_ARGUMENT, _MEMORY, _SYSTEM, _NO_DAEMON, _ACCESS, _TIMEOUT, _LOADING, _NO_MODEL,
 * _LOAD_FAILED, _REFUSED, _PROTOCOL, _CLOSED, _UNSEALED, _IMAGE, and for an image that is no valid pack
 * those of gpt2c_open_file. Thread-safe. Since 0.1.
 */
int gpt2c_open(const char *socket_path, const char *model, gpt2c_store **out_store, gpt2c_error *error);

/*
 * Opens a pack without a daemon and checks every byte of it: the mapping is the file's own, so a file
 * that is truncated while it is open ends the process with SIGBUS; a daemon's sealed image cannot be.
 * A compressed pack is expanded by this call, on one core, into image_bytes of memory that no other
 * process shares (GPT2C_INFO_EXPANDED), with libzstd.so.1, which is loaded for it; a daemon does that
 * once for all.
 * Errors: GPT2C_E_ARGUMENT, _MEMORY, _SYSTEM, _NOT_FOUND, _ACCESS, _NOT_A_PACK, _VERSION, _TRUNCATED,
 * _CORRUPT, _MALFORMED; _VERSION also where a compressed pack needs a libzstd that is not there. Blocks
 * while it reads the file. Thread-safe. Since 0.1.
 */
int gpt2c_open_file(const char *path, gpt2c_store **out_store, gpt2c_error *error);

/*
 * Either of the two, with a limit of time and flags. Unknown flags are GPT2C_E_ARGUMENT.
 * Errors: as gpt2c_open and gpt2c_open_file. Thread-safe. Since 0.1.
 */
int gpt2c_open_with(const gpt2c_options *options, gpt2c_store **out_store, gpt2c_error *error);

/*
 * The current generation of store's model, as a store of its own: attaches anew to the socket and the
 * model that store was opened with, by the names that were found then, with the same limit of time and
 * the same flags. Works after the daemon was restarted, and also if nothing has changed: then the new
 * store has the same generation.
 *   store      of a daemon; it stays as it is, with all pointers into it, until gpt2c_close
 *   out_store  receives a store with one reference, for gpt2c_close; untouched on failure
 *   error      details, may be NULL
 * Errors: GPT2C_E_ARGUMENT (a NULL, or store is of a file), and as gpt2c_open. Thread-safe. Since 0.2.
 */
int gpt2c_refresh(const gpt2c_store *store, gpt2c_store **out_store, gpt2c_error *error);

/* Adds a reference and returns store; NULL gives NULL. Thread-safe. Since 0.1. */
gpt2c_store *gpt2c_ref(gpt2c_store *store);

/*
 * Drops a reference; the last one unmaps the image and closes the connection, and every pointer into
 * the store ends. NULL is fine. Thread-safe. Since 0.1.
 */
void gpt2c_close(gpt2c_store *store);

/* Sizes, types, generation. Errors: GPT2C_E_ARGUMENT. Thread-safe. Since 0.1. */
int gpt2c_get_info(const gpt2c_store *store, gpt2c_info *out_info);

/*
 * A tensor by name; the tables are called "wte.weight" and "wpe.weight". wte is GPT-2's output head
 * too: one [n_vocab, n_embd] matrix with leading dimension row_bytes / element size. Rows of GPT2C_I8
 * have a scale each: element i of row r is (float)q[i] * scales[r].
 * Errors: GPT2C_E_ARGUMENT, _NO_TENSOR. Thread-safe. Since 0.1.
 */
int gpt2c_get_tensor(const gpt2c_store *store, const char *name, gpt2c_tensor *out_tensor);

/* A tensor by its place, 0 … n_tensors-1, in ascending order of name. Otherwise the same. */
int gpt2c_get_tensor_at(const gpt2c_store *store, uint64_t index, gpt2c_tensor *out_tensor);

/*
 * GPT2C_CURRENT, GPT2C_SUPERSEDED or GPT2C_ORPHANED: one atomic load, no system call. GPT2C_CURRENT for
 * a file and for NULL. Thread-safe. Since 0.1.
 */
int gpt2c_state(const gpt2c_store *store);

/*
 * The connection, to wait on with poll: readable when there is news (look at gpt2c_state then), or when
 * the daemon is gone. Borrowed: not to be read, written or closed. -1 for a file. Since 0.1.
 */
int gpt2c_get_fd(const gpt2c_store *store);

/* A fixed phrase for a code; never NULL, lives for ever. Thread-safe. Since 0.1. */
const char *gpt2c_strerror(int code);

/* The library's version, "MAJOR.MINOR.PATCH"; lives for ever. Since 0.1. */
const char *gpt2c_version(void);

/*
 * Pointers to wte's rows where they lie.
 *   ids       [n], each 0 … n_vocab-1
 *   out_rows  [n], receives pointers to rows of n_embd elements of wte_dtype, each on a 64-byte
 *             boundary; they live as long as the store. Rows of GPT2C_I8 are the bytes alone: the
 *             scale of ids[i]'s is gpt2c_tensor.scales[ids[i]] of "wte.weight"
 * On failure out_rows is untouched. Errors: GPT2C_E_ARGUMENT, _SIZE (n is 0), _ID with the index.
 * Thread-safe. Since 0.1.
 */
int gpt2c_rows(const gpt2c_store *store, const int32_t *ids, size_t n, const void **out_rows,
	       gpt2c_error *error);

/*
 * Checks n rows of the tensor called name, from row first on, against the digests of the blocks that hold
 * them (256 KiB each) and, of GPT2C_I8, their scales: for a pack opened with GPT2C_NO_VERIFY, whose
 * tables are too large to be read whole. It says what is in memory now: of a file that others can write
 * to, nothing about later, and rows that this process has written to (GPT2C_COPY_ON_WRITE) are bad.
 * A bad block's index is its offset in the image. Errors: GPT2C_E_ARGUMENT, _NO_TENSOR, _SIZE (no rows,
 * or beyond the last), _CORRUPT. Reads the blocks whole; thread-safe. Since 0.2.
 */
int gpt2c_verify_rows(const gpt2c_store *store, const char *name, uint64_t first, uint64_t n,
		      gpt2c_error *error);

/*
 * GPT-2's input embeddings: out[b,t,:] = wte[ids[b,t],:] + wpe[past+t,:], in f32, one rounding per
 * sum; f16 and bf16 are widened first, exactly; int8 is multiplied by its row's scale, which is a
 * rounding of its own. The same bits on every machine (NaN payloads aside) in the default floating-point
 * environment. An int8 table differs from the one that was packed by at most half a scale per element,
 * where the packer rounded to the nearest, besides these roundings.
 *   ids   [batch, seq], row-major, each 0 … n_vocab-1
 *   past  number of tokens that are in the cache already: the position of each sequence's first token
 *   out   [batch, seq, n_embd] f32, row-major, aligned as a float; must not overlap ids
 * Without a position table, out is the token embeddings and past is ignored. On failure out is
 * untouched. Errors: GPT2C_E_ARGUMENT, _SIZE, _ID and _POSITION with the index b*seq+t.
 * Thread-safe. Since 0.1.
 */
int gpt2c_embed(const gpt2c_store *store, const int32_t *ids, size_t batch, size_t seq, size_t past,
		float *out, gpt2c_error *error);

/*
 * The same with one position per token, for left-padded batches.
 *   ids        [n], each 0 … n_vocab-1
 *   positions  [n], each 0 … n_positions-1; NULL: token embeddings alone, out[i,:] = wte[ids[i],:]
 *   out        [n, n_embd] f32
 * Errors: GPT2C_E_ARGUMENT, _SIZE, _ID and _POSITION with the index; positions given for a pack without
 * a position table are GPT2C_E_POSITION. Thread-safe. Since 0.1.
 */
int gpt2c_embed_at(const gpt2c_store *store, const int32_t *ids, const int32_t *positions, size_t n,
		   float *out, gpt2c_error *error);

/*
 * One part of gpt2c_embed, for a thread of the caller's: the library makes none. Called once for each
 * part 0 … n_parts-1, in any order or at once, with arguments otherwise equal, it gives what one call
 * of gpt2c_embed gives. Parts divide the positions of all sequences among them, so that each row of wpe
 * is read by one of them (or the sequences, where that is fairer), and write no cache line in common,
 * unless n_embd is less than 16. Where tokens are fewer than parts, some have nothing to do.
 *   part     0 … n_parts-1
 *   n_parts  as many as there are threads
 * Every part checks all ids, so that all fail alike, before any of out is written. Errors: as gpt2c_embed,
 * and GPT2C_E_ARGUMENT for a part that does not exist. Thread-safe. Since 0.2.
 */
int gpt2c_embed_part(const gpt2c_store *store, const int32_t *ids, size_t batch, size_t seq,
		     size_t past, float *out, size_t part, size_t n_parts, gpt2c_error *error);

/*
 * Starts wte's rows of ids on their way into the L2 cache and returns without waiting for them, so that
 * gpt2c_rows' pointers or gpt2c_embed find them there. A cache has room for some dozens to hundreds of
 * rows; more push each other out.
 *   ids  [n], each 0 … n_vocab-1; n may be 0
 * Errors: GPT2C_E_ARGUMENT, and GPT2C_E_ID, when no row is started. Thread-safe. Since 0.2.
 */
int gpt2c_prefetch(const gpt2c_store *store, const int32_t *ids, size_t n);

#ifdef __cplusplus
}
#endif

#endif
