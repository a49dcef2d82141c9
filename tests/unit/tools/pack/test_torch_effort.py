#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""PyTorch files whose views are chosen so that reading them takes long: they are refused in time.

Usage: test_torch_effort.py GPT2-PACK [unittest's arguments]. What ends here with a message takes
hours, or the test's time limit, where work is not bounded."""

import json
import os
import struct
import sys
import unittest

import test_cli
from test_cli import INPUT, floats
from torch_files import *

WTE, WPE = floats(6, 1), floats(4, 2)
T_WTE, T_WPE = tensor(storage("0"), [3, 2], [2, 1]), tensor(storage("1", n=4), [2, 2], [2, 1])
PART = "too long to read them"


class Case(test_cli.Case):
    def refused(self, name="x.pt"):
        _, err = self.run_limited("pack", "--all", name, "-o", "out.gpt2w", code=INPUT)
        self.assertIn(PART, err)
        self.assertFalse(os.path.exists("out.gpt2w"))

    def sparse(self, n, *views, name="x.pt", prefix=""):
        """The tables, and views of a storage of n f32 that takes no room on the disk."""
        pairs = [(f"{prefix}{i:05}", tensor(storage("2", n=n), *view))
                 for i, view in enumerate(views)]
        pickle = PROTO + dictionary(("wte.weight", T_WTE), ("wpe.weight", T_WPE), *pairs) + b"."
        tables = struct.pack("<Q", 6) + WTE + struct.pack("<Q", 4) + WPE
        keys = PROTO + b"](" + text("0") + text("1") + text("2") + b"e."
        self.write(name, legacy(pickle, [], keys=keys, data=tables + struct.pack("<Q", n)))
        os.truncate(name, os.path.getsize(name) + 4 * n)

    def test_scattered(self):
        """Each element on a page of its own, whatever pages have: 4 KiB to 16 MiB."""
        for n in 1 << 23, 3 << 30, 1 << 36, 1 << 40:
            with self.subTest(n=n):
                self.sparse(n, ([700, 8000], [1, n // 8000 - 1]))
                self.refused()

    def test_two_dimensions_of_pages(self):
        """More columns than pages are kept, of which the file has few."""
        self.sparse(1 << 23, ([1000, 8000], [1, 1024]))
        self.refused()

    def test_many_views(self):
        """Each one of a few elements, but of a storage with a large table of pages."""
        self.sparse(1 << 30, *[([2, 2], [1 << 20, 1 << 10])] * 3000)
        self.refused()

    def test_few_are_fine(self):
        self.sparse(1 << 28, *[([2, 2], [1 << 20, 1 << 10])] * 100)
        self.run_limited("pack", "--all", "x.pt", "-o", "out.gpt2w")

    def deflated(self, views):
        n = (15 << 20) // 4
        pairs = [(f"{i:05}", tensor(storage("2", n=n), *view)) for i, view in enumerate(views(n))]
        pickle = PROTO + dictionary(("wte.weight", T_WTE), ("wpe.weight", T_WPE), *pairs) + b"."
        self.write("x.pt", zipped(pickle, [("0", WTE), ("1", WPE), ("2", bytes(4 * n))], changes={
            "2": {"method": 8, "stored": deflate(bytes(4 * n))}}))

    def test_strided_deflated(self):
        """Each tensor, but for its own view, has all of the storage inflated anew."""
        self.deflated(lambda n: [([2, 2], [1, 2], i) for i in range(2000)])
        self.refused()

    def test_shards(self):
        """What one shard may cost is what all may."""
        os.mkdir("model")
        weight_map = {"wte.weight": "1.bin", "wpe.weight": "1.bin"}
        for i in range(1, 4):
            self.sparse(1 << 30, *[([2, 2], [1 << 20, 1 << 10])] * 800, name=f"model/{i}.bin",
                        prefix=f"{i}.")
            weight_map.update({f"{i}.{view:05}": f"{i}.bin" for view in range(800)})
        self.write("model/pytorch_model.bin.index.json",
                   json.dumps({"weight_map": weight_map}).encode())
        self.refused("model")


if __name__ == "__main__":
    test_cli.PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
