/* SPDX-License-Identifier: MIT */
#include "format/zstd_load.h"

#include <dlfcn.h>
#include <string.h>

#define OLDEST 10400

/* Where the i-th function's address goes. All members are pointers to functions, of one size. */
static const char *const names[] = {
	"ZSTD_versionNumber",  "ZSTD_createDCtx",	      "ZSTD_freeDCtx",
	"ZSTD_decompressDCtx", "ZSTD_findFrameCompressedSize", "ZSTD_isError",
	"ZSTD_getErrorName",
};
_Static_assert(sizeof(struct gw_zstd) == sizeof names / sizeof names[0] * sizeof(void (*)(void)),
	       "a name for each function");
_Static_assert(sizeof(void *) == sizeof(void (*)(void)), "POSIX: dlsym gives functions too");

int gw_zstd_load_from(const char *library, struct gw_zstd *out, struct gw_error *error)
{
	void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
	void *found[sizeof names / sizeof names[0]];
	struct gw_zstd zstd;

	if (!handle)
		return gw_fail(error, GW_E_FEATURE, GW_NO_OFFSET,
			       "the pack is compressed, and %s cannot be loaded", library);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		found[i] = dlsym(handle, names[i]);
		if (!found[i]) {
			dlclose(handle);
			return gw_fail(error, GW_E_FEATURE, GW_NO_OFFSET,
				       "the pack is compressed, and %s has no %s", library,
				       names[i]);
		}
	}
	memcpy(&zstd, found, sizeof zstd);
	if (zstd.version_number() < OLDEST) {
		unsigned version = zstd.version_number();

		dlclose(handle);
		return gw_fail(error, GW_E_FEATURE, GW_NO_OFFSET,
			       "the pack is compressed, and %s is %u, older than %u", library,
			       version, OLDEST);
	}
	*out = zstd;
	return 0;
}

int gw_zstd_load(struct gw_zstd *out, struct gw_error *error)
{
	return gw_zstd_load_from("libzstd.so.1", out, error);
}
