/* SPDX-License-Identifier: MIT */
#include "tests/unit/client/rogue.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "format/bytes.h"
#include "format/superblock.h"
#include "tests/support/fixture.h"

static void *rogue_main(void *argument)
{
	struct rogue *rogue = argument;

	for (;;) {
		int connection = accept4(rogue->listener, NULL, NULL, SOCK_CLOEXEC);

		if (connection < 0)
			return NULL;
		rogue->serve(connection, rogue->context);
		close(connection);
	}
}

void rogue_start(struct rogue *rogue, void (*serve)(int connection, void *context), void *context)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	rogue->folder = fixture_folder_new();
	rogue->serve = serve;
	rogue->context = context;
	ck_assert_int_lt(snprintf(rogue->path, sizeof rogue->path, "%s/s", rogue->folder),
			 (int)sizeof rogue->path);
	memcpy(address.sun_path, rogue->path, sizeof rogue->path);
	rogue->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(rogue->listener, (struct sockaddr *)&address, sizeof address), 0);
	ck_assert_int_eq(listen(rogue->listener, 16), 0);
	ck_assert_int_eq(pthread_create(&rogue->thread, NULL, rogue_main, rogue), 0);
}

void rogue_stop(struct rogue *rogue)
{
	shutdown(rogue->listener, SHUT_RDWR);
	ck_assert_int_eq(pthread_join(rogue->thread, NULL), 0);
	close(rogue->listener);
	fixture_folder_free(rogue->folder);
}

uint32_t rogue_await(int connection)
{
	uint8_t bytes[WIRE_MAX_MESSAGE_BYTES];
	struct wire_message message;
	ssize_t got = recv(connection, bytes, sizeof bytes, 0);

	if (got <= 0)
		return 0;
	ck_assert_int_eq(wire_decode(bytes, (size_t)got, &message, NULL), 0);
	ck_assert_uint_eq(message.type, WIRE_ATTACH);
	return message.request;
}

void rogue_linger(int connection)
{
	uint8_t byte;

	while (recv(connection, &byte, 1, 0) > 0)
		;
}

void rogue_send_raw(int connection, const void *bytes, size_t n, const int *fds, size_t n_fds)
{
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(WIRE_MAX_FDS * sizeof(int))] = { 0 };
	struct iovec part = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = n };
	struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1 };

	if (n_fds) {
		struct cmsghdr *rights;

		header.msg_control = control;
		header.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		rights = CMSG_FIRSTHDR(&header);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(rights), fds, n_fds * sizeof(int));
	}
	/* the peer may be gone: that is what some tests are about */
	(void)!sendmsg(connection, &header, MSG_NOSIGNAL);
}

void rogue_send(int connection, const struct wire_message *message, const int *fds, size_t n_fds)
{
	uint8_t bytes[WIRE_MAX_MESSAGE_BYTES];

	rogue_send_raw(connection, bytes, wire_encode(message, bytes), fds, n_fds);
}

static int reopen(int fd, int open_flags)
{
	char path[64];
	int again;

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	again = open(path, open_flags | O_CLOEXEC);
	ck_assert_msg(again >= 0, "reopen: %s", strerror(errno));
	return again;
}

void rogue_offer_image(struct rogue_offer *offer, size_t tail_bytes, int seals, int open_flags)
{
	int fd = memfd_create("image", MFD_ALLOW_SEALING | MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, offer->pack, offer->pack_bytes), (ssize_t)offer->pack_bytes);
	ck_assert_int_eq(ftruncate(fd, (off_t)(offer->pack_bytes + tail_bytes)), 0);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
	if (offer->image_fd >= 0)
		close(offer->image_fd);
	offer->image_fd = reopen(fd, open_flags);
	close(fd);
}

void rogue_offer_board(struct rogue_offer *offer, size_t bytes, int seals, int open_flags)
{
	int fd = memfd_create("board", MFD_ALLOW_SEALING | MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)bytes), 0);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
	if (offer->board)
		munmap(offer->board, WIRE_BOARD_BYTES);
	offer->board = mmap(NULL, WIRE_BOARD_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(offer->board, MAP_FAILED);
	if (bytes >= WIRE_BOARD_BYTES) {
		memcpy(offer->board, WIRE_BOARD_MAGIC, WIRE_BOARD_MAGIC_SIZE);
		rogue_offer_write(offer, 4711, 1);
	}
	if (offer->board_fd >= 0)
		close(offer->board_fd);
	offer->board_fd = reopen(fd, open_flags);
	close(fd);
}

void rogue_offer_write(struct rogue_offer *offer, uint32_t owner, uint32_t epoch)
{
	__atomic_store_n(offer->board + WIRE_BOARD_OWNER_AT / 8, (uint64_t)epoch << 32 | owner,
			 __ATOMIC_RELEASE);
}

void rogue_offer_init(struct rogue_offer *offer)
{
	char *folder = fixture_folder_new();
	const char *path = fixture_path(folder, "p.gpt2w");
	struct gw_superblock superblock;

	*offer = (struct rogue_offer){ .image_fd = -1, .board_fd = -1 };
	fixture_pack(path, 97, 16, 33, GW_F32, GW_F16);
	offer->pack = fixture_read(path, &offer->pack_bytes);
	ck_assert_int_eq(gw_superblock_decode(offer->pack, offer->pack_bytes, 0, &superblock, NULL),
			 0);
	offer->reply = (struct wire_message){ .type = WIRE_ATTACHED };
	offer->reply.attached = (struct wire_attached){
		.generation = 42,
		.image_bytes = superblock.image_bytes,
		.content_id = superblock.content_id,
		.share = WIRE_SHARE_SEALED,
		.epoch = 1,
		.model = "gpt2",
	};
	rogue_offer_image(offer, 0, ROGUE_IMAGE_SEALS, O_RDONLY);
	rogue_offer_board(offer, WIRE_BOARD_BYTES, ROGUE_BOARD_SEALS, O_RDONLY);
	fixture_folder_free(folder);
}

void rogue_offer_deinit(struct rogue_offer *offer)
{
	close(offer->image_fd);
	close(offer->board_fd);
	munmap(offer->board, WIRE_BOARD_BYTES);
	free(offer->pack);
}

void rogue_serve_offer(int connection, void *context)
{
	const struct rogue_offer *offer = context;
	struct wire_message reply = offer->reply;
	int fds[] = { offer->image_fd, offer->board_fd };

	while ((reply.request = rogue_await(connection)) != 0)
		rogue_send(connection, &reply, fds, 2);
}

static gpt2c_store *const untouched = (gpt2c_store *)(uintptr_t)8;

/* Opens, expecting code; everything is as before where that is a failure. */
gpt2c_store *rogue_open_expecting(const struct rogue *rogue, const char *model, uint64_t timeout_ms,
				  uint64_t flags, int code, const char *text, const char *name)
{
	gpt2c_options options = GPT2C_OPTIONS_INIT;
	gpt2c_error error = GPT2C_ERROR_INIT;
	gpt2c_store *store = untouched;
	int result;

	options.socket_path = rogue->path;
	options.model = model;
	options.timeout_ms = timeout_ms;
	options.flags = flags;
	errno = 4242;
	result = gpt2c_open_with(&options, &store, &error);
	ck_assert_int_eq(errno, 4242);
	ck_assert_msg(result == code, "%s: %d instead of %d: %s", name, result, code,
		      error.message);
	if (code == GPT2C_OK)
		return store;
	ck_assert_ptr_eq(store, untouched);
	ck_assert_int_eq(error.code, code);
	ck_assert_msg(strstr(error.message, text) != NULL, "%s: %s", name, error.message);
	return NULL;
}
