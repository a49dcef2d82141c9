/* SPDX-License-Identifier: MIT */
#include "daemon/loader.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct queue {
	struct gd_job *first, **last;
};

struct gd_loader {
	struct gd_loop *loop;
	struct gd_image_options options;
	void (*done)(void *context, struct gd_job *job);
	void *context;
	pthread_t thread;
	atomic_bool cancel;
	struct gd_watch finished_watch; /* an eventfd: readable when finished is not empty */
	pthread_mutex_t lock;           /* of the queues */
	pthread_cond_t wake;
	struct queue loads, collapses, finished;
};

static void queue_init(struct queue *queue)
{
	queue->first = NULL;
	queue->last = &queue->first;
}

static void queue_put(struct queue *queue, struct gd_job *job)
{
	job->next = NULL;
	*queue->last = job;
	queue->last = &job->next;
}

static struct gd_job *queue_take(struct queue *queue)
{
	struct gd_job *job = queue->first;

	if (job) {
		queue->first = job->next;
		if (!queue->first)
			queue->last = &queue->first;
	}
	return job;
}

struct gd_job *gd_job_new(enum gd_job_kind kind, struct gd_model *model, const char *path,
			  struct gd_image *image)
{
	struct gd_job *job = calloc(1, sizeof *job);

	if (!job)
		return NULL;
	job->kind = kind;
	job->model = model;
	job->error = (struct gw_error)GW_ERROR_INIT;
	job->path = path ? strdup(path) : NULL;
	if (path && !job->path) {
		free(job);
		return NULL;
	}
	job->image = image ? gd_image_ref(image) : NULL;
	return job;
}

void gd_job_free(struct gd_job *job)
{
	if (!job)
		return;
	gd_image_unref(job->image);
	free(job->path);
	free(job);
}

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void run_job(struct gd_loader *loader, struct gd_job *job)
{
	uint64_t start_us = now_us();

	if (job->kind == GD_JOB_LOOK)
		gd_look_at(job->path, job->image, job->head_only, &loader->cancel, &job->look,
			   &job->file, &job->error);
	else if (job->kind == GD_JOB_LOAD)
		gd_image_load(job->path, &loader->options, &job->image, &job->file, &job->error);
	else
		job->huge_bytes = gd_image_collapse(job->image, &loader->cancel);
	job->load_us = now_us() - start_us;
}

/* The next job; NULL: stop. */
static struct gd_job *wait_for_job(struct gd_loader *loader)
{
	struct gd_job *job = NULL;

	pthread_mutex_lock(&loader->lock);
	while (!atomic_load(&loader->cancel)) {
		job = queue_take(&loader->loads);
		if (!job)
			job = queue_take(&loader->collapses);
		if (job)
			break;
		pthread_cond_wait(&loader->wake, &loader->lock);
	}
	pthread_mutex_unlock(&loader->lock);
	return job;
}

static void *loader_main(void *argument)
{
	struct gd_loader *loader = argument;
	struct gd_job *job;

	while ((job = wait_for_job(loader))) {
		const uint64_t one = 1;
		ssize_t done;

		run_job(loader, job);
		pthread_mutex_lock(&loader->lock);
		queue_put(&loader->finished, job);
		pthread_mutex_unlock(&loader->lock);
		/* fails only when 2^64 - 2 wake-ups are unread */
		done = write(loader->finished_watch.fd, &one, sizeof one);
		(void)done;
	}
	return NULL;
}

static void finished_ready(struct gd_watch *watch, short events)
{
	struct gd_loader *loader = watch->owner;
	struct gd_job *job;
	uint64_t count;
	ssize_t done = read(watch->fd, &count, sizeof count);

	(void)events;
	(void)done; /* nonblocking: nothing there is nothing to do */
	for (;;) {
		pthread_mutex_lock(&loader->lock);
		job = queue_take(&loader->finished);
		pthread_mutex_unlock(&loader->lock);
		if (!job)
			return;
		loader->done(loader->context, job);
	}
}

int gd_loader_new(struct gd_loop *loop, enum wire_share share, bool small_pages,
		  void (*done)(void *context, struct gd_job *job), void *context,
		  struct gd_loader **out_loader, struct gw_error *error)
{
	struct gd_loader *loader = calloc(1, sizeof *loader);
	int code = GW_E_IO, failed;

	if (!loader)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory for the loader");
	loader->loop = loop;
	loader->done = done;
	loader->context = context;
	loader->options = (struct gd_image_options){ .share = share, .small_pages = small_pages,
						     .cancel = &loader->cancel };
	pthread_mutex_init(&loader->lock, NULL);
	pthread_cond_init(&loader->wake, NULL);
	queue_init(&loader->loads);
	queue_init(&loader->collapses);
	queue_init(&loader->finished);
	loader->finished_watch = (struct gd_watch){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
						    .events = POLLIN,
						    .ready = finished_ready,
						    .owner = loader };
	if (loader->finished_watch.fd < 0)
		gw_fail_errno(error, errno, "cannot make an eventfd");
	else
		code = gd_loop_add(loop, &loader->finished_watch, error);
	if (!code && (failed = pthread_create(&loader->thread, NULL, loader_main, loader)) != 0) {
		gd_loop_remove(loop, &loader->finished_watch);
		code = gw_fail_errno(error, failed, "cannot start a thread");
	}
	if (code) {
		if (loader->finished_watch.fd >= 0)
			close(loader->finished_watch.fd);
		free(loader);
		return code;
	}
	*out_loader = loader;
	return GW_OK;
}

static void free_jobs(struct queue *queue)
{
	struct gd_job *job;

	while ((job = queue_take(queue)))
		gd_job_free(job);
}

void gd_loader_free(struct gd_loader *loader)
{
	if (!loader)
		return;
	pthread_mutex_lock(&loader->lock);
	atomic_store(&loader->cancel, true);
	pthread_cond_signal(&loader->wake);
	pthread_mutex_unlock(&loader->lock);
	pthread_join(loader->thread, NULL);
	gd_loop_remove(loader->loop, &loader->finished_watch);
	close(loader->finished_watch.fd);
	free_jobs(&loader->loads);
	free_jobs(&loader->collapses);
	free_jobs(&loader->finished);
	pthread_cond_destroy(&loader->wake);
	pthread_mutex_destroy(&loader->lock);
	free(loader);
}

void gd_loader_submit(struct gd_loader *loader, struct gd_job *job)
{
	pthread_mutex_lock(&loader->lock);
	queue_put(job->kind == GD_JOB_COLLAPSE ? &loader->collapses : &loader->loads, job);
	pthread_cond_signal(&loader->wake);
	pthread_mutex_unlock(&loader->lock);
}
