/* SPDX-License-Identifier: MIT */
#include "format/wire.h"

#include <stdlib.h>
#include <string.h>

#include "format/bytes.h"
#include "tests/support/fixture.h"

/* One message of each type, every field with a value of its own. */
static struct wire_message sample(uint16_t type)
{
	struct wire_message m = { .type = type, .request = 0x01020304 };
	const struct gw_digest id = { { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 } };

	switch (type) {
	case WIRE_ATTACH:
		strcpy(m.attach.model, "gpt2");
		break;
	case WIRE_ATTACHED:
		m.attached = (struct wire_attached) { UINT64_MAX,      4096, id,
						      WIRE_SHARE_FILE, 77,   "m\xc3\xa9" };
		break;
	case WIRE_LOADING:
		memset(m.loading.model, 'x', sizeof m.loading.model - 1);
		break;
	case WIRE_REFUSED:
		m.refused = (struct wire_refused) { WIRE_REASON_RESOURCE, "no descriptors left" };
		break;
	case WIRE_NEWS:
		m.news = (struct wire_news) { UINT64_C(0x1122334455667788), 0x99aabbcc };
		break;
	case WIRE_LIST:
		m.list = (struct wire_list) { 0xfffffffe };
		break;
	case WIRE_LISTED:
		m.listed = (struct wire_listed) { 1,
						  2,
						  WIRE_STATE_FAILED,
						  WIRE_SHARE_SEALED,
						  5,
						  6,
						  7,
						  8,
						  9,
						  10,
						  11,
						  12,
						  13,
						  id,
						  1,
						  3,
						  16,
						  "model",
						  "/srv/model.gpt2w",
						  "does not verify",
						  1,
						  1,
						  17,
						  18 };
		break;
	case WIRE_STATUS_REPLY:
		m.status_reply = (struct wire_status_reply) {
			1, 2, WIRE_BACKEND_EPOLL, 4, 5, 6, 7, 8, 9, 10, 11, 12, "0.1.0", "EPERM",
			13, 14, 15, 16, 17, 18, 19, 20
		};
		break;
	case WIRE_STEER:
		m.steer = (struct wire_steer) { WIRE_ACTION_UNLOAD, "m" };
		break;
	case WIRE_STEERED:
		m.steered = (struct wire_steered) { 3 };
		break;
	case WIRE_GENERATION:
		m.generation = (struct wire_generation) { 0xfffffffd };
		break;
	case WIRE_GENERATION_REPLY:
		m.generation_reply = (struct wire_generation_reply) {
			1, 2, WIRE_LIFE_RETIRED, WIRE_SHARE_FILE, 3, 4, WIRE_UNKNOWN, 6, 7, 8, id, "m"
		};
		break;
	case WIRE_CLIENT:
		m.client = (struct wire_client) { 0xfffffffc };
		break;
	case WIRE_CLIENT_REPLY:
		m.client_reply = (struct wire_client_reply) { 1, 2, 3, 4, 5, 6, 7, "m" };
		break;
	}
	return m;
}

START_TEST(messages_come_back_as_they_were)
{
	struct wire_message m = sample((uint16_t)_i), decoded;
	struct gw_error error = GW_ERROR_INIT;
	uint8_t bytes[WIRE_MAX_MESSAGE_BYTES], again[WIRE_MAX_MESSAGE_BYTES];
	uint32_t n;

	memset(bytes, 0xee, sizeof bytes);
	n = wire_encode(&m, bytes);
	ck_assert_uint_eq(n, wire_message_bytes((uint16_t)_i));
	ck_assert_uint_eq(bytes[n], 0xee);
	ck_assert_code(error, wire_decode(bytes, n, &decoded, &error), GW_OK);
	ck_assert_uint_eq(decoded.type, m.type);
	ck_assert_uint_eq(decoded.request, m.request);
	ck_assert_uint_eq(wire_encode(&decoded, again), n);
	ck_assert_mem_eq(bytes, again, n);
	/* member by member: LISTED is the largest, padding included in both */
	switch (_i) {
	case WIRE_ATTACH:
		ck_assert_mem_eq(&decoded.attach, &m.attach, sizeof m.attach);
		break;
	case WIRE_ATTACHED:
		ck_assert_uint_eq(decoded.attached.generation, UINT64_MAX);
		ck_assert_uint_eq(decoded.attached.image_bytes, 4096);
		ck_assert_uint_eq(decoded.attached.share, WIRE_SHARE_FILE);
		ck_assert_uint_eq(decoded.attached.epoch, 77);
		ck_assert(gw_digest_equal(&decoded.attached.content_id, &m.attached.content_id));
		ck_assert_str_eq(decoded.attached.model, m.attached.model);
		break;
	case WIRE_LOADING:
		ck_assert_uint_eq(strlen(decoded.loading.model), 255);
		break;
	case WIRE_REFUSED:
		ck_assert_uint_eq(decoded.refused.reason, WIRE_REASON_RESOURCE);
		ck_assert_str_eq(decoded.refused.message, "no descriptors left");
		break;
	case WIRE_NEWS:
		ck_assert_uint_eq(decoded.news.generation, UINT64_C(0x1122334455667788));
		ck_assert_uint_eq(decoded.news.epoch, 0x99aabbcc);
		break;
	case WIRE_LIST:
		ck_assert_uint_eq(decoded.list.index, 0xfffffffe);
		break;
	case WIRE_LISTED:
		ck_assert_uint_eq(decoded.listed.n_models, 2);
		ck_assert_uint_eq(decoded.listed.attached_total, 13);
		ck_assert_uint_eq(decoded.listed.load_us, 16);
		ck_assert_str_eq(decoded.listed.file, "/srv/model.gpt2w");
		ck_assert_str_eq(decoded.listed.message, "does not verify");
		break;
	case WIRE_STATUS_REPLY:
		ck_assert_uint_eq(decoded.status_reply.pid, 1);
		ck_assert_uint_eq(decoded.status_reply.max_connections_per_user, 12);
		ck_assert_str_eq(decoded.status_reply.release, "0.1.0");
		ck_assert_str_eq(decoded.status_reply.note, "EPERM");
		ck_assert_uint_eq(decoded.status_reply.retired, 13);
		ck_assert_uint_eq(decoded.status_reply.max_unread_fds_per_user, 20);
		break;
	case WIRE_STEER:
		ck_assert_uint_eq(decoded.steer.action, WIRE_ACTION_UNLOAD);
		ck_assert_str_eq(decoded.steer.model, "m");
		break;
	case WIRE_STEERED:
		ck_assert_uint_eq(decoded.steered.n_models, 3);
		break;
	case WIRE_GENERATION:
		ck_assert_uint_eq(decoded.generation.index, 0xfffffffd);
		break;
	case WIRE_GENERATION_REPLY:
		ck_assert_uint_eq(decoded.generation_reply.life, WIRE_LIFE_RETIRED);
		ck_assert_uint_eq(decoded.generation_reply.resident_bytes, WIRE_UNKNOWN);
		ck_assert_uint_eq(decoded.generation_reply.age_ms, 8);
		ck_assert_str_eq(decoded.generation_reply.model, "m");
		break;
	case WIRE_CLIENT:
		ck_assert_uint_eq(decoded.client.index, 0xfffffffc);
		break;
	case WIRE_CLIENT_REPLY:
		ck_assert_uint_eq(decoded.client_reply.pid, 4);
		ck_assert_uint_eq(decoded.client_reply.age_ms, 7);
		ck_assert_str_eq(decoded.client_reply.model, "m");
		break;
	}
}
END_TEST

/* The bytes of a message, pinned: a change of layout is a change of version. */
START_TEST(bytes_are_pinned)
{
	struct wire_message m = sample(WIRE_NEWS);
	uint8_t bytes[WIRE_MAX_MESSAGE_BYTES];

	ck_assert_uint_eq(wire_encode(&m, bytes), 32);
	ck_assert_mem_eq(bytes,
			 "GW2d\x01\x00\x05\x00\x20\x00\x00\x00\x04\x03\x02\x01"
			 "\x88\x77\x66\x55\x44\x33\x22\x11\xcc\xbb\xaa\x99\x00\x00\x00\x00",
			 32);
}
END_TEST

static void expect(const uint8_t *bytes, size_t n, int code, const char *what, size_t at)
{
	struct wire_message out, before;
	struct gw_error error = GW_ERROR_INIT;
	int r;

	memset(&out, 0x5a, sizeof out);
	memcpy(&before, &out, sizeof out);
	r = wire_decode(bytes, n, &out, &error);
	ck_assert_msg(r == code, "%s, %zu: %d instead of %d: %s", what, at, r, code, error.message);
	if (code == GW_E_WIRE_VERSION)
		out.request = before.request;
	ck_assert_msg(memcmp(&out, &before, sizeof out) == 0, "%s, %zu: out was touched", what, at);
}

START_TEST(every_other_length_is_refused)
{
	struct wire_message m = sample((uint16_t)_i);
	uint8_t bytes[WIRE_MAX_MESSAGE_BYTES] = { 0 };
	uint32_t n = wire_encode(&m, bytes);
	struct gw_bytes to = gw_bytes_write(bytes, sizeof bytes);

	for (size_t length = 0; length <= sizeof bytes; length++) {
		uint8_t *copy = malloc(length + !length);

		ck_assert_ptr_nonnull(copy);
		memcpy(copy, bytes, length);
		if (length != n)
			expect(copy, length, GW_E_WIRE_LENGTH, "cut or longer", length);
		free(copy);
		/* and one that says so itself */
		if (length != n && length >= WIRE_HEADER_BYTES) {
			gw_put_u32(&to, WIRE_HEADER_MESSAGE_BYTES_AT, (uint32_t)length);
			expect(bytes, length, GW_E_WIRE_LENGTH, "cut, and says it", length);
			expect(bytes, n, GW_E_WIRE_LENGTH, "says another length", length);
			gw_put_u32(&to, WIRE_HEADER_MESSAGE_BYTES_AT, n);
		}
	}
}
END_TEST

START_TEST(headers_are_checked)
{
	struct wire_message m = sample((uint16_t)_i), out = { 0 };
	struct gw_error error = GW_ERROR_INIT;
	uint8_t bytes[WIRE_MAX_MESSAGE_BYTES];
	uint32_t n = wire_encode(&m, bytes);

	for (unsigned i = 0; i < 4; i++) {
		bytes[i] ^= 0x20;
		expect(bytes, n, GW_E_WIRE_MAGIC, "magic", i);
		bytes[i] ^= 0x20;
	}
	for (unsigned version = 0; version < 0x10000; version += 255) {
		bytes[WIRE_HEADER_VERSION_AT] = (uint8_t)version;
		bytes[WIRE_HEADER_VERSION_AT + 1] = (uint8_t)(version >> 8);
		if (version != WIRE_VERSION)
			expect(bytes, n, GW_E_WIRE_VERSION, "version", version);
	}
	/* the header has its form in every version, so that the request can be answered */
	ck_assert_code(error, wire_decode(bytes, n, &out, &error), GW_E_WIRE_VERSION);
	ck_assert_uint_eq(out.request, m.request);
	ck_assert_code(error, wire_decode(bytes, WIRE_HEADER_BYTES, &out, &error),
		       GW_E_WIRE_VERSION);
	bytes[WIRE_HEADER_VERSION_AT] = 1;
	bytes[WIRE_HEADER_VERSION_AT + 1] = 0;
	for (unsigned type = 0; type < 0x10000; type++) {
		if (type >= WIRE_ATTACH && type <= WIRE_LAST_TYPE)
			continue;
		ck_assert_uint_eq(wire_message_bytes((uint16_t)type), 0);
		bytes[WIRE_HEADER_TYPE_AT] = (uint8_t)type;
		bytes[WIRE_HEADER_TYPE_AT + 1] = (uint8_t)(type >> 8);
		expect(bytes, n, GW_E_WIRE_TYPE, "type", type);
	}
}
END_TEST

static const struct {
	uint16_t type;
	unsigned at, bytes;
} reserved[] = { { WIRE_ATTACH, WIRE_ATTACH_RESERVED_AT, WIRE_ATTACH_RESERVED_SIZE },
		 { WIRE_REFUSED, WIRE_REFUSED_RESERVED_AT, WIRE_REFUSED_RESERVED_SIZE },
		 { WIRE_NEWS, WIRE_NEWS_RESERVED_AT, WIRE_NEWS_RESERVED_SIZE },
		 { WIRE_LIST, WIRE_LIST_RESERVED_AT, WIRE_LIST_RESERVED_SIZE },
		 { WIRE_STEER, WIRE_STEER_RESERVED_AT, WIRE_STEER_RESERVED_SIZE },
		 { WIRE_STEERED, WIRE_STEERED_RESERVED_AT, WIRE_STEERED_RESERVED_SIZE },
		 { WIRE_GENERATION, WIRE_GENERATION_RESERVED_AT, WIRE_GENERATION_RESERVED_SIZE },
		 { WIRE_CLIENT, WIRE_CLIENT_RESERVED_AT, WIRE_CLIENT_RESERVED_SIZE } };

START_TEST(each_reserved_byte_is_refused)
{
	struct wire_message m = sample(reserved[_i].type);
	uint8_t bytes[WIRE_MAX_MESSAGE_BYTES];
	uint32_t n = wire_encode(&m, bytes);

	for (unsigned i = 0; i < reserved[_i].bytes; i++) {
		bytes[reserved[_i].at + i] = 0x80;
		expect(bytes, n, GW_E_WIRE_FIELD, "reserved", i);
		bytes[reserved[_i].at + i] = 0;
	}
}
END_TEST

#define TEXT(message, field)                                                                   \
	{                                                                                      \
		WIRE_##message, WIRE_##message##_##field##_AT, WIRE_##message##_##field##_SIZE \
	}

static const struct {
	uint16_t type;
	unsigned at, bytes;
} texts[] = { TEXT(ATTACH, MODEL),    TEXT(ATTACHED, MODEL),       TEXT(LOADING, MODEL),
	      TEXT(REFUSED, MESSAGE), TEXT(LISTED, MODEL),         TEXT(LISTED, FILE),
	      TEXT(LISTED, MESSAGE),  TEXT(STATUS_REPLY, RELEASE), TEXT(STATUS_REPLY, NOTE),
	      TEXT(STEER, MODEL),     TEXT(GENERATION_REPLY, MODEL), TEXT(CLIENT_REPLY, MODEL) };

START_TEST(strings_are_clean_and_terminated)
{
	static const char *const bad[] = {
		"a\x1b[2J", "a\n", "\x7f", "\xff", "\xc3", "\xed\xa0\x80"
	};
	struct wire_message m = sample(texts[_i].type);
	uint8_t bytes[WIRE_MAX_MESSAGE_BYTES];
	uint32_t n = wire_encode(&m, bytes);
	uint8_t *field = bytes + texts[_i].at;

	memset(field, 'x', texts[_i].bytes);
	expect(bytes, n, GW_E_WIRE_FIELD, "unterminated", (size_t)_i);
	memset(field, 0, texts[_i].bytes);
	field[0] = 'x';
	field[texts[_i].bytes - 1] = 'x';
	expect(bytes, n, GW_E_WIRE_FIELD, "bytes after the NUL", (size_t)_i);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		memset(field, 0, texts[_i].bytes);
		memcpy(field, bad[i], strlen(bad[i]));
		expect(bytes, n, GW_E_WIRE_FIELD, "bad text", i);
	}
}
END_TEST

#define FIELD(message, field, value)                                                            \
	{                                                                                       \
		WIRE_##message, WIRE_##message##_##field##_AT, WIRE_##message##_##field##_SIZE, \
			value                                                                   \
	}

static const struct {
	uint16_t type;
	unsigned at, bytes;
	uint64_t value;
} ranges[] = {
	FIELD(ATTACHED, GENERATION, 0),  FIELD(ATTACHED, SHARE, 0),
	FIELD(ATTACHED, SHARE, 3),       FIELD(REFUSED, REASON, 0),
	FIELD(REFUSED, REASON, 10),      FIELD(REFUSED, REASON, UINT32_MAX),
	FIELD(LISTED, STATE, 5),         FIELD(LISTED, STATE, UINT32_MAX),
	FIELD(STATUS_REPLY, BACKEND, 0), FIELD(STATUS_REPLY, BACKEND, 3),
	FIELD(LISTED, BUSY, 2),          FIELD(STEER, ACTION, 0),
	FIELD(STEER, ACTION, 4),         FIELD(GENERATION_REPLY, LIFE, 3),
};

START_TEST(values_are_in_their_range)
{
	struct wire_message m = sample(ranges[_i].type);
	uint8_t bytes[WIRE_MAX_MESSAGE_BYTES];
	uint32_t n = wire_encode(&m, bytes);
	struct gw_bytes to = gw_bytes_write(bytes, n);

	gw_put(&to, ranges[_i].at, ranges[_i].value, ranges[_i].bytes);
	expect(bytes, n, GW_E_WIRE_FIELD, "range", (size_t)_i);
}
END_TEST

/* Whatever bit is flipped: refused, or a message that encodes to those very bytes. */
START_TEST(flipped_bits_are_refused_or_mean_something)
{
	struct wire_message m = sample((uint16_t)_i), decoded;
	uint8_t bytes[WIRE_MAX_MESSAGE_BYTES], again[WIRE_MAX_MESSAGE_BYTES];
	uint32_t n = wire_encode(&m, bytes);

	for (uint32_t bit = 0; bit < 8 * n; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (wire_decode(bytes, n, &decoded, NULL) == GW_OK) {
			ck_assert_uint_eq(wire_encode(&decoded, again), n);
			ck_assert_mem_eq(bytes, again, n);
		}
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}
END_TEST

START_TEST(unterminated_text_is_not_sent)
{
	struct wire_message m = { .type = WIRE_LOADING }, decoded;
	struct gw_error error = GW_ERROR_INIT;
	uint8_t bytes[WIRE_MAX_MESSAGE_BYTES];
	uint32_t n;

	memset(m.loading.model, 'x', sizeof m.loading.model);
	n = wire_encode(&m, bytes);
	ck_assert_code(error, wire_decode(bytes, n, &decoded, &error), GW_OK);
	/* what follows a NUL is not sent either: it may be anybody's memory */
	memset(m.loading.model, 'x', sizeof m.loading.model);
	m.loading.model[3] = '\0';
	n = wire_encode(&m, bytes);
	ck_assert(gw_is_zero(bytes + WIRE_LOADING_MODEL_AT + 3, 253));
}
END_TEST

static const struct {
	const char *text, *field; /* of 8 bytes */
} puts_[] = {
	{ "", "" },
	{ "1234567", "1234567" },
	{ "12345678", "1234567" },
	/* two, three and four bytes at the cut */
	{ "123456\xc3\xa9", "123456" },
	{ "12345\xc3\xa9z", "12345\xc3\xa9" },
	{ "12345\xe2\x82\xac", "12345" },
	{ "1234\xf0\x9f\x98\x80", "1234" },
	{ "123\xf0\x9f\x98\x80z", "123\xf0\x9f\x98\x80" },
	{ "a\x1b\n\x7f", "a???" },
	{ "a\xff"
	  "b",
	  "a?b" },
	{ "\xc3\xa9\xff", "\xc3\xa9?" },
	{ "\xff\xc3\xa9", "?\xc3\xa9" },
};

START_TEST(text_is_cut_at_characters_and_cleaned)
{
	char field[9];

	memset(field, '#', sizeof field);
	wire_put_text(field, 8, puts_[_i].text);
	ck_assert_str_eq(field, puts_[_i].field);
	ck_assert(gw_is_zero((uint8_t *)field + strlen(field), 8 - strlen(field)));
	ck_assert_int_eq(field[8], '#');
}
END_TEST

START_TEST(reasons_have_words)
{
	for (uint32_t i = WIRE_REASON_MALFORMED; i <= WIRE_REASON_PERMISSION; i++)
		for (uint32_t j = 0; j < i; j++)
			ck_assert_str_ne(wire_strreason(i), wire_strreason(j));
	ck_assert_str_eq(wire_strreason(0), wire_strreason(UINT32_MAX));
}
END_TEST

#define COUNT(array) (int)(sizeof(array) / sizeof(array)[0])

int main(void)
{
	Suite *suite = suite_create("wire");
	TCase *tcase = fixture_case(suite, "wire");

	tcase_add_loop_test(tcase, messages_come_back_as_they_were, WIRE_ATTACH,
			    WIRE_LAST_TYPE + 1);
	tcase_add_test(tcase, bytes_are_pinned);
	tcase_add_loop_test(tcase, every_other_length_is_refused, WIRE_ATTACH,
			    WIRE_LAST_TYPE + 1);
	tcase_add_loop_test(tcase, headers_are_checked, WIRE_ATTACH, WIRE_LAST_TYPE + 1);
	tcase_add_loop_test(tcase, each_reserved_byte_is_refused, 0, COUNT(reserved));
	tcase_add_loop_test(tcase, strings_are_clean_and_terminated, 0, COUNT(texts));
	tcase_add_loop_test(tcase, values_are_in_their_range, 0, COUNT(ranges));
	tcase_add_loop_test(tcase, flipped_bits_are_refused_or_mean_something, WIRE_ATTACH,
			    WIRE_LAST_TYPE + 1);
	tcase_add_test(tcase, unterminated_text_is_not_sent);
	tcase_add_loop_test(tcase, text_is_cut_at_characters_and_cleaned, 0, COUNT(puts_));
	tcase_add_test(tcase, reasons_have_words);
	return fixture_main(suite);
}
