/* SPDX-License-Identifier: MIT */
/* One forward pass by N_THREADS threads: with pthreads, or with OpenMP where it is compiled in. */
#include <gpt2client.h>
#include <pthread.h>

#define N_THREADS 2

struct pass {
	const gpt2c_store *store;
	const int32_t *ids; /* [batch, seq] */
	size_t batch, seq;
	float *out; /* [batch, seq, n_embd] */
};

struct job {
	const struct pass *pass;
	size_t part;
	int result;
};

static void *run_job(void *argument)
{
	struct job *job = argument;
	const struct pass *p = job->pass;

	job->result = gpt2c_embed_part(p->store, p->ids, p->batch, p->seq, 0, p->out, job->part,
				       N_THREADS, NULL);
	return NULL;
}

/* Part 0 is this thread's own; so are those for which there is no other thread. */
static int embed_pthreads(const struct pass *pass)
{
	pthread_t threads[N_THREADS];
	struct job jobs[N_THREADS];
	int started[N_THREADS] = { 0 };

	for (size_t i = 0; i < N_THREADS; i++) {
		jobs[i] = (struct job){ pass, i, 0 };
		started[i] = i > 0 && !pthread_create(&threads[i], NULL, run_job, &jobs[i]);
	}
	for (size_t i = 0; i < N_THREADS; i++)
		if (!started[i])
			run_job(&jobs[i]);
	for (size_t i = 0; i < N_THREADS; i++)
		if (started[i])
			pthread_join(threads[i], NULL);
	return jobs[0].result; /* all parts have the same */
}

static int embed_openmp(const struct pass *p)
{
	int result = 0;

#pragma omp parallel for num_threads(N_THREADS) reduction(min : result)
	for (int part = 0; part < N_THREADS; part++) {
		int r = gpt2c_embed_part(p->store, p->ids, p->batch, p->seq, 0, p->out,
					 (size_t)part, N_THREADS, NULL);

		result = r < result ? r : result;
	}
	return result;
}
