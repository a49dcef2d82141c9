/* SPDX-License-Identifier: MIT */
#include "daemon/memory.h"

#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "daemon/limits.h"

/* The number that a file begins with; UINT64_MAX: "max", nothing, or no file. */
static uint64_t read_limit(const char *path)
{
	FILE *file = fopen(path, "re");
	uint64_t limit = UINT64_MAX;

	if (!file)
		return UINT64_MAX;
	if (fscanf(file, "%" SCNu64, &limit) != 1)
		limit = UINT64_MAX;
	fclose(file);
	return limit;
}

/* The number of the line that begins with key, in a file of lines "KEY NUMBER"; 0: there is none. */
static uint64_t read_entry(const char *path, const char *key)
{
	size_t n = strlen(key);
	char line[256];
	uint64_t value = 0;
	FILE *file = fopen(path, "re");

	if (!file)
		return 0;
	while (fgets(line, sizeof line, file))
		if (strncmp(line, key, n) == 0 && sscanf(line + n, " %" SCNu64, &value) == 1)
			break;
	fclose(file);
	return value;
}

/* How the two versions of control groups name things. */
struct version {
	const char *mount, *limit, *usage, *inactive, *active;
};

static const struct version versions[] = {
	{ "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
	  "total_inactive_file ", "total_active_file " },
	{ "/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file ", "active_file " },
};

/* What a group may take, or may take more: pages of files give way. */
static uint64_t limit_of_group(const struct version *v, const char *folder, bool more)
{
	uint64_t limit, usage, files;
	char path[PATH_MAX];

	snprintf(path, sizeof path, "%s/%s", folder, v->limit);
	limit = read_limit(path);
	if (!more || limit == UINT64_MAX)
		return limit;
	snprintf(path, sizeof path, "%s/%s", folder, v->usage);
	usage = read_limit(path);
	if (usage == UINT64_MAX)
		return limit;
	snprintf(path, sizeof path, "%s/memory.stat", folder);
	files = read_entry(path, v->inactive) + read_entry(path, v->active);
	usage = usage > files ? usage - files : 0;
	return limit > usage ? limit - usage : 0;
}

/* The lowest one from group up to the root of its hierarchy. */
static uint64_t limit_of(const char *root, const struct version *v, char *group, bool more)
{
	uint64_t least = UINT64_MAX;
	char folder[PATH_MAX - NAME_MAX];

	for (;;) {
		int n = snprintf(folder, sizeof folder, "%s%s%s", root, v->mount, group);
		char *slash = strrchr(group, '/');
		uint64_t limit = n > 0 && (size_t)n < sizeof folder
					 ? limit_of_group(v, folder, more)
					 : UINT64_MAX;

		if (limit < least)
			least = limit;
		if (!slash)
			return least;
		*slash = '\0';
	}
}

/* One line of /proc/self/cgroup: "0::/a/b", or "4:memory:/a/b" of version 1. */
static uint64_t limit_of_line(const char *root, char *line, bool more)
{
	char *controllers = strchr(line, ':'), *group;

	line[strcspn(line, "\n")] = '\0';
	group = controllers ? strchr(controllers + 1, ':') : NULL;
	if (!group)
		return UINT64_MAX;
	*controllers++ = '\0';
	*group++ = '\0';
	if (controllers[0] == '\0')
		return limit_of(root, &versions[1], group, more);
	if (strcmp(controllers, "memory") == 0)
		return limit_of(root, &versions[0], group, more);
	return UINT64_MAX;
}

static uint64_t limit_of_groups(const char *root, bool more)
{
	uint64_t least = UINT64_MAX;
	char path[PATH_MAX], line[PATH_MAX];
	FILE *file;

	snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
	file = fopen(path, "re");
	if (!file)
		return UINT64_MAX;
	while (fgets(line, sizeof line, file)) {
		uint64_t limit = limit_of_line(root, line, more);

		if (limit < least)
			least = limit;
	}
	fclose(file);
	return least;
}

/* A number of /proc/meminfo in bytes; UINT64_MAX: it is not there. */
static uint64_t of_machine(const char *root, const char *key)
{
	char path[PATH_MAX];
	uint64_t kib;

	snprintf(path, sizeof path, "%s/proc/meminfo", root);
	kib = read_entry(path, key);
	return kib && kib < UINT64_MAX / 1024 ? kib * 1024 : UINT64_MAX;
}

uint64_t gd_memory_limit(const char *root)
{
	uint64_t groups = limit_of_groups(root, false), machine = of_machine(root, "MemTotal:");

	if (machine != UINT64_MAX)
		machine = machine / 100 * GD_MEMORY_SHARE_PERCENT;
	return groups < machine ? groups : machine;
}

int gd_memory_check(const char *root, uint64_t bytes, struct gw_error *error)
{
	uint64_t groups = limit_of_groups(root, true);
	uint64_t machine = of_machine(root, "MemAvailable:");

	if (bytes <= groups && bytes <= machine)
		return GW_OK;
	return gw_fail(error, GW_E_MEMORY, GW_NO_OFFSET,
		       "no memory for an image of %" PRIu64 " bytes: %s has %" PRIu64 " left", bytes,
		       groups < machine ? "the control group" : "the machine",
		       groups < machine ? groups : machine);
}
