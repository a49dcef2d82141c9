/* SPDX-License-Identifier: MIT */
/*
 * refresh_loop SOCKET MODEL: attaches and gathers in a loop from packs in which all elements of both
 * tables are one number, another in each generation; refreshes when there is a newer generation. A gather
 * in which two numbers meet, a store whose number changes, or a generation that is no newer after a
 * refresh ends it with 1. After the first round it says "ready GENERATION". Told "state", it says
 * "GENERATION ROUNDS REFRESHES"; told "stop", it says the same and ends.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gpt2client.h>

#define TOKENS 16

struct loop {
	gpt2c_store *store;
	uint64_t n_vocab, n_embd, generation;
	float number; /* the generation's */
	float *out;
	uint64_t seed, rounds, refreshes;
};

static uint64_t random_next(uint64_t *state)
{
	/* xorshift64, Marsaglia 2003 */
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static bool fail(const char *what, const char *message)
{
	fprintf(stderr, "refresh_loop: %s: %s\n", what, message);
	return false;
}

/* Takes what is open: its sizes, its number, and that it is newer than what was before. */
static bool take(struct loop *loop, gpt2c_store *store)
{
	gpt2c_info info = { .size = sizeof info };
	gpt2c_tensor wte = { .size = sizeof wte };

	gpt2c_close(loop->store);
	loop->store = store;
	if (gpt2c_get_info(store, &info) || gpt2c_get_tensor(store, "wte.weight", &wte))
		return fail("a store", "tells nothing");
	if (info.generation < loop->generation)
		return fail("a refresh", "an older generation");
	loop->generation = info.generation;
	loop->n_vocab = info.n_vocab;
	loop->n_embd = info.n_embd;
	loop->number = *(const float *)wte.data;
	free(loop->out);
	loop->out = malloc(TOKENS * info.n_embd * sizeof *loop->out);
	return loop->out != NULL;
}

static bool are_all(const float *row, uint64_t n, float number)
{
	for (uint64_t j = 0; j < n; j++)
		if (row[j] != number)
			return fail("a gather", "two generations in it");
	return true;
}

static bool gather(struct loop *loop)
{
	gpt2c_error error = GPT2C_ERROR_INIT;
	const void *rows[TOKENS];
	int32_t ids[TOKENS];

	for (size_t i = 0; i < TOKENS; i++)
		ids[i] = (int32_t)(random_next(&loop->seed) % loop->n_vocab);
	if (gpt2c_rows(loop->store, ids, TOKENS, rows, &error) ||
	    gpt2c_embed(loop->store, ids, 1, TOKENS, 0, loop->out, &error))
		return fail("a gather", error.message);
	for (size_t i = 0; i < TOKENS; i++)
		if (!are_all(rows[i], loop->n_embd, loop->number) ||
		    !are_all(loop->out + i * loop->n_embd, loop->n_embd, 2 * loop->number))
			return false;
	return true;
}

static bool refresh(struct loop *loop)
{
	gpt2c_error error = GPT2C_ERROR_INIT;
	gpt2c_store *fresh;

	if (gpt2c_state(loop->store) != GPT2C_SUPERSEDED)
		return true;
	if (gpt2c_refresh(loop->store, &fresh, &error))
		return fail("gpt2c_refresh", error.message);
	loop->refreshes++;
	return take(loop, fresh);
}

/* Whether to go on; answers what the test has to say. */
static bool obey(const struct loop *loop)
{
	struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
	char command[32];

	if (poll(&input, 1, 0) <= 0)
		return true;
	if (!fgets(command, sizeof command, stdin))
		return false;
	printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", loop->generation, loop->rounds,
	       loop->refreshes);
	fflush(stdout);
	return strcmp(command, "stop\n") != 0;
}

int main(int argc, char **argv)
{
	struct loop loop = { .seed = (uint64_t)getpid() << 32 | 1 };
	gpt2c_error error = GPT2C_ERROR_INIT;
	gpt2c_store *store;
	bool right;

	if (argc != 3)
		return 2;
	setvbuf(stdin, NULL, _IONBF, 0); /* so that poll sees what is left */
	if (gpt2c_open(argv[1], argv[2], &store, &error)) {
		fail("gpt2c_open", error.message);
		return 1;
	}
	right = take(&loop, store);
	while (right && obey(&loop)) {
		right = gather(&loop) && refresh(&loop);
		if (loop.rounds++ == 0 && right) {
			printf("ready %" PRIu64 "\n", loop.generation);
			fflush(stdout);
		}
	}
	free(loop.out);
	gpt2c_close(loop.store);
	return right ? 0 : 1;
}
