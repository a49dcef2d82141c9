/* SPDX-License-Identifier: MIT */
/*
 * replay N PATH…: runs the files, and those in the folders, through the target that this is
 * linked with, and after each of them N mutants of it, always the same ones. Needs no libFuzzer.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

#define ROOM_BYTES (UINT64_C(1) << 20)

/* Only some targets have one. */
__attribute__((weak)) size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t room_bytes,
						     unsigned seed);

static uint64_t random_state;
static unsigned long n_inputs, n_mutants;

/* One of a few small changes; a stand-in for libFuzzer's. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t bytes, size_t room_bytes)
{
	static const uint8_t values[] = { 0, 1, 0x7f, 0x80, 0xff, '"', '-', '9' };
	size_t at = bytes ? fuzz_random(&random_state) % bytes : 0;

	switch (fuzz_random(&random_state) % 5) {
	case 0: /* cut */
		return bytes > 1 ? at + 1 : bytes;
	case 1: /* insert */
		if (bytes == room_bytes)
			return bytes;
		memmove(data + at + 1, data + at, bytes - at);
		data[at] = values[fuzz_random(&random_state) % sizeof values];
		return bytes + 1;
	case 2: /* remove */
		if (bytes < 2)
			return bytes;
		memmove(data + at, data + at + 1, bytes - at - 1);
		return bytes - 1;
	case 3:
		if (bytes)
			data[at] ^= (uint8_t)(1u << fuzz_random(&random_state) % 8);
		return bytes;
	default:
		if (bytes)
			data[at] = values[fuzz_random(&random_state) % sizeof values];
		return bytes;
	}
}

static void run_mutants(const uint8_t *data, size_t bytes, unsigned long n)
{
	for (unsigned long i = 0; i < n; i++) {
		uint8_t *mutant = malloc(ROOM_BYTES), *exact;
		size_t mutant_bytes;
		unsigned seed;

		FUZZ_CHECK(mutant != NULL && bytes <= ROOM_BYTES);
		memcpy(mutant, data, bytes);
		random_state = i;
		seed = (unsigned)fuzz_random(&random_state);
		mutant_bytes = LLVMFuzzerCustomMutator
				       ? LLVMFuzzerCustomMutator(mutant, bytes, ROOM_BYTES, seed)
				       : LLVMFuzzerMutate(mutant, bytes, ROOM_BYTES);
		/* of exactly this size, so that a sanitizer sees a read past its end */
		exact = malloc(mutant_bytes + !mutant_bytes);
		FUZZ_CHECK(exact != NULL && mutant_bytes <= ROOM_BYTES);
		memcpy(exact, mutant, mutant_bytes);
		free(mutant);
		LLVMFuzzerTestOneInput(exact, mutant_bytes);
		free(exact);
		n_mutants++;
	}
}

static void run_file(const char *path, unsigned long n)
{
	FILE *file = fopen(path, "rbe");
	struct stat status;
	uint8_t *data;
	size_t bytes;

	if (!file || fstat(fileno(file), &status) != 0) {
		perror(path);
		exit(EXIT_FAILURE);
	}
	bytes = (size_t)status.st_size;
	data = malloc(bytes + !bytes);
	FUZZ_CHECK(data != NULL && fread(data, 1, bytes, file) == bytes);
	fclose(file);
	printf("%s\n", path); /* the last one is the culprit */
	fflush(stdout);
	LLVMFuzzerTestOneInput(data, bytes);
	n_inputs++;
	run_mutants(data, bytes, n);
	free(data);
}

static void run_path(const char *path, unsigned long n)
{
	struct dirent **entries;
	int n_entries = scandir(path, &entries, NULL, alphasort);
	char name[4096];

	if (n_entries < 0) {
		run_file(path, n);
		return;
	}
	for (int i = 0; i < n_entries; i++) {
		snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
		if (entries[i]->d_name[0] != '.')
			run_file(name, n);
		free(entries[i]);
	}
	free(entries);
}

int main(int argc, char **argv)
{
	unsigned long n = argc > 2 ? strtoul(argv[1], NULL, 10) : 0;

	for (int i = 2; i < argc; i++)
		run_path(argv[i], n);
	if (n_inputs == 0) {
		fprintf(stderr, "no inputs: replay MUTANTS PATH...\n");
		return EXIT_FAILURE;
	}
	printf("%lu inputs, %lu mutants\n", n_inputs, n_mutants);
	return EXIT_SUCCESS;
}
