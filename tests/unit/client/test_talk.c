/* SPDX-License-Identifier: MIT */
/* What a daemon can say instead of the answer that was agreed. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "gpt2client.h"
#include "tests/support/fixture.h"
#include "tests/unit/client/rogue.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static void serve_silence(int connection, void *context)
{
	(void)context;
	rogue_linger(connection);
}

static void serve_close(int connection, void *context)
{
	(void)context;
	(void)connection;
}

static void serve_request_and_close(int connection, void *context)
{
	(void)context;
	rogue_await(connection);
}

static void answer_bytes(int connection, const void *bytes, size_t n, const int *fds, size_t n_fds)
{
	rogue_await(connection);
	rogue_send_raw(connection, bytes, n, fds, n_fds);
	rogue_linger(connection);
}

static void serve_garbage(int connection, void *context)
{
	static const char text[] = "HTTP/1.1 400 Bad Request\r\n\r\n";

	(void)context;
	answer_bytes(connection, text, sizeof text, NULL, 0);
}

static void serve_oversized(int connection, void *context)
{
	static const uint8_t bytes[WIRE_MAX_MESSAGE_BYTES + 1];

	(void)context;
	answer_bytes(connection, bytes, sizeof bytes, NULL, 0);
}

static void serve_empty_with_fds(int connection, void *context)
{
	const struct rogue_offer *offer = context;

	answer_bytes(connection, "", 0, (int[]){ offer->image_fd, offer->board_fd }, 2);
}

/* Encoded, then one byte changed. */
static void serve_changed(int connection, const struct rogue_offer *offer, size_t at, uint8_t value)
{
	struct wire_message reply = offer->reply;
	uint8_t bytes[WIRE_MAX_MESSAGE_BYTES];
	uint32_t n;

	reply.request = rogue_await(connection);
	n = wire_encode(&reply, bytes);
	bytes[at] = value;
	rogue_send_raw(connection, bytes, n, (int[]){ offer->image_fd, offer->board_fd }, 2);
	rogue_linger(connection);
}

static void serve_version(int connection, void *context)
{
	serve_changed(connection, context, WIRE_HEADER_VERSION_AT, 2);
}

static void serve_share(int connection, void *context)
{
	serve_changed(connection, context, WIRE_ATTACHED_SHARE_AT, 3);
}

static void serve_generation(int connection, void *context)
{
	serve_changed(connection, context, WIRE_ATTACHED_GENERATION_AT, 0);
}

static void serve_other_request(int connection, void *context)
{
	serve_changed(connection, context, WIRE_HEADER_REQUEST_AT, 77);
}

static void serve_other_model(int connection, void *context)
{
	serve_changed(connection, context, WIRE_ATTACHED_MODEL_AT, 'G');
}

static void serve_fds(int connection, const struct rogue_offer *offer, size_t n_fds)
{
	struct wire_message reply = offer->reply;
	int fds[WIRE_MAX_FDS];

	for (size_t i = 0; i < n_fds; i++)
		fds[i] = i == 1 ? offer->board_fd : offer->image_fd;
	reply.request = rogue_await(connection);
	rogue_send(connection, &reply, fds, n_fds);
	rogue_linger(connection);
}

static void serve_no_fds(int connection, void *context)
{
	serve_fds(connection, context, 0);
}

static void serve_one_fd(int connection, void *context)
{
	serve_fds(connection, context, 1);
}

static void serve_three_fds(int connection, void *context)
{
	serve_fds(connection, context, 3);
}

static void serve_253_fds(int connection, void *context)
{
	serve_fds(connection, context, WIRE_MAX_FDS);
}

static void serve_type(int connection, uint16_t type, size_t times, const struct rogue_offer *fds)
{
	struct wire_message message = { .type = type };

	message.request = rogue_await(connection);
	if (type == WIRE_NEWS) {
		message.request = 0;
		message.news.generation = 43;
		message.news.epoch = 2;
	}
	for (size_t i = 0; i < times; i++)
		rogue_send(connection, &message,
			   fds ? (int[]){ fds->image_fd, fds->board_fd } : NULL, fds ? 2 : 0);
}

static void serve_status(int connection, void *context)
{
	(void)context;
	serve_type(connection, WIRE_STATUS, 1, NULL);
	rogue_linger(connection);
}

static void serve_loading_with_fds(int connection, void *context)
{
	serve_type(connection, WIRE_LOADING, 1, context);
	rogue_linger(connection);
}

static void serve_loading_forever(int connection, void *context)
{
	(void)context;
	serve_type(connection, WIRE_LOADING, 1, NULL);
	rogue_linger(connection);
}

static void serve_loading_twice(int connection, void *context)
{
	(void)context;
	serve_type(connection, WIRE_LOADING, 2, NULL);
	rogue_linger(connection);
}

static void serve_loading_and_close(int connection, void *context)
{
	(void)context;
	serve_type(connection, WIRE_LOADING, 1, NULL);
}

static void serve_loading_then_attached(int connection, void *context)
{
	const struct rogue_offer *offer = context;
	struct wire_message reply = offer->reply;

	serve_type(connection, WIRE_LOADING, 1, NULL);
	reply.request = 1;
	rogue_send(connection, &reply, (int[]){ offer->image_fd, offer->board_fd }, 2);
	rogue_linger(connection);
}

static void serve_news_then_attached(int connection, void *context)
{
	const struct rogue_offer *offer = context;
	struct wire_message reply = offer->reply;

	serve_type(connection, WIRE_NEWS, 3, NULL);
	reply.request = 1;
	rogue_send(connection, &reply, (int[]){ offer->image_fd, offer->board_fd }, 2);
	rogue_linger(connection);
}

/* Until the client gives up and closes. */
static void serve_news_forever(int connection, void *context)
{
	struct wire_message news = { .type = WIRE_NEWS, .news = { .generation = 43, .epoch = 2 } };
	uint8_t bytes[WIRE_MAX_MESSAGE_BYTES];
	uint32_t n = wire_encode(&news, bytes);

	(void)context;
	rogue_await(connection);
	while (send(connection, bytes, n, MSG_NOSIGNAL) >= 0)
		;
}

static const struct {
	const char *name;
	void (*serve)(int connection, void *context);
	uint64_t timeout_ms; /* 0: the daemon answers, whatever it is */
	int code;
	const char *text;
} conversations[] = {
	{ "silence", serve_silence, 50, GPT2C_E_TIMEOUT, "did not answer within" },
	{ "closes at once", serve_close, 0, GPT2C_E_CLOSED, "closed" },
	{ "closes after the request", serve_request_and_close, 0, GPT2C_E_CLOSED, "closed" },
	{ "garbage", serve_garbage, 0, GPT2C_E_PROTOCOL, "/s: " },
	{ "oversized", serve_oversized, 0, GPT2C_E_PROTOCOL, "/s: " },
	{ "empty with descriptors", serve_empty_with_fds, 0, GPT2C_E_PROTOCOL, "/s: " },
	{ "another version", serve_version, 0, GPT2C_E_PROTOCOL, "version" },
	{ "unknown share", serve_share, 0, GPT2C_E_PROTOCOL, "/s: " },
	{ "generation 0", serve_generation, 0, GPT2C_E_PROTOCOL, "/s: " },
	{ "another request", serve_other_request, 0, GPT2C_E_PROTOCOL, "another request" },
	{ "another model", serve_other_model, 0, GPT2C_E_PROTOCOL, "another model" },
	{ "no descriptor", serve_no_fds, 0, GPT2C_E_PROTOCOL, "number of descriptors" },
	{ "one descriptor", serve_one_fd, 0, GPT2C_E_PROTOCOL, "number of descriptors" },
	{ "three descriptors", serve_three_fds, 0, GPT2C_E_PROTOCOL, "descriptors too many" },
	{ "253 descriptors", serve_253_fds, 0, GPT2C_E_PROTOCOL, "descriptors too many" },
	{ "a request", serve_status, 0, GPT2C_E_PROTOCOL, "unexpected type" },
	{ "LOADING with descriptors", serve_loading_with_fds, 0, GPT2C_E_PROTOCOL, "number of" },
	{ "LOADING, then nothing", serve_loading_forever, 50, GPT2C_E_LOADING,
	  "being loaded after" },
	{ "LOADING twice", serve_loading_twice, 0, GPT2C_E_PROTOCOL, "twice" },
	{ "LOADING, then closed", serve_loading_and_close, 0, GPT2C_E_CLOSED, "closed" },
	{ "LOADING, then ATTACHED", serve_loading_then_attached, 0, GPT2C_OK, "" },
	{ "news, then ATTACHED", serve_news_then_attached, 0, GPT2C_OK, "" },
	{ "ATTACHED, no limit of time", serve_news_then_attached, UINT64_MAX, GPT2C_OK, "" },
	{ "nothing but news", serve_news_forever, 50, GPT2C_E_TIMEOUT, "did not answer within" },
};

START_TEST(test_conversation)
{
	struct rogue_offer offer;
	struct rogue rogue;

	rogue_offer_init(&offer);
	rogue_start(&rogue, conversations[_i].serve, &offer);
	gpt2c_close(rogue_open_expecting(&rogue, "gpt2", conversations[_i].timeout_ms, 0,
					 conversations[_i].code, conversations[_i].text,
					 conversations[_i].name));
	rogue_stop(&rogue);
	rogue_offer_deinit(&offer);
}
END_TEST

struct refusal {
	uint32_t reason;
	int code;
	bool unasked; /* sent and closed before the request was read */
};

static const struct refusal refusals[] = {
	{ WIRE_REASON_MALFORMED, GPT2C_E_PROTOCOL, false },
	{ WIRE_REASON_VERSION, GPT2C_E_PROTOCOL, false },
	{ WIRE_REASON_UNKNOWN_MODEL, GPT2C_E_NO_MODEL, false },
	{ WIRE_REASON_NAME_NEEDED, GPT2C_E_NO_MODEL, false },
	{ WIRE_REASON_LOAD_FAILED, GPT2C_E_LOAD_FAILED, false },
	{ WIRE_REASON_LIMIT, GPT2C_E_REFUSED, false },
	{ WIRE_REASON_NO_MODEL, GPT2C_E_NO_MODEL, false },
	{ WIRE_REASON_RESOURCE, GPT2C_E_REFUSED, false },
	{ WIRE_REASON_LIMIT, GPT2C_E_REFUSED, true },
};

static void serve_refusal(int connection, void *context)
{
	const struct refusal *refusal = context;
	struct wire_message message = { .type = WIRE_REFUSED };

	message.refused.reason = refusal->reason;
	wire_put_text(message.refused.message, sizeof message.refused.message,
		      "16 connections of user 1000 \xe2\x80\x94 close some");
	if (!refusal->unasked)
		message.request = rogue_await(connection);
	rogue_send(connection, &message, NULL, 0);
}

START_TEST(test_refused)
{
	struct refusal refusal = refusals[_i];
	struct rogue rogue;

	rogue_start(&rogue, serve_refusal, &refusal);
	for (int i = 0; i < 20; i++) /* whichever of the two is quicker */
		rogue_open_expecting(&rogue, NULL, 0, 0, refusal.code,
				     "16 connections of user 1000", "refusal");
	rogue_stop(&rogue);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client/talk");
	TCase *tcase = fixture_case(suite, "conversations");

	tcase_add_loop_test(tcase, test_conversation, 0, COUNT(conversations));
	tcase = fixture_case(suite, "refusals");
	tcase_add_loop_test(tcase, test_refused, 0, COUNT(refusals));
	return fixture_main(suite);
}
