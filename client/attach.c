/* SPDX-License-Identifier: MIT */
#include "client/attach.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/error.h"
#include "format/checked.h"
#include "format/directory.h"
#include "format/endpoint.h"

/* A daemon answers at once (WIRE.md, Waiting): five seconds is a machine in trouble. */
#define ANSWER_MS 5000
/* The largest models, from a slow disk: 6 GB at 100 MB/s. */
#define LOADING_MS 60000
/* A connection has one request on its way at a time; 0 is for NEWS. */
#define REQUEST 1

/* One exchange. */
struct gpt2c_talk {
	int fd;               /* borrowed */
	uint64_t timeout_ms;  /* for the whole; 0: the limits above */
	uint64_t started_ms;  /* as wire_now_ms */
	uint64_t deadline_ms; /* likewise */
	bool loading;         /* LOADING has come */
	bool hung_up;         /* a send or receive has found the connection closed */
	const char *model;    /* as asked for, "" for the only one */
	const char *socket_path;
};

static uint64_t deadline_after(uint64_t start_ms, uint64_t limit_ms)
{
	uint64_t deadline_ms;

	return gw_add(start_ms, limit_ms, &deadline_ms) ? deadline_ms : UINT64_MAX;
}

static int fail_timeout(const struct gpt2c_talk *talk, gpt2c_error *error)
{
	unsigned long long waited_ms = wire_now_ms() - talk->started_ms;

	if (talk->loading)
		return gpt2c_fail(error, GPT2C_E_LOADING, -1,
				  "%s: the model was still being loaded after %llu ms",
				  talk->socket_path, waited_ms);
	return gpt2c_fail(error, GPT2C_E_TIMEOUT, -1,
			  "%s: the daemon did not answer within %llu ms", talk->socket_path,
			  waited_ms);
}

static int fail_protocol(const struct gpt2c_talk *talk, const char *what, gpt2c_error *error)
{
	return gpt2c_fail(error, GPT2C_E_PROTOCOL, -1,
			  "%s: what answers is no gpt2d of this version: %s", talk->socket_path,
			  what);
}

static int fail_cause(const struct gpt2c_talk *talk, const struct gw_error *cause,
		      gpt2c_error *error)
{
	if (cause->code == GW_E_TIMEOUT)
		return fail_timeout(talk, error);
	return gpt2c_fail_cause(error, cause, talk->socket_path);
}

static int code_of_reason(uint32_t reason)
{
	switch (reason) {
	case WIRE_REASON_UNKNOWN_MODEL:
	case WIRE_REASON_NAME_NEEDED:
	case WIRE_REASON_NO_MODEL:
		return GPT2C_E_NO_MODEL;
	case WIRE_REASON_LOAD_FAILED:
		return GPT2C_E_LOAD_FAILED;
	case WIRE_REASON_LIMIT:
	case WIRE_REASON_RESOURCE:
		return GPT2C_E_REFUSED;
	default: /* malformed, version: the two of us do not speak the same language */
		return GPT2C_E_PROTOCOL;
	}
}

static int fail_refused(const struct gpt2c_talk *talk, const struct wire_refused *refused,
			gpt2c_error *error)
{
	char said[WIRE_MESSAGE_TEXT_BYTES];

	gw_quote(refused->message, strlen(refused->message), said, sizeof said);
	return gpt2c_fail(error, code_of_reason(refused->reason), -1, "%s: %s%s%s",
			  talk->socket_path, wire_strreason(refused->reason), said[0] ? ": " : "",
			  said);
}

/* LOADING: from now on the longer limit counts, unless the caller has set one. */
static int begin_loading(struct gpt2c_talk *talk, gpt2c_error *error)
{
	if (talk->loading)
		return fail_protocol(talk, "it says twice that it is loading", error);
	talk->loading = true;
	if (!talk->timeout_ms)
		talk->deadline_ms = deadline_after(wire_now_ms(), LOADING_MS);
	return 1;
}

/* Positive: another message has to come. */
static int understand(struct gpt2c_talk *talk, const struct wire_message *message, size_t n_fds,
		      gpt2c_error *error)
{
	size_t expected_fds = message->type == WIRE_ATTACHED ? WIRE_REPLY_FDS : 0;
	/* a daemon that is full refuses before it has read the request */
	bool ours = message->request == REQUEST ||
		    (message->request == 0 &&
		     (message->type == WIRE_NEWS || message->type == WIRE_REFUSED));

	if (n_fds != expected_fds)
		return fail_protocol(talk, "a message with the wrong number of descriptors", error);
	if (!ours)
		return fail_protocol(talk, "an answer to another request", error);
	switch (message->type) {
	case WIRE_ATTACHED:
		if (talk->model[0] && strcmp(talk->model, message->attached.model) != 0)
			return fail_protocol(talk, "an answer about another model", error);
		return GPT2C_OK;
	case WIRE_LOADING:
		return begin_loading(talk, error);
	case WIRE_NEWS: /* of an attachment that is not ours yet */
		return 1;
	case WIRE_REFUSED:
		return fail_refused(talk, &message->refused, error);
	default:
		return fail_protocol(talk, "an answer of an unexpected type", error);
	}
}

/*
 * One message, and its descriptors as *out_fds, which are the caller's. A connection that is closed
 * is asked once more: the kernel reports the reset before it delivers the REFUSED that was sent
 * first.
 */
static int receive(struct gpt2c_talk *talk, struct wire_message *out, int *out_fds,
		   size_t *out_n_fds, gpt2c_error *error)
{
	struct gw_error cause = GW_ERROR_INIT;
	int result;

	do {
		result = wire_receive(talk->fd, out, out_fds, WIRE_REPLY_FDS, out_n_fds, NULL,
				      talk->deadline_ms, &cause);
	} while (result == GW_E_CLOSED && !talk->hung_up && (talk->hung_up = true));
	return result < 0 ? fail_cause(talk, &cause, error) : GPT2C_OK;
}

static int await_answer(struct gpt2c_talk *talk, struct wire_message *out, int *out_fds,
			gpt2c_error *error)
{
	for (;;) {
		int fds[WIRE_REPLY_FDS];
		size_t n_fds = 0;
		int result = receive(talk, out, fds, &n_fds, error);

		if (result < 0)
			return result;
		result = understand(talk, out, n_fds, error);
		if (result == 0) {
			memcpy(out_fds, fds, sizeof fds);
			return GPT2C_OK;
		}
		while (n_fds > 0)
			close(fds[--n_fds]);
		if (result < 0)
			return result;
		if (wire_now_ms() > talk->deadline_ms) /* an endless stream of news is no answer */
			return fail_timeout(talk, error);
	}
}

static int ask(struct gpt2c_talk *talk, gpt2c_error *error)
{
	struct wire_message message = { .type = WIRE_ATTACH, .request = REQUEST };
	struct gw_error cause = GW_ERROR_INIT;
	int result;

	wire_put_text(message.attach.model, sizeof message.attach.model, talk->model);
	result = wire_send(talk->fd, &message, NULL, 0, talk->deadline_ms, &cause);
	if (result == GW_E_CLOSED) {
		/* it may have said why before it closed */
		talk->hung_up = true;
		return GPT2C_OK;
	}
	return result < 0 ? fail_cause(talk, &cause, error) : GPT2C_OK;
}

static int check_model(const char *model, gpt2c_error *error)
{
	uint8_t field[WIRE_MODEL_BYTES] = { 0 };
	size_t length = strlen(model);

	if (length >= sizeof field)
		return gpt2c_fail(error, GPT2C_E_ARGUMENT, -1,
				  "a model's name has at most %d bytes, this one %zu",
				  WIRE_MODEL_BYTES - 1, length);
	memcpy(field, model, length);
	if (gw_string_length(field, sizeof field) < 0)
		return gpt2c_fail(error, GPT2C_E_ARGUMENT, -1,
				  "a model's name is UTF-8 without control characters");
	return GPT2C_OK;
}

int gpt2c_attach(const gpt2c_options *options, struct gpt2c_attachment *out, gpt2c_error *error)
{
	char path[WIRE_SOCKET_PATH_BYTES];
	struct gw_error cause = GW_ERROR_INIT;
	struct gpt2c_talk talk = {
		.timeout_ms = options->timeout_ms,
		.started_ms = wire_now_ms(),
		.model = options->model ? options->model : "",
		.socket_path = path,
	};
	struct wire_message message;
	int fds[WIRE_REPLY_FDS];
	int result = check_model(talk.model, error);

	if (result < 0)
		return result;
	if (wire_socket_path(options->socket_path, path, &cause) < 0)
		return gpt2c_fail_cause(error, &cause, NULL);
	talk.deadline_ms =
		deadline_after(talk.started_ms, talk.timeout_ms ? talk.timeout_ms : ANSWER_MS);
	if (wire_connect(path, talk.deadline_ms, &talk.fd, &cause) < 0)
		return cause.code == GW_E_TIMEOUT ? fail_timeout(&talk, error)
						  : gpt2c_fail_cause(error, &cause, NULL);
	result = ask(&talk, error);
	if (result == 0)
		result = await_answer(&talk, &message, fds, error);
	if (result < 0) {
		close(talk.fd);
		return result;
	}
	*out = (struct gpt2c_attachment){
		.connection_fd = talk.fd,
		.image_fd = fds[0],
		.board_fd = fds[1],
		.reply = message.attached,
	};
	memcpy(out->socket_path, path, sizeof path);
	return GPT2C_OK;
}

void gpt2c_attachment_deinit(struct gpt2c_attachment *attachment)
{
	int fds[] = { attachment->connection_fd, attachment->image_fd, attachment->board_fd };

	for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}
