/* SPDX-License-Identifier: MIT */
/* Strided views of a storage, for every width of an element and every size of page. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/fixture.h"
#include "tools/pack/element.h"
#include "tools/pack/torch.h"

static char *folder;
static struct pack_source source;
static struct pack_torch torch;
static struct pack_torch_view view;
static struct pack_tensor tensor;
static struct pack_gather *gather;

/* A matrix of rows and columns in column-major order, in a storage of so many bytes. */
static void setup(void)
{
	struct pack_file file = PACK_FILE_INIT;
	struct gw_error error = GW_ERROR_INIT;
	const char *path;

	folder = fixture_folder_new();
	path = fixture_path(folder, "x.pt");
	fixture_write(path, "", 0);
	ck_assert_code(error, pack_file_open(-1, path, &file, &error), GW_OK);
	source = (struct pack_source){ .state = &torch };
	ck_assert_code(error, pack_source_take_file(&source, &file, &error), GW_OK);
	torch = (struct pack_torch){ .views = &view };
	torch.effort_bytes = &torch.own_effort_bytes;
	view = (struct pack_torch_view){ 0 };
	tensor = (struct pack_tensor){ .name = (char *)(uintptr_t)"a\x1b", .rank = 2 };
	gather = pack_gather_new();
	ck_assert_ptr_nonnull(gather);
}

static void teardown(void)
{
	pack_gather_free(gather);
	pack_file_close(&source.files[0]);
	free(source.files);
	fixture_folder_free(folder);
}

static void shape(const char *element, uint64_t rows, uint64_t columns)
{
	unsigned width = pack_element_bits(pack_element_find(element)) / 8;

	tensor.element = pack_element_find(element);
	tensor.shape[0] = rows;
	tensor.shape[1] = columns;
	tensor.size_bytes = rows * columns * width;
	view.stride_bytes[0] = width;
	view.stride_bytes[1] = rows * width;
	view.storage_bytes = tensor.size_bytes;
}

static const char *const elements[] = { "U8", "F16", "F32", "F64" };

START_TEST(values)
{
	enum { ROWS = 700, COLUMNS = 3 };
	unsigned width;
	struct gw_error error = GW_ERROR_INIT;
	uint8_t *data, *out;

	shape(elements[_i], ROWS, COLUMNS);
	width = (unsigned)view.stride_bytes[0];
	data = malloc(tensor.size_bytes);
	out = malloc(tensor.size_bytes);
	for (uint64_t i = 0; i < tensor.size_bytes; i++)
		data[i] = (uint8_t)(i * 167 >> 3);
	fixture_write(fixture_path(folder, "x.pt"), data, tensor.size_bytes);
	/* a part that is no whole rows, then the rest */
	ck_assert_code(error,
		       pack_gather_read(gather, &source, &tensor, 0, 7 * width, out, &error),
		       GW_OK);
	ck_assert_code(error,
		       pack_gather_read(gather, &source, &tensor, 7 * width,
					tensor.size_bytes - 7 * width, out + 7 * width, &error),
		       GW_OK);
	for (uint64_t row = 0; row < ROWS; row++)
		for (uint64_t column = 0; column < COLUMNS; column++)
			ck_assert_mem_eq(out + (row * COLUMNS + column) * width,
					 data + (column * ROWS + row) * width, width);
	free(data);
	free(out);
}
END_TEST

/* Of a storage of 6 GiB, of which a sparse file has the two ends: its pages are larger. */
START_TEST(large_storage)
{
	const char *path = fixture_path(folder, "x.pt");
	const uint64_t storage_bytes = UINT64_C(6) << 30;
	struct gw_error error = GW_ERROR_INIT;
	uint8_t out[8];

	fixture_write(path, "abcd", 4);
	ck_assert_int_eq(truncate(path, (off_t)storage_bytes), 0);
	shape("F32", 1, 2);
	view.storage_bytes = storage_bytes;
	view.stride_bytes[1] = storage_bytes - 4;
	ck_assert_code(error, pack_gather_read(gather, &source, &tensor, 0, 8, out, &error), GW_OK);
	ck_assert_mem_eq(out, "abcd\0\0\0\0", 8);
}
END_TEST

START_TEST(refused)
{
	struct gw_error error = GW_ERROR_INIT;
	uint8_t out[8];

	shape("F32", 1, 2);
	view.storage_bytes = (UINT64_C(1) << 44) + 4096;
	tensor.offset_bytes = 99;
	ck_assert_code(error, pack_gather_read(gather, &source, &tensor, 0, 8, out, &error),
		       GW_E_SOURCE);
	ck_assert_uint_eq(error.offset, 99);
	ck_assert_str_eq(error.message,
			 "x.pt: tensor \"a\\x1b\" is a strided view of a storage of over 16 TiB");
	/* the file ends before the storage does */
	view.storage_bytes = 4096;
	ck_assert_code(error, pack_gather_read(gather, &source, &tensor, 0, 8, out, &error),
		       GW_E_CHANGED);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("gather");
	TCase *views = fixture_case(suite, "views");

	tcase_add_checked_fixture(views, setup, teardown);
	tcase_add_loop_test(views, values, 0, sizeof elements / sizeof elements[0]);
	tcase_add_test(views, large_storage);
	tcase_add_test(views, refused);
	return fixture_main(suite);
}
