/* SPDX-License-Identifier: MIT */
/*
 * seeds pack|wire|block FOLDER: writes small valid packs, one message of every type, or stored blocks
 * with the head that fuzz_block.c gives them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "format/block.h"
#include "format/bytes.h"
#include "format/wire.h"
#include "tests/support/fixture.h"

static const char *folder;

/* The pack called from, compressed. */
static void compress(const char *from, const char *to)
{
	size_t bytes, compressed_bytes;
	uint8_t *pack = fixture_read(fixture_path(folder, from), &bytes);
	uint8_t *compressed = fixture_compress(pack, bytes, &compressed_bytes);

	fixture_write(fixture_path(folder, to), compressed, compressed_bytes);
	free(pack);
	free(compressed);
}

START_TEST(packs)
{
	struct gw_tensor tensors[] = {
		fixture_tensor(GW_WTE_NAME, GW_F16, 5, 40),
		fixture_tensor(GW_WPE_NAME, GW_F32, 3, 40),
		fixture_tensor("h.0.ln_1.bias", GW_BF16, 7, 0),
		fixture_tensor("h.0.attn", GW_F32, 3, 2),
	};

	fixture_pack(fixture_path(folder, "smallest"), 1, 0, 1, GW_F32, GW_F32);
	fixture_pack(fixture_path(folder, "both"), 3, 2, 16, GW_F32, GW_BF16);
	fixture_pack(fixture_path(folder, "int8"), 70, 3, 9, GW_I8, GW_I8);
	fixture_pack_tensors(fixture_path(folder, "four"), tensors, 4);
	fixture_pack(fixture_path(folder, "rows"), 300, 3, 96, GW_F32, GW_F16);
	compress("smallest", "smallest-compressed");
	compress("both", "both-compressed");
	compress("int8", "int8-compressed");
	compress("four", "four-compressed");
	compress("rows", "rows-compressed");
	remove(fixture_path(folder, "rows")); /* too large for what it adds */
}
END_TEST

/* Fields that may not be 0. */
static struct wire_message message_of(uint16_t type)
{
	struct wire_message message = { .type = type, .request = type == WIRE_NEWS ? 0 : 7 };

	switch (type) {
	case WIRE_ATTACH:
		strcpy(message.attach.model, "gpt2");
		break;
	case WIRE_ATTACHED:
		message.attached = (struct wire_attached) { .generation = 1,
							    .image_bytes = 8192,
							    .share = WIRE_SHARE_SEALED,
							    .epoch = 1,
							    .model = "gpt2" };
		break;
	case WIRE_REFUSED:
		message.refused = (struct wire_refused) { .reason = WIRE_REASON_NO_MODEL,
							  .message = "there is no model" };
		break;
	case WIRE_LISTED:
		message.listed = (struct wire_listed) { .n_models = 1,
							.state = WIRE_STATE_SERVING,
							.model = "gpt2",
							.file = "gpt2.gpt2w" };
		break;
	case WIRE_STATUS_REPLY:
		message.status_reply = (struct wire_status_reply) { .pid = 1,
								    .backend = WIRE_BACKEND_EPOLL,
								    .release = "1" };
		break;
	case WIRE_STEER:
		message.steer = (struct wire_steer) { .action = WIRE_ACTION_UNLOAD, .model = "gpt2" };
		break;
	default:
		break;
	}
	return message;
}

START_TEST(messages)
{
	for (uint16_t type = WIRE_ATTACH; type <= WIRE_LAST_TYPE; type++) {
		struct wire_message message = message_of(type);
		uint8_t bytes[WIRE_MAX_MESSAGE_BYTES];
		char name[16];

		snprintf(name, sizeof name, "type-%u", type);
		fixture_write(fixture_path(folder, name), bytes, wire_encode(&message, bytes));
	}
}
END_TEST

/* Of every dtype: values with few exponents, one value, and bytes that do not shrink. */
START_TEST(blocks)
{
	static const char *const names[] = { "few", "one", "any" };
	uint8_t raw[1200], out[4 + GW_BLOCK_BOUND(sizeof raw)];
	struct gw_block_encoder *encoder;

	ck_assert_int_eq(gw_block_encoder_new(1, &encoder, NULL), 0);
	for (unsigned i = 0; i < 12; i++) {
		unsigned dtype = GW_F32 + i % 4, width = gw_block_width(dtype);
		struct gw_bytes head = gw_bytes_write(out, 4);
		size_t bytes;
		char name[32];

		for (size_t k = 0; k < sizeof raw; k++)
			raw[k] = i / 4 == 1 ? 0x3c : (uint8_t)(k * k * k * 0x9e37 >> 7);
		for (size_t k = width - 1; i / 4 == 0 && k < sizeof raw; k += width)
			raw[k] = 0x3b + raw[k] % 3;
		gw_put_u8(&head, 0, (uint8_t)(i % 4));
		gw_put(&head, 1, sizeof raw - width, 3);
		ck_assert_int_eq(gw_block_encode(encoder, dtype, 300, raw, sizeof raw, out + 4,
						 sizeof out - 4, &bytes, NULL),
				 0);
		snprintf(name, sizeof name, "%s-%u", names[i / 4], dtype);
		fixture_write(fixture_path(folder, name), out, 4 + bytes);
	}
	gw_block_encoder_free(encoder);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("seeds");

	if (argc != 3) {
		fprintf(stderr, "seeds pack|wire|block FOLDER\n");
		return EXIT_FAILURE;
	}
	folder = argv[2];
	if (mkdir(folder, 0777) != 0 && errno != EEXIST) {
		perror(folder);
		return EXIT_FAILURE;
	}
	/* argv[1] chooses the case */
	tcase_add_test(fixture_case(suite, "pack"), packs);
	tcase_add_test(fixture_case(suite, "wire"), messages);
	tcase_add_test(fixture_case(suite, "block"), blocks);
	return fixture_main(suite);
}
