#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""gpt2-pack on TensorFlow checkpoints that tf_writer makes: the right values, or one clear line.

Usage: test_tf.py GPT2-PACK [unittest's arguments]."""

import array
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
import status  # noqa: E402
import tf_writer as tf  # noqa: E402

PROGRAM = None
DONE, FAILED, USAGE, INPUT, IO = range(5)


def floats(n, seed):
    values = random.Random(seed)
    return array.array("f", (values.uniform(-4, 4) for _ in range(n))).tobytes()


WTE, WPE = floats(5 * 4, 1), floats(3 * 4, 2)
TABLES = [("model/wte", tf.FLOAT, [5, 4], WTE), ("model/wpe", tf.FLOAT, [3, 4], WPE)]
# What table() puts in the index; wpe's data come first.
HEADER = (b"", tf.header())
WPE_ENTRY = (b"model/wpe", tf.entry(tf.FLOAT, [3, 4], 0, 48, tf.crc32c(WPE)))
WTE_ENTRY = (b"model/wte", tf.entry(tf.FLOAT, [5, 4], 48, 80, tf.crc32c(WTE)))
GOOD = [HEADER, WPE_ENTRY, WTE_ENTRY]
DATA = WPE + WTE


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.old = os.getcwd()
        os.chdir(self.folder.name)
        self.addCleanup(os.chdir, self.old)
        os.mkdir("m")

    def run_pack(self, *arguments, code=DONE):
        done = subprocess.run([PROGRAM, *arguments], capture_output=True)
        self.assertEqual(done.returncode, code, done)
        err = done.stderr.decode()
        self.assertNotIn("\x1b", err)
        return done.stdout.decode(), err

    def write(self, path, data):
        with open(path, "wb") as file:
            file.write(data)

    def values(self, path, *options):
        """Packs path and returns {name: (dtype, shape, bytes)}."""
        self.run_pack("pack", path, "-o", "out.gpt2w", "--force", *options)
        self.run_pack("unpack", "out.gpt2w", "-o", "out.safetensors", "--force")
        with open("out.safetensors", "rb") as file:
            data = file.read()
        base = 8 + struct.unpack("<Q", data[:8])[0]
        tensors = json.loads(data[8:base])
        tensors.pop("__metadata__", None)
        return {name: (t["dtype"], t["shape"], data[base + t["data_offsets"][0]:
                                                    base + t["data_offsets"][1]])
                for name, t in tensors.items()}

    EXPECTED = {"wte.weight": ("F32", [5, 4], WTE), "wpe.weight": ("F32", [3, 4], WPE)}

    def refused(self, path, part, code=INPUT, options=(), want=status.SOURCE):
        before = sorted(os.listdir("."))
        _, err = self.run_pack("pack", path, "-o", "no.gpt2w", *options, code=code)
        self.assertIn(part, err)
        self.assertLessEqual(err.count("\n"), 1, err)
        self.assertEqual(sorted(os.listdir(".")), before)
        found, message = status.of(path)
        self.assertEqual(found, want, message)
        self.assertIn(part, message)


class Good(Case):
    def test_three_ways_to_name_it(self):
        tf.write("m/model.ckpt", TABLES)
        for path in "m", "m/model.ckpt", "m/model.ckpt.index":
            with self.subTest(path):
                self.assertEqual(self.values(path), self.EXPECTED)
        os.remove("m/checkpoint")
        self.assertEqual(self.values("m"), self.EXPECTED)
        os.chdir("m")
        self.assertEqual(self.values("model.ckpt"), self.EXPECTED)

    def test_checkpoint_chooses(self):
        tf.write("m/a", [TABLES[0]])
        tf.write("m/c", [TABLES[0]])
        tf.write("m/b", TABLES)
        tf.write("m/zz", [TABLES[0]], checkpoint=False)
        self.assertEqual(self.values("m"), self.EXPECTED)

    def test_tables_of_many_kinds(self):
        names = [f"model/h{i}/attn/c_attn/{part}" for i in range(48) for part in ("b", "w")]
        others = [(name, tf.FLOAT, [1, 2, 1], struct.pack("<2f", i, i))
                  for i, name in enumerate(names)]
        for options in (
                {}, {"per_block": 1}, {"per_block": 7}, {"interval": 1}, {"interval": 3},
                {"interval": 1000}, {"compression": 1}, {"compression": 1, "per_block": 9},
                {"align": 64}, {"align": 4096}):
            with self.subTest(options):
                tf.write("m/model.ckpt", TABLES + others, **options)
                self.assertEqual(self.values("m"), self.EXPECTED)

    def test_shards(self):
        tf.write("m/model.ckpt-7", [(*TABLES[0], 2), (*TABLES[1], 0), ("x", tf.INT64, [], b"x" * 8, 2)],
                 shards=4)
        self.assertEqual(self.values("m"), self.EXPECTED)
        info = json.loads(self.run_pack("info", "--json", "m")[0])
        self.assertEqual([f["name"] for f in info["files"]], ["model.ckpt-7.index"] + [
            f"model.ckpt-7.data-0000{i}-of-00004" for i in range(4)])
        self.assertEqual([(t["name"], t["canonical"], t["role"], t["dtype"], t["shape"])
                          for t in info["tensors"]],
                         [("model/wpe", "wpe.weight", "wpe", "F32", [3, 4]),
                          ("model/wte", "wte.weight", "wte", "F32", [5, 4]),
                          ("x", None, None, "I64", [])])

    def test_types(self):
        every = array.array("H", range(65536)).tobytes()
        for dtype, name in (tf.HALF, "F16"), (tf.BFLOAT16, "BF16"):
            tf.write("m/model.ckpt", [("model/wte", dtype, [1024, 64], every)])
            self.assertEqual(self.values("m", "--wpe", "none"),
                             {"wte.weight": (name, [1024, 64], every)})

    def test_binary64(self):
        doubles = [array.array("d", array.array("f", data)).tobytes() for data in (WTE, WPE)]
        tf.write("m/model.ckpt", [("model/wte", tf.DOUBLE, [5, 4], doubles[0]),
                                  ("model/wpe", tf.DOUBLE, [3, 4], doubles[1])])
        self.assertEqual(self.values("m", "--dtype", "f32"), self.EXPECTED)

    def test_two_checkpoints(self):
        tf.write("m/a", TABLES[:1])
        tf.write("m/b", TABLES[1:])
        self.run_pack("pack", "m/a", "m/b.index", "-o", "out.gpt2w")
        tf.write("m/c", TABLES)
        self.run_pack("pack", "m", "-o", "one.gpt2w")
        ids = [json.loads(self.run_pack("info", "--json", name)[0])["content_id"]
               for name in ("out.gpt2w", "one.gpt2w")]
        self.assertEqual(ids[0], ids[1])

    def test_other_tensors(self):
        """Their types need not be ones that a pack can hold, and their checksums are their own."""
        tf.write("m/model.ckpt", TABLES + [
            ("_CHECKPOINTABLE_OBJECT_GRAPH", tf.STRING, [], b"\5....hello"),
            ("a", 20, [3], b"resource"), ("empty", tf.FLOAT, [0, 7], b""), ("e2", tf.INT32, [0], b""),
            ("c", 18, [2], bytes(32)), ("q", 11, [3], b"abc"), ("w\u00e9", tf.DOUBLE, [1], bytes(8))])
        self.assertEqual(self.values("m"), self.EXPECTED)
        out, _ = self.run_pack("info", "m")
        self.assertIn("other", out)
        self.assertIn("this format's name for wte.weight", out)

    def test_other_names(self):
        tf.write("m/model.ckpt", [("tokens", *TABLES[0][1:]), ("positions", *TABLES[1][1:])])
        self.assertEqual(self.values("m", "--wte", "tokens", "--wpe", "positions"), self.EXPECTED)

    def test_vocab(self):
        tf.write("m/model.ckpt", TABLES)
        self.assertEqual(self.values("m", "--vocab", "2")["wte.weight"], ("F32", [2, 4], WTE[:32]))

    def test_hparams(self):
        tf.write("m/model.ckpt", TABLES)
        self.write("m/hparams.json", b'{"n_vocab":5,"n_ctx":3,"n_embd":4,"n_head":2,"n_layer":9}')
        for path in "m", "m/model.ckpt", "m/model.ckpt.index":
            self.values(path)
            info = json.loads(self.run_pack("info", "--json", "out.gpt2w")[0])
            self.assertEqual((info["n_layer"], info["n_head"]), (9, 2))
        for name, part in ("n_vocab", "6"), ("n_ctx", "4"), ("n_embd", "5"):
            self.write("m/hparams.json", json.dumps({name: int(part)}).encode())
            _, err = self.run_pack("pack", "m", "-o", "no.gpt2w", code=INPUT)
            self.assertIn("hparams.json says", err)
        self.write("m/hparams.json", b'{"n_vocab":1.5}')
        self.refused("m", "hparams.json: n_vocab is not a whole number")

    def test_unusual_bytes(self):
        """Unknown fields are skipped, one of every wire type; no version is a version too."""
        more = tf.number(20, 1 << 63) + tf.text(21, b"x") + tf.fixed32(22, 1) + b"\xb9\x01" + bytes(8)
        self.write("m/a.index", tf.table([
            (b"", tf.number(1, 1) + more), (WPE_ENTRY[0], WPE_ENTRY[1] + more),
            (WTE_ENTRY[0], tf.number(1, 1) + tf.text(2, tf.text(2, tf.number(1, 5) + tf.text(2, b"rows"))
                                                     + tf.shape(4) + more)
             + tf.number(4, 48) + tf.number(5, 80) + tf.fixed32(6, tf.masked(tf.crc32c(WTE))))]))
        self.write("m/a.data-00000-of-00001", DATA)
        self.assertEqual(self.values("m"), self.EXPECTED)

    def test_first_block_may_look_like_json(self):
        first = set()
        for n in range(1, 60):
            tf.write("m/a", TABLES + [("x" * n, tf.FLOAT, [], bytes(4))], compression=1)
            self.assertEqual(self.values("m"), self.EXPECTED)
            with open("m/a.index", "rb") as file:
                first.add(file.read(1))
        self.assertIn(b"{", first)


def changed(key, value):
    """The good table with one value changed."""
    return tf.table([(k, value if k == key else v) for k, v in GOOD])


def wte(**more):
    """The good table, with another entry of model/wte."""
    fields = {"dtype": tf.FLOAT, "dims": [5, 4], "offset": 48, "size": 80, "crc": tf.crc32c(WTE)}
    fields.update(more)
    return changed(b"model/wte", tf.entry(**fields))


def head(value):
    return changed(b"", value)


def raw(data, index=None):
    """A table of one raw block; the checksum is right."""
    data = tf.trailed(data)
    return tf.table(blocks=[data], index=index or [(b"z", tf.handle(0, len(data) - 5))])


def entry_bytes(shared, key, value, claimed_key=None, claimed_value=None):
    return (tf.varint(shared) + tf.varint(len(key) if claimed_key is None else claimed_key)
            + tf.varint(len(value) if claimed_value is None else claimed_value) + key + value)


def restarts(*points):
    return b"".join(struct.pack("<I", n) for n in [*points, len(points)])


def indexed(*handles, blocks=None):
    """The good block, and an index that names others."""
    return tf.table(blocks=blocks or [tf.trailed(tf.block(GOOD))],
                    index=[(b"x" * (i + 1), h) for i, h in enumerate(handles)])


def compressed(data):
    """A table of one block that claims to be compressed."""
    data += b"\1"
    return tf.table(blocks=[data + struct.pack("<I", tf.masked(tf.crc32c(data)))],
                    index=[(b"z", tf.handle(0, len(data) - 1))])


def flip(data, at):
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


BLOCK = tf.block(GOOD)
H = entry_bytes(0, *HEADER)
N = len(BLOCK)
TABLE = tf.table(GOOD)
ENTRY = WTE_ENTRY[1]
BIG = (1 << 64) - 1

# (name, index, part of the message, code if it is not GW_E_SOURCE)
FLAWS = [
    # the footer
    ("no magic", flip(TABLE, -1), "past the end of the file"),  # then it may be a safetensors file
    ("only the magic", struct.pack("<Q", tf.MAGIC), "less than the 48"),
    ("a footer of 47", TABLE[-47:], "less than the 48"),
    ("only a footer", TABLE[-48:], "does not end where the footer begins"),
    ("cut at the front", TABLE[1:], "does not end where the footer begins"),
    ("a byte at the front", b"\0" + TABLE, "does not end where the footer begins"),
    ("handles that are none", tf.table(GOOD, footer=b"\xff" * 40), "does not hold two handles"),
    ("an overlong handle", tf.table(GOOD, footer=(b"\x80\0" + TABLE[-48:-8])[:40]),
     "does not hold two handles"),
    ("padding", tf.table(GOOD, footer=TABLE[-48:-9] + b"\1"), "padded"),
    ("index past the end", tf.table(GOOD, footer=(tf.handle(0, 8) + tf.handle(1 << 62, 9)).ljust(40, b"\0")),
     "does not end where the footer begins"),
    ("index size wraps", tf.table(GOOD, footer=(tf.handle(0, 8) + tf.handle(8, BIG)).ljust(40, b"\0")),
     "does not end where the footer begins"),
    ("meta past the index", tf.table(GOOD, footer=(
        tf.handle(1 << 62, 8) + tf.handle(N + 18, len(TABLE) - 48 - N - 23)).ljust(40, b"\0")),
     "does not end where the index block begins"),
    ("meta not before the index", tf.table(GOOD, footer=(
        tf.handle(N + 5, 7) + tf.handle(N + 18, len(TABLE) - 48 - N - 23)).ljust(40, b"\0")),
     "does not end where the index block begins"),
    ("meta with an entry", tf.table(GOOD, meta=tf.trailed(tf.block([(b"filter.x", b"")]))),
     "the meta block has entries"),
    ("bytes of no block", tf.table(GOOD, before_meta=b"12345"), "5 bytes belong to no block"),
    ("too large", tf.table(GOOD, before_meta=bytes(4 << 20)), "over this program's limit"),

    # checksums and compression
    ("data block damaged", flip(TABLE, 20), "the file is damaged"),
    ("data block's type damaged", flip(TABLE, N), "the file is damaged"),
    ("data block's checksum damaged", flip(TABLE, N + 1), "the file is damaged"),
    ("meta block damaged", flip(TABLE, N + 5), "the file is damaged"),
    ("index block damaged", flip(TABLE, N + 5 + 13 + 3), "the file is damaged"),
    ("unknown compression", tf.table(GOOD, compression=2), "unknown compression 2"),
    ("snappy: empty", compressed(b""), "a size that it cannot have"),
    ("snappy: 4 GiB", compressed(tf.varint(BIG >> 32) + b"\0a"), "a size that it cannot have"),
    ("snappy: size of 33 bits", compressed(tf.varint(1 << 32) + bytes(99)), "a size that it cannot"),
    ("snappy: 1000:1", compressed(tf.varint(100000) + bytes(100)), "a size that it cannot have"),
    ("snappy: short", compressed(tf.varint(9) + b"\0a"), "not what snappy makes"),
    ("snappy: long", compressed(tf.varint(1) + b"\4ab"), "not what snappy makes"),
    ("snappy: literal past the end", compressed(tf.varint(9) + b"\x20a"), "not what snappy makes"),
    ("snappy: literal of 4 GiB", compressed(tf.varint(9) + b"\xfc\xff\xff\xff\xff"), "not what snappy"),
    ("snappy: length cut off", compressed(tf.varint(9) + b"\xf4\1"), "not what snappy makes"),
    ("snappy: copy of nothing", compressed(tf.varint(4) + b"\1\1"), "not what snappy makes"),
    ("snappy: distance 0", compressed(tf.varint(5) + b"\0a\1\0"), "not what snappy makes"),
    ("snappy: distance too far", compressed(tf.varint(5) + b"\0a\1\2"), "not what snappy makes"),
    ("snappy: copy too long", compressed(tf.varint(4) + b"\0a\1\1"), "not what snappy makes"),
    ("snappy: copy cut off", compressed(tf.varint(5) + b"\0a\2\1"), "not what snappy makes"),
    ("snappy: unpacks to no block", compressed(tf.varint(1) + b"\0a"), "cannot hold"),

    # blocks
    ("empty block", raw(b""), "cannot hold"),
    ("no restart points", raw(H + restarts()), "cannot hold 0"),
    ("too many restart points", raw(H + struct.pack("<I", 99)), "cannot hold 99"),
    ("2^32 - 1 restart points", raw(H + struct.pack("<I", 0xffffffff)), "cannot hold 4294967295"),
    ("no entries", raw(tf.block([])), "has no entries"),
    ("no entries, odd restart", raw(restarts(4)), "where no entry begins"),
    ("first is no restart", raw(H + restarts(1)), "where no entry begins"),
    ("restart within an entry", raw(H + restarts(0, 2)), "where no entry begins"),
    ("restart past the end", raw(H + restarts(0, 1 << 31)), "where no entry begins"),
    ("restart twice", raw(H + restarts(0, 0)), "where no entry begins"),
    ("restarts out of order", raw(H + entry_bytes(0, *WPE_ENTRY) + restarts(0, len(H) + 1, len(H))),
     "where no entry begins"),
    ("restart that shares", raw(H + entry_bytes(0, *WPE_ENTRY) + entry_bytes(7, b"te", b"")
                                + restarts(0, len(H) + len(entry_bytes(0, *WPE_ENTRY)))),
     "shares bytes of the key before"),
    ("shares too much", raw(H + entry_bytes(1, b"x", b"") + restarts(0)), "than there are"),
    ("key past the end", raw(entry_bytes(0, b"", b"abc", claimed_key=9) + restarts(0)),
     "past the end of its block"),
    ("value past the end", raw(entry_bytes(0, b"", b"abc", claimed_value=4) + restarts(0)),
     "past the end of its block"),
    ("lengths that wrap", raw(b"\0" + tf.varint((1 << 32) - 1) * 2 + restarts(0)),
     "past the end of its block"),
    ("a length of 33 bits", raw(b"\0\0" + tf.varint(1 << 32) + restarts(0)), "past the end of its"),
    ("an overlong length", raw(b"\x80\0\0\0" + restarts(0)), "past the end of its block"),
    ("key and value missing", raw(H + b"\0" + restarts(0)), "past the end of its block"),
    ("key of 4097 bytes", tf.table([*GOOD, (b"x" * 4097, b"")]), "longer than this program's limit"),
    ("duplicate key", tf.table([HEADER, WPE_ENTRY, WTE_ENTRY, WTE_ENTRY]), "not greater"),
    ("duplicate header", tf.table([HEADER, HEADER]), "not greater"),
    ("out of order", tf.table([HEADER, WTE_ENTRY, WPE_ENTRY]), "not greater"),
    ("out of order across blocks", tf.table([HEADER, WTE_ENTRY, WPE_ENTRY], per_block=2), "not greater"),

    # the index
    ("empty table", tf.table(blocks=[], index=[]), "the table is empty"),
    ("handle cut off", indexed(b"\0"), "no handle"),
    ("handle and more", indexed(tf.handle(0, N) + b"\0"), "no handle"),
    ("handle of 65 bits", indexed(b"\0" + b"\xff" * 9 + b"\2"), "no handle"),
    ("handle of 11 bytes", indexed(b"\0" + b"\x80" * 10 + b"\1"), "no handle"),
    ("block elsewhere", indexed(tf.handle(1, N - 1)), "where 0 is the end of the one before"),
    ("block past the end", indexed(tf.handle(0, N + 1)), "goes past"),
    ("block of 2^64 - 1", indexed(tf.handle(0, BIG)), "goes past"),
    ("block twice", indexed(tf.handle(0, N), tf.handle(0, N)), f"where {N + 5} is the end"),
    ("block in the meta block", indexed(tf.handle(0, N), tf.handle(N + 5, 8)), "goes past"),
    ("index's key too small", tf.table(blocks=[tf.trailed(BLOCK)], index=[(b"a", tf.handle(0, N))]),
     "less than the last one"),
    ("index's key a prefix", tf.table(blocks=[tf.trailed(BLOCK)],
                                      index=[(b"model/wt", tf.handle(0, N))]),
     "less than the last one"),
    ("index's key too large", tf.table(
        blocks=[tf.trailed(tf.block(GOOD[:2])), tf.trailed(tf.block(GOOD[2:]))],
        index=[(b"model/wte", tf.handle(0, len(tf.block(GOOD[:2])))),
               (b"x", tf.handle(len(tf.block(GOOD[:2])) + 5, len(tf.block(GOOD[2:]))))]),
     "not greater"),

    # the header
    ("no header", tf.table(GOOD[1:]), "not the empty one"),
    ("no shards", head(tf.header(0)), "names 0 data files"),
    ("512 shards", head(tf.header(512)), "names 512 data files"),
    ("-1 shards", head(tf.header(-1)), "names 18446744073709551615 data files"),
    ("big-endian", head(tf.header(endianness=1)), "big-endian", status.SOURCE_KIND),
    ("unknown byte order", head(tf.header(endianness=2)), "unknown byte order 2"),
    ("newer version", head(tf.header(version=tf.number(1, 2) + tf.number(2, 2))), "reader of version 2",
     status.SOURCE_KIND),
    ("bad consumers", head(tf.header(version=tf.number(3, 1))), "must not read", status.SOURCE_KIND),
    ("version damaged", head(tf.header(version=b"\x08")), "no varint of 64 bits"),
    ("version of the wrong type", head(tf.header(version=tf.text(1, b""))), "wrong wire type"),
    ("version is a number", head(tf.number(1, 1) + tf.number(3, 1)), "wrong wire type"),
    ("shards twice", head(tf.header() + tf.number(1, 1)), "there twice"),
    ("header cut off", head(tf.header()[:-1]), "past the end of its message"),
    ("first format", head(tf.text(1, b"meta")), "TensorFlow's first format", status.SOURCE_KIND),

    # an entry
    ("entry empty", changed(b"model/wte", b""), "unknown number 0"),
    ("entry cut off", changed(b"model/wte", ENTRY[:-1]), "of fixed size is cut off"),
    ("64 bits cut off", changed(b"model/wte", ENTRY + b"\x41" + bytes(7)), "of fixed size is cut off"),
    ("tag cut off", changed(b"model/wte", ENTRY + b"\x80"), "no varint of 32 bits"),
    ("tag of 33 bits", changed(b"model/wte", ENTRY + b"\x80\x80\x80\x80\x10\0"), "no varint of 32 bits"),
    ("overlong tag", changed(b"model/wte", ENTRY + b"\xc0\0\0"), "no varint of 32 bits"),
    ("field 0", changed(b"model/wte", ENTRY + b"\0\0"), "the number 0"),
    ("a group", changed(b"model/wte", ENTRY + b"\x43\x44"), "does not exist in proto3"),
    ("wire type 7", changed(b"model/wte", ENTRY + b"\x47"), "does not exist in proto3"),
    ("varint of 65 bits", changed(b"model/wte", ENTRY + b"\x40" + b"\xff" * 9 + b"\2"), "of 64 bits"),
    ("varint of 11 bytes", changed(b"model/wte", ENTRY + b"\x40" + b"\x80" * 10 + b"\1"), "of 64 bits"),
    ("length of 2^64 - 1", changed(b"model/wte", ENTRY + b"\x42" + tf.varint(BIG)), "past the end"),
    ("dtype twice", changed(b"model/wte", ENTRY + tf.number(1, 1)), "there twice"),
    ("shape twice", changed(b"model/wte", ENTRY + tf.text(2, tf.shape(5, 4))), "there twice"),
    ("offset as text", changed(b"model/wte", tf.number(1, 1) + tf.text(4, b"0")), "wrong wire type"),
    ("checksum as varint", changed(b"model/wte", tf.number(6, 1)), "wrong wire type"),
    ("dtype 33", wte(dtype=33), "unknown number 33"),
    ("dtype -1", wte(dtype=-1), "unknown number 18446744073709551615"),
    ("dtype of a reference", wte(dtype=101), "unknown number 101"),
    ("shape too small", wte(dims=[4, 4]), "need 64"),
    ("shape too large", wte(dims=[5, 5]), "need 100"),
    ("wrong dtype", wte(dtype=tf.DOUBLE), "need 160"),
    ("nine dimensions", wte(dims=[5, 4] + [1] * 7), "more than 8 dimensions"),
    ("negative dimension", wte(dims=[-5, -4]), "is negative"),
    ("product wraps to 80", wte(dims=[1 << 62, 4, 5]), "does not fit 64 bits"),
    ("size wraps to 80", wte(dims=[(1 << 62) + 20]), "does not fit 64 bits"),
    ("unknown rank", changed(b"model/wte", tf.number(1, 1) + tf.text(2, tf.number(3, 1))), "unknown rank"),
    ("dimension as number", changed(b"model/wte", tf.text(2, tf.number(2, 5))), "wrong wire type"),
    ("dimension damaged", changed(b"model/wte", tf.text(2, tf.text(2, b"\x08"))), "of 64 bits"),
    ("dimension's size twice", changed(b"model/wte", tf.text(2, tf.text(2, tf.number(1, 5) * 2))),
     "there twice"),
    ("shape damaged", changed(b"model/wte", tf.text(2, b"\x12\x09")), "past the end of its message"),
    ("shard 1 of 1", wte(shard=1), "data file 1 of 1"),
    ("shard -1", wte(shard=-1), "data file 18446744073709551615 of 1"),
    ("negative offset", wte(offset=-1), "past what a file can have"),
    ("negative size", wte(size=-80), "past what a file can have"),
    ("offset + size wraps", wte(offset=(1 << 63) - 80), "past what a file can have"),
    ("past the end", wte(offset=49), "goes past the end of the file"),
    ("far past the end", wte(offset=1 << 62), "goes past the end of the file"),
    ("overlap", wte(offset=47), "overlaps the one before it, at offset 47"),
    ("one over the other", wte(offset=0), "overlaps the one before it, at offset 0"),
    ("sliced", wte(more=tf.text(7, b"")), "\"model/wte\", at offset 40: it is stored in slices"),
    ("a slice of nothing", tf.table([HEADER, (b"\0\1x", ENTRY), *GOOD[1:]]),
     "a slice of a tensor that is not in the index"),
    ("a slice and its tensor", tf.table([HEADER, (b"\0\1x", ENTRY), WPE_ENTRY,
                                         (b"model/wte", ENTRY + tf.text(7, b""))]), "stored in slices"),
    ("wrong checksum", wte(crc=tf.crc32c(WTE) ^ 1), "\"model/wte\", at offset 48, has the checksum"),
    ("no checksum", changed(b"model/wte", ENTRY[:-5]), "has the checksum"),
    ("name not UTF-8", tf.table([*GOOD, (b"x\xff", ENTRY)]), "not UTF-8"),
    ("name with a zero", tf.table([*GOOD, (b"x\0y", ENTRY)]), "not UTF-8"),
    ("name with an escape", tf.table([*GOOD, (b"x\x1b[31m", ENTRY)]), "\"x\\x1b[31m\""),
    ("no wte", tf.table([HEADER, WPE_ENTRY]), "belong to no tensor"),
    ("too many names", tf.table([HEADER] + [(b"x" * 4000 + b"%04d" % i, tf.entry(1, [0], 0, 0, 0))
                                            for i in range(1100)]), "this program's limit"),
    ("too many tensors", tf.table([HEADER] + [(b"%06d" % i, tf.number(1, 1) + tf.text(2, tf.shape(0)))
                                              for i in range(65537)]), "more than 65536 tensors"),
]


class Bad(Case):
    def test_flaws(self):
        self.assertEqual(len({name for name, *_ in FLAWS}), len(FLAWS))
        self.write("m/a.data-00000-of-00001", DATA)
        self.write("m/a.index", TABLE)
        self.assertEqual(self.values("m/a"), self.EXPECTED)
        for name, index, part, *code in FLAWS:
            with self.subTest(name):
                self.write("m/a.index", index)
                self.refused("m/a", part, want=code[0] if code else status.SOURCE)

    def test_flaws_of_data(self):
        self.write("m/a.index", TABLE)
        for name, data, part in (
                ("missing", None, "is missing: cannot open a.data-00000-of-00001"),
                ("empty", b"", "goes past the end of the file"),
                ("cut short", DATA[:-1], "goes past the end of the file"),
                ("a byte more", DATA + b"x", "1 bytes at offset 128 belong to no tensor"),
                ("64 KiB more", DATA + bytes(1 << 16), "65536 bytes at offset 128"),
                ("first bit", flip(DATA, 0), "tensor \"model/wpe\", at offset 0, has the checksum"),
                ("last bit", flip(DATA, -1), "tensor \"model/wte\", at offset 48, has the checksum")):
            with self.subTest(name):
                if data is not None:
                    self.write("m/a.data-00000-of-00001", data)
                self.refused("m/a", part)
        # rows that are not taken count too
        self.refused("m/a", "has the checksum", options=["--vocab", "1"])
        os.remove("m/a.data-00000-of-00001")
        os.mkfifo("m/a.data-00000-of-00001")
        self.refused("m/a", "is a FIFO")

    def test_every_byte_of_the_index_counts(self):
        tf.write("m/a", TABLES)
        with open("m/a.index", "rb") as file:
            good = file.read()
        for at in range(len(good)):
            self.write("m/a.index", flip(good, at))
            _, err = self.run_pack("pack", "m/a", "-o", "no.gpt2w", code=INPUT)
        for n in range(0, len(good), 7):
            self.write("m/a.index", good[:n])
            self.run_pack("pack", "m/a", "-o", "no.gpt2w", code=INPUT)
        self.assertFalse(os.path.exists("no.gpt2w"))

    def test_padding_must_be_zeros(self):
        tf.write("m/a", TABLES, align=64)
        with open("m/a.data-00000-of-00001", "rb") as file:
            data = file.read()
        self.write("m/a.data-00000-of-00001", flip(data, 50))
        self.refused("m/a", "16 bytes at offset 48 belong to no tensor")

    def test_a_shard_is_missing(self):
        tf.write("m/a", [(*TABLES[0], 1), (*TABLES[1], 0)], shards=2)
        os.remove("m/a.data-00001-of-00002")
        self.refused("m", "a.data-00001-of-00002")
        self.assertIn("a.data-00001-of-00002", self.run_pack("info", "m", code=INPUT)[1])

    def test_name_of_the_index(self):
        tf.write("m/a", TABLES)
        for name in "m/b", "m/.index", "m/a.indexx":
            os.rename("m/a.index", name)
            self.refused(name, "only if it is called NAME.index")
            os.rename(name, "m/a.index")

    def test_directories(self):
        tf.write("m/a", TABLES)
        tf.write("m/b", TABLES)
        tf.write("m/c", TABLES)
        for text, part in (
                ("", "does not begin with model_checkpoint_path"),
                ("model_checkpoint_path: a\n", "between quotation marks"),
                ('model_checkpoint_path: "a', "between quotation marks"),
                ('model_checkpoint_path: ""', "between quotation marks"),
                ('model_checkpoint_path: "a\n"', "between quotation marks"),
                ('model_checkpoint_path: "\\141"', "between quotation marks"),
                ('model_checkpoint_path: "' + "a" * 5000, "between quotation marks"),
                ('model_checkpoint_path: "/tmp/a"', "elsewhere (\"/tmp/a\")"),
                ('model_checkpoint_path: "../m/a"', "elsewhere"),
                ('model_checkpoint_path: "d"', "names is missing: cannot open d.index")):
            with self.subTest(text):
                self.write("m/checkpoint", text.encode())
                self.refused("m", part)
        os.remove("m/checkpoint")
        self.refused("m", "several checkpoints (a.index, b.index, ...)")
        for name in "abc":
            os.remove(f"m/{name}.index")
        self.refused("m", "neither model.safetensors nor", want=status.SOURCE_KIND)
        self.refused("m/a", "No such file", code=IO, want=status.IO)
        os.mkdir("m/d.index")
        self.refused("m", "a directory", want=status.NOT_FILE)


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
