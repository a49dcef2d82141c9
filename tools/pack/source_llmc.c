/* SPDX-License-Identifier: MIT */
#include "tools/pack/llmc.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "format/bytes.h"
#include "format/checked.h"
#include "format/directory.h"
#include "tools/pack/element.h"
#include "tools/pack/limits.h"

#define PACK_LLMC_HEADER_BYTES 1024
/* Of them count; llm.c writes the rest as zero and does not read it, and neither does this. */
#define PACK_LLMC_FIELDS 8

enum pack_llmc_field {
	PACK_LLMC_MAGIC,
	PACK_LLMC_VERSION,
	PACK_LLMC_POSITIONS,
	PACK_LLMC_VOCAB,
	PACK_LLMC_LAYERS,
	PACK_LLMC_HEADS,
	PACK_LLMC_COLUMNS,
	PACK_LLMC_PADDED_VOCAB,
};

static const struct {
	uint32_t number;
	const char *element;
	bool padded;
} pack_llmc_versions[] = {
	{ 1, "F32", false },
	{ 2, "BF16", false },
	{ 3, "F32", true },
	{ 5, "BF16", true },
};

struct pack_llmc {
	const struct pack_file *file;
	char quoted_file[96];
	uint64_t fields[PACK_LLMC_FIELDS];
	int element;
	unsigned element_bytes;
	bool padded;
};

/*
 * The arrays between the tables and the last layer norm, in llm.c's order; each has all layers, one
 * after the other. Names are Hugging Face's, without "h.N.". Sizes are in units of the columns;
 * columns 0: a vector. Matrices are [out, in], where Hugging Face's Conv1D has them [in, out].
 */
static const struct {
	const char *name;
	unsigned rows, columns;
} pack_llmc_layers[] = {
	{ "ln_1.weight", 1, 0 },        { "ln_1.bias", 1, 0 },
	{ "attn.c_attn.weight", 3, 1 }, { "attn.c_attn.bias", 3, 0 },
	{ "attn.c_proj.weight", 1, 1 }, { "attn.c_proj.bias", 1, 0 },
	{ "ln_2.weight", 1, 0 },        { "ln_2.bias", 1, 0 },
	{ "mlp.c_fc.weight", 4, 1 },    { "mlp.c_fc.bias", 4, 0 },
	{ "mlp.c_proj.weight", 1, 4 },  { "mlp.c_proj.bias", 1, 0 },
};

#define PACK_LLMC_LAYER_TENSORS (sizeof pack_llmc_layers / sizeof pack_llmc_layers[0])
/* wte, wpe, and weight and bias of ln_f. */
#define PACK_LLMC_MAX_LAYERS ((PACK_MAX_SOURCE_TENSORS - 4) / PACK_LLMC_LAYER_TENSORS)

static int pack_llmc_version(struct pack_llmc *llmc, uint64_t version, struct gw_error *error)
{
	for (size_t i = 0; i < sizeof pack_llmc_versions / sizeof pack_llmc_versions[0]; i++) {
		if (pack_llmc_versions[i].number != version)
			continue;
		llmc->element = pack_element_find(pack_llmc_versions[i].element);
		llmc->element_bytes = pack_element_bits(llmc->element) / 8;
		llmc->padded = pack_llmc_versions[i].padded;
		return GW_OK;
	}
	return gw_fail(error, GW_E_SOURCE, 4 * PACK_LLMC_VERSION,
		       "%s: an llm.c checkpoint of version %d at offset 4; this release reads 1, "
		       "2, 3 and 5",
		       llmc->quoted_file, (int32_t)version);
}

/* The fields after the version: each from 1 to what it can be, and those that go together. */
static int pack_llmc_check(struct pack_llmc *llmc, struct gw_error *error)
{
	static const struct {
		enum pack_llmc_field field;
		const char *name;
		uint64_t max;
	} fields[] = {
		{ PACK_LLMC_POSITIONS, "number of positions", INT32_MAX },
		{ PACK_LLMC_VOCAB, "vocabulary", INT32_MAX },
		{ PACK_LLMC_LAYERS, "number of layers", PACK_LLMC_MAX_LAYERS },
		{ PACK_LLMC_HEADS, "number of heads", GW_MAX_N_HEAD },
		{ PACK_LLMC_COLUMNS, "number of columns", GW_MAX_N_EMBD },
		{ PACK_LLMC_PADDED_VOCAB, "padded vocabulary", INT32_MAX },
	};
	uint64_t *padded = &llmc->fields[PACK_LLMC_PADDED_VOCAB];
	uint64_t vocab = llmc->fields[PACK_LLMC_VOCAB];

	/* versions without padding were written before there was such a field */
	if (!llmc->padded && *padded == 0)
		*padded = vocab;
	for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
		uint64_t value = llmc->fields[fields[i].field];

		if (value < 1 || value > fields[i].max)
			return gw_fail(error, GW_E_SOURCE, 4 * (uint64_t)fields[i].field,
				       "%s: the %s at offset %d is %d, not from 1 to %" PRIu64,
				       llmc->quoted_file, fields[i].name, 4 * (int)fields[i].field,
				       (int32_t)value, fields[i].max);
	}
	if (*padded < vocab || (!llmc->padded && *padded != vocab))
		return gw_fail(error, GW_E_SOURCE, 4 * PACK_LLMC_PADDED_VOCAB,
			       "%s: the padded vocabulary at offset 28 is %" PRIu64
			       ", the vocabulary at offset 12 is %" PRIu64 "%s",
			       llmc->quoted_file, *padded, vocab,
			       llmc->padded ? "" : ", and this version has no padding");
	if (llmc->fields[PACK_LLMC_COLUMNS] % llmc->fields[PACK_LLMC_HEADS] != 0)
		return gw_fail(error, GW_E_SOURCE, 4 * PACK_LLMC_HEADS,
			       "%s: the number of heads at offset 20 is %" PRIu64
			       ", which does not divide the number of columns, %" PRIu64,
			       llmc->quoted_file, llmc->fields[PACK_LLMC_HEADS],
			       llmc->fields[PACK_LLMC_COLUMNS]);
	return GW_OK;
}

static int pack_llmc_header(struct pack_llmc *llmc, struct gw_error *error)
{
	uint8_t bytes[4 * PACK_LLMC_FIELDS] = { 0 };
	struct gw_bytes window = gw_bytes_read(bytes, sizeof bytes);
	int code;

	if (llmc->file->size_bytes < PACK_LLMC_HEADER_BYTES)
		return gw_fail(error, GW_E_SOURCE, llmc->file->size_bytes,
			       "%s: only %" PRIu64 " bytes; an llm.c checkpoint begins with a "
			       "header of %d",
			       llmc->quoted_file, llmc->file->size_bytes, PACK_LLMC_HEADER_BYTES);
	code = pack_file_read(llmc->file, bytes, sizeof bytes, 0, error);
	if (code != GW_OK)
		return code;
	/* a negative number becomes one above INT32_MAX, which no field may have */
	for (unsigned i = 0; i < PACK_LLMC_FIELDS; i++)
		llmc->fields[i] = gw_get_u32(&window, 4 * (uint64_t)i);
	code = pack_llmc_version(llmc, llmc->fields[PACK_LLMC_VERSION], error);
	return code == GW_OK ? pack_llmc_check(llmc, error) : code;
}

/* The header says how long the file is; every array lies within it if it is. */
static int pack_llmc_size(const struct pack_llmc *llmc, struct gw_error *error)
{
	uint64_t columns = llmc->fields[PACK_LLMC_COLUMNS];
	/* below 2^33 × 2^24, and 12 × 2^48 + 13 × 2^24 for a layer: no more than the caps allow */
	uint64_t tables =
		(llmc->fields[PACK_LLMC_PADDED_VOCAB] + llmc->fields[PACK_LLMC_POSITIONS] + 2) *
		columns;
	uint64_t layer = 0, bytes = 0;

	for (size_t i = 0; i < PACK_LLMC_LAYER_TENSORS; i++)
		layer += pack_llmc_layers[i].rows * columns *
			 (pack_llmc_layers[i].columns ? pack_llmc_layers[i].columns * columns : 1);
	if (!gw_mul(layer, llmc->fields[PACK_LLMC_LAYERS], &bytes) ||
	    !gw_add(bytes, tables, &bytes) || !gw_mul(bytes, llmc->element_bytes, &bytes) ||
	    !gw_add(bytes, PACK_LLMC_HEADER_BYTES, &bytes))
		return gw_fail(error, GW_E_SOURCE, 4 * PACK_LLMC_POSITIONS,
			       "%s: the header, from offset 8 on, asks for more than 2^64 bytes",
			       llmc->quoted_file);
	if (bytes != llmc->file->size_bytes)
		return gw_fail(error, GW_E_SOURCE, 4 * PACK_LLMC_POSITIONS,
			       "%s: the header, from offset 8 on, asks for a file of %" PRIu64
			       " bytes, and this one has %" PRIu64,
			       llmc->quoted_file, bytes, llmc->file->size_bytes);
	return GW_OK;
}

/* columns 0: a vector. offset: where it begins; the end of it on return. */
static int pack_llmc_add(const struct pack_llmc *llmc, struct pack_list *list, const char *name,
			 uint64_t rows, uint64_t columns, uint64_t *offset, struct gw_error *error)
{
	struct pack_tensor tensor = {
		.name = (char *)(uintptr_t)name,
		.element = llmc->element,
		.rank = columns ? 2 : 1,
		.shape = { rows, columns },
		.size_bytes = rows * (columns ? columns : 1) * llmc->element_bytes,
		.offset_bytes = *offset,
	};

	*offset += tensor.size_bytes;
	return pack_list_add(list, &tensor, error);
}

static int pack_llmc_list(const struct pack_llmc *llmc, struct pack_list *list,
			  struct gw_error *error)
{
	uint64_t columns = llmc->fields[PACK_LLMC_COLUMNS];
	uint64_t offset = PACK_LLMC_HEADER_BYTES;
	uint64_t padding = llmc->fields[PACK_LLMC_PADDED_VOCAB] - llmc->fields[PACK_LLMC_VOCAB];
	int code = pack_llmc_add(llmc, list, GW_WTE_NAME, llmc->fields[PACK_LLMC_VOCAB], columns,
				 &offset, error);

	/* no id reaches these rows, so what they hold does not matter; they are not looked at */
	offset += padding * columns * llmc->element_bytes;
	if (code == GW_OK)
		code = pack_llmc_add(llmc, list, GW_WPE_NAME, llmc->fields[PACK_LLMC_POSITIONS],
				     columns, &offset, error);
	for (size_t i = 0; i < PACK_LLMC_LAYER_TENSORS; i++) {
		for (unsigned j = 0; code == GW_OK && j < llmc->fields[PACK_LLMC_LAYERS]; j++) {
			char name[64];

			snprintf(name, sizeof name, "h.%u.%s", j, pack_llmc_layers[i].name);
			code = pack_llmc_add(llmc, list, name, pack_llmc_layers[i].rows * columns,
					     pack_llmc_layers[i].columns * columns, &offset, error);
		}
	}
	if (code == GW_OK)
		code = pack_llmc_add(llmc, list, "ln_f.weight", columns, 0, &offset, error);
	if (code == GW_OK)
		code = pack_llmc_add(llmc, list, "ln_f.bias", columns, 0, &offset, error);
	return code;
}

int pack_llmc_open(int folder_fd, struct pack_file *file, struct pack_source *source,
		   struct gw_error *error)
{
	struct pack_llmc llmc = { 0 };
	int code = pack_source_take_file(source, file, error);

	(void)folder_fd;
	if (code != GW_OK)
		return code;
	llmc.file = &source->files[0];
	gw_quote(llmc.file->name, strlen(llmc.file->name), llmc.quoted_file,
		 sizeof llmc.quoted_file);
	source->format = "llm.c";
	code = pack_llmc_header(&llmc, error);
	if (code == GW_OK)
		code = pack_llmc_size(&llmc, error);
	if (code == GW_OK)
		code = pack_llmc_list(&llmc, &source->tensors, error);
	source->config = (struct pack_config) {
		.origin = "the header",
		.n_layer = llmc.fields[PACK_LLMC_LAYERS],
		.n_head = llmc.fields[PACK_LLMC_HEADS],
		.n_vocab = llmc.fields[PACK_LLMC_VOCAB],
		.n_positions = llmc.fields[PACK_LLMC_POSITIONS],
		.n_embd = llmc.fields[PACK_LLMC_COLUMNS],
	};
	return code;
}
