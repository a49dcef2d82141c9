/* SPDX-License-Identifier: MIT */
/* The offset tables and limits of FORMAT.md and WIRE.md against the constants of the code. */
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/directory.h"
#include "format/limits.h"
#include "format/stored.h"
#include "format/superblock.h"
#include "format/wire.h"
#include "tests/support/fixture.h"

#define MAX_ROWS 64

struct row {
	const char *name; /* as in the code, upper case */
	unsigned offset, size;
};

struct table {
	const char *document, *name;
	unsigned start, end; /* the rows cover this range without a hole */
	struct row rows[MAX_ROWS];
};

#define X(name, offset, size) { #name, offset, size },
#define W(table, name, offset, size) { #name, offset, size },
static const struct table tables[] = {
	{ "FORMAT.md", "superblock", 0, GW_SUPERBLOCK_BYTES, { GW_SUPERBLOCK_FIELDS(X) } },
	{ "FORMAT.md", "provenance", 0, GW_PROVENANCE_BYTES, { GW_PROVENANCE_FIELDS(X) } },
	{ "FORMAT.md", "directory", 0, GW_ENTRY_BYTES, { GW_DIRECTORY_FIELDS(X) } },
	{ "FORMAT.md", "stored", 0, GW_STORED_ENTRY_BYTES, { GW_STORED_FIELDS(X) } },
	{ "WIRE.md", "header", 0, WIRE_HEADER_BYTES, { WIRE_HEADER_FIELDS(W) } },
	{ "WIRE.md", "attach", 16, 280, { WIRE_ATTACH_FIELDS(W) } },
	{ "WIRE.md", "attached", 16, 312, { WIRE_ATTACHED_FIELDS(W) } },
	{ "WIRE.md", "loading", 16, 272, { WIRE_LOADING_FIELDS(W) } },
	{ "WIRE.md", "refused", 16, 280, { WIRE_REFUSED_FIELDS(W) } },
	{ "WIRE.md", "news", 16, 32, { WIRE_NEWS_FIELDS(W) } },
	{ "WIRE.md", "list", 16, 24, { WIRE_LIST_FIELDS(W) } },
	{ "WIRE.md", "listed", 16, 1696, { WIRE_LISTED_FIELDS(W) } },
	{ "WIRE.md", "status_reply", 16, 456, { WIRE_STATUS_REPLY_FIELDS(W) } },
	{ "WIRE.md", "steer", 16, 280, { WIRE_STEER_FIELDS(W) } },
	{ "WIRE.md", "steered", 16, 24, { WIRE_STEERED_FIELDS(W) } },
	{ "WIRE.md", "generation", 16, 24, { WIRE_GENERATION_FIELDS(W) } },
	{ "WIRE.md", "generation_reply", 16, 352, { WIRE_GENERATION_REPLY_FIELDS(W) } },
	{ "WIRE.md", "client", 16, 24, { WIRE_CLIENT_FIELDS(W) } },
	{ "WIRE.md", "client_reply", 16, 312, { WIRE_CLIENT_REPLY_FIELDS(W) } },
	{ "WIRE.md", "board", 0, 24, { WIRE_BOARD_FIELDS(W) } },
};
#undef X
#undef W
#define N_TABLES (sizeof tables / sizeof tables[0])

/* The document as a string. */
static char *read_document(const char *name)
{
	char path[4096];
	size_t bytes;
	char *text;

	snprintf(path, sizeof path, "%s/format/%s", FIXTURE_SOURCE_ROOT, name);
	text = (char *)fixture_read(path, &bytes);
	text = realloc(text, bytes + 1);
	ck_assert_ptr_nonnull(text);
	text[bytes] = '\0';
	return text;
}

static const char *next_line(const char *at)
{
	const char *end = strchr(at, '\n');

	return end ? end + 1 : at + strlen(at);
}

static void check_row(const struct table *table, const struct row *row, const char *line)
{
	char name[64];
	unsigned offset, size;

	ck_assert_msg(sscanf(line, "| %u | %u | %63[a-z0-9_] |", &offset, &size, name) == 3,
		      "%s, %s: not a row: %.60s", table->document, table->name, line);
	for (char *c = name; *c; c++)
		*c = (char)toupper((unsigned char)*c);
	ck_assert_msg(row->name != NULL, "%s, %s: %s is not in the code", table->document,
		      table->name, name);
	ck_assert_str_eq(name, row->name);
	ck_assert_msg(offset == row->offset && size == row->size,
		      "%s, %s, %s: %u, %u in the text, %u, %u in the code", table->document,
		      table->name, name, offset, size, row->offset, row->size);
}

START_TEST(documents_say_what_the_code_does)
{
	const struct table *table = &tables[_i];
	char *text = read_document(table->document);
	char marker[64];
	const char *line;
	unsigned n = 0;

	snprintf(marker, sizeof marker, "<!-- table: %s -->\n", table->name);
	line = strstr(text, marker);
	ck_assert_msg(line != NULL, "%s has no table %s", table->document, table->name);
	line = next_line(line);
	ck_assert_int_eq(strncmp(line, "| offset | size | field |", 25), 0);
	line = next_line(next_line(line));
	for (; *line == '|'; line = next_line(line), n++)
		check_row(table, &table->rows[n], line);
	ck_assert_msg(table->rows[n].name == NULL, "%s, %s: %s is not in the text", table->document,
		      table->name, table->rows[n].name);
	free(text);
}
END_TEST

START_TEST(tables_have_no_hole)
{
	const struct table *table = &tables[_i];
	unsigned at = table->start;

	for (const struct row *row = table->rows; row->name; row++) {
		ck_assert_msg(row->offset == at, "%s, %s: %u expected", table->name, row->name, at);
		ck_assert_uint_gt(row->size, 0);
		at += row->size;
	}
	ck_assert_uint_eq(at, table->end);
}
END_TEST

START_TEST(every_table_is_compared)
{
	static const char *const documents[] = { "FORMAT.md", "WIRE.md" };
	unsigned n = 0;

	for (unsigned i = 0; i < 2; i++) {
		char *text = read_document(documents[i]);

		for (const char *at = text; (at = strstr(at, "<!-- table: ")) != NULL; at++)
			n++;
		free(text);
	}
	ck_assert_uint_eq(n, N_TABLES);
}
END_TEST

START_TEST(messages_have_their_tables_size)
{
	static const struct {
		uint16_t type;
		const char *table;
	} messages[] = {
		{ WIRE_ATTACH, "attach" },
		{ WIRE_ATTACHED, "attached" },
		{ WIRE_LOADING, "loading" },
		{ WIRE_REFUSED, "refused" },
		{ WIRE_NEWS, "news" },
		{ WIRE_LIST, "list" },
		{ WIRE_LISTED, "listed" },
		{ WIRE_STATUS, "header" },
		{ WIRE_STATUS_REPLY, "status_reply" },
		{ WIRE_STEER, "steer" },
		{ WIRE_STEERED, "steered" },
		{ WIRE_GENERATION, "generation" },
		{ WIRE_GENERATION_REPLY, "generation_reply" },
		{ WIRE_CLIENT, "client" },
		{ WIRE_CLIENT_REPLY, "client_reply" },
	};

	for (unsigned m = 0; m < sizeof messages / sizeof messages[0]; m++)
		for (unsigned i = 0; i < N_TABLES; i++)
			if (strcmp(tables[i].name, messages[m].table) == 0)
				ck_assert_uint_eq(wire_message_bytes(messages[m].type),
						  tables[i].end);
}
END_TEST

/* "2^40", "16384" or "2^31 − 1"; the minus sign is U+2212. */
static uint64_t evaluate(const char *text)
{
	char *end;
	uint64_t value = strtoull(text, &end, 10);

	if (*end == '^')
		value = UINT64_C(1) << strtoul(end + 1, &end, 10);
	if (strncmp(end, " \xe2\x88\x92 ", 5) == 0)
		value -= strtoull(end + 5, &end, 10);
	ck_assert_msg(strcmp(end, " |") == 0, "not a limit: %s", text);
	return value;
}

START_TEST(limits_are_those_of_the_code)
{
	static const struct {
		const char *name;
		uint64_t value;
	} limits[] = {
		{ "image_bytes", GW_MAX_IMAGE_BYTES },
		{ "n_blocks of a compressed pack", GW_MAX_STORED_BLOCKS },
		{ "n_tensors", GW_MAX_TENSORS },
		{ "rank", GW_MAX_RANK },
		{ "n_vocab, n_positions", GW_MAX_TABLE_ROWS },
		{ "n_embd", GW_MAX_N_EMBD },
		{ "n_layer, n_head", GW_MAX_N_LAYER },
	};
	char *text = read_document("FORMAT.md");
	char *line = strstr(text, "| limit | value |\n");
	size_t n = 0;

	ck_assert_ptr_nonnull(line);
	strtok(line, "\n");
	strtok(NULL, "\n");
	while ((line = strtok(NULL, "\n")) != NULL && *line == '|') {
		char *value = strstr(line + 2, " | ");

		ck_assert_ptr_nonnull(value);
		*value = '\0';
		ck_assert_uint_lt(n, sizeof limits / sizeof limits[0]);
		ck_assert_str_eq(line + 2, limits[n].name);
		ck_assert_uint_eq(evaluate(value + 3), limits[n].value);
		n++;
	}
	ck_assert_uint_eq(n, sizeof limits / sizeof limits[0]);
	ck_assert_uint_eq(GW_MAX_N_LAYER, GW_MAX_N_HEAD);
	free(text);
}
END_TEST

START_TEST(constants_in_the_prose)
{
	ck_assert_uint_eq(GW_BLOCK_BYTES, 262144);
	ck_assert_uint_eq(GW_MAX_STORED_BLOCK_BYTES, 262145);
	ck_assert_uint_eq(GW_PAGE_BYTES, 4096);
	ck_assert_uint_eq(GW_HUGE_PAGE_BYTES, 2097152);
	ck_assert_uint_eq(GW_LARGE_TENSOR_BYTES, 33554432);
	ck_assert_uint_eq(GW_ROW_ALIGN_BYTES, 64);
	ck_assert_uint_eq(GW_DIRECTORY_OFFSET, 8192);
	ck_assert_uint_eq(GW_VERSION_MAJOR, 1);
	ck_assert_uint_eq(GW_VERSION_MINOR, 0);
	ck_assert_uint_eq(WIRE_VERSION, 1);
	ck_assert_uint_eq(WIRE_REPLY_FDS, 2);
	ck_assert_uint_eq(sizeof WIRE_BOARD_MAGIC - 1, WIRE_BOARD_MAGIC_SIZE);
	ck_assert_uint_eq(WIRE_BOARD_OWNER_AT % 8, 0);
	ck_assert_uint_eq(WIRE_BOARD_EPOCH_AT, WIRE_BOARD_OWNER_AT + 4);
	ck_assert_uint_eq(wire_board_owner(UINT64_C(0x1122334455667788)), 0x55667788);
	ck_assert_uint_eq(wire_board_epoch(UINT64_C(0x1122334455667788)), 0x11223344);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("spec");
	TCase *tcase = fixture_case(suite, "spec");

	tcase_add_loop_test(tcase, documents_say_what_the_code_does, 0, N_TABLES);
	tcase_add_loop_test(tcase, tables_have_no_hole, 0, N_TABLES);
	tcase_add_test(tcase, every_table_is_compared);
	tcase_add_test(tcase, messages_have_their_tables_size);
	tcase_add_test(tcase, limits_are_those_of_the_code);
	tcase_add_test(tcase, constants_in_the_prose);
	return fixture_main(suite);
}
