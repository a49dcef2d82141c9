/* SPDX-License-Identifier: MIT */
#include "client/part.h"

#include <stdbool.h>
#include <stdint.h>

#define LINE_FLOATS GPT2C_STREAM_FLOATS

/* From first up to end; of tokens, positions or sequences. */
struct range {
	size_t first, end;
};

/* Its share of 0 … n-1, at most one larger or smaller than any other part's. */
static struct range share_of(size_t n, size_t part, size_t n_parts)
{
	size_t each = n / n_parts, more = n % n_parts;
	size_t first = part * each + (part < more ? part : more);

	return (struct range){ first, first + each + (part < more) };
}

/* Tokens [sequences] × [positions] of whole. */
static void run_rectangle(const struct gpt2c_kernels *kernels, const struct gpt2c_run *whole,
			  struct range sequences, struct range positions)
{
	struct gpt2c_run run = *whole;
	size_t offset = sequences.first * whole->stride + positions.first;

	if (sequences.first >= sequences.end || positions.first >= positions.end)
		return;
	run.batch = sequences.end - sequences.first;
	run.seq = positions.end - positions.first;
	run.first_position += positions.first;
	run.ids += offset;
	run.out += offset * whole->n_embd;
	gpt2c_kernels_run(kernels, &run);
}

/* Elements of one token. */
static void run_elements(const struct gpt2c_kernels *kernels, const struct gpt2c_run *whole,
			 size_t token, struct range elements)
{
	struct gpt2c_run run = *whole;

	if (elements.first >= elements.end)
		return;
	run.batch = run.seq = 1;
	run.n_embd = elements.end - elements.first;
	run.first_position += token % whole->seq;
	run.ids += token;
	run.out += token * whole->n_embd + elements.first;
	run.wte.rows += elements.first * gw_dtype_bytes(run.wte.dtype);
	if (run.wpe.rows)
		run.wpe.rows += elements.first * gw_dtype_bytes(run.wpe.dtype);
	run.stream = false;
	gpt2c_kernels_run(kernels, &run);
}

/* Elements of a token's row that lie in the cache line which the row before ends with: they are
 * written with that row. None at the two ends of out. */
static size_t shared_elements(const struct gpt2c_run *whole, size_t token)
{
	uintptr_t start = (uintptr_t)(whole->out + token * whole->n_embd) / sizeof(float);
	size_t n = -start % LINE_FLOATS;

	if (token == 0 || token == whole->batch * whole->seq)
		return 0;
	return n < whole->n_embd ? n : whole->n_embd;
}

/* The first row of a range of tokens, and what belongs to its last one of the row thereafter. */
static void run_edges(const struct gpt2c_kernels *kernels, const struct gpt2c_run *whole,
		      struct range tokens)
{
	if (tokens.first >= tokens.end)
		return;
	run_elements(kernels, whole, tokens.first,
		     (struct range){ shared_elements(whole, tokens.first), whole->n_embd });
	run_elements(kernels, whole, tokens.end,
		     (struct range){ 0, shared_elements(whole, tokens.end) });
}

static void run_positions(const struct gpt2c_kernels *kernels, const struct gpt2c_run *whole,
			  struct range positions)
{
	size_t seq = whole->seq;

	for (size_t b = 0; b < whole->batch; b++)
		run_edges(kernels, whole,
			  (struct range){ b * seq + positions.first, b * seq + positions.end });
	positions.first++;
	run_rectangle(kernels, whole, (struct range){ 0, whole->batch }, positions);
}

static void run_sequences(const struct gpt2c_kernels *kernels, const struct gpt2c_run *whole,
			  struct range sequences)
{
	size_t seq = whole->seq;

	run_edges(kernels, whole, (struct range){ sequences.first * seq, sequences.end * seq });
	run_rectangle(kernels, whole, (struct range){ sequences.first, sequences.first + 1 },
		      (struct range){ 1, sequences.first < sequences.end ? seq : 1 });
	sequences.first++;
	run_rectangle(kernels, whole, sequences, (struct range){ 0, seq });
}

void gpt2c_part_run(const struct gpt2c_kernels *kernels, const struct gpt2c_run *run, size_t part,
		    size_t n_parts)
{
	struct range positions = { 0, run->seq }, sequences = { 0, run->batch };
	size_t by_positions = share_of(run->seq, 0, n_parts).end * run->batch;
	size_t by_sequences = share_of(run->batch, 0, n_parts).end * run->seq;
	/* up to an eighth more for the largest part is made up for by the rows of wpe */
	bool cut_positions = by_positions <= by_sequences + by_sequences / 8;
	bool on_lines = (uintptr_t)run->out % (LINE_FLOATS * sizeof(float)) == 0 &&
			run->n_embd % LINE_FLOATS == 0;

	if (cut_positions)
		positions = share_of(run->seq, part, n_parts);
	else
		sequences = share_of(run->batch, part, n_parts);
	if (on_lines)
		run_rectangle(kernels, run, sequences, positions);
	else if (cut_positions)
		run_positions(kernels, run, positions);
	else
		run_sequences(kernels, run, sequences);
}
