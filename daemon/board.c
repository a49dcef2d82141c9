/* SPDX-License-Identifier: MIT */
#include "daemon/board.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/limits.h"
#include "daemon/memfd.h"
#include "format/wire.h"

_Static_assert(WIRE_OWNER_DIED == FUTEX_OWNER_DIED && WIRE_OWNER_TID_MASK == FUTEX_TID_MASK,
	       "WIRE.md's bits are the kernel's");
_Static_assert(WIRE_BOARD_EPOCH_AT == WIRE_BOARD_OWNER_AT + 4 && WIRE_BOARD_OWNER_AT % 8 == 0,
	       "owner and epoch are one aligned word");

/*
 * The kernel finds an owner word by adding one fixed distance to a list entry's address
 * (set_robust_list(2)). The entries hold addresses of this process, so they must not lie in the shared
 * pages: they lie one page apart in private memory, the boards one page apart in another range, and
 * the distance between the two is the same for every slot.
 */
struct gd_boards {
	uint8_t *pages;   /* GD_MAX_MODELS pages, each PROT_NONE or a board */
	uint8_t *entries; /* as many pages, a struct robust_list at the start of each */
	struct robust_list_head head;
	bool used[GD_MAX_MODELS];
};

#define RANGE_BYTES (GD_MAX_MODELS * WIRE_BOARD_BYTES)

static struct robust_list *entry_of(struct gd_boards *boards, uint32_t slot)
{
	return (struct robust_list *)(void *)(boards->entries + slot * WIRE_BOARD_BYTES);
}

static uint8_t *page_of(const struct gd_board *board)
{
	return board->boards->pages + board->slot * WIRE_BOARD_BYTES;
}

/* The word of owner and epoch; aligned (asserted above), ours alone to write. */
static _Atomic uint64_t *word_of(const struct gd_board *board)
{
	return (_Atomic uint64_t *)(void *)(page_of(board) + WIRE_BOARD_OWNER_AT);
}

static _Atomic uint64_t *generation_of(const struct gd_board *board)
{
	return (_Atomic uint64_t *)(void *)(page_of(board) + WIRE_BOARD_GENERATION_AT);
}

int gd_boards_new(struct gd_boards **out_boards, struct gw_error *error)
{
	struct gd_boards *boards = calloc(1, sizeof *boards);

	if (!boards)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory for notice boards");
	boards->pages = mmap(NULL, RANGE_BYTES, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	boards->entries = mmap(NULL, RANGE_BYTES, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (boards->pages == MAP_FAILED || boards->entries == MAP_FAILED) {
		gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no address space for notice boards");
		gd_boards_free(boards);
		return GW_E_MEMORY;
	}
	boards->head.list.next = &boards->head.list;
	boards->head.futex_offset = boards->pages + WIRE_BOARD_OWNER_AT - boards->entries;
	if (syscall(SYS_set_robust_list, &boards->head, sizeof boards->head) < 0) {
		gw_fail_errno(error, errno, "set_robust_list failed");
		gd_boards_free(boards);
		return GW_E_IO;
	}
	*out_boards = boards;
	return GW_OK;
}

void gd_boards_free(struct gd_boards *boards)
{
	if (!boards)
		return;
	syscall(SYS_set_robust_list, NULL, sizeof boards->head);
	if (boards->pages != MAP_FAILED)
		munmap(boards->pages, RANGE_BYTES);
	if (boards->entries != MAP_FAILED)
		munmap(boards->entries, RANGE_BYTES);
	free(boards);
}

static int take_slot(struct gd_boards *boards, uint32_t *out_slot, struct gw_error *error)
{
	for (uint32_t i = 0; i < GD_MAX_MODELS; i++) {
		if (!boards->used[i]) {
			boards->used[i] = true;
			*out_slot = i;
			return GW_OK;
		}
	}
	return gw_fail(error, GW_E_LIMIT, GW_NO_OFFSET, "at most %d models", GD_MAX_MODELS);
}

/* Maps fd, a page, at the board's place and fills it. */
static int map_board(struct gd_board *board, int fd, struct gw_error *error)
{
	if (mmap(page_of(board), WIRE_BOARD_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		 fd, 0) == MAP_FAILED)
		return gw_fail_errno(error, errno, "cannot map a notice board");
	memcpy(page_of(board) + WIRE_BOARD_MAGIC_AT, WIRE_BOARD_MAGIC, WIRE_BOARD_MAGIC_SIZE);
	atomic_store(word_of(board), (uint64_t)gettid());
	return GW_OK;
}

/* The entry's pointer is set before the list leads to it: we may die between any two stores. */
static void link_entry(struct gd_boards *boards, uint32_t slot)
{
	struct robust_list *entry = entry_of(boards, slot);

	entry->next = boards->head.list.next;
	atomic_signal_fence(memory_order_seq_cst);
	boards->head.list.next = entry;
}

static void unlink_entry(struct gd_boards *boards, uint32_t slot)
{
	struct robust_list *entry = entry_of(boards, slot), *before = &boards->head.list;

	while (before->next != entry)
		before = before->next;
	before->next = entry->next;
}

int gd_board_init(struct gd_board *board, struct gd_boards *boards, struct gw_error *error)
{
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	int fd = -1, code;

	*board = (struct gd_board){ .boards = boards, .fd = -1 };
	code = take_slot(boards, &board->slot, error);
	if (code) {
		board->boards = NULL; /* so that gd_board_deinit leaves slot 0 alone */
		return code;
	}
	code = gd_memfd_new("gpt2d-board", 0, WIRE_BOARD_BYTES, &fd, error);
	if (!code)
		code = map_board(board, fd, error);
	if (!code)
		code = gd_memfd_seal(fd, seals, error);
	if (!code)
		code = gd_reopen(fd, &board->fd, error);
	if (fd >= 0)
		close(fd);
	if (code) {
		mmap(page_of(board), WIRE_BOARD_BYTES, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
		boards->used[board->slot] = false;
		board->boards = NULL;
		return code;
	}
	link_entry(boards, board->slot);
	return GW_OK;
}

void gd_board_deinit(struct gd_board *board)
{
	struct gd_boards *boards = board->boards;

	if (!boards)
		return;
	/* marked first: killed in between, the board would be left without a mark and off the list */
	atomic_fetch_or(word_of(board), WIRE_OWNER_DIED);
	unlink_entry(boards, board->slot);
	mmap(page_of(board), WIRE_BOARD_BYTES, PROT_NONE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	boards->used[board->slot] = false;
	close(board->fd);
	board->boards = NULL;
}

uint32_t gd_board_publish(struct gd_board *board, uint64_t generation)
{
	uint64_t word = atomic_load(word_of(board));
	uint32_t epoch = wire_board_epoch(word) + 1;

	atomic_store(generation_of(board), generation);
	atomic_store(word_of(board), (uint64_t)epoch << 32 | wire_board_owner(word));
	return epoch;
}
