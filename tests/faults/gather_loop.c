/* SPDX-License-Identifier: MIT */
/*
 * gather_loop SOCKET MODEL FILE WTE_AT WPE_AT: attaches, gathers random rows and embeds random tokens
 * in a loop and compares every value with the f32 tables at those offsets of FILE. After the first
 * round it says "ready GENERATION". Told "state", it says "STATE ROUNDS"; told "stop", it says the
 * same and ends. Anything wrong ends it with 1.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gpt2client.h>

#define TOKENS 32

struct tables {
	float *wte, *wpe;
	uint64_t n_vocab, n_positions, n_embd;
};

static uint64_t random_next(uint64_t *state)
{
	/* xorshift64, Marsaglia 2003 */
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static float *read_table(FILE *file, const char *at, uint64_t elements)
{
	float *table = malloc(elements * sizeof *table);

	if (!table || fseek(file, strtol(at, NULL, 10), SEEK_SET) ||
	    fread(table, sizeof *table, elements, file) != elements) {
		fprintf(stderr, "gather_loop: cannot read the reference\n");
		exit(1);
	}
	return table;
}

static bool rows_are_right(const gpt2c_store *store, const struct tables *tables,
			   const int32_t *ids)
{
	const void *rows[TOKENS];
	gpt2c_error error = GPT2C_ERROR_INIT;

	if (gpt2c_rows(store, ids, TOKENS, rows, &error)) {
		fprintf(stderr, "gather_loop: gpt2c_rows: %s\n", error.message);
		return false;
	}
	for (size_t i = 0; i < TOKENS; i++) {
		if (memcmp(rows[i], tables->wte + (uint64_t)ids[i] * tables->n_embd,
			   tables->n_embd * sizeof(float)) != 0) {
			fprintf(stderr, "gather_loop: row %" PRId32 " is wrong\n", ids[i]);
			return false;
		}
	}
	return true;
}

static bool embeddings_are_right(const gpt2c_store *store, const struct tables *tables,
				 const int32_t *ids, uint64_t past, float *out)
{
	gpt2c_error error = GPT2C_ERROR_INIT;

	if (gpt2c_embed(store, ids, 1, TOKENS, past, out, &error)) {
		fprintf(stderr, "gather_loop: gpt2c_embed: %s\n", error.message);
		return false;
	}
	for (size_t t = 0; t < TOKENS; t++) {
		for (uint64_t j = 0; j < tables->n_embd; j++) {
			float sum = tables->wte[(uint64_t)ids[t] * tables->n_embd + j] +
				    tables->wpe[(past + t) * tables->n_embd + j];

			if (memcmp(&sum, out + t * tables->n_embd + j, sizeof sum) != 0) {
				fprintf(stderr, "gather_loop: token %zu, element %" PRIu64
						" is wrong\n", t, j);
				return false;
			}
		}
	}
	return true;
}

/* Whether to go on; answers what the test has to say. */
static bool obey(const gpt2c_store *store, uint64_t rounds)
{
	static const char *const states[] = { "CURRENT", "SUPERSEDED", "ORPHANED" };
	struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
	char command[32];

	if (poll(&input, 1, 0) <= 0)
		return true;
	if (!fgets(command, sizeof command, stdin))
		return false;
	printf("%s %" PRIu64 "\n", states[gpt2c_state(store)], rounds);
	fflush(stdout);
	return strcmp(command, "stop\n") != 0;
}

static int gather(const gpt2c_store *store, const struct tables *tables, uint64_t generation)
{
	uint64_t state = generation ^ (uint64_t)getpid() << 32, rounds = 0;
	float *out = malloc(TOKENS * tables->n_embd * sizeof *out);
	int32_t ids[TOKENS];
	bool right = out != NULL;

	while (right && obey(store, rounds)) {
		for (size_t i = 0; i < TOKENS; i++)
			ids[i] = (int32_t)(random_next(&state) % tables->n_vocab);
		right = rows_are_right(store, tables, ids) &&
			embeddings_are_right(store, tables, ids,
					     random_next(&state) %
						     (tables->n_positions - TOKENS + 1),
					     out);
		if (rounds++ == 0 && right) {
			printf("ready %" PRIu64 "\n", generation);
			fflush(stdout);
		}
	}
	free(out);
	return right ? 0 : 1;
}

int main(int argc, char **argv)
{
	gpt2c_info info = { .size = sizeof info };
	gpt2c_error error = GPT2C_ERROR_INIT;
	gpt2c_store *store;
	struct tables tables;
	FILE *file;
	int result;

	if (argc != 6 || !(file = fopen(argv[3], "rb")))
		return 2;
	setvbuf(stdin, NULL, _IONBF, 0); /* so that poll sees what is left */
	if (gpt2c_open(argv[1], argv[2], &store, &error)) {
		fprintf(stderr, "gather_loop: %s\n", error.message);
		return 1;
	}
	gpt2c_get_info(store, &info);
	tables = (struct tables){ .n_vocab = info.n_vocab, .n_positions = info.n_positions,
				  .n_embd = info.n_embd };
	tables.wte = read_table(file, argv[4], info.n_vocab * info.n_embd);
	tables.wpe = read_table(file, argv[5], info.n_positions * info.n_embd);
	fclose(file);
	result = gather(store, &tables, info.generation);
	free(tables.wte);
	free(tables.wpe);
	gpt2c_close(store);
	return result;
}
