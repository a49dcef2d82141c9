/* SPDX-License-Identifier: MIT */
#include "format/writer.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "format/reader.h"
#include "tests/support/fixture.h"

static char *folder;
static const char *target;
static struct gw_error error;
static const struct gw_provenance provenance = { .source_format = "test" };

static void setup(void)
{
	folder = fixture_folder_new();
	target = fixture_path(folder, "out.gpt2w");
	error = (struct gw_error)GW_ERROR_INIT;
}

static void teardown(void)
{
	fixture_folder_free(folder);
}

/* The dense values of a table, as append takes them; free() ends it. */
static uint8_t *dense(const struct gw_tensor *tensor, uint64_t *out_bytes)
{
	uint8_t *data = malloc(tensor->shape[0] * tensor->shape[1] * 4);
	uint64_t n = 0;

	ck_assert_ptr_nonnull(data);
	for (uint64_t r = 0; r < tensor->shape[0]; r++)
		for (uint64_t c = 0; c < tensor->shape[1]; c++)
			n += fixture_element(fixture_value(tensor->role, r, c), tensor->dtype,
					     data + n);
	*out_bytes = n;
	return data;
}

static void append_in_pieces(struct gw_writer *writer, size_t index, const uint8_t *data,
			     uint64_t n, uint64_t piece)
{
	for (uint64_t at = 0; at < n; at += piece)
		ck_assert_code(error,
			       gw_writer_append(writer, index, data + at,
						n - at < piece ? n - at : piece, &error),
			       GW_OK);
}

/* The file for two tables, declared in either order and appended in pieces of any size. */
static uint8_t *write_tables(const struct gw_tensor *wte, const struct gw_tensor *wpe, bool swapped,
			     uint64_t piece, size_t *out_bytes)
{
	struct gw_tensor tensors[2] = { swapped ? *wpe : *wte, swapped ? *wte : *wpe };
	struct gw_writer *writer = NULL;
	struct gw_digest id;

	ck_assert_code(error, gw_writer_new(target, true, tensors, 2, &writer, &error), GW_OK);
	for (size_t i = 0; i < 2; i++) {
		uint64_t n;
		uint8_t *data = dense(&tensors[i], &n);

		append_in_pieces(writer, i, data, n, piece);
		free(data);
	}
	ck_assert_code(error, gw_writer_finish(writer, &provenance, 0, 0, &id, &error), GW_OK);
	gw_writer_free(writer);
	return fixture_read(target, out_bytes);
}

/* Pieces of every awkward size, padded and unpadded, several blocks: one and the same file. */
START_TEST(pieces_and_order_do_not_matter)
{
	static const uint64_t pieces[] = { 1,     3,     47,     96,     97,
					   16320, 16384, 262144, 300000, UINT32_MAX };
	const uint64_t columns = _i ? 96 : 24;
	struct gw_tensor wte = fixture_tensor(GW_WTE_NAME, GW_F32, _i ? 900 : 2100, columns);
	struct gw_tensor wpe = fixture_tensor(GW_WPE_NAME, GW_F16, 5, columns);
	size_t n, again_n;
	uint8_t *first = write_tables(&wte, &wpe, false, UINT32_MAX, &n);

	ck_assert_code(error, fixture_check(first, n, &error), GW_OK);
	for (size_t p = 0; p < sizeof pieces / sizeof pieces[0]; p++) {
		uint8_t *again = write_tables(&wte, &wpe, p % 2, pieces[p], &again_n);

		ck_assert_uint_eq(again_n, n);
		ck_assert_msg(memcmp(first, again, n) == 0, "pieces of %zu", (size_t)pieces[p]);
		free(again);
	}
	free(first);
}
END_TEST

START_TEST(content_id_is_of_the_tables_alone)
{
	struct gw_tensor wte = fixture_tensor(GW_WTE_NAME, GW_F32, 70, 24);
	struct gw_provenance other = { .source_format = "other", .note = "seed 5" };
	struct gw_digest ids[3];
	uint64_t n;
	uint8_t *data = dense(&wte, &n);

	for (int i = 0; i < 3; i++) {
		struct gw_writer *writer = NULL;

		ck_assert_code(error, gw_writer_new(target, true, &wte, 1, &writer, &error), GW_OK);
		ck_assert_uint_eq(gw_writer_image_bytes(writer), 24576);
		data[n - 1] ^= i == 2;
		append_in_pieces(writer, 0, data, n, n);
		ck_assert_code(error,
			       gw_writer_finish(writer, i ? &other : &provenance, (uint64_t)i * 12,
						0, &ids[i], &error),
			       GW_OK);
		gw_writer_free(writer);
	}
	ck_assert(gw_digest_equal(&ids[0], &ids[1]));
	ck_assert(!gw_digest_equal(&ids[1], &ids[2]));
	free(data);
}
END_TEST

START_TEST(misuse_is_refused)
{
	const struct gw_tensor tensors[] = { fixture_tensor(GW_WTE_NAME, GW_F32, 7, 5),
					     fixture_tensor("z", GW_F32, 3, 0) };
	struct gw_writer *writer = NULL;
	uint8_t data[200] = { 0 };

	ck_assert_code(error, gw_writer_new(target, false, tensors, 2, &writer, &error), GW_OK);
	ck_assert_code(error, gw_writer_append(writer, 2, data, 1, &error), GW_E_ARGUMENT);
	ck_assert_code(error, gw_writer_append(writer, 0, data, 141, &error), GW_E_ARGUMENT);
	ck_assert_code(error, gw_writer_append(writer, 0, data, 30, &error), GW_OK);
	ck_assert_code(error, gw_writer_append(writer, 1, data, 4, &error), GW_E_ARGUMENT);
	ck_assert_code(error, gw_writer_append(writer, 0, data, 111, &error), GW_E_ARGUMENT);
	ck_assert_code(error, gw_writer_append(writer, 0, data, UINT64_MAX, &error), GW_E_ARGUMENT);
	ck_assert_code(error, gw_writer_append(writer, 0, data, 110, &error), GW_OK);
	ck_assert_code(error, gw_writer_append(writer, 0, data, 1, &error), GW_E_ARGUMENT);
	ck_assert_code(error, gw_writer_append(writer, 1, data, 13, &error), GW_E_ARGUMENT);
	ck_assert_code(error, gw_writer_finish(writer, &provenance, 0, 0, NULL, &error),
		       GW_E_ARGUMENT);
	ck_assert_code(error, gw_writer_append(writer, 1, data, 12, &error), GW_OK);
	ck_assert_code(error,
		       gw_writer_finish(writer, &provenance, GW_MAX_N_LAYER + 1, 0, NULL, &error),
		       GW_E_ARGUMENT);
	ck_assert_code(error,
		       gw_writer_finish(writer, &provenance, 0, GW_MAX_N_HEAD + 1, NULL, &error),
		       GW_E_ARGUMENT);
	ck_assert_int_eq(access(target, F_OK), -1);
	ck_assert_code(error, gw_writer_finish(writer, &provenance, 0, 0, NULL, &error), GW_OK);
	gw_writer_free(writer);
	gw_writer_free(NULL);
}
END_TEST

static void refuse(struct gw_tensor *tensors, size_t n, int code)
{
	struct gw_writer *writer = NULL;

	ck_assert_code(error, gw_writer_new(target, false, tensors, n, &writer, &error), code);
	ck_assert_ptr_null(writer);
	ck_assert_int_eq(fixture_count_files(folder), 0);
}

START_TEST(bad_declarations_leave_nothing)
{
	struct gw_tensor wte = fixture_tensor(GW_WTE_NAME, GW_F32, 7, 5), bad[2] = { wte, wte };

	refuse(bad, 0, GW_E_LIMIT);
	refuse(bad, GW_MAX_TENSORS + 1, GW_E_LIMIT);
	refuse(bad, 2, GW_E_NAME);
	bad[0].dtype = GW_I8 + 1;
	refuse(bad, 1, GW_E_DTYPE);
	bad[0] = wte;
	bad[0].shape[1] = 0;
	refuse(bad, 1, GW_E_SHAPE);
	bad[0] = wte;
	bad[0].role = GW_ROLE_NONE;
	refuse(bad, 1, GW_E_ROLE);
	bad[0] = wte;
	memset(bad[0].name, 'x', sizeof bad[0].name);
	refuse(bad, 2, GW_E_NAME);
	bad[0] = fixture_tensor("a", GW_F32, 1, 0);
	refuse(bad, 1, GW_E_ROLE);
	fixture_write(target, "", 0);
	{
		struct gw_writer *writer = NULL;

		ck_assert_code(error, gw_writer_new(target, false, &wte, 1, &writer, &error),
			       GW_E_EXISTS);
		ck_assert_ptr_null(writer);
	}
}
END_TEST

START_TEST(a_limit_of_file_size_leaves_nothing)
{
	const struct rlimit limit = { 20000, RLIM_INFINITY };
	struct gw_tensor wte = fixture_tensor(GW_WTE_NAME, GW_F32, 700, 16);

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	refuse(&wte, 1, GW_E_IO);
	ck_assert_int_eq(error.sys_errno, EFBIG);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &(struct rlimit) { RLIM_INFINITY, RLIM_INFINITY }),
			 0);
}
END_TEST

/* After a write that failed, what is in the file is not known: nothing can be added to it. */
START_TEST(a_failed_write_ends_the_pack)
{
	const struct gw_tensor wte = fixture_tensor(GW_WTE_NAME, GW_F32, 70, 24);
	struct gw_writer *writer = NULL;
	uint64_t n;
	uint8_t *data = dense(&wte, &n);
	struct rlimit limit, small;

	ck_assert_code(error, gw_writer_new(target, false, &wte, 1, &writer, &error), GW_OK);
	getrlimit(RLIMIT_FSIZE, &limit);
	small = (struct rlimit){ 4096, limit.rlim_max };
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &small);
	ck_assert_code(error, gw_writer_append(writer, 0, data, n, &error), GW_E_IO);
	ck_assert_int_eq(error.sys_errno, EFBIG);
	setrlimit(RLIMIT_FSIZE, &limit);
	ck_assert_code(error, gw_writer_append(writer, 0, data, n, &error), GW_E_ARGUMENT);
	ck_assert_code(error, gw_writer_finish(writer, &provenance, 0, 0, NULL, &error),
		       GW_E_ARGUMENT);
	gw_writer_free(writer);
	free(data);
	ck_assert_int_eq(fixture_count_files(folder), 0);
}
END_TEST

START_TEST(an_unfinished_pack_leaves_nothing)
{
	struct gw_tensor wte = fixture_tensor(GW_WTE_NAME, GW_F32, 7, 5);
	struct gw_writer *writer = NULL;
	uint8_t data[20] = { 0 };

	ck_assert_code(error, gw_writer_new(target, false, &wte, 1, &writer, &error), GW_OK);
	ck_assert_code(error, gw_writer_append(writer, 0, data, 20, &error), GW_OK);
	gw_writer_free(writer);
	ck_assert_int_eq(fixture_count_files(folder), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("writer");
	TCase *tcase = fixture_case(suite, "writer");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, pieces_and_order_do_not_matter, 0, 2);
	tcase_add_test(tcase, content_id_is_of_the_tables_alone);
	tcase_add_test(tcase, misuse_is_refused);
	tcase_add_test(tcase, bad_declarations_leave_nothing);
	tcase_add_test(tcase, a_limit_of_file_size_leaves_nothing);
	tcase_add_test(tcase, a_failed_write_ends_the_pack);
	tcase_add_test(tcase, an_unfinished_pack_leaves_nothing);
	return fixture_main(suite);
}
