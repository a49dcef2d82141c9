#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""GGUF files into packs: written here from the published layout, and the values of quantised blocks
computed here from their definition, with every product and sum rounded to f32 as they go.

Usage: test_gguf.py GPT2-PACK [unittest's arguments]"""

import json
import math
import os
import random
import struct
import sys
import unittest

sys.dont_write_bytecode = True  # nothing is written beside the sources

import test_cli
from test_cli import DONE, INPUT, read_safetensors

# Types of metadata values.
U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
SCALARS = {U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f", BOOL: "<B",
           U64: "<Q", I64: "<q", F64: "<d"}


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind, content):
    """Bytes of a value; an array is (type of its elements, list)."""
    if kind == STRING:
        return string(content)
    if kind == ARRAY:
        inner, items = content
        return struct.pack("<IQ", inner, len(items)) + b"".join(value(inner, i) for i in items)
    return struct.pack(SCALARS[kind], content)


def gguf(tensors, pairs=(), version=3, alignment=32):
    """Bytes of a file of (name, shape, number of the type, data); shapes are outermost first."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs))
    for key, kind, content in pairs:
        head += string(key) + struct.pack("<I", kind) + value(kind, content)
    data = b""
    for name, shape, number, content in tensors:
        head += string(name) + struct.pack("<I", len(shape))
        head += b"".join(struct.pack("<Q", d) for d in reversed(shape))
        head += struct.pack("<IQ", number, len(data))
        data += content.ljust(-(-len(content) // alignment) * alignment, b"\0")
    return head.ljust(-(-len(head) // alignment) * alignment, b"\0") + data


def single(x):
    """x, exact or a product or sum of two f32 computed in f64, rounded to f32: 53 bits are enough
    that rounding twice gives what rounding once would."""
    if math.isnan(x) or math.isinf(x):
        return x
    try:
        return struct.unpack("<f", struct.pack("<f", x))[0]
    except OverflowError:
        return math.copysign(math.inf, x)


def mul(a, b):
    return single(a * b)


def half(data, at):
    return struct.unpack_from("<e", data, at)[0]


def nibble(data, i):
    """Value i of 32 in 16 bytes: the low halves first."""
    return data[i] & 15 if i < 16 else data[i - 16] >> 4


def bit(data, i):
    return data[i // 8] >> i % 8 & 1


def q4_0(b):
    return [mul(half(b, 0), nibble(b[2:], i) - 8) for i in range(32)]


def q4_1(b):
    return [single(mul(half(b, 0), nibble(b[4:], i)) + half(b, 2)) for i in range(32)]


def q5_0(b):
    return [mul(half(b, 0), nibble(b[6:], i) + 16 * bit(b[2:6], i) - 16) for i in range(32)]


def q5_1(b):
    return [single(mul(half(b, 0), nibble(b[8:], i) + 16 * bit(b[4:8], i)) + half(b, 2))
            for i in range(32)]


def q8_0(b):
    return [mul(half(b, 0), v) for v in struct.unpack("<32b", b[2:])]


def q4_k(b):
    s = b[4:16]
    scales = [s[i] & 63 for i in range(4)] + [
        (s[8 + i] & 15) + 16 * (s[i] >> 6) for i in range(4)]
    minimums = [s[4 + i] & 63 for i in range(4)] + [
        (s[8 + i] >> 4) + 16 * (s[4 + i] >> 6) for i in range(4)]
    out = []
    for chunk in range(4):
        q = b[16 + 32 * chunk:48 + 32 * chunk]
        for k, values in ((2 * chunk, [v & 15 for v in q]), (2 * chunk + 1, [v >> 4 for v in q])):
            step, minimum = mul(half(b, 0), scales[k]), mul(half(b, 2), minimums[k])
            out += [single(mul(step, v) - minimum) for v in values]
    return out


def q6_k(b):
    low, high, scales, out = b[:128], b[128:192], struct.unpack("<16b", b[192:208]), [0.0] * 256
    for n in range(2):
        for l in range(32):
            h = high[32 * n + l]
            quarters = ((low[64 * n + l] & 15) + 16 * (h & 3),
                        (low[64 * n + 32 + l] & 15) + 16 * (h >> 2 & 3),
                        (low[64 * n + l] >> 4) + 16 * (h >> 4 & 3),
                        (low[64 * n + 32 + l] >> 4) + 16 * (h >> 6))
            for k, v in enumerate(quarters):
                scale = scales[8 * n + 2 * k + l // 16]
                out[128 * n + 32 * k + l] = mul(mul(half(b, 208), scale), v - 32)
    return out


# name: number, values and bytes of a block, where its f16 are, definition
QUANTISED = {
    "Q4_0": (2, 32, 18, (0,), q4_0), "Q4_1": (3, 32, 20, (0, 2), q4_1),
    "Q5_0": (6, 32, 22, (0,), q5_0), "Q5_1": (7, 32, 24, (0, 2), q5_1),
    "Q8_0": (8, 32, 34, (0,), q8_0), "Q4_K": (12, 256, 144, (0, 2), q4_k),
    "Q6_K": (14, 256, 210, (208,), q6_k)}

# f16: zero, -0, the least subnormal, the largest one, the least normal, 1, -1, the largest, both
# infinities, NaNs
SCALES = (0, 0x8000, 1, 0x8001, 0x3ff, 0x83ff, 0x400, 0x3c00, 0xbc00, 0x7bff, 0xfbff, 0x7c00,
          0xfc00, 0x7e00, 0x7c01, 0xfe01)


def blocks(name, n, seed):
    """n blocks: first those with every pair of SCALES, then with random scales."""
    _, _, size, halves, _ = QUANTISED[name]
    source, out = random.Random(seed), []
    special = [(a, b) for a in SCALES for b in SCALES] if len(halves) == 2 else [
        (a,) for a in SCALES]
    for i in range(n):
        block = bytearray(source.randbytes(size))
        for at, k in zip(halves, range(2)):
            scale = special[i][k] if i < len(special) else source.choice(
                (0x2000, 0xa000)) + source.randrange(0x400)
            struct.pack_into("<H", block, at, scale)
        if i % 7 == 3:  # all bits of the values set, or none
            for at in range(size):
                if not any(h <= at < h + 2 for h in halves):
                    block[at] = 0xff if i % 2 else 0
        out.append(bytes(block))
    return out


def f32(values):
    return b"".join(struct.pack("<f", v) for v in values)


GPT2 = [("general.architecture", STRING, "gpt2"), ("gpt2.block_count", U32, 12),
        ("gpt2.attention.head_count", U32, 12)]


class Gguf(test_cli.Case):
    def tables(self, columns=64, rows=9, number=0, wte=None):
        wte = test_cli.floats(rows * columns, 3) if wte is None else wte
        self.wpe = test_cli.floats(4 * columns, 4)
        return [("token_embd.weight", [rows, columns], number, wte),
                ("position_embd.weight", [4, columns], 0, self.wpe),
                ("blk.0.attn_norm.weight", [columns], 0, test_cli.floats(columns, 5))]

    def packed(self, data, *more):
        self.write("in.gguf", data)
        self.run_limited("pack", "in.gguf", "-o", "out.gpt2w", "--force", *more)
        self.run_pack("verify", "out.gpt2w")
        self.run_pack("unpack", "out.gpt2w", "-o", "out.safetensors", "--force")
        return read_safetensors("out.safetensors")[2]

    def info(self, path="in.gguf"):
        return json.loads(self.run_pack("info", "--json", path)[0])

    def same(self, data, expected):
        """Bit for bit; of NaNs, whose sign and payload depend on the processor, that they are."""
        self.assertEqual(len(data), 4 * len(expected))
        for i, value_expected in enumerate(expected):
            got = struct.unpack_from("<f", data, 4 * i)[0]
            if math.isnan(value_expected):
                self.assertTrue(math.isnan(got), i)
            else:
                self.assertEqual(data[4 * i:4 * i + 4], struct.pack("<f", value_expected), i)

    def test_plain(self):
        for version in 2, 3:
            out = self.packed(gguf(self.tables(), GPT2, version=version))
            self.assertEqual(out, {
                "wte.weight": ("F32", [9, 64], test_cli.floats(9 * 64, 3)),
                "wpe.weight": ("F32", [4, 64], self.wpe)})
        info = self.info("out.gpt2w")
        self.assertEqual((info["n_layer"], info["n_head"], info["provenance"]["source_format"]),
                         (12, 12, "gguf"))
        info = self.info()
        self.assertEqual((info["format"], info["wte"], info["wpe"], info["problem"]),
                         ("gguf", "token_embd.weight", "position_embd.weight", None))
        self.assertEqual([(t["name"], t["dtype"], t["shape"]) for t in info["tensors"]], [
            ("token_embd.weight", "F32", [9, 64]), ("position_embd.weight", "F32", [4, 64]),
            ("blk.0.attn_norm.weight", "F32", [64])])

    def test_halves(self):
        source = random.Random(1)
        for number, name in (1, "F16"), (30, "BF16"):
            # every bit pattern is kept
            wte = source.randbytes(9 * 64 * 2)
            out = self.packed(gguf(self.tables(number=number, wte=wte), GPT2))
            self.assertEqual(out["wte.weight"], (name, [9, 64], wte))

    def test_alignments(self):
        for alignment in 8, 16, 64, 4096, 1 << 20:
            pairs = GPT2 + [("general.alignment", U32, alignment)]
            out = self.packed(gguf(self.tables(columns=33), pairs, alignment=alignment))
            self.assertEqual(out["wpe.weight"], ("F32", [4, 33], self.wpe))

    def test_order_of_tensors(self):
        tensors = self.tables()
        out = self.packed(gguf(tensors[::-1], GPT2))
        self.assertEqual(out["wpe.weight"][2], self.wpe)

    def test_last_padding_missing(self):
        data = gguf(self.tables(columns=33), GPT2)
        n = 33 * 4
        out = self.packed(data[:len(data) - (-n) % 32])
        self.assertEqual(out["wpe.weight"][2], self.wpe)

    def test_tokenizer(self):
        """What a converted GPT-2 carries, and every other type: passed over."""
        pairs = GPT2 + [
            ("tokenizer.ggml.tokens", ARRAY, (STRING, [f"Ġtoken{i}" for i in range(50257)])),
            ("tokenizer.ggml.token_type", ARRAY, (I32, [1] * 50257)),
            ("tokenizer.ggml.merges", ARRAY, (STRING, [f"Ġ t{i}" for i in range(50000)])),
            ("gpt2.attention.layer_norm_epsilon", F32, 1e-5), ("a", U8, 255), ("b", I8, -1),
            ("c", U16, 65535), ("d", I16, -1), ("e", I32, -1), ("f", BOOL, 1),
            ("g", U64, 2**64 - 1), ("h", I64, -1), ("i", F64, math.nan), ("j", ARRAY, (BOOL, [0, 1])),
            ("k", ARRAY, (ARRAY, [(U8, [1, 2]), (STRING, ["x", ""]), (ARRAY, [(F64, [])])])),
            ("l", ARRAY, (U64, [])), ("m", STRING, "\x1b[31m ü")]
        out = self.packed(gguf(self.tables(), pairs))
        self.assertEqual(out["wte.weight"][2], test_cli.floats(9 * 64, 3))

    def test_quantised(self):
        for name, (number, values, _, halves, definition) in QUANTISED.items():
            with self.subTest(name):
                n = 300 if len(halves) == 2 else 60
                columns = 3 * values
                parts = blocks(name, n, number)
                expected = [v for b in parts for v in definition(b)]
                tensors = self.tables(columns, n // 3, number, b"".join(parts))
                out = self.packed(gguf(tensors, GPT2))
                dtype, shape, data = out["wte.weight"]
                self.assertEqual((dtype, shape), ("F32", [n // 3, columns]))
                self.same(data, expected)
                self.assertEqual(out["wpe.weight"][2], self.wpe)
                info = self.info()
                self.assertEqual((info["tensors"][0]["dtype"], info["problem"]), (name, None))
                self.assertIn(f"from {name}", self.info("out.gpt2w")["provenance"]["note"])
                # rows that are not wanted do not matter
                out = self.packed(gguf(tensors, GPT2), "--vocab", "7")
                self.same(out["wte.weight"][2], expected[:7 * columns])

    def test_larger_than_a_buffer(self):
        """Rows whose ends lie anywhere in what is read at once."""
        _, values, _, _, definition = QUANTISED["Q4_0"]
        parts = blocks("Q4_0", 40, 5)
        expected = f32([v for b in parts[20:] for v in definition(b)])
        n = 1000
        tensors = self.tables(20 * values, n, 2, b"".join(parts[20:]) * n)
        out = self.packed(gguf(tensors, GPT2))
        self.assertTrue(out["wte.weight"][2] == expected * n)
        out = self.packed(gguf(tensors, GPT2), "--dtype", "bf16")
        self.assertEqual(out["wte.weight"][:2], ("BF16", [n, 20 * values]))
        self.assertEqual(len(out["wte.weight"][2]), 2 * n * 20 * values)

    def test_types_that_are_not_read(self):
        self.write("in.gguf", gguf(self.tables(256, 2, 10, bytes(168)), GPT2))
        info = self.info()
        self.assertEqual(info["tensors"][0]["dtype"], "Q2_K")
        self.assertIn("Q2_K", info["problem"])
        _, err = self.run_pack("pack", "in.gguf", "-o", "out.gpt2w", code=INPUT)
        self.assertIn('"token_embd.weight" has the type Q2_K', err)
        # elsewhere it is no hindrance
        tensors = self.tables() + [("output.weight", [2, 256], 18, bytes(196))]
        out = self.packed(gguf(tensors, GPT2))
        self.assertEqual(out["wpe.weight"][2], self.wpe)
        self.assertEqual(self.info()["tensors"][3]["dtype"], "IQ3_XXS")

    def test_metadata_against_tables(self):
        for key, number, part in (("gpt2.embedding_length", 65, "n_embd 65"),
                                  ("gpt2.context_length", 5, "n_positions 5"),
                                  ("gpt2.vocab_size", 10, "vocab_size 10")):
            self.write("in.gguf", gguf(self.tables(), GPT2 + [(key, U32, number)]))
            _, err = self.run_pack("pack", "in.gguf", "-o", "out.gpt2w", code=INPUT)
            self.assertIn(part, err)
            self.assertNotIn("config.json", err)
        good = [("gpt2.embedding_length", U64, 64), ("gpt2.context_length", U32, 4),
                ("gpt2.vocab_size", U32, 9)]
        self.packed(gguf(self.tables(), GPT2 + good))

    def test_other_architecture(self):
        self.write("in.gguf", gguf(self.tables(), [("general.architecture", STRING, "bert")]))
        self.run_pack("pack", "in.gguf", "-o", "out.gpt2w", code=INPUT)
        self.left("in.gguf")
        self.run_pack("pack", "in.gguf", "-o", "out.gpt2w", "--wte", "token_embd.weight", "--wpe",
                      "position_embd.weight")

    def test_refused(self):
        """Exit code 3, one line that names the file, no output. More flaws are in test_gguf.c."""
        good = gguf(self.tables(), GPT2)
        big = good[:4] + good[7:3:-1] + good[8:]
        for flaw, data, part in (
                ("version 1", gguf(self.tables(), GPT2, version=1), "version 1"),
                ("big-endian", big, "big-endian"),
                ("cut short", good[:-64 * 4 - 1], "past the end"),
                ("cut in its metadata", good[:60], "past the end"),
                ("trailing", good + b"\0", "trailing"),
                ("2^60 tensors", good[:8] + struct.pack("<Q", 1 << 60) + good[16:],
                 "1152921504606846976"),
                ("2^60 pairs", good[:16] + struct.pack("<Q", 1 << 60) + good[24:],
                 "1152921504606846976"),
                ("twice", gguf(self.tables() * 2, GPT2), "duplicate"),
                ("a key twice", gguf(self.tables(), GPT2 * 2), "duplicate"),
                ("escape", gguf([("a\x1b[31m", [1], 0, bytes(4))], GPT2), "control"),
                ("60,000 tensors over one range", b"GGUF" + struct.pack("<IQQ", 3, 60000, 0)
                 + b"".join(string(f"t{i}") + struct.pack("<IQIQ", 1, 8, 0, 0)
                            for i in range(60000)) + bytes(64), "overlaps")):
            with self.subTest(flaw):
                self.write("in.gguf", data)
                _, err = self.run_limited("pack", "in.gguf", "-o", "out.gpt2w", code=INPUT)
                self.assertIn(part, err)
                self.assertIn("in.gguf", err)
                self.assertEqual(len(err.splitlines()), 1)
                self.left("in.gguf")


if __name__ == "__main__":
    test_cli.PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
