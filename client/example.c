/* SPDX-License-Identifier: MIT */
/* Prints the first elements of the input embeddings of "Hello, world" (ids 15496, 11, 995). */
#include <gpt2client.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	static const int32_t ids[3] = { 15496, 11, 995 };
	gpt2c_error error = GPT2C_ERROR_INIT;
	gpt2c_info info = { .size = sizeof info };
	gpt2c_store *store;
	float *out;
	int failed;

	/* a pack named on the command line, or else the daemon's only model */
	failed = argc > 1 ? gpt2c_open_file(argv[1], &store, &error) :
			    gpt2c_open(NULL, NULL, &store, &error);
	if (failed) {
		fprintf(stderr, "%s\n", error.message);
		return EXIT_FAILURE;
	}
	gpt2c_get_info(store, &info);
	out = calloc(3 * info.n_embd, sizeof *out);
	if (!out || gpt2c_embed(store, ids, 1, 3, 0, out, &error)) {
		fprintf(stderr, "%s\n", out ? error.message : "out of memory");
		free(out);
		gpt2c_close(store);
		return EXIT_FAILURE;
	}
	for (int t = 0; t < 3; t++)
		printf("%" PRId32 ": %g %g ...\n", ids[t], out[t * info.n_embd],
		       out[t * info.n_embd + 1]);
	free(out);
	gpt2c_close(store);
	return EXIT_SUCCESS;
}
