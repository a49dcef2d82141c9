#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""gpt2-pack as its users meet it: exit codes, messages, what is left on disk.

Usage: test_cli.py GPT2-PACK [unittest's arguments]. GW_TEST_FULL=1 adds the tests at real size."""

import array
import json
import os
import resource
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM = None
FULL = os.environ.get("GW_TEST_FULL") == "1"
DONE, FAILED, USAGE, INPUT, IO, VERIFY = range(6)
# Of private writable memory, which RLIMIT_DATA counts; "ulimit -d" takes KiB.
LIMIT_KIB = 64 * 1024


def floats(n, seed=1):
    """n distinct numbers, bytes of f32."""
    return array.array("f", ((seed * 1000 + i) / 64 for i in range(n))).tobytes()


def safetensors(tensors, header_bytes=None, metadata=True):
    """Bytes of a file of (name, dtype, shape, data)."""
    header, offset = ({"__metadata__": {"format": "pt"}} if metadata else {}), 0
    for name, dtype, shape, data in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    if header_bytes:
        assert len(text) <= header_bytes, len(text)
        text = text.ljust(header_bytes)
    return struct.pack("<Q", len(text)) + text + b"".join(t[3] for t in tensors)


def read_safetensors(path):
    with open(path, "rb") as file:
        data = file.read()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + n])
    metadata = header.pop("__metadata__", None)
    base = 8 + n
    return base, metadata, {
        name: (t["dtype"], t["shape"],
               data[base + t["data_offsets"][0]:base + t["data_offsets"][1]])
        for name, t in header.items()}


WTE, WPE = floats(50 * 20, 1), floats(10 * 20, 2)
TABLES = [("wpe.weight", "F32", [10, 20], WPE), ("wte.weight", "F32", [50, 20], WTE)]


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.old = os.getcwd()
        os.chdir(self.folder.name)
        self.addCleanup(os.chdir, self.old)

    def run_pack(self, *arguments, code=DONE, before=None):
        done = subprocess.run([PROGRAM, *arguments], capture_output=True, preexec_fn=before)
        self.assertEqual(done.returncode, code, done)
        err = done.stderr.decode()
        for line in err.splitlines():
            if code != USAGE:
                self.assertTrue(line.startswith("gpt2-pack: "), line)
            self.assertNotIn("\x1b", line)
        if code != DONE:
            self.assertNotEqual(err, "", "a failure says why")
        return done.stdout.decode(), err

    def run_limited(self, *arguments, code=DONE):
        """With at most 64 MiB of memory; a sanitizer needs more than that for itself."""
        command = ["sh", "-c", f'ulimit -d {LIMIT_KIB} && exec "$0" "$@"', PROGRAM]
        if subprocess.run([*command, "--version"], capture_output=True).returncode != DONE:
            return self.run_pack(*arguments, code=code)
        done = subprocess.run([*command, *arguments], capture_output=True)
        self.assertEqual(done.returncode, code, done)
        return done.stdout.decode(), done.stderr.decode()

    def write(self, path, data):
        with open(path, "wb") as file:
            file.write(data)

    def read(self, path):
        with open(path, "rb") as file:
            return file.read()

    def checkpoint(self, path="in.safetensors", tensors=None, **more):
        self.write(path, safetensors(tensors or TABLES, **more))
        return path

    def content_id(self, path):
        return json.loads(self.run_pack("info", "--json", path)[0])["content_id"]

    def left(self, *expected):
        self.assertEqual(sorted(os.listdir(".")), sorted(expected))


class Usage(Case):
    def test_help_and_version(self):
        for command in [], ["pack"], ["init"], ["info"], ["verify"], ["unpack"]:
            out, err = self.run_pack(*command, "--help")
            self.assertIn("Usage: gpt2-pack " + "".join(command), out)
            self.assertEqual(err, "")
        self.assertRegex(self.run_pack("--version")[0], r"^gpt2-pack \d+\.\d+\.\d+\n$")

    def test_wrong_usage(self):
        self.checkpoint()
        for arguments in (
                [], ["nothing"], ["--nothing"], ["pack"], ["pack", "in.safetensors"],
                ["pack", "-o", "out.gpt2w"], ["pack", "--nothing"], ["init"], ["info"], ["verify"],
                ["unpack"], ["unpack", "x"], ["unpack", "-o", "x"], ["info", "--json"],
                ["unpack", "a", "b", "-o", "c"], ["init", "-o", "out.gpt2w", "extra"],
                ["init", "-o", "out.gpt2w", "--seed", "-1"],
                ["init", "-o", "out.gpt2w", "--seed", "18446744073709551616"],
                ["init", "-o", "out.gpt2w", "--vocab", "0"],
                ["init", "-o", "out.gpt2w", "--vocab", "2147483648"],
                ["init", "-o", "out.gpt2w", "--embd", "0"],
                ["init", "-o", "out.gpt2w", "--embd", "16777217"],
                ["init", "-o", "out.gpt2w", "--size", "gpt3"],
                ["init", "-o", "out.gpt2w", "--init", "xavier"],
                ["init", "-o", "out.gpt2w", "--dtype", "f64"],
                ["init", "-o", "out.gpt2w", "--vocab", "2147483647", "--embd", "16777216"],
                ["pack", "in.safetensors", "-o", "out.gpt2w", "--vocab", "1x"],
                ["pack", "in.safetensors", "-o", "out.gpt2w", "--vocab", ""],
                ["pack", "in.safetensors", "-o", "out.gpt2w", "--dtype", "int4"]):
            with self.subTest(arguments):
                self.run_pack(*arguments, code=USAGE)
                self.left("in.safetensors")


class Pack(Case):
    def test_round_trip(self):
        self.checkpoint()
        out, err = self.run_pack("pack", "in.safetensors", "-o", "out.gpt2w")
        self.assertEqual(out, "")
        self.assertEqual(err.count("\n"), 1)
        self.assertIn("wte [50, 20] f32, wpe [10, 20] f32", err)
        self.assertIn(self.content_id("out.gpt2w"), err)
        self.run_pack("verify", "out.gpt2w")
        self.run_pack("unpack", "out.gpt2w", "-o", "back.safetensors")
        base, metadata, tensors = read_safetensors("back.safetensors")
        self.assertEqual(base % 8, 0)
        self.assertEqual(metadata["format"], "pt")
        self.assertEqual(tensors, {"wte.weight": ("F32", [50, 20], WTE),
                                   "wpe.weight": ("F32", [10, 20], WPE)})
        self.run_pack("pack", "back.safetensors", "-o", "again.gpt2w")
        self.assertEqual(self.content_id("again.gpt2w"), self.content_id("out.gpt2w"))

    def test_every_bit_pattern_survives(self):
        every = array.array("H", range(65536)).tobytes()
        for dtype in "F16", "BF16":
            self.checkpoint(tensors=[("wte.weight", dtype, [4096, 16], every)])
            self.run_pack("pack", "in.safetensors", "-o", "out.gpt2w", "--wpe", "none", "--force")
            self.run_pack("unpack", "out.gpt2w", "-o", "back.safetensors", "--force")
            self.assertEqual(read_safetensors("back.safetensors")[2],
                             {"wte.weight": (dtype, [4096, 16], every)})

    def test_dtype(self):
        self.checkpoint()
        self.run_pack("pack", "in.safetensors", "-o", "half.gpt2w", "--dtype", "bf16")
        self.run_pack("unpack", "half.gpt2w", "-o", "half.safetensors")
        expected = bytearray()
        for (bits,) in struct.iter_unpack("<I", WTE):
            expected += struct.pack("<H", (bits + 0x7fff + (bits >> 16 & 1)) >> 16)
        self.assertEqual(read_safetensors("half.safetensors")[2]["wte.weight"],
                         ("BF16", [50, 20], bytes(expected)))

    def test_overflow_is_counted(self):
        data = struct.pack("<4f", 1.0, 65520.0, -1e30, float("inf"))
        self.checkpoint(tensors=[("wte.weight", "F32", [2, 2], data)])
        _, err = self.run_pack("pack", "in.safetensors", "-o", "out.gpt2w", "--dtype", "f16",
                               "--wpe", "none")
        self.assertIn("2 finite values of wte are too large for f16", err)

    def test_deterministic(self):
        self.checkpoint()
        self.run_pack("pack", "in.safetensors", "-o", "a.gpt2w")
        self.run_pack("pack", "in.safetensors", "-o", "b.gpt2w")
        self.assertEqual(self.read("a.gpt2w"), self.read("b.gpt2w"))

    def test_order_and_prefix_do_not_matter(self):
        self.checkpoint()
        self.checkpoint("other.safetensors", metadata=False, tensors=[
            ("x", "U8", [3], b"abc"), ("lm_head.weight", "F32", [50, 20], WTE),
            ("transformer.wte.weight", "F32", [50, 20], WTE),
            ("transformer.h.0.ln.bias", "F64", [1], b"12345678"),
            ("transformer.wpe.weight", "F32", [10, 20], WPE)])
        self.run_pack("pack", "in.safetensors", "-o", "a.gpt2w")
        self.run_pack("pack", "other.safetensors", "-o", "b.gpt2w")
        self.assertEqual(self.content_id("a.gpt2w"), self.content_id("b.gpt2w"))

    def test_odd_offsets(self):
        self.checkpoint()
        self.run_pack("pack", "in.safetensors", "-o", "a.gpt2w")
        for header in 301, 302, 303, 304:
            self.checkpoint("odd.safetensors", header_bytes=header)
            self.run_pack("pack", "odd.safetensors", "-o", "b.gpt2w", "--force")
            self.assertEqual(self.content_id("a.gpt2w"), self.content_id("b.gpt2w"))

    def sharded(self, folder, wte_file="2.safetensors"):
        os.mkdir(folder)
        self.write(f"{folder}/1.safetensors", safetensors([TABLES[0]]))
        self.write(f"{folder}/2.safetensors", safetensors([("x", "U8", [1], b"x"), TABLES[1]]))
        self.write(f"{folder}/model.safetensors.index.json", json.dumps({
            "metadata": {"total_size": 4801},
            "weight_map": {"wpe.weight": "1.safetensors", "wte.weight": wte_file}}).encode())

    def test_sharded(self):
        self.checkpoint()
        self.run_pack("pack", "in.safetensors", "-o", "single.gpt2w")
        self.sharded("model")
        self.run_pack("pack", "model", "-o", "a.gpt2w")
        self.run_pack("pack", "model/model.safetensors.index.json", "-o", "b.gpt2w")
        self.assertEqual(self.read("a.gpt2w"), self.read("b.gpt2w"))
        self.assertEqual(self.content_id("single.gpt2w"), self.content_id("a.gpt2w"))
        info = json.loads(self.run_pack("info", "--json", "a.gpt2w")[0])
        self.assertEqual(info["provenance"]["source_format"], "safetensors-sharded")
        self.assertEqual(info["provenance"]["source_bytes"],
                         sum(os.path.getsize("model/" + f) for f in os.listdir("model")))

    def test_bad_shards(self):
        for i, (name, part) in enumerate((
                ("3.safetensors", "3.safetensors"), ("../in.safetensors", "plain name"),
                ("1.safetensors", "\"wte.weight\" is missing in 1.safetensors"))):
            self.sharded(f"model{i}", name)
            _, err = self.run_pack("pack", f"model{i}", "-o", "out.gpt2w", code=INPUT)
            self.assertIn(part, err)
        self.assertFalse(os.path.exists("out.gpt2w"))

    def test_downloaded_directory(self):
        os.mkdir("model")
        self.checkpoint("model/model.safetensors")
        self.write("model/config.json", json.dumps({
            "n_layer": 3, "n_head": 2, "vocab_size": 50, "n_positions": 10, "n_embd": 20}).encode())
        self.run_pack("pack", "model", "-o", "out.gpt2w")
        info = json.loads(self.run_pack("info", "--json", "out.gpt2w")[0])
        self.assertEqual((info["n_layer"], info["n_head"]), (3, 2))
        self.write("model/config.json", b'{"n_embd": 21}')
        _, err = self.run_pack("pack", "model", "-o", "no.gpt2w", code=INPUT)
        self.assertIn("n_embd 21", err)
        self.left("model", "out.gpt2w")

    def test_tables_not_found(self):
        self.checkpoint(tensors=[("a\x1b[31m", "F32", [1], b"1234"), TABLES[1]])
        _, err = self.run_pack("pack", "in.safetensors", "-o", "out.gpt2w", code=INPUT)
        self.assertIn("--wpe none", err)
        self.assertIn('it holds "a\\x1b[31m", "wte.weight"', err)
        self.checkpoint(tensors=[TABLES[0], TABLES[1], ("model.wte.weight", *TABLES[1][1:])])
        _, err = self.run_pack("pack", "in.safetensors", "-o", "out.gpt2w", code=INPUT)
        self.assertIn('"wte.weight" and "model.wte.weight"', err)
        self.run_pack("pack", "in.safetensors", "-o", "out.gpt2w", "--wte", "model.wte.weight")

    def test_vocab(self):
        self.checkpoint()
        self.run_pack("pack", "in.safetensors", "-o", "out.gpt2w", "--vocab", "7")
        self.run_pack("unpack", "out.gpt2w", "-o", "back.safetensors")
        self.assertEqual(read_safetensors("back.safetensors")[2]["wte.weight"],
                         ("F32", [7, 20], WTE[:7 * 20 * 4]))
        self.run_pack("pack", "in.safetensors", "-o", "no.gpt2w", "--vocab", "51", code=INPUT)
        self.left("in.safetensors", "out.gpt2w", "back.safetensors")

    def test_bad_inputs(self):
        os.mkfifo("fifo")
        os.mkdir("empty")
        os.symlink("loop", "loop")
        self.write("cut", safetensors(TABLES)[:-1])
        self.write("long", safetensors(TABLES) + b"x")
        self.write("lfs", b"version https://git-lfs.github.com/spec/v1\n")
        self.write("page", b"<!DOCTYPE html><html></html>")
        before = os.listdir(".")
        for name, code, part in (
                ("fifo", INPUT, "FIFO"), ("/dev/zero", INPUT, "character device"),
                ("empty", INPUT, "neither model.safetensors nor"), ("loop", IO, "loop"),
                ("missing", IO, "missing"), ("cut", INPUT, "past the end"),
                ("long", INPUT, "1 trailing"), ("lfs", INPUT, "Git LFS"),
                ("page", INPUT, "HTML")):
            with self.subTest(name):
                _, err = self.run_pack("pack", name, "-o", "out.gpt2w", code=code)
                self.assertIn(part, err)
                self.assertEqual(err.count(f"{name}: "), 1 if code == INPUT else 2, err)
                if name not in ("empty",):
                    _, err = self.run_pack("info", name, code=code)
                    self.assertIn(part, err)
                self.left(*before)


    def test_memory(self):
        """Headers that need much memory are refused, or fit."""
        def file(header, data=b""):
            self.write("in", struct.pack("<Q", len(header)) + header + data)

        for n, part in ((4190000, "needs more than 32 MiB"), (4200000, "over this program's limit")):
            file(b'{"a":[' + b"0," * (n // 2) + b"0]}")
            _, err = self.run_limited("pack", "in", "-o", "out.gpt2w", code=INPUT)
            self.assertIn(part, err)
        for n, part in (60000, "needs more than 32 MiB"), (25000, "overlaps"):
            file(b"{" + b",".join(b'"%d":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}' % i
                                  for i in range(n)) + b"}", bytes(8))
            _, err = self.run_limited("pack", "in", "-o", "out.gpt2w", code=INPUT)
            self.assertIn(part, err)
        file(b"{" + b",".join(b'"%d":{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}'
                              % (i, i, i + 1) for i in range(25000)) + b"}", bytes(25000))
        out, _ = self.run_limited("info", "--json", "in")
        self.assertEqual(len(json.loads(out)["tensors"]), 25000)


class All(Case):
    """pack --all."""

    def pack_all(self, tensors, *more, code=DONE):
        self.checkpoint(tensors=tensors)
        return self.run_pack("pack", "--all", "in.safetensors", "-o", "out.gpt2w", "--force", *more,
                             code=code)[1]

    def back(self):
        self.run_pack("verify", "--quiet", "out.gpt2w")
        self.run_pack("unpack", "out.gpt2w", "-o", "back.safetensors", "--force", "-q")
        return read_safetensors("back.safetensors")[2]

    def test_everything_comes_back(self):
        """Each type and rank, in an order that is not the names', with bytes between them."""
        kept = [("z", "F32", [], b"wxyz"), ("h.0.a", "BF16", [3], b"abcdef"),
                ("wte.weight", "F32", [50, 20], WTE), ("h.10.b", "F16", [2, 1, 3, 1], b"abcdefghijkl"),
                ("h.2.c", "F32", [7, 3], floats(21, 5)), ("wpe.weight", "F32", [10, 20], WPE),
                ("big", "F32", [1000, 301], floats(301000, 6))]
        left = [("h.0.attn.bias", "U8", [1, 3], b"abc"), ("h.1.attn.bias", "U8", [2], b"ab"),
                ("ids", "I64", [1], b"12345678"), ("none", "F32", [4, 0], b""),
                ("yes", "BOOL", [1], b"1")]
        tensors = [t for pair in zip(kept, left) for t in pair] + kept[len(left):]
        err = self.pack_all([("transformer." + n, *rest) for n, *rest in tensors])
        self.assertIn('5 of 12 tensors are left out: 2 U8 ("transformer.h.0.attn.bias" …), '
                      '1 I64 ("transformer.ids"), 1 empty ("transformer.none"), '
                      '1 BOOL ("transformer.yes")\n', err)
        self.assertIn("wpe [10, 20] f32 and 5 more, ", err)
        self.assertEqual(self.back(), {n: tuple(rest) for n, *rest in kept})
        info = json.loads(self.run_pack("info", "--json", "out.gpt2w")[0])
        self.assertIn("all tensors but 5", info["provenance"]["note"])
        self.assertEqual([t["role"] for t in info["tensors"] if t["role"]], ["wpe", "wte"])
        first = self.content_id("out.gpt2w")
        self.run_pack("pack", "--all", "out.gpt2w", "-o", "again.gpt2w")
        self.assertEqual(self.content_id("again.gpt2w"), first)
        self.run_pack("pack", "out.gpt2w", "-o", "tables.gpt2w")
        self.run_pack("pack", "in.safetensors", "-o", "tables2.gpt2w")
        self.assertEqual(self.content_id("tables.gpt2w"), self.content_id("tables2.gpt2w"))

    def test_types(self):
        data = struct.pack("<3d", 1.5, -2.0, 1e300)
        err = self.pack_all([*TABLES, ("x", "F64", [3], data)])
        self.assertIn("1 finite values of x are too large for f32", err)
        self.assertEqual(self.back()["x"],
                         ("F32", [3], struct.pack("<3f", 1.5, -2.0, float("inf"))))
        self.pack_all([*TABLES, ("x", "F64", [3], data)], "--dtype", "bf16")
        self.assertEqual({v[0] for v in self.back().values()}, {"BF16"})
        err = self.pack_all([*TABLES, ("x", "F8_E4M3", [3], b"abc")], code=INPUT)
        self.assertIn('"x" has the type F8_E4M3', err)

    def test_output_head(self):
        head = ("lm_head.weight", "F32", [50, 20])
        err = self.pack_all([*TABLES, (*head, WTE)], "--vocab", "40")
        self.assertIn('1 of 3 tensors are left out: 1 equal to wte ("lm_head.weight")', err)
        self.assertEqual({k: v[1] for k, v in self.back().items()},
                         {"wte.weight": [40, 20], "wpe.weight": [10, 20]})
        for at in 0, 2000, len(WTE) - 1:
            other = WTE[:at] + bytes([WTE[at] ^ 1]) + WTE[at + 1:]
            self.assertNotIn("left out", self.pack_all([*TABLES, (*head, other)]))
            self.assertEqual(self.back()["lm_head.weight"], ("F32", [50, 20], other))
        # the same bytes in another shape are another tensor
        self.pack_all([*TABLES, ("lm_head.weight", "F32", [20, 50], WTE)])
        self.assertEqual(self.back()["lm_head.weight"], ("F32", [20, 50], WTE))

    def test_names(self):
        err = self.pack_all([*TABLES, ("model.x", "F32", [1], b"1234"),
                             ("module.x", "F32", [1], b"1234")], code=INPUT)
        self.assertIn('"model.x" and "module.x" would both be called "x"', err)
        err = self.pack_all([*TABLES, ("other", *TABLES[1][1:])], "--wte", "other", code=INPUT)
        self.assertIn("would both be called \"wte.weight\"", err)
        for name in "x" * 256, "a\x1bb", "model.", "":
            err = self.pack_all([*TABLES, (name, "F32", [1], b"1234")], code=INPUT)
            self.assertIn("a pack cannot have the name", err)
            self.assertNotIn("\x1b", err)
        self.left("in.safetensors")
        self.pack_all([*TABLES, ("model." + "x" * 255, "F32", [1], b"1234"),
                       ("\u00e9", "F32", [1], b"5678")])
        self.assertEqual(set(self.back()), {"wte.weight", "wpe.weight", "x" * 255, "\u00e9"})

    def test_no_wpe(self):
        err = self.pack_all([*TABLES, ("x", "F32", [1], b"1234")], "--wpe", "none")
        self.assertIn('1 the position table ("wpe.weight")', err)
        self.assertEqual(set(self.back()), {"wte.weight", "x"})

    def test_orientation(self):
        """Of the matrices, by their shapes; a square one is like its layer's c_attn."""
        def matrices(turned):
            shapes = (("h.0.attn.c_attn.weight", [20, 60]), ("h.0.attn.c_proj.weight", [20, 20]),
                      ("h.0.mlp.c_fc.weight", [20, 80]), ("h.0.mlp.c_proj.weight", [80, 20]))
            return [(n, "F32", s[::-1] if turned else s, floats(s[0] * s[1])) for n, s in shapes]

        others = [("h.1.attn.c_proj.weight", "F32", [20, 20], floats(400)),
                  ("h.1.mlp.c_fc.weight", "F32", [20, 20], floats(400)),
                  ("h.1.mlp.c_fc.bias", "F32", [80], floats(80))]
        for turned, word in (False, "[in, out]"), (True, "[out, in]"):
            self.pack_all([*TABLES, *matrices(turned), *others])
            info = json.loads(self.run_pack("info", "--json", "out.gpt2w")[0])
            self.assertEqual({t["name"]: t["orientation"] for t in info["tensors"]},
                             {**{n: word for n, *_ in matrices(turned)},
                              **{n: None for n, *_ in TABLES + others}})
            out, _ = self.run_pack("info", "out.gpt2w")
            self.assertEqual(out.count("  " + word + "\n"), 4)

    def test_own_names(self):
        """Several arrays: no format that has Hugging Face's names."""
        import io
        try:
            import numpy
        except ImportError:
            self.skipTest("no NumPy for this Python")
        for name, shape in ("wte.weight", (5, 4)), ("wpe.weight", (3, 4)), ("model.x", (2, 3)):
            stream = io.BytesIO()
            numpy.save(stream, numpy.asfortranarray(
                numpy.arange(shape[0] * shape[1], dtype="<f4").reshape(shape)))
            self.write(name + ".npy", stream.getvalue())
        self.run_pack("pack", "--all", "wte.weight.npy", "wpe.weight.npy", "model.x.npy", "-o",
                      "out.gpt2w")
        self.assertEqual(self.back()["model.x"],
                         ("F32", [2, 3], struct.pack("<6f", *range(6))))

    def test_many(self):
        """As many tensors as a pack may have, in 64 MiB; one more is refused."""
        n = 16384 - 2
        tensors = [*TABLES, *(("model.layer.%d" % i, "F32", [1], struct.pack("<I", i))
                              for i in range(n))]
        self.checkpoint(tensors=tensors)
        self.run_limited("pack", "--all", "in.safetensors", "-o", "out.gpt2w")
        self.run_limited("verify", "out.gpt2w")
        self.run_limited("unpack", "out.gpt2w", "-o", "back.safetensors")
        back = read_safetensors("back.safetensors")[2]
        self.assertEqual(len(back), 16384)
        for i in range(n):
            self.assertEqual(back["layer.%d" % i][2], struct.pack("<I", i))
        err = self.pack_all([*tensors, ("y", "F32", [1], b"1234")], code=INPUT)
        self.assertIn("more than 16384 tensors", err)


class Output(Case):
    def test_nothing_is_overwritten(self):
        self.checkpoint()
        for command in (["pack", "in.safetensors"], ["init", "--vocab", "3", "--embd", "4"]):
            self.write("out", b"precious")
            _, err = self.run_pack(*command, "-o", "out", code=FAILED)
            self.assertIn("out", err)
            self.assertEqual(self.read("out"), b"precious")
            self.run_pack(*command, "-o", "out", "--force")
            self.run_pack("verify", "out")
        self.write("back", b"precious")
        self.run_pack("unpack", "out", "-o", "back", code=FAILED)
        self.assertEqual(self.read("back"), b"precious")
        self.run_pack("unpack", "out", "-o", "back", "--force")
        self.left("in.safetensors", "out", "back")

    def test_output_is_no_file(self):
        self.checkpoint()
        os.mkdir("folder")
        os.symlink("target", "link")
        os.symlink("in.safetensors", "alias")
        os.mkfifo("fifo")
        for path in "folder", "link", "fifo", "/dev/null", "alias":
            for force in [], ["--force"]:
                with self.subTest(path=path, force=force):
                    self.run_pack("pack", "in.safetensors", "-o", path, *force, code=FAILED)
        self.run_pack("pack", "in.safetensors", "-o", "nowhere/out.gpt2w", code=IO)
        self.left("in.safetensors", "folder", "link", "alias", "fifo")

    def test_output_is_the_input(self):
        self.checkpoint()
        original = self.read("in.safetensors")
        os.link("in.safetensors", "hard")
        for path in "in.safetensors", "./in.safetensors", "hard":
            self.run_pack("pack", "in.safetensors", "-o", path, "--force", code=FAILED)
        self.assertEqual(self.read("in.safetensors"), original)
        self.run_pack("init", "-o", "a.gpt2w", "--vocab", "3", "--embd", "4")
        self.run_pack("unpack", "a.gpt2w", "-o", "a.gpt2w", "--force", code=FAILED)
        self.run_pack("verify", "a.gpt2w")

    def test_permissions(self):
        self.checkpoint()
        for mask, mode in (0o022, 0o644), (0o077, 0o600), (0o002, 0o664):
            self.run_pack("pack", "in.safetensors", "-o", "out.gpt2w", "--force",
                          before=lambda mask=mask: os.umask(mask))
            self.assertEqual(stat.S_IMODE(os.stat("out.gpt2w").st_mode), mode)

    def test_file_size_limit(self):
        self.checkpoint()
        self.run_pack("init", "-o", "a.gpt2w", "--vocab", "3000", "--embd", "64")

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))

        for command in (["pack", "in.safetensors", "-o", "x"], ["init", "-o", "x"],
                        ["unpack", "a.gpt2w", "-o", "x"]):
            self.run_pack(*command, code=IO, before=limit)
            self.left("in.safetensors", "a.gpt2w")

    def test_full_standard_output(self):
        self.run_pack("init", "-o", "a.gpt2w", "--vocab", "3", "--embd", "4")
        with open("/dev/full", "w") as full:
            done = subprocess.run([PROGRAM, "info", "a.gpt2w"], stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, IO)

    def test_closed_descriptors(self):
        self.checkpoint()
        done = subprocess.run(f"exec '{PROGRAM}' pack in.safetensors -o out.gpt2w 0<&- 1>&- 2>&-",
                              shell=True)
        self.assertEqual(done.returncode, DONE)
        self.run_pack("verify", "out.gpt2w")

    def test_signals_leave_nothing(self):
        for number in signal.SIGTERM, signal.SIGINT, signal.SIGHUP:
            # ignored signals are inherited, and stay ignored: nohup's SIGHUP among them
            child = subprocess.Popen([PROGRAM, "init", "-o", "out.gpt2w", "--size", "gpt2-xl"],
                                     stderr=subprocess.DEVNULL,
                                     preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
            while child.poll() is None and not os.listdir("."):
                time.sleep(0.001)
            child.send_signal(number)
            self.assertEqual(child.wait(), -number)
            self.left()


class Init(Case):
    def test_reproducible(self):
        options = ["--vocab", "300", "--positions", "20", "--embd", "24"]
        for name, more in (("a", []), ("b", ["--seed", "42"]), ("c", ["--seed", "43"]),
                           ("d", ["--init", "pytorch"])):
            self.run_pack("init", "-o", name, *options, *more)
        self.assertEqual(self.read("a"), self.read("b"))
        # pinned: what a seed means must not change from release to release
        self.assertEqual(self.content_id("a"), "fdb86fd3919ca2c50f45cbb133c8463b")
        self.assertEqual(self.content_id("d"), "6253b1c40f4895b8734b42d917ded452")
        self.assertNotEqual(self.content_id("a"), self.content_id("c"))
        info = json.loads(self.run_pack("info", "--json", "a")[0])
        self.assertEqual(info["provenance"]["note"], "seed 42, openai")
        self.assertEqual((info["n_vocab"], info["n_positions"], info["n_embd"], info["n_layer"]),
                         (300, 20, 24, 0))

    def test_no_positions(self):
        self.run_pack("init", "-o", "a", "--vocab", "3", "--embd", "4", "--positions", "0")
        info = json.loads(self.run_pack("info", "--json", "a")[0])
        self.assertEqual([t["name"] for t in info["tensors"]], ["wte.weight"])

    def test_rows_of_any_width(self):
        """Padding between rows is dropped by unpack, wherever blocks end."""
        for dtype, name, size in ("f32", "F32", 4), ("f16", "F16", 2):
            options = ["--vocab", "9001", "--positions", "3", "--embd", "37", "--dtype", dtype]
            self.run_pack("init", "-o", "a", *options, "--force")
            self.run_pack("unpack", "a", "-o", "b", "--force")
            tensors = read_safetensors("b")[2]
            self.assertEqual(tensors["wte.weight"][:2], (name, [9001, 37]))
            info = json.loads(self.run_pack("info", "--json", "a")[0])
            pack = self.read("a")
            for t in info["tensors"]:
                rows = [pack[t["offset"] + r * t["row_bytes"]:][:37 * size]
                        for r in range(t["shape"][0])]
                self.assertEqual(b"".join(rows), tensors[t["name"]][2])
            self.run_pack("pack", "b", "-o", "c", "--force")
            self.assertEqual(self.content_id("a"), self.content_id("c"))


class Verify(Case):
    def setUp(self):
        super().setUp()
        self.run_pack("init", "-o", "good", "--vocab", "3000", "--embd", "128", "--positions", "10")
        self.tensors = {t["role"]: t for t in
                        json.loads(self.run_pack("info", "--json", "good")[0])["tensors"]}

    def flip(self, *offsets):
        data = bytearray(self.read("good"))
        for offset in offsets:
            data[offset] ^= 0x10
        self.write("bad", data)

    def test_every_bad_block_is_named(self):
        wte, wpe = self.tensors["wte"]["offset"], self.tensors["wpe"]["offset"]
        last = wte + 3000 * 512 - 1
        self.flip(wte + 5, last, wpe)
        _, err = self.run_pack("verify", "bad", code=VERIFY)
        for block in (f"block 1 (bytes {wte} to {wte + 262143}, wte.weight rows 0 to 511)",
                      f"block 6 (bytes {last - 225279} to {last}, wte.weight rows 2560 to 2999)",
                      f"block 0 (bytes {wpe} to {wpe + 5119}, wpe.weight rows 0 to 9)"):
            self.assertIn(f"gpt2-pack: bad: {block} does not match its digest\n", err)
        self.assertIn("3 of", err)
        # in the order of the file
        self.assertEqual([line.split()[3] for line in err.splitlines()[:3]], ["0", "1", "6"])
        _, err = self.run_pack("unpack", "bad", "-o", "out", code=VERIFY)
        self.assertTrue(err.startswith("gpt2-pack: bad: block "), err)
        self.left("good", "bad")

    def test_gap(self):
        self.flip(self.tensors["wpe"]["offset"] + self.tensors["wpe"]["bytes"])
        _, err = self.run_pack("verify", "bad", code=VERIFY)
        at = self.tensors["wpe"]["offset"] + self.tensors["wpe"]["bytes"]
        self.assertIn(f"gpt2-pack: bad: byte {at} between tensors is not zero\n", err)

    def test_damaged_anywhere(self):
        size = os.path.getsize("good")
        for offset in [*range(8, 9000, 211), *range(9000, size, size // 40), size - 1]:
            self.flip(offset)
            code = INPUT if offset in (8, 9) else VERIFY
            with self.subTest(offset):
                self.run_pack("verify", "bad", code=code)
                self.run_pack("unpack", "bad", "-o", "out", code=code)

    def test_truncated_and_extended(self):
        data = self.read("good")
        for n in 0, 1, 7, 8, 100, 4095, 4096, 9000, len(data) - 4096, len(data) - 1:
            self.write("bad", data[:n])
            with self.subTest(n):
                self.run_pack("verify", "bad", code=VERIFY)
        self.write("bad", data + b"\0")
        self.run_pack("verify", "bad", code=VERIFY)

    def test_not_a_pack(self):
        self.write("text", b"hello")
        self.write("mangled", self.read("good").replace(b"\r\n", b"\n", 1))
        self.checkpoint()
        os.mkfifo("fifo")
        for name, part in (("text", "not a pack but a text"), ("mangled", "line ends"),
                           ("in.safetensors", "a safetensors file"), ("fifo", "FIFO"),
                           (".", "a directory"), ("/dev/zero", "device")):
            with self.subTest(name):
                self.assertIn(part, self.run_pack("verify", name, code=INPUT)[1])
                self.run_pack("unpack", name, "-o", "out", code=INPUT)
        self.run_pack("verify", "missing", code=IO)

    def test_newer_version(self):
        data = bytearray(self.read("good"))
        data[8] = 2
        self.write("newer", data)
        self.assertIn("2", self.run_pack("verify", "newer", code=INPUT)[1])

    def test_several(self):
        self.flip(self.tensors["wte"]["offset"])
        out, err = self.run_pack("verify", "good", "bad", "missing", "good", code=VERIFY)
        self.assertEqual(out.count("good: good, "), 2)
        self.assertIn("missing", err)
        self.assertEqual(self.run_pack("verify", "--quiet", "good"), ("", ""))


class Info(Case):
    def test_checkpoint(self):
        self.checkpoint(tensors=[("transformer.wte.weight", *TABLES[1][1:]),
                                 ("e\x1b", "I64", [], b"12345678")])
        info = json.loads(self.run_pack("info", "--json", "in.safetensors")[0])
        self.assertEqual((info["format"], info["wte"], info["wpe"]),
                         ("safetensors", "transformer.wte.weight", None))
        self.assertIn("--wpe none", info["problem"])
        self.assertEqual([(t["name"], t["role"], t["dtype"], t["shape"], t["bytes"])
                          for t in info["tensors"]],
                         [("transformer.wte.weight", "wte", "F32", [50, 20], 4000),
                          ("e\x1b", None, "I64", [], 8)])
        out, _ = self.run_pack("info", "in.safetensors")
        self.assertNotIn("\x1b", out)
        self.assertIn("behind its prefix", out)
        self.assertIn("cannot be packed", out)

    def test_pack(self):
        self.run_pack("init", "-o", "a", "--vocab", "3", "--embd", "20", "--dtype", "bf16")
        out, _ = self.run_pack("info", "a")
        for part in "gpt2w 1.0", "seed 42, openai", "[3, 20]", "bf16", self.content_id("a"):
            self.assertIn(part, out)


@unittest.skipUnless(FULL, "GW_TEST_FULL=1 runs the tests at real size")
class Full(Case):
    def test_official_layout(self):
        """160 tensors, 548,105,171 bytes, data at the odd offset 14,291."""
        import numpy

        shapes = [("wte.weight", [50257, 768]), ("wpe.weight", [1024, 768]),
                  ("ln_f.weight", [768]), ("ln_f.bias", [768])]
        for i in range(12):
            shapes += [(f"h.{i}.{name}", shape) for name, shape in (
                ("ln_1.weight", [768]), ("ln_1.bias", [768]), ("ln_2.weight", [768]),
                ("ln_2.bias", [768]), ("attn.bias", [1024, 1024]),
                ("attn.c_attn.weight", [768, 2304]), ("attn.c_attn.bias", [2304]),
                ("attn.c_proj.weight", [768, 768]), ("attn.c_proj.bias", [768]),
                ("mlp.c_fc.weight", [768, 3072]), ("mlp.c_fc.bias", [3072]),
                ("mlp.c_proj.weight", [3072, 768]), ("mlp.c_proj.bias", [768]))]
        shapes.sort()
        random = numpy.random.default_rng(1)
        header, offset, tables = {}, 0, {}
        for name, shape in shapes:
            size = 4 * int(numpy.prod(shape))
            header[name] = {"dtype": "F32", "shape": shape,
                            "data_offsets": [offset, offset + size]}
            offset += size
        text = json.dumps(header, separators=(",", ":")).encode().ljust(14283)
        self.assertEqual((len(text), len(shapes)), (14283, 160))
        with open("model.safetensors", "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for name, shape in shapes:
                values = random.standard_normal(int(numpy.prod(shape)), dtype=numpy.float32)
                if name in ("wte.weight", "wpe.weight"):
                    tables[name] = values.tobytes()
                file.write(values.tobytes())
        self.assertEqual(os.path.getsize("model.safetensors"), 548105171)
        for dtype in "f32", "bf16":
            self.run_limited("pack", "model.safetensors", "-o", f"{dtype}.gpt2w",
                             "--dtype", dtype)
            self.run_limited("verify", f"{dtype}.gpt2w")
        self.run_limited("unpack", "f32.gpt2w", "-o", "back.safetensors")
        self.assertEqual({k: v[2] for k, v in read_safetensors("back.safetensors")[2].items()},
                         tables)


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
