#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""PyTorch's checkpoints: malformed ones, one flaw each; views; and files that PyTorch writes.

Usage: test_torch.py GPT2-PACK [unittest's arguments]. What needs PyTorch is skipped without it."""

import io
import json
import os
import struct
import sys
import unittest
import zipfile

import status
import test_cli
from test_cli import DONE, INPUT, floats, read_safetensors
from torch_files import *

WTE, WPE = floats(6, 1), floats(4, 2)
ON_WTE, ON_WPE = storage("0"), storage("1", n=4)
T_WTE, T_WPE = tensor(ON_WTE, [3, 2], [2, 1]), tensor(ON_WPE, [2, 2], [2, 1])
PAIRS = [("wte.weight", T_WTE), ("wpe.weight", T_WPE)]
GOOD = PROTO + dictionary(*PAIRS) + b"."
DATA = [("0", WTE), ("1", WPE)]
PARAMETER = name_of("torch._utils", "_rebuild_parameter")
TYPED = name_of("torch._utils", "_rebuild_tensor_v3")
BYTES_STORAGE = name_of("torch.storage", "UntypedStorage")


def with_first(first, *more):
    """A pickle whose wte is this."""
    return PROTO + dictionary(("wte.weight", first), ("wpe.weight", T_WPE), *more) + b"."


def with_value(value):
    """A pickle with something more in it."""
    return with_first(T_WTE, ("more", value))


def raw_tensor(*arguments, function=REBUILD):
    return with_first(call(function, *arguments))


NAMES = tuple_of(number(3), number(2)), tuple_of(number(2), number(1))

# (pickle, part of the message); each in both formats
PICKLES = [
    # opcodes
    (b".", "no pickle of protocol 2"),
    (b"}.", "no pickle of protocol 2"),
    (b"\x80\1}.", "protocol 1"),
    (b"\x80\6}.", "protocol 6"),
    (PROTO + b"N\x80\2.", "protocol 2"),
    (PROTO, "without an end"),
    (GOOD[:40], "without an end"),
    (PROTO + b"N", "without an end"),
    (PROTO + b"X\xff\xff\xff\xff.", "without an end"),
    (PROTO + b"\x8d" + b"\xff" * 8 + b".", "without an end"),
    (PROTO + b"\x8a\xffabc", "without an end"),
    (PROTO + b"ccollections\nOrderedDict", "without an end"),
    (PROTO + b"ccollections", "without an end"),
    (PROTO + b"J\0\0", "without an end"),
    (PROTO + b"\x95" + b"\xff" * 8 + b"}.", "a frame of 18446744073709551615"),
    (PROTO + b"0.", "opcode 0x30"),
    (PROTO + b"(c__main__\nX\no.", "names __main__.X"),
    (PROTO + b"(S'id'\ni__main__\nX\n.", "opcode 0x53"),
    (PROTO + b"(iposix\nsystem\n.", "opcode 0x69"),
    (PROTO + b")\x81.", "opcode 0x81"),
    (PROTO + b"\x82\1.", "opcode 0x82"),
    (PROTO + b"\x97.", "opcode 0x97"),
    (PROTO + b".", "opcode STOP without the values"),
    (PROTO + b"}}.", "1 values and 0 marks left"),
    (PROTO + b"}(.", "opcode STOP without the values"),
    (PROTO + b"(}.", "0 values and 1 marks left"),
    (PROTO + b"t.", "TUPLE without a mark"),
    (PROTO + b"NN\x87.", "TUPLE3 without the values"),
    (PROTO + b"N(N\x86.", "TUPLE2 without the values"),
    (PROTO + b"(" * 1025, "brackets more than 1024 deep"),
    (PROTO + b"N" * 65537, "more than 65536 values wait"),
    (PROTO + b"]" + b"(" + b"N" * 60000 + b"e" * 1 + (b"(" + b"N" * 60000 + b"e") * 5 + b".",
     "more than 262144 values"),
    (PROTO + b"]q\0(" + b"h\0" * 60000 + b"e" + (b"(" + b"h\0" * 60000 + b"e") * 9 + b".",
     "more than 524288 places"),
    # the memo
    (PROTO + b"q\0.", "BINPUT without the values"),
    (PROTO + b"}q\1.", "memo index 1 after 0"),
    (PROTO + b"}r\xff\xff\xff\x7f.", "memo index 2147483647"),
    (PROTO + b"h\0.", "memo index 0, which nothing"),
    (PROTO + b"}q\0j\1\0\0\0.", "memo index 1, which nothing"),
    (PROTO + b"j\xff\xff\xff\xff.", "memo index 4294967295"),
    # containers
    (PROTO + b"}Na.", "APPEND on what is no list"),
    (PROTO + b"](NNu.", "SETITEMS on what is no dictionary"),
    (PROTO + b"]NNs.", "SETITEM on what is no dictionary"),
    (PROTO + b"}(Nu.", "a key without a value"),
    (PROTO + b")Na.", "APPEND on what is no list"),
    (PROTO + b"(Nu.", "SETITEMS without the values"),
    (PROTO + b"Na.", "APPEND without the values"),
    (PROTO + b"u.", "SETITEMS without a mark"),
    # globals
    (with_value(call(name_of("os", "system"), text("id"))), "names os.system"),
    (with_value(call(name_of("builtins", "eval"), text("1"))), "names builtins.eval"),
    (with_value(name_of("torch", "load")), "names torch.load"),
    (with_value(name_of("torch", "FloatStorag")), "names torch.FloatStorag"),
    (with_value(name_of("torch.nn", "Linear")), "GLOBAL names torch.nn.Linear"),
    (with_value(name_of("collections\0", "OrderedDict")), "collections\\x00.OrderedDict"),
    (with_value(text("posix") + text("system") + b"\x93"), "STACK_GLOBAL names posix.system"),
    (with_value(text("posix") + b"N\x93"), "STACK_GLOBAL on what is no text"),
    (with_value(text("\x1b[31m") + text("x") + b"\x93"), "\\x1b[31m.x"),
    (with_value(b"N)R"), "REDUCE on what is no global"),
    (with_value(ORDERED + b"NR"), "REDUCE without a tuple"),
    (with_value(call(ORDERED, b"N", b"N")), "OrderedDict of 2 arguments"),
    (with_value(call(ORDERED, b"N")), "OrderedDict of what is no list"),
    (with_value(call(ORDERED, b"](Ne")), "OrderedDict of what are no pairs"),
    (with_value(call(ORDERED, b"](" + tuple_of(b"N") + b"e")), "OrderedDict of what are no pairs"),
    (with_value(call(name_of("torch", "float32"))), "REDUCE on torch.float32"),
    (with_value(call(name_of("torch", "FloatStorage"), number(9))), "REDUCE on torch.FloatStorage"),
    (with_value(call(name_of("torch", "Size"), b"N")), "torch.Size of what is no tuple"),
    (with_value(call(name_of("torch", "Size"))), "torch.Size of 0 arguments"),
    (with_value(call(name_of("torch", "device"))), "torch.device of 0 arguments"),
    (with_value(b"N}b"), "BUILD on what is no dictionary"),
    (with_value(b"}Nb"), "BUILD on what is no dictionary"),
    (with_value(T_WTE + b"}b"), "BUILD on what is no dictionary"),
    (with_value(call(PARAMETER, b"N", b"\x88", HOOKS)), "a parameter of what is no tensor"),
    (with_value(call(PARAMETER, T_WTE)), "_rebuild_parameter of 1 arguments"),
    # storages
    (with_value(b"NQ"), "a storage that is no ('storage'"),
    (with_value(tuple_of(b"N") + b"Q"), "a storage that is no ('storage'"),
    (with_value(storage("0", kind=text("module"))), "a storage that is no ('storage'"),
    (with_value(b"](" + text("storage") + name_of("torch", "FloatStorage") + text("0") +
                text("cpu") + number(6) + b"eQ"), "a storage that is no ('storage'"),
    (with_value(storage("0", cls=b"N")), "a class that is none"),
    (with_value(storage("0", cls=ORDERED)), "a class that is none"),
    (with_value(storage("../../x")), "a key that is not made of letters"),
    (with_value(storage("")), "a key that is not made of letters"),
    (with_value(storage("0" * 65)), "a key that is not made of letters"),
    (with_value(storage("0\0")), "a key that is not made of letters"),
    (with_value(tuple_of(text("storage"), name_of("torch", "FloatStorage"), number(0), text("cpu"),
                         number(6)) + b"Q"), "a key that is no string"),
    (with_value(tuple_of(text("storage"), name_of("torch", "FloatStorage"), text("0"), b"N",
                         number(6)) + b"Q"), "a location that is no string"),
    (with_value(storage("0", n=-1)), "a size that is no whole number"),
    (with_value(storage("0", n=2**62)), "a size that is no whole number, or too large"),
    (with_value(storage("0", n=2**70)), "a size that is no whole number"),
    (with_value(storage("0", "F32", 6, tuple_of(b"N"))), "a view that is no (key"),
    (with_value(storage("0", "F32", 6, tuple_of(text("v"), number(2), number(5)))),
     "a view that reaches past"),
    (with_value(storage("0", "F32", 6, tuple_of(text("v"), number(7), number(0)))),
     "a view that reaches past"),
    # tensors
    (raw_tensor(b"N", number(0), *NAMES, b"\x89", HOOKS), "has no storage"),
    (raw_tensor(ON_WTE, number(0), *NAMES, b"\x89"), "_rebuild_tensor_v2 of 5 arguments"),
    (raw_tensor(ON_WTE, b"\x89", *NAMES, b"\x89", HOOKS), "a storage offset that is no whole"),
    (raw_tensor(ON_WTE, number(-1), *NAMES, b"\x89", HOOKS), "a storage offset that is no whole"),
    (raw_tensor(ON_WTE, number(0), b"N", NAMES[1], b"\x89", HOOKS), "a shape that is no tuple"),
    (raw_tensor(ON_WTE, number(0), b"](" + number(3) + number(2) + b"e", NAMES[1], b"\x89", HOOKS),
     "a shape that is no tuple"),
    (raw_tensor(ON_WTE, number(0), NAMES[0], tuple_of(number(1)), b"\x89", HOOKS),
     "strides that are no tuple"),
    (with_first(tensor(ON_WTE, [1] * 9, [1] * 9)), "a shape that is no tuple of at most 8"),
    (with_first(tensor(ON_WTE, [3, -2], [2, 1])), "a dimension that is no whole"),
    (with_first(tensor(ON_WTE, [3, 2], [-2, 1])), "a stride that is no whole"),
    (with_first(tensor(ON_WTE, [2**32, 2**32], [0, 0])), "product does not fit"),
    (with_first(tensor(ON_WTE, [2**62], [0])), "size that does not fit 63 bits"),
    (with_first(tensor(ON_WTE, [4, 2], [2**63 - 1, 1])), "strides that do not fit 64 bits"),
    (with_first(tensor(ON_WTE, [3, 2], [3, 1])), "reaches past the end of its storage"),
    (with_first(tensor(ON_WTE, [3, 2], [2, 1], 1)), "reaches past the end of its storage"),
    (with_first(tensor(ON_WTE, [7], [1])), "reaches past the end of its storage"),
    (with_first(tensor(ON_WTE, [1], [1], 2**63 - 1)), "reaches past the end of its storage"),
    (with_first(tensor(ON_WTE, [50257, 1000000], [0, 0])), "claim far more than"),
    (raw_tensor(ON_WTE, number(0), *NAMES, b"\x89", HOOKS, b"N", function=TYPED), "has no type"),
    (raw_tensor(ON_WTE, number(0), *NAMES, b"\x89", HOOKS, ORDERED, function=TYPED),
     "has a type that is none"),
    (raw_tensor(storage("0", "F32", 6, tuple_of(text("v"), number(1), number(5))), number(0),
                *NAMES, b"\x89", HOOKS, name_of("torch", "float64"), function=TYPED),
     "not aligned for"),
    # what it holds
    (PROTO + b"N.", "no dictionary"),
    (PROTO + T_WTE + b".", "no dictionary"),
    (PROTO + dictionary(*PAIRS, ("wte.weight", T_WTE)) + b".", "two tensors are called"),
    (PROTO + dictionary(("model", dictionary(*PAIRS)), ("model", b"}")) + b".",
     "\"model\" is there twice"),
    (PROTO + dictionary(("model", dictionary(*PAIRS)), ("state_dict", b"}")) + b".",
     "two state dicts"),
    (PROTO + dictionary(*PAIRS, ("model_args", dictionary(("n_head", b"N"), ("n_head", b"N")))) +
     b".", "\"n_head\" is there twice"),
    (PROTO + dictionary(*PAIRS, (b"a\0b", T_WTE)) + b".", "no clean UTF-8"),
    (PROTO + dictionary(*PAIRS, (b"\xff", T_WTE)) + b".", "no clean UTF-8"),
    (PROTO + dictionary(*PAIRS, (None, T_WTE)) + b".", "name is no text"),
]


def archive(**options):
    return zipped(GOOD, DATA, **options)


def changed(member="0", **changes):
    return zipped(GOOD, DATA, changes={member: changes})


def extra(kind, data):
    return struct.pack("<HH", kind, len(data)) + data


BIG = bytes(20 << 20)
DESCRIPTOR = struct.pack("<4sIII", b"PK\7\x08", zlib.crc32(WTE), len(WTE), len(WTE))

# (bytes, part of the message, code if it is not GW_E_SOURCE)
ARCHIVES = [
    (archive()[:-1], "no end record"),
    (archive()[:200], "no end record"),
    (archive(after=b"x"), "1 bytes follow the end record"),
    (archive(comment=b"abc", after=b"x"), "4 bytes follow the end record"),
    (archive(comment=b"a" * 9 + b"PK\5\6" + b"b" * 40), "follow the end record"),
    (archive(comment=b"PK\5\6"), "no end record"),
    (archive(end={"disk": 1}), "on several disks"),
    (archive(end={"disk2": 1}), "on several disks"),
    (archive(end={"n": 3}), "two different counts"),
    (archive(end={"n": 3, "n2": 3}), "after the last entry"),
    (archive(end={"n": 5, "n2": 5}), "no whole entry"),
    (archive(end={"size": 10}), "does not end where the end records begin"),
    (archive(end={"offset": 10}), "does not end where the end records begin"),
    (archive(end={"size": 0xffffffff}), "does not end where the end records begin"),
    (archive(between=b"x"), "1 bytes that belong to no member"),
    (archive(zip64={"mark": b"PK\6\0"}), "no zip64 end record"),
    (archive(zip64={"bytes": 45}), "no zip64 end record"),
    (archive(zip64={"where": 2**64 - 1}), "a zip64 locator that points to"),
    (archive(zip64={"where": 0}), "no zip64 end record"),
    (archive(zip64={"where_disk": 1}), "on several disks"),
    (archive(zip64={"disks": 2}), "on several disks"),
    (archive(zip64={"disk": 1}), "on several disks"),
    (archive(zip64={"disk2": 1}), "on several disks"),
    (archive(zip64={"n": 5}), "contradicts"),
    (archive(zip64={"n": 2**60, "n2": 2**60}, end={"n": 0xffff, "n2": 0xffff}),
     "1152921504606846976 members"),
    (archive(zip64={"size": 2**63}, end={"size": 0xffffffff}), "does not end where"),
    (archive(zip64={"size": 2**64 - 1, "offset": 2}, end={"size": 0xffffffff,
                                                          "offset": 0xffffffff}),
     "does not end where"),
    (archive(zip64={"offset": 1}), "contradicts"),
    (changed(flags=1), "an encrypted member"),
    (changed(flags=0x2000), "an encrypted member"),
    (changed(flags=0x20), "some are not known"),
    (changed(method=12), "compressed with method 12"),
    (changed(local_method=8), "whose method differs"),
    (changed(local_method=16), "whose method differs"),
    (changed(local_flags=0x800), "whose flags differs"),
    (changed(local_crc=1), "whose CRC differs"),
    (changed(local_size=1), "whose size differs"),
    (changed(local_packed=1), "whose size differs"),
    (changed(local_name=b"archive/data/9"), "whose name differs"),
    (changed(local_name=b"archive/data/00"), "a name unlike"),
    (changed(local_mark=b"PK\3\5"), "no local header"),
    (changed(local_extra_bytes=60000), "no room for a local header"),
    (changed(local_extra=extra(9, b"")[:3] + b"\xff"), "does not fit its header"),
    (changed(local_extra=extra(9, b"abc")[:-1]), "does not fit its header"),
    (changed(extra=b"abc"), "an extra field that is cut short"),
    (changed(extra=extra(1, b"") * 2), "a second zip64 extra field"),
    (changed(central_size=0xffffffff), "without the zip64 extra field"),
    (changed(central_size=0xffffffff, central_extra=extra(1, b"abc")), "that is too short"),
    (changed(central_mark=b"PK\1\3"), "no whole entry"),
    (changed(central_name_bytes=60000), "no whole entry"),
    (changed(central_disk=1), "on another disk"),
    (changed(central_name=b""), "a name of 0 bytes"),
    (changed(name=b"a" * 1025), "a name of 1025 bytes"),
    (changed(name=b"a\0b"), "no clean UTF-8"),
    (changed(name=b"\xed\xa0\x80"), "no clean UTF-8"),
    (changed(name=b"archive/data/1"), "a second member called"),
    (changed(central_offset=1), "overlaps the member before"),
    (changed(central_offset=0xfffffffe), "reaches past the directory"),
    (changed(central_packed=7), "a stored member of 7 bytes that says it has 24"),
    (changed(packed=9999, size=9999), "reaches past the directory"),
    (changed(packed=8, size=8), "16 bytes that belong to no member"),
    (changed(packed=30, size=30), "overlaps the member before"),
    (changed("1", central_offset=0), "overlaps the member before"),
    (changed(gap=b"gap"), "3 bytes that belong to no member"),
    (changed(flags=8), "0 bytes instead of a data descriptor"),
    (changed(flags=8, gap=b"x" * 16), "a data descriptor unlike"),
    (changed(flags=8, gap=b"x" * 13), "13 bytes instead of a data descriptor"),
    (changed(flags=8, gap=DESCRIPTOR[4:8] + b"x" * 8), "a data descriptor unlike"),
    # its contents
    (changed("data.pkl", crc=1), "does not have the CRC"),
    (changed("data.pkl", method=8, stored=b"\xff" * 50), "is damaged"),
    (changed("data.pkl", method=8, stored=deflate(GOOD)[:-9]), "is damaged, or shorter"),
    (changed("data.pkl", method=8, stored=deflate(GOOD[:-1])), "is shorter than it says"),
    (changed("data.pkl", method=8, stored=deflate(GOOD + b"x")), "is longer than it says"),
    (changed("data.pkl", method=8, stored=deflate(GOOD) + b"x"), "bytes after its deflated data"),
    (changed("data.pkl", method=8, stored=deflate(GOOD), crc=1), "does not have the CRC"),
    (zipped(PROTO + b"N" + bytes(4 << 20), DATA), "over this program's limit"),
    (zipped(GOOD + GOOD, DATA), "bytes after the pickle"),
    (zipped(GOOD, DATA[1:]), "the storage data/0, which the pickle names, is missing"),
    (zipped(GOOD, [("0", WTE[:-4]), DATA[1]]), "has 20 bytes, but the pickle says 24"),
    (zipped(GOOD, [("0", WTE + b"abcd"), DATA[1]]), "has 28 bytes, but the pickle says 24"),
    (archive(more=[("archive/byteorder", b"big")]), "big-endian"),
    (archive(more=[("archive/byteorder", b"little\0")]), "big-endian"),
    (archive(more=[("archive/byteorder", b"little" * 9)]), "over this program's limit"),
    (archive(more=[("archive/byteorder", b"little", {"crc": 1})]), "does not have the CRC"),
    (archive(more=[("archive/constants.pkl", b"")]), "a TorchScript archive",
     status.SOURCE_KIND),
    (zip_file([]), "neither one of PyTorch", status.SOURCE_KIND),
    (zip_file([("x", b"x")]), "neither one of PyTorch", status.SOURCE_KIND),
    (zip_file([("a/x", b"x"), ("b/data.pkl", GOOD)]), "neither one of PyTorch", status.SOURCE_KIND),
]

ELEMENTS = [("0", WTE, 6), ("1", WPE, 4)]
BIG_ENDIAN = dictionary(("protocol_version", number(1001)), ("little_endian", b"\x89"))


def old(**options):
    return legacy(GOOD, ELEMENTS, **options)


LEGACY = [
    (old(protocol=PROTO + b"M\xe8\3."), "a protocol that is not 1001"),
    (old(protocol=PROTO + b"N."), "a protocol that is not 1001"),
    (old(protocol=b""), "a protocol that is not 1001"),
    (old(magic=MAGIC[:-1] + b"N."), "left over"),
    (old(magic=MAGIC[:-1] + b"\x85."), "no magic number"),
    (old(machine=PROTO + b"N."), "no system information"),
    (old(machine=PROTO + b"}."), "no system information"),
    (old(machine=PROTO + BIG_ENDIAN + b"."), "big-endian"),
    (old(machine=PROTO + dictionary(("little_endian", number(1))) + b"."), "no system information"),
    (old(machine=PROTO + dictionary(("little_endian", b"\x88"), ("little_endian", b"\x88")) + b"."),
     "no system information"),
    (old(machine=PROTO + call(name_of("os", "system"), text("id")) + b"."), "names os.system"),
    (old(keys=PROTO + b"N."), "no list of the keys of 2 storages"),
    (old(keys=PROTO + b"](" + text("0") + b"e."), "no list of the keys of 2 storages"),
    (old(keys=PROTO + b"](" + text("0") * 2 + b"e."), "\"0\", which is there twice"),
    (old(keys=PROTO + b"](" + text("0") + text("2") + b"e."), "\"2\", which is of no tensor"),
    (old(keys=PROTO + b"](" + text("0") + text("00") + b"e."), "\"00\", which is of no tensor"),
    (old(keys=PROTO + b"](N" + text("0") + b"e."), "a storage's key that is no text"),
    (old(keys=PROTO + b"](" + text("0") + text("1") * 2 + b"e."), "no list of the keys"),
    (old(keys=PROTO + b"](" + text("0") + text("\x1b") + b"e."), "\"\\x1b\", which is of no"),
    (old(keys=b""), "opcode 0x06"),
    (old(data=b""), "the file ends before storage 0"),
    (old(data=struct.pack("<Q", 6)), "the file ends within storage 0"),
    (old(data=struct.pack("<Q", 7) + WTE), "storage 0 of 7 elements, where the pickle says 6"),
    (old(data=struct.pack("<Q", 2**64 - 1) + WTE), "storage 0 of 18446744073709551615 elements"),
    (old()[:-1], "the file ends within storage 1"),
    (old()[:-20], "the file ends before storage 1"),
    (old()[:300], "without an end"),
    (old(after=b"x"), "1 bytes after the last storage"),
    (old(after=MAGIC), "15 bytes after the last storage"),
    (legacy(PROTO + b"X\0\0\x50\0" + bytes(5 << 20), []), "a pickle of more than 4194304 bytes"),
    (legacy(PROTO + dictionary(*PAIRS, ("x", tensor(storage("0", n=5), [1], [1]))) + b".", ELEMENTS),
     "storage 0, described in two ways"),
    (legacy(PROTO + dictionary(*PAIRS, ("x", tensor(storage("0", "F64"), [1], [1]))) + b".",
            ELEMENTS), "storage 0, described in two ways"),
]


class Case(test_cli.Case):
    def refused(self, data, part, name="x.pt", want=status.SOURCE):
        self.write(name, data)
        for old_name in set(os.listdir(".")) - {name}:
            os.unlink(old_name)
        out, err = self.run_limited("pack", name, "-o", "out.gpt2w", code=INPUT)
        self.assertEqual(out, "")
        self.assertEqual(err.count("\n"), 1, err)
        self.assertTrue(err.startswith(f"gpt2-pack: {name}: "), err)
        self.assertNotIn("\x1b", err)
        self.assertIn(part, err)
        self.left(name)
        code, message = status.of(name)
        self.assertEqual(code, want, message)
        self.assertIn(part, message)

    def tables(self, data, wte, wpe, name="x.pt", dtype=("F32", "F32")):
        """What is packed of a file, bit for bit."""
        if data is not None:
            self.write(name, data)
        self.run_limited("pack", name, "-o", "out.gpt2w", "--force", "--quiet")
        self.run_pack("unpack", "out.gpt2w", "-o", "out.safetensors", "--force", "--quiet")
        tensors = read_safetensors("out.safetensors")[2]
        for got, want, kind in zip((tensors["wte.weight"], tensors["wpe.weight"]), (wte, wpe), dtype):
            self.assertEqual(got[0], kind)
            self.assertEqual(got[2], want)

    def info(self, name="x.pt"):
        return json.loads(self.run_pack("info", "--json", name)[0])


class Malformed(Case):
    def test_enough_flaws(self):
        self.assertGreaterEqual(len(PICKLES) + len(ARCHIVES), 40)
        self.assertGreaterEqual(len(LEGACY), 30)  # and the pickles, once more

    def test_pickles_in_archives(self):
        for pickle, part in PICKLES:
            with self.subTest(part, pickle=pickle[:80]):
                self.refused(zipped(pickle, DATA), part)

    def test_pickles_in_old_files(self):
        for pickle, part in PICKLES:
            # what follows belongs to the next pickle there, or the storages are not named
            if part in ("without an end", "no dictionary"):
                continue
            with self.subTest(part, pickle=pickle[:80]):
                self.refused(legacy(pickle, ELEMENTS), part)

    def test_archives(self):
        for data, part, *code in ARCHIVES:
            with self.subTest(part, bytes=len(data)):
                self.refused(data, part, want=code[0] if code else status.SOURCE)

    def test_old_files(self):
        for data, part in LEGACY:
            with self.subTest(part):
                self.refused(data, part)

    def test_damaged_values(self):
        for changes, part in (({"crc": 1}, "CRC"),
                              ({"method": 8, "stored": b"\xff" * 9}, "is damaged")):
            with self.subTest(part):
                self.refused(changed(**changes), part)

    def test_bomb(self):
        bomb = storage("0", n=len(BIG) // 4)
        pickle = with_first(tensor(bomb, [5 << 19, 2], [2, 1]))
        self.refused(zipped(pickle, [("0", BIG), DATA[1]],
                            changes={"0": {"method": 8, "stored": deflate(BIG)}}), "is a bomb")

    def test_archive_too_many(self):
        self.refused(archive(zip64={"n": 70000, "n2": 70000}, end={"n": 0xffff, "n2": 0xffff}),
                     "70000 members")
        self.refused(zip_file([("a/data.pkl", GOOD, {"central_comment": b"x" * 60000})] +
                              [(f"a/{i}", b"", {"central_comment": b"x" * 60000})
                               for i in range(140)]), "a central directory of")

    def test_nested_tuples(self):
        self.refused(zipped(PROTO + b")" + b"\x85" * 100000 + b".", DATA), "no dictionary")

    def test_large_deflated_view(self):
        big = floats(5 << 20)
        pickle = with_first(tensor(storage("0", n=5 << 20), [5 << 19, 2], [1, 5 << 19]))
        self.refused(zipped(pickle, [("0", big), DATA[1]],
                            changes={"0": {"method": 8, "stored": deflate(big)}}),
                     "is a strided view of a large deflated storage")

    def test_scattered_view(self):
        """Every element on a page of its own, and more of them than the cache has lines."""
        n, rows, columns = 8 << 20, 700, 8000
        pickle = with_first(tensor(storage("0", n=n), [rows, columns], [1, 1024])).replace(
            T_WPE, tensor(ON_WPE, [2, columns], [0, 0]))
        self.refused(legacy(pickle, [("0", bytes(4 * n), n), ELEMENTS[1]]), "too long to read them")

    def test_cut_off_anywhere(self):
        for data in archive(), old():
            for n in range(4, len(data)):
                self.write("x.pt", data[:n])
                with self.subTest(n=n, of=len(data)):
                    self.run_pack("info", "x.pt", code=INPUT)

    def test_not_a_checkpoint(self):
        self.refused(b"\x80\4\x95\x10\0\0\0\0\0\0\0}", "a Python pickle",
                     want=status.SOURCE_KIND)


class Values(Case):
    def test_archives(self):
        wide = {"0": {"wide": True}, "data.pkl": {"wide": True}}
        flag = {"flags": 8, "local_crc": 0, "local_size": 0, "local_packed": 0}
        descriptors = [DESCRIPTOR, DESCRIPTOR[4:],
                       struct.pack("<IQQ", zlib.crc32(WTE), len(WTE), len(WTE)),
                       struct.pack("<4sIQQ", b"PK\7\x08", zlib.crc32(WTE), len(WTE), len(WTE))]
        padding = {"local_extra": extra(0x4246, b"Z" * 60), "central_extra": extra(7, b"abc") +
                   b"\0\0\0"}
        for data in (archive(), archive(comment=b"PK and so on"), archive(reverse=True),
                     archive(zip64={}), archive(zip64={"bytes": 50, "more": b"abcdef"}),
                     archive(zip64={}, end={"n": 0xffff, "n2": 0xffff, "size": 0xffffffff,
                                            "offset": 0xffffffff}),
                     zipped(GOOD, DATA, changes=wide), changed(**padding), changed(flags=0x800),
                     *(changed(gap=d, **flag) for d in descriptors),
                     changed(flags=8, gap=DESCRIPTOR),
                     changed(method=8, stored=deflate(WTE), flags=2),
                     changed("data.pkl", method=8, stored=deflate(GOOD)),
                     archive(more=[("archive/byteorder", b"little"), ("archive/.data/x", b"")]),
                     archive(more=[("archive/bomb", BIG, {"method": 8, "stored": deflate(BIG)})]),
                     archive(root="a" * 900), archive(root="ä\u4e2d\U0001f600")):
            with self.subTest(bytes=len(data)):
                self.tables(data, WTE, WPE)

    def test_python_writes_archives(self):
        for method in zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED:
            file = io.BytesIO()
            with zipfile.ZipFile(file, "w", method) as out:
                out.comment = b"a comment"
                for name, data in [("a/data.pkl", GOOD), ("a/data/0", WTE), ("a/data/1", WPE)]:
                    out.writestr(name, data)
            self.tables(file.getvalue(), WTE, WPE)
            self.assertEqual(self.info()["format"], "pytorch")

    def test_old_file(self):
        self.tables(old(), WTE, WPE)
        self.assertEqual(self.info()["format"], "pytorch-legacy")

    def test_folder(self):
        os.mkdir("model")
        self.write("model/pytorch_model.bin", old())
        self.write("model/config.json", b'{"n_layer": 12, "n_head": 3, "n_embd": 2}')
        self.tables(None, WTE, WPE, name="model")

    def pickles(self):
        """Pickles of the same tables."""
        attributes = HOOKS + b"}" + text("_metadata") + HOOKS + b"sb"
        whole = storage("0", "F32", 6, b"N")
        yield GOOD
        yield GOOD.replace(PROTO, b"\x80\4\x95" + struct.pack("<Q", len(GOOD) - 2))
        yield PROTO + call(ORDERED) + dictionary(*PAIRS)[1:] + b"."
        yield PROTO + call(ORDERED, b"](" + b"".join(
            b"](U" + bytes([len(k)]) + k.encode() + v + b"e" for k, v in PAIRS) + b"e") + b"."
        yield PROTO + dictionary(*PAIRS) + attributes[len(HOOKS):] + b"."
        yield PROTO + dictionary(("state_dict", dictionary(*PAIRS)), ("epoch", number(3))) + b"."
        yield PROTO + dictionary(("model", number(3)), *PAIRS) + b"."
        yield PROTO + b"}q\0(" + text("self") + b"h\0" + text("model") + dictionary(*PAIRS) + b"u."
        yield with_first(call(PARAMETER, T_WTE, b"\x88", HOOKS))
        yield with_first(call(name_of("torch._utils", "_rebuild_parameter_with_state"), T_WTE,
                              b"\x88", HOOKS, b"}"))
        yield with_first(call(name_of("torch._utils", "_rebuild_tensor"), ON_WTE, number(0), *NAMES))
        yield raw_tensor(ON_WTE, number(0), call(name_of("torch", "Size"), NAMES[0]), NAMES[1],
                         b"\x89", HOOKS, b"}")
        yield raw_tensor(storage("0", cls=BYTES_STORAGE, n=24), number(0), *NAMES, b"\x89", HOOKS,
                         name_of("torch", "float32"), function=TYPED)
        yield raw_tensor(whole, number(0), *NAMES, b"\x89", HOOKS)
        yield raw_tensor(storage("0", "F32", 6, tuple_of(text("7"), number(0), number(6))),
                         number(0), *NAMES, b"\x89", HOOKS)
        yield with_first(REBUILD[:0] + text("torch._utils") + text("_rebuild_tensor_v2") + b"\x93" +
                         T_WTE[len(REBUILD):])
        yield with_value(call(name_of("torch", "device"), text("cpu")))
        yield with_value(b"](" + b"N\x88\x89" + b"J\xff\xff\xff\xff" + b"G" + bytes(8) + b"M\0\1" +
                         b"\x8a\0" + b"\x8a\1\xff" + number(2**70) + name_of("torch", "bfloat16") +
                         b"\x8c\1a" + b"\x8d\1" + bytes(7) + b"a" + b"T\1\0\0\0a" + b"U\1\xff" +
                         b"}" + text("k") + b"Ns" + b"]Na" + b")\x94" + b"N\x85N\x86"[:2] + b"e")
        # a stride means nothing where there is one element, and nothing at all where there is none
        yield with_first(T_WTE, ("e", tensor(ON_WTE, [0, 5], [2**40, 2**40], 2**40)),
                         ("one", tensor(ON_WTE, [1, 2], [2**62, 1])))

    def test_pickles(self):
        for pickle in self.pickles():
            with self.subTest(pickle=pickle[:200]):
                self.tables(zipped(pickle, DATA), WTE, WPE)
                if b"UntypedStorage" in pickle:
                    self.tables(legacy(pickle, [("0", WTE, 24), ELEMENTS[1]]), WTE, WPE)
                else:
                    self.tables(legacy(pickle, ELEMENTS), WTE, WPE)

    def test_model_args(self):
        arguments = dictionary(("n_layer", number(5)), ("n_head", number(7)), ("bias", b"\x89"))
        self.write("x.pt", zipped(PROTO + dictionary(
            ("model", dictionary(("_orig_mod.transformer.wte.weight", T_WTE),
                                 ("_orig_mod.transformer.wpe.weight", T_WPE))),
            ("model_args", arguments)) + b".", DATA))
        self.run_pack("pack", "x.pt", "-o", "out.gpt2w")
        pack = self.info("out.gpt2w")
        self.assertEqual((pack["n_layer"], pack["n_head"]), (5, 7))
        self.assertEqual(pack["provenance"]["source_format"], "pytorch")

    def strided(self, on, shape, stride, offset, values, width=4):
        """The bytes of such a view, and its tensor."""
        want = b"".join(values[width * (offset + r * stride[0] + c * stride[1]):][:width]
                        for r in range(shape[0]) for c in range(shape[1]))
        return want, tensor(on, shape, stride, offset)

    def test_views(self):
        values = floats(4000, 3)
        for shape, stride, offset in (((3, 2), (2, 1), 100), ((40, 50), (1, 40), 7), ((40, 2), (0, 1), 9),
                                      ((60, 2), (60, 3), 5), ((30, 2), (1, 1), 0), ((9, 2), (0, 0), 3),
                                      ((1, 2), (77, 5), 11), ((3, 2), (7, 1), 1)):
            want, view = self.strided(storage("0", n=4000), shape, stride, offset, values)
            pickle = with_first(view).replace(T_WPE, tensor(storage("0", n=4000), [2, shape[1]],
                                                            [shape[1], 1], 8))
            wpe = values[32:32 + 8 * shape[1]]
            with self.subTest(shape=shape, stride=stride):
                self.tables(zipped(pickle, [("0", values)]), want, wpe)
                self.tables(zipped(pickle, [("0", values)],
                                   changes={"0": {"method": 8, "stored": deflate(values)}}), want, wpe)
                self.tables(legacy(pickle, [("0", values, 4000)]), want, wpe)

    def test_large_transposed(self):
        """More pages than the cache has, and more values than one buffer."""
        rows, columns = 6000, 1000
        values = floats(rows * columns)
        want = bytearray(len(values))
        for part in range(4):
            for r in range(rows):
                want[r * columns * 4 + part:(r + 1) * columns * 4 + part:4] = \
                    values[r * 4 + part::rows * 4]
        pickle = with_first(tensor(storage("0", n=rows * columns), [rows, columns], [1, rows]),
                            ("wpe", T_WPE)).replace(T_WPE, tensor(storage("0", n=rows * columns),
                                                                  [2, columns], [columns, 1]), 1)
        data = legacy(pickle.replace(ON_WPE, storage("0", n=rows * columns)),
                      [("0", values, rows * columns)])
        self.tables(data, bytes(want), values[:8 * columns])

    @unittest.skipUnless(test_cli.FULL, "takes 20 s; GW_TEST_FULL=1 asks for it")
    def test_huge_sparse_view(self):
        """A storage of 6 GiB, of which two elements are used: its pages are larger."""
        n = 3 << 30
        pickle = with_first(tensor(storage("0", "F16", n), [2, 2], [n - 2, 1]))
        self.write("x.pt", legacy(pickle, [], keys=PROTO + b"](" + text("0") + text("1") + b"e.",
                                  data=struct.pack("<Q", n) + b"abcd"))
        with open("x.pt", "r+b") as file:
            end = file.seek(0, os.SEEK_END) - 4 + 2 * n
            file.seek(end - 4)
            file.write(b"efgh" + struct.pack("<Q", 4) + WPE)
        self.run_pack("pack", "x.pt", "-o", "out.gpt2w", "--quiet")
        self.run_pack("unpack", "out.gpt2w", "-o", "out.safetensors", "--quiet")
        self.assertEqual(read_safetensors("out.safetensors")[2]["wte.weight"][2], b"abcdefgh")

    def test_deflated_backwards(self):
        """wpe lies before wte in one deflated storage: the stream begins anew."""
        values = floats(4000, 3)
        on = storage("0", n=4000)
        pickle = with_first(tensor(on, [30, 2], [2, 1], 900)).replace(
            T_WPE, tensor(on, [4, 2], [2, 1], 100))
        self.tables(zipped(pickle, [("0", values)],
                           changes={"0": {"method": 8, "stored": deflate(values)}}),
                    values[3600:3840], values[400:432])

    def test_element_types(self):
        for dtype, cls in (("F16", "HalfStorage"), ("BF16", "BFloat16Storage")):
            pickle = GOOD.replace(b"FloatStorage", cls.encode())
            self.tables(zipped(pickle, [("0", WTE[:12]), ("1", WPE[:8])]), WTE[:12], WPE[:8],
                        dtype=(dtype, dtype))
        self.write("x.pt", zipped(GOOD.replace(b"FloatStorage", b"DoubleStorage"),
                                  [("0", WTE * 2), ("1", WPE * 2)]))
        self.assertEqual({t["dtype"] for t in self.info()["tensors"]}, {"F64"})


class RealFiles(Case):
    """Written by PyTorch; the tables compared with what it loads."""

    def setUp(self):
        super().setUp()
        try:
            import torch
        except ImportError:
            print("SKIPPED: no PyTorch here (Debian: python3-torch)", file=sys.stderr)
            self.skipTest("no PyTorch")
        self.torch = torch
        torch.manual_seed(1)
        self.wte, self.wpe = torch.randn(500, 48), torch.randn(60, 48)

    def compare(self, state, wrap=lambda state: state):
        for new in True, False:
            with self.subTest(zip=new):
                self.torch.save(wrap(state), "x.pt", _use_new_zipfile_serialization=new)
                tables = [next(v for k, v in state.items() if k.endswith(name))
                          for name in ("wte.weight", "wpe.weight")]
                names = {self.torch.float32: "F32", self.torch.float16: "F16",
                         self.torch.bfloat16: "BF16"}
                self.tables(None, *(bytes(t.detach().contiguous().view(self.torch.uint8).flatten().tolist())
                                    for t in tables), dtype=[names[t.dtype] for t in tables])

    def state(self, **more):
        return {"wte.weight": self.wte, "wpe.weight": self.wpe, "e": self.torch.empty(0, 5),
                "mask": self.torch.ones(1, 1, 4, 4).tril().bool(), "n": self.torch.tensor(3), **more}

    def test_plain(self):
        self.compare(self.state())

    def test_transposed(self):
        self.compare(self.state(**{"wte.weight": self.wte.t().contiguous().t()}))

    def test_views(self):
        self.compare(self.state(**{"wte.weight": self.wte[::3, ::2], "wpe.weight": self.wpe[7:40, 24:]}))
        self.compare(self.state(**{"wpe.weight": self.wpe[:1].expand(30, 48)}))

    def test_shared(self):
        self.compare(self.state(**{"lm_head.weight": self.wte, "wpe.weight": self.wte[100:160]}))

    def test_element_types(self):
        for dtype in self.torch.float16, self.torch.bfloat16:
            self.compare(self.state(**{"wte.weight": self.wte.to(dtype)}))

    def test_parameters(self):
        parameter = self.torch.nn.Parameter
        self.compare(self.state(**{"wte.weight": parameter(self.wte), "wpe.weight": parameter(self.wpe)}))

    def test_nanogpt(self):
        torch = self.torch
        model = torch.nn.ModuleDict({"wte": torch.nn.Embedding(100, 16), "ln": torch.nn.LayerNorm(16),
                                     "wpe": torch.nn.Embedding(10, 16)})
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95))
        ids = torch.arange(3)
        model.ln(model.wte(ids) + model.wpe(ids)).sum().backward()
        optimizer.step()
        state = {"_orig_mod.transformer." + k: v for k, v in model.state_dict().items()}
        self.compare(state, lambda state: {
            "model": state, "optimizer": optimizer.state_dict(), "iter_num": 2000,
            "model_args": {"n_layer": 2, "n_head": 4, "n_embd": 16, "block_size": 10, "bias": False,
                           "vocab_size": 100, "dropout": 0.0},
            "best_val_loss": torch.tensor(1.5),
            "config": {"out_dir": "out", "learning_rate": 6e-4, "compile": True, "seed": -1,
                       "tokens": 2**40, "wandb": None}})

    def test_modules_are_refused(self):
        for new in True, False:
            self.torch.save(self.torch.nn.Linear(2, 2), "x.pt", _use_new_zipfile_serialization=new)
            self.assertIn("GLOBAL names torch.nn.modules.linear.Linear",
                          self.run_pack("info", "x.pt", code=INPUT)[1])


if __name__ == "__main__":
    test_cli.PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
