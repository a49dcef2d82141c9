#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Compressed packs on the command line: --zstd, and what each command makes of them.

Usage: test_zstd.py GPT2-PACK [unittest's arguments]; $PACK_STATUS: see status.py."""

import array
import json
import math
import os
import resource
import signal
import struct
import subprocess
import sys
import time
import unittest

sys.dont_write_bytecode = True  # nothing is written beside the sources

import status
import test_cli
from test_cli import INPUT, IO, TABLES, USAGE, VERIFY, floats, read_safetensors

# Several blocks of each table; rows with and without padding.
SIZES = ["--vocab", "3000", "--positions", "700", "--embd", "100"]
DTYPES = "f32", "f16", "bf16", "q8"


def alone():
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


class Zstd(test_cli.Case):
    def info(self, path):
        return json.loads(self.run_pack("info", "--json", path)[0])

    def unpacked(self, path):
        self.run_pack("unpack", "-q", path, "-o", "unpacked", "--force")
        return self.read("unpacked")

    def test_every_type_there_and_back(self):
        for dtype in DTYPES:
            with self.subTest(dtype):
                for name, more in ("raw", []), ("small", ["--zstd"]):
                    self.run_pack("init", "--force", "-o", name, *SIZES, "--dtype", dtype, *more)
                raw, small = self.info("raw"), self.info("small")
                self.assertEqual(raw["content_id"], small["content_id"])
                self.assertEqual(raw["file_bytes"], os.path.getsize("raw"))
                self.assertEqual(small["file_bytes"], os.path.getsize("small"))
                self.assertEqual(raw["image_bytes"], small["image_bytes"])
                self.assertEqual(raw["image_bytes"], raw["file_bytes"])
                self.assertLess(small["file_bytes"], raw["file_bytes"])
                for name in "raw", "small":
                    self.run_pack("verify", name)
                self.assertEqual(self.unpacked("raw"), self.unpacked("small"))
                # there: as init did it but for the provenance; and back
                self.run_pack("pack", "--force", "raw", "-o", "again", "--zstd")
                self.run_pack("pack", "--force", "small", "-o", "back")
                self.run_pack("pack", "--force", "again", "-o", "third", "--zstd=9")
                for name, like in ("again", "small"), ("back", "raw"):
                    self.assertEqual(self.read(name)[8192:], self.read(like)[8192:])
                self.assertEqual(self.info("third")["content_id"], raw["content_id"])
                self.run_pack("verify", "again", "back", "third")

    def test_conversion_of_a_compressed_pack(self):
        self.run_pack("init", "-o", "small", *SIZES, "--zstd")
        self.run_pack("init", "-o", "raw", *SIZES)
        for name in "small", "raw":
            self.run_pack("pack", name, "-o", name + ".bf16", "--dtype", "bf16", "--vocab", "2999")
        self.assertEqual(self.content_id("small.bf16"), self.content_id("raw.bf16"))
        self.assertEqual(status.of("small"), status.of("raw"))
        found = status.failures("small")
        self.assertGreaterEqual(found, (6, 1, 4, 4))

    def test_all_tensors(self):
        more = [("h.0.ln_1.bias", "F32", [20], floats(20, 5)), ("h.0.x.weight", "F16", [3, 70001],
                                                                bytes(3 * 70001 * 2))]
        self.checkpoint(tensors=[*TABLES, *more])
        self.run_pack("pack", "--all", "in.safetensors", "-o", "raw")
        self.run_pack("pack", "--all", "in.safetensors", "-o", "small", "--zstd")
        self.assertEqual(self.content_id("raw"), self.content_id("small"))
        self.assertEqual(self.unpacked("raw"), self.unpacked("small"))
        self.assertEqual(read_safetensors("unpacked")[2]["h.0.x.weight"][2], more[1][3])

    def test_levels(self):
        self.run_pack("init", "-o", "raw", *SIZES)
        packs = {}
        for level in "", "=1", "=3", "=9", "=19", "=22":
            self.run_pack("pack", "--force", "raw", "-o", "small", "--zstd" + level)
            self.assertEqual(self.content_id("small"), self.content_id("raw"))
            self.run_pack("verify", "small")
            packs[level] = self.read("small")
        self.assertEqual(packs[""], packs["=3"])
        for level in "=0", "=23", "=", "=-1", "=3x":
            for command in ["pack", "raw"], ["init"]:
                with self.subTest(level):
                    _, err = self.run_pack(*command, "-o", "out", "--zstd" + level, code=USAGE)
                    self.assertIn("--zstd", err)
                    self.left("raw", "small")

    def test_too_large(self):
        """Refused before the 277 GB that could not be compressed are written."""
        _, err = self.run_pack("init", "-o", "out", "--vocab", "90000000", "--embd", "768", "--zstd",
                               code=USAGE)
        self.assertIn("a compressed pack has at most 1048576", err)
        self.left()

    def test_any_number_of_processors(self):
        if len(os.sched_getaffinity(0)) < 2:
            print("NOTE: one processor only: the same number twice", file=sys.stderr)
        self.run_pack("init", "-o", "many", *SIZES, "--zstd")
        self.run_pack("init", "-o", "one", *SIZES, "--zstd", before=alone)
        self.assertEqual(self.read("many"), self.read("one"))

    def test_what_is_said(self):
        _, err = self.run_pack("init", "-o", "small", *SIZES, "--zstd")
        file, image = os.path.getsize("small"), self.info("small")["image_bytes"]
        self.assertIn(f"{file / 1e6:.1f} MB ({100 * file / image:.1f}% of {image / 1e6:.1f} MB)", err)
        self.assertEqual(self.run_pack("init", "-q", "-o", "quiet", *SIZES, "--zstd")[1], "")
        out, _ = self.run_pack("verify", "small")
        self.assertIn(f"small: good, {file} bytes", out)

    def test_info(self):
        self.run_pack("init", "-o", "raw", *SIZES)
        self.run_pack("pack", "raw", "-o", "small", "--zstd")
        raw, small = self.info("raw"), self.info("small")
        self.assertIs(raw["compressed"], False)
        self.assertIs(small["compressed"], True)
        for a, b in zip(raw["tensors"], small["tensors"]):
            self.assertEqual((a.pop("stored_bytes"), a.pop("ratio")), (None, None))
            self.assertLess(b["stored_bytes"], b["bytes"])
            self.assertAlmostEqual(b.pop("ratio"), b.pop("stored_bytes") / b["bytes"])
            self.assertEqual(a, b)
            self.assertIsNone(a["entropy"])
        stored = [t["stored_bytes"] for t in self.info("small")["tensors"]]
        self.assertEqual(12288 + sum(stored), small["file_bytes"])
        out, _ = self.run_pack("info", "small")
        share = 100 * small["file_bytes"] / small["image_bytes"]
        self.assertIn(f", compressed to {share:.1f}% of {small['image_bytes'] / 1e6:.1f} MB\n", out)
        for t in self.info("small")["tensors"]:
            self.assertRegex(out, f" {t['bytes']} +{t['stored_bytes']} +{100 * t['ratio']:.1f}%  ")
        self.assertNotIn("stored", self.run_pack("info", "raw")[0])

    def test_entropy(self):
        def bits(data):
            counts = [data.count(i) for i in range(256)]
            return -sum(n / len(data) * math.log2(n / len(data)) for n in counts if n)
        for dtype, width in ("f32", 4), ("f16", 2), ("bf16", 2), ("q8", 1):
            self.run_pack("init", "--force", "-o", "raw", *SIZES, "--dtype", dtype)
            self.run_pack("pack", "--force", "raw", "-o", "small", "--zstd")
            tensors = json.loads(self.run_pack("info", "--json", "--entropy", "small")[0])["tensors"]
            data = self.read("raw")
            out = self.run_pack("info", "--entropy", "raw")[0]
            self.assertEqual([t["entropy"] for t in tensors], [t["entropy"] for t in json.loads(
                self.run_pack("info", "--json", "--entropy", "raw", before=alone)[0])["tensors"]])
            for t in tensors:
                values = data[t["offset"]:t["offset"] + t["bytes"]]
                if width > 1:
                    kind = {2: "H", 4: "I"}[width]
                    words = array.array(kind, values)
                    # the sign goes to the end: the exponent is a byte of its own
                    top = 8 * width - 1
                    mask = (1 << 8 * width) - 1
                    values = array.array(kind, ((w << 1 | w >> top) & mask for w in words)).tobytes()
                planes = [bits(values[width - 1 - i::width]) for i in range(width)]
                for got, want in zip(t["entropy"], planes, strict=True):
                    self.assertAlmostEqual(got, want, 9)
                text = " ".join(f"{b:.2f}" for b in planes)
                self.assertIn(f"      planes {text} bits per byte: "
                              f"{100 * sum(planes) / 8 / width:.1f}%\n", out)

        def flip(data):
            data[-1] ^= 1
        self.damaged(flip)
        _, err = self.run_pack("info", "--entropy", "bad", code=VERIFY)
        self.assertIn("bad: stored block ", err)
        self.checkpoint()
        self.run_pack("info", "--entropy", "in.safetensors", code=USAGE)

    def test_existing_output(self):
        self.run_pack("init", "-o", "raw", *SIZES)
        old = self.read("raw")
        self.run_pack("pack", "raw", "-o", "raw", "--zstd", code=test_cli.FAILED)
        self.run_pack("pack", "raw", "-o", "raw", "--zstd", "--force", code=test_cli.FAILED)
        self.run_pack("init", "-o", "raw", *SIZES, "--zstd", code=test_cli.FAILED)
        self.assertEqual(self.read("raw"), old)
        self.run_pack("init", "-o", "raw", *SIZES, "--zstd", "--force")
        self.assertLess(os.path.getsize("raw"), len(old))
        self.left("raw")

    def test_file_size_limit(self):
        """What the command line can show of a full disk: the first temporary does not fit."""
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500000, 500000))
        self.run_pack("init", "-o", "small", *SIZES, "--zstd", code=IO, before=limit)
        self.left()

    def test_signals_leave_nothing(self):
        """Whenever they come: in the writing, between the two files, in the compression."""
        for number in signal.SIGTERM, signal.SIGINT:
            for files in 1, 2:
                child = subprocess.Popen([test_cli.PROGRAM, "init", "-o", "out.gpt2w", "--zstd=22"],
                                         stderr=subprocess.DEVNULL)
                while child.poll() is None and len(os.listdir(".")) < files:
                    time.sleep(0.001)
                child.send_signal(number)
                self.assertEqual(child.wait(), -number)
                self.left()

    def damaged(self, change):
        """"bad" is "small" with its bytes changed; what verify says of it."""
        data = bytearray(self.read("small"))
        self.write("bad", change(data) or data)

    def test_every_bad_block_is_named(self):
        self.run_pack("init", "-o", "small", *SIZES, "--zstd")
        info = self.info("small")
        n_blocks, n_tensors = 8, 2  # rows of 448 bytes: wpe has 2 blocks, wte 6
        table = 8192 + 384 * n_tensors + 8 * n_blocks
        first = -(-(table + 16 * n_blocks) // 4096) * 4096
        data = self.read("small")
        sizes = [struct.unpack_from("<I", data, table + 16 * i + 8)[0] for i in range(n_blocks)]
        self.assertEqual(first + sum(sizes), info["file_bytes"])
        places = [first + sum(sizes[:i]) for i in range(n_blocks + 1)]

        def flip(data):
            for offset in places[6], places[1], places[4] - 1:
                data[offset] ^= 4
        self.damaged(flip)
        _, err = self.run_pack("verify", "bad", code=VERIFY)
        lines = [f"gpt2-pack: bad: stored block {i} (bytes {places[i]} to {places[i + 1] - 1} of the "
                 f"file, {rows}) does not match its digest"
                 for i, rows in ((1, "wpe.weight rows 585 to 699"), (3, "wte.weight rows 585 to 1170"),
                                 (6, "wte.weight rows 2340 to 2925"))]
        lines.append("gpt2-pack: bad: does not verify: 3 of 8 blocks and gaps are damaged")
        self.assertEqual(err.splitlines(), lines)
        _, err = self.run_pack("unpack", "bad", "-o", "out", code=VERIFY)
        self.assertTrue(err.startswith("gpt2-pack: bad: stored block 1 "), err)
        _, err = self.run_pack("pack", "bad", "-o", "out", code=INPUT)
        self.assertIn("bad: stored block ", err)
        self.left("small", "bad")

    def test_damaged_anywhere(self):
        """A few offsets of each region, whole and cut off there; appended bytes."""
        self.run_pack("init", "-o", "small", *SIZES, "--zstd")
        size = os.path.getsize("small")
        regions = {"superblock": (16, 4095), "provenance": (4096, 8191), "directory": (8192, 8959),
                   "block digests": (8960, 9023), "table": (9024, 9151), "zeros": (9152, 12287),
                   "blocks": (12288, size - 1)}
        words = {"directory": "directory does not match", "block digests": "block digests do not",
                 "provenance": "provenance does not", "table": "table of stored blocks does not",
                 "zeros": "not zero", "blocks": "stored block ", "superblock": "superblock"}
        for region, (first, last) in regions.items():
            for offset in {first, (first + last) // 2, last}:
                with self.subTest(region=region, offset=offset):
                    def flip(data):
                        data[offset] ^= 0x40
                    self.damaged(flip)
                    self.assertIn(words[region], self.run_pack("verify", "bad", code=VERIFY)[1])
                    self.run_pack("unpack", "bad", "-o", "out", code=VERIFY)
                    self.run_pack("pack", "bad", "-o", "out", code=INPUT)
                    self.damaged(lambda data: data[:offset])
                    self.run_pack("verify", "bad", code=VERIFY)
                    self.run_pack("pack", "bad", "-o", "out", code=INPUT)
        for more in b"\0", bytes(4096), self.read("small"):
            self.damaged(lambda data: data + more)
            self.run_pack("verify", "bad", code=VERIFY)
        self.left("small", "bad")

    def test_memory(self):
        self.run_limited("init", "-o", "small", "--vocab", "6000", "--zstd=22")
        self.run_limited("verify", "small")
        self.run_limited("pack", "small", "-o", "raw")
        self.run_limited("unpack", "small", "-o", "out")


if __name__ == "__main__":
    test_cli.PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
