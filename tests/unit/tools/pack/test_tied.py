#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""--all leaves lm_head.weight out where it is wte byte for byte, however either is stored.

Usage: test_tied.py GPT2-PACK [unittest's arguments]. test_cli.py has plain safetensors."""

import json
import os
import sys
import unittest

import test_cli
from test_cli import floats, read_safetensors
from test_npz import npy
from torch_files import *

# more than one of the program's buffers
ROWS, COLUMNS = 70000, 2
WTE, WPE = floats(ROWS * COLUMNS, 1), floats(4, 2)
SHAPE = [ROWS, COLUMNS]
T_WPE = tensor(storage("wpe", n=4), [2, 2], [2, 1])
OTHERS = [WTE[:at] + bytes([WTE[at] ^ 1]) + WTE[at + 1:] for at in (0, 524287, 524288, len(WTE) - 1)]
ROWWISE, COLUMNWISE = [COLUMNS, 1], [1, ROWS]


def turned(values):
    """The same table column by column."""
    return b"".join(values[i:i + 4] for c in range(COLUMNS)
                    for i in range(4 * c, len(values), 4 * COLUMNS))


def packed(data, deflated):
    return {"method": 8, "stored": deflate(data)} if deflated else {}


class Case(test_cli.Case):
    def check(self, head, *inputs):
        """head: None if it is to be left out, else its values."""
        err = self.run_limited("pack", "--all", *inputs, "-o", "out.gpt2w", "--force")[1]
        self.run_pack("unpack", "-q", "out.gpt2w", "-o", "back.safetensors", "--force")
        tensors = {name: data for name, (_, _, data) in
                   read_safetensors("back.safetensors")[2].items()}
        self.assertEqual("1 equal to wte" in err, head is None, err)
        self.assertEqual(tensors, {"wte.weight": WTE, "wpe.weight": WPE,
                                   **({} if head is None else {"lm_head.weight": head})})

    def array(self, values, fortran):
        return npy(f"({ROWS}, {COLUMNS})", turned(values) if fortran else values,
                   order=str(fortran))

    def test_npz(self):
        for deflated in False, True:
            for fortran in False, True:
                for head in WTE, *OTHERS[:2], OTHERS[3]:
                    members = [("wte.weight.npy", self.array(WTE, fortran)),
                               ("lm_head.weight.npy", self.array(head, not fortran))]
                    self.write("x.npz", zip_file([
                        *((name, data, packed(data, deflated)) for name, data in members),
                        ("wpe.weight.npy", npy("(2, 2)", WPE))]))
                    with self.subTest(deflated=deflated, fortran=fortran):
                        self.check(None if head is WTE else head, "x.npz")

    def test_several_inputs(self):
        self.write("wte.npy", self.array(WTE, True))
        self.write("wpe.npy", npy("(2, 2)", WPE))
        for head in WTE, OTHERS[2]:
            self.write("lm_head.weight.npy", self.array(head, True))
            self.check(None if head is WTE else head, "wte.npy", "wpe.npy", "lm_head.weight.npy")

    def torch(self, wte, head, *storages, make=zipped, changes=None):
        pickle = PROTO + dictionary(("wte.weight", wte), ("lm_head.weight", head),
                                    ("wpe.weight", T_WPE)) + b"."
        storages = [*storages, ("wpe", WPE)]
        self.write("x.pt", make(pickle, storages, changes=changes) if make is zipped else
                   make(pickle, [(key, data, len(data) // 4) for key, data in storages]))

    def test_torch_shared(self):
        """One storage: nothing needs to be read; through other strides it is."""
        on = storage("a", n=ROWS * COLUMNS)
        for make in zipped, legacy:
            self.torch(tensor(on, SHAPE, ROWWISE), tensor(on, SHAPE, ROWWISE), ("a", WTE), make=make)
            self.check(None, "x.pt")
            self.torch(tensor(on, SHAPE, ROWWISE), tensor(on, SHAPE, COLUMNWISE), ("a", WTE),
                       make=make)
            self.check(b"".join(WTE[4 * (r + c * ROWS):][:4] for r in range(ROWS)
                                for c in range(COLUMNS)), "x.pt")
            self.torch(tensor(on, SHAPE, COLUMNWISE), tensor(on, SHAPE, COLUMNWISE),
                       ("a", turned(WTE)), make=make)
            self.check(None, "x.pt")

    def test_torch_apart(self):
        a, b = storage("a", n=ROWS * COLUMNS), storage("b", n=ROWS * COLUMNS)
        for make, deflated in (zipped, False), (zipped, True), (legacy, False):
            for head in WTE, *OTHERS:
                for strides, values in (ROWWISE, head), (COLUMNWISE, turned(head)):
                    self.torch(tensor(a, SHAPE, ROWWISE), tensor(b, SHAPE, strides), ("a", WTE),
                               ("b", values), make=make,
                               changes={"a": packed(WTE, deflated), "b": packed(values, deflated)})
                    with self.subTest(make=make, deflated=deflated, strides=strides):
                        self.check(None if head is WTE else head, "x.pt")

    def test_torch_shards(self):
        os.mkdir("model")
        self.write("model/pytorch_model.bin.index.json", json.dumps({"weight_map": {
            "wte.weight": "1.bin", "wpe.weight": "1.bin", "lm_head.weight": "2.bin"}}).encode())
        on = storage("0", n=ROWS * COLUMNS)
        self.write("model/1.bin", zipped(
            PROTO + dictionary(("wte.weight", tensor(on, SHAPE, ROWWISE)), ("wpe.weight", T_WPE)) +
            b".", [("0", WTE), ("wpe", WPE)], changes={"0": packed(WTE, True)}))
        for head in WTE, OTHERS[3]:
            self.write("model/2.bin", zipped(
                PROTO + dictionary(("lm_head.weight", tensor(on, SHAPE, ROWWISE))) + b".",
                [("0", head)]))
            self.check(None if head is WTE else head, "model")


if __name__ == "__main__":
    test_cli.PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
