/* SPDX-License-Identifier: MIT */
/*
 * dump_tensor SOCKET MODEL NAME...: attaches; for each name writes a line "NAME DTYPE DIMENSION..." and
 * the tensor's values after it, without the padding of rows.
 */
#include <inttypes.h>
#include <stdio.h>

#include <gpt2client.h>

static int dump(const gpt2c_tensor *tensor)
{
	const size_t element_bytes = tensor->dtype == GPT2C_F32 ? 4 : 2;
	const unsigned char *bytes = tensor->data;
	uint64_t rows = 1, columns = 1;

	printf("%s %s", tensor->name,
	       tensor->dtype == GPT2C_F32 ? "f32" : tensor->dtype == GPT2C_F16 ? "f16" : "bf16");
	for (uint32_t i = 0; i < tensor->rank; i++) {
		printf(" %" PRIu64, tensor->shape[i]);
		rows *= columns;
		columns = tensor->shape[i];
	}
	putchar('\n');
	for (uint64_t row = 0; row < rows; row++) {
		if (fwrite(bytes + row * tensor->row_bytes, element_bytes, columns, stdout) != columns)
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	gpt2c_error error = GPT2C_ERROR_INIT;
	gpt2c_store *store;
	int failed = 0;

	if (argc < 3)
		return 2;
	if (gpt2c_open(argv[1], argv[2], &store, &error)) {
		fprintf(stderr, "dump_tensor: %s\n", error.message);
		return 1;
	}
	for (int i = 3; i < argc && !failed; i++) {
		gpt2c_tensor tensor = { .size = sizeof tensor };

		if (gpt2c_get_tensor(store, argv[i], &tensor)) {
			fprintf(stderr, "dump_tensor: there is no %s\n", argv[i]);
			failed = 1;
		} else {
			failed = dump(&tensor);
		}
	}
	failed |= fflush(stdout) != 0;
	gpt2c_close(store);
	return failed;
}
