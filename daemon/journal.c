/* SPDX-License-Identifier: MIT */
#include "daemon/journal.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/digits.h"

/* Whether text is "DEVICE:INODE" of fd. */
static bool is_stream(const char *text, int fd)
{
	const char *colon = text ? strchr(text, ':') : NULL;
	size_t n = colon ? (size_t)(colon - text) : 0;
	struct stat status;
	uint64_t dev, ino;
	char digits[24];

	if (!colon || n >= sizeof digits)
		return false;
	memcpy(digits, text, n);
	digits[n] = '\0';
	return gd_digits(digits, UINT64_MAX, &dev) && gd_digits(colon + 1, UINT64_MAX, &ino) &&
	       fstat(fd, &status) == 0 && status.st_dev == dev && status.st_ino == ino;
}

bool gd_journal_init(struct gd_journal *journal, const char *stream, int fd, const char *path)
{
	*journal = (struct gd_journal) { .fd = -1, .address.sun_family = AF_UNIX };
	if (!is_stream(stream, fd) || strlen(path) >= sizeof journal->address.sun_path)
		return false;
	snprintf(journal->address.sun_path, sizeof journal->address.sun_path, "%s", path);
	journal->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return journal->fd >= 0;
}

void gd_journal_deinit(struct gd_journal *journal)
{
	if (journal->fd >= 0)
		close(journal->fd);
	journal->fd = -1;
}

/* Appends bytes; false: there is no room. */
static bool put(char *out, size_t *used, const void *bytes, size_t n)
{
	if (n > GD_JOURNAL_BYTES - *used)
		return false;
	memcpy(out + *used, bytes, n);
	*used += n;
	return true;
}

/* "NAME=VALUE", or, as a value with a newline would end there and begin another field: the name, the
 * value's length in 8 bytes, little-endian as all hosts of this are, and the value. */
static bool put_field(char *out, size_t *used, const struct gd_journal_field *field)
{
	const uint64_t n = strlen(field->value);
	const bool binary = strchr(field->value, '\n') != NULL;

	return put(out, used, field->name, strlen(field->name)) &&
	       put(out, used, binary ? "\n" : "=", 1) &&
	       (!binary || put(out, used, &n, sizeof n)) && put(out, used, field->value, n) &&
	       put(out, used, "\n", 1);
}

bool gd_journal_send(const struct gd_journal *journal, const struct gd_journal_field *fields,
		     size_t n)
{
	char message[GD_JOURNAL_BYTES];
	size_t used = 0;

	if (journal->fd < 0)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!put_field(message, &used, fields + i))
			return false;
	return sendto(journal->fd, message, used, MSG_DONTWAIT | MSG_NOSIGNAL,
		      (const struct sockaddr *)&journal->address, sizeof journal->address) >= 0;
}
