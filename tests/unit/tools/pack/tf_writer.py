# SPDX-License-Identifier: MIT
"""Writes TensorFlow checkpoints from the published layouts, independently of the reader under test:
LevelDB's table format, snappy's block format, tensor_bundle.proto. Everything can be made wrong."""

import os
import struct

MAGIC = 0xdb4775248b80fb57
FLOAT, DOUBLE, INT32, STRING, INT64, BFLOAT16, HALF = 1, 2, 3, 7, 9, 14, 19


def _crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82f63b78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC_TABLE = _crc_table()


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xff]
    return crc ^ 0xffffffff


def masked(crc):
    return ((crc >> 15 | crc << 17 & 0xffffffff) + 0xa282ead8) & 0xffffffff


def varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


# protocol buffers

def number(field, value):
    """A varint field; proto3 leaves zeros out."""
    return varint(field << 3) + varint(value) if value else b""


def text(field, data):
    return varint(field << 3 | 2) + varint(len(data)) + data


def fixed32(field, value):
    return varint(field << 3 | 5) + struct.pack("<I", value)


def shape(*dims):
    return b"".join(text(2, number(1, n)) for n in dims)


def header(shards=1, endianness=0, version=number(1, 1)):
    return number(1, shards) + number(2, endianness) + text(3, version)


def entry(dtype, dims, offset, size, crc, shard=0, more=b""):
    """crc: not masked yet."""
    return (number(1, dtype) + text(2, shape(*dims)) + number(3, shard) + number(4, offset)
            + number(5, size) + fixed32(6, masked(crc)) + more)


# snappy: literals only, and a version with copies

def snappy(data):
    """Greedy: copies of what stood up to 65,535 bytes before, else literals."""
    out, at, literal = bytearray(varint(len(data))), 0, bytearray()

    def flush():
        for begin in range(0, len(literal), 200):
            part = literal[begin:begin + 200]
            n = len(part) - 1
            out.extend(bytes([n << 2]) if n < 60 else bytes([60 << 2, n]))
            out.extend(part)
        literal.clear()

    while at < len(data):
        begin = data.rfind(data[at:at + 4], 0, at + 3) if at + 4 <= len(data) else -1
        if begin < 0 or at - begin > 65535:
            literal.append(data[at])
            at += 1
            continue
        flush()
        n = 4
        while n < 64 and at + n < len(data) and data[begin + n] == data[at + n]:
            n += 1
        distance = at - begin
        if n <= 11 and distance < 2048:
            out.extend([(n - 4) << 2 | distance >> 8 << 5 | 1, distance & 0xff])
        elif at % 2:
            out.extend(struct.pack("<BH", (n - 1) << 2 | 2, distance))
        else:
            out.extend(struct.pack("<BI", (n - 1) << 2 | 3, distance))
        at += n
    flush()
    return bytes(out)


# the table

def block(entries, interval=16, restarts=None):
    """Of (key, value) in order. restarts: what to write instead of the restart points."""
    out, points, last = bytearray(), [], b""
    for i, (key, value) in enumerate(entries):
        shared = 0
        if i % interval == 0:
            points.append(len(out))
        else:
            while shared < min(len(last), len(key)) and last[shared] == key[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value))
        out += key[shared:] + value
        last = key
    points = points or [0]
    points = points if restarts is None else restarts
    return bytes(out) + b"".join(struct.pack("<I", n) for n in [*points, len(points)])


def trailed(data, compression=0):
    """A block with its trailer."""
    if compression == 1:
        data = snappy(data)
    data += bytes([compression])
    return data + struct.pack("<I", masked(crc32c(data)))


def handle(offset, size):
    return varint(offset) + varint(size)


def separator(last, after):
    """A key not less than last and less than after, shorter than last where that is easy, as
    LevelDB makes it."""
    i = 0
    while i < min(len(last), len(after)) and last[i] == after[i]:
        i += 1
    if i < min(len(last), len(after)) and last[i] < 0xff and last[i] + 1 < after[i]:
        return last[:i] + bytes([last[i] + 1])
    return last


def table(entries=None, per_block=1000, interval=16, compression=0, blocks=None, index=None,
          meta=None, before_meta=b"", footer=None, magic=MAGIC):
    """A table of entries, or of raw blocks (with trailers) and the index's entries for them."""
    out, made = bytearray(), []
    groups = [entries[i:i + per_block] for i in range(0, len(entries or []), per_block)]
    for i, group in enumerate(groups):
        data = trailed(block(group, interval), compression)
        after = groups[i + 1][0][0] if i + 1 < len(groups) else None
        key = group[-1][0] if after is None else separator(group[-1][0], after)
        made.append((key, handle(len(out), len(data) - 5)))
        out += data
    for data in blocks or []:
        out += data
    out += before_meta
    meta = trailed(block([])) if meta is None else meta
    meta_handle = handle(len(out), len(meta) - 5)
    out += meta
    index = trailed(block(made if index is None else index, 1), compression) \
        if not isinstance(index, bytes) else index
    index_handle = handle(len(out), len(index) - 5)
    out += index
    footer = footer or (meta_handle + index_handle).ljust(40, b"\0")
    return bytes(out) + footer + struct.pack("<Q", magic)


def write(prefix, tensors, align=1, shards=1, checkpoint=True, **more):
    """tensors: (name, dtype, dims, bytes) or (name, dtype, dims, bytes, shard). The bytes' checksums
    are computed by crc, which may be given (a fast one for large files)."""
    crc = more.pop("crc", crc32c)
    files, entries = [bytearray() for _ in range(shards)], [(b"", header(shards))]
    for name, dtype, dims, data, *shard in sorted(tensors):
        file = files[shard[0] if shard else 0]
        entries.append((name.encode(), entry(dtype, dims, len(file), len(data), crc(data),
                                             shard[0] if shard else 0)))
        file += data
        file += bytes(-len(file) % align)
    with open(prefix + ".index", "wb") as out:
        out.write(table(entries, **more))
    for i, file in enumerate(files):
        with open(f"{prefix}.data-{i:05d}-of-{shards:05d}", "wb") as out:
            out.write(file)
    if checkpoint:
        name = os.path.basename(prefix)
        with open(os.path.join(os.path.dirname(prefix), "checkpoint"), "w") as out:
            out.write(f'model_checkpoint_path: "{name}"\n'
                      f'all_model_checkpoint_paths: "{name}"\n')
