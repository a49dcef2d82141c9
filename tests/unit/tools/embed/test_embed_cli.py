#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""gpt2-embed's command line, on packs that gpt2-pack makes, against NumPy.

usage: test_embed_cli.py GPT2-EMBED GPT2-PACK
"""
import io
import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import unittest

try:
    import numpy as np
except ImportError:
    print('NumPy (python3-numpy) is missing: skipped')
    sys.exit(77)

EMBED, PACK = (os.path.abspath(path) for path in sys.argv[1:3])
VOCAB, POSITIONS, WIDTH = 300, 40, 48


def safetensors(path, tensors):
    header, at = {}, 0
    for name, array in tensors.items():
        header[name] = {'dtype': 'F32', 'shape': list(array.shape),
                        'data_offsets': [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header).encode()
    with open(path, 'wb') as out:
        out.write(struct.pack('<Q', len(text)) + text)
        for array in tensors.values():
            out.write(array.tobytes())


def bf16(array):
    """Rounds to nearest even, as float32."""
    bits = array.view('<u4').astype('u8')
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000
    return bits.astype('<u4').view('<f4')


class EmbedTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        os.chdir(cls.folder.name)
        rng = np.random.default_rng(7)
        cls.wte = rng.standard_normal((VOCAB, WIDTH), dtype='f4')
        cls.wpe = rng.standard_normal((POSITIONS, WIDTH), dtype='f4')
        safetensors('m.safetensors', {'wte.weight': cls.wte, 'wpe.weight': cls.wpe})
        for name, extra in (('f32', []), ('f16', ['--dtype', 'f16']), ('bf16', ['--dtype', 'bf16']),
                            ('nowpe', ['--wpe', 'none'])):
            subprocess.run([PACK, 'pack', 'm.safetensors', '-o', name + '.gpt2w', *extra], check=True)
        cls.files = set(os.listdir('.'))

    @classmethod
    def tearDownClass(cls):
        os.chdir('/')
        cls.folder.cleanup()

    def tearDown(self):
        for name in set(os.listdir('.')) - self.files:
            os.remove(name)

    def run_embed(self, *args, stdin=b'', pack='f32.gpt2w', **more):
        return subprocess.run([EMBED, '--file', pack, *map(str, args)], input=stdin,
                              capture_output=True, timeout=120, **more)

    def fails(self, code, says, *args, **more):
        """Exit code and message; nothing on standard output, nothing left behind."""
        before = sorted(os.listdir('.'))
        result = self.run_embed(*args, **more)
        self.assertEqual(result.returncode, code, result.stderr)
        self.assertIn(says, result.stderr.decode())
        self.assertTrue(result.stderr.startswith(b'gpt2-embed: '), result.stderr)
        self.assertEqual(result.stdout, b'')
        self.assertEqual(sorted(os.listdir('.')), before)

    def want(self, ids, past=0, positions=True, wte=None, wpe=None):
        ids = np.asarray(ids)
        wte, wpe = self.wte if wte is None else wte, self.wpe if wpe is None else wpe
        return wte[ids] + wpe[past:past + ids.shape[1]] if positions else wte[ids]

    def same(self, got, want):
        self.assertEqual(got.dtype, np.dtype('<f4'))
        self.assertEqual(got.shape, want.shape)
        self.assertEqual(got.tobytes(), want.tobytes())

    def gives(self, want, *args, **more):
        """The vectors as .npy, as .f32 and as text, and the shapes on standard error."""
        shape = 'ids [%d,%d] -> [%d,%d,%d]' % (want.shape[:2] + want.shape)
        for name in ('out.npy', 'out.f32', None):
            output = ('--output', name, '--force') if name else ()
            result = self.run_embed(*output, *args, **more)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(result.stderr.decode(), f'gpt2-embed: {shape}\n')
            if name == 'out.npy':
                self.same(np.load(name), want)
            elif name:
                self.same(np.fromfile(name, '<f4').reshape(want.shape), want)
            else:
                lines = np.loadtxt(io.BytesIO(result.stdout), dtype='f4', ndmin=2)
                self.assertEqual(result.stdout.count(b'\n'), want.shape[0] * want.shape[1])
                self.same(lines.reshape(want.shape), want)
            if name:
                self.assertEqual(result.stdout, b'')

    # where ids come from

    def test_arguments(self):
        self.gives(self.want([[1, 2, 299]]), 1, 2, 299)
        self.gives(self.want([[1, 2, 299]]), '1,2', '299,')
        self.gives(self.want([[1, 2, 299]]), '--', 1, 2, 299)

    def test_standard_input(self):
        self.gives(self.want([[5, 6, 7]]), stdin=b'5, 6\n7\n')
        self.gives(self.want([[5, 6, 7]]), '-', stdin=b'5 6 7')
        self.gives(self.want([[5, 6, 7]]), '--ids', '-', stdin=b'5\t6\r\n7')
        array = io.BytesIO()
        np.save(array, np.array([[5, 6], [7, 8]]))
        self.gives(self.want([[5, 6], [7, 8]]), stdin=array.getvalue())

    def test_npy(self):
        ids = np.arange(24).reshape(2, 12) * 11
        for dtype in ('<i4', '>i4', '<i8', '>i8'):
            np.save('ids.npy', ids.astype(dtype))
            self.gives(self.want(ids), '--ids', 'ids.npy')
            np.save('ids.npy', np.asfortranarray(ids.astype(dtype)))
            self.gives(self.want(ids), '--ids', 'ids.npy')
        np.save('ids.npy', ids.ravel())
        self.gives(self.want(ids.reshape(1, 24)), '--ids', 'ids.npy')
        for version in ((1, 0), (2, 0), (3, 0)):
            with open('ids.npy', 'wb') as out:
                np.lib.format.write_array(out, ids, version=version)
            self.gives(self.want(ids), '--ids', 'ids.npy')

    def test_raw(self):
        ids = np.arange(30) * 9
        ids.astype('<i4').tofile('ids.i32')
        self.gives(self.want([ids]), '--ids', 'ids.i32')
        ids.astype('<u2').tofile('ids.bin')
        self.gives(self.want([ids]), '--ids', 'ids.bin')
        header = np.zeros(256, '<i4')
        header[:3] = 20240520, 1, len(ids)
        with open('ids.bin', 'wb') as out:
            out.write(header.tobytes() + ids.astype('<u2').tobytes())
        self.gives(self.want([ids]), '--ids', 'ids.bin')

    def test_text_file(self):
        with open('ids', 'w') as out:
            out.write('1, 2,\n3 4\n')
        self.gives(self.want([[1, 2, 3, 4]]), '--ids', 'ids')

    # what is computed

    def test_seq(self):
        ids = np.arange(40) * 7
        self.gives(self.want(ids.reshape(5, 8)), '--seq', 8, *ids)
        self.gives(self.want(ids.reshape(40, 1)), '--seq', 1, *ids)
        self.gives(self.want(ids.reshape(1, 40)), *ids)
        np.save('ids.npy', ids.reshape(4, 10))
        self.gives(self.want(ids.reshape(8, 5)), '--seq', 5, '--ids', 'ids.npy')
        self.fails(3, '40 ids cannot be cut into sequences of 7: 5 would be left over',
                   '--seq', 7, *ids)
        self.fails(3, 'rows of 10 ids cannot be cut into sequences of 4', '--seq', 4, '--ids', 'ids.npy')
        self.fails(3, 'cut into sequences of 41', '--seq', 41, *ids)

    def test_past(self):
        self.gives(self.want([[3, 4], [5, 6]], past=38), '--past', 38, '--seq', 2, 3, 4, 5, 6)
        self.fails(3, 'reaches position 40; the model has 0 to 39', '--past', 39, '--seq', 2, 3, 4)
        self.fails(3, '--past must lie below', '--past', 40, 3)
        self.fails(3, '--past must lie below', '--past', 2147483647, 3)

    def test_positions(self):
        self.gives(self.want([range(41)], positions=False), '--no-positions', *range(41))
        self.gives(self.want([range(41)], positions=False), *range(41), pack='nowpe.gpt2w')
        self.fails(3, 'cut the ids with --seq', *range(41))
        result = self.run_embed('--past', 9, 1, pack='nowpe.gpt2w')
        self.assertIn(b'--past has no effect', result.stderr)
        self.assertEqual(result.returncode, 0)

    def test_half(self):
        ids = np.arange(0, 300, 9).reshape(2, 17)
        half = [table.astype('f2').astype('f4') for table in (self.wte, self.wpe)]
        self.gives(self.want(ids, wte=half[0], wpe=half[1]), '--seq', 17, *ids.ravel(),
                   pack='f16.gpt2w')
        self.gives(self.want(ids, wte=bf16(self.wte), wpe=bf16(self.wpe)), '--seq', 17, *ids.ravel(),
                   pack='bf16.gpt2w')

    def test_chunks(self):
        """More vectors than are computed at once: many sequences, and one that is longer."""
        ids = np.random.default_rng(1).integers(0, VOCAB, 60000, dtype='i4')
        ids.tofile('ids.i32')
        for args, want in ((('--seq', '8'), self.want(ids.reshape(-1, 8))),
                           (('--seq', '40'), self.want(ids.reshape(-1, 40))),
                           (('--no-positions',), self.want([ids], positions=False))):
            result = self.run_embed(*args, '--ids', 'ids.i32', '-o', 'out.npy', '--force')
            self.assertEqual(result.returncode, 0, result.stderr)
            self.same(np.load('out.npy'), want)
        # positions go on from chunk to chunk
        subprocess.run([PACK, 'init', '-o', 'long.gpt2w', '--vocab', '300', '--positions', '60000',
                        '--embd', '48'], check=True)
        subprocess.run([EMBED, '--file', 'long.gpt2w', '--ids', 'ids.i32', '-o', 'long.npy'], check=True)
        subprocess.run([EMBED, '--file', 'long.gpt2w', '--no-positions', '--ids', 'ids.i32', '-o',
                        'tokens.npy'], check=True)
        for at in (21844, 21845, 43690, 59999):
            subprocess.run([EMBED, '--file', 'long.gpt2w', '--past', str(at), str(ids[at]), '-o',
                            'one.npy', '--force'], check=True)
            self.same(np.load('long.npy', mmap_mode='r')[0, at], np.load('one.npy')[0, 0])

    # what is refused

    def test_range(self):
        for text in ('300', '-1', '2147483648', '4294967296', '9223372036854775808',
                     '18446744073709551616', '-9223372036854775809'):
            self.fails(3, f'id {text} at index 1 is outside 0 to 299', '7', text)
            self.fails(3, f'id {text} at index 1 is outside 0 to 299', stdin=f'7 {text}'.encode())
        np.save('ids.npy', np.array([7, 2**32 + 7]))
        self.fails(3, 'ids.npy: id 4294967303 at index 1', '--ids', 'ids.npy')
        self.fails(3, 'id 300 at index 2', '--output', 'out.npy', 1, 2, 300)

    def test_bad_ids(self):
        self.fails(3, 'no ids')
        self.fails(3, 'standard input: no ids', stdin=b' \n')
        self.fails(3, '"a" at byte 0 is not a decimal id', 'a')
        self.fails(3, 'byte 2 (0x00)', stdin=b'1 \0')
        with open('ids.i32', 'wb') as out:
            out.write(bytes(7))
        self.fails(3, 'ids.i32: the id at byte 4 is cut off', '--ids', 'ids.i32')
        np.save('ids.npy', np.zeros(3, 'f4'))
        self.fails(3, 'elements of type "<f4"', '--ids', 'ids.npy')
        self.fails(3, 'directory', '--ids', '.')
        self.fails(3, 'not a regular file', '--ids', '/dev/zero')
        self.fails(4, 'No such file', '--ids', 'missing.npy')

    def test_bad_packs(self):
        with open('f32.gpt2w', 'rb') as file:
            pack = bytearray(file.read())
        pack[-1 - 4096] ^= 1
        with open('flipped.gpt2w', 'wb') as out:
            out.write(pack)
        with open('short.gpt2w', 'wb') as out:
            out.write(pack[:8192])
        with open('text.gpt2w', 'wb') as out:
            out.write(b'hello' * 2000)
        self.fails(5, '', 1, pack='flipped.gpt2w')
        self.fails(5, '', 1, pack='short.gpt2w')
        self.fails(3, '', 1, pack='text.gpt2w')
        self.fails(4, '', 1, pack='missing.gpt2w')

    def test_outputs(self):
        with open('out.npy', 'w') as out:
            out.write('precious')
        self.fails(1, 'out.npy', '--output', 'out.npy', 1)
        with open('out.npy') as file:
            self.assertEqual(file.read(), 'precious')
        os.symlink('elsewhere.npy', 'link.npy')
        self.fails(1, 'link.npy', '--output', 'link.npy', '--force', 1)
        self.fails(4, 'missing/out.npy', '--output', 'missing/out.npy', 1)
        np.save('ids.npy', np.array([1, 2]))
        self.fails(1, 'ids.npy', '--ids', 'ids.npy', '--output', 'ids.npy', '--force')
        self.assertEqual(list(np.load('ids.npy')), [1, 2])

    def test_no_space(self):
        with open('/dev/full', 'w') as full:
            result = subprocess.run([EMBED, '--file', 'f32.gpt2w', '1'], stdout=full,
                                    stderr=subprocess.PIPE)
        self.assertEqual(result.returncode, 4)
        self.assertEqual(result.stderr.count(b'No space left'), 1, result.stderr)
        self.fails(4, 'out.npy', '--output', 'out.npy', '--no-positions', *range(300),
                   preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)))

    def test_usage(self):
        for args, says in (((1, '--ids', 'x'), 'not from both'),
                           (('--model', 'gpt2', 1), '--file needs no daemon'),
                           (('--socket', 'x', 1), '--file needs no daemon'),
                           (('--output', 'out.csv', 1), 'neither .npy nor .f32'),
                           (('--past', '-1', 1), '--past'),
                           (('--past', '1x', 1), '--past'),
                           (('--seq', '0', 1), '--seq'),
                           (('--seq', '18446744073709551617', 1), '--seq'),
                           (('--past', '1', '--no-positions', 1), 'exclude each other'),
                           (('--wrong',), 'unrecognized option')):
            result = self.run_embed(*args)
            self.assertEqual(result.returncode, 2, args)
            self.assertIn(says, result.stderr.decode())
            self.assertEqual(result.stdout, b'')

    def test_help(self):
        for option in ('--help', '--version'):
            result = subprocess.run([EMBED, option], capture_output=True)
            self.assertEqual(result.returncode, 0)
            self.assertIn(b'gpt2-embed', result.stdout)

    def test_no_daemon(self):
        for args in (('--socket', os.path.abspath('none.sock'), '1'), ('1',)):
            result = subprocess.run([EMBED, *args], capture_output=True,
                                    env=dict(os.environ, GPT2D_SOCKET=os.path.abspath('none.sock')))
            self.assertEqual(result.returncode, 1)
            self.assertIn(b'--socket', result.stderr)
            self.assertIn(b'none.sock', result.stderr)


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1])
