/* SPDX-License-Identifier: MIT */
/*
 * touch_rows SOCKET MODEL: attaches and reads from every row of every tensor, and from every page. Says
 * "IMAGE_BYTES SUM", and stays until its input ends.
 */
#include <inttypes.h>
#include <stdio.h>

#include <gpt2client.h>

#define PAGE_BYTES 4096

/* One byte of each row and of each page. */
static uint64_t touch(const gpt2c_tensor *tensor)
{
	const volatile unsigned char *bytes = tensor->data;
	uint64_t rows = 1, sum = 0;

	for (uint32_t i = 0; i + 1 < tensor->rank; i++)
		rows *= tensor->shape[i];
	for (uint64_t row = 0; row < rows; row++)
		sum += bytes[row * tensor->row_bytes];
	for (uint64_t at = 0; at < rows * tensor->row_bytes; at += PAGE_BYTES)
		sum += bytes[at];
	return sum;
}

int main(int argc, char **argv)
{
	gpt2c_info info = { .size = sizeof info };
	gpt2c_error error = GPT2C_ERROR_INIT;
	gpt2c_store *store;
	uint64_t sum = 0;

	if (argc != 3)
		return 2;
	if (gpt2c_open(argv[1], argv[2], &store, &error)) {
		fprintf(stderr, "touch_rows: %s\n", error.message);
		return 1;
	}
	gpt2c_get_info(store, &info);
	for (uint64_t i = 0; i < info.n_tensors; i++) {
		gpt2c_tensor tensor = { .size = sizeof tensor };

		if (gpt2c_get_tensor_at(store, i, &tensor))
			return 1;
		sum += touch(&tensor);
	}
	printf("%" PRIu64 " %" PRIu64 "\n", info.image_bytes, sum);
	fflush(stdout);
	while (getchar() != EOF)
		;
	gpt2c_close(store);
	return 0;
}
