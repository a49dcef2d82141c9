/* SPDX-License-Identifier: MIT */
#include "tools/ctl/query.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/endpoint.h"

struct ctl_link {
	int fd;
	uint32_t request;
	uint64_t deadline_ms;
};

static int ctl_link_open(const char *socket_path, struct ctl_link *out, struct gw_error *error)
{
	char path[WIRE_SOCKET_PATH_BYTES];
	int ret = wire_socket_path(socket_path, path, error);

	*out = (struct ctl_link) { .fd = -1, .deadline_ms = wire_now_ms() + CTL_TIMEOUT_MS };
	return ret ? ret : wire_connect(path, out->deadline_ms, &out->fd, error);
}

static int ctl_refused(const struct wire_refused *refused, struct gw_error *error)
{
	char quoted[WIRE_MESSAGE_TEXT_BYTES];

	gw_quote(refused->message, strlen(refused->message), quoted, sizeof quoted);
	return gw_fail(error, GW_E_CLOSED, GW_NO_OFFSET, "the daemon refused: %s: %s",
		       wire_strreason(refused->reason), quoted);
}

/*
 * One message. A daemon that turns us away says why and closes, and we may find it closed first: when
 * sending, or by a reset that the kernel tells ahead of what was sent. So it is asked once more.
 */
static int ctl_exchange(struct ctl_link *link, const struct wire_message *question,
			struct wire_message *out, struct gw_error *error)
{
	int ret = wire_send(link->fd, question, NULL, 0, link->deadline_ms, error);
	bool closed = ret == GW_E_CLOSED;
	size_t n_fds;

	if (ret && !closed)
		return ret;
	ret = wire_receive(link->fd, out, NULL, 0, &n_fds, NULL, link->deadline_ms, error);
	if (ret == GW_E_CLOSED && !closed)
		ret = wire_receive(link->fd, out, NULL, 0, &n_fds, NULL, link->deadline_ms, error);
	return ret;
}

/* Sends question and waits for an answer of the wanted type. */
static int ctl_ask(struct ctl_link *link, struct wire_message *question, uint16_t wanted,
		   struct wire_message *out, struct gw_error *error)
{
	int ret;

	question->request = ++link->request;
	ret = ctl_exchange(link, question, out, error);
	if (ret)
		return ret;
	if (out->type == WIRE_REFUSED)
		return ctl_refused(&out->refused, error);
	if (out->type != wanted || out->request != link->request)
		return gw_fail(error, GW_E_WIRE_TYPE, GW_NO_OFFSET,
			       "the daemon answered request %" PRIu32
			       " (type %u) to request %" PRIu32,
			       out->request, (unsigned)out->type, link->request);
	return 0;
}

static int ctl_models_add(struct ctl_models *models, const struct wire_listed *listed,
			  struct gw_error *error)
{
	struct wire_listed *items;

	if (listed->index != models->count)
		return gw_fail(error, GW_E_WIRE_FIELD, GW_NO_OFFSET,
			       "the daemon answered model %" PRIu32 " instead of %zu",
			       listed->index, models->count);
	items = reallocarray(models->items, models->count + 1, sizeof *items);
	if (!items)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory");
	models->items = items;
	models->items[models->count++] = *listed;
	return 0;
}

int ctl_query_list(const char *socket_path, struct ctl_models *out, struct gw_error *error)
{
	struct ctl_models models = { 0 };
	struct wire_message question = { .type = WIRE_LIST }, answer;
	struct ctl_link link;
	int ret = ctl_link_open(socket_path, &link, error);

	if (ret)
		return ret;
	/* models may come and go meanwhile: what ends the list is an answer without one */
	do {
		question.list.index = (uint32_t)models.count;
		ret = ctl_ask(&link, &question, WIRE_LISTED, &answer, error);
		if (ret || answer.listed.state == WIRE_STATE_NONE)
			break;
		ret = ctl_models_add(&models, &answer.listed, error);
	} while (!ret && models.count < answer.listed.n_models);
	close(link.fd);
	if (ret)
		ctl_models_deinit(&models);
	else
		*out = models;
	return ret;
}

void ctl_models_deinit(struct ctl_models *models)
{
	free(models->items);
	models->items = NULL;
}

int ctl_query_status(const char *socket_path, struct wire_status_reply *out, struct gw_error *error)
{
	struct wire_message question = { .type = WIRE_STATUS }, answer;
	struct ctl_link link;
	int ret = ctl_link_open(socket_path, &link, error);

	if (ret)
		return ret;
	ret = ctl_ask(&link, &question, WIRE_STATUS_REPLY, &answer, error);
	close(link.fd);
	if (!ret)
		*out = answer.status_reply;
	return ret;
}

/* Room for one more item of a list; *items stays as it is on failure. */
static int ctl_grow(void **items, size_t count, size_t item_bytes, struct gw_error *error)
{
	void *grown = reallocarray(*items, count + 1, item_bytes);

	if (!grown)
		return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory");
	*items = grown;
	return 0;
}

int ctl_query_generations(const char *socket_path, struct ctl_generations *out,
			  struct gw_error *error)
{
	struct wire_message question = { .type = WIRE_GENERATION }, answer;
	struct ctl_generations all = { 0 };
	struct ctl_link link;
	int ret = ctl_link_open(socket_path, &link, error);

	if (ret)
		return ret;
	do {
		question.generation.index = (uint32_t)all.count;
		ret = ctl_ask(&link, &question, WIRE_GENERATION_REPLY, &answer, error);
		if (ret || answer.generation_reply.life == WIRE_LIFE_NONE)
			break;
		ret = ctl_grow((void **)&all.items, all.count, sizeof *all.items, error);
		if (!ret)
			all.items[all.count++] = answer.generation_reply;
	} while (!ret && all.count < answer.generation_reply.n_generations);
	close(link.fd);
	if (ret)
		free(all.items);
	else
		*out = all;
	return ret;
}

int ctl_query_clients(const char *socket_path, struct ctl_clients *out, struct gw_error *error)
{
	struct wire_message question = { .type = WIRE_CLIENT }, answer;
	struct ctl_clients all = { 0 };
	struct ctl_link link;
	int ret = ctl_link_open(socket_path, &link, error);

	if (ret)
		return ret;
	do {
		question.client.index = (uint32_t)all.count;
		ret = ctl_ask(&link, &question, WIRE_CLIENT_REPLY, &answer, error);
		if (ret || answer.client_reply.n_clients <= all.count)
			break;
		ret = ctl_grow((void **)&all.items, all.count, sizeof *all.items, error);
		if (!ret)
			all.items[all.count++] = answer.client_reply;
	} while (!ret);
	close(link.fd);
	if (ret)
		free(all.items);
	else
		*out = all;
	return ret;
}

int ctl_query_steer(const char *socket_path, enum wire_action action, const char *model,
		    struct gw_error *error)
{
	struct wire_message question = { .type = WIRE_STEER, .steer = { .action = action } }, answer;
	struct ctl_link link;
	int ret = ctl_link_open(socket_path, &link, error);

	if (ret)
		return ret;
	wire_put_text(question.steer.model, sizeof question.steer.model, model);
	ret = ctl_ask(&link, &question, WIRE_STEERED, &answer, error);
	close(link.fd);
	return ret;
}

enum tool_exit ctl_fail(const struct gw_error *error)
{
	tool_say("%s%s", error->message,
		 error->code == GW_E_CONNECT ? "; start gpt2d, or name its socket with --socket"
					     : "");
	return error->code == GW_E_PATH ? TOOL_USAGE : TOOL_FAILED;
}
