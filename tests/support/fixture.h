/* SPDX-License-Identifier: MIT */
/* What every test program shares: a runner, counts of descriptors, temporary folders, packs. */
#pragma once

#include <check.h>
#include <stddef.h>
#include <stdint.h>

#include "format/directory.h"
#include "format/status.h"

/*
 * Check's own also notes its place in a file whenever it holds, for the report of a crash: a system
 * call for each assertion, most of the time of tests that try every byte. What fails is told as before.
 */
#undef ck_assert_msg
#define ck_assert_msg(expr, ...)                                                                  \
	((expr) ? (void)0                                                                         \
		: _ck_assert_failed(__FILE__, __LINE__, "Assertion '" #expr "' failed", __VA_ARGS__))

/*
 * Runs one suite and returns main's exit code. argv[1], if given, is the one test case to run.
 * CK_FORK=no is respected. A test gets 120 s, which only a hang takes (CK_DEFAULT_TIMEOUT overrides).
 * Everything below may fail a test, so only tests may call it: Check ends a program that does so
 * elsewhere.
 */
int fixture_main(Suite *suite);

/* Number of open descriptors of this process. */
int fixture_count_fds(void);

/* A checked fixture for tcase_add_checked_fixture: fails the test if it leaked a descriptor. */
void fixture_fds_setup(void);
void fixture_fds_teardown(void);

/* A new test case of suite with that fixture. */
TCase *fixture_case(Suite *suite, const char *name);

/* A fresh directory under $TMPDIR or /tmp, removed with all it holds by fixture_folder_free. */
char *fixture_folder_new(void);
void fixture_folder_free(char *folder);
/* folder/name, in one of 8 static buffers. */
const char *fixture_path(const char *folder, const char *name);
/* Number of entries of a folder, without . and .. */
int fixture_count_files(const char *folder);

/* The whole file; *out_bytes is its size; free() ends it. */
uint8_t *fixture_read(const char *path, size_t *out_bytes);
void fixture_write(const char *path, const void *data, size_t bytes);

/*
 * The value of element (row, column) of a test table: a scrambled function of all three, so that a
 * wrong row, column or table shows; exact in f32, f16 and bf16.
 */
float fixture_value(uint64_t seed, uint64_t row, uint64_t column);

/* Its bytes in dtype, little-endian, at out; returns how many. int8: half of it, cut. */
unsigned fixture_element(float value, unsigned dtype, uint8_t *out);

/* The scale of a row of an int8 test table. */
float fixture_scale(uint64_t seed, uint64_t row);

/* A tensor to declare; columns 0: rank 1. Its role follows from its name. */
struct gw_tensor fixture_tensor(const char *name, unsigned dtype, uint64_t rows, uint64_t columns);

/* A pack at path of n tensors with values of fixture_value (seed 1 for wte, 2 for wpe, else 3). */
void fixture_pack_tensors(const char *path, const struct gw_tensor *tensors, size_t n);

/* A pack at path with such tables, wte and, unless n_positions is 0, wpe. */
void fixture_pack(const char *path, uint64_t n_vocab, uint64_t n_positions, uint64_t n_embd,
		  unsigned wte_dtype, unsigned wpe_dtype);

/* The same in memory; *out_bytes is its size; free() ends it. */
uint8_t *fixture_image(const struct gw_tensor *tensors, size_t n, size_t *out_bytes);

/*
 * The compressed form of an uncompressed pack in memory; *out_bytes is its size; free() ends it. Every
 * block is coded at zstd's level 3.
 */
uint8_t *fixture_compress(const uint8_t *pack, size_t bytes, size_t *out_bytes);

/*
 * Opens the pack in a file, compressed or not, and verifies all of its units: the first failure, or
 * GW_OK.
 */
int fixture_check_file(const char *path, struct gw_error *error);

/* Opens a pack in memory and verifies all of its units: the first failure, or GW_OK. */
int fixture_check(const uint8_t *pack, size_t bytes, struct gw_error *error);

/*
 * Recomputes all digests of a pack in memory, so that only the intended rule can refuse it. What
 * the superblock and the directory claim beyond the bytes that are there is left out. Of a compressed
 * pack, the block digests are left as they are, those of stored blocks are made to fit. bytes: at
 * least GW_DIRECTORY_OFFSET. Not only for tests: fails none.
 */
void fixture_repair(uint8_t *pack, size_t bytes);

#define ck_assert_code(error, call, expected)                                                \
	do {                                                                                 \
		int code_ = (call);                                                          \
		ck_assert_msg(code_ == (expected), "%s: %d instead of %d: %s", #call, code_, \
			      (int)(expected), (error).message);                             \
	} while (0)
