/* SPDX-License-Identifier: MIT */
/* A daemon of a test's own making: a socket, a thread, and descriptors of every kind. */
#pragma once

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "format/wire.h"
#include "gpt2client.h"

struct rogue {
	char *folder;
	char path[WIRE_SOCKET_PATH_BYTES];
	int listener;
	pthread_t thread;
	void (*serve)(int connection, void *context);
	void *context;
};

/* Listens at rogue->path; every connection is given to serve (borrowed), one after the other. */
void rogue_start(struct rogue *rogue, void (*serve)(int connection, void *context), void *context);
/* Returns when the last serve has. */
void rogue_stop(struct rogue *rogue);

/* Waits for a request and returns its number; 0: the peer is gone. */
uint32_t rogue_await(int connection);
/* Waits until the peer is gone. */
void rogue_linger(int connection);
/* Sends bytes as they are, with any number of descriptors (borrowed). */
void rogue_send_raw(int connection, const void *bytes, size_t n, const int *fds, size_t n_fds);
void rogue_send(int connection, const struct wire_message *message, const int *fds, size_t n_fds);

/* What an attach gives. The descriptors are the offer's. */
struct rogue_offer {
	int image_fd, board_fd;
	uint64_t *board; /* its page, writable */
	struct wire_message reply;
	uint8_t *pack; /* its bytes */
	size_t pack_bytes;
};

#define ROGUE_IMAGE_SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define ROGUE_BOARD_SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

/* A genuine one, of a small pack with wte [97, 33] f32 and wpe [16, 33] f16. */
void rogue_offer_init(struct rogue_offer *offer);
void rogue_offer_deinit(struct rogue_offer *offer);
/* The same with new bytes in offer->pack. seals, open_flags: of the descriptor that is sent. */
void rogue_offer_image(struct rogue_offer *offer, size_t tail_bytes, int seals, int open_flags);
void rogue_offer_board(struct rogue_offer *offer, size_t bytes, int seals, int open_flags);
/* Sets owner and epoch of the board. */
void rogue_offer_write(struct rogue_offer *offer, uint32_t owner, uint32_t epoch);

/* A serve function: context is a struct rogue_offer, which every request is answered with. */
void rogue_serve_offer(int connection, void *context);

/*
 * Opens what rogue serves and expects code. On success returns the store; otherwise NULL, after
 * checking that the output is untouched, errno too, and that the message contains text. name: of
 * the case, for the failure's message.
 */
gpt2c_store *rogue_open_expecting(const struct rogue *rogue, const char *model, uint64_t timeout_ms,
				  uint64_t flags, int code, const char *text, const char *name);
