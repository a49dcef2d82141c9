/* SPDX-License-Identifier: MIT */
#include "tools/common/ordered.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

/* Libraries that are called keep their tables on the heap; the default of 8 MiB would count against
 * limits of memory for every thread. */
#define TOOL_STACK_BYTES (512 << 10)

struct tool_slot {
	bool done; /* work has been done, its result has not been taken */
	int code;
	struct gw_error error;
};

struct tool_run {
	const struct tool_ordered *job;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* taken or end */
	struct tool_slot *slots; /* [n_results], of item i at i modulo that */
	uint8_t *results;
	size_t stride;
	uint64_t next;  /* the first item that nobody has begun */
	uint64_t taken; /* the first item that has not been taken */
	uint64_t end;   /* items from here on are not begun: n_items, or after a failure less */
	bool taking;
	int code; /* of the lowest item that failed */
	struct gw_error error;
};

struct tool_thread {
	pthread_t id;
	struct tool_run *run;
	void *worker;
};

static void *tool_result(const struct tool_run *run, uint64_t index)
{
	return run->results + index % run->job->n_results * run->stride;
}

/* Takes what is there in order, and what is added meanwhile; with the lock, which it gives up between. */
static void tool_take(struct tool_run *run)
{
	while (!run->taking && !run->code && run->taken < run->next) {
		uint64_t index = run->taken;
		struct tool_slot *slot = &run->slots[index % run->job->n_results];
		int code;

		if (!slot->done)
			return;
		run->taking = true;
		pthread_mutex_unlock(&run->lock);
		code = slot->code;
		if (!code)
			code = run->job->take(run->job->context, index, tool_result(run, index),
					      &slot->error);
		pthread_mutex_lock(&run->lock);
		run->taking = false;
		slot->done = false;
		run->taken++;
		if (code) {
			run->code = code;
			run->error = slot->error;
			run->end = index;
		}
		pthread_cond_broadcast(&run->changed);
	}
}

static void *tool_work(void *argument)
{
	const struct tool_thread *thread = argument;
	struct tool_run *run = thread->run;
	const struct tool_ordered *job = run->job;

	pthread_mutex_lock(&run->lock);
	for (;;) {
		struct tool_slot *slot;
		uint64_t index;
		int code;

		while (run->next < run->end && run->next - run->taken >= job->n_results)
			pthread_cond_wait(&run->changed, &run->lock);
		if (run->next >= run->end)
			break;
		index = run->next++;
		slot = &run->slots[index % job->n_results];
		slot->error = (struct gw_error)GW_ERROR_INIT;
		pthread_mutex_unlock(&run->lock);
		code = job->work(thread->worker, index, tool_result(run, index), &slot->error);
		pthread_mutex_lock(&run->lock);
		slot->code = code;
		slot->done = true;
		/* items before this one are begun already, and may still fail */
		if (code && run->end > index)
			run->end = index;
		tool_take(run);
		if (code)
			pthread_cond_broadcast(&run->changed);
	}
	pthread_mutex_unlock(&run->lock);
	return NULL;
}

/* The caller is the first thread; the others come beside it. */
static void tool_run_threads(struct tool_run *run)
{
	const struct tool_ordered *job = run->job;
	struct tool_thread threads[TOOL_MAX_THREADS];
	unsigned n = 1;
	pthread_attr_t attributes;

	threads[0] = (struct tool_thread){ .run = run, .worker = job->workers[0] };
	if (pthread_attr_init(&attributes) == 0) {
		pthread_attr_setstacksize(&attributes, TOOL_STACK_BYTES);
		for (; n < job->n_threads && n < job->n_items; n++) {
			threads[n] = (struct tool_thread){ .run = run, .worker = job->workers[n] };
			if (pthread_create(&threads[n].id, &attributes, tool_work, &threads[n]))
				break;
		}
		pthread_attr_destroy(&attributes);
	}
	tool_work(&threads[0]);
	while (n > 1)
		pthread_join(threads[--n].id, NULL);
}

int tool_ordered_run(const struct tool_ordered *job, struct gw_error *error)
{
	const size_t line = 64; /* no two results in one cache line */
	struct tool_run run = {
		.job = job,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER,
		.slots = calloc(job->n_results, sizeof *run.slots),
		.stride = (job->result_bytes + line - 1) / line * line,
		.end = job->n_items,
	};

	assert(job->n_threads >= 1 && job->n_threads <= TOOL_MAX_THREADS && job->n_results >= 1);
	run.results = aligned_alloc(line, run.stride * job->n_results + line);
	if (run.slots && run.results)
		tool_run_threads(&run);
	else
		run.code = gw_fail(&run.error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	free(run.slots);
	free(run.results);
	if (run.code && error)
		*error = run.error;
	return run.code;
}

unsigned tool_processors(void)
{
	cpu_set_t set;
	long n;

	/* fails where there are more processors than the set has bits */
	if (sched_getaffinity(0, sizeof set, &set) == 0)
		n = CPU_COUNT(&set);
	else
		n = sysconf(_SC_NPROCESSORS_ONLN);
	return n < 1 ? 1 : n > TOOL_MAX_THREADS ? TOOL_MAX_THREADS : (unsigned)n;
}
