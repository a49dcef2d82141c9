#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Sharded checkpoints of PyTorch: an index, and files of either format that it names.

Usage: test_torch_sharded.py GPT2-PACK [unittest's arguments]."""

import json
import os
import struct
import sys
import unittest

import status
import test_cli
from test_cli import INPUT, floats, read_safetensors, safetensors
from torch_files import *

INDEX = "pytorch_model.bin.index.json"
WTE, WPE, MORE = floats(6, 1), floats(4, 2), floats(4, 3)
T_WTE = tensor(storage("0"), [3, 2], [2, 1])
T_WPE = tensor(storage("0", n=4), [2, 2], [2, 1])


def shard(name, on, data, make=zipped, more=()):
    pickle = PROTO + dictionary((name, on), *more) + b"."
    return make(pickle, [("0", data)] if make is zipped else [("0", data, len(data) // 4)])


def index_of(**weight_map):
    return {"metadata": {"total_size": 40},
            "weight_map": {name.replace("_", "."): file for name, file in weight_map.items()}}


GOOD = index_of(wte_weight="1.bin", wpe_weight="2.bin")
ONE, TWO = shard("wte.weight", T_WTE, WTE), shard("wpe.weight", T_WPE, WPE)
HEADER = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}\n"
ARRAY = b"\x93NUMPY\1\0" + struct.pack("<H", len(HEADER)) + HEADER + b"abcd"

KIND = status.SOURCE_KIND

# (index, 1.bin, 2.bin, part of the message, code if it is not GW_E_SOURCE)
FLAWS = [
    # the index
    (b"{", ONE, TWO, "malformed JSON at offset 1"),
    (b"[]", ONE, TWO, "is a text", KIND),
    (b"{}", ONE, TWO, "has no weight_map"),
    (b'{"weight_map": 3}', ONE, TWO, "has no weight_map"),
    (b'{"weight_map": {}}', ONE, TWO, "weight_map is empty"),
    (b'{"weight_map": {"wte.weight": 1}}', ONE, TWO, "a file that is no string"),
    (b'{"weight_map": {"a": "1.bin", "a": "1.bin"}}', ONE, TWO, "duplicate object key"),
    (b'{"weight_map": {"a": "1.bin", "\\u0061": "1.bin"}}', ONE, TWO, "duplicate object key"),
    (b'{"weight_map": {"a": "1.bin\\u0000"}}', ONE, TWO, "malformed JSON"),
    (b'{"weight_map": {"\xff": "1.bin"}}', ONE, TWO, "malformed JSON"),
    (b'{"weight_map": {"a": "1.bin"}} x', ONE, TWO, "malformed JSON"),
    (b'{"weight_map": ' + b'{"a":' * 100000, ONE, TWO, "malformed JSON"),
    (b"{" + b" " * (4 << 20), ONE, TWO, "over this program's limit"),
    # the names of the shards
    (index_of(wte_weight="../1.bin"), ONE, TWO, "\"../1.bin\", which is not a plain name"),
    (index_of(wte_weight="/etc/passwd"), ONE, TWO, "not a plain name"),
    (index_of(wte_weight="model/1.bin"), ONE, TWO, "not a plain name"),
    (index_of(wte_weight=".."), ONE, TWO, "not a plain name"),
    (index_of(wte_weight=""), ONE, TWO, "not a plain name"),
    (index_of(wte_weight="\x1b[31m"), ONE, TWO, "cannot open \\x1b[31m"),
    (index_of(wte_weight="3.bin"), ONE, TWO, "missing: cannot open 3.bin"),
    (index_of(wte_weight="folder"), ONE, TWO, "folder is a directory"),
    (index_of(wte_weight="fifo"), ONE, TWO, "fifo is a FIFO"),
    (index_of(wte_weight="loop"), ONE, TWO, "cannot open loop"),
    (index_of(wte_weight="1.bin", wpe_weight=INDEX), ONE, TWO, "is a JSON text, where a shard of",
     KIND),
    ({"weight_map": {str(i): f"{i}.bin" for i in range(600)}}, ONE, TWO, "cannot open 0.bin"),
    # what the shards hold
    (index_of(wte_weight="2.bin", wpe_weight="2.bin"), ONE, TWO,
     "\"wte.weight\" is missing in 2.bin"),
    (index_of(wte_weight="1.bin", wpe_weight="2.bin", x="2.bin"), ONE, TWO,
     "\"x\" is missing in 2.bin"),
    (GOOD, ONE, b"", "2.bin, which is an empty file, where a shard of PyTorch belongs", KIND),
    (GOOD, b"", TWO, "1.bin has only 0 bytes"),
    (GOOD, ONE, safetensors([("wpe.weight", "F32", [2, 2], WPE)]), "2.bin, which is a safetensors",
     KIND),
    (GOOD, safetensors([("wte.weight", "F32", [3, 2], WTE)]), TWO, "2.bin, which is a zip archive",
     KIND),
    (GOOD, ONE, b"version https://git-lfs.github.com/spec/v1\n", "2.bin, which is a Git LFS pointer",
     KIND),
    (GOOD, b"version https://git-lfs.github.com/spec/v1\n", TWO, "1.bin, which is a Git LFS pointer",
     KIND),
    (GOOD, ONE, b"<!DOCTYPE html>", "2.bin, which is an HTML page", KIND),
    (GOOD, ONE, b"GGUF\3\0\0\0", "2.bin, which is a GGUF file", KIND),
    (GOOD, ONE, zip_file([("wpe.weight.npy", ARRAY)]), "2.bin, which is an archive of NumPy", KIND),
    (GOOD, ONE, zip_file([("x", b"x")]), "2.bin is a zip archive, but neither", KIND),
    (GOOD, ONE, TWO[:-1], "2.bin: no end record"),
    (GOOD, ONE, b"\x80\4\x95\x10\0\0\0\0\0\0\0}", "2.bin, which is a Python pickle", KIND),
    (GOOD, ONE, shard("wpe.weight", call(name_of("os", "system"), text("id")), WPE),
     "2.bin: data.pkl: opcode GLOBAL names os.system"),
    (GOOD, ONE, zipped(PROTO + dictionary(("wpe.weight", T_WPE)) + b".", [("0", WPE)],
                       changes={"0": {"crc": 1}}), "2.bin: member \"archive/data/0\""),
    (GOOD, ONE, zipped(PROTO + dictionary(("wpe.weight", T_WPE)) + b".", []),
     "2.bin: the storage data/0, which the pickle names, is missing"),
    (GOOD, ONE, shard("wpe.weight", T_WPE, WPE, make=legacy)[:-1], "2.bin: the file ends within"),
    (GOOD, shard("wte.weight", tensor(storage("0"), [4, 2], [2, 1]), WTE), TWO,
     "1.bin: data.pkl: a tensor"),
]


class Case(test_cli.Case):
    def model(self, index, *shards):
        os.makedirs("model/folder", exist_ok=True)
        for special, make in ("fifo", os.mkfifo), ("loop", lambda path: os.symlink("loop", path)):
            if not os.path.lexists("model/" + special):
                make("model/" + special)
        self.write("model/" + INDEX, index if isinstance(index, bytes)
                   else json.dumps(index).encode())
        for i, data in enumerate(shards):
            self.write(f"model/{i + 1}.bin", data)

    def tensors(self, *arguments):
        self.run_limited("pack", "model", "-o", "out.gpt2w", "--force", *arguments)
        self.run_pack("unpack", "-q", "out.gpt2w", "-o", "back.safetensors", "--force")
        return {name: data for name, (_, _, data) in
                read_safetensors("back.safetensors")[2].items()}


class Malformed(Case):
    def test_flaws(self):
        self.assertGreaterEqual(len(FLAWS), 40)
        for index, one, two, part, *want in FLAWS:
            with self.subTest(part):
                self.model(index, one, two)
                for name in "model", "model/" + INDEX:
                    _, err = self.run_limited("pack", name, "-o", "out.gpt2w", code=INPUT)
                    self.assertIn(part, err)
                    self.assertEqual(err.count("\n"), 1, err)
                    self.assertNotIn("\x1b", err)
                    code, message = status.of(name)
                    self.assertEqual(code, want[0] if want else status.SOURCE, message)
                    self.assertIn(part, message)
                self.left("model")

    def test_claims(self):
        """Views of rows of one number may have 512 MiB more than the file; not once per shard."""
        wide = tensor(storage("0"), [40000, 2500], [0, 0])
        weight_map = {f"{i}": f"{i}.bin" for i in range(1, 4)}
        self.model({"weight_map": weight_map}, *(shard(f"{i}", wide, WTE) for i in weight_map))
        _, err = self.run_pack("info", "model", code=INPUT)
        self.assertIn("claim far more than", err)
        self.model({"weight_map": {"1": "1.bin"}})
        self.run_pack("info", "model")

    def test_directories(self):
        """Archives that hold little else than members that no pickle names."""
        many = [(f"archive/x{i}", b"", {"central_comment": b"x" * 60000}) for i in range(100)]
        shards = [zipped(PROTO + dictionary((f"{i}", T_WTE)) + b".", [("0", WTE)], more=many)
                  for i in range(1, 4)]
        self.model({"weight_map": {f"{i}": f"{i}.bin" for i in range(1, 4)}}, *shards)
        _, err = self.run_limited("info", "model", code=INPUT)
        self.assertIn("takes more than 16 MiB of memory together", err)

    def test_too_many_shards(self):
        self.model({"weight_map": {str(i): f"{i}.bin" for i in range(1, 600)}},
                   *[ONE] * 600)
        _, err = self.run_pack("info", "model", code=INPUT)
        self.assertIn("the index names more than 511 files", err)


class Values(Case):
    def test_both_formats(self):
        for first in zipped, legacy:
            for second in zipped, legacy:
                self.model(GOOD, shard("wte.weight", T_WTE, WTE, make=first),
                           shard("wpe.weight", T_WPE, WPE, make=second))
                self.assertEqual(self.tensors(), {"wte.weight": WTE, "wpe.weight": WPE})
                info = json.loads(self.run_pack("info", "--json", "out.gpt2w")[0])["provenance"]
                self.assertEqual(info["source_format"], "pytorch-sharded")
                self.assertEqual(info["source_name"], INDEX)
                self.assertEqual(info["source_bytes"], sum(
                    os.path.getsize("model/" + name) for name in (INDEX, "1.bin", "2.bin")))

    def test_views_and_names(self):
        """Transposed in one shard, shared in another; names with a prefix; what no map has."""
        turned = tensor(storage("0"), [3, 2], [1, 3])
        shared = [("transformer.h.0.x", tensor(storage("0", n=4), [2], [1], 1)),
                  ("transformer.wte.weight", T_WPE), ("not.in.the.map", T_WPE)]
        self.model({"weight_map": {"transformer.wte.weight": "1.bin",
                                   "transformer.wpe.weight": "2.bin",
                                   "transformer.h.0.x": "2.bin"}},
                   shard("transformer.wte.weight", turned, WTE),
                   shard("transformer.wpe.weight", T_WPE, WPE, more=shared))
        want = b"".join(WTE[4 * (r + 3 * c):][:4] for r in range(3) for c in range(2))
        self.assertEqual(self.tensors("--all"),
                         {"wte.weight": want, "wpe.weight": WPE, "h.0.x": WPE[4:12]})

    def test_directory(self):
        """model.safetensors and its index come first, then pytorch_model.bin, then its index."""
        self.model(GOOD, ONE, TWO)
        self.write("model/config.json", b'{"n_layer": 4, "n_head": 2, "n_embd": 2}')
        self.tensors()
        info = json.loads(self.run_pack("info", "--json", "out.gpt2w")[0])
        self.assertEqual((info["n_layer"], info["n_head"]), (4, 2))
        two = PROTO + dictionary(("wte.weight", T_WTE),
                                 ("wpe.weight", tensor(storage("1", n=4), [2, 2], [2, 1]))) + b"."
        self.write("model/1.safetensors", safetensors([("wte.weight", "F32", [3, 2], WTE),
                                                       ("wpe.weight", "F32", [2, 2], MORE)]))
        for name, data, taken in (
                ("pytorch_model.bin", zipped(two, [("0", WTE), ("1", MORE)]), "pytorch"),
                ("model.safetensors.index.json",
                 json.dumps(index_of(wte_weight="1.safetensors",
                                     wpe_weight="1.safetensors")).encode(), "safetensors-sharded")):
            self.write("model/" + name, data)
            self.assertEqual(self.tensors(), {"wte.weight": WTE, "wpe.weight": MORE})
            _, err = self.run_pack("info", "model")
            info = json.loads(self.run_pack("info", "--json", "model")[0])
            self.assertEqual(info["format"], taken)
            self.assertIn(f"{name} is taken, not ", info["note"])
            self.assertIn(INDEX, info["note"])

    def test_pytorch_wrote_it(self):
        try:
            import torch
        except ImportError:
            print("SKIPPED: no PyTorch here (Debian: python3-torch)", file=sys.stderr)
            self.skipTest("no PyTorch")
        torch.manual_seed(1)
        wte, wpe = torch.randn(500, 48), torch.randn(60, 48)
        for new in True, False:
            os.makedirs("model", exist_ok=True)
            torch.save({"wte.weight": wte.t().contiguous().t(), "n": torch.tensor(3)},
                       "model/1.bin", _use_new_zipfile_serialization=new)
            torch.save({"wpe.weight": wpe}, "model/2.bin", _use_new_zipfile_serialization=not new)
            self.model(GOOD)
            self.assertEqual(self.tensors(), {
                name: bytes(value.view(torch.uint8).flatten().tolist())
                for name, value in (("wte.weight", wte), ("wpe.weight", wpe))})


if __name__ == "__main__":
    test_cli.PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
