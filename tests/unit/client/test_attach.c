/* SPDX-License-Identifier: MIT */
/* Attaching: descriptors that are not what was agreed, and those that are. */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/bytes.h"
#include "format/endpoint.h"
#include "format/superblock.h"
#include "gpt2client.h"
#include "tests/support/fixture.h"
#include "tests/unit/client/rogue.h"

static gpt2c_store *const untouched = (gpt2c_store *)(uintptr_t)8;

static void spoil_nothing(struct rogue_offer *offer)
{
	(void)offer;
}

static void spoil_tail(struct rogue_offer *offer)
{
	rogue_offer_image(offer, (2 << 20) - 4096, ROGUE_IMAGE_SEALS, O_RDONLY);
}

static void spoil_long_tail(struct rogue_offer *offer)
{
	rogue_offer_image(offer, 2 << 20, ROGUE_IMAGE_SEALS, O_RDONLY);
}

static void spoil_no_seals(struct rogue_offer *offer)
{
	rogue_offer_image(offer, 0, 0, O_RDONLY);
}

static void spoil_no_write_seal(struct rogue_offer *offer)
{
	rogue_offer_image(offer, 0, ROGUE_IMAGE_SEALS & ~F_SEAL_WRITE, O_RDONLY);
}

static void spoil_no_shrink_seal(struct rogue_offer *offer)
{
	rogue_offer_image(offer, 0, ROGUE_IMAGE_SEALS & ~F_SEAL_SHRINK, O_RDONLY);
}

static void spoil_no_grow_seal(struct rogue_offer *offer)
{
	rogue_offer_image(offer, 0, ROGUE_IMAGE_SEALS & ~F_SEAL_GROW, O_RDONLY);
}

static void spoil_no_seal_seal(struct rogue_offer *offer)
{
	rogue_offer_image(offer, 0, ROGUE_IMAGE_SEALS & ~F_SEAL_SEAL, O_RDONLY);
}

static void spoil_short(struct rogue_offer *offer)
{
	offer->pack_bytes -= 4096;
	rogue_offer_image(offer, 0, ROGUE_IMAGE_SEALS, O_RDONLY);
}

static void spoil_empty(struct rogue_offer *offer)
{
	offer->pack_bytes = 0;
	rogue_offer_image(offer, 0, ROGUE_IMAGE_SEALS, O_RDONLY);
	offer->reply.attached.image_bytes = 0;
}

static void spoil_announced_size(struct rogue_offer *offer)
{
	offer->reply.attached.image_bytes -= 4096;
}

static void spoil_limit(struct rogue_offer *offer)
{
	offer->reply.attached.image_bytes = GW_MAX_IMAGE_BYTES + 4096;
}

/* As large as it says, and nothing in it. */
static void spoil_hole(struct rogue_offer *offer)
{
	offer->pack_bytes = 0;
	rogue_offer_image(offer, 3 << 20, ROGUE_IMAGE_SEALS, O_RDONLY);
	offer->reply.attached.image_bytes = 3 << 20;
}

static void spoil_writable(struct rogue_offer *offer)
{
	rogue_offer_image(offer, 0, ROGUE_IMAGE_SEALS, O_RDWR);
}

static void replace_fd(int *fd, int with)
{
	ck_assert_int_ge(with, 0);
	close(*fd);
	*fd = with;
}

static void spoil_path_only(struct rogue_offer *offer)
{
	rogue_offer_image(offer, 0, ROGUE_IMAGE_SEALS, O_PATH);
}

static int pipe_end(void)
{
	int ends[2];

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	close(ends[1]);
	return ends[0];
}

static void spoil_pipe(struct rogue_offer *offer)
{
	replace_fd(&offer->image_fd, pipe_end());
}

static void spoil_directory(struct rogue_offer *offer)
{
	replace_fd(&offer->image_fd, open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static void spoil_device(struct rogue_offer *offer)
{
	replace_fd(&offer->image_fd, open("/dev/zero", O_RDONLY | O_CLOEXEC));
}

static void spoil_magic(struct rogue_offer *offer)
{
	offer->pack[0] ^= 1;
	rogue_offer_image(offer, 0, ROGUE_IMAGE_SEALS, O_RDONLY);
}

static void spoil_byte(struct rogue_offer *offer)
{
	offer->pack[GW_DIRECTORY_OFFSET + GW_DE_SHAPE] ^= 1;
	rogue_offer_image(offer, 0, ROGUE_IMAGE_SEALS, O_RDONLY);
}

/* All digests right, the contents hostile: a tensor far past the end. */
static void spoil_forged(struct rogue_offer *offer)
{
	struct gw_bytes pack = gw_bytes_write(offer->pack, offer->pack_bytes);

	gw_put_u64(&pack, GW_DIRECTORY_OFFSET + GW_DE_DATA_OFFSET, UINT64_C(1) << 40);
	fixture_repair(offer->pack, offer->pack_bytes);
	rogue_offer_image(offer, 0, ROGUE_IMAGE_SEALS, O_RDONLY);
}

static void spoil_forged_shape(struct rogue_offer *offer)
{
	struct gw_bytes pack = gw_bytes_write(offer->pack, offer->pack_bytes);

	gw_put_u64(&pack, GW_DIRECTORY_OFFSET + GW_DE_SHAPE, UINT32_MAX);
	fixture_repair(offer->pack, offer->pack_bytes);
	rogue_offer_image(offer, 0, ROGUE_IMAGE_SEALS, O_RDONLY);
}

static void spoil_content_id(struct rogue_offer *offer)
{
	offer->reply.attached.content_id.bytes[3] ^= 1;
}

static void spoil_file(struct rogue_offer *offer)
{
	char *folder = fixture_folder_new();
	const char *path = fixture_path(folder, "p.gpt2w");

	fixture_write(path, offer->pack, offer->pack_bytes);
	replace_fd(&offer->image_fd, open(path, O_RDONLY | O_CLOEXEC));
	offer->reply.attached.share = WIRE_SHARE_FILE;
	fixture_folder_free(folder);
}

static void spoil_file_magic(struct rogue_offer *offer)
{
	offer->pack[0] ^= 1;
	spoil_file(offer);
}

static void spoil_board_short(struct rogue_offer *offer)
{
	rogue_offer_board(offer, 24, ROGUE_BOARD_SEALS, O_RDONLY);
}

static void spoil_board_long(struct rogue_offer *offer)
{
	rogue_offer_board(offer, 2 * WIRE_BOARD_BYTES, ROGUE_BOARD_SEALS, O_RDONLY);
}

static void spoil_board_unsealed(struct rogue_offer *offer)
{
	rogue_offer_board(offer, WIRE_BOARD_BYTES, F_SEAL_GROW, O_RDONLY);
}

static void spoil_board_file(struct rogue_offer *offer)
{
	char *folder = fixture_folder_new();
	const char *path = fixture_path(folder, "board");

	fixture_write(path, offer->board, WIRE_BOARD_BYTES);
	replace_fd(&offer->board_fd, open(path, O_RDONLY | O_CLOEXEC));
	fixture_folder_free(folder);
}

static void spoil_board_writable(struct rogue_offer *offer)
{
	rogue_offer_board(offer, WIRE_BOARD_BYTES, ROGUE_BOARD_SEALS, O_RDWR);
}

static void spoil_board_magic(struct rogue_offer *offer)
{
	((char *)offer->board)[7] = 'd';
}

static void spoil_board_pipe(struct rogue_offer *offer)
{
	replace_fd(&offer->board_fd, pipe_end());
}

static void spoil_order(struct rogue_offer *offer)
{
	int fd = offer->image_fd;

	offer->image_fd = offer->board_fd;
	offer->board_fd = fd;
}

static const struct {
	const char *name;
	void (*spoil)(struct rogue_offer *offer);
	uint64_t flags;
	int code;
	const char *text;
} offers[] = {
	{ "genuine", spoil_nothing, 0, GPT2C_OK, "" },
	{ "genuine, populated", spoil_nothing, GPT2C_POPULATE, GPT2C_OK, "" },
	{ "genuine, writable", spoil_nothing, GPT2C_COPY_ON_WRITE | GPT2C_POPULATE, GPT2C_OK, "" },
	{ "tail below 2 MiB", spoil_tail, 0, GPT2C_OK, "" },
	{ "tail of 2 MiB", spoil_long_tail, 0, GPT2C_E_IMAGE, "announced" },
	{ "no seal", spoil_no_seals, 0, GPT2C_E_UNSEALED, "missing: WRITE, SHRINK, GROW, SEAL" },
	{ "no seal, allowed", spoil_no_seals, GPT2C_ALLOW_UNSEALED, GPT2C_OK, "" },
	{ "no WRITE", spoil_no_write_seal, 0, GPT2C_E_UNSEALED, "missing: WRITE" },
	{ "no SHRINK", spoil_no_shrink_seal, 0, GPT2C_E_UNSEALED, "missing: SHRINK" },
	{ "no GROW", spoil_no_grow_seal, 0, GPT2C_E_UNSEALED, "missing: GROW" },
	{ "no SEAL", spoil_no_seal_seal, 0, GPT2C_E_UNSEALED, "missing: SEAL" },
	{ "short", spoil_short, 0, GPT2C_E_IMAGE, "announced" },
	{ "empty", spoil_empty, 0, GPT2C_E_IMAGE, "0 bytes" },
	{ "announced smaller", spoil_announced_size, 0, GPT2C_E_IMAGE, "not the one" },
	{ "over the limit", spoil_limit, 0, GPT2C_E_IMAGE, "at most" },
	{ "a hole", spoil_hole, GPT2C_POPULATE, GPT2C_E_NOT_A_PACK, "image: " },
	{ "writable", spoil_writable, 0, GPT2C_E_IMAGE, "reading only" },
	{ "O_PATH", spoil_path_only, 0, GPT2C_E_IMAGE, "reading only" },
	{ "pipe", spoil_pipe, 0, GPT2C_E_IMAGE, "not memory or a file" },
	{ "directory", spoil_directory, 0, GPT2C_E_IMAGE, "not memory or a file" },
	{ "directory, unsealed", spoil_directory, GPT2C_ALLOW_UNSEALED, GPT2C_E_IMAGE,
	  "not memory" },
	{ "device", spoil_device, GPT2C_ALLOW_UNSEALED, GPT2C_E_IMAGE, "not memory or a file" },
	{ "magic", spoil_magic, 0, GPT2C_E_NOT_A_PACK, "image: " },
	{ "one byte", spoil_byte, 0, GPT2C_E_CORRUPT, "image: " },
	{ "forged offset", spoil_forged, 0, GPT2C_E_MALFORMED, "image: " },
	{ "forged shape", spoil_forged_shape, 0, GPT2C_E_MALFORMED, "image: " },
	{ "content id", spoil_content_id, 0, GPT2C_E_IMAGE, "not the one" },
	{ "file", spoil_file, 0, GPT2C_E_UNSEALED, "GPT2C_ALLOW_UNSEALED" },
	{ "file, allowed", spoil_file, GPT2C_ALLOW_UNSEALED | GPT2C_POPULATE, GPT2C_OK, "" },
	{ "file, magic", spoil_file_magic, GPT2C_ALLOW_UNSEALED, GPT2C_E_NOT_A_PACK, "image: " },
	{ "short board", spoil_board_short, 0, GPT2C_E_IMAGE, "notice board has 24 bytes" },
	{ "long board", spoil_board_long, 0, GPT2C_E_IMAGE, "notice board has 8192 bytes" },
	{ "unsealed board", spoil_board_unsealed, 0, GPT2C_E_UNSEALED, "missing: SHRINK" },
	{ "file as board", spoil_board_file, GPT2C_ALLOW_UNSEALED, GPT2C_E_UNSEALED,
	  "SHRINK, GROW" },
	{ "writable board", spoil_board_writable, 0, GPT2C_E_IMAGE, "reading only" },
	{ "board's magic", spoil_board_magic, 0, GPT2C_E_IMAGE, "no notice board" },
	{ "pipe as board", spoil_board_pipe, 0, GPT2C_E_IMAGE, "notice board is not memory" },
	{ "in the wrong order", spoil_order, 0, GPT2C_E_UNSEALED, "missing: WRITE, SEAL" },
};

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* Fault 23: whatever a rogue daemon hands out, it is refused by its own code and nothing is left open. */
START_TEST(test_offer)
{
	struct rogue_offer offer;
	struct rogue rogue;
	gpt2c_store *store;

	rogue_offer_init(&offer);
	offers[_i].spoil(&offer);
	rogue_start(&rogue, rogue_serve_offer, &offer);
	store = rogue_open_expecting(&rogue, NULL, 0, offers[_i].flags, offers[_i].code,
				     offers[_i].text, offers[_i].name);
	if (store) {
		int32_t id = 96, position = 15;
		float out[33];

		ck_assert_int_eq(gpt2c_embed_at(store, &id, &position, 1, out, NULL), GPT2C_OK);
		for (size_t c = 0; c < 33; c++)
			ck_assert(out[c] == fixture_value(1, 96, c) + fixture_value(2, 15, c));
		gpt2c_close(store);
	}
	rogue_stop(&rogue);
	rogue_offer_deinit(&offer);
}
END_TEST

START_TEST(test_no_daemon)
{
	char *folder = fixture_folder_new();
	gpt2c_error error = GPT2C_ERROR_INIT;
	gpt2c_store *store = untouched;
	char path[200];

	ck_assert_code(error, gpt2c_open(fixture_path(folder, "none"), NULL, &store, &error),
		       GPT2C_E_NO_DAEMON);
	ck_assert_int_eq(error.sys_errno, ENOENT);
	fixture_write(fixture_path(folder, "file"), "", 0);
	ck_assert_code(error, gpt2c_open(fixture_path(folder, "file"), NULL, &store, &error),
		       GPT2C_E_NO_DAEMON);
	ck_assert_code(error, gpt2c_open("", NULL, &store, &error), GPT2C_E_ARGUMENT);
	memset(path, 'a', sizeof path - 1);
	path[sizeof path - 1] = '\0';
	ck_assert_code(error, gpt2c_open(path, NULL, &store, &error), GPT2C_E_ARGUMENT);
	ck_assert_ptr_eq(store, untouched);
	fixture_folder_free(folder);
}
END_TEST

START_TEST(test_environment)
{
	char *folder = fixture_folder_new();
	gpt2c_error error = GPT2C_ERROR_INIT;
	gpt2c_store *store = NULL;
	struct rogue_offer offer;
	struct rogue rogue;

	rogue_offer_init(&offer);
	rogue_start(&rogue, rogue_serve_offer, &offer);
	setenv("GPT2D_SOCKET", fixture_path(folder, "none"), 1);
	ck_assert_code(error, gpt2c_open(NULL, NULL, &store, &error), GPT2C_E_NO_DAEMON);
	ck_assert_ptr_nonnull(strstr(error.message, folder));
	setenv("GPT2D_SOCKET", rogue.path, 1);
	ck_assert_code(error, gpt2c_open(NULL, "gpt2", &store, &error), GPT2C_OK);
	gpt2c_close(store);
	unsetenv("GPT2D_SOCKET");
	rogue_stop(&rogue);
	rogue_offer_deinit(&offer);
	fixture_folder_free(folder);
}
END_TEST

START_TEST(test_model_names)
{
	gpt2c_error error = GPT2C_ERROR_INIT;
	gpt2c_store *store = untouched;
	char name[257];

	memset(name, 'm', sizeof name - 1);
	name[256] = '\0';
	ck_assert_code(error, gpt2c_open("/nowhere", name, &store, &error), GPT2C_E_ARGUMENT);
	name[255] = '\0';
	ck_assert_code(error, gpt2c_open("/nowhere", name, &store, &error), GPT2C_E_NO_DAEMON);
	ck_assert_code(error, gpt2c_open("/nowhere", "a\nb", &store, &error), GPT2C_E_ARGUMENT);
	ck_assert_code(error, gpt2c_open("/nowhere", "\xff", &store, &error), GPT2C_E_ARGUMENT);
	ck_assert_ptr_eq(store, untouched);
}
END_TEST

START_TEST(test_genuine)
{
	gpt2c_info info = { .size = sizeof info };
	gpt2c_error error = GPT2C_ERROR_INIT;
	struct rogue_offer offer;
	struct rogue rogue;
	gpt2c_store *store = NULL;
	int fds = fixture_count_fds();

	rogue_offer_init(&offer);
	rogue_start(&rogue, rogue_serve_offer, &offer);
	ck_assert_code(error, gpt2c_open(rogue.path, "gpt2", &store, &error), GPT2C_OK);
	ck_assert_int_eq(gpt2c_get_info(store, &info), GPT2C_OK);
	ck_assert_uint_eq(info.generation, 42);
	ck_assert_uint_eq(info.flags, GPT2C_INFO_SEALED | GPT2C_INFO_DAEMON | GPT2C_INFO_VERIFIED);
	ck_assert_mem_eq(info.content_id, offer.reply.attached.content_id.bytes, 16);

	ck_assert_int_ge(gpt2c_get_fd(store), 0);
	ck_assert_int_eq(fcntl(gpt2c_get_fd(store), F_GETFD), FD_CLOEXEC);

	ck_assert_int_eq(gpt2c_state(store), GPT2C_CURRENT);
	rogue_offer_write(&offer, 4711, 2);
	ck_assert_int_eq(gpt2c_state(store), GPT2C_SUPERSEDED);
	rogue_offer_write(&offer, 4711, 1);
	ck_assert_int_eq(gpt2c_state(store), GPT2C_CURRENT);
	rogue_offer_write(&offer, WIRE_OWNER_DIED, 1);
	ck_assert_int_eq(gpt2c_state(store), GPT2C_ORPHANED);
	rogue_offer_write(&offer, WIRE_OWNER_DIED | 4711, 2);
	ck_assert_int_eq(gpt2c_state(store), GPT2C_ORPHANED);
	rogue_offer_write(&offer, 0, 1);
	ck_assert_int_eq(gpt2c_state(store), GPT2C_ORPHANED);
	rogue_offer_write(&offer, UINT32_C(0x80000000), 1); /* FUTEX_WAITERS alone is no owner */
	ck_assert_int_eq(gpt2c_state(store), GPT2C_ORPHANED);
	rogue_offer_write(&offer, UINT32_C(0x80000000) | 4711, 1);
	ck_assert_int_eq(gpt2c_state(store), GPT2C_CURRENT);

	gpt2c_close(store);
	rogue_stop(&rogue);
	rogue_offer_deinit(&offer);
	ck_assert_int_eq(fixture_count_fds(), fds);
}
END_TEST

struct renewal {
	struct rogue_offer offers[2];
	unsigned served;
	char asked[2][WIRE_MODEL_BYTES];
};

/* One answer per connection: an offer, then the next, for ever the last. */
static void serve_in_turn(int connection, void *context)
{
	struct renewal *renewal = context;
	struct gw_error error = GW_ERROR_INIT;
	unsigned turn = renewal->served ? 1 : 0;
	struct rogue_offer *offer = &renewal->offers[turn];
	struct wire_message message;
	size_t n_fds;

	if (wire_receive(connection, &message, NULL, 0, &n_fds, NULL, UINT64_MAX, &error))
		return;
	memcpy(renewal->asked[turn], message.attach.model, WIRE_MODEL_BYTES);
	renewal->served++;
	offer->reply.request = message.request;
	rogue_send(connection, &offer->reply, (int[]){ offer->image_fd, offer->board_fd }, 2);
}

static uint64_t generation_of(const gpt2c_store *store)
{
	gpt2c_info info = { .size = sizeof info };

	ck_assert_int_eq(gpt2c_get_info(store, &info), GPT2C_OK);
	return info.generation;
}

static void expect_no_refresh(const gpt2c_store *store, int code, const char *text)
{
	gpt2c_error error = GPT2C_ERROR_INIT;
	gpt2c_store *fresh = untouched;

	errno = 4242;
	ck_assert_code(error, gpt2c_refresh(store, &fresh, &error), code);
	ck_assert_int_eq(errno, 4242);
	ck_assert_ptr_eq(fresh, untouched);
	ck_assert_msg(strstr(error.message, text) != NULL, "%s", error.message);
}

START_TEST(test_refresh)
{
	gpt2c_error error = GPT2C_ERROR_INIT;
	gpt2c_tensor before = { .size = sizeof before }, after = { .size = sizeof after };
	gpt2c_store *store = NULL, *fresh = NULL, *again = NULL;
	struct renewal renewal = { .served = 0 };
	struct rogue rogue;
	int fds = fixture_count_fds();

	rogue_offer_init(&renewal.offers[0]);
	rogue_offer_init(&renewal.offers[1]);
	renewal.offers[1].reply.attached.generation = 43;
	rogue_start(&rogue, serve_in_turn, &renewal);
	/* found by the environment, as the only model: asked for again where and as what it was found */
	setenv("GPT2D_SOCKET", rogue.path, 1);
	ck_assert_code(error, gpt2c_open(NULL, NULL, &store, &error), GPT2C_OK);
	setenv("GPT2D_SOCKET", "/nowhere", 1);
	ck_assert_int_eq(gpt2c_get_tensor(store, "wte.weight", &before), GPT2C_OK);
	ck_assert_code(error, gpt2c_refresh(store, NULL, &error), GPT2C_E_ARGUMENT);
	ck_assert_code(error, gpt2c_refresh(store, &fresh, &error), GPT2C_OK);
	ck_assert_str_eq(renewal.asked[0], "");
	ck_assert_str_eq(renewal.asked[1], "gpt2");
	ck_assert_uint_eq(generation_of(store), 42);
	ck_assert_uint_eq(generation_of(fresh), 43);
	ck_assert_int_eq(gpt2c_get_tensor(fresh, "wte.weight", &after), GPT2C_OK);
	ck_assert_ptr_ne(before.data, after.data);
	ck_assert_mem_eq(before.data, after.data, before.row_bytes);
	gpt2c_close(store);
	/* from the new one too, and with nothing new: the same generation */
	ck_assert_code(error, gpt2c_refresh(fresh, &again, &error), GPT2C_OK);
	ck_assert_uint_eq(generation_of(again), 43);
	gpt2c_close(again);
	rogue_stop(&rogue);
	expect_no_refresh(fresh, GPT2C_E_NO_DAEMON, "no gpt2d listens");
	gpt2c_close(fresh);
	rogue_offer_deinit(&renewal.offers[0]);
	rogue_offer_deinit(&renewal.offers[1]);
	ck_assert_int_eq(fixture_count_fds(), fds);
}
END_TEST

/* Flags and the limit of time are those of the opening. */
START_TEST(test_refresh_keeps_options)
{
	gpt2c_options options = GPT2C_OPTIONS_INIT;
	gpt2c_error error = GPT2C_ERROR_INIT;
	gpt2c_store *store = NULL, *fresh = NULL;
	struct renewal renewal = { .served = 0 };
	struct rogue rogue;

	for (int i = 0; i < 2; i++) {
		rogue_offer_init(&renewal.offers[i]);
		rogue_offer_image(&renewal.offers[i], 0, 0, O_RDONLY);
		renewal.offers[i].reply.attached.share = WIRE_SHARE_FILE;
	}
	rogue_start(&rogue, serve_in_turn, &renewal);
	options.socket_path = rogue.path;
	options.flags = GPT2C_ALLOW_UNSEALED;
	ck_assert_code(error, gpt2c_open_with(&options, &store, &error), GPT2C_OK);
	ck_assert_code(error, gpt2c_refresh(store, &fresh, &error), GPT2C_OK);
	gpt2c_close(fresh);
	gpt2c_close(store);
	rogue_stop(&rogue);
	rogue_offer_deinit(&renewal.offers[0]);
	rogue_offer_deinit(&renewal.offers[1]);
}
END_TEST

START_TEST(test_refresh_of_a_file)
{
	gpt2c_error error = GPT2C_ERROR_INIT;
	gpt2c_store *store = NULL;
	char *folder = fixture_folder_new();
	const char *path = fixture_path(folder, "p.gpt2w");

	fixture_pack(path, 10, 2, 16, GW_F32, GW_F32);
	ck_assert_code(error, gpt2c_open_file(path, &store, &error), GPT2C_OK);
	expect_no_refresh(store, GPT2C_E_ARGUMENT, "file");
	expect_no_refresh(NULL, GPT2C_E_ARGUMENT, "NULL");
	gpt2c_close(store);
	fixture_folder_free(folder);
}
END_TEST

/* An image on huge pages, longer than its contents, where the machine has some to spare. */
START_TEST(test_hugetlb)
{
	size_t huge_bytes = 2 << 20;
	struct rogue_offer offer;
	struct rogue rogue;
	char path[64];
	void *memory;
	int fd;

	fd = memfd_create("image", MFD_ALLOW_SEALING | MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
	if (fd < 0 || ftruncate(fd, (off_t)huge_bytes) != 0 ||
	    (memory = mmap(NULL, huge_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) ==
		    MAP_FAILED) {
		printf("skipped: no huge pages (vm.nr_hugepages)\n");
		if (fd >= 0)
			close(fd);
		return;
	}
	rogue_offer_init(&offer);
	memcpy(memory, offer.pack, offer.pack_bytes);
	munmap(memory, huge_bytes);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, ROGUE_IMAGE_SEALS), 0);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	replace_fd(&offer.image_fd, open(path, O_RDONLY | O_CLOEXEC));
	close(fd);
	rogue_start(&rogue, rogue_serve_offer, &offer);
	gpt2c_close(rogue_open_expecting(&rogue, "gpt2", 0, GPT2C_POPULATE, GPT2C_OK, "", "huge"));
	rogue_stop(&rogue);
	rogue_offer_deinit(&offer);
}
END_TEST

/* Nothing that this process or its children do to a store reaches the image. */
START_TEST(test_copy_on_write)
{
	gpt2c_tensor tensor = { .size = sizeof tensor };
	struct rogue_offer offer;
	struct rogue rogue;
	gpt2c_store *store, *other;
	float first;

	rogue_offer_init(&offer);
	rogue_start(&rogue, rogue_serve_offer, &offer);
	store = rogue_open_expecting(&rogue, NULL, 0, GPT2C_COPY_ON_WRITE, GPT2C_OK, "",
				     "writable");
	ck_assert_int_eq(gpt2c_get_tensor(store, "wte.weight", &tensor), GPT2C_OK);
	first = *(const float *)tensor.data;
	*(float *)(uintptr_t)tensor.data = 4711;
	gpt2c_close(store);
	other = NULL;
	ck_assert_int_eq(gpt2c_open_with(&(gpt2c_options){ .size = sizeof(gpt2c_options),
							    .socket_path = rogue.path },
					 &other, NULL),
			 GPT2C_OK);
	ck_assert_int_eq(gpt2c_get_tensor(other, "wte.weight", &tensor), GPT2C_OK);
	ck_assert(*(const float *)tensor.data == first);
	gpt2c_close(other);
	rogue_stop(&rogue);
	rogue_offer_deinit(&offer);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client/attach");
	TCase *tcase = fixture_case(suite, "offers");

	tcase_add_loop_test(tcase, test_offer, 0, COUNT(offers));
	tcase = fixture_case(suite, "attach");
	tcase_add_test(tcase, test_no_daemon);
	tcase_add_test(tcase, test_environment);
	tcase_add_test(tcase, test_model_names);
	tcase_add_test(tcase, test_genuine);
	tcase_add_test(tcase, test_refresh);
	tcase_add_test(tcase, test_refresh_keeps_options);
	tcase_add_test(tcase, test_refresh_of_a_file);
	tcase_add_test(tcase, test_hugetlb);
	tcase_add_test(tcase, test_copy_on_write);
	return fixture_main(suite);
}
