/* SPDX-License-Identifier: MIT */
#include "tools/pack/entropy.h"

#include <stdlib.h>

#include "format/unit_reader.h"
#include "tools/common/ordered.h"

/* What one thread has. */
struct pack_counter {
	const struct gw_pack *pack;
	struct gw_unit_reader *reader;
	uint8_t bytes[GW_BLOCK_BYTES];
};

/* Blocks come in order, so that one tensor is summed up at a time. */
struct pack_tally {
	const struct gw_pack *pack;
	struct tool_progress *progress;
	struct pack_entropy *out;
	struct gw_block_histogram sum; /* of the tensor that the last block was of */
};

static int pack_count_block(void *worker, uint64_t index, void *result, struct gw_error *error)
{
	struct pack_counter *self = worker;
	struct gw_block_histogram *histogram = result;
	const struct gw_unit unit = gw_pack_unit(self->pack, index);
	int code = gw_unit_reader_verify(self->reader, index, self->bytes, error);

	*histogram = (struct gw_block_histogram){ 0 };
	if (code == GW_OK)
		gw_block_count(histogram, unit.tensor->dtype, self->bytes, unit.size_bytes);
	return code;
}

static int pack_tally_block(void *context, uint64_t index, const void *result,
			    struct gw_error *error)
{
	struct pack_tally *self = context;
	const struct gw_block_histogram *histogram = result;
	const struct gw_unit unit = gw_pack_unit(self->pack, index);
	const struct gw_tensor *tensor = unit.tensor;
	struct pack_entropy *entropy = &self->out[tensor - self->pack->tensors];

	(void)error;
	if (index == tensor->first_block)
		self->sum = (struct gw_block_histogram){ 0 };
	for (unsigned i = 0; i < GW_BLOCK_MAX_PLANES; i++)
		for (unsigned k = 0; k < 256; k++)
			self->sum.counts[i][k] += histogram->counts[i][k];
	tool_progress_add(self->progress, unit.size_bytes);
	if (index + 1 < tensor->first_block + tensor->block_count)
		return GW_OK;
	*entropy = (struct pack_entropy){ .n_planes = gw_block_width(tensor->dtype) };
	for (unsigned i = 0; i < entropy->n_planes; i++)
		entropy->bits[i] = gw_plane_entropy(self->sum.counts[i]);
	return GW_OK;
}

static void pack_counter_free(struct pack_counter *self)
{
	if (!self)
		return;
	gw_unit_reader_free(self->reader);
	free(self);
}

static int pack_counter_new(const struct gw_pack *pack, int fd, struct pack_counter **out,
			    struct gw_error *error)
{
	struct pack_counter *self = calloc(1, sizeof *self);
	int code;

	if (!self)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "out of memory");
	self->pack = pack;
	code = gw_unit_reader_new(pack, fd, &gw_zstd_linked, &self->reader, error);
	if (code != GW_OK) {
		pack_counter_free(self);
		return code;
	}
	*out = self;
	return GW_OK;
}

int pack_entropy_measure(const struct gw_pack *pack, int fd, unsigned n_threads,
			 struct tool_progress *progress, struct pack_entropy *out,
			 struct gw_error *error)
{
	struct pack_counter *counters[TOOL_MAX_THREADS] = { 0 };
	void *workers[TOOL_MAX_THREADS] = { 0 };
	struct pack_tally tally = { .pack = pack, .progress = progress, .out = out };
	const struct tool_ordered job = {
		.n_items = pack->superblock.n_blocks,
		.n_threads = n_threads,
		.workers = workers,
		.n_results = n_threads * 4,
		.result_bytes = sizeof(struct gw_block_histogram),
		.work = pack_count_block,
		.take = pack_tally_block,
		.context = &tally,
	};
	int code = GW_OK;

	for (unsigned i = 0; code == GW_OK && i < n_threads; i++) {
		code = pack_counter_new(pack, fd, &counters[i], error);
		workers[i] = counters[i];
	}
	if (code == GW_OK)
		code = tool_ordered_run(&job, error);
	for (unsigned i = 0; i < n_threads; i++)
		pack_counter_free(counters[i]);
	return code;
}

double pack_entropy_share(const struct pack_entropy *entropy)
{
	double bits = 0;

	for (unsigned i = 0; i < entropy->n_planes; i++)
		bits += entropy->bits[i];
	return bits / (8 * entropy->n_planes);
}
