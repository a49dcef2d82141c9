#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""gpt2-pack and int8 rows, compared bit for bit with NumPy's reading of their definition.

Usage: test_q8.py GPT2-PACK [unittest's arguments]. Without NumPy all of it is skipped."""

import io
import json
import os
import re
import struct
import sys
import unittest

try:
    import numpy as np
except ImportError:
    np = None

import test_cli
from test_cli import INPUT, USAGE, VERIFY, read_safetensors
from test_gguf import gguf

LOSS = re.compile(r"gpt2-pack: note: (.*) as int8 rows: largest error (\S+) \((\S+) of its row's "
                  r"scale; the bound is 0\.5\), root mean square (\S+)$", re.M)


def quantise(x):
    """int8 [rows, columns] and f32 [rows] of f32 [rows, columns], of normal magnitudes."""
    absmax = np.abs(x).max(axis=1).astype("f8")
    scales = (absmax / 127).astype("f4")
    with np.errstate(invalid="ignore", divide="ignore"):
        q = np.rint(x.astype("f8") / scales.astype("f8")[:, None])
    return np.where(scales[:, None] > 0, q, 0).astype("i1"), scales


def multiply(q, scales):
    return q.astype("f4") * scales[:, None]


def to_bf16(x):
    bits = x.view("u4")
    return ((bits + 0x7fff + (bits >> 16 & 1)) >> 16).astype("u2")


def values(rows, columns, seed):
    random = np.random.default_rng(seed)
    x = random.standard_normal((rows, columns)) * 10.0 ** random.integers(-5, 5, (rows, 1))
    x[rows // 2] = 0
    return x.astype("f4")


@unittest.skipUnless(np, "no NumPy for this Python")
class Q8(test_cli.Case):
    def setUp(self):
        super().setUp()
        self.wte, self.wpe = values(300, 52, 1), values(40, 52, 2)

    def source(self, dtype="F32", wte=None, wpe=None, more=(), path="in.safetensors"):
        cast = {"F32": "<f4", "F64": "<f8", "F16": "<f2"}
        tensors = [("wte.weight", self.wte if wte is None else wte),
                   ("wpe.weight", self.wpe if wpe is None else wpe), *more]
        self.checkpoint(path, [
            (name, dtype, list(x.shape), to_bf16(x).tobytes() if dtype == "BF16" else
             x.astype(cast[dtype]).tobytes()) for name, x in tensors])
        return path

    def packed(self, path, name):
        """What the pack has of a tensor: dtype, and the int8 and scales of its rows."""
        info = json.loads(self.run_pack("info", "--json", path)[0])
        entry = next(t for t in info["tensors"] if t["name"] == name)
        data = self.read(path)
        if entry["dtype"] != "int8":
            self.assertEqual((entry["scales_offset"], entry["scales_bytes"]), (None, None))
            return entry["dtype"], None, None
        columns = entry["shape"][-1]
        rows = entry["scales_bytes"] // 4
        end = entry["offset"] + rows * entry["row_bytes"]
        self.assertEqual(entry["scales_offset"], -(-end // 64) * 64)
        self.assertEqual(entry["bytes"], entry["scales_offset"] + 4 * rows - entry["offset"])
        q = np.frombuffer(data, "i1", rows * entry["row_bytes"], entry["offset"])
        return ("int8", q.reshape(rows, -1)[:, :columns],
                np.frombuffer(data, "<f4", rows, entry["scales_offset"]))

    def check(self, path, **expected):
        """That the pack has what becomes of these values."""
        self.run_pack("verify", path)
        for name, x in expected.items():
            _, q, scales = self.packed(path, name + ".weight")
            want_q, want_scales = quantise(x.reshape(-1, x.shape[-1]))
            self.assertTrue(np.array_equal(scales, want_scales), name)
            self.assertTrue(np.array_equal(q, want_q), name)

    def unpacked(self, path):
        self.run_pack("unpack", path, "-o", "unpacked", "--force")
        return read_safetensors("unpacked")[2]

    def test_types(self):
        f16 = self.wte.astype("f2").astype("f4")
        f16[~np.isfinite(f16)] = 0
        sources = {"F32": (self.wte, self.wpe),
                   "F64": (self.wte, self.wpe),
                   "F16": (f16, self.wpe.astype("f2").astype("f4")),
                   "BF16": [(to_bf16(x).astype("u4") << 16).view("f4")
                            for x in (self.wte, self.wpe)]}
        for dtype, (wte, wpe) in sources.items():
            with self.subTest(dtype):
                wpe[~np.isfinite(wpe)] = 0
                self.run_limited("pack", self.source(dtype, wte, wpe), "-o", "out.gpt2w",
                                 "--dtype", "q8", "--force")
                self.check("out.gpt2w", wte=wte, wpe=wpe)

    def test_f64_is_rounded_to_f32_first(self):
        wte = self.wte.astype("f8") * (1 + 2.0 ** -30)
        self.source("F64", wte, self.wpe.astype("f8"))
        self.run_pack("pack", "in.safetensors", "-o", "out.gpt2w", "--dtype", "q8")
        self.check("out.gpt2w", wte=wte.astype("f4"), wpe=self.wpe)

    def test_arrays_in_fortran_order(self):
        for name, x in ("wte.npy", self.wte), ("wpe.npy", self.wpe):
            stream = io.BytesIO()
            np.save(stream, np.asfortranarray(x))
            self.write(name, stream.getvalue())
        self.run_limited("pack", "wte.npy", "wpe.npy", "-o", "out.gpt2w", "--dtype", "q8")
        self.check("out.gpt2w", wte=self.wte, wpe=self.wpe)

    def test_gguf(self):
        random = np.random.default_rng(3)
        q = random.integers(-127, 128, (30 * 2, 32)).astype("i1")
        scales = random.random(60).astype("<f2")
        blocks = b"".join(s.tobytes() + row.tobytes() for s, row in zip(scales, q))
        wte = (q.astype("f4") * scales.astype("f4")[:, None]).reshape(30, 64)
        wpe = values(4, 64, 4)
        self.write("in.gguf", gguf([("token_embd.weight", [30, 64], 8, blocks),
                                    ("position_embd.weight", [4, 64], 0, wpe.tobytes())],
                                   [("general.architecture", 8, "gpt2")]))
        self.run_pack("pack", "in.gguf", "-o", "out.gpt2w", "--dtype", "q8")
        self.check("out.gpt2w", wte=wte, wpe=wpe)

    def test_what_is_lost(self):
        _, err = self.run_pack("pack", self.source(), "-o", "out.gpt2w", "--dtype", "q8")
        found = LOSS.findall(err)
        self.assertEqual([f[0] for f in found], ["wte", "wpe"])
        for (_, largest, in_scales, rms), x in zip(found, (self.wte, self.wpe)):
            q, scales = quantise(x)
            off = np.abs(x.astype("f8") - multiply(q, scales))
            with np.errstate(invalid="ignore"):
                of_scale = np.nanmax(off.max(axis=1) / scales)
            self.assertEqual((largest, in_scales), ("%.3g" % off.max(), "%.3f" % of_scale))
            self.assertEqual(rms, "%.3g" % np.sqrt(np.mean(off ** 2)))
        self.assertIn("wte [300, 52] int8, wpe [40, 52] int8", err)
        self.assertEqual(self.run_pack("pack", "in.safetensors", "-o", "out.gpt2w", "--dtype",
                                       "q8", "--force", "--quiet"), ("", ""))

    def test_all(self):
        more = [("h.0.attn.c_attn.weight", values(52, 156, 5)), ("h.0.ln_1.weight", values(1, 52, 6)[0]),
                ("cube", values(6, 20, 7).reshape(2, 3, 20)), ("scalar", np.full((), 3, "f4"))]
        for dtype in "F32", "F64":
            self.source(dtype, more=more)
            _, err = self.run_pack("pack", "--all", "in.safetensors", "-o", "out.gpt2w", "--dtype",
                                   "q8", "--force")
            found = LOSS.findall(err)
            self.assertEqual([f[0] for f in found], ["wte", "wpe", "2 more"])
            offs = [np.abs(x - multiply(*quantise(x))) for x in
                    (more[0][1], more[2][1].reshape(6, 20))]
            self.assertEqual(found[2][1], "%.3g" % max(off.max() for off in offs))
            self.assertEqual(found[2][3], "%.3g" % np.sqrt(np.mean(np.concatenate(
                [off.astype("f8").ravel() for off in offs]) ** 2)))
            self.check("out.gpt2w", wte=self.wte, wpe=self.wpe, **{"h.0.attn.c_attn": more[0][1]})
            _, q, scales = self.packed("out.gpt2w", "cube")
            want_q, want_scales = quantise(more[2][1].reshape(6, 20))
            self.assertTrue(np.array_equal(q, want_q) and np.array_equal(scales, want_scales))
            self.assertEqual(self.packed("out.gpt2w", "h.0.ln_1.weight")[0], "f32")
            self.assertEqual(self.packed("out.gpt2w", "scalar")[0], "f32")
            back = self.unpacked("out.gpt2w")
            self.assertEqual(back["h.0.ln_1.weight"], ("F32", [52], more[1][1].tobytes()))
            self.assertEqual(back["scalar"], ("F32", [], more[3][1].tobytes()))
            # 120 bytes of rows, then 8 of padding, which only tables' rows never need
            self.assertEqual(back["cube"], ("F32", [2, 3, 20], multiply(q, scales).tobytes()))
            self.run_pack("pack", "--all", "out.gpt2w", "-o", "again", "--force")
            self.assertEqual(self.content_id("again"), self.content_id("out.gpt2w"))

    def test_no_numbers(self):
        for bad, what in ((np.nan, "NaN"), (np.inf, "infinite in f32"), (-np.inf, "infinite in f32"),
                          (1e300, "infinite in f32")):
            with self.subTest(bad):
                wte = self.wte.astype("f8")
                wte[299, 51] = bad
                self.source("F64", wte)
                _, err = self.run_pack("pack", "in.safetensors", "-o", "out.gpt2w", "--dtype",
                                       "q8", code=INPUT)
                self.assertEqual(err, f'gpt2-pack: "wte.weight": row 299, column 51 is {what}, '
                                      "which int8 rows cannot hold; use --dtype f32, f16 or bf16\n")
                self.left("in.safetensors")
                # a row that is not taken may hold anything
                self.run_pack("pack", "in.safetensors", "-o", "out.gpt2w", "--dtype", "q8",
                              "--vocab", "299")
                self.check("out.gpt2w", wte=self.wte[:299])
                os.unlink("out.gpt2w")

    def test_repack(self):
        self.run_pack("pack", self.source(), "-o", "a", "--dtype", "q8")
        q, scales = quantise(self.wte)
        products = multiply(q, scales)
        for more in [], ["--dtype", "q8"]:
            _, err = self.run_pack("pack", "a", "-o", "b", "--force", *more)
            self.assertNotIn("note", err)
            self.assertEqual(self.content_id("a"), self.content_id("b"))
        self.run_pack("pack", "a", "-o", "b", "--force", "--vocab", "7")
        self.check("b", wte=self.wte[:7], wpe=self.wpe)
        for dtype, want in (("f32", products.tobytes()), ("bf16", to_bf16(products).tobytes()),
                            ("f16", products.astype("f2").tobytes())):
            with np.errstate(over="ignore"):
                self.run_limited("pack", "a", "-o", "b", "--force", "--dtype", dtype)
            self.assertEqual(self.unpacked("b")["wte.weight"],
                             (dtype.upper(), [300, 52], want))
        note = json.loads(self.run_pack("info", "--json", "b")[0])["provenance"]["note"]
        self.assertEqual(note, "wte: from int8; wpe: from int8")
        # one of several inputs
        self.run_pack("pack", "a", "-o", "wte.gpt2w", "--wpe", "none")
        stream = io.BytesIO()
        np.save(stream, self.wpe)
        self.write("wpe.npy", stream.getvalue())
        self.run_pack("pack", "wte.gpt2w", "wpe.npy", "-o", "c")
        self.check("c", wte=self.wte)
        entry, other = json.loads(self.run_pack("info", "--json", "wte.gpt2w",
                                                "wpe.npy")[0])["tensors"]
        self.assertEqual((entry["dtype"], entry["bytes"], entry["scales_bytes"]),
                         ("Q8", 300 * 56, 1200))
        self.assertEqual((other["dtype"], other["scales_bytes"]), ("F32", None))

    def test_integers_are_no_weights(self):
        """safetensors' I8 is another thing."""
        tensor = [("wte.weight", "I8", [3, 4], bytes(12)), ("wpe.weight", "I8", [3, 4], bytes(12))]
        self.checkpoint("in.safetensors", tensor)
        self.assertIn("has the type I8", self.run_pack("pack", "in.safetensors", "-o", "out",
                                                       code=INPUT)[1])
        self.checkpoint("in.safetensors", [("wte.weight", "Q8", [3, 4], bytes(12)), *tensor[1:]])
        self.assertIn("unknown", self.run_pack("pack", "in.safetensors", "-o", "out",
                                               code=INPUT)[1])

    def test_unpack(self):
        self.run_pack("pack", self.source(), "-o", "a", "--dtype", "q8")
        _, err = self.run_pack("unpack", "a", "-o", "back")
        self.assertIn("note: 2 tensors of int8 rows are written as F32, each int8 times its row's scale\n", err)
        self.run_pack("unpack", "a", "-o", "back.npz", "--to", "npz")
        for name, x in ("wte.weight", self.wte), ("wpe.weight", self.wpe):
            want = multiply(*quantise(x))
            self.assertEqual(read_safetensors("back")[2][name],
                             ("F32", list(x.shape), want.tobytes()))
            got = np.load("back.npz")[name]
            self.assertEqual(got.dtype, np.dtype("f4"))
            self.assertEqual(got.tobytes(), want.tobytes())

    def test_damage(self):
        self.run_pack("pack", self.source(), "-o", "good", "--dtype", "q8")
        info = json.loads(self.run_pack("info", "--json", "good")[0])
        wte = next(t for t in info["tensors"] if t["role"] == "wte")
        end = wte["offset"] + wte["bytes"] - 1
        for offset in (wte["offset"], wte["scales_offset"], end):
            data = bytearray(self.read("good"))
            data[offset] ^= 1
            self.write("bad", data)
            said = (f"gpt2-pack: bad: block 1 (bytes {wte['offset']} to {end}, wte.weight rows 0 to "
                    "299 and scales 0 to 299) does not match its digest\n")
            self.assertIn(said, self.run_pack("verify", "bad", code=VERIFY)[1])
            self.assertEqual(self.run_pack("unpack", "bad", "-o", "out", code=VERIFY)[1], said)
            self.run_pack("pack", "bad", "-o", "out", code=INPUT)
            self.left("bad", "good", "in.safetensors")

    def test_info(self):
        self.run_pack("pack", self.source(), "-o", "a", "--dtype", "q8")
        out, _ = self.run_pack("info", "a")
        self.assertRegex(out, r"wte +int8 +\[300, 52\] +64 +\d+ +20400  wte\.weight  "
                              r"\(1200 of scales\)\n")

    def test_init(self):
        for embd in "48", "37":
            options = ["--vocab", "300", "--positions", "20", "--embd", embd, "--force"]
            self.run_pack("init", "-o", "f32", *options)
            _, err = self.run_pack("init", "-o", "q8", *options, "--dtype", "q8")
            self.assertEqual([f[0] for f in LOSS.findall(err)], ["wte", "wpe"])
            self.assertIn("int8, seed 42", err)
            self.run_pack("pack", "f32", "-o", "other", "--dtype", "q8", "--force")
            self.assertEqual(self.content_id("q8"), self.content_id("other"))
            self.check("q8", wte=np.frombuffer(self.unpacked("f32")["wte.weight"][2],
                                               "f4").reshape(300, -1))
        _, err = self.run_pack("init", "-o", "q8", "--vocab", "3", "--positions", "0", "--embd",
                               "48", "--dtype", "q8", "--force")
        self.assertEqual([f[0] for f in LOSS.findall(err)], ["wte"])

    def test_limits(self):
        most = 1 << 20
        for rows, columns in ((most + 1, 1), (1, most + 1)):
            _, err = self.run_pack("init", "-o", "out", "--vocab", str(rows), "--embd",
                                   str(columns), "--dtype", "q8", code=USAGE)
            self.assertIn(f"is {rows} rows of {columns} elements; --dtype q8 takes at most 1048576",
                          err)
            self.source(wte=np.zeros((rows, columns), "f4"), wpe=np.zeros((1, columns), "f4"))
            _, err = self.run_pack("pack", "in.safetensors", "-o", "out", "--dtype", "q8",
                                   code=INPUT)
            self.assertIn(f'"wte.weight" is {rows} rows of {columns} elements; ', err)
            self.left("in.safetensors")
        for rows, columns in ((most, 1), (1, most)):
            wte = np.arange(rows * columns, dtype="f4").reshape(rows, columns)
            self.source(wte=wte, wpe=wte[:1])
            self.run_limited("pack", "in.safetensors", "-o", "out", "--dtype", "q8", "--force")
            self.check("out", wte=wte)
            self.run_limited("pack", "out", "-o", "back", "--dtype", "f32", "--force")
            self.assertEqual(self.unpacked("back")["wte.weight"][2],
                             multiply(*quantise(wte)).tobytes())

    def test_usage(self):
        for command in ["pack", "in.safetensors"], ["init"]:
            for word in "Q8", "int8", "q4", "":
                _, err = self.run_pack(*command, "-o", "out", "--dtype", word, code=USAGE)
                self.assertEqual(err, f'gpt2-pack: --dtype: "{word}" is not f32, f16, bf16 or q8\n')


if __name__ == "__main__":
    test_cli.PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
