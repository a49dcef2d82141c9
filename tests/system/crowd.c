/* SPDX-License-Identifier: MIT */
/*
 * crowd SOCKET MODEL N: N processes that attach and gather, all the time, from packs in which all
 * elements of both tables are one number. Each attaches anew with gpt2c_refresh when its connection has
 * news or is over, as often as it takes. Told anything, the parent says in a line of JSON how they are;
 * told "stop", it says the same and ends them.
 *
 * A gather that fails, or that has another number in it than the one that its store began with, is
 * counted as wrong. What a refresh is refused with is counted and printed; the client tries again.
 */
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gpt2client.h>

#define TOKENS 16
#define MAX_CLIENTS 1000
#define NAP_MS 3

/* One for each client, in memory that all of them share. */
struct client {
	_Atomic uint64_t rounds, wrong, refreshes, refused, orphaned, generation, inode, number;
	_Atomic bool current; /* with a connection that stands */
};

struct gatherer {
	gpt2c_store *store;
	struct client *told;
	uint64_t n_vocab, n_embd, seed;
	float number;
	float *out;
};

static uint64_t random_next(uint64_t *state)
{
	/* xorshift64, Marsaglia 2003 */
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* The inode of what is mapped at an address; 0: none. */
static uint64_t inode_of(const void *address)
{
	unsigned long from, to;
	uint64_t inode = 0;
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "r");

	while (maps && !inode && fgets(line, sizeof line, maps))
		if (sscanf(line, "%lx-%lx %*s %*s %*s %" SCNu64, &from, &to, &inode) != 3 ||
		    (uintptr_t)address < from || (uintptr_t)address >= to)
			inode = 0;
	if (maps)
		fclose(maps);
	return inode;
}

static void take(struct gatherer *gatherer, gpt2c_store *store)
{
	gpt2c_info info = { .size = sizeof info };
	gpt2c_tensor wte = { .size = sizeof wte };

	if (gpt2c_get_info(store, &info) || gpt2c_get_tensor(store, "wte.weight", &wte))
		_exit(1);
	gpt2c_close(gatherer->store);
	gatherer->store = store;
	gatherer->n_vocab = info.n_vocab;
	gatherer->n_embd = info.n_embd;
	gatherer->number = *(const float *)wte.data;
	free(gatherer->out);
	gatherer->out = malloc(TOKENS * info.n_embd * sizeof *gatherer->out);
	if (!gatherer->out)
		_exit(1);
	gatherer->told->generation = info.generation;
	gatherer->told->number = (uint64_t)gatherer->number;
	gatherer->told->inode = inode_of(wte.data);
	gatherer->told->current = true;
}

static bool are_all(const float *row, uint64_t n, float number)
{
	for (uint64_t j = 0; j < n; j++)
		if (row[j] != number)
			return false;
	return true;
}

static bool gather(struct gatherer *gatherer)
{
	const uint64_t n = gatherer->n_embd;
	const void *rows[TOKENS];
	int32_t ids[TOKENS];

	for (size_t i = 0; i < TOKENS; i++)
		ids[i] = (int32_t)(random_next(&gatherer->seed) % gatherer->n_vocab);
	if (gpt2c_rows(gatherer->store, ids, TOKENS, rows, NULL) ||
	    gpt2c_embed(gatherer->store, ids, 1, TOKENS, 0, gatherer->out, NULL))
		return false;
	for (size_t i = 0; i < TOKENS; i++)
		if (!are_all(rows[i], n, gatherer->number) ||
		    !are_all(gatherer->out + i * n, n, 2 * gatherer->number))
			return false;
	return true;
}

static void refresh(struct gatherer *gatherer)
{
	gpt2c_error error = GPT2C_ERROR_INIT;
	gpt2c_store *fresh;

	gatherer->told->current = false;
	if (gpt2c_state(gatherer->store) == GPT2C_ORPHANED)
		gatherer->told->orphaned++;
	if (gpt2c_refresh(gatherer->store, &fresh, &error)) {
		if (gatherer->told->refused++ == 0)
			fprintf(stderr, "crowd: %s\n", error.message);
		return;
	}
	gatherer->told->refreshes++;
	take(gatherer, fresh);
}

static _Noreturn void run_client(const char *path, const char *model, struct client *told)
{
	struct gatherer gatherer = { .told = told, .seed = (uint64_t)getpid() << 32 | 1 };
	gpt2c_error error = GPT2C_ERROR_INIT;
	gpt2c_store *store;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (gpt2c_open(path, model, &store, &error)) {
		fprintf(stderr, "crowd: %s\n", error.message);
		_exit(1);
	}
	for (take(&gatherer, store);;) {
		struct pollfd news = { .fd = gpt2c_get_fd(gatherer.store), .events = POLLIN };

		if (!gather(&gatherer))
			told->wrong++;
		told->rounds++;
		if (poll(&news, 1, NAP_MS) > 0 ||
		    gpt2c_state(gatherer.store) != GPT2C_CURRENT) {
			refresh(&gatherer);
			usleep(NAP_MS * 1000);
		}
	}
}

/* Of one number: sum, least and most over all clients. */
#define TELL(clients, n, field)                                                                    \
	do {                                                                                       \
		uint64_t sum = 0, least = UINT64_MAX, most = 0;                                    \
		for (size_t i = 0; i < (n); i++) {                                                 \
			uint64_t value = (clients)[i].field;                                       \
			sum += value;                                                              \
			least = value < least ? value : least;                                     \
			most = value > most ? value : most;                                        \
		}                                                                                  \
		printf(", \"" #field "\": [%" PRIu64 ", %" PRIu64 ", %" PRIu64 "]", sum, least,    \
		       most);                                                                      \
	} while (0)

static void tell(const struct client *clients, size_t n, size_t ended)
{
	printf("{\"clients\": %zu, \"ended\": %zu", n, ended);
	TELL(clients, n, rounds);
	TELL(clients, n, wrong);
	TELL(clients, n, refreshes);
	TELL(clients, n, refused);
	TELL(clients, n, orphaned);
	TELL(clients, n, generation);
	TELL(clients, n, inode);
	TELL(clients, n, number);
	TELL(clients, n, current);
	printf("}\n");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	size_t n = argc == 4 ? strtoul(argv[3], NULL, 10) : 0, ended = 0;
	static pid_t pids[MAX_CLIENTS];
	struct client *clients;
	char command[32];

	if (!n || n > MAX_CLIENTS)
		return 2;
	clients = mmap(NULL, n * sizeof *clients, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (clients == MAP_FAILED)
		return 1;
	for (size_t i = 0; i < n; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			run_client(argv[1], argv[2], clients + i);
		if (pids[i] < 0)
			ended++;
	}
	while (fgets(command, sizeof command, stdin)) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			ended++;
		tell(clients, n, ended);
		if (strcmp(command, "stop\n") == 0)
			break;
	}
	for (size_t i = 0; i < n; i++)
		if (pids[i] > 0)
			kill(pids[i], SIGKILL);
	while (waitpid(-1, NULL, 0) > 0)
		;
	return 0;
}
