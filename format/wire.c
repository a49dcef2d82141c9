/* SPDX-License-Identifier: MIT */
#include "format/wire.h"

#include <stdbool.h>
#include <string.h>

#include "format/bytes.h"
#include "format/directory.h"

static const uint8_t magic[WIRE_HEADER_MAGIC_SIZE] = { 'G', 'W', '2', 'd' };

uint32_t wire_message_bytes(uint16_t type)
{
	switch (type) {
	case WIRE_ATTACH:
		return WIRE_ATTACH_MODEL_AT + WIRE_ATTACH_MODEL_SIZE;
	case WIRE_ATTACHED:
		return WIRE_ATTACHED_MODEL_AT + WIRE_ATTACHED_MODEL_SIZE;
	case WIRE_LOADING:
		return WIRE_LOADING_MODEL_AT + WIRE_LOADING_MODEL_SIZE;
	case WIRE_REFUSED:
		return WIRE_REFUSED_MESSAGE_AT + WIRE_REFUSED_MESSAGE_SIZE;
	case WIRE_NEWS:
		return WIRE_NEWS_RESERVED_AT + WIRE_NEWS_RESERVED_SIZE;
	case WIRE_LIST:
		return WIRE_LIST_RESERVED_AT + WIRE_LIST_RESERVED_SIZE;
	case WIRE_LISTED:
		return WIRE_LISTED_RETIRED_BYTES_AT + WIRE_LISTED_RETIRED_BYTES_SIZE;
	case WIRE_STATUS:
		return WIRE_HEADER_BYTES;
	case WIRE_STATUS_REPLY:
		return WIRE_STATUS_REPLY_MAX_UNREAD_FDS_PER_USER_AT +
		       WIRE_STATUS_REPLY_MAX_UNREAD_FDS_PER_USER_SIZE;
	case WIRE_STEER:
		return WIRE_STEER_MODEL_AT + WIRE_STEER_MODEL_SIZE;
	case WIRE_STEERED:
		return WIRE_STEERED_RESERVED_AT + WIRE_STEERED_RESERVED_SIZE;
	case WIRE_GENERATION:
		return WIRE_GENERATION_RESERVED_AT + WIRE_GENERATION_RESERVED_SIZE;
	case WIRE_GENERATION_REPLY:
		return WIRE_GENERATION_REPLY_MODEL_AT + WIRE_GENERATION_REPLY_MODEL_SIZE;
	case WIRE_CLIENT:
		return WIRE_CLIENT_RESERVED_AT + WIRE_CLIENT_RESERVED_SIZE;
	case WIRE_CLIENT_REPLY:
		return WIRE_CLIENT_REPLY_MODEL_AT + WIRE_CLIENT_REPLY_MODEL_SIZE;
	default:
		return 0;
	}
}

const char *wire_strreason(uint32_t reason)
{
	switch (reason) {
	case WIRE_REASON_MALFORMED:
		return "malformed message";
	case WIRE_REASON_VERSION:
		return "unsupported version of the protocol";
	case WIRE_REASON_UNKNOWN_MODEL:
		return "no such model";
	case WIRE_REASON_NAME_NEEDED:
		return "several models and none named";
	case WIRE_REASON_LOAD_FAILED:
		return "the model cannot be loaded";
	case WIRE_REASON_LIMIT:
		return "over a limit";
	case WIRE_REASON_NO_MODEL:
		return "no model is served";
	case WIRE_REASON_RESOURCE:
		return "the daemon lacks a resource";
	case WIRE_REASON_PERMISSION:
		return "not permitted";
	default:
		return "unknown reason";
	}
}

/*
 * One description of every field serves both directions: io points at the message, and each field is
 * stored into it or loaded from it. So encoding and decoding cannot disagree.
 */
struct io {
	struct gw_bytes bytes;
	bool encode;
	bool bad_text;     /* decoding: a string that is none */
	bool bad_reserved; /* decoding: a reserved field that is not zero */
};

static void io_u16(struct io *io, uint64_t at, uint16_t *value)
{
	if (io->encode)
		gw_put_u16(&io->bytes, at, *value);
	else
		*value = gw_get_u16(&io->bytes, at);
}

static void io_u32(struct io *io, uint64_t at, uint32_t *value)
{
	if (io->encode)
		gw_put_u32(&io->bytes, at, *value);
	else
		*value = gw_get_u32(&io->bytes, at);
}

static void io_u64(struct io *io, uint64_t at, uint64_t *value)
{
	if (io->encode)
		gw_put_u64(&io->bytes, at, *value);
	else
		*value = gw_get_u64(&io->bytes, at);
}

static void io_digest(struct io *io, uint64_t at, struct gw_digest *digest)
{
	if (io->encode)
		gw_put_bytes(&io->bytes, at, digest->bytes, sizeof digest->bytes);
	else
		gw_get_bytes(&io->bytes, at, digest->bytes, sizeof digest->bytes);
}

static void io_text(struct io *io, uint64_t at, char *text, size_t size)
{
	if (io->encode) {
		gw_put_bytes(&io->bytes, at, text, strnlen(text, size - 1));
		return;
	}
	gw_get_bytes(&io->bytes, at, text, size);
	if (gw_string_length((const uint8_t *)text, size) < 0)
		io->bad_text = true;
}

static void io_reserved(struct io *io, uint64_t at, uint64_t size)
{
	const uint8_t *field = gw_bytes_at(&io->bytes, at, size);

	if (!io->encode && field && !gw_is_zero(field, size))
		io->bad_reserved = true;
}

static void io_attached(struct io *io, struct wire_attached *m)
{
	io_u64(io, WIRE_ATTACHED_GENERATION_AT, &m->generation);
	io_u64(io, WIRE_ATTACHED_IMAGE_BYTES_AT, &m->image_bytes);
	io_digest(io, WIRE_ATTACHED_CONTENT_ID_AT, &m->content_id);
	io_u32(io, WIRE_ATTACHED_SHARE_AT, &m->share);
	io_u32(io, WIRE_ATTACHED_EPOCH_AT, &m->epoch);
	io_text(io, WIRE_ATTACHED_MODEL_AT, m->model, sizeof m->model);
}

static void io_listed(struct io *io, struct wire_listed *m)
{
	io_u32(io, WIRE_LISTED_INDEX_AT, &m->index);
	io_u32(io, WIRE_LISTED_N_MODELS_AT, &m->n_models);
	io_u32(io, WIRE_LISTED_STATE_AT, &m->state);
	io_u32(io, WIRE_LISTED_SHARE_AT, &m->share);
	io_u64(io, WIRE_LISTED_GENERATION_AT, &m->generation);
	io_u64(io, WIRE_LISTED_IMAGE_BYTES_AT, &m->image_bytes);
	io_u64(io, WIRE_LISTED_N_VOCAB_AT, &m->n_vocab);
	io_u64(io, WIRE_LISTED_N_POSITIONS_AT, &m->n_positions);
	io_u64(io, WIRE_LISTED_N_EMBD_AT, &m->n_embd);
	io_u64(io, WIRE_LISTED_N_TENSORS_AT, &m->n_tensors);
	io_u64(io, WIRE_LISTED_HUGE_BYTES_AT, &m->huge_bytes);
	io_u64(io, WIRE_LISTED_ATTACHED_AT, &m->attached);
	io_u64(io, WIRE_LISTED_ATTACHED_TOTAL_AT, &m->attached_total);
	io_digest(io, WIRE_LISTED_CONTENT_ID_AT, &m->content_id);
	io_u32(io, WIRE_LISTED_WTE_DTYPE_AT, &m->wte_dtype);
	io_u32(io, WIRE_LISTED_WPE_DTYPE_AT, &m->wpe_dtype);
	io_u64(io, WIRE_LISTED_LOAD_US_AT, &m->load_us);
	io_text(io, WIRE_LISTED_MODEL_AT, m->model, sizeof m->model);
	io_text(io, WIRE_LISTED_FILE_AT, m->file, sizeof m->file);
	io_text(io, WIRE_LISTED_MESSAGE_AT, m->message, sizeof m->message);
	io_u32(io, WIRE_LISTED_BUSY_AT, &m->busy);
	io_u32(io, WIRE_LISTED_TAKEN_BACK_AT, &m->taken_back);
	io_u64(io, WIRE_LISTED_RETIRED_AT, &m->retired);
	io_u64(io, WIRE_LISTED_RETIRED_BYTES_AT, &m->retired_bytes);
}

static void io_status_reply(struct io *io, struct wire_status_reply *m)
{
	io_u64(io, WIRE_STATUS_REPLY_PID_AT, &m->pid);
	io_u64(io, WIRE_STATUS_REPLY_UPTIME_MS_AT, &m->uptime_ms);
	io_u32(io, WIRE_STATUS_REPLY_BACKEND_AT, &m->backend);
	io_u32(io, WIRE_STATUS_REPLY_N_MODELS_AT, &m->n_models);
	io_u64(io, WIRE_STATUS_REPLY_CONNECTIONS_AT, &m->connections);
	io_u64(io, WIRE_STATUS_REPLY_CONNECTIONS_TOTAL_AT, &m->connections_total);
	io_u64(io, WIRE_STATUS_REPLY_ATTACHED_TOTAL_AT, &m->attached_total);
	io_u64(io, WIRE_STATUS_REPLY_REFUSED_TOTAL_AT, &m->refused_total);
	io_u64(io, WIRE_STATUS_REPLY_FOREIGN_FDS_AT, &m->foreign_fds);
	io_u64(io, WIRE_STATUS_REPLY_IMAGE_BYTES_AT, &m->image_bytes);
	io_u64(io, WIRE_STATUS_REPLY_MAX_CONNECTIONS_AT, &m->max_connections);
	io_u64(io, WIRE_STATUS_REPLY_MAX_CONNECTIONS_PER_USER_AT, &m->max_connections_per_user);
	io_text(io, WIRE_STATUS_REPLY_RELEASE_AT, m->release, sizeof m->release);
	io_text(io, WIRE_STATUS_REPLY_NOTE_AT, m->note, sizeof m->note);
	io_u64(io, WIRE_STATUS_REPLY_RETIRED_AT, &m->retired);
	io_u64(io, WIRE_STATUS_REPLY_RETIRED_BYTES_AT, &m->retired_bytes);
	io_u64(io, WIRE_STATUS_REPLY_MAX_BYTES_AT, &m->max_bytes);
	io_u64(io, WIRE_STATUS_REPLY_MAX_RETIRED_BYTES_AT, &m->max_retired_bytes);
	io_u64(io, WIRE_STATUS_REPLY_PUBLISHED_TOTAL_AT, &m->published_total);
	io_u64(io, WIRE_STATUS_REPLY_FAILED_TOTAL_AT, &m->failed_total);
	io_u64(io, WIRE_STATUS_REPLY_UNREAD_FDS_AT, &m->unread_fds);
	io_u64(io, WIRE_STATUS_REPLY_MAX_UNREAD_FDS_PER_USER_AT, &m->max_unread_fds_per_user);
}

static void io_generation_reply(struct io *io, struct wire_generation_reply *m)
{
	io_u32(io, WIRE_GENERATION_REPLY_INDEX_AT, &m->index);
	io_u32(io, WIRE_GENERATION_REPLY_N_GENERATIONS_AT, &m->n_generations);
	io_u32(io, WIRE_GENERATION_REPLY_LIFE_AT, &m->life);
	io_u32(io, WIRE_GENERATION_REPLY_SHARE_AT, &m->share);
	io_u64(io, WIRE_GENERATION_REPLY_GENERATION_AT, &m->generation);
	io_u64(io, WIRE_GENERATION_REPLY_IMAGE_BYTES_AT, &m->image_bytes);
	io_u64(io, WIRE_GENERATION_REPLY_RESIDENT_BYTES_AT, &m->resident_bytes);
	io_u64(io, WIRE_GENERATION_REPLY_HUGE_BYTES_AT, &m->huge_bytes);
	io_u64(io, WIRE_GENERATION_REPLY_ATTACHED_AT, &m->attached);
	io_u64(io, WIRE_GENERATION_REPLY_AGE_MS_AT, &m->age_ms);
	io_digest(io, WIRE_GENERATION_REPLY_CONTENT_ID_AT, &m->content_id);
	io_text(io, WIRE_GENERATION_REPLY_MODEL_AT, m->model, sizeof m->model);
}

static void io_client_reply(struct io *io, struct wire_client_reply *m)
{
	io_u32(io, WIRE_CLIENT_REPLY_INDEX_AT, &m->index);
	io_u32(io, WIRE_CLIENT_REPLY_N_CLIENTS_AT, &m->n_clients);
	io_u32(io, WIRE_CLIENT_REPLY_UID_AT, &m->uid);
	io_u32(io, WIRE_CLIENT_REPLY_PID_AT, &m->pid);
	io_u64(io, WIRE_CLIENT_REPLY_GENERATION_AT, &m->generation);
	io_u64(io, WIRE_CLIENT_REPLY_UNREAD_FDS_AT, &m->unread_fds);
	io_u64(io, WIRE_CLIENT_REPLY_AGE_MS_AT, &m->age_ms);
	io_text(io, WIRE_CLIENT_REPLY_MODEL_AT, m->model, sizeof m->model);
}

/* Bodies of what steers, and asks about, the daemon. */
static void io_admin(struct io *io, struct wire_message *m)
{
	switch (m->type) {
	case WIRE_STEER:
		io_u32(io, WIRE_STEER_ACTION_AT, &m->steer.action);
		io_reserved(io, WIRE_STEER_RESERVED_AT, WIRE_STEER_RESERVED_SIZE);
		io_text(io, WIRE_STEER_MODEL_AT, m->steer.model, sizeof m->steer.model);
		break;
	case WIRE_STEERED:
		io_u32(io, WIRE_STEERED_N_MODELS_AT, &m->steered.n_models);
		io_reserved(io, WIRE_STEERED_RESERVED_AT, WIRE_STEERED_RESERVED_SIZE);
		break;
	case WIRE_GENERATION:
		io_u32(io, WIRE_GENERATION_INDEX_AT, &m->generation.index);
		io_reserved(io, WIRE_GENERATION_RESERVED_AT, WIRE_GENERATION_RESERVED_SIZE);
		break;
	case WIRE_GENERATION_REPLY:
		io_generation_reply(io, &m->generation_reply);
		break;
	case WIRE_CLIENT:
		io_u32(io, WIRE_CLIENT_INDEX_AT, &m->client.index);
		io_reserved(io, WIRE_CLIENT_RESERVED_AT, WIRE_CLIENT_RESERVED_SIZE);
		break;
	case WIRE_CLIENT_REPLY:
		io_client_reply(io, &m->client_reply);
		break;
	}
}

static void io_body(struct io *io, struct wire_message *m)
{
	switch (m->type) {
	case WIRE_ATTACH:
		io_reserved(io, WIRE_ATTACH_RESERVED_AT, WIRE_ATTACH_RESERVED_SIZE);
		io_text(io, WIRE_ATTACH_MODEL_AT, m->attach.model, sizeof m->attach.model);
		break;
	case WIRE_ATTACHED:
		io_attached(io, &m->attached);
		break;
	case WIRE_LOADING:
		io_text(io, WIRE_LOADING_MODEL_AT, m->loading.model, sizeof m->loading.model);
		break;
	case WIRE_REFUSED:
		io_u32(io, WIRE_REFUSED_REASON_AT, &m->refused.reason);
		io_reserved(io, WIRE_REFUSED_RESERVED_AT, WIRE_REFUSED_RESERVED_SIZE);
		io_text(io, WIRE_REFUSED_MESSAGE_AT, m->refused.message, sizeof m->refused.message);
		break;
	case WIRE_NEWS:
		io_u64(io, WIRE_NEWS_GENERATION_AT, &m->news.generation);
		io_u32(io, WIRE_NEWS_EPOCH_AT, &m->news.epoch);
		io_reserved(io, WIRE_NEWS_RESERVED_AT, WIRE_NEWS_RESERVED_SIZE);
		break;
	case WIRE_LIST:
		io_u32(io, WIRE_LIST_INDEX_AT, &m->list.index);
		io_reserved(io, WIRE_LIST_RESERVED_AT, WIRE_LIST_RESERVED_SIZE);
		break;
	case WIRE_LISTED:
		io_listed(io, &m->listed);
		break;
	case WIRE_STATUS_REPLY:
		io_status_reply(io, &m->status_reply);
		break;
	default:
		io_admin(io, m);
	}
}

uint32_t wire_encode(const struct wire_message *message, uint8_t *out)
{
	uint32_t n = wire_message_bytes(message->type);
	struct wire_message copy = *message;
	struct io io = { .bytes = gw_bytes_write(out, n), .encode = true };
	uint16_t version = WIRE_VERSION;

	memset(out, 0, n);
	gw_put_bytes(&io.bytes, WIRE_HEADER_MAGIC_AT, magic, sizeof magic);
	io_u16(&io, WIRE_HEADER_VERSION_AT, &version);
	io_u16(&io, WIRE_HEADER_TYPE_AT, &copy.type);
	io_u32(&io, WIRE_HEADER_MESSAGE_BYTES_AT, &n);
	io_u32(&io, WIRE_HEADER_REQUEST_AT, &copy.request);
	io_body(&io, &copy);
	return n;
}

/* Values that are in their range. */
static bool fields_are_valid(const struct wire_message *m)
{
	switch (m->type) {
	case WIRE_ATTACHED:
		return m->attached.generation && m->attached.model[0] &&
		       (m->attached.share == WIRE_SHARE_SEALED ||
			m->attached.share == WIRE_SHARE_FILE);
	case WIRE_REFUSED:
		return m->refused.reason >= WIRE_REASON_MALFORMED &&
		       m->refused.reason <= WIRE_REASON_PERMISSION;
	case WIRE_LISTED:
		return m->listed.state <= WIRE_STATE_UNLOADED && m->listed.busy <= 1 &&
		       m->listed.taken_back <= 1;
	case WIRE_STATUS_REPLY:
		return m->status_reply.backend == WIRE_BACKEND_IO_URING ||
		       m->status_reply.backend == WIRE_BACKEND_EPOLL;
	case WIRE_STEER:
		return m->steer.action >= WIRE_ACTION_RELOAD &&
		       m->steer.action <= WIRE_ACTION_UNLOAD &&
		       (m->steer.model[0] || m->steer.action == WIRE_ACTION_RELOAD);
	case WIRE_GENERATION_REPLY:
		return m->generation_reply.life <= WIRE_LIFE_RETIRED;
	default:
		return true;
	}
}

int wire_decode(const uint8_t *bytes, size_t n, struct wire_message *out, struct gw_error *error)
{
	struct io io = { .bytes = gw_bytes_read(bytes, n) };
	struct wire_message decoded = { 0 };
	uint32_t claimed;
	uint16_t version;

	if (n < WIRE_HEADER_BYTES)
		return gw_fail(error, GW_E_WIRE_LENGTH, n, "a message of %zu bytes, less than a header",
			       n);
	if (memcmp(bytes + WIRE_HEADER_MAGIC_AT, magic, sizeof magic) != 0)
		return gw_fail(error, GW_E_WIRE_MAGIC, WIRE_HEADER_MAGIC_AT,
			       "not a message of gpt2d's protocol");
	io_u16(&io, WIRE_HEADER_VERSION_AT, &version);
	io_u16(&io, WIRE_HEADER_TYPE_AT, &decoded.type);
	io_u32(&io, WIRE_HEADER_MESSAGE_BYTES_AT, &claimed);
	io_u32(&io, WIRE_HEADER_REQUEST_AT, &decoded.request);
	if (version != WIRE_VERSION) {
		out->request = decoded.request;
		return gw_fail(error, GW_E_WIRE_VERSION, WIRE_HEADER_VERSION_AT,
			       "version %u of the protocol; this release speaks version %d",
			       version, WIRE_VERSION);
	}
	if (wire_message_bytes(decoded.type) == 0)
		return gw_fail(error, GW_E_WIRE_TYPE, WIRE_HEADER_TYPE_AT,
			       "unknown type of message, %u", decoded.type);
	if (n != claimed || n != wire_message_bytes(decoded.type))
		return gw_fail(error, GW_E_WIRE_LENGTH, WIRE_HEADER_MESSAGE_BYTES_AT,
			       "a message of type %u with %zu bytes that says %u instead of %u",
			       decoded.type, n, claimed, wire_message_bytes(decoded.type));
	io_body(&io, &decoded);
	if (io.bad_reserved || io.bad_text || !fields_are_valid(&decoded))
		return gw_fail(error, GW_E_WIRE_FIELD, GW_NO_OFFSET,
			       "a message of type %u with %s", decoded.type,
			       io.bad_reserved ? "a reserved field that is not zero" :
			       io.bad_text     ? "a string that is not clean, terminated UTF-8" :
						 "a field out of its range");
	*out = decoded;
	return GW_OK;
}

void wire_put_text(char *field, size_t field_bytes, const char *text)
{
	gw_string_put((uint8_t *)field, field_bytes, text, strlen(text));
}
