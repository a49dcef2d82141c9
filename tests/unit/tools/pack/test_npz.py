#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""gpt2-pack and .npz archives built byte by byte: malformed ones, one flaw each; unusual good ones.

Usage: test_npz.py GPT2-PACK [unittest's arguments]. NumPy is not needed."""

import os
import resource
import struct
import subprocess
import sys
import unittest
import zlib

import status
import test_cli
from test_cli import INPUT, floats, read_safetensors, safetensors
from torch_files import deflate, zip_file

WTE, WPE = floats(12, 1), floats(8, 2)


def npy(shape, data, descr="'<f4'", order="False", version=1, length=None):
    header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode("latin-1")
    length = len(header) if length is None else length
    return (b"\x93NUMPY" + bytes([version, 0]) +
            struct.pack("<H" if version == 1 else "<I", length) + header + data)


W, P = npy("(3, 4)", WTE), npy("(2, 4)", WPE)
DESCRIPTOR = struct.pack("<4sIII", b"PK\7\x08", zlib.crc32(W), len(W), len(W))
DESCRIPTOR64 = struct.pack("<4sIQQ", b"PK\7\x08", zlib.crc32(W), len(W), len(W))


def archive(wte=W, more=(), change=None, **options):
    return zip_file([("wte.npy", wte, change or {}), ("wpe.npy", P), *more], **options)


def changed(**change):
    return archive(change=change)


def array(*arguments, **options):
    return archive(npy(*arguments, **options))


def extra(kind, data):
    return struct.pack("<HH", kind, len(data)) + data


def deflated(data, **change):
    return archive(data, change={"method": 8, "stored": deflate(data), **change})


# (bytes, part of the message, code if it is not GW_E_SOURCE)
FLAWS = [
    # the end
    (archive()[:-1], "no end record"),
    (archive()[:30], "no end record"),
    (b"PK\3\4", "no end record"),
    (archive(after=b"x"), "1 bytes follow the end record"),
    (archive(comment=b"PK\5\6"), "no end record"),
    (archive(end={"disk": 1}), "on several disks"),
    (archive(end={"n": 1}), "two different counts"),
    (archive(end={"n": 3, "n2": 3}), "no whole entry"),
    (archive(end={"n": 1, "n2": 1}), "after the last entry"),
    (archive(end={"offset": 1}), "does not end where"),
    (archive(end={"size": 1}), "does not end where"),
    (archive(zip64={"n": 5}), "contradicts"),
    (archive(zip64={"n": 2**60, "n2": 2**60}, end={"n": 0xffff, "n2": 0xffff}),
     "1152921504606846976 members"),
    (archive(zip64={"where": 2**64 - 1}), "a zip64 locator that points to"),
    # headers
    (archive(before=b"PK\3\4"), "4 bytes before the first member"),
    (archive(between=b"xy"), "2 bytes that belong to no member"),
    (changed(gap=b"gap"), "3 bytes that belong to no member"),
    (changed(flags=1), "an encrypted member"),
    (changed(flags=0x20), "some are not known"),
    (changed(method=12), "compressed with method 12"),
    (changed(local_method=8), "whose method differs"),
    (changed(local_crc=1), "whose CRC differs"),
    (changed(local_size=1), "whose size differs"),
    (changed(local_name=b"wpe.npy"), "whose name differs"),
    (zip_file([("wte.npy", W), ("wpe.npy", P, {"local_mark": b"PK\3\5"})]), "no local header"),
    (changed(central_offset=0xfffffffe), "reaches past the directory"),
    (changed(central_packed=7), "a stored member of 7 bytes"),
    (changed(packed=8, size=8), "bytes that belong to no member"),
    (changed(packed=len(W) + 9, size=len(W) + 9), "overlaps the member before"),
    (changed(central_size=0xffffffff), "without the zip64 extra field"),
    (changed(flags=8), "0 bytes instead of a data descriptor"),
    (changed(name=b"wpe.npy"), "a second member called \"wpe.npy\""),
    (changed(name=b"wte\xff.npy"), "no clean UTF-8"),
    # what makes an archive NumPy's
    (zip_file([]), "neither one of PyTorch (with a data.pkl) nor one of NumPy", status.SOURCE_KIND),
    (archive(more=[("read.me", b"x")]), "nor one of NumPy", status.SOURCE_KIND),
    (archive(more=[(".npy", W)]), "nor one of NumPy", status.SOURCE_KIND),
    (changed(name=b"wte.NPY"), "nor one of NumPy", status.SOURCE_KIND),
    # values
    (changed(crc=1), "does not have the CRC"),
    (changed(method=8, stored=b"\xff" * 50), "is damaged"),
    (deflated(W, stored=deflate(W)[:-5]), "is damaged, or shorter"),
    (deflated(W, stored=deflate(W[:-1])), "is shorter than it says"),
    (deflated(W, stored=deflate(W + b"x")), "is longer than it says"),
    (deflated(W, stored=deflate(W) + b"x"), "bytes after its deflated data"),
    (deflated(W, crc=1), "does not have the CRC"),
    (deflated(bytes(20 << 20)), "is a bomb"),
    # arrays; test_array.c has more of their headers
    (archive(b""), "\"wte.npy\": no .npy array"),
    (archive(b"\x93NUMPX" + W[6:]), "\"wte.npy\": no .npy array"),
    (archive(W[:9]), "\"wte.npy\": .npy header: cut off"),
    (archive(W[:40]), "\"wte.npy\": .npy header: cut off"),
    (archive(W[:-1]), "47 bytes after the header"),
    (archive(W + b"x"), "49 bytes after the header"),
    (deflated(W[:-1]), "47 bytes after the header"),
    (array("(3, 4)", WTE, version=4), "version 4.0"),
    (array("(3, 4)", WTE, version=2, length=2**32 - 1), "header of 4294967295 bytes"),
    (array("(4294967296, 4294967296)", b""), "does not fit 64 bits"),
    (array("(3, 4, 1, 1, 1, 1, 1, 1, 1)", WTE), "9 dimensions"),
    (array("(3, 4)", WTE, descr="'=f4'"), "does not begin with"),
    (array("(3, 4)", WTE, descr="'\x1b'"), "\\x1b"),
    (array("(3, 4)", WTE, order="None"), "neither True nor False"),
    # tables
    (zip_file([("wte.npy", W)]), "no tensor is called wpe.weight", status.SOURCE_TABLES),
    (zip_file([("a.npy", W), ("b.npy", P)]), "no tensor is called wte.weight", status.SOURCE_TABLES),
    (archive(more=[("wte.weight.npy", W)]), "two tensors could be wte", status.SOURCE_TABLES),
    (array("(12,)", WTE), "two dimensions", status.SOURCE_TABLES),
    (array("(6, 2)", WTE), "do not fit each other", status.SOURCE_TABLES),
    (array("(0, 4)", b""), "a table has 1 to", status.SOURCE_TABLES),
    (array("(3, 4)", WTE, descr="'<i4'"), "has the type I32", status.SOURCE_TABLES),
    (array("(3,)", b"x" * 9, descr="'|O'"), "two dimensions", status.SOURCE_TABLES),
    (array("(3,)", b"x" * 9, descr="[('a', '<f4')]"), "two dimensions", status.SOURCE_TABLES),
]

GOOD = [
    archive(), archive(comment=b"by hand"), archive(zip64={}), archive(reverse=True),
    archive(zip64={}, end={"n": 0xffff, "n2": 0xffff, "size": 0xffffffff, "offset": 0xffffffff}),
    changed(wide=True), changed(flags=0x800), changed(extra=extra(0xd935, bytes(9))),
    changed(local_extra=bytes(3)), changed(comment=b"c"), deflated(W), deflated(W, flags=6),
    changed(flags=8, gap=DESCRIPTOR, local_crc=0, local_packed=0, local_size=0),
    changed(flags=8, gap=DESCRIPTOR64), changed(flags=8, gap=DESCRIPTOR[4:]),
    array("(3, 4)", WTE, version=2), array("(3, 4)", WTE, version=3),
    archive(more=[("empty.npy", npy("(0,)", b"")), ("names.npy", npy("(1,)", b"x", "'|O'")),
                  ("r.npy", npy("(1,)", b"abcd", "[('a', '<f4')]")), ("x/y.npy", W)]),
]


class Case(test_cli.Case):
    def same(self):
        self.run_pack("verify", "-q", "out.gpt2w")
        self.run_pack("unpack", "-q", "out.gpt2w", "-o", "back.safetensors", "--force")
        self.assertEqual({name: data for name, (_, _, data) in
                          read_safetensors("back.safetensors")[2].items()},
                         {"wte.weight": WTE, "wpe.weight": WPE})


class Malformed(Case):
    def test_flaws(self):
        self.assertGreaterEqual(len(FLAWS), 40)
        for data, part, *want in FLAWS:
            with self.subTest(part, bytes=len(data)):
                self.write("in.npz", data)
                _, err = self.run_pack("pack", "in.npz", "-o", "x.gpt2w", code=INPUT)
                self.assertIn(part, err)
                self.assertIn("in.npz", err)
                self.left("in.npz")
                code, message = status.of("in.npz")
                self.assertEqual(code, want[0] if want else status.SOURCE, message)
                self.assertIn(part, message)

    def test_many_small_bombs(self):
        """A thousandth of what it claims, in parts of which each is small enough."""
        zeros = npy(f"({(16 << 20) // 4 - 64},)", bytes((16 << 20) - 256))
        zeros = (zeros, {"method": 8, "stored": deflate(zeros)})
        for n, code in (3, test_cli.DONE), (17, INPUT):
            self.write("in.npz", archive(more=[(f"z{i}.npy", *zeros) for i in range(n)]))
            self.run_pack("pack", "in.npz", "-o", "some.gpt2w", "--force") # reads none of them
            _, err = self.run_pack("pack", "--all", "in.npz", "-o", f"{n}.gpt2w", code=code)
            self.assertEqual("is part of a bomb" in err, code == INPUT, err)
        self.left("3.gpt2w", "in.npz", "some.gpt2w")

    def test_cut_off_anywhere(self):
        for data in archive(), deflated(W):
            for n in range(4, len(data)):
                self.write("in.npz", data[:n])
                self.run_pack("info", "in.npz", code=INPUT)


class Values(Case):
    def test_good(self):
        for i, data in enumerate(GOOD):
            with self.subTest(i):
                self.write("in.npz", data)
                self.run_pack("pack", "in.npz", "-o", "out.gpt2w", "--force")
                self.same()

    def test_orders(self):
        columns = b"".join(WTE[4 * (4 * row + column):][:4] for column in range(4)
                           for row in range(3))
        swapped = b"".join(columns[i:i + 4][::-1] for i in range(0, len(columns), 4))
        for make in archive, deflated:
            for data, descr in (columns, "'<f4'"), (swapped, "'>f4'"):
                self.write("in.npz", make(npy("(3, 4)", data, descr, "True")))
                self.run_pack("pack", "in.npz", "-o", "out.gpt2w", "--force")
                self.same()

    def test_large_and_back_again(self):
        """A deflated column-major table of more than one band, by way of a temporary file."""
        rows, columns = 140000, 65
        wte = npy(f"({rows}, {columns})", b"".join(struct.pack("<f", c) * rows
                                                   for c in range(columns)), order="True")
        row = struct.pack(f"<{columns}f", *range(columns))
        packer = zlib.compressobj(0, zlib.DEFLATED, -15)
        stored = packer.compress(wte) + packer.flush()
        wpe = ("wpe.npy", npy(f"(2, {columns})", row * 2))
        self.write("in.npz", zip_file([("wte.npy", wte, {"method": 8, "stored": stored}), wpe]))
        os.mkdir("tmp")
        os.environ["TMPDIR"] = os.path.abspath("tmp")
        self.addCleanup(os.environ.pop, "TMPDIR")
        self.run_limited("pack", "in.npz", "-o", "out.gpt2w")
        self.run_pack("unpack", "-q", "out.gpt2w", "-o", "back.safetensors")
        self.assertEqual(read_safetensors("back.safetensors")[2]["wte.weight"],
                         ("F32", [rows, columns], row * rows))
        os.rmdir("tmp") # nothing is left there; and without it:
        _, err = self.run_pack("pack", "in.npz", "-o", "x.gpt2w", code=test_cli.IO)
        self.assertIn("cannot write a temporary file in ", err)
        self.assertIn("TMPDIR names another place", err)
        os.mkdir("tmp")
        done = subprocess.run([test_cli.PROGRAM, "pack", "in.npz", "-o", "x.gpt2w", "--dtype", "f16"],
                              capture_output=True, text=True, preexec_fn=lambda: resource.setrlimit(
                                  resource.RLIMIT_FSIZE, (32 << 20, 32 << 20)))
        self.assertEqual(done.returncode, test_cli.IO, done)
        self.assertIn("cannot write a temporary file in ", done.stderr)
        for change in {"crc": 1}, {"crc": 1, "method": 8, "stored": stored}:
            self.write("in.npz", zip_file([("wte.npy", wte, change), wpe]))
            _, err = self.run_pack("pack", "in.npz", "-o", "x.gpt2w", code=INPUT)
            self.assertIn("in.npz: member \"wte.npy\"", err)
            self.assertIn("does not have the CRC", err)
        self.assertEqual(os.listdir("tmp"), [])
        self.left("back.safetensors", "in.npz", "out.gpt2w", "tmp")

    def test_too_many_inputs(self):
        self.write("a.npy", W)
        _, err = self.run_pack("info", *["a.npy"] * 513, code=test_cli.USAGE)
        self.assertEqual(err, "gpt2-pack: 513 inputs; one checkpoint may have 512 files\n")
        # of 512 inputs one has two files
        os.mkdir("model")
        self.write("model/1.safetensors", safetensors([("x", "U8", [1], b"x")]))
        self.write("model/model.safetensors.index.json", b'{"weight_map": {"x": "1.safetensors"}}')
        _, err = self.run_pack("info", *["a.npy"] * 511, "model", code=test_cli.USAGE)
        self.assertIn("model: more than 512 files", err)

    def test_large_directories(self):
        """Archives that are fine one by one, but hold too much memory together."""
        for name in "abc":
            self.write(name + ".npz", zip_file([(f"{name}{i}.npy", W, {"central_comment": bytes(60000)})
                                                for i in range(100)]))
        self.run_pack("info", "a.npz", "b.npz")
        _, err = self.run_pack("info", "a.npz", "b.npz", "c.npz", code=INPUT)
        self.assertIn("c.npz: what the files say about their tensors takes more than 16 MiB", err)

    def test_several_large(self):
        """Of several column-major tables only one is read ahead at a time."""
        names = [f"{name}.npz" for name in ("wte", "wpe", "h.0.a", "h.0.b", "h.0.c", "h.0.d")]
        rows, columns = 60000, 96
        for i, name in enumerate(names):
            data = b"".join(struct.pack("<f", 100 * i + c) * rows for c in range(columns))
            self.write(name, zip_file([(name[:-4] + ".npy",
                                        npy(f"({rows}, {columns})", data, order="True"))]))
        self.run_limited("pack", "--all", *names, "-o", "out.gpt2w")
        self.run_pack("unpack", "-q", "out.gpt2w", "-o", "back.safetensors")
        tensors = read_safetensors("back.safetensors")[2]
        for i, name in enumerate(("wte.weight", "wpe.weight", "h.0.a", "h.0.b", "h.0.c", "h.0.d")):
            row = struct.pack(f"<{columns}f", *range(100 * i, 100 * i + columns))
            self.assertEqual(tensors[name], ("F32", [rows, columns], row * rows))


class Kinds(Case):
    def test_others_are_named(self):
        """What a file is instead of a pack, by its contents."""
        for data, part in (
                (struct.pack("<Q", 2) + b"{}", "a safetensors file"), (b" {}", "a JSON text"),
                (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
                (b"<!DOCTYPE html>", "an HTML page"), (b"\n<html>", "an HTML page"),
                (archive(), "a zip archive"), (W, "a NumPy array"), (b"GGUF\3\0\0\0", "a GGUF file"),
                (b"\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", "before 1.6"),
                (b"\x80\4\x95abcd", "a Python pickle"), (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
                (b"\x08\x07\x12\0\x3a\x09\x0a\x07", "an ONNX model"),
                (b"\x81\xa1a\xc7\5\1abcde", "a Flax checkpoint"),
                (b"\xc6\xd7\x34\x01", "an llm.c checkpoint"), (b"abcdTFL3", "TensorFlow Lite"),
                (b"\x1f\x8b\x08", "a compressed file"), (b"\xfd7zXZ\0", "a compressed file"),
                (b"a" * 257 + b"ustar", "a tar archive"),
                (b"weights", "a text"), (b"\xff\xfe\1", "no kind of file")):
            with self.subTest(part, data=data[:20]):
                self.write("x", data)
                _, err = self.run_pack("verify", "x", code=INPUT)
                self.assertIn("not a pack but ", err)
                self.assertIn(part, err)


if __name__ == "__main__":
    test_cli.PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
