/* SPDX-License-Identifier: MIT */
/* Socket messages: what decodes, encodes to the same bytes. */
#include <string.h>

#include "format/wire.h"
#include "tests/fuzz/fuzz.h"

/* A failure leaves *out alone, but for the request of a message of another version. */
static void check_failure(int code, const struct gw_error *error, struct wire_message *out)
{
	struct wire_message untouched;

	fuzz_check_error(code, error);
	FUZZ_CHECK(code <= GW_E_WIRE_LENGTH && code >= GW_E_WIRE_FIELD);
	memset(&untouched, 0x5a, sizeof untouched);
	if (code == GW_E_WIRE_VERSION)
		out->request = untouched.request;
	FUZZ_CHECK(memcmp(out, &untouched, sizeof untouched) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	uint8_t again[WIRE_MAX_MESSAGE_BYTES];
	struct gw_error error = GW_ERROR_INIT;
	struct wire_message message;
	int code;

	memset(&message, 0x5a, sizeof message);
	code = wire_decode(data, bytes, &message, &error);
	if (code) {
		check_failure(code, &error, &message);
		return 0;
	}
	memset(again, 0x5a, sizeof again);
	FUZZ_CHECK(wire_encode(&message, again) == bytes);
	FUZZ_CHECK(memcmp(again, data, bytes) == 0);
	FUZZ_CHECK(bytes == sizeof again || again[bytes] == 0x5a);
	return 0;
}

/* Half of all mutants get a header that fits their size or type, so that the fields are reached. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t room_bytes, unsigned seed)
{
	uint64_t state = seed;
	size_t n = LLVMFuzzerMutate(data, bytes, room_bytes);
	uint16_t type = (uint16_t)(1 + fuzz_random(&state) % WIRE_LAST_TYPE);
	struct wire_message message = { .type = type };
	uint8_t header[WIRE_MAX_MESSAGE_BYTES];
	uint32_t wanted = wire_encode(&message, header);

	if (seed % 2 || wanted > room_bytes)
		return n;
	if (n < wanted)
		memset(data + n, 0, wanted - n);
	memcpy(data, header, WIRE_HEADER_BYTES);
	return wanted;
}
