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

/* The lowest limit from group up to the root of its hierarchy, which is mounted at mount. */
static uint64_t limit_of(const char *root, const char *mount, char *group, const char *file)
{
	uint64_t least = UINT64_MAX;
	char path[PATH_MAX];

	for (;;) {
		int n = snprintf(path, sizeof path, "%s%s%s/%s", root, mount, group, file);
		char *slash = strrchr(group, '/');
		uint64_t limit = n > 0 && (size_t)n < sizeof path ? read_limit(path) : UINT64_MAX;

		if (limit < least)
			least = limit;
		if (!slash)
			return least;
		*slash = '\0';
	}
}

/* One line of /proc/self/cgroup: "0::/a/b", or "4:memory:/a/b" of version 1. */
static uint64_t limit_of_line(const char *root, char *line)
{
	char *controllers = strchr(line, ':'), *group;

	line[strcspn(line, "\n")] = '\0';
	group = controllers ? strchr(controllers + 1, ':') : NULL;
	if (!group)
		return UINT64_MAX;
	*controllers++ = '\0';
	*group++ = '\0';
	if (controllers[0] == '\0')
		return limit_of(root, "/sys/fs/cgroup", group, "memory.max");
	if (strcmp(controllers, "memory") == 0)
		return limit_of(root, "/sys/fs/cgroup/memory", group, "memory.limit_in_bytes");
	return UINT64_MAX;
}

static uint64_t limit_of_groups(const char *root)
{
	uint64_t least = UINT64_MAX;
	char path[PATH_MAX], line[PATH_MAX];
	FILE *file;

	snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
	file = fopen(path, "re");
	if (!file)
		return UINT64_MAX;
	while (fgets(line, sizeof line, file)) {
		uint64_t limit = limit_of_line(root, line);

		if (limit < least)
			least = limit;
	}
	fclose(file);
	return least;
}

static uint64_t share_of_machine(const char *root)
{
	char path[PATH_MAX], line[256];
	uint64_t kib = 0;
	FILE *file;

	snprintf(path, sizeof path, "%s/proc/meminfo", root);
	file = fopen(path, "re");
	if (!file)
		return UINT64_MAX;
	while (!kib && fgets(line, sizeof line, file))
		if (sscanf(line, "MemTotal: %" SCNu64 " kB", &kib) != 1)
			kib = 0;
	fclose(file);
	return kib && kib < UINT64_MAX / 1024 ? kib * 1024 / 100 * GD_MEMORY_SHARE_PERCENT : UINT64_MAX;
}

uint64_t gd_memory_limit(const char *root)
{
	uint64_t groups = limit_of_groups(root), machine = share_of_machine(root);

	return groups < machine ? groups : machine;
}
