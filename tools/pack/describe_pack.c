/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "format/dtype.h"
#include "tools/common/number.h"
#include "tools/pack/describe.h"

static const char *pack_role_text(uint8_t role)
{
	return role == GW_ROLE_WTE ? "wte" : role == GW_ROLE_WPE ? "wpe" : "";
}

/* Whether name ends in tail. */
static bool pack_ends_in(const char *name, const char *tail)
{
	size_t n = strlen(name), m = strlen(tail);

	return n >= m && strcmp(name + n - m, tail) == 0;
}

/*
 * "[in, out]", "[out, in]", or NULL where nothing tells. The shapes do: c_attn makes 3 × n_embd
 * outputs, c_fc makes 4 × n_embd of them, mlp.c_proj takes those. A square attn.c_proj was made by
 * whoever made the c_attn of its layer. GGUF's matrices are all [out, in].
 */
static const char *pack_orientation(const struct gw_pack *pack, const struct gw_tensor *tensor)
{
	static const char attn[] = ".attn.c_attn.weight", square[] = ".attn.c_proj.weight";
	static const struct {
		const char *tail;
		unsigned in, out; /* × n_embd */
	} matrices[] = {
		{ attn, 1, 3 },
		{ ".mlp.c_fc.weight", 1, 4 },
		{ ".mlp.c_proj.weight", 4, 1 },
	};
	uint64_t n_embd = pack->wte->shape[1];
	char sibling[GW_NAME_BYTES];

	if (tensor->rank != 2 || tensor->role != GW_ROLE_NONE)
		return NULL;
	if (strcmp(pack->provenance.source_format, "gguf") == 0)
		return "[out, in]";
	if (pack_ends_in(tensor->name, square)) {
		/* the two tails are equally long */
		memcpy(sibling, tensor->name, sizeof sibling);
		memcpy(sibling + strlen(sibling) - strlen(square), attn, sizeof attn);
		tensor = gw_pack_find(pack, sibling);
		if (!tensor || tensor->rank != 2)
			return NULL;
	}
	for (size_t i = 0; i < sizeof matrices / sizeof matrices[0]; i++) {
		uint64_t in = n_embd * matrices[i].in, out = n_embd * matrices[i].out;

		if (!pack_ends_in(tensor->name, matrices[i].tail))
			continue;
		return tensor->shape[0] == in && tensor->shape[1] == out ? "[in, out]" :
		       tensor->shape[0] == out && tensor->shape[1] == in ? "[out, in]" :
									   NULL;
	}
	return NULL;
}

static void pack_print_provenance(const struct gw_provenance *from)
{
	char quoted[512], digest[GW_DIGEST_TEXT_BYTES], size[TOOL_SIZE_TEXT_BYTES];

	printf("source      %s",
	       gw_quote(from->source_format, strlen(from->source_format), quoted, sizeof quoted));
	if (from->source_name[0])
		printf(" \"%s\"", gw_quote(from->source_name, strlen(from->source_name), quoted,
					   sizeof quoted));
	if (from->source_bytes)
		printf(", %s, XXH3-128 %s", tool_size_text(from->source_bytes, size),
		       gw_digest_text(&from->source_digest, digest));
	if (from->note[0])
		printf("\nnote        %s",
		       gw_quote(from->note, strlen(from->note), quoted, sizeof quoted));
	printf("\npacked by   %s\n",
	       gw_quote(from->tool, strlen(from->tool), quoted, sizeof quoted));
}

/* Bytes of the stored blocks of a tensor. */
static uint64_t pack_stored_bytes(const struct gw_pack *pack, const struct gw_tensor *tensor)
{
	uint64_t bytes = 0;

	for (uint64_t i = 0; i < tensor->block_count; i++)
		bytes += pack->stored[tensor->first_block + i].size_bytes;
	return bytes;
}

static double pack_ratio(uint64_t bytes, uint64_t of)
{
	return (double)bytes / (double)of;
}

/* What a tensor's bytes carry, on a line of its own. */
static void pack_print_entropy(const struct pack_entropy *entropy)
{
	printf("      planes");
	for (unsigned i = 0; i < entropy->n_planes; i++)
		printf(" %.2f", entropy->bits[i]);
	printf(" bits per byte: %.1f%%\n", 100 * pack_entropy_share(entropy));
}

/* A line of the list. */
static void pack_print_tensor(const struct gw_pack *pack, const struct gw_tensor *tensor)
{
	const char *orientation = pack_orientation(pack, tensor);
	char quoted[64], shape[PACK_SHAPE_TEXT_BYTES], scales[48] = "", stored[48] = "";

	if (tensor->dtype == GW_I8)
		snprintf(scales, sizeof scales, "  (%" PRIu64 " of scales)", tensor->scales_bytes);
	if (pack->stored)
		snprintf(stored, sizeof stored, " %14" PRIu64 " %6.1f%%",
			 pack_stored_bytes(pack, tensor),
			 100 * pack_ratio(pack_stored_bytes(pack, tensor), tensor->extent_bytes));
	printf("%-4s  %-5s %-18s %12" PRIu64 " %12" PRIu64 " %14" PRIu64 "%s  %s%s%s%s\n",
	       pack_role_text(tensor->role), gw_dtype_name(tensor->dtype),
	       pack_shape_text(tensor->rank, tensor->shape, shape), tensor->row_bytes,
	       tensor->data_offset, tensor->extent_bytes, stored,
	       gw_quote(tensor->name, strlen(tensor->name), quoted, sizeof quoted), scales,
	       orientation ? "  " : "", orientation ? orientation : "");
}

static void pack_print_pack(const struct gw_pack *pack, const struct pack_entropy *entropies)
{
	const struct gw_superblock *superblock = &pack->superblock;
	char size[TOOL_SIZE_TEXT_BYTES], id[GW_DIGEST_TEXT_BYTES];

	printf("format      gpt2w %u.%u, %s", GW_VERSION_MAJOR, superblock->version_minor,
	       tool_size_text(superblock->file_bytes, size));
	if (pack->stored)
		printf(", compressed to %.1f%% of %s",
		       100 * pack_ratio(superblock->file_bytes, superblock->image_bytes),
		       tool_size_text(superblock->image_bytes, size));
	putchar('\n');
	printf("content id  %s\n", gw_digest_text(&superblock->content_id, id));
	printf("model       n_vocab %" PRIu64 ", n_positions %" PRIu64 ", n_embd %" PRIu64,
	       pack->wte->shape[0], pack->wpe ? pack->wpe->shape[0] : 0, pack->wte->shape[1]);
	if (superblock->n_layer)
		printf(", n_layer %" PRIu64, superblock->n_layer);
	if (superblock->n_head)
		printf(", n_head %" PRIu64, superblock->n_head);
	putchar('\n');
	pack_print_provenance(&pack->provenance);
	printf("\n%-4s  %-5s %-18s %12s %12s %14s%s  %s\n", "role", "dtype", "shape", "row bytes",
	       "offset", "bytes", pack->stored ? "         stored   ratio" : "", "name");
	for (uint32_t i = 0; i < superblock->n_tensors; i++) {
		pack_print_tensor(pack, &pack->tensors[i]);
		if (entropies)
			pack_print_entropy(&entropies[i]);
	}
}

static void pack_dump_head(const struct gw_pack *pack)
{
	const struct gw_superblock *superblock = &pack->superblock;
	const struct gw_provenance *from = &pack->provenance;
	char id[GW_DIGEST_TEXT_BYTES], digest[GW_DIGEST_TEXT_BYTES];
	json_t *provenance =
		json_pack("{s:s, s:s, s:I, s:s, s:s, s:s}", "source_format", from->source_format,
			  "source_name", from->source_name, "source_bytes",
			  (json_int_t)from->source_bytes, "source_digest",
			  gw_digest_text(&from->source_digest, digest), "tool", from->tool, "note",
			  from->note);
	json_t *head =
		json_pack("{s:s, s:[i, i], s:b, s:I, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:o}", "format",
			  "gpt2w", "version", GW_VERSION_MAJOR, (int)superblock->version_minor,
			  "compressed", pack->stored != NULL, "file_bytes", (json_int_t)superblock->file_bytes, "image_bytes",
			  (json_int_t)superblock->image_bytes, "content_id",
			  gw_digest_text(&superblock->content_id, id), "n_vocab",
			  (json_int_t)pack->wte->shape[0], "n_positions",
			  (json_int_t)(pack->wpe ? pack->wpe->shape[0] : 0), "n_embd",
			  (json_int_t)pack->wte->shape[1], "n_layer",
			  (json_int_t)superblock->n_layer, "n_head", (json_int_t)superblock->n_head,
			  "provenance", provenance);

	json_dumpf(head, stdout, JSON_EMBED);
	json_decref(head);
}

/* What it takes in the file, and what its planes carry; null where it is not known. */
static void pack_dump_measures(const struct gw_pack *pack, const struct gw_tensor *tensor,
			       const struct pack_entropy *entropy, json_t *object)
{
	uint64_t bytes = pack->stored ? pack_stored_bytes(pack, tensor) : 0;
	json_t *planes = entropy ? json_array() : json_null();

	json_object_set_new(object, "stored_bytes",
			    pack->stored ? json_integer((json_int_t)bytes) : json_null());
	json_object_set_new(object, "ratio",
			    pack->stored ? json_real(pack_ratio(bytes, tensor->extent_bytes)) :
					   json_null());
	for (unsigned i = 0; entropy && i < entropy->n_planes; i++)
		json_array_append_new(planes, json_real(entropy->bits[i]));
	json_object_set_new(object, "entropy", planes);
}

/* entropy may be NULL. */
static void pack_dump_packed(const struct gw_pack *pack, const struct gw_tensor *tensor,
			     const struct pack_entropy *entropy)
{
	json_t *shape = json_array(), *object;

	for (unsigned k = 0; k < tensor->rank; k++)
		json_array_append_new(shape, json_integer((json_int_t)tensor->shape[k]));
	object = json_pack("{s:s, s:s?, s:s, s:o, s:I, s:I, s:I, s:s?}", "name", tensor->name,
			   "role", tensor->role ? pack_role_text(tensor->role) : NULL, "dtype",
			   gw_dtype_name(tensor->dtype), "shape", shape, "row_bytes",
			   (json_int_t)tensor->row_bytes, "offset",
			   (json_int_t)tensor->data_offset, "bytes",
			   (json_int_t)tensor->extent_bytes, "orientation",
			   pack_orientation(pack, tensor));
	json_object_set_new(object, "scales_offset",
			    tensor->scales_bytes ? json_integer((json_int_t)tensor->scales_offset) :
						   json_null());
	json_object_set_new(object, "scales_bytes",
			    tensor->scales_bytes ? json_integer((json_int_t)tensor->scales_bytes) :
						   json_null());
	pack_dump_measures(pack, tensor, entropy, object);
	json_dumpf(object, stdout, 0);
	json_decref(object);
}

/* One tensor at a time: a pack may have thousands. */
static void pack_dump_pack(const struct gw_pack *pack, const struct pack_entropy *entropies)
{
	putchar('{');
	pack_dump_head(pack);
	fputs(", \"tensors\": [", stdout);
	for (uint32_t i = 0; i < pack->superblock.n_tensors; i++) {
		fputs(i ? ", " : "", stdout);
		pack_dump_packed(pack, &pack->tensors[i], entropies ? &entropies[i] : NULL);
	}
	puts("]}");
}

void pack_describe_pack(const struct gw_pack *pack, const struct pack_entropy *entropies, bool json)
{
	if (json)
		pack_dump_pack(pack, entropies);
	else
		pack_print_pack(pack, entropies);
}
