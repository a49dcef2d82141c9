/* SPDX-License-Identifier: MIT */
/*
 * bench-first-attach SOCKET N: what bench-first-map does, of the daemon's only model: reads one row of wte
 * in place (N is 1), or computes the input embeddings of 1 x N tokens. Prints the same sum.
 */
#include <stdio.h>
#include <stdlib.h>

#include <gpt2client.h>

#include "tools/bench/first.h"
#include "tools/bench/loops.h"

int main(int argc, char **argv)
{
	gpt2c_info info = { .size = sizeof info };
	gpt2c_error error = GPT2C_ERROR_INIT;
	const void *row;
	gpt2c_store *store;
	int32_t *ids;
	float *out;
	size_t n;

	if (argc != 3) {
		fprintf(stderr, "usage: bench-first-attach SOCKET N\n");
		return 2;
	}
	n = strtoul(argv[2], NULL, 10);
	if (gpt2c_open(argv[1], NULL, &store, &error) < 0 || gpt2c_get_info(store, &info) < 0) {
		fprintf(stderr, "bench-first-attach: %s\n", error.message);
		return 1;
	}
	ids = malloc(n * sizeof *ids);
	out = malloc(n * info.n_embd * sizeof *out);
	if (!ids || !out) {
		perror("bench-first-attach");
		return 1;
	}
	bench_first_ids(ids, n, info.n_vocab);
	if (n == 1 ? gpt2c_rows(store, ids, 1, &row, &error) < 0 :
		     gpt2c_embed(store, ids, 1, n, 0, out, &error) < 0) {
		fprintf(stderr, "bench-first-attach: %s\n", error.message);
		return 1;
	}
	printf("%.9g\n", n == 1 ? bench_sum(row, info.n_embd) : bench_sum(out, n * info.n_embd));
	return 0;
}
