/* SPDX-License-Identifier: MIT */
/* Packs as npz: archives beyond 4 GiB, which only a sparse file makes cheap, and names. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "format/directory.h"
#include "tests/support/fixture.h"
#include "tools/pack/array.h"
#include "tools/pack/export_npz.h"
#include "tools/pack/zip.h"

static char *folder;

static void setup(void)
{
	folder = fixture_folder_new();
}

static void teardown(void)
{
	fixture_folder_free(folder);
}

/* An archive of the tensors without their values, which are holes. */
static int write_archive(const char *path, struct gw_tensor *tensors, uint32_t n,
			 struct gw_error *error)
{
	struct gw_pack pack = { .superblock.n_tensors = n, .tensors = tensors };
	struct gw_outfile *out = NULL;
	void *state = NULL;
	int code;

	for (uint32_t i = 0; i < n; i++)
		ck_assert_code(*error, gw_tensor_measure(&tensors[i], GW_NO_OFFSET, error), GW_OK);
	ck_assert_code(*error, gw_outfile_create(path, true, &out, error), GW_OK);
	code = pack_export_npz.begin(&pack, out, &state, error);
	ck_assert_int_eq(code == GW_OK, state != NULL);
	if (code == GW_OK)
		ck_assert_code(*error, pack_export_npz.finish(state, out, error), GW_OK);
	pack_export_npz.end(state);
	if (code == GW_OK)
		ck_assert_code(*error, gw_outfile_commit(out, error), GW_OK);
	gw_outfile_free(out);
	return code;
}

static struct gw_tensor make_tensor(const char *name, unsigned dtype, uint64_t rows,
				    uint64_t columns)
{
	struct gw_tensor tensor = { .dtype = (uint8_t)dtype,
				    .rank = columns ? 2 : 1,
				    .shape = { rows, columns } };

	strcpy(tensor.name, name);
	return tensor;
}

START_TEST(sizes)
{
	struct gw_error error = GW_ERROR_INIT;
	const char *path = fixture_path(folder, "out.npz");
	struct gw_tensor tensors[] = {
		make_tensor("a", GW_F32, 3, 0),
		/* 2^32 - 2 bytes with a header of 128: without zip64, all ones would be one more */
		make_tensor("b", GW_F16, (UINT64_C(4294967294) - 128) / 2, 0),
		make_tensor("c", GW_F32, 1 << 21, 768),
		make_tensor("d\xc3\xa9", GW_F16, 5, 7),
	};
	struct pack_file file = PACK_FILE_INIT;
	struct pack_zip *zip = NULL;

	ck_assert_code(error, write_archive(path, tensors, 4, &error), GW_OK);
	ck_assert_code(error, pack_file_open(AT_FDCWD, path, &file, &error), GW_OK);
	ck_assert_code(error, pack_zip_open(&file, &zip, &error), GW_OK);
	ck_assert_uint_eq(zip->n, 4);
	for (size_t i = 0; i < 4; i++) {
		const struct pack_zip_member *member = &zip->members[i];
		struct pack_array array;
		uint8_t head[256] = { 0 };
		size_t n = strlen(tensors[i].name);

		ck_assert_mem_eq(member->name, tensors[i].name, n);
		ck_assert_str_eq(member->name + n, ".npy");
		ck_assert_uint_eq(member->offset_bytes % 64, 0);
		ck_assert_uint_eq(member->flags, i == 3 ? 0x0800 : 0);
		ck_assert(!member->deflated);
		ck_assert_code(error,
			       pack_file_read(&file, head, 128, member->offset_bytes, &error),
			       GW_OK);
		ck_assert_code(error,
			       pack_array_parse(head, 128, member->size_bytes, &array, &error),
			       GW_OK);
		ck_assert_uint_eq(array.data_offset, 128);
		ck_assert_uint_eq(array.rank, tensors[i].rank);
		ck_assert_mem_eq(array.shape, tensors[i].shape, sizeof array.shape);
		ck_assert_uint_eq(array.width_bytes, gw_dtype_bytes(tensors[i].dtype));
	}
	ck_assert_uint_eq(zip->members[1].size_bytes, UINT32_MAX - 1);
	pack_zip_free(zip);
	pack_file_close(&file);
}
END_TEST

START_TEST(bf16)
{
	struct gw_error error = GW_ERROR_INIT;
	struct gw_tensor tensors[] = { make_tensor("a", GW_F32, 3, 4),
				       make_tensor("b", GW_BF16, 3, 4) };

	ck_assert_code(error,
		       write_archive(fixture_path(folder, "out.npz"), tensors, 2, &error),
		       GW_E_ARGUMENT);
	ck_assert_ptr_nonnull(strstr(error.message, "\"b\" has the type bf16"));
	ck_assert_ptr_nonnull(strstr(error.message, "--dtype f32"));
}
END_TEST

/* A name as long as a pack can have, a shape as long as one can be. */
START_TEST(longest)
{
	struct gw_error error = GW_ERROR_INIT;
	const char *path = fixture_path(folder, "out.npz");
	struct gw_tensor tensor = { .dtype = GW_F32, .rank = GW_MAX_RANK };
	struct pack_file file = PACK_FILE_INIT;
	struct pack_zip *zip = NULL;
	struct pack_array array;
	uint8_t head[512];

	memset(tensor.name, 'x', GW_NAME_BYTES - 1);
	for (unsigned i = 0; i < GW_MAX_RANK; i++)
		tensor.shape[i] = 16;
	ck_assert_code(error, write_archive(path, &tensor, 1, &error), GW_OK);
	ck_assert_code(error, pack_file_open(AT_FDCWD, path, &file, &error), GW_OK);
	ck_assert_code(error, pack_zip_open(&file, &zip, &error), GW_OK);
	ck_assert_uint_eq(strlen(zip->members[0].name), GW_NAME_BYTES + 3);
	ck_assert_uint_eq(zip->members[0].size_bytes, (UINT64_C(1) << 34) + 128);
	ck_assert_code(error,
		       pack_file_read(&file, head, 128, zip->members[0].offset_bytes, &error),
		       GW_OK);
	ck_assert_code(error,
		       pack_array_parse(head, 128, zip->members[0].size_bytes, &array, &error),
		       GW_OK);
	ck_assert_uint_eq(array.rank, GW_MAX_RANK);
	pack_zip_free(zip);
	pack_file_close(&file);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("export");
	TCase *export = fixture_case(suite, "export");

	tcase_add_checked_fixture(export, setup, teardown);
	tcase_add_test(export, sizes);
	tcase_add_test(export, bf16);
	tcase_add_test(export, longest);
	return fixture_main(suite);
}
