#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""pack --all of every format that holds whole models: names, shapes, orientation, every value bit for
bit, the output head, n_layer and n_head.

Usage: test_all.py GPT2-PACK [unittest's arguments]. What needs PyTorch is skipped without it."""

import json
import os
import random
import struct
import sys
import unittest

sys.dont_write_bytecode = True  # nothing is written beside the sources

import test_cli
import test_gguf
import test_llmc
from test_cli import read_safetensors

VOCAB, POSITIONS, WIDTH, LAYERS, HEADS = 11, 6, 8, 2, 4
TABLES = {"wte.weight": [VOCAB, WIDTH], "wpe.weight": [POSITIONS, WIDTH]}
MATRICES = {"attn.c_attn.weight": [WIDTH, 3 * WIDTH], "attn.c_proj.weight": [WIDTH, WIDTH],
            "mlp.c_fc.weight": [WIDTH, 4 * WIDTH], "mlp.c_proj.weight": [4 * WIDTH, WIDTH]}
VECTORS = {"ln_1.weight": [WIDTH], "ln_1.bias": [WIDTH], "attn.c_attn.bias": [3 * WIDTH],
           "attn.c_proj.bias": [WIDTH], "ln_2.weight": [WIDTH], "ln_2.bias": [WIDTH],
           "mlp.c_fc.bias": [4 * WIDTH], "mlp.c_proj.bias": [WIDTH]}
INTO, OUT_OF = "[in, out]", "[out, in]"


def shapes(turned=False):
    """GPT-2's tensors as Hugging Face has them; nanoGPT's matrices are turned."""
    found = dict(TABLES, **{"ln_f.weight": [WIDTH], "ln_f.bias": [WIDTH]})
    for layer in range(LAYERS):
        for name, shape in {**MATRICES, **VECTORS}.items():
            found[f"h.{layer}.{name}"] = shape[::-1] if turned else shape
    return found


class Case(test_cli.Case):
    def packed(self, path, *more):
        """{name: (type, shape, bytes)} of a pack of all of it, and what pack said."""
        _, err = self.run_pack("pack", "--all", path, "-o", "out.gpt2w", "--force", *more)
        self.run_pack("verify", "-q", "out.gpt2w")
        self.run_pack("unpack", "-q", "out.gpt2w", "-o", "back.safetensors", "--force")
        return read_safetensors("back.safetensors")[2], err

    def info(self, path):
        return json.loads(self.run_pack("info", "--json", path)[0])

    def described(self, want, heads=(LAYERS, HEADS)):
        """Of the pack: n_layer and n_head, and which matrices lie which way."""
        info = self.info("out.gpt2w")
        self.assertEqual((info["n_layer"], info["n_head"]), heads)
        for t in info["tensors"]:
            matrix = any(t["name"].endswith(name) for name in MATRICES)
            self.assertEqual(t["orientation"], want if matrix else None, t["name"])


class Torch(Case):
    def setUp(self):
        super().setUp()
        try:
            import torch
        except ImportError:
            print("SKIPPED: no PyTorch here (Debian: python3-torch)", file=sys.stderr)
            self.skipTest("no PyTorch")
        self.torch = torch
        torch.manual_seed(7)

    def model(self, turned=False, prefix="", dtype=None):
        return {prefix + name: self.torch.randn(shape).to(dtype or self.torch.float32)
                for name, shape in shapes(turned).items()}

    def data(self, tensor):
        return bytes(tensor.detach().contiguous().view(self.torch.uint8).flatten().tolist())

    def expected(self, state, prefix=""):
        kinds = {self.torch.float32: "F32", self.torch.float16: "F16", self.torch.bfloat16: "BF16"}
        return {name[len(prefix):]: (kinds[t.dtype], list(t.shape), self.data(t))
                for name, t in state.items()}

    def both(self, value, path="x.pt"):
        """Written in either format, one after the other."""
        for new, name in (True, "pytorch"), (False, "pytorch-legacy"):
            with self.subTest(name):
                self.torch.save(value, path, _use_new_zipfile_serialization=new)
                yield name

    def test_hugging_face(self):
        """A directory; the causal mask is left out."""
        os.mkdir("m")
        self.write("m/config.json", json.dumps({"n_layer": LAYERS, "n_head": HEADS}).encode())
        for prefix in "", "transformer.":
            state = self.model(prefix=prefix)
            mask = {f"{prefix}h.0.attn.bias": self.torch.ones(1, 1, 6, 6).bool()}
            for name in self.both({**state, **mask}, "m/pytorch_model.bin"):
                found, err = self.packed("m")
                self.assertEqual(found, self.expected(state, prefix))
                self.assertIn(f'1 BOOL ("{prefix}h.0.attn.bias")', err)
                self.described(INTO)
                self.assertEqual(self.info("out.gpt2w")["provenance"]["source_format"], name)

    def test_element_types(self):
        for dtype in self.torch.float16, self.torch.bfloat16:
            state = self.model(dtype=dtype)
            for _ in self.both(state):
                self.assertEqual(self.packed("x.pt")[0], self.expected(state))

    def test_views(self):
        """One storage for several tensors, transposed and with gaps."""
        base = self.torch.randn(100, 100)
        state = self.model()
        state["wte.weight"] = base[:VOCAB, :WIDTH]
        state["h.0.attn.c_attn.weight"] = base[:3 * WIDTH, 8:8 + WIDTH].t()
        state["h.1.mlp.c_fc.weight"] = base[::3, 1::2][:WIDTH, :4 * WIDTH]
        state["h.1.ln_1.weight"] = base[5, :1].expand(WIDTH)
        for _ in self.both(state):
            self.assertEqual(self.packed("x.pt")[0], self.expected(state))

    def test_output_head(self):
        """Tied: the same storage, or a copy of it. Untied: kept, even by one bit."""
        state = self.model(prefix="transformer.")
        wte = state["transformer.wte.weight"]
        for head in wte, wte.clone(), wte.t().contiguous().t():
            for _ in self.both({**state, "lm_head.weight": head}):
                found, err = self.packed("x.pt")
                self.assertEqual(found, self.expected(state, "transformer."))
                self.assertIn('1 equal to wte ("lm_head.weight")', err)
        other = wte.clone()
        other.view(self.torch.int32)[VOCAB - 1, WIDTH - 1] ^= 1
        for _ in self.both({**state, "lm_head.weight": other}):
            found, err = self.packed("x.pt")
            self.assertNotIn("left out", err)
            self.assertEqual(found, {**self.expected(state, "transformer."), "lm_head.weight":
                                     ("F32", [VOCAB, WIDTH], self.data(other))})

    def test_nanogpt(self):
        for prefix in "transformer.", "_orig_mod.transformer.":
            state = self.model(turned=True, prefix=prefix)
            head = prefix.replace("transformer.", "lm_head.weight")
            ckpt = {"model": {**state, head: state[prefix + "wte.weight"]}, "iter_num": 5,
                    "optimizer": {"state": {0: {"step": self.torch.tensor(3.0)}}},
                    "model_args": {"n_layer": LAYERS, "n_head": HEADS, "n_embd": WIDTH},
                    "config": {"wte.weight": "a text"}}
            for _ in self.both(ckpt):
                found, err = self.packed("x.pt")
                self.assertEqual(found, self.expected(state, prefix))
                self.assertIn(f'1 equal to wte ("{head}")', err)
                self.described(OUT_OF)


class Others(Case):
    def test_llmc(self):
        names = ["ln_1.weight", "ln_1.bias", "attn.c_attn.weight", "attn.c_attn.bias",
                 "attn.c_proj.weight", "attn.c_proj.bias", "ln_2.weight", "ln_2.bias",
                 "mlp.c_fc.weight", "mlp.c_fc.bias", "mlp.c_proj.weight", "mlp.c_proj.bias"]
        c = test_llmc.COLUMNS
        for version, (size, kind, rows, padded) in test_llmc.VERSIONS.items():
            with self.subTest(version):
                data, parts = test_llmc.checkpoint(version, size, rows, padded)
                self.write("in.bin", data)
                want = {"wte.weight": (kind, [test_llmc.VOCAB, c],
                                       parts[0][:test_llmc.VOCAB * c * size]),
                        "wpe.weight": (kind, [test_llmc.POSITIONS, c], parts[1]),
                        "ln_f.weight": (kind, [c], parts[14]), "ln_f.bias": (kind, [c], parts[15])}
                for name, part in zip(names, parts[2:14]):
                    n = len(part) // test_llmc.LAYERS
                    shape = [d // WIDTH * c for d in {**MATRICES, **VECTORS}[name][::-1]]
                    for layer in range(test_llmc.LAYERS):
                        want[f"h.{layer}.{name}"] = (kind, shape, part[layer * n:(layer + 1) * n])
                found, err = self.packed("in.bin")
                self.assertEqual(found, want)
                self.assertNotIn("left out", err)
                self.described(OUT_OF, (test_llmc.LAYERS, test_llmc.HEADS))

    def gguf(self, more=()):
        """Tensors of each kind of values under GGUF's names, and what is to come of them."""
        source = random.Random(5)
        def floats(n, letter="f"):
            return struct.pack(f"<{n}{letter}", *(source.uniform(-2, 2) for _ in range(n)))

        tensors, want = [], {}
        for name, shape, kind, letter in (
                ("token_embd.weight", [3, 32], 0, "f"), ("position_embd.weight", [2, 32], 0, "f"),
                ("blk.0.attn_qkv.weight", [96, 32], 1, "e"), ("blk.0.attn_norm.bias", [32], 0, "f"),
                ("output_norm.weight", [32], 0, "f"), *more):
            n = 1
            for d in shape:
                n *= d
            data = floats(n, letter)
            tensors.append((name, shape, kind, data))
            want[name] = ("F32" if kind == 0 else "F16", shape, data)
        number, values, size, _, definition = test_gguf.QUANTISED["Q8_0"]
        blocks = b"".join(struct.pack("<e", source.uniform(-1, 1)) + source.randbytes(size - 2)
                          for _ in range(4))
        tensors.append(("blk.0.ffn_up.weight", [4, values], number, blocks))
        flat = [v for i in range(4) for v in definition(blocks[i * size:(i + 1) * size])]
        want["blk.0.ffn_up.weight"] = ("F32", [4, values], struct.pack(f"<{len(flat)}f", *flat))
        # the tables have GPT-2's names whatever the format calls them
        want["wte.weight"] = want.pop("token_embd.weight")
        want["wpe.weight"] = want.pop("position_embd.weight")
        self.write("in.gguf", test_gguf.gguf(tensors, [
            ("general.architecture", test_gguf.STRING, "gpt2"),
            ("gpt2.block_count", test_gguf.U32, 1),
            ("gpt2.attention.head_count", test_gguf.U32, 4)]))
        return want

    def test_gguf(self):
        want = self.gguf()
        found, err = self.packed("in.gguf")
        self.assertEqual(found, want)
        self.assertNotIn("left out", err)
        info = self.info("out.gpt2w")
        self.assertEqual((info["n_layer"], info["n_head"]), (1, 4))
        self.assertEqual({t["name"]: t["orientation"] for t in info["tensors"] if t["orientation"]},
                         {"blk.0.attn_qkv.weight": OUT_OF, "blk.0.ffn_up.weight": OUT_OF})

    def test_gguf_output_head(self):
        """GGUF's own name for it: kept under that name."""
        want = self.gguf([("output.weight", [3, 32], 0, "f")])
        self.assertEqual(self.packed("in.gguf")[0], want)


if __name__ == "__main__":
    test_cli.PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
