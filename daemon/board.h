/* SPDX-License-Identifier: MIT */
/* Notice boards: a page per model that tells clients the current generation, and that we live. */
#pragma once

#include <stdint.h>

#include "format/status.h"

struct gd_boards; /* all boards of this daemon */

struct gd_board {
	struct gd_boards *boards;
	uint32_t slot;
	int fd; /* read-only, for handing out reopened */
};

/*
 * Makes room for GD_MAX_MODELS boards and puts the calling thread's robust-futex list in charge of
 * their owner words: when that thread ends, however it ends, the kernel marks them. One per process;
 * replaces libc's list, so the thread must not use robust mutexes. Errors: GW_E_MEMORY, GW_E_IO.
 */
int gd_boards_new(struct gd_boards **out_boards, struct gw_error *error);
void gd_boards_free(struct gd_boards *boards); /* no board may be left; NULL is fine */

/* A board with epoch 0 and generation 0. Errors: GW_E_IO, GW_E_LIMIT. */
int gd_board_init(struct gd_board *board, struct gd_boards *boards, struct gw_error *error);
/*
 * The board of a daemon before us, whose inode number is said to be inode, once it is checked:
 * seals, size, kind, layout. Its owner word is not touched before gd_board_claim, which has to
 * follow. fd: consumed, on success alone. Errors: GW_E_FD_KIND, _FD_SEALS, _FD_OTHER, _LAYOUT,
 * _VERSION, _IO, _LIMIT.
 */
int gd_board_take(struct gd_board *board, struct gd_boards *boards, int fd, uint64_t inode,
		  struct gw_error *error);
/* Says on a board that was taken which generation its epoch is about, and then that we live. */
void gd_board_claim(struct gd_board *board, uint64_t generation, uint32_t epoch);
/* Takes leave: marks the owner as gone for those who still read it. */
void gd_board_deinit(struct gd_board *board);

/* Publishes a generation (0: none) and returns its epoch, which is the one before plus 1. */
uint32_t gd_board_publish(struct gd_board *board, uint64_t generation);
/* What stands on it. */
uint32_t gd_board_epoch(const struct gd_board *board);
uint64_t gd_board_generation(const struct gd_board *board);
/* Begins a board that nobody has yet at an epoch. */
void gd_board_begin_at(struct gd_board *board, uint64_t generation, uint32_t epoch);
