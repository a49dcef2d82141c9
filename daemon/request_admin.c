/* SPDX-License-Identifier: MIT */
/* What administrators ask, and what lives in memory (WIRE.md, STEER to CLIENT_REPLY). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/admin.h"
#include "daemon/log.h"
#include "daemon/server.h"
#include "format/endpoint.h"

void gd_server_reload(struct gd_server *server)
{
	struct gw_error error = GW_ERROR_INIT;

	if (server->files && gd_watch_files_renew(server->files, &error))
		gd_log("%s", error.message);
	if (gd_store_scan(server->store, true, &error))
		gd_log("%s", error.message);
}

/* Whether the peer may steer; if not it is told so, and *out_goes_on is whether its connection goes on. */
static bool is_permitted(struct gd_peer *peer, uint32_t request, bool *out_goes_on)
{
	if (gd_admin_may(peer->watch.fd, peer->server->admin_group))
		return true;
	gd_log_peer(GD_EVENT_PEER_REFUSED, peer->user->uid, peer->pid,
		    "uid %u, pid %d may not steer the daemon", (unsigned)peer->user->uid,
		    (int)peer->pid);
	*out_goes_on = gd_request_refuse(peer, request, WIRE_REASON_PERMISSION,
					 "this is for root, the daemon's own user and its admin group");
	return false;
}

/* The model that is to be steered, looked for in the directory too where it is to be loaded. */
static struct gd_model *find_model(struct gd_server *server, const struct wire_steer *steer)
{
	struct gd_model *model = gd_store_find(server->store, steer->model);
	struct gw_error error = GW_ERROR_INIT;

	if (model || steer->action == WIRE_ACTION_UNLOAD)
		return model;
	if (gd_store_scan(server->store, false, &error))
		gd_log("%s", error.message);
	return gd_store_find(server->store, steer->model);
}

static void steer_model(struct gd_peer *peer, struct gd_model *model, uint32_t action)
{
	struct gd_store *store = peer->server->store;
	char why[64];

	if (action == WIRE_ACTION_UNLOAD) {
		snprintf(why, sizeof why, "unloaded by uid %u", (unsigned)peer->user->uid);
		gd_store_unload(store, model, why);
	} else if (action == WIRE_ACTION_LOAD) {
		gd_store_load(store, model);
	} else {
		gd_store_reload(store, model);
	}
}

bool gd_request_steer(struct gd_peer *peer, const struct wire_message *request)
{
	const struct wire_steer *steer = &request->steer;
	struct wire_message message = { .type = WIRE_STEERED, .request = request->request };
	struct gd_server *server = peer->server;
	struct gd_model *model;
	char quoted[64];
	bool goes_on;

	if (!is_permitted(peer, request->request, &goes_on))
		return goes_on;
	gd_log_peer(GD_EVENT_STEERED, peer->user->uid, peer->pid,
		    "uid %u, pid %d asks to %s %s", (unsigned)peer->user->uid, (int)peer->pid,
		    steer->action == WIRE_ACTION_UNLOAD ? "unload" :
		    steer->action == WIRE_ACTION_LOAD	? "load" :
							  "reload",
		    steer->model[0] ? gw_quote(steer->model, strlen(steer->model), quoted,
					       sizeof quoted) :
				      "all models");
	if (steer->model[0]) {
		model = find_model(server, steer);
		if (!model)
			return gd_request_refuse(peer, request->request, WIRE_REASON_UNKNOWN_MODEL,
						 "no model and no pack %s",
						 gw_quote(steer->model, strlen(steer->model), quoted,
							  sizeof quoted));
		steer_model(peer, model, steer->action);
	} else {
		gd_server_reload(server);
	}
	message.steered.n_models = (uint32_t)gd_store_count(server->store);
	return gd_request_send(peer, &message);
}

/* How many bytes of an image are in memory; the kernel says nothing of a file's. */
static uint64_t resident_bytes(const struct gd_image *image)
{
	struct stat status;

	if (image->share == WIRE_SHARE_FILE || fstat(image->fd, &status) < 0)
		return WIRE_UNKNOWN;
	return (uint64_t)status.st_blocks * 512; /* stat(2): of 512 bytes, whatever the pages are */
}

static uint64_t count_attached(const struct gd_server *server, uint64_t generation)
{
	uint64_t count = 0;

	for (const struct gd_peer *peer = server->peers; peer; peer = peer->next)
		count += peer->generation == generation;
	return count;
}

static void describe(const struct gd_server *server, const struct gd_image *image,
		     const char *model, struct wire_generation_reply *out)
{
	out->share = image->share;
	out->image_bytes = image->pack->superblock.image_bytes;
	out->resident_bytes = resident_bytes(image);
	out->huge_bytes = image->huge_bytes;
	out->content_id = image->pack->superblock.content_id;
	out->attached = count_attached(server, out->generation);
	wire_put_text(out->model, sizeof out->model, model);
}

static void describe_current(const struct gd_server *server, const struct gd_model *model,
			     struct wire_generation_reply *out)
{
	out->life = WIRE_LIFE_CURRENT;
	out->generation = model->generation;
	out->age_ms = wire_now_ms() - model->since_ms;
	describe(server, model->image, model->name, out);
}

static void describe_retired(const struct gd_server *server, const struct gd_retired *retired,
			     struct wire_generation_reply *out)
{
	out->life = WIRE_LIFE_RETIRED;
	out->generation = retired->generation;
	out->age_ms = wire_now_ms() - retired->since_ms;
	describe(server, retired->image, retired->model, out);
}

bool gd_request_generation(struct gd_peer *peer, const struct wire_message *request)
{
	struct wire_message message = { .type = WIRE_GENERATION_REPLY,
					.request = request->request };
	struct wire_generation_reply *reply = &message.generation_reply;
	const struct gd_server *server = peer->server;
	uint32_t index = request->generation.index, at = 0;

	if (index == 0)
		gd_store_sweep(server->store);
	reply->index = index;
	for (size_t i = 0; i < gd_store_count(server->store); i++) {
		const struct gd_model *model = gd_store_at(server->store, i);

		if (model->image && at++ == index)
			describe_current(server, model, reply);
	}
	for (const struct gd_retired *retired = gd_store_retired(server->store)->first; retired;
	     retired = retired->next)
		if (at++ == index)
			describe_retired(server, retired, reply);
	reply->n_generations = at;
	return gd_request_send(peer, &message);
}

bool gd_request_client(struct gd_peer *peer, const struct wire_message *request)
{
	struct wire_message message = { .type = WIRE_CLIENT_REPLY, .request = request->request };
	struct wire_client_reply *reply = &message.client_reply;
	uint32_t at = 0;
	bool goes_on;

	if (!is_permitted(peer, request->request, &goes_on))
		return goes_on;
	reply->index = request->client.index;
	for (const struct gd_peer *other = peer->server->peers; other; other = other->next) {
		if (at++ != reply->index)
			continue;
		reply->uid = other->user->uid;
		reply->pid = (uint32_t)other->pid;
		reply->generation = other->generation;
		reply->unread_fds = other->unread_fds;
		reply->age_ms = wire_now_ms() - other->since_ms;
		wire_put_text(reply->model, sizeof reply->model,
			      other->attached ? other->attached->name : "");
	}
	reply->n_clients = at;
	return gd_request_send(peer, &message);
}
