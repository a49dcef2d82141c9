/* SPDX-License-Identifier: MIT */
#include "client/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/error.h"
#include "format/wire.h"

/* Fields after size, for structs of other sizes than this release's. */
static const size_t info_ends[] = {
	GPT2C_FIELD_END(gpt2c_info, n_vocab),     GPT2C_FIELD_END(gpt2c_info, n_positions),
	GPT2C_FIELD_END(gpt2c_info, n_embd),      GPT2C_FIELD_END(gpt2c_info, n_layer),
	GPT2C_FIELD_END(gpt2c_info, n_head),      GPT2C_FIELD_END(gpt2c_info, n_tensors),
	GPT2C_FIELD_END(gpt2c_info, generation),  GPT2C_FIELD_END(gpt2c_info, content_id),
	GPT2C_FIELD_END(gpt2c_info, wte_dtype),   GPT2C_FIELD_END(gpt2c_info, wpe_dtype),
	GPT2C_FIELD_END(gpt2c_info, flags),       GPT2C_FIELD_END(gpt2c_info, reserved),
	GPT2C_FIELD_END(gpt2c_info, image_bytes),
};

static const size_t tensor_ends[] = {
	GPT2C_FIELD_END(gpt2c_tensor, name),      GPT2C_FIELD_END(gpt2c_tensor, data),
	GPT2C_FIELD_END(gpt2c_tensor, scales),    GPT2C_FIELD_END(gpt2c_tensor, dtype),
	GPT2C_FIELD_END(gpt2c_tensor, rank),      GPT2C_FIELD_END(gpt2c_tensor, shape),
	GPT2C_FIELD_END(gpt2c_tensor, row_bytes),
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct gpt2c_store *gpt2c_store_new(void)
{
	struct gpt2c_store *store = calloc(1, sizeof *store);

	if (!store)
		return NULL;
	store->references = 1;
	store->connection_fd = -1;
	return store;
}

/* Aligned: scales_offset is a multiple of 64 (FORMAT.md, int8). */
static const float *scales_of(const struct gpt2c_store *store, const struct gw_tensor *tensor)
{
	if (tensor->dtype != GW_I8)
		return NULL;
	return (const float *)(const void *)(store->image.data + tensor->scales_offset);
}

static struct gpt2c_table table_of(const struct gpt2c_store *store, const struct gw_tensor *tensor)
{
	if (!tensor)
		return (struct gpt2c_table){ .dtype = GW_DTYPE_NONE };
	return (struct gpt2c_table){
		.rows = store->image.data + tensor->data_offset,
		.scales = scales_of(store, tensor),
		.row_bytes = tensor->row_bytes,
		.row_count = tensor->row_count,
		.dtype = tensor->dtype,
	};
}

/* What the C library knows of a cache, or else is a guess. */
static uint64_t cache_bytes(int name, uint64_t otherwise)
{
	long bytes = sysconf(name);

	return bytes > 0 ? (uint64_t)bytes : otherwise;
}

/*
 * As much output as stays in the caches beside the rows that are read; of all parts of a batch
 * together (gpt2c_embed_part), since it is the whole that somebody reads next. Measured: storing
 * into the caches and past them take the same time at 6 MiB on a Zen 4 with 1 MiB of L2 and 32 MiB
 * of L3. On a Xeon with 2 MiB of L2, one thread that streams is faster by itself from 0.75 MiB on,
 * with random rows, but up to 6 MiB reading the output then takes longer by more than was saved.
 */
static uint64_t stream_above(void)
{
	uint64_t l2 = cache_bytes(_SC_LEVEL2_CACHE_SIZE, UINT64_C(1) << 20);
	uint64_t l3 = cache_bytes(_SC_LEVEL3_CACHE_SIZE, UINT64_C(24) << 20);
	uint64_t from_l3 = l3 / 4 < (UINT64_C(6) << 20) ? l3 / 4 : UINT64_C(6) << 20;

	return 3 * l2 > from_l3 ? 3 * l2 : from_l3;
}

void gpt2c_store_bind(struct gpt2c_store *store)
{
	store->wte = table_of(store, store->pack->wte);
	store->wpe = table_of(store, store->pack->wpe);
	store->n_embd = store->pack->wte->row_elements;
	store->kernels = gpt2c_kernels_at(0);
	store->stream_above = stream_above();
}

gpt2c_store *gpt2c_ref(gpt2c_store *store)
{
	if (store)
		__atomic_fetch_add(&store->references, 1, __ATOMIC_RELAXED);
	return store;
}

void gpt2c_close(gpt2c_store *store)
{
	int saved = errno;

	/* release: our reads of the image end before another thread unmaps it; acquire: theirs */
	if (!store || __atomic_sub_fetch(&store->references, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	gpt2c_unmap(&store->image);
	gpt2c_unmap(&store->board);
	if (store->connection_fd >= 0)
		close(store->connection_fd);
	gw_pack_free(store->pack);
	free(store);
	errno = saved;
}

int gpt2c_get_info(const gpt2c_store *store, gpt2c_info *out_info)
{
	gpt2c_info info;

	if (!store || !out_info || out_info->size == 0)
		return GPT2C_E_ARGUMENT;
	info = (gpt2c_info){
		.n_vocab = store->wte.row_count,
		.n_positions = store->wpe.row_count,
		.n_embd = store->n_embd,
		.n_layer = store->pack->superblock.n_layer,
		.n_head = store->pack->superblock.n_head,
		.n_tensors = store->pack->superblock.n_tensors,
		.generation = store->generation,
		.wte_dtype = store->wte.dtype,
		.wpe_dtype = store->wpe.dtype,
		.flags = store->info_flags,
		.image_bytes = store->pack->superblock.image_bytes,
	};
	memcpy(info.content_id, store->pack->superblock.content_id.bytes, sizeof info.content_id);
	gpt2c_copy_fields(out_info, &info, out_info->size, info_ends, COUNT(info_ends));
	return GPT2C_OK;
}

static int describe(const struct gpt2c_store *store, const struct gw_tensor *from,
		    gpt2c_tensor *out_tensor)
{
	gpt2c_tensor tensor = {
		.name = from->name,
		.data = store->image.data + from->data_offset,
		.scales = scales_of(store, from),
		.dtype = from->dtype,
		.rank = from->rank,
		.row_bytes = from->row_bytes,
	};

	memcpy(tensor.shape, from->shape, sizeof tensor.shape);
	gpt2c_copy_fields(out_tensor, &tensor, out_tensor->size, tensor_ends, COUNT(tensor_ends));
	return GPT2C_OK;
}

int gpt2c_get_tensor(const gpt2c_store *store, const char *name, gpt2c_tensor *out_tensor)
{
	const struct gw_tensor *tensor;

	if (!store || !name || !out_tensor || out_tensor->size == 0)
		return GPT2C_E_ARGUMENT;
	tensor = gw_pack_find(store->pack, name);
	if (!tensor)
		return GPT2C_E_NO_TENSOR;
	return describe(store, tensor, out_tensor);
}

int gpt2c_get_tensor_at(const gpt2c_store *store, uint64_t index, gpt2c_tensor *out_tensor)
{
	if (!store || !out_tensor || out_tensor->size == 0)
		return GPT2C_E_ARGUMENT;
	if (index >= store->pack->superblock.n_tensors)
		return GPT2C_E_NO_TENSOR;
	return describe(store, &store->pack->tensors[index], out_tensor);
}

int gpt2c_state(const gpt2c_store *store)
{
	const void *at;
	uint64_t word;

	if (!store || !store->board.data)
		return GPT2C_CURRENT;
	/* aligned: the board is a page, WIRE.md puts owner and epoch into one word of it */
	at = store->board.data + WIRE_BOARD_OWNER_AT;
	word = __atomic_load_n((const uint64_t *)at, __ATOMIC_ACQUIRE);
	if ((wire_board_owner(word) & WIRE_OWNER_DIED) ||
	    !(wire_board_owner(word) & WIRE_OWNER_TID_MASK))
		return GPT2C_ORPHANED;
	return wire_board_epoch(word) == store->epoch ? GPT2C_CURRENT : GPT2C_SUPERSEDED;
}

int gpt2c_get_fd(const gpt2c_store *store)
{
	return store ? store->connection_fd : -1;
}
