/* SPDX-License-Identifier: MIT */
/* Mutators that know a format: what behind its lengths and checksums is reached, too. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* LLVMFuzzerMutate's type. */
typedef size_t fuzz_mutate(uint8_t *data, size_t bytes, size_t room_bytes);

/*
 * A zip archive: mostly changes the contents of one member by the given means and writes the
 * archive anew around it, with right sizes, CRCs and offsets; now and then bytes of the archive.
 */
size_t fuzz_zip_mutate(uint8_t *data, size_t bytes, size_t room_bytes, unsigned seed,
		       fuzz_mutate *mutate_member);

/* A NumPy array: changes its header, then mostly makes lengths fit, that of the data too. */
fuzz_mutate fuzz_npy_mutate;
