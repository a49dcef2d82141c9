/* SPDX-License-Identifier: MIT */
/* Start order and exit codes: 0 done, 1 failed, 2 usage, 4 I/O. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "daemon/activation.h"
#include "daemon/board.h"
#include "daemon/journal.h"
#include "daemon/limits.h"
#include "daemon/log.h"
#include "daemon/options.h"
#include "daemon/memfd.h"
#include "daemon/memory.h"
#include "daemon/server.h"
#include "daemon/supervisor.h"
#include "daemon/turn.h"
#include "daemon/watch_files.h"
#include "format/endpoint.h"

struct daemon {
	struct gd_options options;
	struct gd_activation activation;
	struct gd_fdstore fdstore;
	struct gd_takeback takeback;
	struct gd_server server;
	struct gd_listener listener;
	struct gd_supervisor supervisor;
	struct gd_boards *boards;
	struct gd_watch signal_watch;
	struct gd_watch_files files;
};

static bool has_started;

/* Descriptors 0 to 2 are taken, so that nothing else gets their numbers and is written to. */
static void fill_standard_fds(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

static void set_limits(const struct gd_options *options, struct gd_limits *out)
{
	out->max_connections = options->max_connections;
	out->max_connections_per_user = options->max_connections_per_user;
	out->max_requests_per_user = options->max_requests_per_user;
	out->max_unread_replies_per_user = options->max_unread_replies_per_user;
	out->max_unread_fds_per_user = options->max_unread_fds_per_user;
}

static void signal_ready(struct gd_watch *watch, short events)
{
	struct daemon *daemon = watch->owner;
	struct signalfd_siginfo info;

	(void)events;
	while (read(watch->fd, &info, sizeof info) == sizeof info) {
		if (info.ssi_signo != SIGHUP) {
			gd_log_event(GD_EVENT_STOPPING, "stopping on %s",
				     sigabbrev_np((int)info.ssi_signo));
			gd_supervisor_stopping(&daemon->supervisor);
			gd_loop_stop(daemon->server.loop);
			return;
		}
		gd_log("looking at the packs again");
		gd_supervisor_reloading(&daemon->supervisor);
		gd_server_reload(&daemon->server);
		gd_supervisor_changed(&daemon->supervisor);
	}
}

/* Blocked before any thread starts, so that they all inherit it. */
static int open_signals(struct daemon *daemon, struct gw_error *error)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGIO, SIG_IGN);   /* somebody opens an image while we ask who has it open (lease.h) */
	signal(SIGXFSZ, SIG_IGN); /* a pack over RLIMIT_FSIZE is one that cannot be loaded, no end */
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return gw_fail_errno(error, errno, "cannot make a signalfd");
	daemon->signal_watch = (struct gd_watch){ .fd = fd, .events = POLLIN,
						  .ready = signal_ready, .owner = daemon };
	return gd_loop_add(daemon->server.loop, &daemon->signal_watch, error);
}

/* What the directory's packs may take, in bytes and in descriptors. */
static struct gd_store_options store_options_of(struct daemon *daemon)
{
	const struct gd_options *options = &daemon->options;

	return (struct gd_store_options){ .directory = options->directory,
					  .share = options->share,
					  .small_pages = options->pages == GD_PAGES_SMALL,
					  .max_bytes = options->memory_max_bytes,
					  .max_retired_bytes = options->retired_max_bytes,
					  .max_retired = gd_options_reserved_fds() / 4,
					  .fdstore = &daemon->fdstore,
					  .takeback = &daemon->takeback };
}

static void files_changed(void *context)
{
	struct daemon *daemon = context;
	struct gw_error error = GW_ERROR_INIT;

	if (gd_store_scan(daemon->server.store, false, &error))
		gd_log("%s", error.message);
}

/* Before the first scan, so that nothing comes unseen in between; without it SIGHUP is left. */
static void open_files(struct daemon *daemon)
{
	struct gw_error error = GW_ERROR_INIT;

	if (!daemon->options.directory)
		return;
	if (gd_watch_files_init(&daemon->files, daemon->server.loop, daemon->options.directory,
				files_changed, daemon, &error))
		gd_log("%s: new packs are noticed on SIGHUP alone", error.message);
	else
		daemon->server.files = &daemon->files;
}

/* The store's events: the connections' affair first, then the service manager's. */
static void published(void *context, struct gd_model *model)
{
	struct daemon *daemon = context;

	gd_server_published(&daemon->server, model);
	gd_supervisor_changed(&daemon->supervisor);
}

static void settled(void *context, struct gd_model *model)
{
	struct daemon *daemon = context;

	gd_server_settled(&daemon->server, model);
	gd_supervisor_changed(&daemon->supervisor);
}

static void removed(void *context, struct gd_model *model)
{
	struct daemon *daemon = context;

	gd_server_removed(&daemon->server, model);
	gd_supervisor_changed(&daemon->supervisor);
}

static int open_store(struct daemon *daemon, struct gw_error *error)
{
	const struct gd_options *options = &daemon->options;
	const struct gd_store_options store_options = store_options_of(daemon);
	const struct gd_store_events events = { .published = published,
						.settled = settled,
						.removed = removed,
						.context = daemon };
	int code = gd_store_new(&store_options, &events, daemon->server.loop, daemon->boards,
				&daemon->server.store, error);

	for (size_t i = 0; i < options->n_models && !code; i++) {
		const char *equals = strchr(options->models[i], '=');
		char *name = strndup(options->models[i], (size_t)(equals - options->models[i]));

		if (!name)
			return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET, "no memory");
		code = gd_store_pin(daemon->server.store, name, equals + 1, error);
		free(name);
	}
	if (!code)
		open_files(daemon);
	if (!code)
		code = gd_store_scan(daemon->server.store, true, error);
	if (!code) {
		gd_store_take_retired(daemon->server.store);
		gd_takeback_deinit(&daemon->takeback);
	}
	return code;
}

/* Takes the first listening socket that the service manager passed, but none that a daemon stored. */
static void adopt_socket(struct daemon *daemon)
{
	for (size_t i = 0; i < daemon->activation.n; i++) {
		struct gd_passed *passed = daemon->activation.passed + i;
		struct gw_error error = GW_ERROR_INIT;

		if (gd_fdname_is_ours(passed->name))
			continue;
		if (daemon->listener.fd >= 0)
			gd_takeback_refuse(&daemon->takeback, i, "one socket is served");
		else if (gd_listener_adopt(&daemon->listener, passed->fd, &error))
			gd_takeback_refuse(&daemon->takeback, i, error.message);
		else
			gd_takeback_take(&daemon->takeback, i);
	}
}

/* Takes back the socket at path that a daemon before us made. */
static void take_socket(struct daemon *daemon, const char *path)
{
	const struct gd_options *options = &daemon->options;
	const struct gd_fdname *name;
	size_t at = 0;

	while (daemon->listener.fd < 0 &&
	       (name = gd_takeback_next(&daemon->takeback, GD_FDNAME_SOCKET, NULL, &at))) {
		struct gw_error error = GW_ERROR_INIT;
		int fd = gd_takeback_fd(&daemon->takeback, at);

		if (gd_listener_take(&daemon->listener, fd, path, name->device, name->inode,
				     options->socket_mode, options->socket_group, &error)) {
			gd_takeback_refuse(&daemon->takeback, at, error.message);
			continue;
		}
		gd_takeback_take(&daemon->takeback, at);
		gd_fdstore_put_back(&daemon->fdstore, &daemon->listener.kept, name, fd);
	}
}

/* A socket of our own, that of before if there is one. */
static int bind_socket(struct daemon *daemon, struct gw_error *error)
{
	const struct gd_options *options = &daemon->options;
	const char *path = options->socket_path;
	char usual[WIRE_SOCKET_PATH_BYTES];
	int code = path ? GW_OK : wire_daemon_socket_path(usual, error);

	if (code)
		return code;
	path = path ? path : usual;
	take_socket(daemon, path);
	if (daemon->listener.fd >= 0)
		return GW_OK;
	code = gd_listener_init(&daemon->listener, path, options->socket_mode,
				options->socket_group, error);
	if (!code)
		gd_listener_keep(&daemon->listener, &daemon->fdstore);
	return code;
}

static int open_socket(struct daemon *daemon, struct gw_error *error)
{
	int code = GW_OK;

	adopt_socket(daemon);
	if (daemon->listener.fd < 0)
		code = bind_socket(daemon, error);
	else
		code = gd_listener_check(&daemon->listener,
					 daemon->options.origins[GD_SET_SOCKET_MODE] ?
						 daemon->options.socket_mode :
						 (mode_t)-1,
					 daemon->options.socket_group, error);
	if (code)
		return code;
	daemon->server.listen_watch = (struct gd_watch){ .fd = daemon->listener.fd,
							 .events = POLLIN,
							 .ready = gd_server_accept,
							 .owner = &daemon->server };
	daemon->server.pause_watch = (struct gd_watch){
		.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
		.events = POLLIN,
		.ready = gd_server_resume,
		.owner = &daemon->server,
	};
	if (daemon->server.pause_watch.fd < 0)
		return gw_fail_errno(error, errno, "cannot make a timer");
	code = gd_loop_add(daemon->server.loop, &daemon->server.pause_watch, error);
	return code ? code :
		      gd_loop_add(daemon->server.loop, &daemon->server.listen_watch, error);
}

static void tell_start(const struct daemon *daemon)
{
	const struct gd_server *server = &daemon->server;

	gd_log_event(GD_EVENT_STARTED, "listening at %s, waiting with %s", daemon->listener.path,
		     gd_loop_backend(server->loop) == WIRE_BACKEND_IO_URING ? "io_uring" : "epoll");
	if (gd_loop_note(server->loop)[0])
		gd_log("%s", gd_loop_note(server->loop));
	if (daemon->options.share == WIRE_SHARE_FILE)
		gd_log("--share file: whoever truncates a pack ends the programs that read it");
	if (gd_store_count(server->store) == 0)
		gd_log("no pack in %s yet", daemon->options.directory);
	if (daemon->options.config_path)
		gd_log("configured by %s", daemon->options.config_path);
	gd_log("for programs that use it: export GPT2D_SOCKET=%s", daemon->listener.path);
}

static int run(struct daemon *daemon, struct gw_error *error)
{
	struct gd_server *server = &daemon->server;
	int code;

	server->start_ms = wire_now_ms();
	server->admin_group = daemon->options.admin_group;
	server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	set_limits(&daemon->options, &server->quota.limits);
	code = gd_loop_new(daemon->options.backend, &server->loop, error);
	if (code)
		return code;
	gd_reopen_prepare();
	gd_turn_init(server);
	if ((code = open_signals(daemon, error)) || (code = gd_boards_new(&daemon->boards, error)) ||
	    (code = gd_fdstore_init(&daemon->fdstore, server->loop, getenv("NOTIFY_SOCKET"), error)))
		return code;
	gd_takeback_init(&daemon->takeback, &daemon->activation, &daemon->fdstore);
	if ((code = open_socket(daemon, error)) || (code = open_store(daemon, error)))
		return code;
	tell_start(daemon);
	code = gd_supervisor_init(&daemon->supervisor, server->loop, server->store, error);
	if (code)
		return code;
	has_started = true;
	return gd_loop_run(server->loop, error);
}

/*
 * At exit. A client that waits at the manager's socket has us started again as soon as we have ended; so who
 * could not start ends a little later, not ten times a second.
 */
static void linger(void)
{
	const struct timespec pause = { .tv_sec = GD_LINGER_S };

	if (!has_started && getenv("NOTIFY_SOCKET"))
		nanosleep(&pause, NULL);
}

/* In the reverse order, whatever there is. */
static void stop(struct daemon *daemon)
{
	struct gd_server *server = &daemon->server;

	if (!server->loop)
		return;
	gd_fdstore_leave(&daemon->fdstore);
	gd_loop_remove(server->loop, &server->listen_watch);
	gd_loop_remove(server->loop, &server->pause_watch);
	if (server->pause_watch.fd >= 0)
		close(server->pause_watch.fd);
	gd_listener_deinit(&daemon->listener);
	gd_server_close_peers(server);
	gd_supervisor_deinit(&daemon->supervisor);
	gd_watch_files_deinit(&daemon->files);
	gd_store_free(server->store);
	gd_boards_free(daemon->boards);
	gd_fdstore_deinit(&daemon->fdstore);
	gd_loop_remove(server->loop, &daemon->signal_watch);
	if (daemon->signal_watch.fd >= 0)
		close(daemon->signal_watch.fd);
	if (server->spare_fd >= 0)
		close(server->spare_fd);
	gd_reopen_release();
	gd_loop_free(server->loop);
}

static int exit_code(int code)
{
	return code == GW_OK ? 0 : code == GW_E_ARGUMENT ? 2 : code == GW_E_IO ? 4 : 1;
}

int main(int argc, char **argv)
{
	static struct daemon daemon = { .listener = { .fd = -1, .lock_fd = -1 },
					.server.pause_watch = { .fd = -1 },
					.signal_watch = { .fd = -1 } };
	struct gw_error error = GW_ERROR_INIT;
	int code;

	gd_activation_init(&daemon.activation); /* before a descriptor of ours gets one's number */
	fill_standard_fds();
	gd_log_open(getenv("JOURNAL_STREAM"), GD_JOURNAL_SOCKET);
	atexit(linger);
	gd_options_parse(argc, argv, &daemon.options);
	gd_options_derive(&daemon.options);
	if (daemon.options.check_config) {
		has_started = true;
		gd_options_print(&daemon.options, stdout);
		gd_activation_deinit(&daemon.activation);
		gd_log_close();
		gd_options_deinit(&daemon.options);
		return fflush(stdout) ? 4 : 0;
	}
	code = run(&daemon, &error);
	if (code)
		gd_log_event(GD_EVENT_FAILED, "%s", error.message);
	stop(&daemon);
	gd_options_deinit(&daemon.options);
	gd_log_close();
	return exit_code(code);
}
