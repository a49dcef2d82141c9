# SPDX-License-Identifier: MIT
"""PyTorch's files, and zip archives, built byte by byte, so that any of it can be wrong."""

import struct
import zlib

GLOBALS = {"F32": ("FloatStorage", 4), "F16": ("HalfStorage", 2), "BF16": ("BFloat16Storage", 2),
           "F64": ("DoubleStorage", 8), "I64": ("LongStorage", 8), "U8": ("ByteStorage", 1)}


def zip_file(members, comment=b"", end=None, before=b"", after=b"", between=b"", zip64=None,
             reverse=False):
    """members: (name, data, changes). Each change replaces a field: of both headers by its name, of one
    of them by "local_" or "central_" before it; "gap" follows the data; "wide" moves sizes and offset
    to the zip64 field. end: replaces fields of the end record. zip64: a dictionary of changes there."""
    out, directory = bytearray(before), []
    for name, data, *changes in members:
        change = changes[0] if changes else {}
        stored = change.get("stored", data)
        fields = {"version": 20, "flags": 0, "method": 0, "crc": zlib.crc32(data),
                  "packed": len(stored), "size": len(data), "name": name.encode(), "extra": b"",
                  "comment": b"", "disk": 0, "offset": len(out)}
        fields.update({k: v for k, v in change.items() if k in fields})
        local = dict(fields, **{k[6:]: v for k, v in change.items() if k.startswith("local_")})
        central = dict(fields, **{k[8:]: v for k, v in change.items() if k.startswith("central_")})
        if change.get("wide"):
            central["extra"] += struct.pack("<HHQQQ", 1, 24, central["size"], central["packed"],
                                            central["offset"])
            local["extra"] += struct.pack("<HHQQ", 1, 16, local["size"], local["packed"])
            for header in local, central:
                header["size"] = header["packed"] = 0xffffffff
            central["offset"] = 0xffffffff
        out += struct.pack("<4sHHHIIIIHH", change.get("local_mark", b"PK\3\4"), local["version"],
                           local["flags"], local["method"], 0, local["crc"], local["packed"],
                           local["size"], change.get("local_name_bytes", len(local["name"])),
                           change.get("local_extra_bytes", len(local["extra"])))
        out += local["name"] + local["extra"] + stored + change.get("gap", b"")
        directory.append(struct.pack(
            "<4sHHHHIIIIHHHHHII", change.get("central_mark", b"PK\1\2"), 20, central["version"],
            central["flags"], central["method"], 0, central["crc"], central["packed"],
            central["size"], change.get("central_name_bytes", len(central["name"])),
            len(central["extra"]), len(central["comment"]), central["disk"], 0, 0,
            central["offset"]) + central["name"] + central["extra"] + central["comment"])
    out += between
    at = len(out)
    if reverse:
        directory.reverse()
    out += b"".join(directory)
    size, n = len(out) - at, len(directory)
    if zip64 is not None:
        wide = dict({"mark": b"PK\6\6", "bytes": 44, "disk": 0, "disk2": 0, "n": n, "n2": n,
                     "size": size, "offset": at, "more": b"", "where": len(out), "where_disk": 0,
                     "disks": 1}, **zip64)
        out += struct.pack("<4sQHHIIQQQQ", wide["mark"], wide["bytes"], 45, 45, wide["disk"],
                           wide["disk2"], wide["n"], wide["n2"], wide["size"], wide["offset"])
        out += wide["more"] + struct.pack("<4sIQI", b"PK\6\7", wide["where_disk"], wide["where"],
                                          wide["disks"])
    fields = dict({"disk": 0, "disk2": 0, "n": n, "n2": n, "size": size, "offset": at,
                   "comment": len(comment)}, **(end or {}))
    out += struct.pack("<4sHHHHIIH", b"PK\5\6", *fields.values())
    return bytes(out + comment + after)


def deflate(data):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


# Pieces of pickles.
PROTO = b"\x80\2"


def text(value):
    value = value if isinstance(value, bytes) else value.encode()
    return b"X" + struct.pack("<I", len(value)) + value


def number(value):
    if 0 <= value < 256:
        return b"K" + bytes([value])
    return b"\x8a\x08" + struct.pack("<q", value) if -2**63 <= value < 2**63 else \
        b"\x8a\x0a" + value.to_bytes(10, "little", signed=True)


def tuple_of(*items):
    return b"(" + b"".join(items) + b"t"


def name_of(module, name):
    return f"c{module}\n{name}\n".encode()


def call(function, *arguments):
    return function + tuple_of(*arguments) + b"R"


ORDERED = name_of("collections", "OrderedDict")
REBUILD = name_of("torch._utils", "_rebuild_tensor_v2")
HOOKS = call(ORDERED)


def storage(key, dtype="F32", n=6, *more, cls=None, kind=text("storage")):
    return tuple_of(kind, cls or name_of("torch", GLOBALS[dtype][0]), text(key), text("cpu"),
                    number(n), *more) + b"Q"


def tensor(on, shape, stride, offset=0):
    return call(REBUILD, on, number(offset), tuple_of(*map(number, shape)),
                tuple_of(*map(number, stride)), b"\x89", HOOKS)


def dictionary(*pairs):
    return b"}(" + b"".join((text(k) if isinstance(k, (str, bytes)) else b"N") + v
                            for k, v in pairs) + b"u"


def zipped(pickle, storages, root="archive", more=(), changes=None, **options):
    changes = changes or {}
    members = [(f"{root}/data.pkl", pickle, changes.get("data.pkl", {}))]
    members += [(f"{root}/data/{key}", data, changes.get(key, {})) for key, data in storages]
    return zip_file([*members, (f"{root}/version", b"3\n"), *more], **options)


MAGIC = PROTO + number(0x1950a86a20f9469cfc6c) + b"."
MACHINE = dictionary(("protocol_version", number(1001)), ("little_endian", b"\x88"))


def legacy(pickle, storages, magic=MAGIC, protocol=PROTO + b"M\xe9\3.", keys=None, data=None,
           machine=PROTO + MACHINE + b".", after=b""):
    """storages: (key, bytes, number of elements)."""
    if keys is None:
        keys = PROTO + b"](" + b"".join(text(key) for key, *_ in storages) + b"e."
    if data is None:
        data = b"".join(struct.pack("<Q", n) + values for _, values, n in storages)
    return magic + protocol + machine + pickle + keys + data + after
