#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tables of GPT-2's size as int8 rows: packed, served, embedded, and compared bit for bit with NumPy's
reading of their definition (gpt2-pack(1), INT8 ROWS).

Uses the real position table and real token ids where ../shared/data has them.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import gpt2w_test as t  # noqa: E402

try:
    import numpy as np
except ImportError:
    print('SKIPPED: no NumPy for this Python (on Debian: python3-numpy)')
    sys.exit(77)

VOCAB, POSITIONS, EMBD, SEQ, SEQUENCES = 50257, 1024, 768, 1024, 16


def table(random):
    """Normal numbers, every row of another size; some rows that are special."""
    wte = random.standard_normal((VOCAB, EMBD), np.float32) * np.float32(0.14)
    wte *= np.float32(2.0) ** random.integers(-100, 100, (VOCAB, 1)).astype('f4')
    wte[100] = 0
    wte[101] = -0.0
    wte[102] = np.float32(1e-45)  # the smallest subnormal number
    wte[103] = np.finfo(np.float32).max
    wte[104, :] = np.arange(EMBD) - 127.5  # ties
    return wte


def rounded(x):
    """What int8 rows make of [rows, columns]."""
    absmax = np.abs(x).max(axis=1).astype('f8')
    scales = (absmax / 127).astype('f4')
    with np.errstate(all='ignore'):
        small = (absmax > 0) & ((scales == 0) | (np.rint(absmax / scales) > 127))
        scales[small] = np.nextafter(scales[small], np.float32(np.inf))
        large = np.isinf(np.float32(127) * scales)
        scales[large] = np.nextafter(scales[large], np.float32(0))
        q = np.rint(x.astype('f8') / scales.astype('f8')[:, None])
    q = np.where(scales[:, None] > 0, q, 0).astype('i1')
    return q.astype('f4') * scales[:, None]


def check_bits(got, expected, what):
    t.check_equal((got.dtype.str, got.shape), ('<f4', expected.shape), what)
    t.check(np.array_equal(got.view('u4'), expected.view('u4')), what, 'has other bits')


def test_embed():
    random = np.random.default_rng(1)
    wte = table(random)
    path = t.shared_data('gpt2-124m/wpe.f32')
    if path:
        wpe = np.fromfile(path, '<f4').reshape(POSITIONS, EMBD)
    else:
        t.say('NOTE: no ../shared/data/gpt2-124m/wpe.f32: a random position table instead')
        wpe = random.standard_normal((POSITIONS, EMBD), np.float32) * np.float32(0.01)
    path = t.shared_data('tokens/prose.i32')
    if not path:
        t.say('NOTE: no ../shared/data/tokens/prose.i32: random ids instead')
    ids = np.fromfile(path, '<i4') if path else random.integers(0, VOCAB, 65536, np.int32)
    ids = np.concatenate([np.arange(95, 110, dtype='<i4'), ids])[:SEQ * SEQUENCES]
    with t.folder() as where:
        np.save(where / 'wte.npy', wte)
        np.save(where / 'wpe.npy', wpe)
        store = where / 'store'
        store.mkdir()
        done = t.run(t.program('GPT2_PACK'), 'pack', where / 'wte.npy', where / 'wpe.npy', '-o',
                     store / 'm.gpt2w', '--dtype', 'q8')
        t.say(done.stderr.rstrip())
        ids.tofile(where / 'ids.i32')
        want = (rounded(wte)[ids].reshape(-1, SEQ, EMBD) + rounded(wpe)).reshape(-1, SEQ, EMBD)
        arguments = ['--ids', where / 'ids.i32', '--seq', SEQ, '--force', '--output',
                     where / 'out.npy']
        t.run(t.program('GPT2_EMBED'), '--file', store / 'm.gpt2w', *arguments)
        check_bits(np.load(where / 'out.npy'), want, 'from the file')
        with t.start_daemon(where, '--store', store) as daemon:
            t.run(t.program('GPT2_EMBED'), '--socket', daemon.path, *arguments)
            check_bits(np.load(where / 'out.npy'), want, 'from the daemon')
            daemon.stop()


if __name__ == '__main__':
    t.main()
