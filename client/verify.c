/* SPDX-License-Identifier: MIT */
#include "client/error.h"
#include "client/store.h"

/* Blocks first to last of a tensor, counted in it. */
static int verify_blocks(const gpt2c_store *store, const struct gw_tensor *tensor, uint64_t first,
			 uint64_t last, gpt2c_error *error)
{
	struct gw_error cause = GW_ERROR_INIT;

	if (gw_pack_verify_memory(store->pack, store->image.data, tensor->first_block + first,
				  last - first + 1, &cause) < 0)
		return gpt2c_fail_cause(error, &cause, NULL);
	return GPT2C_OK;
}

int gpt2c_verify_rows(const gpt2c_store *store, const char *name, uint64_t first, uint64_t n,
		      gpt2c_error *error)
{
	const struct gw_tensor *tensor;
	uint64_t from, to, scales;
	int result;

	if (!gpt2c_error_usable(error))
		return GPT2C_E_ARGUMENT;
	if (!store || !name)
		return gpt2c_fail(error, GPT2C_E_ARGUMENT, -1, "%s is NULL",
				  store ? "name" : "store");
	tensor = gw_pack_find(store->pack, name);
	if (!tensor)
		return gpt2c_fail(error, GPT2C_E_NO_TENSOR, -1, "there is no such tensor");
	if (n == 0 || first >= tensor->row_count || n > tensor->row_count - first)
		return gpt2c_fail(error, GPT2C_E_SIZE, -1,
				  "%llu rows from %llu on: the tensor has %llu rows",
				  (unsigned long long)n, (unsigned long long)first,
				  (unsigned long long)tensor->row_count);
	from = first * tensor->row_bytes / GW_BLOCK_BYTES;
	to = ((first + n) * tensor->row_bytes - 1) / GW_BLOCK_BYTES;
	result = verify_blocks(store, tensor, from, to, error);
	if (result < 0 || !tensor->scales_bytes)
		return result;
	/* their scales too, unless they were in the last of these blocks */
	scales = tensor->scales_offset - tensor->data_offset;
	from = (scales + first * sizeof(float)) / GW_BLOCK_BYTES;
	from = from > to ? from : to + 1;
	to = (scales + (first + n) * sizeof(float) - 1) / GW_BLOCK_BYTES;
	return from > to ? GPT2C_OK : verify_blocks(store, tensor, from, to, error);
}
