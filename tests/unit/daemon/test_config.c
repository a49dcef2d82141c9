/* SPDX-License-Identifier: MIT */
/* The configuration file and the values of settings, at their edges. */
#include "daemon/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/listen.h"
#include "daemon/settings.h"
#include "tests/support/fixture.h"

static char *folder;
static struct gd_options options;
static struct gw_error error;

static void setup(void)
{
	folder = fixture_folder_new();
	gd_options_init(&options);
	error = (struct gw_error)GW_ERROR_INIT;
}

static void teardown(void)
{
	gd_options_deinit(&options);
	fixture_folder_free(folder);
}

static int read_bytes(const void *bytes, size_t n)
{
	gd_options_deinit(&options);
	gd_options_init(&options);
	fixture_write(fixture_path(folder, "c"), bytes, n);
	return gd_config_read(fixture_path(folder, "c"), false, &options, &error);
}

static int read_text(const char *text)
{
	return read_bytes(text, strlen(text));
}

/* The file is refused, with this after its name. */
static void refuse_bytes(const void *bytes, size_t n, const char *expected)
{
	char message[600];

	snprintf(message, sizeof message, "%s:%s", fixture_path(folder, "c"), expected);
	ck_assert_code(error, read_bytes(bytes, n), GW_E_ARGUMENT);
	ck_assert_str_eq(error.message, message);
}

static void refuse(const char *text, const char *expected)
{
	refuse_bytes(text, strlen(text), expected);
}

START_TEST(all_keys)
{
	ck_assert_code(error,
		       read_text("# comment\n"
				 "\n"
				 "[gpt2d]\n"
				 "socket=/run/x.sock\n"
				 "socket-mode = 0600 ; private\n"
				 "socket-group = 7\n"
				 "store\t=\t/srv/a b\n"
				 "model = a=/x;y\n"
				 "  ; indented comment\n"
				 "model: b=/z=1\n"
				 "[gpt2d] ; again\n"
				 "share = file\n"
				 "pages = small\n"
				 "event-loop = epoll\n"
				 "admin-group = 0\n"
				 "memory-max = 2G\n"
				 "retired-max = 0\n"
				 "max-connections = 65536\n"
				 "max-connections-per-user = 1\n"
				 "max-requests-per-user = 65536\n"
				 "max-unread-replies-per-user = 1048576\n"
				 "max-unread-fds-per-user = 2"),
		       GW_OK);
	ck_assert_str_eq(options.socket_path, "/run/x.sock");
	ck_assert_uint_eq(options.socket_mode, 0600);
	ck_assert_uint_eq(options.socket_group, 7);
	ck_assert_str_eq(options.directory, "/srv/a b");
	ck_assert_uint_eq(options.n_models, 2);
	ck_assert_str_eq(options.models[0], "a=/x;y");
	ck_assert_str_eq(options.models[1], "b=/z=1");
	ck_assert_int_eq(options.share, WIRE_SHARE_FILE);
	ck_assert_int_eq(options.pages, GD_PAGES_SMALL);
	ck_assert_int_eq(options.backend, GD_BACKEND_EPOLL);
	ck_assert_uint_eq(options.admin_group, 0);
	ck_assert_uint_eq(options.memory_max_bytes, UINT64_C(2) << 30);
	ck_assert_uint_eq(options.retired_max_bytes, 0);
	ck_assert_uint_eq(options.max_connections, 65536);
	ck_assert_uint_eq(options.max_connections_per_user, 1);
	ck_assert_uint_eq(options.max_requests_per_user, 65536);
	ck_assert_uint_eq(options.max_unread_replies_per_user, 1048576);
	ck_assert_uint_eq(options.max_unread_fds_per_user, 2);
	ck_assert_int_eq(options.origins[GD_SET_SOCKET], 4);
	ck_assert_int_eq(options.origins[GD_SET_MAX_CONNECTIONS_PER_USER], 19);
	ck_assert_str_eq(options.config_path, fixture_path(folder, "c"));
	for (size_t i = 0; i < GD_N_SETTINGS; i++)
		ck_assert_int_gt(options.origins[i], 0);
}
END_TEST

START_TEST(absent_and_unreadable)
{
	ck_assert_code(error, read_text(""), GW_OK);
	ck_assert_code(error, gd_config_read(fixture_path(folder, "no"), true, &options, &error),
		       GW_OK);
	ck_assert_code(error, gd_config_read(fixture_path(folder, "no"), false, &options, &error),
		       GW_E_IO);
	ck_assert_ptr_nonnull(strstr(error.message, "/no: No such file"));
	ck_assert_code(error, gd_config_read(folder, true, &options, &error), GW_E_IO);
	ck_assert_ptr_nonnull(strstr(error.message, "Is a directory"));
}
END_TEST

START_TEST(keys_and_sections_that_are_none)
{
	refuse("[gpt2d]\n\n#\nsokcet = /x\n", "4: there is no key sokcet; see gpt2d.conf(5)");
	refuse("[gpt2d]\nconfig = /x\n", "2: there is no key config; see gpt2d.conf(5)");
	refuse("[gpt2d]\nSocket = /x\n", "2: there is no key Socket; see gpt2d.conf(5)");
	refuse("[gpt2d]\n= /x\n", "2: there is no key ; see gpt2d.conf(5)");
	refuse("\nstore = /x\n", "2: store stands before [gpt2d]");
	refuse("[gpt2d]\n[models]\n", "2: [models] is no section; there is [gpt2d]");
	refuse("[gpt2d\nstore = /x\n", "1: [gpt2d is no section; there is [gpt2d]");
	refuse("[GPT2D]\n", "1: [GPT2D] is no section; there is [gpt2d]");
	refuse("[gpt2d] store = /x\n", "1: [gpt2d] is followed by something");
	refuse("[gpt2d]\nstore\n", "2: the line is no KEY = VALUE");
	refuse("[gpt2d]\nstore\nx = 1\n", "2: the line is no KEY = VALUE"); /* the first one */
	refuse("[gpt2d]\nstore = /x\n /y\n", "3: the line begins with white space");
	refuse("[gpt2d]\n\tstore = /x\n", "2: the line begins with white space");
	refuse("[gpt2d]\nstore = /x\npages = auto\nstore = /x\n",
	       "4: store is given twice, first in line 2");
	refuse("[gpt2d]\nmodel = a=/x\nmodel = aa=/x\nmodel = a=/y\n",
	       "4: model \"a\" is given twice");
}
END_TEST

START_TEST(hostile_bytes)
{
	static const char head[] = "[gpt2d]\nstore = ";
	const size_t used = strlen(head), room = GD_CONFIG_LINE_BYTES - strlen("store = ");
	char text[600];

	/* as long as a line may be, and one more; with and without a newline at the end */
	memset(text, 'x', sizeof text);
	memcpy(text, head, used);
	for (size_t newline = 0; newline < 2; newline++) {
		if (newline)
			text[used + room] = '\n';
		ck_assert_code(error, read_bytes(text, used + room + newline), GW_OK);
		ck_assert_uint_eq(strlen(options.directory), room);
		text[used + room] = 'x';
		if (newline)
			text[used + room + 1] = '\n';
		refuse_bytes(text, used + room + 1 + newline,
			     "2: the line is longer than 197 bytes");
	}
	refuse_bytes(text, sizeof text, "2: the line is longer than 197 bytes");
	memset(text, '#', 300); /* a comment too */
	refuse_bytes(text, 300, "1: the line is longer than 197 bytes");
	refuse_bytes("[gpt2d]\nstore = /x\0y\n", 22, "2: the line holds a NUL byte");
	refuse_bytes("\0", 1, "1: the line holds a NUL byte");
	refuse("[gpt2d]\r\n", "1: the line holds the control byte \\x0d");
	refuse("[gpt2d]\n#\x1b[2J\n", "2: the line holds the control byte \\x1b");
	refuse("[gpt2d]\n#\x7f\n", "2: the line holds the control byte \\x7f");
	refuse("[gpt2d]\nstore = /\xff\n", "2: the line is not UTF-8");
	refuse("[gpt2d]\nstore = /\xc3\n", "2: the line is not UTF-8");
	refuse("#\xed\xa0\x80\n", "1: the line is not UTF-8"); /* a surrogate */
	refuse("#\xc0\xaf\n", "1: the line is not UTF-8");     /* not the shortest form */
	ck_assert_code(error, read_text("\xef\xbb\xbf[gpt2d]\nstore = /x\n"), GW_OK);
	ck_assert_code(error, read_text("[gpt2d]\nstore = /\xc3\xbc\n"), GW_OK);
	ck_assert_str_eq(options.directory, "/\xc3\xbc");
}
END_TEST

START_TEST(values)
{
	static const struct {
		const char *line, *expected; /* NULL: taken */
	} cases[] = {
		{ "socket =", "socket is \"\", not a path" },
		{ "store = ; /x", "store is \"\", not a path" },
		{ "socket-mode = 777", NULL },
		{ "socket-mode = 0", NULL },
		{ "socket-mode = 1000", "socket-mode is \"1000\", not a number from 0 to 777" },
		{ "socket-mode = 8", "socket-mode is \"8\", not a number from 0 to 777" },
		{ "socket-mode = u=rw", "socket-mode is \"u=rw\", not a number from 0 to 777" },
		{ "socket-group = 4294967294", NULL },
		{ "socket-group = 4294967295",
		  "socket-group is \"4294967295\", not a number from 0 to 4294967294" },
		{ "admin-group = root", NULL },
		{ "admin-group = no such group",
		  "admin-group is \"no such group\", not the name of a group that there is" },
		{ "model = a", "model is \"a\", not NAME=FILE" },
		{ "model = =/x", "model is \"=/x\", not NAME=FILE" },
		{ "model = a=", "model is \"a=\", not NAME=FILE" },
		{ "share = sealed", NULL },
		{ "share = seal", "share is \"seal\", not sealed|file" },
		{ "pages = 2M", "pages is \"2M\", not auto|small" },
		{ "event-loop = poll", "event-loop is \"poll\", not auto|io_uring|epoll" },
		{ "event-loop = auto", NULL },
		{ "memory-max = 1", NULL },
		{ "memory-max = 0", "memory-max is \"0\", not a number from 1" },
		{ "memory-max = 0K", "memory-max is \"0K\", not a number from 1" },
		{ "memory-max = 18446744073709551614", NULL },
		{ "memory-max = 18446744073709551615",
		  "memory-max is \"18446744073709551615\", not a "
		  "number of bytes such as 4096, 512M or 2G" },
		{ "memory-max = 16777215T", NULL },
		{ "memory-max = 16777216T",
		  "memory-max is \"16777216T\", not a number of bytes such as 4096, 512M or 2G" },
		{ "memory-max = -1",
		  "memory-max is \"-1\", not a number of bytes such as 4096, 512M or 2G" },
		{ "retired-max = 1 G",
		  "retired-max is \"1 G\", not a number of bytes such as 4096, 512M or 2G" },
		{ "retired-max = 1GB",
		  "retired-max is \"1GB\", not a number of bytes such as 4096, 512M or 2G" },
		{ "retired-max = G",
		  "retired-max is \"G\", not a number of bytes such as 4096, 512M or 2G" },
		{ "max-connections = 0", "max-connections is \"0\", not a number from 1 to 65536" },
		{ "max-connections = 65537",
		  "max-connections is \"65537\", not a number from 1 to 65536" },
		{ "max-connections = 1e3",
		  "max-connections is \"1e3\", not a number from 1 to 65536" },
		{ "max-connections = \"1\"",
		  "max-connections is \"\"1\"\", not a number from 1 to 65536" },
		{ "max-requests-per-user = 0",
		  "max-requests-per-user is \"0\", not a number from 1 to 65536" },
		{ "max-unread-replies-per-user = 1048577",
		  "max-unread-replies-per-user is \"1048577\", not a number from 1 to 1048576" },
		{ "max-unread-fds-per-user = 1",
		  "max-unread-fds-per-user is \"1\", not a number from 2 to 65536" },
		{ "max-connections-per-user = 0",
		  "max-connections-per-user is \"0\", not a number from 1 to 65536" },
	};
	char text[300], expected[300];

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		snprintf(text, sizeof text, "[gpt2d]\n%s\n", cases[i].line);
		snprintf(expected, sizeof expected, "2: %s", cases[i].expected);
		if (cases[i].expected)
			refuse(text, expected);
		else
			ck_assert_code(error, read_text(text), GW_OK);
	}
}
END_TEST

START_TEST(models)
{
	const struct gd_setting *model = gd_setting_find("model");
	char text[600];

	/* a name as long as it may be, and one more: from the command line, as no line is so long */
	memset(text, 'n', sizeof text);
	strcpy(text + 255, "=/x");
	ck_assert_code(error, gd_setting_set(model, text, GD_FROM_COMMAND_LINE, &options, &error),
		       GW_OK);
	memset(text, 'n', sizeof text);
	strcpy(text + 256, "=/x");
	ck_assert_code(error, gd_setting_set(model, text, GD_FROM_COMMAND_LINE, &options, &error),
		       GW_E_ARGUMENT);
	ck_assert_ptr_nonnull(strstr(error.message, "a name of 1 to 255 bytes"));
	ck_assert_code(error, gd_setting_set(model, "a\nb=/x", 1, &options, &error), GW_E_ARGUMENT);
	ck_assert_ptr_nonnull(strstr(error.message, "model is \"a\\x0ab=/x\", not"));
	for (size_t i = 1; i < GD_MAX_MODELS; i++) {
		snprintf(text, sizeof text, "m%zu=/x", i);
		ck_assert_code(error, gd_setting_set(model, text, 1, &options, &error), GW_OK);
	}
	ck_assert_code(error, gd_setting_set(model, "more=/x", 1, &options, &error), GW_E_ARGUMENT);
	ck_assert_str_eq(error.message, "model: at most 1024");
	ck_assert_uint_eq(options.n_models, GD_MAX_MODELS);
	gd_setting_clear(model, &options);
	ck_assert_uint_eq(options.n_models, 0);
	ck_assert_int_eq(options.origins[GD_SET_MODEL], GD_FROM_DEFAULT);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("config");
	TCase *tcase = fixture_case(suite, "config");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, all_keys);
	tcase_add_test(tcase, absent_and_unreadable);
	tcase_add_test(tcase, keys_and_sections_that_are_none);
	tcase_add_test(tcase, hostile_bytes);
	tcase_add_test(tcase, values);
	tcase_add_test(tcase, models);
	return fixture_main(suite);
}
