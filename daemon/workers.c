/* SPDX-License-Identifier: MIT */
#include "daemon/workers.h"

#include <pthread.h>
#include <stdlib.h>
#include <sched.h>

#include "daemon/limits.h"

struct gd_crew {
	uint64_t count;
	void (*member)(void *context, struct gd_crew *crew);
	void *context;
	const atomic_bool *cancel;
	_Atomic uint64_t next;
	atomic_bool failed;
	pthread_mutex_t lock; /* of the rest */
	uint64_t failed_index;
	struct gw_error error;
};

void gd_crew_fail(struct gd_crew *crew, uint64_t index, const struct gw_error *error)
{
	pthread_mutex_lock(&crew->lock);
	if (!crew->error.code || index < crew->failed_index) {
		crew->failed_index = index;
		crew->error = *error;
	}
	pthread_mutex_unlock(&crew->lock);
	atomic_store(&crew->failed, true);
}

bool gd_crew_next(struct gd_crew *crew, uint64_t *out_index)
{
	struct gw_error error = GW_ERROR_INIT;
	uint64_t index;

	if (atomic_load_explicit(&crew->failed, memory_order_relaxed))
		return false;
	index = atomic_fetch_add(&crew->next, 1);
	if (index >= crew->count)
		return false;
	if (atomic_load_explicit(crew->cancel, memory_order_relaxed)) {
		gw_fail(&error, GW_E_CLOSED, GW_NO_OFFSET, "the daemon is stopping");
		gd_crew_fail(crew, index, &error);
		return false;
	}
	*out_index = index;
	return true;
}

static unsigned thread_count(uint64_t parts)
{
	cpu_set_t set;
	unsigned n = sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;

	if (n > GD_MAX_WORKERS)
		n = GD_MAX_WORKERS;
	return n < parts ? n : (unsigned)parts;
}

static void *thread_main(void *argument)
{
	struct gd_crew *crew = argument;

	crew->member(crew->context, crew);
	return NULL;
}

int gd_crew_run(uint64_t count, void (*member)(void *context, struct gd_crew *crew), void *context,
		const atomic_bool *cancel, struct gw_error *error)
{
	struct gd_crew crew = {
		.count = count,
		.member = member,
		.context = context,
		.cancel = cancel,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.error = GW_ERROR_INIT,
	};
	unsigned n = thread_count(count), started = 0;
	pthread_t threads[GD_MAX_WORKERS];

	/* the calling thread is one of them; where no other can be had, it does it all */
	while (started + 1 < n && pthread_create(&threads[started], NULL, thread_main, &crew) == 0)
		started++;
	member(context, &crew);
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	pthread_mutex_destroy(&crew.lock);
	if (crew.error.code && error)
		*error = crew.error;
	return crew.error.code;
}

/* What gd_workers_run was asked for. */
struct work {
	uint64_t buffer_bytes;
	int (*part)(void *context, uint64_t index, uint8_t *buffer, struct gw_error *error);
	void *context;
};

static void do_parts(void *context, struct gd_crew *crew)
{
	const struct work *work = context;
	struct gw_error error = GW_ERROR_INIT;
	uint8_t *buffer = aligned_alloc(64, (work->buffer_bytes + 63) & ~UINT64_C(63));
	uint64_t index;

	if (!buffer) {
		gw_fail(&error, GW_E_MEMORY, GW_NO_OFFSET, "no memory for a buffer");
		gd_crew_fail(crew, UINT64_MAX, &error);
		return;
	}
	while (gd_crew_next(crew, &index))
		if (work->part(work->context, index, buffer, &error))
			gd_crew_fail(crew, index, &error);
	free(buffer);
}

int gd_workers_run(uint64_t count, uint64_t buffer_bytes,
		   int (*part)(void *context, uint64_t index, uint8_t *buffer,
			       struct gw_error *error),
		   void *context, const atomic_bool *cancel, struct gw_error *error)
{
	struct work job = { .buffer_bytes = buffer_bytes, .part = part, .context = context };

	return gd_crew_run(count, do_parts, &job, cancel, error);
}
