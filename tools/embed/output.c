/* SPDX-License-Identifier: MIT */
#include "tools/embed/output.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/outfile.h"
#include "tools/embed/npy.h"

struct embed_output {
	struct gw_outfile *file; /* NULL: standard output */
	uint64_t offset_bytes;
	uint64_t n_embd;
};

bool embed_output_kind(const char *path, enum embed_output_kind *out_kind)
{
	size_t n = path ? strlen(path) : 0;

	if (!path)
		*out_kind = EMBED_TEXT;
	else if (n > 4 && strcmp(path + n - 4, ".npy") == 0)
		*out_kind = EMBED_NPY;
	else if (n > 4 && strcmp(path + n - 4, ".f32") == 0)
		*out_kind = EMBED_F32;
	else
		return false;
	return true;
}

int embed_output_new(const char *path, bool replace, uint64_t batch, uint64_t seq, uint64_t n_embd,
		     struct embed_output **out, struct gw_error *error)
{
	struct embed_output *output = calloc(1, sizeof *output);
	enum embed_output_kind kind = EMBED_TEXT;
	uint8_t header[EMBED_NPY_OUT_BYTES];
	int ret = 0;

	if (!output)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory");
	output->n_embd = n_embd;
	embed_output_kind(path, &kind);
	if (kind != EMBED_TEXT)
		ret = gw_outfile_create(path, replace, &output->file, error);
	if (!ret && kind == EMBED_NPY) {
		embed_npy_write_header(batch, seq, n_embd, header);
		ret = gw_outfile_write(output->file, header, sizeof header, 0, error);
		output->offset_bytes = sizeof header;
	}
	if (ret) {
		embed_output_free(output);
		return ret;
	}
	*out = output;
	return 0;
}

/* %.9g gives every float32 digits enough to be read back as itself. */
static int embed_output_text(const float *vectors, uint64_t n, uint64_t n_embd,
			     struct gw_error *error)
{
	errno = 0;
	for (uint64_t i = 0; i < n && !ferror(stdout); i++)
		for (uint64_t j = 0; j < n_embd; j++)
			printf("%.9g%c", (double)vectors[i * n_embd + j],
			       j + 1 < n_embd ? ' ' : '\n');
	if (ferror(stdout))
		return gw_fail_errno(error, errno ? errno : EIO, "cannot write standard output");
	return 0;
}

int embed_output_append(struct embed_output *output, const float *vectors, uint64_t n,
			struct gw_error *error)
{
	/* n × n_embd floats are in memory, so their size does not wrap */
	uint64_t bytes = n * output->n_embd * sizeof *vectors;
	int ret;

	if (!output->file)
		return embed_output_text(vectors, n, output->n_embd, error);
	ret = gw_outfile_write(output->file, vectors, bytes, output->offset_bytes, error);
	if (!ret)
		output->offset_bytes += bytes;
	return ret;
}

int embed_output_finish(struct embed_output *output, struct gw_error *error)
{
	if (output->file)
		return gw_outfile_commit(output->file, error);
	errno = 0;
	if (fflush(stdout) != 0)
		return gw_fail_errno(error, errno ? errno : EIO, "cannot write standard output");
	return 0;
}

void embed_output_free(struct embed_output *output)
{
	if (!output)
		return;
	gw_outfile_free(output->file);
	free(output);
}
