/* SPDX-License-Identifier: MIT */
/* Every damaged unit is found, in the order of the file, by any number of threads. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/reader.h"
#include "tests/support/fixture.h"
#include "tools/common/ordered.h"
#include "tools/pack/verify.h"

static char *folder;
static const char *path;

static void setup(void)
{
	folder = fixture_folder_new();
	path = fixture_path(folder, "x.gpt2w");
}

static void teardown(void)
{
	fixture_folder_free(folder);
}

struct findings {
	struct gw_error bad[64];
	size_t n;
};

static void note(void *context, const struct gw_error *error)
{
	struct findings *findings = context;

	ck_assert_uint_lt(findings->n, 64);
	findings->bad[findings->n++] = *error;
}

/* Three tensors with gaps before, between and after them; returns the pack in memory. */
static uint8_t *make(bool compressed, size_t *out_bytes, struct gw_pack **out_pack)
{
	struct gw_tensor tensors[] = { fixture_tensor("a", GW_F32, 3, 70001),
				       fixture_tensor(GW_WPE_NAME, GW_F16, 30, 40),
				       fixture_tensor(GW_WTE_NAME, GW_F32, 20000, 40) };
	struct gw_error error = GW_ERROR_INIT;
	uint8_t *raw = fixture_image(tensors, 3, out_bytes), *small;
	int fd;

	if (compressed) {
		small = fixture_compress(raw, *out_bytes, out_bytes);
		free(raw);
		raw = small;
	}
	fixture_write(path, raw, *out_bytes);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_code(error, gw_pack_open_fd(fd, out_pack, &error), GW_OK);
	close(fd);
	return raw;
}

static int verify(const struct gw_pack *pack, unsigned n_threads, struct findings *findings,
		  uint64_t *out_n, struct gw_error *error)
{
	struct tool_progress progress;
	int fd = open(path, O_RDONLY | O_CLOEXEC), code;

	*findings = (struct findings){ 0 };
	tool_progress_start(&progress, "", pack->superblock.file_bytes, true);
	code = pack_verify(pack, fd, n_threads, note, findings, &progress, out_n, error);
	if (code == GW_OK && !pack->stored)
		ck_assert_uint_eq(progress.done_bytes,
				  pack->superblock.image_bytes - pack->regions.data_offset);
	if (code == GW_OK && pack->stored)
		ck_assert_uint_eq(progress.done_bytes, pack->superblock.stored_bytes);
	close(fd);
	return code;
}

static const unsigned counts[] = { 1, 2, 3, TOOL_MAX_THREADS };

/* One byte of every unit is changed. */
START_TEST(all_bad)
{
	struct gw_error error = GW_ERROR_INIT;
	struct findings findings;
	struct gw_pack *pack;
	uint64_t n = 0;
	size_t bytes, n_gaps = 0, n_blocks = 0;
	uint8_t *data = make(false, &bytes, &pack);

	for (unsigned i = 0; i < sizeof counts / sizeof counts[0]; i++) {
		ck_assert_code(error, verify(pack, counts[i], &findings, &n, &error), GW_OK);
		ck_assert_uint_eq(findings.n, 0);
		ck_assert_uint_eq(n, gw_pack_unit_count(pack));
	}
	for (uint64_t i = 0; i < n; i++) {
		struct gw_unit unit = gw_pack_unit(pack, i);

		if (unit.size_bytes)
			data[unit.offset_bytes + unit.size_bytes / 2] ^= 1;
		n_gaps += !unit.tensor && unit.size_bytes;
		n_blocks += unit.tensor != NULL;
	}
	ck_assert_uint_ge(n_gaps, 3);
	fixture_write(path, data, bytes);
	for (unsigned i = 0; i < sizeof counts / sizeof counts[0]; i++) {
		ck_assert_code(error, verify(pack, counts[i], &findings, &n, &error), GW_OK);
		ck_assert_uint_eq(findings.n, n_gaps + n_blocks);
		for (size_t k = 0; k < findings.n; k++) {
			struct gw_error *bad = &findings.bad[k];

			if (k)
				ck_assert_uint_gt(bad->offset, findings.bad[k - 1].offset);
			n_gaps -= bad->code == GW_E_PADDING;
			n_blocks -= bad->code == GW_E_BLOCK_DIGEST;
		}
		ck_assert_uint_eq(n_gaps + n_blocks, 0);
		for (size_t k = 0; k < findings.n; k++) {
			n_gaps += findings.bad[k].code == GW_E_PADDING;
			n_blocks += findings.bad[k].code == GW_E_BLOCK_DIGEST;
		}
	}
	gw_pack_free(pack);
	free(data);
}
END_TEST

START_TEST(all_bad_compressed)
{
	struct gw_error error = GW_ERROR_INIT;
	struct findings findings;
	struct gw_pack *pack;
	uint64_t n = 0;
	size_t bytes;
	uint8_t *data = make(true, &bytes, &pack);

	ck_assert_code(error, verify(pack, 2, &findings, &n, &error), GW_OK);
	ck_assert_uint_eq(findings.n, 0);
	ck_assert_uint_eq(n, pack->superblock.n_blocks);
	for (uint64_t i = 0; i < n; i++)
		data[pack->stored[i].offset_bytes + pack->stored[i].size_bytes / 2] ^= 1;
	fixture_write(path, data, bytes);
	for (unsigned i = 0; i < sizeof counts / sizeof counts[0]; i++) {
		ck_assert_code(error, verify(pack, counts[i], &findings, &n, &error), GW_OK);
		ck_assert_uint_eq(findings.n, n);
		for (uint64_t k = 0; k < n; k++) {
			ck_assert_int_eq(findings.bad[k].code, GW_E_STORED_BLOCK);
			ck_assert_uint_eq(findings.bad[k].offset, pack->stored[k].offset_bytes);
		}
	}
	gw_pack_free(pack);
	free(data);
}
END_TEST

/* After its header was read: what is there is verified, what is not there is an error, no signal. */
START_TEST(cut_off_meanwhile)
{
	struct gw_error error = GW_ERROR_INIT;
	struct findings findings;
	struct gw_pack *pack;
	uint64_t n;
	size_t bytes;
	uint8_t *data = make(_i, &bytes, &pack);

	for (unsigned i = 0; i < sizeof counts / sizeof counts[0]; i++) {
		fixture_write(path, data, bytes - 300000);
		ck_assert_code(error, verify(pack, counts[i], &findings, &n, &error), GW_E_CHANGED);
		ck_assert_uint_eq(findings.n, 0);
	}
	gw_pack_free(pack);
	free(data);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("verify");
	TCase *verification = fixture_case(suite, "verify");

	tcase_add_checked_fixture(verification, setup, teardown);
	tcase_add_test(verification, all_bad);
	tcase_add_test(verification, all_bad_compressed);
	tcase_add_loop_test(verification, cut_off_meanwhile, 0, 2);
	return fixture_main(suite);
}
