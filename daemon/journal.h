/* SPDX-License-Identifier: MIT */
/*
 * Messages to systemd's journal with fields of their own: its native protocol, which is one datagram per
 * message (systemd.io/JOURNAL_NATIVE_PROTOCOL, stable since systemd 38). Spoken here, as sd_notify's is:
 * libsystemd would bring sd-bus, liblzma and libgcrypt into a daemon that needs forty lines of it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#define GD_JOURNAL_SOCKET "/run/systemd/journal/socket"
/* What a message and all its fields may take together; a longer one is not sent. */
#define GD_JOURNAL_BYTES 16384

struct gd_journal {
	int fd; /* -1: there is none */
	struct sockaddr_un address;
};

/* value may hold any bytes but NUL; name is a field's: capitals, digits, underscores. */
struct gd_journal_field {
	const char *name, *value;
};

/*
 * stream: what JOURNAL_STREAM says (systemd.exec(5)), or NULL. Where fd is not the very file that it
 * names, as after a redirection of standard error, there is no journal, and false is returned. path:
 * where it listens.
 */
bool gd_journal_init(struct gd_journal *journal, const char *stream, int fd, const char *path);
void gd_journal_deinit(struct gd_journal *journal);

/* Sends one message. Never waits. Thread-safe. Whether it was sent. */
bool gd_journal_send(const struct gd_journal *journal, const struct gd_journal_field *fields,
		     size_t n);
