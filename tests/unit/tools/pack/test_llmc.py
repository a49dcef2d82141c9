#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""llm.c's checkpoints into packs: written here as its train_gpt2.py writes them.

Usage: test_llmc.py GPT2-PACK [unittest's arguments]"""

import json
import os
import random
import struct
import sys
import unittest

sys.dont_write_bytecode = True  # nothing is written beside the sources

import test_cli
from test_cli import INPUT, read_safetensors

POSITIONS, VOCAB, LAYERS, HEADS, COLUMNS, PADDED = 6, 11, 3, 2, 8, 16


def arrays(vocab):
    """Elements of the 16 arrays, in their order."""
    c, n = COLUMNS, LAYERS
    return [vocab * c, POSITIONS * c, n * c, n * c, n * 3 * c * c, n * 3 * c, n * c * c, n * c,
            n * c, n * c, n * 4 * c * c, n * 4 * c, n * 4 * c * c, n * c, c, c]


def checkpoint(version, size, vocab, padded=None, rest=b""):
    """Its bytes, of random elements of so many bytes, and those of its arrays."""
    source = random.Random(version)
    parts = [source.randbytes(size * n) for n in arrays(vocab)]
    header = struct.pack("<8i", 20240326, version, POSITIONS, VOCAB, LAYERS, HEADS, COLUMNS,
                         PADDED if padded is None else padded) + rest
    return header.ljust(1024, b"\0") + b"".join(parts), parts


# version: bytes of an element, its name, rows of wte, the header's field for them
VERSIONS = {1: (4, "F32", VOCAB, 0), 2: (2, "BF16", VOCAB, 0), 3: (4, "F32", PADDED, PADDED),
            5: (2, "BF16", PADDED, PADDED)}


class Llmc(test_cli.Case):
    def packed(self, data, *more):
        self.write("in.bin", data)
        self.run_limited("pack", "in.bin", "-o", "out.gpt2w", "--force", *more)
        self.run_pack("verify", "out.gpt2w")
        self.run_pack("unpack", "out.gpt2w", "-o", "out.safetensors", "--force")
        return read_safetensors("out.safetensors")[2]

    def test_versions(self):
        """Bit for bit; rows of padding are dropped, whatever they hold."""
        for version, (size, name, rows, padded) in VERSIONS.items():
            with self.subTest(version):
                data, parts = checkpoint(version, size, rows, padded)
                self.assertEqual(self.packed(data), {
                    "wte.weight": (name, [VOCAB, COLUMNS], parts[0][:VOCAB * COLUMNS * size]),
                    "wpe.weight": (name, [POSITIONS, COLUMNS], parts[1])})
                info = json.loads(self.run_pack("info", "--json", "out.gpt2w")[0])
                self.assertEqual(
                    (info["n_vocab"], info["n_positions"], info["n_embd"], info["n_layer"],
                     info["n_head"], info["provenance"]["source_format"]),
                    (VOCAB, POSITIONS, COLUMNS, LAYERS, HEADS, "llm.c"))

    def test_every_array(self):
        data, parts = checkpoint(3, 4, PADDED)
        self.write("in.bin", data)
        info = json.loads(self.run_pack("info", "--json", "in.bin")[0])
        self.assertEqual((info["format"], info["problem"], len(info["tensors"])),
                         ("llm.c", None, 4 + 12 * LAYERS))
        found = {t["name"]: (t["shape"], data[t["offset"]:t["offset"] + t["bytes"]])
                 for t in info["tensors"]}
        c = COLUMNS
        names = {"ln_1.weight": [c], "ln_1.bias": [c], "attn.c_attn.weight": [3 * c, c],
                 "attn.c_attn.bias": [3 * c], "attn.c_proj.weight": [c, c], "attn.c_proj.bias": [c],
                 "ln_2.weight": [c], "ln_2.bias": [c], "mlp.c_fc.weight": [4 * c, c],
                 "mlp.c_fc.bias": [4 * c], "mlp.c_proj.weight": [c, 4 * c], "mlp.c_proj.bias": [c]}
        for (name, shape), part in zip(names.items(), parts[2:14]):
            size = len(part) // LAYERS
            for layer in range(LAYERS):
                self.assertEqual(found[f"h.{layer}.{name}"],
                                 (shape, part[layer * size:(layer + 1) * size]))
        self.assertEqual(found["ln_f.weight"], ([c], parts[14]))
        self.assertEqual(found["ln_f.bias"], ([c], parts[15]))

    def test_rest_of_header(self):
        """llm.c does not read it."""
        data, parts = checkpoint(3, 4, PADDED, rest=b"\1" * 992)
        self.assertEqual(self.packed(data)["wpe.weight"][2], parts[1])

    def test_vocab(self):
        data, parts = checkpoint(3, 4, PADDED)
        out = self.packed(data, "--vocab", "4")
        self.assertEqual(out["wte.weight"], ("F32", [4, COLUMNS], parts[0][:4 * COLUMNS * 4]))
        # rows of padding cannot be asked for
        self.run_pack("pack", "in.bin", "-o", "more.gpt2w", "--vocab", "12", code=INPUT)

    def test_refused(self):
        """Exit code 3, one line that names the file, no output. More flaws are in test_llmc.c."""
        good = checkpoint(3, 4, PADDED)[0]
        for flaw, data in (
                ("cut short", good[:-1]), ("trailing", good + b"\0"),
                ("only a header", good[:1024]), ("only a mark", good[:4]), ("negative", good[:8] + b"\xff" * 4 + good[12:]),
                ("2^31 - 1", good[:16] + b"\xff\xff\xff\x7f" + good[20:]),
                ("no padding where there is some", checkpoint(3, 4, VOCAB)[0]),
                ("padding where there is none", checkpoint(1, 4, PADDED, 0)[0]),
                ("f32 as bf16", checkpoint(5, 4, PADDED)[0]),
                ("version 4", checkpoint(4, 4, PADDED)[0])):
            with self.subTest(flaw):
                self.write("in.bin", data)
                _, err = self.run_limited("pack", "in.bin", "-o", "out.gpt2w", code=INPUT)
                self.assertIn("in.bin", err)
                self.assertIn("offset", err) if flaw != "only a mark" else None
                self.assertEqual(len(err.splitlines()), 1)
                self.left("in.bin")


if __name__ == "__main__":
    test_cli.PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
