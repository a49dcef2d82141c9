#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Each reader where the n-th allocation, open or read fails, for every n: the failure's own code, no
descriptor left open, or else the right values (see pack_status.c).

Usage: test_failures.py GPT2-PACK [unittest's arguments]; $PACK_STATUS is that program."""

import json
import os
import struct
import sys
import unittest

sys.dont_write_bytecode = True  # nothing is written beside the sources

import status
import test_cli
import test_gguf
import test_llmc
import test_npz
import test_torch
import tf_writer as tf
from test_cli import TABLES, safetensors
from torch_files import deflate, dictionary, legacy, number, PROTO, zip_file, zipped


def swapped(name, shape):
    """An array of big-endian values in column-major order."""
    n = shape[0] * shape[1]
    return name, test_npz.npy(str(tuple(shape)), struct.pack(f">{n}f", *range(n)), "'>f4'", "True")


class Failures(test_cli.Case):
    def check(self, *paths, embd=0, least=(4, 1, 2, 1)):
        """At least so many things can fail: what cannot is not tested."""
        found = status.failures(*paths, embd=embd)
        for n, at_least in zip(found, least):
            self.assertGreaterEqual(n, at_least, found)

    def directory(self, name, data, config=True):
        os.mkdir("m")
        self.write("m/" + name, data)
        if config:
            self.write("m/config.json", b'{"n_layer": 1, "n_head": 2}')

    def test_safetensors(self):
        wte = TABLES[1]
        data = safetensors([*TABLES, ("lm_head.weight", *wte[1:]), ("h.0.attn.bias", "U8", [1], b"1")])
        self.write("in", data)
        self.check("in")
        self.directory("model.safetensors", data)
        self.check("m", least=(8, 4, 6, 3))

    def test_sharded(self):
        self.directory("model.safetensors.index.json", json.dumps({"weight_map": {
            "wte.weight": "1", "wpe.weight": "2"}}).encode())
        self.write("m/1", safetensors([TABLES[1]]))
        self.write("m/2", safetensors([TABLES[0]]))
        self.check("m", least=(12, 6, 8, 6))

    def test_torch(self):
        views = test_torch.with_first(
            test_torch.tensor(test_torch.ON_WTE, [3, 2], [1, 3]), ("again", test_torch.T_WTE))
        nested = PROTO + dictionary(("model", dictionary(*test_torch.PAIRS)),
                                    ("model_args", dictionary(("n_layer", number(5))))) + b"."
        packed = {"0": {"method": 8, "stored": deflate(test_torch.WTE)}}
        for pickle in test_torch.GOOD, views, nested:
            for data in (zipped(pickle, test_torch.DATA), legacy(pickle, test_torch.ELEMENTS),
                         zipped(pickle, test_torch.DATA, changes=packed)):
                self.write("x.pt", data)
                self.check("x.pt", least=(8, 1, 4, 3))

    def test_npz(self):
        for method in {}, {"method": 8}:
            members = []
            for name, data in swapped("wte.npy", (3, 4)), swapped("wpe.npy", (2, 4)):
                change = dict(method, stored=deflate(data)) if method else {}
                members.append((name, data, change))
            self.write("in.npz", zip_file(members))
            self.check("in.npz", least=(8, 1, 4, 3))

    def test_arrays(self):
        for name, data in swapped("wte.npy", (3, 4)), swapped("wpe.npy", (2, 4)):
            self.write(name, data)
        self.write("wpe.f32", bytes(32))
        self.check("wte.npy", "wpe.npy", least=(10, 2, 4, 4))
        self.check("wte.npy", "wpe.f32", embd=4, least=(8, 2, 4, 3))

    def test_gguf(self):
        tensors = [("token_embd.weight", [3, 32], test_gguf.QUANTISED["Q8_0"][0], bytes(3 * 34)),
                   ("position_embd.weight", [2, 32], 0, bytes(2 * 128))]
        self.write("in.gguf", test_gguf.gguf(tensors, [
            ("general.architecture", test_gguf.STRING, "gpt2"),
            ("gpt2.block_count", test_gguf.U32, 5)]))
        self.check("in.gguf")
        self.directory("x.gguf", self.read("in.gguf"))
        self.check("m", least=(6, 3, 5, 3))

    def test_llmc(self):
        self.write("in.bin", test_llmc.checkpoint(3, 4, test_llmc.PADDED)[0])
        self.check("in.bin", least=(3, 1, 2, 3))

    def test_tensorflow(self):
        os.mkdir("m")
        tables = [("model/wte", tf.FLOAT, [5, 4], bytes(80), 0), ("model/wpe", tf.FLOAT, [3, 4], bytes(48), 1)]
        tf.write("m/a", tables, shards=2, compression=1, align=64)
        self.write("m/hparams.json", b'{"n_layer": 9, "n_head": 2}')
        self.check("m", least=(12, 6, 8, 6))
        self.check("m/a", least=(12, 5, 8, 6))
        os.remove("m/checkpoint")
        self.check("m", least=(12, 6, 8, 6))

    def test_pack(self):
        self.write("in", safetensors(TABLES))
        self.run_pack("pack", "in", "-o", "out.gpt2w")
        self.check("out.gpt2w", least=(6, 1, 4, 4))


if __name__ == "__main__":
    test_cli.PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
