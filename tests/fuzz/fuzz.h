/* SPDX-License-Identifier: MIT */
/*
 * What fuzz targets share. A target is one file: with clang and -Dfuzz=true it is linked with
 * libFuzzer, in every build with replay.c, which runs committed inputs and seeds through it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "format/status.h"

/* libFuzzer's names. A target defines the first, and the second if it mutates by itself. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t room_bytes, unsigned seed);
/* Given to targets: changes data in place and returns its new size, at most room_bytes. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t bytes, size_t room_bytes);

/* A property that must hold: says which one does not, and aborts. Not an assert: it stays in
 * builds without assertions. */
#define FUZZ_CHECK(property)                                        \
	do {                                                        \
		if (!(property))                                    \
			fuzz_broken(__FILE__, __LINE__, #property); \
	} while (0)
_Noreturn void fuzz_broken(const char *file, int line, const char *property);

/* A failure must be told well: its code in error, a message that is not empty, UTF-8 and free of
 * control characters. */
void fuzz_check_error(int code, const struct gw_error *error);

/* The path of a folder of its own, which is removed when the process ends. */
const char *fuzz_folder(void);
/*
 * The path of a file in it that holds these bytes, and then zeros up to size_bytes. One file,
 * written anew at every call.
 */
const char *fuzz_file(const uint8_t *data, size_t bytes, uint64_t size_bytes);
/* The same under another name, a constant; there is no such file where data is NULL. */
const char *fuzz_companion(const char *name, const uint8_t *data, size_t bytes);

/*
 * Between these two, which do not nest, nothing may be leaked: no descriptor and, where
 * AddressSanitizer counts, no memory; and at no moment may there be more than limit_bytes of memory
 * beyond what there was. Only this thread's allocations count.
 */
struct fuzz_resources {
	int lowest_fd;
};
struct fuzz_resources fuzz_resources_start(uint64_t limit_bytes);
void fuzz_resources_end(const struct fuzz_resources *before);

/* SplitMix64: the next number of a sequence that state determines. */
uint64_t fuzz_random(uint64_t *state);
