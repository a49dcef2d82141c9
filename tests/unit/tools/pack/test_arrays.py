#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""gpt2-pack and the files that NumPy, h5py, onnx and msgpack write, compared bit for bit.

Usage: test_arrays.py GPT2-PACK [unittest's arguments]. Skips, loudly, what is not installed."""

import json
import os
import subprocess
import sys
import unittest
import zipfile

import test_cli
from test_cli import Case, DONE, INPUT, USAGE, read_safetensors

try:
    import numpy
except ImportError:
    print("SKIPPED: python3-numpy is not installed", file=sys.stderr)
    sys.exit(77)


def dense(array, dtype):
    return numpy.ascontiguousarray(array).astype(dtype).tobytes()


def tables(dtype="<f4", order="C", n_embd=20):
    random = numpy.random.Generator(numpy.random.PCG64(7))
    return tuple(numpy.array(random.standard_normal((rows, n_embd)), dtype=dtype, order=order)
                 for rows in (50, 10))


class ArrayCase(Case):
    def values(self, pack="out.gpt2w"):
        self.run_pack("verify", "-q", pack)
        self.run_pack("unpack", "-q", pack, "-o", "back.safetensors", "--force")
        return {name: data for name, (_, _, data) in read_safetensors("back.safetensors")[2].items()}

    def same(self, wte, wpe, dtype):
        self.assertEqual(self.values(), {"wte.weight": dense(wte, dtype),
                                         "wpe.weight": dense(wpe, dtype)})


class Arrays(ArrayCase):
    def test_npy(self):
        for kind in "f2", "f4", "f8":
            for byte_order in "<", ">":
                for order in "C", "F":
                    with self.subTest(kind=kind, byte_order=byte_order, order=order):
                        wte, wpe = tables(byte_order + kind, order)
                        numpy.save("wte.npy", wte)
                        numpy.save("wpe.npy", wpe)
                        self.run_pack("pack", "wte.npy", "wpe.npy", "-o", "out.gpt2w", "--force")
                        self.same(wte, wpe, "<f4" if kind == "f8" else "<" + kind)
                        self.run_pack("pack", "wte.npy", "wpe.npy", "-o", "out.gpt2w", "--force",
                                      "--dtype", "f16")
                        self.same(wte, wpe, "<f2")

    def test_npz(self):
        for save in numpy.savez, numpy.savez_compressed:
            for dtype in "<f2", ">f4", "<f8":
                for order in "C", "F":
                    with self.subTest(save=save.__name__, dtype=dtype, order=order):
                        wte, wpe = tables(dtype, order, 300)
                        save("in.npz", wte=wte, wpe=wpe, steps=numpy.int64(3),
                             names=numpy.array(["a"], dtype=object),
                             bias=numpy.zeros((2, 3, 4), order="F"))
                        self.run_pack("pack", "in.npz", "-o", "out.gpt2w", "--force")
                        self.same(wte, wpe, "<f4" if dtype[1:] == "f8" else "<" + dtype[1:])

    def test_npz_names(self):
        wte, wpe = tables()
        for names in ("wte.weight", "transformer.wpe.weight"), ("model/wte", "model/wpe"):
            numpy.savez("in.npz", **dict(zip(names, (wte, wpe))))
            self.run_pack("pack", "in.npz", "-o", "out.gpt2w", "--force")
            self.same(wte, wpe, "<f4")
        numpy.savez("in.npz", a=wte, b=wpe)
        self.run_pack("pack", "in.npz", "-o", "x.gpt2w", code=INPUT)
        self.run_pack("pack", "in.npz", "-o", "out.gpt2w", "--force", "--wte", "a", "--wpe", "b")
        self.same(wte, wpe, "<f4")
        numpy.savez("in.npz", wte=wte, **{"wte.weight": wte, "wpe": wpe})
        _, err = self.run_pack("pack", "in.npz", "-o", "x.gpt2w", code=INPUT)
        self.assertIn("two tensors could be wte", err)

    def test_npz_damaged(self):
        wte, wpe = tables()
        for save in numpy.savez, numpy.savez_compressed:
            save("in.npz", wte=wte, wpe=wpe)
            good = self.read("in.npz")
            for at in range(0, len(good), 37):
                self.write("bad.npz", good[:at] + bytes([good[at] ^ 0x20]) + good[at + 1:])
                done = subprocess.run([test_cli.PROGRAM, "pack", "-q", "bad.npz", "-o", "out.gpt2w",
                                       "--force"], capture_output=True)
                # what is not covered by anything, such as times, may differ
                self.assertIn(done.returncode, (DONE, INPUT))
                if done.returncode == DONE:
                    self.same(wte, wpe, "<f4")
            for n in range(0, len(good), 97):
                self.write("bad.npz", good[:n])
                self.run_pack("pack", "bad.npz", "-o", "x.gpt2w", code=INPUT)

    def test_refused(self):
        wte, wpe = tables()
        numpy.save("wpe.npy", wpe)
        for dtype in "<i4", "|u1", "|b1", "<c8":
            numpy.save("wte.npy", wte.astype(dtype))
            _, err = self.run_pack("pack", "wte.npy", "wpe.npy", "-o", "x.gpt2w", code=INPUT)
            self.assertIn("a table has F64, F32, F16 or BF16", err)
        numpy.save("wte.npy", numpy.zeros((2, 3, 20), dtype="<f4"))
        _, err = self.run_pack("pack", "wte.npy", "wpe.npy", "-o", "x.gpt2w", code=INPUT)
        self.assertIn("two dimensions", err)
        numpy.save("wte.npy", wte[:, 1:])
        _, err = self.run_pack("pack", "wte.npy", "wpe.npy", "-o", "x.gpt2w", code=INPUT)
        self.assertIn("do not fit each other", err)
        _, err = self.run_pack("pack", "wte.npy", "wte.npy", "-o", "x.gpt2w", code=INPUT)
        self.assertIn('two inputs have a tensor "wte"', err)

    def test_raw(self):
        wte, wpe = tables()
        wte.tofile("wte.f32")
        numpy.save("wpe.npy", wpe)
        self.run_pack("pack", "wte.f32", "wpe.npy", "--embd", "20", "-o", "out.gpt2w")
        self.same(wte, wpe, "<f4")
        self.run_pack("pack", "wte.f32", "wpe.npy", "--embd", "20", "--vocab", "7", "--force", "-o",
                      "out.gpt2w")
        self.same(wte[:7], wpe, "<f4")
        _, err = self.run_pack("pack", "wte.f32", "wpe.npy", "-o", "x.gpt2w", code=USAGE)
        self.assertIn("--embd N", err)
        _, err = self.run_pack("info", "wte.f32", code=USAGE)
        self.assertIn("--embd N", err)
        out, _ = self.run_pack("info", "wte.f32", "--embd", "20")
        self.assertIn("[50, 20]", out)
        self.run_pack("pack", "wte.f32", "wpe.npy", "--embd", "21", "-o", "x.gpt2w", code=INPUT)
        for bad in "0", "-1", "x", "16777217", "18446744073709551616":
            self.run_pack("pack", "wte.f32", "--embd", bad, "-o", "x.gpt2w", code=USAGE)
            self.run_pack("info", "wte.f32", "--embd", bad, code=USAGE)

    def test_info_of_several(self):
        wte, wpe = tables()
        numpy.save("wte.npy", wte)
        wpe.tofile("wpe.f32")
        inputs = ["wte.npy", "wpe.f32", "--embd", "20"]
        info = json.loads(self.run_pack("info", "--json", *inputs)[0])
        self.assertEqual((info["format"], info["wte"], info["wpe"], info["problem"]),
                         ("several", "wte", "wpe", None))
        self.assertEqual((info["n_layer"], info["n_head"]), (0, 0))
        self.assertEqual([f["name"] for f in info["files"]], ["wte.npy", "wpe.f32"])
        out, _ = self.run_pack("info", *inputs)
        self.assertRegex(out, "wte +F32 +.50, 20. +0 .* wte\n")
        self.assertRegex(out, "wpe +F32 +.10, 20. +1 .* wpe\n")
        self.assertNotIn("n_layer", out)
        for bad, part, code in (("wte.npy", "two inputs have a tensor", INPUT),
                                ("no.npy", "no.npy", test_cli.IO)):
            _, err = self.run_pack("info", "wte.npy", bad, code=code)
            self.assertIn(part, err)
        # a pack among several is a part of the checkpoint
        self.run_pack("pack", "wte.npy", "--wpe", "none", "-o", "wte.gpt2w")
        info = json.loads(self.run_pack("info", "--json", "wte.gpt2w", *inputs[1:])[0])
        self.assertEqual((info["wte"], info["wpe"]), ("wte.weight", "wpe"))

    def test_repack(self):
        wte, wpe = tables(n_embd=17)
        numpy.savez("in.npz", wte=wte, wpe=wpe)
        self.run_pack("pack", "in.npz", "-o", "out.gpt2w")
        first = self.content_id("out.gpt2w")
        self.run_pack("pack", "out.gpt2w", "-o", "new.gpt2w")
        self.assertEqual(self.content_id("new.gpt2w"), first)
        out, _ = self.run_pack("info", "new.gpt2w")
        self.assertIn('gpt2w "out.gpt2w"', out)
        self.run_pack("pack", "new.gpt2w", "-o", "out.gpt2w", "--dtype", "f16", "--force")
        self.same(wte, wpe, "<f2")
        bad = bytearray(self.read("new.gpt2w"))
        bad[-1] ^= 1
        self.write("bad.gpt2w", bad)
        _, err = self.run_pack("pack", "bad.gpt2w", "-o", "x.gpt2w", code=INPUT)
        self.assertIn("bad.gpt2w", err)
        self.assertFalse(os.path.exists("x.gpt2w"))
        _, err = self.run_pack("pack", "new.gpt2w", "-o", "new.gpt2w", "--force", code=1)


class Unpack(ArrayCase):
    """unpack --to npz, read by NumPy."""

    def test_values(self):
        for n_embd in 20, 17, 1:
            for dtype in "<f4", "<f2":
                with self.subTest(n_embd=n_embd, dtype=dtype):
                    wte, wpe = tables(dtype, n_embd=n_embd)
                    wte.view(dtype.replace("f", "u"))[:4, 0] = (0, 1, 0x7c01, 0xfe00)
                    numpy.savez("in.npz", wte=wte, wpe=wpe)
                    self.run_pack("pack", "in.npz", "-o", "a.gpt2w", "--force")
                    _, err = self.run_pack("unpack", "a.gpt2w", "--to", "npz", "-o", "out.npz",
                                           "--force")
                    self.assertIn("out.npz: 2 tensors", err)
                    with numpy.load("out.npz") as back:
                        self.assertEqual(sorted(back.files), ["wpe.weight", "wte.weight"])
                        for table, name in (wte, "wte.weight"), (wpe, "wpe.weight"):
                            self.assertEqual(back[name].dtype.str, dtype)
                            self.assertEqual(back[name].shape, table.shape)
                            self.assertEqual(back[name].tobytes(), table.tobytes())
                    with zipfile.ZipFile("out.npz") as archive:
                        self.assertIsNone(archive.testzip())
                        for member in archive.infolist():
                            self.assertEqual(member.date_time, (1980, 1, 1, 0, 0, 0))
                            self.assertEqual(member.compress_type, zipfile.ZIP_STORED)
                            self.assertEqual(member.external_attr >> 16, 0o100644)
                    self.run_pack("pack", "out.npz", "-o", "b.gpt2w", "--force")
                    self.assertEqual(self.content_id("b.gpt2w"), self.content_id("a.gpt2w"))
                    first = self.read("out.npz")
                    self.run_pack("unpack", "b.gpt2w", "--to", "npz", "-o", "out.npz", "--force")
                    self.assertEqual(self.read("out.npz"), first, "the same pack, the same bytes")

    def test_many_blocks(self):
        wte = numpy.arange(300 * 1000, dtype="<f4").reshape(1000, 300)
        numpy.savez("in.npz", wte=wte)
        self.run_pack("pack", "in.npz", "--wpe", "none", "-o", "a.gpt2w")
        self.run_limited("unpack", "a.gpt2w", "--to", "npz", "-o", "out.npz")
        with numpy.load("out.npz") as back:
            self.assertEqual(back.files, ["wte.weight"])
            self.assertTrue((back["wte.weight"] == wte).all())
        bad = bytearray(self.read("a.gpt2w"))
        bad[-1] ^= 1
        self.write("bad.gpt2w", bad)
        self.run_pack("unpack", "bad.gpt2w", "--to", "npz", "-o", "x", code=test_cli.VERIFY)
        self.left("a.gpt2w", "bad.gpt2w", "in.npz", "out.npz")

    def test_refused(self):
        wte, wpe = tables()
        numpy.savez("in.npz", wte=wte, wpe=wpe)
        self.run_pack("pack", "in.npz", "-o", "a.gpt2w", "--dtype", "bf16")
        _, err = self.run_pack("unpack", "a.gpt2w", "--to", "npz", "-o", "x", code=USAGE)
        self.assertIn("bf16", err)
        self.assertIn("--to safetensors", err)
        for to in "", "npy", "NPZ", "\x1b[2J":
            _, err = self.run_pack("unpack", "a.gpt2w", "--to", to, "-o", "x", code=USAGE)
            self.assertIn("--to is safetensors or npz", err)
        self.left("a.gpt2w", "in.npz")
        self.run_pack("unpack", "a.gpt2w", "--to", "safetensors", "-o", "x")
        self.assertEqual(read_safetensors("x")[2]["wte.weight"][0], "BF16")


class Folder(ArrayCase):
    """Directories as downloaded: of several checkpoints the first is taken, and a note says so."""

    def setUp(self):
        super().setUp()
        os.mkdir("m")
        self.wte, self.wpe = tables()
        self.plain = test_cli.safetensors([("wte.weight", "F32", [50, 20], dense(self.wte, "<f4")),
                                           ("wpe.weight", "F32", [10, 20], dense(self.wpe, "<f4"))])

    def archive(self, name):
        numpy.savez("x.npz", wte=self.wte, wpe=self.wpe)
        os.rename("x.npz", "m/" + name)

    def taken(self, name, *passed):
        _, err = self.run_pack("pack", "m", "-o", "out.gpt2w", "--force", "--quiet")
        self.same(self.wte, self.wpe, "<f4")
        out, _ = self.run_pack("info", "m")
        note = json.loads(self.run_pack("info", "m", "--json")[0])["note"]
        if not passed:
            self.assertEqual((err, note), ("", None))
            self.assertNotIn("note:", out)
            return
        text = (f"the directory holds several checkpoints: {name} is taken, not " +
                ", ".join(passed))
        self.assertEqual(err, f"gpt2-pack: note: {text}\n")
        self.assertEqual(note, text)
        self.assertIn(f"note: {text}\n", out)

    def test_order(self):
        """From the last to the first: each takes the place of those before it."""
        self.archive("gpt2.npz")
        self.taken("gpt2.npz")
        self.write("m/x.index", b"x")
        self.taken("gpt2.npz", "x.index")
        self.write("m/tf_model.h5", b"x")
        self.taken("gpt2.npz", "tf_model.h5", "x.index")
        self.write("m/b.gguf", b"x")
        self.taken("gpt2.npz", "tf_model.h5", "b.gguf", "x.index")
        self.write("m/a.gguf", b"x")
        os.remove("m/x.index")
        self.taken("gpt2.npz", "tf_model.h5", "a.gguf and 1 more of its kind")
        os.remove("m/b.gguf")
        os.remove("m/tf_model.h5")
        passed = ["gpt2.npz", "a.gguf"]
        for name in ("model.npz", "ckpt.pt", "pytorch_model.bin.index.json", "pytorch_model.bin",
                     "model.safetensors.index.json", "model.safetensors"):
            if name.endswith(".json"):
                self.write("m/shard", self.plain)
                self.write("m/" + name, json.dumps({"weight_map": {
                    "wte.weight": "shard", "wpe.weight": "shard"}}).encode())
            elif name.endswith(".npz"):
                self.archive(name)
            else: # contents decide, not names
                self.write("m/" + name, self.plain)
            self.taken(name, *passed)
            passed.insert(0, name)

    def test_hidden(self):
        self.archive("gpt2.npz")
        self.write("m/._gpt2.npz", b"x")
        self.write("m/.npz", b"x")
        self.taken("gpt2.npz")

    def test_several(self):
        self.archive("b.npz")
        self.archive("a.npz")
        _, err = self.run_pack("pack", "m", "-o", "x", code=INPUT)
        self.assertIn("2 files *.npz (a.npz, ...)", err)

    def test_config(self):
        self.archive("gpt2.npz")
        self.write("m/config.json", b'{"n_layer": 5, "n_head": 4}')
        self.taken("gpt2.npz")
        info = json.loads(self.run_pack("info", "--json", "out.gpt2w")[0])
        self.assertEqual((info["n_layer"], info["n_head"]), (5, 4))
        info = json.loads(self.run_pack("info", "--json", "m")[0])
        self.assertEqual((info["n_layer"], info["n_head"]), (5, 4))
        self.assertRegex(self.run_pack("info", "m")[0], "n_layer +5\nn_head +4\n")
        self.write("m/config.json", b'{"n_embd": 21}')
        _, err = self.run_pack("pack", "m", "-o", "x", code=INPUT)
        self.assertIn("n_embd 21", err)

    def test_nothing(self):
        _, err = self.run_pack("pack", "m", "-o", "x", code=INPUT)
        self.assertIn("the directory holds no checkpoint", err)
        for name in "model.onnx", "flax_model.msgpack", "tf_model.h5":
            self.write("m/" + name, b"x")
            _, err = self.run_pack("pack", "m", "-o", "x", code=INPUT)
            self.assertIn(f"the directory holds {name}, which is not read", err)


class Python(ArrayCase):
    """The advice for files that are recognised only, taken."""

    def take(self, path, kind, wte, wpe):
        done = subprocess.run([test_cli.PROGRAM, "pack", path, "-o", "x.gpt2w"],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, INPUT, done)
        first, *code = done.stderr.splitlines()
        self.assertIn(f"{path} is {kind}", first)
        self.assertEqual(len(code), 2)
        subprocess.run([sys.executable, "-c", "\n".join(code).replace("FILE", path)], check=True)
        self.run_pack("pack", "gpt2.npz", "-o", "out.gpt2w", "--force")
        self.same(wte, wpe, "<f4")

    def library(self, name):
        try:
            return __import__(name)
        except ImportError:
            print(f"SKIPPED: python3-{name} is not installed", file=sys.stderr)
            return self.skipTest(f"python3-{name} is not installed")

    def test_keras(self):
        h5py = self.library("h5py")
        wte, wpe = tables()
        with h5py.File("tf_model.h5", "w") as file:
            base = "transformer/tfgpt2lm_head_model/transformer/"
            file[base + "wte/weight:0"] = wte
            file[base + "wpe/embeddings:0"] = wpe
            file[base + "h_._0/ln_1/gamma:0"] = wte[0]
            file.attrs["backend"] = "tensorflow"
        self.take("tf_model.h5", "an HDF5 file", wte, wpe)

    def test_onnx(self):
        onnx = self.library("onnx")
        import onnx.numpy_helper
        wte, wpe = tables()
        for producer in "", "pytorch":
            for prefix in "", "transformer.":
                graph = onnx.helper.make_graph(
                    [onnx.helper.make_node("Identity", ["x"], ["y"])], "torch-jit-export", [], [],
                    [onnx.numpy_helper.from_array(table, prefix + name) for name, table in
                     (("wte.weight", wte), ("h.0.ln_1.bias", wte[0]), ("wpe.weight", wpe))])
                onnx.save(onnx.helper.make_model(graph, producer_name=producer), "model.onnx")
                self.take("model.onnx", "an ONNX model", wte, wpe)

    def test_flax(self):
        msgpack = self.library("msgpack")
        wte, wpe = tables()

        def array(value):
            return msgpack.ExtType(1, msgpack.packb((value.shape, value.dtype.name,
                                                     value.tobytes())))

        model = {"h": {"0": {"attn": {"c_attn": {"bias": array(wte[0])}}}},
                 "wte": {"embedding": array(wte)}, "wpe": {"embedding": array(wpe)}}
        for top in model, {"transformer": model}:
            self.write("flax_model.msgpack", msgpack.packb(top))
            self.take("flax_model.msgpack", "a Flax checkpoint", wte, wpe)


if __name__ == "__main__":
    test_cli.PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
