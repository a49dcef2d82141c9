/* SPDX-License-Identifier: MIT */
/* The public header: C99 and C++, and structs whose layout programs have been compiled against. */
#include "gpt2client.h"

#define PIN(type, field, offset, bytes)                                                         \
	typedef char pin_##type##_##field[offsetof(type, field) == (offset) &&                  \
							  sizeof(((type *)0)->field) == (bytes) \
						  ? 1                                           \
						  : -1]

PIN(gpt2c_error, size, 0, 8);
PIN(gpt2c_error, code, 8, 4);
PIN(gpt2c_error, sys_errno, 12, 4);
PIN(gpt2c_error, index, 16, 8);
PIN(gpt2c_error, message, 24, 256);
PIN(gpt2c_options, size, 0, 8);
PIN(gpt2c_options, socket_path, 8, 8);
PIN(gpt2c_options, model, 16, 8);
PIN(gpt2c_options, file, 24, 8);
PIN(gpt2c_options, timeout_ms, 32, 8);
PIN(gpt2c_options, flags, 40, 8);
PIN(gpt2c_info, size, 0, 8);
PIN(gpt2c_info, n_vocab, 8, 8);
PIN(gpt2c_info, n_positions, 16, 8);
PIN(gpt2c_info, n_embd, 24, 8);
PIN(gpt2c_info, n_layer, 32, 8);
PIN(gpt2c_info, n_head, 40, 8);
PIN(gpt2c_info, n_tensors, 48, 8);
PIN(gpt2c_info, generation, 56, 8);
PIN(gpt2c_info, content_id, 64, 16);
PIN(gpt2c_info, wte_dtype, 80, 4);
PIN(gpt2c_info, wpe_dtype, 84, 4);
PIN(gpt2c_info, flags, 88, 4);
PIN(gpt2c_info, reserved, 92, 4);
PIN(gpt2c_info, image_bytes, 96, 8);
PIN(gpt2c_tensor, size, 0, 8);
PIN(gpt2c_tensor, name, 8, 8);
PIN(gpt2c_tensor, data, 16, 8);
PIN(gpt2c_tensor, scales, 24, 8);
PIN(gpt2c_tensor, dtype, 32, 4);
PIN(gpt2c_tensor, rank, 36, 4);
PIN(gpt2c_tensor, shape, 40, 64);
PIN(gpt2c_tensor, row_bytes, 104, 8);

/* Every function, through its public type; linked against the shared library. */
int main(void)
{
	gpt2c_error error = GPT2C_ERROR_INIT;
	gpt2c_options options = GPT2C_OPTIONS_INIT;
	gpt2c_info info;
	gpt2c_tensor tensor;
	gpt2c_store *store = NULL;
	const void *rows[1];
	int32_t id = 0;
	float out[1];
	int failed = 0;

	info.size = sizeof info;
	tensor.size = sizeof tensor;
	options.file = "/nonexistent/p.gpt2w";
	failed |= gpt2c_open_with(&options, &store, &error) != GPT2C_E_NOT_FOUND;
	failed |= error.code != GPT2C_E_NOT_FOUND;
	failed |= gpt2c_open("/nonexistent/s", NULL, &store, &error) != GPT2C_E_NO_DAEMON;
	failed |= gpt2c_open_file("/nonexistent/p", &store, &error) != GPT2C_E_NOT_FOUND;
	failed |= gpt2c_ref(store) != NULL;
	failed |= gpt2c_get_info(store, &info) != GPT2C_E_ARGUMENT;
	failed |= gpt2c_get_tensor(store, "wte.weight", &tensor) != GPT2C_E_ARGUMENT;
	failed |= gpt2c_get_tensor_at(store, 0, &tensor) != GPT2C_E_ARGUMENT;
	failed |= gpt2c_rows(store, &id, 1, rows, &error) != GPT2C_E_ARGUMENT;
	failed |= gpt2c_embed(store, &id, 1, 1, 0, out, &error) != GPT2C_E_ARGUMENT;
	failed |= gpt2c_embed_at(store, &id, NULL, 1, out, &error) != GPT2C_E_ARGUMENT;
	failed |= gpt2c_embed_part(store, &id, 1, 1, 0, out, 0, 1, &error) != GPT2C_E_ARGUMENT;
	failed |= gpt2c_prefetch(store, &id, 1) != GPT2C_E_ARGUMENT;
	failed |= gpt2c_state(store) != GPT2C_CURRENT;
	failed |= gpt2c_get_fd(store) != -1;
	failed |= gpt2c_strerror(GPT2C_E_ID) == NULL;
	failed |= gpt2c_version()[0] != '0' + GPT2C_VERSION_MAJOR;
	gpt2c_close(store);
	return failed;
}
