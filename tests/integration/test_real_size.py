#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A checkpoint with the layout and size of GPT-2's official one, packed, served, embedded, and compared
bit for bit with NumPy and with a plain C loop.

Uses the real position table and real token ids where ../shared/data has them.
"""
import hashlib
import json
import os
import resource
import struct
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import gpt2w_test as t  # noqa: E402

try:
    import numpy as np
except ImportError:
    print('SKIPPED: no NumPy for this Python (on Debian: python3-numpy)')
    sys.exit(77)

VOCAB, POSITIONS, EMBD, LAYERS, SEQ = 50257, 1024, 768, 12, 1024
# The official model.safetensors of the 124M model.
FILE_BYTES, HEADER_BYTES, TENSORS = 548105171, 14283, 160


def official_shapes():
    shapes = {}
    for layer in range(LAYERS):
        for name, shape in {
                'attn.bias': [1, 1, POSITIONS, POSITIONS],
                'attn.c_attn.bias': [3 * EMBD], 'attn.c_attn.weight': [EMBD, 3 * EMBD],
                'attn.c_proj.bias': [EMBD], 'attn.c_proj.weight': [EMBD, EMBD],
                'ln_1.bias': [EMBD], 'ln_1.weight': [EMBD],
                'ln_2.bias': [EMBD], 'ln_2.weight': [EMBD],
                'mlp.c_fc.bias': [4 * EMBD], 'mlp.c_fc.weight': [EMBD, 4 * EMBD],
                'mlp.c_proj.bias': [EMBD], 'mlp.c_proj.weight': [4 * EMBD, EMBD]}.items():
            shapes[f'h.{layer}.{name}'] = shape
    shapes |= {'ln_f.bias': [EMBD], 'ln_f.weight': [EMBD], 'wpe.weight': [POSITIONS, EMBD],
               'wte.weight': [VOCAB, EMBD]}
    # small ones first, so that their offsets are short and the header is no longer than the official one
    return dict(sorted(shapes.items(), key=lambda item: (np.prod(item[1]), item[0])))


def position_table(random):
    path = t.shared_data('gpt2-124m/wpe.f32')
    if path:
        return np.fromfile(path, '<f4').reshape(POSITIONS, EMBD)
    t.say('NOTE: no ../shared/data/gpt2-124m/wpe.f32: a random position table instead')
    return random.standard_normal((POSITIONS, EMBD), np.float32) * np.float32(0.01)


def token_ids(random):
    path = t.shared_data('tokens/prose.i32')
    if path:
        return np.fromfile(path, '<i4')
    t.say('NOTE: no ../shared/data/tokens/prose.i32: random ids instead')
    return random.integers(0, VOCAB, 65536, np.int32)


def token_table(random):
    """Normal numbers, and a row of each kind that is not: these are compared by their bits too."""
    wte = random.standard_normal((VOCAB, EMBD), np.float32) * np.float32(0.14)
    wte[100] = np.inf
    wte[101] = -np.inf
    wte[102] = -0.0
    wte[103] = np.float32(1e-45)  # the smallest subnormal number
    wte[104] = np.finfo(np.float32).max
    wte[105] = np.float32(1e-7)  # subnormal in f16
    wte[106] = np.nan
    return wte


def write_checkpoint(path, wte, wpe, random):
    """The official file: its tensors, its sizes, its header's length, so its odd offset."""
    shapes, header, offset = official_shapes(), {'__metadata__': {'format': 'pt'}}, 0
    for name, shape in shapes.items():
        end = offset + 4 * int(np.prod(shape))
        header[name] = {'dtype': 'F32', 'shape': shape, 'data_offsets': [offset, end]}
        offset = end
    text = json.dumps(header, separators=(',', ':')).encode()
    t.check(len(text) <= HEADER_BYTES, 'the header is too long', len(text))
    with open(path, 'wb') as file:
        file.write(struct.pack('<Q', HEADER_BYTES) + text.ljust(HEADER_BYTES))
        for name, shape in shapes.items():
            n = int(np.prod(shape))
            if name in ('wte.weight', 'wpe.weight'):
                file.write((wte if name[1] == 't' else wpe).tobytes())
            else:
                file.write(random.integers(0, 2**32, n, np.uint32).tobytes())  # any bits
    t.check_equal(len(shapes), TENSORS, 'tensors')
    t.check_equal(os.path.getsize(path), FILE_BYTES, 'size of the file')


def timed(what, *command, memory=False):
    """Runs a program; says how long it took and what memory of its own it needed."""
    start = time.monotonic()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    anonymous = 0
    while memory and process.poll() is None:
        try:
            for line in Path(f'/proc/{process.pid}/status').read_text().splitlines():
                if line.startswith('RssAnon:'):
                    anonymous = max(anonymous, int(line.split()[1]) * 1024)
        except ProcessLookupError:
            break
        time.sleep(0.005)
    out, err = process.communicate(timeout=4 * t.PATIENCE_S)
    t.check_equal(process.returncode, 0, f'{what}: {err.decode()[-2000:]}')
    t.say(f'  {what}: {time.monotonic() - start:.2f} s' +
          (f', at most {anonymous / 2**20:.0f} MiB of anonymous memory seen' if memory else ''))
    return out


def bits(array):
    return np.ascontiguousarray(array, np.float32).view(np.uint32)


def check_bits(got, expected, what):
    """Bit for bit; of NaNs, only that they are at the same places."""
    t.check_equal(got.shape, expected.shape, what)
    t.check_equal(got.dtype, np.float32, what)
    nan = np.isnan(expected)
    t.check((np.isnan(got) == nan).all(), f'{what}: NaNs')
    differ = (bits(got) != bits(expected)) & ~nan
    t.check(not differ.any(), f'{what}: {int(differ.sum())} elements differ, the first at '
            f'{np.argwhere(differ)[:1].tolist()}')
    t.say(f'  {what}: {got.size} values equal, bit for bit')


def as_bf16(array):
    """f32 rounded to bf16 (nearest, ties to even) and back, in integers."""
    word = bits(array)
    rounded = (word + np.uint32(0x7fff) + ((word >> 16) & 1)) & np.uint32(0xffff0000)
    return np.where(np.isnan(array), np.float32(np.nan), rounded.view(np.float32))


def as_f16(array):
    with np.errstate(over='ignore'):
        return array.astype(np.float16).astype(np.float32)


class Model:
    """What is to be found, and how it is asked for."""

    def __init__(self, where, wte, wpe, ids):
        self.where, self.wte, self.wpe, self.ids = where, wte, wpe, ids

    def expect(self, ids, past=0, positions=True):
        ids = np.asarray(ids)
        with np.errstate(over='ignore', invalid='ignore'):
            return self.wte[ids] + self.wpe[past:past + ids.shape[-1]] if positions \
                else self.wte[ids]

    def embed(self, daemon, *arguments, name='m'):
        out = self.where / 'out.npy'
        t.run(t.program('GPT2_EMBED'), '--socket', daemon.path, '--model', name, '--force',
              '--output', out, *arguments)
        return np.load(out)

    def check(self, daemon, name):
        ids_file = self.where / 'ids.i32'
        self.ids.astype('<i4').tofile(ids_file)
        few = self.ids[:4000]
        few.astype('<i4').tofile(self.where / 'few.i32')
        few_file = self.where / 'few.i32'
        sequences = self.ids.reshape(-1, SEQ)
        check_bits(self.embed(daemon, '--ids', ids_file, '--seq', SEQ, name=name),
                   self.expect(sequences), f'{name}: {len(sequences)} sequences of {SEQ}')
        check_bits(self.embed(daemon, '--ids', few_file, '--seq', 500, '--past', 524, name=name),
                   self.expect(few.reshape(8, 500), 524), f'{name}: past 524')
        check_bits(self.embed(daemon, '--ids', few_file, '--seq', 1, '--past', 1023, name=name),
                   self.expect(few.reshape(-1, 1), 1023), f'{name}: sequences of one')
        check_bits(self.embed(daemon, '--ids', few_file, '--no-positions', name=name)
                   .reshape(-1, EMBD), self.expect(few, positions=False),
                   f'{name}: --no-positions')
        special = np.array([0, 100, 101, 102, 103, 104, 105, 106, VOCAB - 1])
        check_bits(self.embed(daemon, '--seq', len(special), *special, name=name)
                   .reshape(-1, EMBD), self.expect(special), f'{name}: special rows')
        return ids_file


def loop_in_c(daemon, name, unpacked, ids_file):
    tables = t.read_safetensors(unpacked)
    dtype, (rows, columns), wte_at, _ = tables['wte.weight']
    t.check_equal((rows, columns), (VOCAB, EMBD))
    done = t.run(t.program('EMBED_LOOP'), daemon.path, name, unpacked, dtype, wte_at,
                 tables['wpe.weight'][2], VOCAB, POSITIONS, EMBD, ids_file)
    t.say('  ' + f'{name}: the loop in C: ' + ', '.join(done.stdout.splitlines()))


def tensors_digest(path):
    """A digest of each tensor's bytes, type and shape."""
    digests = {}
    with open(path, 'rb') as file:
        for name, (dtype, shape, offset, size) in t.read_safetensors(path).items():
            file.seek(offset)
            digests[name] = dtype, tuple(shape), hashlib.blake2b(file.read(size)).digest()
    return digests


def check_pack(pack):
    """verify and info."""
    pack_program = t.program('GPT2_PACK')
    timed('verify', pack_program, 'verify', pack)
    info = json.loads(timed('info --json', pack_program, 'info', '--json', pack))
    text = json.dumps(info)
    for number in (VOCAB, POSITIONS, EMBD):
        t.check(str(number) in text, f'info --json lacks {number}', text[:2000])


def test_official_checkpoint():
    random = np.random.default_rng(20190214)
    wte, wpe, ids = token_table(random), position_table(random), token_ids(random)
    t.check_equal(len(ids), 64 * SEQ, 'ids')
    pack_program = t.program('GPT2_PACK')
    with t.folder() as where:
        store = where / 'store'
        store.mkdir()
        source, pack = where / 'model.safetensors', store / 'm.gpt2w'
        write_checkpoint(source, wte, wpe, random)
        timed('pack', pack_program, 'pack', source, '-o', pack, memory=True)
        check_pack(pack)
        for dtype in ('f16', 'bf16'):
            timed(f'pack --dtype {dtype}', pack_program, 'pack', source, '--dtype', dtype, '-o',
                  store / f'{dtype}.gpt2w')
        before = tensors_digest(source)
        source.unlink()
        back = where / 'back.safetensors'
        timed('unpack', pack_program, 'unpack', pack, '-o', back, memory=True)
        after = tensors_digest(back)
        t.check_equal(sorted(after), ['wpe.weight', 'wte.weight'], 'what a pack holds')
        for name, digest in after.items():
            t.check(digest == before[name], f'the round trip changed {name}')
        t.say('  both tables came back bit for bit')
        with t.start_daemon(where, '--store', store) as daemon:
            t.say(*[f'  {line}\n' for line in daemon.log().splitlines() if 'serving' in line])
            ids_file = Model(where, wte, wpe, ids).check(daemon, 'm')
            loop_in_c(daemon, 'm', back, ids_file)
            for name, rounded in (('f16', as_f16), ('bf16', as_bf16)):
                Model(where, rounded(wte), rounded(wpe), ids).check(daemon, name)
                t.run(pack_program, 'unpack', '-q', '--force', store / f'{name}.gpt2w', '-o', back)
                loop_in_c(daemon, name, back, ids_file)
            daemon.stop()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    t.say(f'  the programs took {used.ru_utime + used.ru_stime:.1f} s of processor time')


if __name__ == '__main__':
    t.main()
