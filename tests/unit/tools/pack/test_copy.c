/* SPDX-License-Identifier: MIT */
/* One pass over several files: tables in any order, digests of all bytes, changes noticed. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/reader.h"
#include "tests/support/fixture.h"
#include "tools/pack/copy.h"
#include "tools/pack/limits.h"

/* Larger than the buffer, of a size that is no multiple of it. */
#define ROWS 3000
#define COLUMNS 129
#define WTE_BYTES ((size_t)ROWS * COLUMNS * 4)
#define WPE_BYTES ((size_t)7 * COLUMNS * 2)

static char *folder;
static uint8_t *all; /* index, shard 1, shard 2 */
static size_t all_bytes;

static void append(const char *name, const void *data, size_t n)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	file = fopen(path, "ab");
	ck_assert_uint_eq(fwrite(data, 1, n, file), n);
	ck_assert_int_eq(fclose(file), 0);
	all = realloc(all, all_bytes + n);
	memcpy(all + all_bytes, data, n);
	all_bytes += n;
}

static void append_shard(const char *name, const char *header, const uint8_t *data, size_t n)
{
	uint8_t length[8] = { (uint8_t)strlen(header), (uint8_t)(strlen(header) >> 8) };

	append(name, length, 8);
	append(name, header, strlen(header));
	append(name, data, n);
}

static uint8_t wte[WTE_BYTES], wpe[WPE_BYTES + 3];

static void setup(void)
{
	static const char index[] =
		"{\"weight_map\":{\"wpe.weight\":\"b.st\",\"wte.weight\":\"a.st\"}}";
	char header[256];

	for (size_t i = 0; i < sizeof wte; i++)
		wte[i] = (uint8_t)(i * 7 % 251);
	for (size_t i = 0; i < sizeof wpe; i++)
		wpe[i] = (uint8_t)(i * 5 % 241);
	folder = fixture_folder_new();
	all = NULL;
	all_bytes = 0;
	append("model.safetensors.index.json", index, sizeof index - 1);
	/* the first file that the index names is hashed first; 3 odd bytes stand before wpe */
	snprintf(header, sizeof header,
		 "{\"x\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},\"wpe.weight\":"
		 "{\"dtype\":\"F16\",\"shape\":[7,%d],\"data_offsets\":[3,%zu]}}",
		 COLUMNS, WPE_BYTES + 3);
	append_shard("b.st", header, wpe, WPE_BYTES + 3);
	snprintf(header, sizeof header,
		 "{\"wte.weight\":{\"dtype\":\"F32\",\"shape\":[%d,%d],\"data_offsets\":[0,%zu]}}",
		 ROWS, COLUMNS, WTE_BYTES);
	append_shard("a.st", header, wte, WTE_BYTES);
}

static void teardown(void)
{
	fixture_folder_free(folder);
	free(all);
}

static int copy(struct pack_source *source, struct gw_digest *out_digest, struct gw_error *error)
{
	const struct pack_wish wish = { 0 };
	struct gw_provenance provenance = { .tool = "test" };
	struct gw_tensor tensors[2];
	struct tool_progress progress;
	struct gw_writer *writer = NULL;
	struct pack_plan plan;
	int code;

	ck_assert_code(*error, pack_plan_make(source, &wish, &plan, error), GW_OK);
	for (size_t i = 0; i < 2; i++)
		tensors[i] = pack_plan_declare(&plan, i);
	ck_assert_code(*error,
		       gw_writer_new(fixture_path(folder, "out"), false, tensors, 2, &writer,
				     error),
		       GW_OK);
	tool_progress_start(&progress, "test", 1, true);
	code = pack_copy(source, &plan, writer, &progress, out_digest, error);
	if (code == GW_OK)
		code = gw_writer_finish(writer, &provenance, 0, 0, NULL, error);
	gw_writer_free(writer);
	pack_plan_deinit(&plan);
	return code;
}

START_TEST(tables_and_digest)
{
	struct gw_error error = GW_ERROR_INIT;
	struct pack_source *source = NULL;
	struct gw_pack *pack = NULL;
	struct gw_digest digest, expected = gw_hash128(all, all_bytes);
	uint8_t *file;
	size_t n;

	ck_assert_code(error, pack_source_open(folder, &source, &error), GW_OK);
	ck_assert_uint_eq(pack_source_bytes(source), all_bytes);
	ck_assert_code(error, copy(source, &digest, &error), GW_OK);
	ck_assert(gw_digest_equal(&digest, &expected));
	pack_source_free(source);

	file = fixture_read(fixture_path(folder, "out"), &n);
	ck_assert_code(error, gw_pack_open_memory(file, n, 0, &pack, &error), GW_OK);
	ck_assert_code(error,
		       gw_pack_verify_memory(pack, file, 0, gw_pack_unit_count(pack), &error),
		       GW_OK);
	for (size_t row = 0; row < ROWS; row++)
		ck_assert_mem_eq(file + pack->wte->data_offset + row * pack->wte->row_bytes,
				 wte + row * COLUMNS * 4, COLUMNS * 4);
	for (size_t row = 0; row < 7; row++)
		ck_assert_mem_eq(file + pack->wpe->data_offset + row * pack->wpe->row_bytes,
				 wpe + 3 + row * COLUMNS * 2, COLUMNS * 2);
	gw_pack_free(pack);
	free(file);
}
END_TEST

START_TEST(shorter_meanwhile)
{
	struct gw_error error = GW_ERROR_INIT;
	struct pack_source *source = NULL;
	struct gw_digest digest;

	ck_assert_code(error, pack_source_open(folder, &source, &error), GW_OK);
	ck_assert_int_eq(truncate(fixture_path(folder, "a.st"), 1000000), 0);
	ck_assert_code(error, copy(source, &digest, &error), GW_E_CHANGED);
	ck_assert_int_ne(access(fixture_path(folder, "out"), F_OK), 0);
	pack_source_free(source);
}
END_TEST

START_TEST(longer_meanwhile)
{
	struct gw_error error = GW_ERROR_INIT;
	struct pack_source *source = NULL;
	struct gw_digest digest;

	ck_assert_code(error, pack_source_open(folder, &source, &error), GW_OK);
	append("b.st", "x", 1);
	ck_assert_code(error, copy(source, &digest, &error), GW_E_CHANGED);
	ck_assert_ptr_nonnull(strstr(error.message, "b.st"));
	pack_source_free(source);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("copy");
	TCase *tcase = fixture_case(suite, "copy");

	static_assert(WTE_BYTES > 2 * PACK_BUFFER_BYTES, "several buffers");
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, tables_and_digest);
	tcase_add_test(tcase, shorter_meanwhile);
	tcase_add_test(tcase, longer_meanwhile);
	return fixture_main(suite);
}
