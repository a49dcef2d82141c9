/* SPDX-License-Identifier: MIT */
/* Descriptors of a daemon before us: their names, and what is checked of boards and images. */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/board.h"
#include "daemon/fdname.h"
#include "daemon/image.h"
#include "daemon/lease.h"
#include "daemon/memfd.h"
#include "format/wire.h"
#include "tests/support/fixture.h"

static struct gw_error error;

static uint64_t inode_of(int fd)
{
	struct stat status;

	ck_assert_int_eq(fstat(fd, &status), 0);
	return status.st_ino;
}

START_TEST(a_name_is_read_as_it_was_written)
{
	struct gd_fdname name = { .kind = GD_FDNAME_IMAGE, .inode = 9, .generation = INT64_MAX,
				  .epoch = UINT32_MAX, .model = "a b/\xc3\xa9%:" }, again;
	char text[GD_FDNAME_BYTES];

	for (size_t i = 0; i < sizeof name.digest.bytes; i++)
		name.digest.bytes[i] = (uint8_t)(17 * i);
	ck_assert(gd_fdname_format(&name, text));
	ck_assert_str_eq(text, "gpt2d/1/image/9/9223372036854775807/4294967295/"
			       "00112233445566778899aabbccddeeff/a%20b%2f%c3%a9%25%3a");
	ck_assert(gd_fdname_is_ours(text) && gd_fdname_is_valid(text));
	ck_assert_code(error, gd_fdname_parse(text, &again, &error), GW_OK);
	ck_assert_mem_eq(&again, &name, sizeof name);
	/* too long for an image's, not for a board's */
	memset(name.model, 'x', sizeof name.model - 1);
	ck_assert(!gd_fdname_format(&name, text));
	name.model[200] = '\0';
	name.kind = GD_FDNAME_BOARD;
	ck_assert(gd_fdname_format(&name, text));
}
END_TEST

START_TEST(other_names_are_refused)
{
	static const struct {
		const char *text;
		int code;
	} names[] = {
		{ "", GW_E_NAME },
		{ "stored", GW_E_NAME },
		{ "gpt2d/", GW_E_VERSION },
		{ "gpt2d/10/board/1/m", GW_E_VERSION },
		{ "gpt2d/1/boards/1/m", GW_E_NAME },
		{ "gpt2d/1/board/18446744073709551616/m", GW_E_NAME },
		{ "gpt2d/1/board/1/m/n", GW_E_NAME },
		{ "gpt2d/1/board/1/%2", GW_E_NAME },
		{ "gpt2d/1/board/1/%2F", GW_E_NAME },
		{ "gpt2d/1/board/1/%ff", GW_E_NAME },
		{ "gpt2d/1/socket/1", GW_E_NAME },
		{ "gpt2d/1/socket/1/2/3", GW_E_NAME },
		{ "gpt2d/1/image/1/2/4294967296/00112233445566778899aabbccddeeff/m", GW_E_NAME },
		{ "gpt2d/1/image/1/2/3/00112233445566778899aabbccddee/m", GW_E_NAME },
	};
	struct gd_fdname out;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		ck_assert_msg(gd_fdname_parse(names[i].text, &out, &error) == names[i].code, "%s",
			      names[i].text);
	ck_assert(!gd_fdname_is_valid("") && !gd_fdname_is_valid("a\nFDSTOREREMOVE=1"));
	ck_assert(!gd_fdname_is_valid("a:b") && !gd_fdname_is_valid("\x7f"));
	ck_assert(!gd_fdname_is_valid("\xc3\xa9"));
}
END_TEST

static uint64_t word_on(int fd)
{
	_Atomic uint64_t *page = mmap(NULL, WIRE_BOARD_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	uint64_t word;

	ck_assert_ptr_ne(page, MAP_FAILED);
	word = atomic_load(page + WIRE_BOARD_OWNER_AT / 8);
	munmap(page, WIRE_BOARD_BYTES);
	return word;
}

START_TEST(a_board_is_claimed)
{
	struct gd_boards *boards;
	struct gd_board board, again;
	struct stat status;
	int fd;

	ck_assert_code(error, gd_boards_new(&boards, &error), GW_OK);
	ck_assert_code(error, gd_board_init(&board, boards, &error), GW_OK);
	gd_board_publish(&board, 5);
	gd_board_publish(&board, 6);
	fd = fcntl(board.fd, F_DUPFD_CLOEXEC, 0);
	gd_board_deinit(&board);
	ck_assert(wire_board_owner(word_on(fd)) & WIRE_OWNER_DIED);
	ck_assert_code(error, gd_board_take(&again, boards, fd, inode_of(fd) + 1, &error),
		       GW_E_FD_OTHER);
	ck_assert_int_eq(fchmod(fd, 0600), 0);
	ck_assert_code(error, gd_board_take(&again, boards, fd, inode_of(fd), &error), GW_OK);
	ck_assert(wire_board_owner(word_on(fd)) & WIRE_OWNER_DIED); /* not before it is claimed */
	ck_assert_uint_eq(gd_board_epoch(&again), 2);
	ck_assert_uint_eq(gd_board_generation(&again), 6);
	gd_board_claim(&again, 6, 2);
	ck_assert_uint_eq(word_on(fd), UINT64_C(2) << 32 | (uint32_t)gettid());
	ck_assert_int_eq(fstat(fd, &status), 0);
	ck_assert_uint_eq(status.st_mode & 07777, 0444);
	ck_assert_uint_eq(gd_board_publish(&again, 7), 3);
	gd_board_deinit(&again);
	gd_boards_free(boards);
}
END_TEST

START_TEST(an_image_is_taken_without_the_lease_of_the_dead)
{
	static const atomic_bool never;
	const struct gd_image_options options = { WIRE_SHARE_SEALED, true, &never };
	char *folder = fixture_folder_new();
	struct gd_image *image, *again = NULL;
	struct gd_fdname name, other;
	struct stat status;
	int fd;

	fixture_pack(fixture_path(folder, "a"), 20, 3, 16, GW_F32, GW_F32);
	ck_assert_code(error,
		       gd_image_load(fixture_path(folder, "a"), &options, &image, &status, &error),
		       GW_OK);
	ck_assert_code(error, gd_image_name(image, "m", 7, 1, &name, &error), GW_OK);
	fd = fcntl(image->fd, F_DUPFD_CLOEXEC, 0);
	gd_image_unref(image);
	ck_assert_int_eq(fcntl(fd, F_SETLEASE, F_WRLCK), 0); /* killed in gd_lease_is_held */
	other = name;
	other.digest.bytes[0] ^= 1;
	ck_assert_code(error, gd_image_take(fd, &other, &again, &error), GW_E_FD_OTHER);
	ck_assert_ptr_null(again);
	ck_assert_code(error, gd_image_take(fd, &name, &again, &error), GW_OK);
	ck_assert_int_eq(fcntl(fd, F_GETLEASE), F_UNLCK);
	ck_assert_uint_eq(again->pack->wte->row_count, 20);
	ck_assert(!gd_lease_is_held(again->fd));
	gd_image_unref(again);
	fixture_folder_free(folder);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("takeback");
	TCase *names = fixture_case(suite, "names"), *things = fixture_case(suite, "things");

	tcase_add_test(names, a_name_is_read_as_it_was_written);
	tcase_add_test(names, other_names_are_refused);
	tcase_add_test(things, a_board_is_claimed);
	tcase_add_test(things, an_image_is_taken_without_the_lease_of_the_dead);
	return fixture_main(suite);
}
