/* SPDX-License-Identifier: MIT */
/* The member names are documented in gpt2ctl(1) and do not change. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "format/dtype.h"
#include "tools/common/report.h"
#include "tools/ctl/print.h"
#include "tools/ctl/words.h"

/* JSON's integers are jansson's, of 63 bits; a counter beyond that is the daemon's mistake. */
static json_t *ctl_json_number(uint64_t value)
{
	return json_integer(value < INT64_MAX ? (json_int_t)value : INT64_MAX);
}

/* Text that is not UTF-8 becomes its quoted form. */
static json_t *ctl_json_text(const char *text)
{
	char quoted[2 * WIRE_FILE_BYTES];
	json_t *value = json_string(text);

	return value ? value : json_string(gw_quote(text, strlen(text), quoted, sizeof quoted));
}

/* A word, or null where there is nothing to say. */
static json_t *ctl_json_word(bool is_there, const char *word)
{
	return is_there ? ctl_json_text(word) : json_null();
}

/* Appends a member and takes the value over; any failure stays in *failed. */
static void ctl_json_set(json_t *object, const char *name, json_t *value, bool *failed)
{
	if (json_object_set_new(object, name, value) != 0)
		*failed = true;
}

static json_t *ctl_json_model(const struct wire_listed *model, bool *failed)
{
	char id[GW_DIGEST_TEXT_BYTES];
	bool is_served = model->generation != 0;
	json_t *out = json_object();
	const struct {
		const char *name;
		json_t *value;
	} members[] = {
		{ "name", ctl_json_text(model->model) },
		{ "state", ctl_json_text(ctl_state_word(model->state)) },
		{ "generation", ctl_json_number(model->generation) },
		{ "share", ctl_json_word(is_served, ctl_share_word(model->share)) },
		{ "image_bytes", ctl_json_number(model->image_bytes) },
		{ "huge_bytes", ctl_json_number(model->huge_bytes) },
		{ "n_vocab", ctl_json_number(model->n_vocab) },
		{ "n_positions", ctl_json_number(model->n_positions) },
		{ "n_embd", ctl_json_number(model->n_embd) },
		{ "n_tensors", ctl_json_number(model->n_tensors) },
		{ "wte_dtype", ctl_json_word(is_served, gw_dtype_name(model->wte_dtype)) },
		{ "wpe_dtype",
		  ctl_json_word(model->n_positions != 0, gw_dtype_name(model->wpe_dtype)) },
		{ "content_id", ctl_json_word(is_served, gw_digest_text(&model->content_id, id)) },
		{ "attached", ctl_json_number(model->attached) },
		{ "attached_total", ctl_json_number(model->attached_total) },
		{ "load_us", ctl_json_number(model->load_us) },
		{ "file", ctl_json_text(model->file) },
		{ "message", ctl_json_word(model->message[0], model->message) },
		{ "busy", json_boolean(model->busy) },
		{ "taken_back", json_boolean(model->taken_back) },
		{ "retired", ctl_json_number(model->retired) },
		{ "retired_bytes", ctl_json_number(model->retired_bytes) },
	};

	for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
		ctl_json_set(out, members[i].name, members[i].value, failed);
	return out;
}

/* Prints root and ends it. */
static int ctl_json_print(json_t *root, bool failed)
{
	char *text = failed ? NULL : json_dumps(root, JSON_INDENT(2));

	json_decref(root);
	if (!text) {
		tool_say("no memory");
		return GW_E_MEMORY;
	}
	puts(text);
	free(text);
	return 0;
}

static json_t *ctl_json_models(const struct ctl_models *models, bool *failed)
{
	json_t *list = json_array();

	for (size_t i = 0; i < models->count; i++)
		if (json_array_append_new(list, ctl_json_model(&models->items[i], failed)) != 0)
			*failed = true;
	return list;
}

int ctl_print_list_json(const struct ctl_models *models)
{
	json_t *root = json_object();
	bool failed = false;

	ctl_json_set(root, "models", ctl_json_models(models, &failed), &failed);
	return ctl_json_print(root, failed);
}

static json_t *ctl_json_generation(const struct wire_generation_reply *generation, bool *failed)
{
	char id[GW_DIGEST_TEXT_BYTES];
	json_t *out = json_object();
	const struct {
		const char *name;
		json_t *value;
	} members[] = {
		{ "model", ctl_json_text(generation->model) },
		{ "generation", ctl_json_number(generation->generation) },
		{ "life", ctl_json_text(ctl_life_word(generation->life)) },
		{ "share", ctl_json_text(ctl_share_word(generation->share)) },
		{ "image_bytes", ctl_json_number(generation->image_bytes) },
		{ "resident_bytes", generation->resident_bytes == WIRE_UNKNOWN ?
					    json_null() :
					    ctl_json_number(generation->resident_bytes) },
		{ "huge_bytes", ctl_json_number(generation->huge_bytes) },
		{ "attached", ctl_json_number(generation->attached) },
		{ "age_ms", ctl_json_number(generation->age_ms) },
		{ "content_id", ctl_json_text(gw_digest_text(&generation->content_id, id)) },
	};

	for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
		ctl_json_set(out, members[i].name, members[i].value, failed);
	return out;
}

static json_t *ctl_json_generations(const struct ctl_generations *generations, bool *failed)
{
	json_t *list = json_array();

	for (size_t i = 0; i < generations->count; i++)
		if (json_array_append_new(
			    list, ctl_json_generation(&generations->items[i], failed)) != 0)
			*failed = true;
	return list;
}

static json_t *ctl_json_status(const struct wire_status_reply *status,
			       const struct ctl_generations *generations, bool *failed)
{
	json_t *root = json_object();
	const struct {
		const char *name;
		json_t *value;
	} members[] = {
		{ "release", ctl_json_text(status->release) },
		{ "pid", ctl_json_number(status->pid) },
		{ "uptime_ms", ctl_json_number(status->uptime_ms) },
		{ "backend", ctl_json_text(ctl_backend_word(status->backend)) },
		{ "note", ctl_json_word(status->note[0], status->note) },
		{ "n_models", ctl_json_number(status->n_models) },
		{ "image_bytes", ctl_json_number(status->image_bytes) },
		{ "connections", ctl_json_number(status->connections) },
		{ "connections_total", ctl_json_number(status->connections_total) },
		{ "max_connections", ctl_json_number(status->max_connections) },
		{ "max_connections_per_user", ctl_json_number(status->max_connections_per_user) },
		{ "attached_total", ctl_json_number(status->attached_total) },
		{ "refused_total", ctl_json_number(status->refused_total) },
		{ "foreign_fds", ctl_json_number(status->foreign_fds) },
		{ "retired", ctl_json_number(status->retired) },
		{ "retired_bytes", ctl_json_number(status->retired_bytes) },
		{ "max_retired_bytes", ctl_json_number(status->max_retired_bytes) },
		{ "memory_max", ctl_json_number(status->max_bytes) },
		{ "published_total", ctl_json_number(status->published_total) },
		{ "failed_total", ctl_json_number(status->failed_total) },
		{ "unread_fds", ctl_json_number(status->unread_fds) },
		{ "max_unread_fds_per_user", ctl_json_number(status->max_unread_fds_per_user) },
		{ "generations", ctl_json_generations(generations, failed) },
	};

	for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
		ctl_json_set(root, members[i].name, members[i].value, failed);
	return root;
}

int ctl_print_status_json(const struct wire_status_reply *status,
			  const struct ctl_generations *generations)
{
	bool failed = false;
	json_t *root = ctl_json_status(status, generations, &failed);

	return ctl_json_print(root, failed);
}

int ctl_print_metrics_json(const struct wire_status_reply *status, const struct ctl_models *models,
			   const struct ctl_generations *generations)
{
	bool failed = false;
	json_t *root = ctl_json_status(status, generations, &failed);

	ctl_json_set(root, "models", ctl_json_models(models, &failed), &failed);
	return ctl_json_print(root, failed);
}

static json_t *ctl_json_client(const struct wire_client_reply *client, bool *failed)
{
	json_t *out = json_object();
	const struct {
		const char *name;
		json_t *value;
	} members[] = {
		{ "uid", ctl_json_number(client->uid) },
		{ "pid", ctl_json_number(client->pid) },
		{ "model", ctl_json_word(client->model[0], client->model) },
		{ "generation", ctl_json_number(client->generation) },
		{ "unread_fds", ctl_json_number(client->unread_fds) },
		{ "age_ms", ctl_json_number(client->age_ms) },
	};

	for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
		ctl_json_set(out, members[i].name, members[i].value, failed);
	return out;
}

int ctl_print_clients_json(const struct ctl_clients *clients)
{
	json_t *root = json_object(), *list = json_array();
	bool failed = false;

	for (size_t i = 0; i < clients->count; i++)
		if (json_array_append_new(list, ctl_json_client(&clients->items[i], &failed)) != 0)
			failed = true;
	ctl_json_set(root, "clients", list, &failed);
	return ctl_json_print(root, failed);
}
