/* SPDX-License-Identifier: MIT */
#include "tools/pack/verify.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "format/unit_reader.h"
#include "tools/common/guarded.h"
#include "tools/common/ordered.h"
#include "tools/common/report.h"

/* What one thread has. */
struct pack_verifier {
	const struct gw_pack *pack;
	/*
	 * The file, where the digests of an uncompressed pack can be taken from its pages: copying them
	 * out costs as much as the digests (tools/bench/verify.c). NULL: it is read.
	 */
	const uint8_t *mapped;
	struct gw_unit_reader *reader;
	uint8_t *bytes; /* GW_HUGE_PAGE_BYTES: no unit is larger */
};

/* Of all threads, by one at a time. */
struct pack_verification {
	const struct gw_pack *pack;
	void (*bad)(void *context, const struct gw_error *error);
	void *context;
	struct tool_progress *progress;
};

/*
 * The unit that is at a place in the order of the file, where the gap before a tensor comes before its
 * blocks: the place of the gap is the number of blocks and of gaps before it.
 */
static uint64_t pack_unit_at(const struct gw_pack *pack, uint64_t place)
{
	const struct gw_superblock *superblock = &pack->superblock;
	uint64_t low = 0, high = superblock->n_tensors;

	if (pack->stored)
		return place;
	if (place == superblock->n_blocks + superblock->n_tensors)
		return place; /* what is after the last tensor */
	while (high - low > 1) {
		uint64_t middle = low + (high - low) / 2;

		if (pack->tensors[middle].first_block + middle <= place)
			low = middle;
		else
			high = middle;
	}
	place -= low;
	return place == pack->tensors[low].first_block ? superblock->n_blocks + low : place - 1;
}

/* A unit whose digest is taken from the mapped file. */
struct pack_mapped_unit {
	const struct gw_pack *pack;
	const uint8_t *mapped;
	uint64_t index;
	int code;
};

static void pack_verify_mapped(void *context)
{
	struct pack_mapped_unit *unit = context;

	unit->code = gw_pack_verify_unit(
		unit->pack, unit->index,
		unit->mapped + gw_pack_unit(unit->pack, unit->index).offset_bytes, NULL);
}

/* False for what is not good, or not there: reading it tells what is wrong. */
static bool pack_unit_is_good(const struct pack_verifier *self, uint64_t index)
{
	struct pack_mapped_unit unit = {
		.pack = self->pack,
		.mapped = self->mapped,
		.index = index,
	};

	return self->mapped && tool_guarded(pack_verify_mapped, &unit) && unit.code == GW_OK;
}

/* result: an error, whose code is 0 for a unit that is good. */
static int pack_verify_unit(void *worker, uint64_t index, void *result, struct gw_error *error)
{
	const struct pack_verifier *self = worker;
	struct gw_error *bad = result;
	uint64_t unit = pack_unit_at(self->pack, index);
	int code = GW_OK;

	if (!pack_unit_is_good(self, unit))
		code = gw_unit_reader_verify(self->reader, unit, self->bytes, bad);
	if (code == GW_OK)
		bad->code = GW_OK;
	if (code == GW_OK || tool_exit_code(code) == TOOL_VERIFY)
		return GW_OK;
	*error = *bad;
	return code;
}

static int pack_verify_take(void *context, uint64_t index, const void *result,
			    struct gw_error *error)
{
	const struct pack_verification *self = context;
	const struct gw_error *bad = result;

	(void)error;
	if (bad->code != GW_OK)
		self->bad(self->context, bad);
	tool_progress_add(self->progress,
			  self->pack->stored ?
				  self->pack->stored[index].size_bytes :
				  gw_pack_unit(self->pack, pack_unit_at(self->pack, index)).size_bytes);
	return GW_OK;
}

static void pack_verifier_free(struct pack_verifier *self)
{
	gw_unit_reader_free(self->reader);
	free(self->bytes);
}

static int pack_verifier_init(struct pack_verifier *self, const struct gw_pack *pack, int fd,
			      const uint8_t *mapped, struct gw_error *error)
{
	self->pack = pack;
	self->mapped = mapped;
	self->bytes = aligned_alloc(GW_PAGE_BYTES, GW_HUGE_PAGE_BYTES);
	if (!self->bytes)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	return gw_unit_reader_new(pack, fd, &gw_zstd_linked, &self->reader, error);
}

static int pack_verify_units(const struct gw_pack *pack, int fd, const uint8_t *mapped,
			     const struct tool_ordered *job, void **workers, struct gw_error *error)
{
	struct pack_verifier verifiers[TOOL_MAX_THREADS] = { 0 };
	int code = GW_OK;

	for (unsigned i = 0; code == GW_OK && i < job->n_threads; i++) {
		code = pack_verifier_init(&verifiers[i], pack, fd, mapped, error);
		workers[i] = &verifiers[i];
	}
	if (code == GW_OK)
		code = tool_ordered_run(job, error);
	for (unsigned i = 0; i < job->n_threads; i++)
		pack_verifier_free(&verifiers[i]);
	return code;
}

int pack_verify(const struct gw_pack *pack, int fd, unsigned n_threads,
		void (*bad)(void *context, const struct gw_error *error), void *context,
		struct tool_progress *progress, uint64_t *out_n, struct gw_error *error)
{
	void *workers[TOOL_MAX_THREADS] = { 0 };
	struct pack_verification verification = {
		.pack = pack,
		.bad = bad,
		.context = context,
		.progress = progress,
	};
	const struct tool_ordered job = {
		.n_items = pack->stored ? pack->superblock.n_blocks : gw_pack_unit_count(pack),
		.n_threads = n_threads,
		.workers = workers,
		.n_results = n_threads * 4,
		.result_bytes = sizeof(struct gw_error),
		.work = pack_verify_unit,
		.take = pack_verify_take,
		.context = &verification,
	};
	const uint64_t bytes = pack->superblock.file_bytes;
	void *mapped = MAP_FAILED;
	int code;

	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	if (!pack->stored && tool_guard_begin()) {
		mapped = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
		if (mapped == MAP_FAILED)
			tool_guard_end();
	}
	code = pack_verify_units(pack, fd, mapped == MAP_FAILED ? NULL : mapped, &job, workers,
				 error);
	if (mapped != MAP_FAILED) {
		munmap(mapped, bytes);
		tool_guard_end();
	}
	*out_n = job.n_items;
	return code;
}
