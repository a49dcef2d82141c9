/* SPDX-License-Identifier: MIT */
/*
 * bench-first-map FILE WTE_OFFSET WPE_OFFSET N_VOCAB N_EMBD N: what a program does that has no store: maps
 * a file, unverified, and reads one row of wte (N is 1) or computes the input embeddings of 1 x N tokens.
 * Prints the sum of what it got. All is f32; offsets are in bytes.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "tools/bench/first.h"
#include "tools/bench/loops.h"

int main(int argc, char **argv)
{
	size_t n_vocab, n_embd, n, wte_offset, wpe_offset;
	struct stat status;
	int32_t *ids;
	const char *data;
	const float *wte, *wpe;
	float *out;
	int fd;

	if (argc != 7) {
		fprintf(stderr, "usage: bench-first-map FILE WTE_OFFSET WPE_OFFSET N_VOCAB N_EMBD N\n");
		return 2;
	}
	wte_offset = strtoul(argv[2], NULL, 10);
	wpe_offset = strtoul(argv[3], NULL, 10);
	n_vocab = strtoul(argv[4], NULL, 10);
	n_embd = strtoul(argv[5], NULL, 10);
	n = strtoul(argv[6], NULL, 10);
	ids = malloc(n * sizeof *ids);
	out = malloc(n * n_embd * sizeof *out);
	fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (!ids || !out || fd < 0 || fstat(fd, &status) < 0) {
		perror("bench-first-map");
		return 1;
	}
	data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (data == MAP_FAILED) {
		perror("bench-first-map: mmap");
		return 1;
	}
	wte = (const float *)(const void *)(data + wte_offset);
	wpe = (const float *)(const void *)(data + wpe_offset);
	bench_first_ids(ids, n, n_vocab);
	if (n == 1) {
		printf("%.9g\n", bench_sum(wte + (size_t)ids[0] * n_embd, n_embd));
		return 0;
	}
	bench_encoder(out, ids, wte, wpe, 1, n, n_embd);
	printf("%.9g\n", bench_sum(out, n * n_embd));
	return 0;
}
