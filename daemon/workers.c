/* SPDX-License-Identifier: MIT */
#include "daemon/workers.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sched.h>

#include "daemon/limits.h"

struct crew {
	uint64_t count, buffer_bytes;
	int (*part)(void *context, uint64_t index, uint8_t *buffer, struct gw_error *error);
	void *context;
	const atomic_bool *cancel;
	_Atomic uint64_t next;
	atomic_bool failed;
	pthread_mutex_t lock; /* of the rest */
	uint64_t failed_index;
	struct gw_error error;
};

static void report(struct crew *crew, uint64_t index, const struct gw_error *error)
{
	pthread_mutex_lock(&crew->lock);
	if (!crew->error.code || index < crew->failed_index) {
		crew->failed_index = index;
		crew->error = *error;
	}
	pthread_mutex_unlock(&crew->lock);
	atomic_store(&crew->failed, true);
}

static void *work(void *argument)
{
	struct crew *crew = argument;
	struct gw_error error = GW_ERROR_INIT;
	uint8_t *buffer = aligned_alloc(64, (crew->buffer_bytes + 63) & ~UINT64_C(63));

	if (!buffer) {
		gw_fail(&error, GW_E_MEMORY, GW_NO_OFFSET, "no memory for a buffer");
		report(crew, UINT64_MAX, &error);
		return NULL;
	}
	while (!atomic_load_explicit(&crew->failed, memory_order_relaxed)) {
		uint64_t index = atomic_fetch_add(&crew->next, 1);

		if (index >= crew->count)
			break;
		if (atomic_load_explicit(crew->cancel, memory_order_relaxed)) {
			gw_fail(&error, GW_E_CLOSED, GW_NO_OFFSET, "the daemon is stopping");
			report(crew, index, &error);
		} else if (crew->part(crew->context, index, buffer, &error)) {
			report(crew, index, &error);
		}
	}
	free(buffer);
	return NULL;
}

static unsigned thread_count(uint64_t parts)
{
	cpu_set_t set;
	unsigned n = sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;

	if (n > GD_MAX_WORKERS)
		n = GD_MAX_WORKERS;
	return n < parts ? n : (unsigned)parts;
}

int gd_workers_run(uint64_t count, uint64_t buffer_bytes,
		   int (*part)(void *context, uint64_t index, uint8_t *buffer,
			       struct gw_error *error),
		   void *context, const atomic_bool *cancel, struct gw_error *error)
{
	struct crew crew = {
		.count = count,
		.buffer_bytes = buffer_bytes,
		.part = part,
		.context = context,
		.cancel = cancel,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.error = GW_ERROR_INIT,
	};
	unsigned n = thread_count(count), started = 0;
	pthread_t threads[GD_MAX_WORKERS];

	/* the calling thread is one of them; where no other can be had, it does it all */
	while (started + 1 < n && pthread_create(&threads[started], NULL, work, &crew) == 0)
		started++;
	work(&crew);
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	pthread_mutex_destroy(&crew.lock);
	if (crew.error.code && error)
		*error = crew.error;
	return crew.error.code;
}
