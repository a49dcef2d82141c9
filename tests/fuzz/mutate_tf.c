/* SPDX-License-Identifier: MIT */
/*
 * A mutator that knows TensorFlow's checkpoints: it changes an entry of the index, or the bytes of
 * a block, and writes the table anew around it, with right checksums and handles; mostly the values
 * are then made to fit what the entries say, and the entries' checksums the values.
 */
#include <stdbool.h>
#include <string.h>

#include "format/bytes.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tf.h"
#include "tools/pack/crc32c.h"
#include "tools/pack/leveldb_table.h"
#include "tools/pack/protobuf.h"
#include "tools/pack/snappy.h"
#include "tools/pack/varint.h"

#define MAX_BLOCKS 8
#define MAX_BLOCK_BYTES 8192
#define MAX_ENTRIES 64
#define MAX_KEY_BYTES 256
#define MAX_VALUE_BYTES 256
#define MAX_VALUES_BYTES 16384
#define TRAILER_BYTES 5

struct entry {
	uint8_t key[MAX_KEY_BYTES], value[MAX_VALUE_BYTES];
	size_t key_bytes, value_bytes;
};

struct block {
	uint8_t bytes[MAX_BLOCK_BYTES];
	size_t n;
	bool packed;                /* with snappy */
	uint8_t key[MAX_KEY_BYTES]; /* the index's */
	size_t key_bytes;
};

/* An index, taken apart. Static, as large as it is. */
struct table {
	struct block blocks[MAX_BLOCKS], meta, index;
	size_t n_blocks;
	bool packed_index;
	uint8_t values[MAX_VALUES_BYTES];
	size_t values_bytes;
};

struct fuzz_tf fuzz_tf_split(const uint8_t *data, size_t bytes)
{
	struct gw_bytes head = gw_bytes_read(data, bytes);
	size_t at = FUZZ_TF_HEAD_BYTES;
	struct fuzz_tf input;

	for (unsigned i = 0; i < FUZZ_TF_PARTS; i++) {
		size_t n = i < FUZZ_TF_VALUES ? gw_get_u16(&head, 2 * i) : bytes;

		input.parts[i] = data + at;
		input.bytes[i] = n < bytes - at ? n : bytes - at;
		at += input.bytes[i];
	}
	return input;
}

static void put_varint(uint8_t *out, size_t *at, uint64_t value)
{
	for (; value > 127; value >>= 7)
		out[(*at)++] = (uint8_t)(value | 0x80);
	out[(*at)++] = (uint8_t)value;
}

/* The entries of a block that is not packed; their number, 0 if it is too far from being one. */
static size_t read_entries(const struct block *block, struct entry *entries)
{
	struct gw_bytes window = gw_bytes_read(block->bytes, block->n);
	uint64_t restarts = block->n < 4 ? 0 : gw_get_u32(&window, block->n - 4);
	uint64_t shared, fresh, value_bytes;
	size_t n = 0, end, at = 0;

	if (block->n < 8 || restarts > (block->n - 4) / 4)
		return 0;
	end = block->n - 4 - restarts * 4;
	for (; at < end && n < MAX_ENTRIES; n++) {
		struct entry *entry = &entries[n];

		if (!pack_varint(block->bytes, end, 32, &at, &shared) ||
		    !pack_varint(block->bytes, end, 32, &at, &fresh) ||
		    !pack_varint(block->bytes, end, 32, &at, &value_bytes) || fresh > end - at ||
		    value_bytes > end - at - fresh || shared + fresh > MAX_KEY_BYTES ||
		    value_bytes > MAX_VALUE_BYTES || shared > (n ? entry[-1].key_bytes : 0))
			return 0;
		if (shared)
			memcpy(entry->key, entry[-1].key, shared);
		memcpy(entry->key + shared, block->bytes + at, fresh);
		memcpy(entry->value, block->bytes + at + fresh, value_bytes);
		entry->key_bytes = shared + fresh;
		entry->value_bytes = value_bytes;
		at += fresh + value_bytes;
	}
	return at == end ? n : 0;
}

/* With a restart point at every interval-th entry. False: no room. */
static bool write_entries(struct block *block, const struct entry *entries, size_t n,
			  size_t interval)
{
	struct gw_bytes out = gw_bytes_write(block->bytes, sizeof block->bytes);
	uint32_t points[MAX_ENTRIES + 1] = { 0 };
	size_t at = 0, n_points = 0;

	for (size_t i = 0; i < n; i++) {
		const struct entry *entry = &entries[i];
		size_t shared = 0;

		if (MAX_BLOCK_BYTES - at <
		    4 * MAX_ENTRIES + 8 + 15 + MAX_KEY_BYTES + MAX_VALUE_BYTES)
			return false;
		if (i % interval == 0)
			points[n_points++] = (uint32_t)at;
		else
			while (shared < entry->key_bytes && shared < entry[-1].key_bytes &&
			       entry->key[shared] == entry[-1].key[shared])
				shared++;
		put_varint(block->bytes, &at, shared);
		put_varint(block->bytes, &at, entry->key_bytes - shared);
		put_varint(block->bytes, &at, entry->value_bytes);
		memcpy(block->bytes + at, entry->key + shared, entry->key_bytes - shared);
		at += entry->key_bytes - shared;
		memcpy(block->bytes + at, entry->value, entry->value_bytes);
		at += entry->value_bytes;
	}
	n_points += n_points == 0;
	for (size_t i = 0; i < n_points; i++, at += 4)
		gw_put_u32(&out, at, points[i]);
	gw_put_u32(&out, at, (uint32_t)n_points);
	block->n = at + 4;
	block->packed = false;
	return true;
}

static bool unpack(struct block *block)
{
	static uint8_t packed[MAX_BLOCK_BYTES];
	size_t n;

	if (!block->packed)
		return true;
	memcpy(packed, block->bytes, block->n);
	if (!pack_snappy_size(packed, block->n, &n) || n > sizeof block->bytes ||
	    !pack_snappy_unpack(packed, block->n, block->bytes, n))
		return false;
	block->n = n;
	block->packed = false;
	return true;
}

/* As one literal. */
static void pack(struct block *block)
{
	uint8_t head[8];
	size_t at = 0;

	put_varint(head, &at, block->n);
	head[at++] = 61 << 2; /* its length in two bytes */
	head[at++] = (uint8_t)(block->n - 1);
	head[at++] = (uint8_t)((block->n - 1) >> 8);
	if (block->packed || block->n == 0 || at + block->n > sizeof block->bytes)
		return;
	memmove(block->bytes + at, block->bytes, block->n);
	memcpy(block->bytes, head, at);
	block->n += at;
	block->packed = true;
}

/* The block that a handle at data[*at] describes. */
static bool read_block(const uint8_t *index, size_t bytes, const uint8_t *data, size_t n,
		       size_t *at, struct block *out)
{
	uint64_t offset, size;

	if (!pack_varint(data, n, 64, at, &offset) || !pack_varint(data, n, 64, at, &size) ||
	    size > sizeof out->bytes || offset > bytes || size + TRAILER_BYTES > bytes - offset)
		return false;
	memcpy(out->bytes, index + offset, size);
	out->n = size;
	out->packed = index[offset + size] == 1;
	return true;
}

static bool take_apart(const struct fuzz_tf *input, struct table *table)
{
	static struct entry entries[MAX_ENTRIES];
	const uint8_t *index = input->parts[FUZZ_TF_INDEX], *footer;
	size_t bytes = input->bytes[FUZZ_TF_INDEX], at = 0, n;

	if (bytes < PACK_LEVELDB_FOOTER_BYTES || input->bytes[FUZZ_TF_VALUES] > MAX_VALUES_BYTES)
		return false;
	footer = index + bytes - PACK_LEVELDB_FOOTER_BYTES;
	if (!read_block(index, bytes, footer, 40, &at, &table->meta) ||
	    !read_block(index, bytes, footer, 40, &at, &table->index))
		return false;
	table->packed_index = table->index.packed;
	if (!unpack(&table->index))
		return false;
	n = read_entries(&table->index, entries);
	for (table->n_blocks = 0; table->n_blocks < n && table->n_blocks < MAX_BLOCKS;
	     table->n_blocks++) {
		const struct entry *entry = &entries[table->n_blocks];
		struct block *block = &table->blocks[table->n_blocks];

		at = 0;
		if (!read_block(index, bytes, entry->value, entry->value_bytes, &at, block))
			return false;
		memcpy(block->key, entry->key, entry->key_bytes);
		block->key_bytes = entry->key_bytes;
	}
	table->values_bytes = input->bytes[FUZZ_TF_VALUES];
	memcpy(table->values, input->parts[FUZZ_TF_VALUES], table->values_bytes);
	return table->n_blocks > 0;
}

static bool put_block(const struct block *block, uint8_t *out, size_t room_bytes, size_t *at,
		      uint8_t *handle, size_t *handle_at)
{
	struct gw_bytes window = gw_bytes_write(out, room_bytes);
	size_t end = *at + block->n;

	if (room_bytes < end + TRAILER_BYTES)
		return false;
	memcpy(out + *at, block->bytes, block->n);
	out[end] = block->packed;
	gw_put_u32(&window, end + 1, pack_crc32c_mask(pack_crc32c(0, out + *at, block->n + 1)));
	put_varint(handle, handle_at, *at);
	put_varint(handle, handle_at, block->n);
	*at = end + TRAILER_BYTES;
	return true;
}

/* The index of the blocks; keep_index: but its own one stays as it is. Its size; 0: no room. */
static size_t put_index(struct table *table, bool keep_index, uint8_t *out, size_t room_bytes)
{
	static struct entry entries[MAX_BLOCKS];
	uint8_t footer[PACK_LEVELDB_FOOTER_BYTES] = { 0 };
	struct gw_bytes window = gw_bytes_write(footer, sizeof footer);
	size_t at = 0, footer_at = 0;

	for (size_t i = 0; i < table->n_blocks; i++) {
		const struct block *block = &table->blocks[i];

		entries[i].value_bytes = 0;
		if (!put_block(block, out, room_bytes, &at, entries[i].value,
			       &entries[i].value_bytes))
			return 0;
		memcpy(entries[i].key, block->key, block->key_bytes);
		entries[i].key_bytes = block->key_bytes;
	}
	if (!keep_index) {
		if (!write_entries(&table->index, entries, table->n_blocks, 1))
			return 0;
		if (table->packed_index)
			pack(&table->index);
	}
	if (!put_block(&table->meta, out, room_bytes, &at, footer, &footer_at) ||
	    !put_block(&table->index, out, room_bytes, &at, footer, &footer_at) ||
	    room_bytes - at < sizeof footer)
		return 0;
	gw_put_u64(&window, sizeof footer - 8, PACK_LEVELDB_MAGIC);
	memcpy(out + at, footer, sizeof footer);
	return at + sizeof footer;
}

/* Bytes of a value of each of TensorFlow's types; 0: it does not say. */
static const uint8_t type_bytes[] = { 0, 4, 8, 4,  1, 2, 1, 0, 8, 8, 1, 1, 1, 4, 2,
				      2, 2, 2, 16, 2, 0, 0, 4, 8, 1, 1, 1, 1, 1 };

/* The product of a TensorShapeProto's dimensions; more than there is room for is all the same. */
static uint64_t count_elements(const uint8_t *shape, size_t n)
{
	struct pack_protobuf message = pack_protobuf_start(shape, n), dimension;
	struct pack_protobuf_field field, size;
	uint64_t count = 1;

	while (pack_protobuf_next(&message, &field) > 0) {
		uint64_t value = 0;

		if (field.number != 2 || field.wire != PACK_WIRE_BYTES)
			continue;
		dimension = pack_protobuf_start(field.bytes, field.n);
		while (pack_protobuf_next(&dimension, &size) > 0)
			if (size.number == 1 && size.wire == PACK_WIRE_VARINT)
				value = size.value;
		count = value > MAX_VALUES_BYTES ? MAX_VALUES_BYTES + 1 : count * value;
		if (count > MAX_VALUES_BYTES)
			count = MAX_VALUES_BYTES + 1;
	}
	return count;
}

/* Writes the entry's value anew, for a tensor that lies at *end of the values; moves *end. */
static void lay_out(struct table *table, struct entry *entry, size_t *end)
{
	struct pack_protobuf message = pack_protobuf_start(entry->value, entry->value_bytes);
	uint64_t type = 1, shard = 0, size = 0, width;
	struct pack_protobuf_field field;
	uint8_t shape[MAX_VALUE_BYTES];
	size_t shape_bytes = 0, at = 0;
	uint8_t *out = entry->value;
	struct gw_bytes window = gw_bytes_write(out, sizeof entry->value);

	while (pack_protobuf_next(&message, &field) > 0) {
		if (field.number == 2 && field.wire == PACK_WIRE_BYTES && field.n < 200)
			memcpy(shape, field.bytes, shape_bytes = field.n);
		type = field.number == 1 ? field.value : type;
		shard = field.number == 3 ? field.value : shard;
		size = field.number == 5 ? field.value : size;
	}
	width = type < sizeof type_bytes ? type_bytes[type] : 0;
	if (width)
		size = width * count_elements(shape, shape_bytes);
	if (size > MAX_VALUES_BYTES - *end)
		return;
	if (*end + size > table->values_bytes) {
		memset(table->values + table->values_bytes, 0x3e,
		       *end + size - table->values_bytes);
		table->values_bytes = *end + size;
	}
	out[at++] = 1 << 3;
	put_varint(out, &at, type);
	out[at++] = 2 << 3 | PACK_WIRE_BYTES;
	put_varint(out, &at, shape_bytes);
	memcpy(out + at, shape, shape_bytes);
	at += shape_bytes;
	out[at++] = 3 << 3;
	put_varint(out, &at, shard);
	out[at++] = 4 << 3;
	put_varint(out, &at, *end);
	out[at++] = 5 << 3;
	put_varint(out, &at, size);
	out[at++] = 6 << 3 | PACK_WIRE_32;
	gw_put_u32(&window, at, pack_crc32c_mask(pack_crc32c(0, table->values + *end, size)));
	entry->value_bytes = at + 4;
	*end += size;
}

/* Makes the checksum of the entry right, if its values are there. */
static void sign(const struct table *table, struct entry *entry)
{
	struct pack_protobuf message = pack_protobuf_start(entry->value, entry->value_bytes);
	struct gw_bytes window = gw_bytes_write(entry->value, entry->value_bytes);
	uint64_t offset = 0, size = 0;
	struct pack_protobuf_field field;

	while (pack_protobuf_next(&message, &field) > 0) {
		offset = field.number == 4 ? field.value : offset;
		size = field.number == 5 ? field.value : size;
		if (field.number == 6 && field.wire == PACK_WIRE_32 &&
		    offset <= table->values_bytes && size <= table->values_bytes - offset)
			gw_put_u32(&window, message.at - 4,
				   pack_crc32c_mask(pack_crc32c(0, table->values + offset, size)));
	}
}

/* One dimension more, of 1, in the shape, whose length is one byte. */
static void add_dimension(struct entry *entry)
{
	static const uint8_t dimension[] = { 2 << 3 | PACK_WIRE_BYTES, 2, 1 << 3, 1 };
	struct pack_protobuf message = pack_protobuf_start(entry->value, entry->value_bytes);
	struct pack_protobuf_field field;

	while (pack_protobuf_next(&message, &field) > 0) {
		uint8_t *at = entry->value + message.at;

		if (field.number != 2 || field.wire != PACK_WIRE_BYTES || field.n > 120 ||
		    entry->value_bytes + sizeof dimension > sizeof entry->value)
			continue;
		memmove(at + sizeof dimension, at, entry->value_bytes - message.at);
		memcpy(at, dimension, sizeof dimension);
		at[-(ptrdiff_t)field.n - 1] += sizeof dimension;
		entry->value_bytes += sizeof dimension;
		return;
	}
}

static void mutate_entry(struct entry *entries, size_t *n, uint64_t *state)
{
	size_t i = fuzz_random(state) % *n;
	struct entry *entry = &entries[i];

	switch (fuzz_random(state) % 8) {
	case 0:
		entry->key_bytes =
			LLVMFuzzerMutate(entry->key, entry->key_bytes, sizeof entry->key);
		break;
	case 1: /* remove */
		memmove(entry, entry + 1, (--*n - i) * sizeof *entry);
		break;
	case 2: /* repeat, under a longer key */
		if (*n == MAX_ENTRIES || entry->key_bytes == sizeof entry->key)
			break;
		memmove(entry + 1, entry, (*n - i) * sizeof *entry);
		entry[1].key[entry[1].key_bytes++] = (uint8_t)('0' + fuzz_random(state) % 10);
		++*n;
		break;
	case 3:
		add_dimension(entry);
		break;
	default:
		entry->value_bytes =
			LLVMFuzzerMutate(entry->value, entry->value_bytes, sizeof entry->value);
		break;
	}
}

/* Changes an entry of one block, and lays all of them out, where fit says so. */
static bool mutate_entries(struct table *table, uint64_t *state)
{
	static struct entry entries[MAX_ENTRIES];
	static const size_t intervals[] = { 16, 1, 2, 3 };
	size_t chosen = fuzz_random(state) % table->n_blocks, end = 0;
	unsigned fit = fuzz_random(state) % 4;

	for (size_t i = 0; i < table->n_blocks; i++) {
		struct block *block = &table->blocks[i];
		bool packed = block->packed ^ (fuzz_random(state) % 16 == 0);
		size_t n = unpack(block) ? read_entries(block, entries) : 0;

		if (n == 0)
			return false;
		if (i == chosen)
			mutate_entry(entries, &n, state);
		/* the first one of all is the header */
		for (size_t k = i == 0; fit && k < n; k++) {
			if (fit > 1)
				lay_out(table, &entries[k], &end);
			else
				sign(table, &entries[k]);
		}
		if (!write_entries(block, entries, n, intervals[fuzz_random(state) % 4]))
			return false;
		if (n) {
			memcpy(block->key, entries[n - 1].key, entries[n - 1].key_bytes);
			block->key_bytes = entries[n - 1].key_bytes;
		}
		if (packed)
			pack(block);
	}
	if (fit > 1)
		table->values_bytes = end;
	return true;
}

/* Parts into data; its size, or 0 if there is no room. parts do not lie in data. */
static size_t join(const struct fuzz_tf *input, uint8_t *data, size_t room_bytes)
{
	struct gw_bytes out = gw_bytes_write(data, room_bytes);
	size_t at = FUZZ_TF_HEAD_BYTES;

	for (unsigned i = 0; i < FUZZ_TF_PARTS; i++) {
		if (at > room_bytes || input->bytes[i] > room_bytes - at ||
		    (i < FUZZ_TF_VALUES && input->bytes[i] > UINT16_MAX))
			return 0;
		if (i < FUZZ_TF_VALUES)
			gw_put_u16(&out, 2 * i, (uint16_t)input->bytes[i]);
		memcpy(data + at, input->parts[i], input->bytes[i]);
		at += input->bytes[i];
	}
	return at;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t room_bytes, unsigned seed)
{
	static uint8_t copy[1 << 16], part[1 << 16],
		index[(MAX_BLOCKS + 2) * (MAX_BLOCK_BYTES + 16)];
	static struct table table;
	uint64_t state = seed, dice = fuzz_random(&state) % 16;
	struct fuzz_tf input;
	struct block *block;
	size_t made, which;

	if (dice == 0 || bytes < FUZZ_TF_HEAD_BYTES || bytes > sizeof copy)
		return LLVMFuzzerMutate(data, bytes, room_bytes);
	memcpy(copy, data, bytes);
	input = fuzz_tf_split(copy, bytes);
	if (dice < 3) { /* one file as it is */
		which = fuzz_random(&state) % FUZZ_TF_PARTS;
		memcpy(part, input.parts[which], input.bytes[which]);
		input.bytes[which] =
			LLVMFuzzerMutate(part, input.bytes[which],
					 MAX_BLOCK_BYTES > input.bytes[which] ? MAX_BLOCK_BYTES
									      : input.bytes[which]);
		input.parts[which] = part;
	} else {
		if (!take_apart(&input, &table))
			return LLVMFuzzerMutate(data, bytes, room_bytes);
		which = fuzz_random(&state) % (table.n_blocks + 2);
		block = which < table.n_blocks    ? &table.blocks[which]
			: which == table.n_blocks ? &table.meta
						  : &table.index;
		if (dice < 6)
			block->n = LLVMFuzzerMutate(block->bytes, block->n, sizeof block->bytes);
		else if (!mutate_entries(&table, &state))
			return LLVMFuzzerMutate(data, bytes, room_bytes);
		input.bytes[FUZZ_TF_INDEX] =
			put_index(&table, dice < 6 && block == &table.index, index, sizeof index);
		input.parts[FUZZ_TF_INDEX] = index;
		input.parts[FUZZ_TF_VALUES] = table.values;
		input.bytes[FUZZ_TF_VALUES] = table.values_bytes;
	}
	made = join(&input, data, room_bytes);
	return made ? made : LLVMFuzzerMutate(data, bytes, room_bytes);
}
