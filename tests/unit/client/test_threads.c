/* SPDX-License-Identifier: MIT */
/* Sixteen threads gather from one store while others take, drop and open references. */
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gpt2client.h"
#include "tests/support/fixture.h"
#include "tests/unit/client/rogue.h"

#define GATHERERS 16
#define HOLDERS 4
#define ROUNDS 200
#define TOKENS 8
#define EMBD 33

struct shared {
	gpt2c_store *store;
	const char *socket_path;
	struct rogue_offer *offer;
	int failures; /* atomic */
};

static void note_failure(struct shared *shared)
{
	__atomic_fetch_add(&shared->failures, 1, __ATOMIC_RELAXED);
}

/* Each thread owns a reference, and drops it while the others go on. */
static void *gather(void *argument)
{
	static const int32_t ids[TOKENS] = { 0, 96, 5, 5, 17, 33, 64, 1 };
	struct shared *shared = argument;
	gpt2c_store *store = shared->store;
	float out[TOKENS * EMBD];

	for (int round = 0; round < ROUNDS; round++) {
		gpt2c_error error = GPT2C_ERROR_INIT;
		const void *rows[TOKENS];

		if (gpt2c_embed(store, ids, 2, 4, (size_t)round % 12, out, &error) ||
		    gpt2c_rows(store, ids, TOKENS, rows, &error) || gpt2c_state(store) < 0 ||
		    gpt2c_embed(store, ids, 2, 4, 13, out, &error) != GPT2C_E_POSITION)
			note_failure(shared);
		gpt2c_embed(store, ids, 2, 4, 3, out, &error);
		for (size_t i = 0; i < TOKENS * EMBD; i++)
			if (out[i] != fixture_value(1, (uint64_t)ids[i / EMBD], i % EMBD) +
					      fixture_value(2, 3 + i / EMBD % 4, i % EMBD))
				note_failure(shared);
	}
	gpt2c_close(store);
	return NULL;
}

static void *hold(void *argument)
{
	struct shared *shared = argument;

	for (int round = 0; round < ROUNDS; round++) {
		gpt2c_store *mine = NULL;

		gpt2c_close(gpt2c_ref(shared->store));
		if (round % 10 == 0) {
			if (gpt2c_open(shared->socket_path, NULL, &mine, NULL))
				note_failure(shared);
			gpt2c_close(mine);
		}
		rogue_offer_write(shared->offer, 4711, (uint32_t)round % 2);
	}
	gpt2c_close(shared->store);
	return NULL;
}

START_TEST(test_threads)
{
	pthread_t threads[GATHERERS + HOLDERS];
	struct shared shared = { 0 };
	struct rogue_offer offer;
	struct rogue rogue;

	rogue_offer_init(&offer);
	rogue_start(&rogue, rogue_serve_offer, &offer);
	shared.offer = &offer;
	shared.socket_path = rogue.path;
	ck_assert_int_eq(gpt2c_open_with(&(gpt2c_options){ .size = sizeof(gpt2c_options),
							    .socket_path = rogue.path },
					 &shared.store, NULL),
			 GPT2C_OK);
	/* a rogue serves one connection at a time: this one has got what it needs */
	shutdown(gpt2c_get_fd(shared.store), SHUT_RDWR);
	for (size_t i = 0; i < GATHERERS + HOLDERS; i++) {
		gpt2c_ref(shared.store);
		ck_assert_int_eq(pthread_create(&threads[i], NULL, i < GATHERERS ? gather : hold,
						&shared),
				 0);
	}
	gpt2c_close(shared.store); /* the last of the threads unmaps */
	for (size_t i = 0; i < GATHERERS + HOLDERS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(shared.failures, 0);
	rogue_stop(&rogue);
	rogue_offer_deinit(&offer);
}
END_TEST

/* A child inherits store and mapping; what it closes stays open in its parent. */
START_TEST(test_fork)
{
	gpt2c_options options = GPT2C_OPTIONS_INIT;
	struct rogue_offer offer;
	struct rogue rogue;
	gpt2c_store *store = NULL;
	int32_t id = 96;
	float out[EMBD];
	int status;
	pid_t pid;

	rogue_offer_init(&offer);
	rogue_start(&rogue, rogue_serve_offer, &offer);
	options.socket_path = rogue.path;
	ck_assert_int_eq(gpt2c_open_with(&options, &store, NULL), GPT2C_OK);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		int failed = gpt2c_embed(store, &id, 1, 1, 0, out, NULL) != 0 ||
			     out[0] != fixture_value(1, 96, 0) + fixture_value(2, 0, 0) ||
			     gpt2c_state(store) != GPT2C_CURRENT;

		gpt2c_close(store);
		_exit(failed);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(gpt2c_embed(store, &id, 1, 1, 0, out, NULL), GPT2C_OK);
	rogue_offer_write(&offer, 4711, 2);
	ck_assert_int_eq(gpt2c_state(store), GPT2C_SUPERSEDED);
	gpt2c_close(store);
	rogue_stop(&rogue);
	rogue_offer_deinit(&offer);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client/threads");
	TCase *tcase = fixture_case(suite, "threads");

	tcase_add_test(tcase, test_threads);
	tcase_add_test(tcase, test_fork);
	return fixture_main(suite);
}
