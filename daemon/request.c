/* SPDX-License-Identifier: MIT */
/* What the daemon answers (WIRE.md). */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/limits.h"
#include "daemon/log.h"
#include "daemon/memfd.h"
#include "daemon/server.h"
#include "format/endpoint.h"

/* Sends an answer; a peer who does not read his answers, or is gone, is let go. */
static bool answer(struct gd_peer *peer, const struct wire_message *message, const int *fds,
		   size_t n_fds, struct gw_error *error)
{
	int code = wire_send(peer->watch.fd, message, fds, n_fds, 0, error);

	if (code == GW_E_TIMEOUT)
		gd_log_peer(GD_EVENT_PEER_ENDED, peer->user->uid, peer->pid,
			    "uid %u, pid %d does not read its answers: disconnected",
			    (unsigned)peer->user->uid, (int)peer->pid);
	if (code == GW_OK)
		gd_peer_count_reply(peer);
	return code == GW_OK;
}

bool gd_request_send(struct gd_peer *peer, const struct wire_message *message)
{
	return answer(peer, message, NULL, 0, NULL);
}

bool gd_request_refuse(struct gd_peer *peer, uint32_t request, enum wire_reason reason,
		       const char *format, ...)
{
	struct wire_message message = { .type = WIRE_REFUSED,
					.request = request,
					.refused = { .reason = reason } };
	char text[WIRE_MESSAGE_TEXT_BYTES];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	wire_put_text(message.refused.message, sizeof message.refused.message, text);
	peer->server->refused_total++;
	if (!answer(peer, &message, NULL, 0, NULL))
		return false;
	return reason != WIRE_REASON_MALFORMED && reason != WIRE_REASON_VERSION &&
	       reason != WIRE_REASON_LIMIT;
}

/* Sends the two descriptors, each a description of the client's own. */
static bool send_attached(struct gd_peer *peer, uint32_t request, struct gd_model *model)
{
	struct wire_message message = {
		.type = WIRE_ATTACHED,
		.request = request,
		.attached = { .generation = model->generation,
			      .image_bytes = model->image->pack->superblock.image_bytes,
			      .content_id = model->image->pack->superblock.content_id,
			      .share = model->image->share,
			      .epoch = model->epoch },
	};
	struct gw_error error = GW_ERROR_INIT;
	int fds[WIRE_REPLY_FDS] = { -1, -1 };
	bool sent = false, resource = false;

	memcpy(message.attached.model, model->name, sizeof message.attached.model);
	if (gd_reopen(model->image->fd, &fds[0], &error) == GW_OK &&
	    gd_reopen(model->board.fd, &fds[1], &error) == GW_OK)
		sent = answer(peer, &message, fds, WIRE_REPLY_FDS, &error);
	/* not the peer's doing: too many open files, or descriptors under way (ETOOMANYREFS) */
	resource = !sent && error.code == GW_E_IO;
	for (int i = 0; i < WIRE_REPLY_FDS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (resource) {
		gd_log_peer(GD_EVENT_NONE, peer->user->uid, peer->pid,
			    "%s cannot be handed out: %s", model->name, error.message);
		return gd_request_refuse(peer, request, WIRE_REASON_RESOURCE, "%s; try again",
					 error.message);
	}
	if (!sent)
		return false;
	gd_peer_count_fds(peer);
	if (peer->attached)
		peer->attached->attached--;
	peer->attached = model;
	peer->generation = model->generation;
	model->attached++;
	model->attached_total++;
	peer->server->attached_total++;
	return true;
}

static bool answer_model(struct gd_peer *peer, uint32_t request, struct gd_model *model)
{
	struct wire_message message = { .type = WIRE_LOADING, .request = request };

	if (model->image)
		return send_attached(peer, request, model);
	if (!model->loading || model->removed)
		return gd_request_refuse(peer, request, WIRE_REASON_LOAD_FAILED, "%s: %s",
					 model->name, model->message);
	if (peer->user->requests >= peer->server->quota.limits.max_requests_per_user)
		return gd_request_refuse(peer, request, WIRE_REASON_LIMIT,
					 "this user has %" PRIu64
					 " requests that wait for a model to be loaded",
					 peer->user->requests);
	memcpy(message.loading.model, model->name, sizeof message.loading.model);
	gd_peer_wait(peer, model, request);
	return answer(peer, &message, NULL, 0, NULL);
}

bool gd_request_settle(struct gd_peer *peer)
{
	struct gd_model *model = peer->waiting;

	gd_peer_stop_waiting(peer);
	if (model->removed || !model->image)
		return gd_request_refuse(peer, peer->waiting_request, WIRE_REASON_LOAD_FAILED,
					 "%s: %s", model->name, model->message);
	return send_attached(peer, peer->waiting_request, model);
}

/* The names of the models, for a refusal that helps. */
static void name_models(const struct gd_store *store, char *out, size_t out_bytes)
{
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < gd_store_count(store) && used + 1 < out_bytes; i++) {
		int n = snprintf(out + used, out_bytes - used, "%s%s", i ? ", " : "",
				 gd_store_at(store, i)->name);

		used += n < 0 ? 0 : (size_t)n;
	}
}

static bool answer_attach(struct gd_peer *peer, const struct wire_message *request)
{
	const struct gd_store *store = peer->server->store;
	const char *name = request->attach.model;
	char quoted[WIRE_MODEL_BYTES], names[128];
	struct gd_model *model;

	if (!gd_peer_may_have_fds(peer))
		return gd_request_refuse(peer, request->request, WIRE_REASON_LIMIT,
					 "this user has %" PRIu64
					 " descriptors in answers that are not read",
					 peer->user->unread_fds);
	name_models(store, names, sizeof names);
	if (gd_store_count(store) == 0)
		return gd_request_refuse(peer, request->request, WIRE_REASON_NO_MODEL,
					 "no model is served yet");
	if (name[0] == '\0' && gd_store_count(store) > 1)
		return gd_request_refuse(peer, request->request, WIRE_REASON_NAME_NEEDED,
					 "%zu models are served; name one of: %s",
					 gd_store_count(store), names);
	model = name[0] ? gd_store_find(store, name) : gd_store_at(store, 0);
	if (!model)
		return gd_request_refuse(peer, request->request, WIRE_REASON_UNKNOWN_MODEL,
					 "no model %s; there is: %s",
					 gw_quote(name, strlen(name), quoted, 64), names);
	return answer_model(peer, request->request, model);
}

static void describe_image(const struct gd_image *image, struct wire_listed *out)
{
	const struct gw_pack *pack = image->pack;

	out->share = image->share;
	out->image_bytes = pack->superblock.image_bytes;
	out->n_vocab = pack->wte->row_count;
	out->n_positions = pack->wpe ? pack->wpe->row_count : 0;
	out->n_embd = pack->wte->row_elements;
	out->n_tensors = pack->superblock.n_tensors;
	out->huge_bytes = image->huge_bytes;
	out->content_id = pack->superblock.content_id;
	out->wte_dtype = pack->wte->dtype;
	out->wpe_dtype = pack->wpe ? pack->wpe->dtype : GW_DTYPE_NONE;
}

static bool answer_list(struct gd_peer *peer, const struct wire_message *request)
{
	const struct gd_store *store = peer->server->store;
	const struct gd_model *model = gd_store_at(store, request->list.index);
	struct wire_message message = { .type = WIRE_LISTED, .request = request->request };
	struct wire_listed *listed = &message.listed;

	listed->index = request->list.index;
	listed->n_models = (uint32_t)gd_store_count(store);
	if (model) {
		listed->state = model->image	  ? WIRE_STATE_SERVING :
				model->unloaded ? WIRE_STATE_UNLOADED :
				model->loading	? WIRE_STATE_LOADING :
						  WIRE_STATE_FAILED;
		listed->busy = gd_store_is_busy(model);
		listed->taken_back = model->taken_back;
		gd_retired_of(gd_store_retired(store), model->name, &listed->retired,
			      &listed->retired_bytes);
		if (model->image)
			describe_image(model->image, listed);
		listed->generation = model->generation;
		listed->attached = model->attached;
		listed->attached_total = model->attached_total;
		listed->load_us = model->load_us;
		wire_put_text(listed->model, sizeof listed->model, model->name);
		wire_put_text(listed->file, sizeof listed->file, model->path);
		wire_put_text(listed->message, sizeof listed->message, model->message);
	}
	return answer(peer, &message, NULL, 0, NULL);
}

/* What is in memory and under way, and what may be. */
static void describe_limits(const struct gd_server *server, struct wire_status_reply *out)
{
	const struct gd_store_options *options = gd_store_options(server->store);
	const struct gd_retired_list *retired;

	gd_store_sweep(server->store);
	retired = gd_store_retired(server->store);
	out->retired = retired->count;
	out->retired_bytes = retired->bytes;
	out->max_bytes = options->max_bytes;
	out->max_retired_bytes = options->max_retired_bytes;
	out->published_total = server->published_total;
	out->failed_total = gd_store_failed_total(server->store);
	for (const struct gd_user *user = server->quota.users; user; user = user->next)
		out->unread_fds += user->unread_fds;
	out->max_unread_fds_per_user = server->quota.limits.max_unread_fds_per_user;
}

static bool answer_status(struct gd_peer *peer, const struct wire_message *request)
{
	const struct gd_server *server = peer->server;
	struct wire_message message = {
		.type = WIRE_STATUS_REPLY,
		.request = request->request,
		.status_reply = {
			.pid = (uint64_t)getpid(),
			.uptime_ms = wire_now_ms() - server->start_ms,
			.backend = gd_loop_backend(server->loop),
			.n_models = (uint32_t)gd_store_count(server->store),
			.connections = server->quota.connections,
			.connections_total = server->connections_total,
			.attached_total = server->attached_total,
			.refused_total = server->refused_total,
			.foreign_fds = server->foreign_fds,
			.max_connections = server->quota.limits.max_connections,
			.max_connections_per_user = server->quota.limits.max_connections_per_user,
		},
	};
	struct wire_status_reply *status = &message.status_reply;

	for (size_t i = 0; i < gd_store_count(server->store); i++) {
		const struct gd_image *image = gd_store_at(server->store, i)->image;

		if (image)
			status->image_bytes += image->pack->superblock.image_bytes;
	}
	describe_limits(server, status);
	wire_put_text(status->release, sizeof status->release, GW_RELEASE);
	wire_put_text(status->note, sizeof status->note, gd_loop_note(server->loop));
	return answer(peer, &message, NULL, 0, NULL);
}

bool gd_request_answer(struct gd_peer *peer, const struct wire_message *request)
{
	if (!gd_peer_may_have_reply(peer))
		return gd_request_refuse(peer, request->request, WIRE_REASON_LIMIT,
					 "this user has %" PRIu64 " answers that are not read",
					 peer->user->unread_replies);
	switch (request->type) {
	case WIRE_ATTACH:
		return answer_attach(peer, request);
	case WIRE_LIST:
		return answer_list(peer, request);
	case WIRE_STATUS:
		return answer_status(peer, request);
	case WIRE_STEER:
		return gd_request_steer(peer, request);
	case WIRE_GENERATION:
		return gd_request_generation(peer, request);
	case WIRE_CLIENT:
		return gd_request_client(peer, request);
	default:
		gd_log_peer(GD_EVENT_PEER_ENDED, peer->user->uid, peer->pid,
			    "uid %u, pid %d: a message of type %u, which only a daemon sends",
			    (unsigned)peer->user->uid, (int)peer->pid, request->type);
		return gd_request_refuse(peer, request->request, WIRE_REASON_MALFORMED,
					 "a message of type %u, which only a daemon sends",
					 request->type);
	}
}
