/* SPDX-License-Identifier: MIT */
/* Opening files, options of every size, and what an open store tells. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "format/bytes.h"
#include "format/superblock.h"
#include "gpt2client.h"
#include "tests/support/fixture.h"

/* gcc says it so, clang otherwise */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RUNNING_SANITIZED 1
#elif defined(__has_feature)
#define RUNNING_SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define RUNNING_SANITIZED 0
#endif

static char *folder;
static const char *path;
static gpt2c_error error;
static gpt2c_store *const untouched = (gpt2c_store *)(uintptr_t)8;

static void setup(void)
{
	struct gw_tensor tensors[] = {
		fixture_tensor(GW_WTE_NAME, GW_F16, 61, 40),
		fixture_tensor(GW_WPE_NAME, GW_F32, 8, 40),
		fixture_tensor("h.0.mlp.weight", GW_BF16, 1024, 1100), /* over 2 MiB */
		fixture_tensor("bias", GW_F32, 5, 0),
	};

	folder = fixture_folder_new();
	path = fixture_path(folder, "p.gpt2w");
	fixture_pack_tensors(path, tensors, 4);
	error = (gpt2c_error)GPT2C_ERROR_INIT;
	errno = 4242;
}

static void teardown(void)
{
	ck_assert_int_eq(errno, 4242);
	fixture_folder_free(folder);
}

static void expect_fail(const char *file, int code, const char *text)
{
	gpt2c_store *store = untouched;

	errno = 4242;
	ck_assert_code(error, gpt2c_open_file(file, &store, &error), code);
	ck_assert_int_eq(errno, 4242);
	ck_assert_ptr_eq(store, untouched);
	ck_assert_int_eq(error.code, code);
	ck_assert_msg(strstr(error.message, text) != NULL, "%s", error.message);
}

START_TEST(test_info)
{
	gpt2c_info info = { .size = sizeof info };
	gpt2c_store *store = NULL;

	ck_assert_code(error, gpt2c_open_file(path, &store, &error), GPT2C_OK);
	ck_assert_int_eq(gpt2c_get_info(store, &info), GPT2C_OK);
	ck_assert_uint_eq(info.size, sizeof info);
	ck_assert_uint_eq(info.n_vocab, 61);
	ck_assert_uint_eq(info.n_positions, 8);
	ck_assert_uint_eq(info.n_embd, 40);
	ck_assert_uint_eq(info.n_layer, 12);
	ck_assert_uint_eq(info.n_head, 12);
	ck_assert_uint_eq(info.n_tensors, 4);
	ck_assert_uint_eq(info.generation, 0);
	ck_assert_uint_eq(info.wte_dtype, GPT2C_F16);
	ck_assert_uint_eq(info.wpe_dtype, GPT2C_F32);
	ck_assert_uint_eq(info.flags, GPT2C_INFO_VERIFIED);
	ck_assert_uint_eq(info.reserved, 0);
	ck_assert_uint_eq(info.image_bytes % 4096, 0);
	ck_assert_int_eq(gpt2c_state(store), GPT2C_CURRENT);
	ck_assert_int_eq(gpt2c_get_fd(store), -1);
	gpt2c_close(store);
}
END_TEST

START_TEST(test_large_tables_lie_where_huge_pages_map)
{
	gpt2c_tensor tensor = { .size = sizeof tensor };
	gpt2c_store *store = NULL;

	fixture_pack(path, 8192, 0, 64, GW_F32, GW_DTYPE_NONE);
	ck_assert_code(error, gpt2c_open_file(path, &store, &error), GPT2C_OK);
	ck_assert_int_eq(gpt2c_get_tensor(store, GW_WTE_NAME, &tensor), GPT2C_OK);
	ck_assert_uint_eq((uintptr_t)tensor.data % (2 << 20), 0);
	gpt2c_close(store);
}
END_TEST

START_TEST(test_tensors)
{
	static const char *const names[] = { "bias", "h.0.mlp.weight", "wpe.weight", "wte.weight" };
	gpt2c_tensor tensor = { .size = sizeof tensor }, same = { .size = sizeof same };
	gpt2c_store *store = NULL;

	ck_assert_code(error, gpt2c_open_file(path, &store, &error), GPT2C_OK);
	for (uint64_t i = 0; i < 4; i++) {
		ck_assert_int_eq(gpt2c_get_tensor_at(store, i, &tensor), GPT2C_OK);
		ck_assert_str_eq(tensor.name, names[i]);
		ck_assert_int_eq(gpt2c_get_tensor(store, names[i], &same), GPT2C_OK);
		ck_assert_mem_eq(&tensor, &same, sizeof same);
		ck_assert_ptr_null(tensor.scales);
	}
	ck_assert_uint_eq(tensor.dtype, GPT2C_F16);
	ck_assert_uint_eq(tensor.rank, 2);
	ck_assert_uint_eq(tensor.shape[0], 61);
	ck_assert_uint_eq(tensor.shape[1], 40);
	ck_assert_uint_eq(tensor.shape[2], 0);
	ck_assert_uint_eq(tensor.row_bytes, 128); /* 80, to the next cache line */
	ck_assert_int_eq(gpt2c_get_tensor(store, "h.0.mlp.weight", &tensor), GPT2C_OK);
	ck_assert_uint_eq((uintptr_t)tensor.data % 4096, 0);
	ck_assert_uint_eq(tensor.row_bytes, 2200);
	ck_assert_int_eq(gpt2c_get_tensor(store, "bias", &tensor), GPT2C_OK);
	ck_assert_uint_eq(tensor.rank, 1);
	ck_assert(((const float *)tensor.data)[4] == fixture_value(3, 0, 4));

	same = tensor;
	ck_assert_int_eq(gpt2c_get_tensor(store, "wte", &tensor), GPT2C_E_NO_TENSOR);
	ck_assert_int_eq(gpt2c_get_tensor(store, "", &tensor), GPT2C_E_NO_TENSOR);
	ck_assert_int_eq(gpt2c_get_tensor_at(store, 4, &tensor), GPT2C_E_NO_TENSOR);
	ck_assert_int_eq(gpt2c_get_tensor_at(store, UINT64_MAX, &tensor), GPT2C_E_NO_TENSOR);
	ck_assert_mem_eq(&tensor, &same, sizeof same);
	gpt2c_close(store);
}
END_TEST

/* What a program with shorter or longer structs gets: whole fields, and nothing past its size. */
START_TEST(test_struct_sizes)
{
	gpt2c_store *store = NULL;
	gpt2c_info full = { .size = sizeof full };
	gpt2c_tensor whole = { .size = sizeof whole };

	ck_assert_code(error, gpt2c_open_file(path, &store, &error), GPT2C_OK);
	ck_assert_int_eq(gpt2c_get_info(store, &full), GPT2C_OK);
	ck_assert_int_eq(gpt2c_get_tensor(store, "wte.weight", &whole), GPT2C_OK);
	for (size_t size = 1; size < 200; size++) {
		union {
			gpt2c_info info;
			gpt2c_tensor tensor;
			uint8_t bytes[256];
		} u;
		size_t n = size < 8 ? 8 : size;

		memset(&u, 0xa5, sizeof u);
		u.info.size = size;
		ck_assert_int_eq(gpt2c_get_info(store, &u.info), GPT2C_OK);
		for (size_t i = n; i < sizeof u; i++)
			ck_assert_uint_eq(u.bytes[i], 0xa5);
		if (size >= 16)
			ck_assert_uint_eq(u.info.n_vocab, 61);
		if (size >= sizeof full)
			ck_assert_mem_eq(u.bytes + 8, (uint8_t *)&full + 8, sizeof full - 8);
		else if (size < 16)
			ck_assert_uint_eq(u.bytes[8], 0xa5);

		memset(&u, 0xa5, sizeof u);
		u.tensor.size = size;
		ck_assert_int_eq(gpt2c_get_tensor_at(store, 3, &u.tensor), GPT2C_OK);
		for (size_t i = n; i < sizeof u; i++)
			ck_assert_uint_eq(u.bytes[i], 0xa5);
		if (size >= sizeof whole)
			ck_assert_mem_eq(u.bytes + 8, (uint8_t *)&whole + 8, sizeof whole - 8);
	}
	gpt2c_close(store);
}
END_TEST

START_TEST(test_null)
{
	gpt2c_info info = { .size = sizeof info }, no_info = { 0 };
	gpt2c_tensor tensor = { .size = sizeof tensor }, no_tensor = { 0 };
	gpt2c_options options = GPT2C_OPTIONS_INIT;
	gpt2c_error no_error = { 0 };
	gpt2c_store *store = NULL, *other = untouched;

	ck_assert_code(error, gpt2c_open_file(path, &store, &error), GPT2C_OK);
	ck_assert_int_eq(gpt2c_get_info(NULL, &info), GPT2C_E_ARGUMENT);
	ck_assert_int_eq(gpt2c_get_info(store, NULL), GPT2C_E_ARGUMENT);
	ck_assert_int_eq(gpt2c_get_info(store, &no_info), GPT2C_E_ARGUMENT);
	ck_assert_int_eq(gpt2c_get_tensor(NULL, "x", &tensor), GPT2C_E_ARGUMENT);
	ck_assert_int_eq(gpt2c_get_tensor(store, NULL, &tensor), GPT2C_E_ARGUMENT);
	ck_assert_int_eq(gpt2c_get_tensor(store, "x", NULL), GPT2C_E_ARGUMENT);
	ck_assert_int_eq(gpt2c_get_tensor(store, "x", &no_tensor), GPT2C_E_ARGUMENT);
	ck_assert_int_eq(gpt2c_get_tensor_at(NULL, 0, &tensor), GPT2C_E_ARGUMENT);
	ck_assert_int_eq(gpt2c_get_tensor_at(store, 0, NULL), GPT2C_E_ARGUMENT);
	ck_assert_int_eq(gpt2c_get_tensor_at(store, 0, &no_tensor), GPT2C_E_ARGUMENT);
	ck_assert_int_eq(gpt2c_state(NULL), GPT2C_CURRENT);
	ck_assert_int_eq(gpt2c_get_fd(NULL), -1);
	ck_assert_ptr_null(gpt2c_ref(NULL));
	gpt2c_close(NULL);
	gpt2c_close(store);

	options.file = path;
	ck_assert_code(error, gpt2c_open_file(NULL, &other, &error), GPT2C_E_ARGUMENT);
	ck_assert_code(error, gpt2c_open_file(path, NULL, &error), GPT2C_E_ARGUMENT);
	ck_assert_code(error, gpt2c_open("/x", NULL, NULL, &error), GPT2C_E_ARGUMENT);
	ck_assert_code(error, gpt2c_open_with(NULL, &other, &error), GPT2C_E_ARGUMENT);
	ck_assert_code(error, gpt2c_open_with(&options, NULL, &error), GPT2C_E_ARGUMENT);
	ck_assert_int_eq(gpt2c_open_file(path, &other, &no_error), GPT2C_E_ARGUMENT);
	ck_assert_int_eq(gpt2c_open("/x", NULL, &other, &no_error), GPT2C_E_ARGUMENT);
	ck_assert_int_eq(gpt2c_open_with(&options, &other, &no_error), GPT2C_E_ARGUMENT);
	ck_assert_ptr_eq(other, untouched);
}
END_TEST

/* Options of every size: what does not fit counts as 0. */
START_TEST(test_options_sizes)
{
	union {
		gpt2c_options options;
		uint8_t bytes[128];
	} u;
	gpt2c_store *store = untouched;

	setenv("GPT2D_SOCKET", "/nowhere", 1);
	for (size_t size = 0; size < sizeof u; size++) {
		int expected = size == 0 ? GPT2C_E_ARGUMENT : GPT2C_E_NO_DAEMON;

		memset(&u, 0xff, sizeof u);
		u.options = (gpt2c_options){ .size = size, .file = path, .flags = 0x80 };
		if (size >= 48)
			expected = GPT2C_E_ARGUMENT; /* flag 0x80 is seen */
		else if (size >= 32)
			expected = GPT2C_OK;
		store = untouched;
		ck_assert_code(error, gpt2c_open_with(&u.options, &store, &error), expected);
		if (expected == GPT2C_OK)
			gpt2c_close(store);
		else
			ck_assert_ptr_eq(store, untouched);
	}
	u.options = (gpt2c_options){ .size = sizeof u, .file = path };
	ck_assert_code(error, gpt2c_open_with(&u.options, &store, &error), GPT2C_OK);
	gpt2c_close(store);
	unsetenv("GPT2D_SOCKET");
}
END_TEST

START_TEST(test_options)
{
	gpt2c_options options = GPT2C_OPTIONS_INIT;
	gpt2c_info info = { .size = sizeof info };
	gpt2c_store *store = untouched;

	options.file = path;
	options.model = "gpt2";
	ck_assert_code(error, gpt2c_open_with(&options, &store, &error), GPT2C_E_ARGUMENT);
	options.model = NULL;
	options.socket_path = "/x";
	ck_assert_code(error, gpt2c_open_with(&options, &store, &error), GPT2C_E_ARGUMENT);
	options.socket_path = NULL;
	options.flags = UINT64_C(1) << 63;
	ck_assert_code(error, gpt2c_open_with(&options, &store, &error), GPT2C_E_ARGUMENT);
	ck_assert_ptr_eq(store, untouched);

	options.flags =
		GPT2C_NO_VERIFY | GPT2C_POPULATE | GPT2C_COPY_ON_WRITE | GPT2C_ALLOW_UNSEALED;
	options.timeout_ms = UINT64_MAX;
	ck_assert_code(error, gpt2c_open_with(&options, &store, &error), GPT2C_OK);
	ck_assert_int_eq(gpt2c_get_info(store, &info), GPT2C_OK);
	ck_assert_uint_eq(info.flags, 0);
	gpt2c_close(store);
	options.flags = 0;
	ck_assert_code(error, gpt2c_open_with(&options, &store, &error), GPT2C_OK);
	gpt2c_close(store);
}
END_TEST

/* Changed in place: seen where the digests are asked for, and only there. */
START_TEST(test_corrupt)
{
	gpt2c_options options = GPT2C_OPTIONS_INIT;
	gpt2c_store *store = NULL;
	size_t bytes;
	uint8_t *pack = fixture_read(path, &bytes);
	const char *bad = fixture_path(folder, "bad.gpt2w");

	options.file = bad;
	options.flags = GPT2C_NO_VERIFY;
	pack[bytes - 4096] ^= 1; /* wte, the last tensor */
	fixture_write(bad, pack, bytes);
	expect_fail(bad, GPT2C_E_CORRUPT, "bad.gpt2w: ");
	ck_assert_int_ge(error.index, (int64_t)GW_DIRECTORY_OFFSET);
	ck_assert_code(error, gpt2c_open_with(&options, &store, &error), GPT2C_OK);
	gpt2c_close(store);
	pack[bytes - 4096] ^= 1;

	pack[bytes - 1] ^= 1; /* padding after it */
	fixture_write(bad, pack, bytes);
	expect_fail(bad, GPT2C_E_CORRUPT, "bad.gpt2w: ");
	pack[bytes - 1] ^= 1;

	pack[GW_DIRECTORY_OFFSET] ^= 1;
	fixture_write(bad, pack, bytes);
	expect_fail(bad, GPT2C_E_CORRUPT, "bad.gpt2w: ");
	pack[GW_DIRECTORY_OFFSET] ^= 1;

	fixture_write(bad, pack, bytes - 4096);
	expect_fail(bad, GPT2C_E_TRUNCATED, "bad.gpt2w: ");
	fixture_write(bad, pack, 100);
	expect_fail(bad, GPT2C_E_TRUNCATED, "bad.gpt2w: ");
	fixture_write(bad, pack, 0);
	expect_fail(bad, GPT2C_E_TRUNCATED, "bad.gpt2w: ");
	pack = realloc(pack, bytes + 1);
	pack[bytes] = 0;
	fixture_write(bad, pack, bytes + 1);
	expect_fail(bad, GPT2C_E_TRUNCATED, "bad.gpt2w: ");

	pack[GW_SB_VERSION_MAJOR] = 2;
	fixture_write(bad, pack, bytes);
	expect_fail(bad, GPT2C_E_VERSION, "bad.gpt2w: ");
	pack[GW_SB_VERSION_MAJOR] = 1;

	memset(pack + GW_DIRECTORY_OFFSET + GW_DE_SHAPE, 0xff, 8);
	fixture_repair(pack, bytes);
	fixture_write(bad, pack, bytes);
	expect_fail(bad, GPT2C_E_MALFORMED, "bad.gpt2w: ");
	free(pack);
}
END_TEST

START_TEST(test_not_a_pack)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *other = fixture_path(folder, "other");
	int fd;

	expect_fail(fixture_path(folder, "none"), GPT2C_E_NOT_FOUND, "none: No such file");
	ck_assert_int_eq(error.sys_errno, ENOENT);
	expect_fail(fixture_path(path, "below"), GPT2C_E_NOT_FOUND, "Not a directory");
	expect_fail(folder, GPT2C_E_NOT_A_PACK, folder);
	expect_fail("/dev/zero", GPT2C_E_NOT_A_PACK, "/dev/zero");
	expect_fail("", GPT2C_E_NOT_FOUND, "cannot open");
	ck_assert_int_eq(mkfifo(other, 0600), 0);
	expect_fail(other, GPT2C_E_NOT_A_PACK, "other: ");
	unlink(other);
	memcpy(address.sun_path, other, strlen(other));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	expect_fail(other, GPT2C_E_NOT_A_PACK, "other: ");
	close(fd);
	unlink(other);
	ck_assert_int_eq(symlink("other", other), 0);
	expect_fail(other, GPT2C_E_SYSTEM, "other: Too many levels");
	unlink(other);
	fixture_write(other, "<!DOCTYPE html>", 15);
	expect_fail(other, GPT2C_E_NOT_A_PACK, "other: ");
	errno = 4242;
}
END_TEST

/* A file's name is quoted, and cut where it is long. */
START_TEST(test_names)
{
	char name[300];

	expect_fail("/none/\033[31mred\n", GPT2C_E_NOT_FOUND, "\\x1b[31mred\\x0a");
	memset(name, 'n', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	expect_fail(name, GPT2C_E_SYSTEM, "...: File name too long");
}
END_TEST

/* As root, who may read anything, nobody's eyes are borrowed. */
START_TEST(test_access)
{
	bool root = geteuid() == 0;

	ck_assert_int_eq(chmod(path, 0), 0);
	if (root)
		ck_assert_int_eq(seteuid(65534), 0);
	expect_fail(path, GPT2C_E_ACCESS, "Permission denied");
	ck_assert_int_eq(error.sys_errno, EACCES);
	if (root)
		ck_assert_int_eq(seteuid(0), 0);
	errno = 4242;
}
END_TEST

START_TEST(test_no_address_space)
{
	struct rlimit before, limit;
	gpt2c_store *store = untouched;
	gpt2c_options options = GPT2C_OPTIONS_INIT;

	if (RUNNING_SANITIZED) {
		printf("skipped: a sanitizer needs its address space\n");
		return;
	}
	options.file = path;
	options.flags = GPT2C_NO_VERIFY;
	ck_assert_int_eq(getrlimit(RLIMIT_AS, &before), 0);
	limit = before;
	limit.rlim_cur = 1 << 20;
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
	ck_assert_int_eq(gpt2c_open_with(&options, &store, &error), GPT2C_E_MEMORY);
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &before), 0);
	ck_assert_ptr_eq(store, untouched);
	ck_assert_int_eq(error.code, GPT2C_E_MEMORY);
}
END_TEST

START_TEST(test_references)
{
	gpt2c_tensor tensor = { .size = sizeof tensor };
	gpt2c_store *store = NULL;

	ck_assert_code(error, gpt2c_open_file(path, &store, &error), GPT2C_OK);
	for (int i = 0; i < 1000; i++)
		ck_assert_ptr_eq(gpt2c_ref(store), store);
	for (int i = 0; i < 1000; i++)
		gpt2c_close(store);
	ck_assert_int_eq(gpt2c_get_tensor(store, "bias", &tensor), GPT2C_OK);
	ck_assert(((const float *)tensor.data)[0] == fixture_value(3, 0, 0));
	gpt2c_close(store);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client/open");
	TCase *tcase = tcase_create("open");

	tcase_add_checked_fixture(tcase, fixture_fds_setup, fixture_fds_teardown);
	tcase_add_checked_fixture(tcase, setup, teardown);
	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, test_info);
	tcase_add_test(tcase, test_tensors);
	tcase_add_test(tcase, test_large_tables_lie_where_huge_pages_map);
	tcase_add_test(tcase, test_struct_sizes);
	tcase_add_test(tcase, test_null);
	tcase_add_test(tcase, test_options_sizes);
	tcase_add_test(tcase, test_options);
	tcase_add_test(tcase, test_corrupt);
	tcase_add_test(tcase, test_not_a_pack);
	tcase_add_test(tcase, test_names);
	tcase_add_test(tcase, test_access);
	tcase_add_test(tcase, test_no_address_space);
	tcase_add_test(tcase, test_references);
	return fixture_main(suite);
}
