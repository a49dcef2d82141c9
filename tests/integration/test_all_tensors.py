#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A whole checkpoint (pack --all), served: every tensor comes through the daemon bit for bit.

160 tensors of the official layout, small; with GW_TEST_FULL=1 of the official size.
"""
import hashlib
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import gpt2w_test as t  # noqa: E402

FULL = os.environ.get('GW_TEST_FULL') == '1'
VOCAB, POSITIONS, EMBD, LAYERS = (50257, 1024, 768, 12) if FULL else (301, 20, 12, 12)


def official_shapes():
    shapes = {'wte.weight': [VOCAB, EMBD], 'wpe.weight': [POSITIONS, EMBD],
              'ln_f.weight': [EMBD], 'ln_f.bias': [EMBD]}
    for layer in range(LAYERS):
        for name, shape in {
                'ln_1.weight': [EMBD], 'ln_1.bias': [EMBD], 'ln_2.weight': [EMBD],
                'ln_2.bias': [EMBD], 'attn.bias': [1, 1, POSITIONS, POSITIONS],
                'attn.c_attn.weight': [EMBD, 3 * EMBD], 'attn.c_attn.bias': [3 * EMBD],
                'attn.c_proj.weight': [EMBD, EMBD], 'attn.c_proj.bias': [EMBD],
                'mlp.c_fc.weight': [EMBD, 4 * EMBD], 'mlp.c_fc.bias': [4 * EMBD],
                'mlp.c_proj.weight': [4 * EMBD, EMBD], 'mlp.c_proj.bias': [EMBD]}.items():
            shapes[f'h.{layer}.{name}'] = shape
    return shapes


def values(name, n_bytes):
    """Any bits, the same ones for the same name."""
    return hashlib.shake_128(name.encode()).digest(4096) * (n_bytes // 4096) + \
        hashlib.shake_128(name.encode()).digest(n_bytes % 4096)


def size_of(shape):
    n_bytes = 4
    for dimension in shape:
        n_bytes *= dimension
    return n_bytes


def write_checkpoint(path, shapes):
    """With Hugging Face's prefix, which the pack's names are without."""
    header, offset = {}, 0
    for name, shape in sorted(shapes.items(), reverse=True):
        header['transformer.' + name] = {'dtype': 'F32', 'shape': shape,
                                         'data_offsets': [offset, offset + size_of(shape)]}
        offset += size_of(shape)
    text = json.dumps(header).encode()
    with open(path, 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text)
        for name, shape in sorted(shapes.items(), reverse=True):
            file.write(values(name, size_of(shape)))


def test_every_tensor():
    shapes = official_shapes()
    t.check_equal(len(shapes), 160)
    t.say(f'  {sum(map(size_of, shapes.values())) / 1e6:.1f} MB')
    with t.folder() as where:
        store = where / 'store'
        store.mkdir()
        write_checkpoint(where / 'in.safetensors', shapes)
        t.run(t.program('GPT2_PACK'), 'pack', '--all', where / 'in.safetensors', '-o',
              store / 'm.gpt2w')
        (where / 'in.safetensors').unlink()
        with t.start_daemon(where, '--store', store) as daemon:
            with subprocess.Popen([t.program('DUMP_TENSOR'), str(daemon.path), 'm', *shapes],
                                  stdout=subprocess.PIPE) as dump:
                for name, shape in shapes.items():
                    got = dump.stdout.readline().decode().split()
                    t.check_equal(got, [name, 'f32', *map(str, shape)])
                    t.check(dump.stdout.read(size_of(shape)) == values(name, size_of(shape)),
                            name, 'has other values')
                t.check_equal(dump.stdout.read(), b'', 'what follows the last one')
            t.check_equal(dump.returncode, 0, 'exit code')
            daemon.stop()


if __name__ == '__main__':
    t.main()
