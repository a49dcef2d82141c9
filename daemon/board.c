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

#define BOARD_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
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

/* Maps fd, a page, at the board's place. */
static int map_board(struct gd_board *board, int fd, struct gw_error *error)
{
	if (mmap(page_of(board), WIRE_BOARD_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		 fd, 0) == MAP_FAILED)
		return gw_fail_errno(error, errno, "cannot map a notice board");
	return GW_OK;
}

static void unmap_board(struct gd_board *board)
{
	mmap(page_of(board), WIRE_BOARD_BYTES, PROT_NONE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	board->boards->used[board->slot] = false;
	board->boards = NULL;
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
		code = gd_memfd_seal(fd, BOARD_SEALS, error);
	if (!code)
		code = gd_reopen(fd, &board->fd, error);
	if (fd >= 0)
		close(fd);
	if (code) {
		unmap_board(board);
		return code;
	}
	memcpy(page_of(board) + WIRE_BOARD_MAGIC_AT, WIRE_BOARD_MAGIC, WIRE_BOARD_MAGIC_SIZE);
	gd_board_claim(board, 0, 0);
	return GW_OK;
}

/*
 * Maps what we have only a read-only descriptor of, and what nobody can open for writing: its mode
 * allows that for a moment, to our own user.
 */
static int map_again(struct gd_board *board, int fd, struct gw_error *error)
{
	char path[32];
	int code, own;

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (fchmod(fd, 0600) < 0)
		return gw_fail_errno(error, errno, "cannot change its mode");
	own = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);
	code = own < 0 ? gw_fail_errno(error, errno, "cannot reopen %s", path) :
			 map_board(board, own, error);
	if (own >= 0)
		close(own);
	if (fchmod(fd, 0444) < 0 && !code)
		code = gw_fail_errno(error, errno, "cannot change its mode");
	return code;
}

static int check_page(const struct gd_board *board, struct gw_error *error)
{
	if (memcmp(page_of(board) + WIRE_BOARD_MAGIC_AT, WIRE_BOARD_MAGIC,
		   WIRE_BOARD_MAGIC_SIZE) != 0)
		return gw_fail(error, GW_E_VERSION, GW_NO_OFFSET,
			       "it is no notice board of this version");
	return GW_OK;
}

int gd_board_take(struct gd_board *board, struct gd_boards *boards, int fd, uint64_t inode,
		  struct gw_error *error)
{
	struct stat status;
	int code = gd_memfd_check(fd, inode, BOARD_SEALS, F_SEAL_WRITE | F_SEAL_FUTURE_WRITE,
				  &status, error);

	if (code)
		return code;
	if (status.st_size != WIRE_BOARD_BYTES)
		return gw_fail(error, GW_E_LAYOUT, GW_NO_OFFSET,
			       "it has %lld bytes, a notice board %d", (long long)status.st_size,
			       (int)WIRE_BOARD_BYTES);
	*board = (struct gd_board){ .boards = boards, .fd = fd };
	code = take_slot(boards, &board->slot, error);
	if (code) {
		board->boards = NULL;
		return code;
	}
	code = map_again(board, fd, error);
	if (!code)
		code = check_page(board, error);
	if (code)
		unmap_board(board);
	return code;
}

/*
 * list_op_pending has the kernel mark the word if we end after it has our name and before it is on
 * the list: a board in the manager's store would else seem to have a daemon for ever.
 */
void gd_board_claim(struct gd_board *board, uint64_t generation, uint32_t epoch)
{
	struct gd_boards *boards = board->boards;

	atomic_store(generation_of(board), generation);
	boards->head.list_op_pending = entry_of(boards, board->slot);
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store(word_of(board), (uint64_t)epoch << 32 | (uint32_t)gettid());
	link_entry(boards, board->slot);
	atomic_signal_fence(memory_order_seq_cst);
	boards->head.list_op_pending = NULL;
}

void gd_board_deinit(struct gd_board *board)
{
	struct gd_boards *boards = board->boards;

	if (!boards)
		return;
	/* marked first: killed in between, the board would be left without a mark and off the list */
	atomic_fetch_or(word_of(board), WIRE_OWNER_DIED);
	unlink_entry(boards, board->slot);
	unmap_board(board);
	close(board->fd);
}

void gd_board_begin_at(struct gd_board *board, uint64_t generation, uint32_t epoch)
{
	uint64_t word = atomic_load(word_of(board));

	atomic_store(generation_of(board), generation);
	atomic_store(word_of(board), (uint64_t)epoch << 32 | wire_board_owner(word));
}

uint32_t gd_board_publish(struct gd_board *board, uint64_t generation)
{
	uint32_t epoch = gd_board_epoch(board) + 1;

	gd_board_begin_at(board, generation, epoch);
	return epoch;
}

uint32_t gd_board_epoch(const struct gd_board *board)
{
	return wire_board_epoch(atomic_load(word_of(board)));
}

uint64_t gd_board_generation(const struct gd_board *board)
{
	return atomic_load(generation_of(board));
}
