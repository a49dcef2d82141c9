/* SPDX-License-Identifier: MIT */
#include "client/mapping.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "client/error.h"
#include "format/limits.h"

static_assert(sizeof(size_t) >= 8, "an image of up to 512 GiB is mapped whole");

#define IMAGE_SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define BOARD_SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

void gpt2c_unmap(struct gpt2c_mapping *mapping)
{
	if (mapping->data)
		munmap(mapping->data, mapping->size_bytes);
	*mapping = (struct gpt2c_mapping){ 0 };
}

static int fail_map(gpt2c_error *error, int sys_errno, const char *what, uint64_t size_bytes)
{
	/* EAGAIN: mlockall(MCL_FUTURE) and RLIMIT_MEMLOCK */
	int code = sys_errno == ENOMEM || sys_errno == EAGAIN ? GPT2C_E_MEMORY : GPT2C_E_SYSTEM;

	return gpt2c_fail_errno(error, code, sys_errno, "cannot map the %s of %llu bytes", what,
				(unsigned long long)size_bytes);
}

/* An address on a 2 MiB boundary with room for size_bytes, free a moment ago; NULL: none. */
static void *find_aligned(uint64_t size_bytes)
{
	uint64_t reserve_bytes = size_bytes + GW_HUGE_PAGE_BYTES;
	void *reserve = mmap(NULL, reserve_bytes, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uintptr_t aligned;

	if (reserve == MAP_FAILED)
		return NULL;
	munmap(reserve, reserve_bytes);
	aligned = ((uintptr_t)reserve + GW_HUGE_PAGE_BYTES - 1) & ~(GW_HUGE_PAGE_BYTES - 1);
	return (void *)aligned;
}

/*
 * Maps all of fd where huge pages can map too: virtual addresses agree with offsets modulo 2 MiB.
 * The place is given back before it is taken, and taken with NOREPLACE: mapping over it would leave
 * a hole of unknown ownership where the kernel unmaps first and fails then (hugetlb without free
 * pages). Where another thread was quicker, any place does.
 */
static int map_aligned(int fd, uint64_t size_bytes, int protection, int map_flags, const char *what,
		       struct gpt2c_mapping *out_mapping, gpt2c_error *error)
{
	void *data = MAP_FAILED;
	void *aligned = size_bytes >= GW_HUGE_PAGE_BYTES ? find_aligned(size_bytes) : NULL;

	if (aligned)
		data = mmap(aligned, size_bytes, protection, map_flags | MAP_FIXED_NOREPLACE, fd,
			    0);
	if (data == MAP_FAILED && (!aligned || errno == EEXIST))
		data = mmap(NULL, size_bytes, protection, map_flags, fd, 0);
	if (data == MAP_FAILED)
		return fail_map(error, errno, what, size_bytes);
	*out_mapping = (struct gpt2c_mapping){ .data = data, .size_bytes = size_bytes };
	return GPT2C_OK;
}

int gpt2c_map_private(uint64_t size_bytes, struct gpt2c_mapping *out_mapping, gpt2c_error *error)
{
	/* no MAP_NORESERVE: what a machine cannot have it is to refuse now */
	int result = map_aligned(-1, size_bytes, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, "image", out_mapping, error);

	/* a wish: where it is not granted, small pages do */
	if (result == 0)
		madvise(out_mapping->data, size_bytes, MADV_HUGEPAGE);
	return result;
}

static int map_image(int fd, uint64_t size_bytes, uint64_t flags, struct gpt2c_mapping *out_mapping,
		     gpt2c_error *error)
{
	if (flags & GPT2C_COPY_ON_WRITE)
		return map_aligned(fd, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, "image",
				   out_mapping, error);
	return map_aligned(fd, size_bytes, PROT_READ, MAP_SHARED, "image", out_mapping, error);
}

/*
 * Touches all pages once everything has been checked. MADV_POPULATE_READ says with an error what a
 * touch would say with a signal, and copies nothing under GPT2C_COPY_ON_WRITE, where MAP_POPULATE
 * would. Kernels before 5.14 do not have it (EINVAL) and fill the pages one by one, as without the
 * flag.
 */
static int populate(const struct gpt2c_mapping *mapping, uint64_t flags, gpt2c_error *error)
{
	if (!(flags & GPT2C_POPULATE) ||
	    madvise(mapping->data, mapping->size_bytes, MADV_POPULATE_READ) == 0 || errno == EINVAL)
		return GPT2C_OK;
	if (errno == EFAULT) /* what SIGBUS would be */
		return gpt2c_fail_errno(error, GPT2C_E_TRUNCATED, errno,
					"the image lost pages while it was opened");
	return fail_map(error, errno, "pages of the image", mapping->size_bytes);
}

/* Regular and read-only: a mapping of it can neither block nor be made writable. */
static int check_descriptor(int fd, const char *what, struct stat *out_status, gpt2c_error *error)
{
	int status_flags = fcntl(fd, F_GETFL);

	if (fstat(fd, out_status) < 0 || status_flags < 0)
		return gpt2c_fail_errno(error, GPT2C_E_SYSTEM, errno,
					"cannot look at the descriptor of the %s", what);
	if (!S_ISREG(out_status->st_mode))
		return gpt2c_fail(error, GPT2C_E_IMAGE, -1,
				  "the descriptor of the %s is not memory or a file", what);
	if ((status_flags & O_ACCMODE) != O_RDONLY || (status_flags & O_PATH))
		return gpt2c_fail(error, GPT2C_E_IMAGE, -1,
				  "the descriptor of the %s is not open for reading only", what);
	return GPT2C_OK;
}

/* Names of the wanted seals that are missing, for a message. */
static char *missing_seals(int wanted, int present, char *out, size_t out_bytes)
{
	static const struct {
		int seal;
		const char *name;
	} seals[] = {
		{ F_SEAL_WRITE, "WRITE" },
		{ F_SEAL_SHRINK, "SHRINK" },
		{ F_SEAL_GROW, "GROW" },
		{ F_SEAL_SEAL, "SEAL" },
	};
	size_t length = 0;

	out[0] = '\0';
	for (size_t i = 0; i < sizeof seals / sizeof seals[0]; i++)
		if (wanted & ~present & seals[i].seal)
			length += (size_t)snprintf(out + length, out_bytes - length, "%s%s",
						   length ? ", " : "", seals[i].name);
	return out;
}

/* Positive: unsealed, and that is allowed. */
static int check_image_seals(int fd, uint32_t share, uint64_t flags, gpt2c_error *error)
{
	int present = fcntl(fd, F_GET_SEALS);
	char names[64];

	if (present >= 0 && (present & IMAGE_SEALS) == IMAGE_SEALS)
		return GPT2C_OK;
	if (flags & GPT2C_ALLOW_UNSEALED)
		return 1;
	if (share == WIRE_SHARE_FILE)
		return gpt2c_fail(error, GPT2C_E_UNSEALED, -1,
				  "the daemon shares the pack's own file, which can be changed or "
				  "truncated under its readers; GPT2C_ALLOW_UNSEALED accepts that");
	return gpt2c_fail(error, GPT2C_E_UNSEALED, -1, "the image is not sealed; missing: %s",
			  missing_seals(IMAGE_SEALS, present < 0 ? 0 : present, names,
					sizeof names));
}

static int check_image_size(uint64_t actual_bytes, uint64_t said_bytes, gpt2c_error *error)
{
	if (said_bytes == 0 || said_bytes > GW_MAX_IMAGE_BYTES)
		return gpt2c_fail(error, GPT2C_E_IMAGE, -1, "an image of %llu bytes, at most %llu",
				  (unsigned long long)said_bytes,
				  (unsigned long long)GW_MAX_IMAGE_BYTES);
	if (actual_bytes < said_bytes || actual_bytes - said_bytes >= GW_HUGE_PAGE_BYTES)
		return gpt2c_fail(error, GPT2C_E_IMAGE, -1,
				  "the image has %llu bytes, the daemon announced %llu",
				  (unsigned long long)actual_bytes, (unsigned long long)said_bytes);
	return GPT2C_OK;
}

static int check_identity(const struct gw_pack *pack, const struct wire_attached *reply,
			  gpt2c_error *error)
{
	if (pack->superblock.image_bytes == reply->image_bytes &&
	    gw_digest_equal(&pack->superblock.content_id, &reply->content_id))
		return GPT2C_OK;
	return gpt2c_fail(error, GPT2C_E_IMAGE, -1,
			  "the image is not the one that the daemon announced");
}

/* Everything of the image but its tensors, which the daemon has verified. */
static int read_metadata(int fd, const struct gpt2c_mapping *mapping, bool sealed,
			 struct gw_pack **out_pack, gpt2c_error *error)
{
	struct gw_error cause = GW_ERROR_INIT;
	int result;

	if (sealed)
		result = gw_pack_open_memory(mapping->data, mapping->size_bytes,
					     GW_HUGE_PAGE_BYTES - 1, out_pack, &cause);
	else /* it may shrink at any moment: pread reports what a mapping punishes with SIGBUS */
		result = gw_pack_open_fd(fd, out_pack, &cause);
	return result < 0 ? gpt2c_fail_cause(error, &cause, "image") : GPT2C_OK;
}

int gpt2c_map_image(int fd, const struct wire_attached *reply, uint64_t flags,
		    struct gpt2c_mapping *out_mapping, struct gw_pack **out_pack,
		    uint32_t *out_flags, gpt2c_error *error)
{
	struct gpt2c_mapping mapping = { 0 };
	struct gw_pack *pack = NULL;
	struct stat status;
	int unsealed, result;

	result = check_descriptor(fd, "image", &status, error);
	if (result < 0)
		return result;
	unsealed = check_image_seals(fd, reply->share, flags, error);
	if (unsealed < 0)
		return unsealed;
	result = check_image_size((uint64_t)status.st_size, reply->image_bytes, error);
	if (result < 0)
		return result;
	result = map_image(fd, (uint64_t)status.st_size, flags, &mapping, error);
	if (result < 0)
		return result;
	result = read_metadata(fd, &mapping, !unsealed, &pack, error);
	if (result == 0)
		result = check_identity(pack, reply, error);
	if (result == 0)
		result = populate(&mapping, flags, error);
	if (result < 0) {
		gw_pack_free(pack);
		gpt2c_unmap(&mapping);
		return result;
	}
	*out_mapping = mapping;
	*out_pack = pack;
	*out_flags = unsealed ? 0 : GPT2C_INFO_SEALED;
	return GPT2C_OK;
}

int gpt2c_map_board(int fd, struct gpt2c_mapping *out_mapping, gpt2c_error *error)
{
	struct gpt2c_mapping mapping = { 0 };
	struct stat status;
	char names[64];
	int seals, result;

	result = check_descriptor(fd, "notice board", &status, error);
	if (result < 0)
		return result;
	if (status.st_size != (off_t)WIRE_BOARD_BYTES)
		return gpt2c_fail(error, GPT2C_E_IMAGE, -1,
				  "the notice board has %lld bytes instead of %llu",
				  (long long)status.st_size, (unsigned long long)WIRE_BOARD_BYTES);
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & BOARD_SEALS) != BOARD_SEALS)
		return gpt2c_fail(error, GPT2C_E_UNSEALED, -1,
				  "the notice board is not sealed; missing: %s",
				  missing_seals(BOARD_SEALS, seals < 0 ? 0 : seals, names,
						sizeof names));
	result = map_aligned(fd, WIRE_BOARD_BYTES, PROT_READ, MAP_SHARED, "notice board", &mapping,
			     error);
	if (result < 0)
		return result;
	if (memcmp(mapping.data + WIRE_BOARD_MAGIC_AT, WIRE_BOARD_MAGIC, WIRE_BOARD_MAGIC_SIZE) !=
	    0) {
		gpt2c_unmap(&mapping);
		return gpt2c_fail(error, GPT2C_E_IMAGE, -1,
				  "the second descriptor is no notice board");
	}
	*out_mapping = mapping;
	return GPT2C_OK;
}

int gpt2c_map_file(int fd, uint64_t size_bytes, uint64_t flags, struct gpt2c_mapping *out_mapping,
		   gpt2c_error *error)
{
	struct gpt2c_mapping mapping = { 0 };
	int result = map_image(fd, size_bytes, flags, &mapping, error);

	if (result < 0)
		return result;
	result = populate(&mapping, flags, error);
	if (result < 0) {
		gpt2c_unmap(&mapping);
		return result;
	}
	*out_mapping = mapping;
	return GPT2C_OK;
}
