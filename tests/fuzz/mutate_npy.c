/* SPDX-License-Identifier: MIT */
#include <stdbool.h>
#include <string.h>

#include "format/bytes.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate.h"

#define MAX_TEXT_BYTES 1024
/* The data that are made to fit a shape: zeros. */
#define MAX_DATA_BYTES 16384

/* The product of the numbers between the brackets behind 'shape', and the width in 'descr'. */
static size_t needed(const char *text)
{
	const char *descr = strstr(text, "'descr':"), *shape = strstr(text, "'shape':");
	const char *at = shape ? strchr(shape, '(') : NULL;
	size_t product = 1, value = 0;
	bool digits = false;

	if (!descr || !at)
		return 0;
	for (at++; *at; at++) {
		if (*at >= '0' && *at <= '9') {
			digits = true;
			value = value < MAX_DATA_BYTES ? value * 10 + (size_t)(*at - '0') : value;
			continue;
		}
		if (digits)
			product = product < MAX_DATA_BYTES ? product * value : product;
		digits = false;
		value = 0;
		if (*at == ')')
			break;
	}
	descr = strpbrk(descr + strlen("'descr':"), "<>|=");
	/* byte order, letter, width */
	if (descr && descr[1] && descr[2] >= '0' && descr[2] <= '9')
		product *= (size_t)(descr[2] - '0');
	return product;
}

size_t fuzz_npy_mutate(uint8_t *data, size_t bytes, size_t room_bytes)
{
	size_t head = bytes > 6 && data[6] > 1 ? 12 : 10, text_bytes, data_bytes;
	struct gw_bytes window = gw_bytes_write(data, bytes);
	uint8_t text[MAX_TEXT_BYTES + 1];

	if (bytes <= head)
		return LLVMFuzzerMutate(data, bytes, room_bytes);
	text_bytes = gw_get(&window, 8, head == 10 ? 2 : 4);
	if (text_bytes > bytes - head || text_bytes > MAX_TEXT_BYTES)
		return LLVMFuzzerMutate(data, bytes, room_bytes);
	memcpy(text, data + head, text_bytes);
	text_bytes = LLVMFuzzerMutate(text, text_bytes, MAX_TEXT_BYTES);
	text[text_bytes] = 0;
	data_bytes = needed((const char *)text);
	/* one in eight keeps what it had behind the header */
	if (text_bytes % 8 == 0)
		data_bytes = bytes - head;
	if (data_bytes > MAX_DATA_BYTES || room_bytes < head ||
	    room_bytes - head < text_bytes + data_bytes)
		return LLVMFuzzerMutate(data, bytes, room_bytes);
	memcpy(data + head, text, text_bytes);
	memset(data + head + text_bytes, 0x3e, data_bytes);
	gw_put(&window, 8, text_bytes, head == 10 ? 2 : 4);
	return head + text_bytes + data_bytes;
}
