#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""gpt2client.Store without NumPy: opening, errors, state, fork, pickle; and the module itself."""
import array
import ast
import ctypes
import importlib.util
import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
import unittest.mock
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import support  # noqa: E402
from support import EMBD, POSITIONS, VOCAB, gpt2client, t  # noqa: E402

MODULE = support.SOURCE / 'client' / 'python' / 'gpt2client.py'
STUBS = MODULE.parent / 'gpt2client-stubs' / '__init__.pyi'


def python(code, *arguments, **environment):
    return subprocess.run([sys.executable, '-c', code, *map(str, arguments)], text=True,
                          capture_output=True, timeout=t.PATIENCE_S, check=False,
                          env={**os.environ, 'PYTHONPATH': str(MODULE.parent), **environment})


class Module(support.Case):
    def test_codes_are_the_headers(self):
        header = (support.SOURCE / 'client' / 'include' / 'gpt2client.h').read_text()
        codes = dict(re.findall(r'^#define GPT2C_(E_\w+) \((-\d+)\)', header, re.M))
        ours = {name: str(value) for name, value in vars(gpt2client).items()
                if name.startswith('E_')}
        self.assertEqual(ours, codes)
        for state in gpt2client.State:
            self.assertRegex(header, rf'#define GPT2C_{state.name} {int(state)} ')

    def test_versions(self):
        self.assertEqual(gpt2client.__version__, gpt2client.library_version())

    def names(self, path):
        """{name: its kind, or the names of a class's members} of what is public."""
        def public(body):
            found = {}
            for node in body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith('_'):
                    found[node.name] = public(node.body)
                elif isinstance(node, ast.FunctionDef) and not node.name.startswith('_'):
                    found[node.name] = [a.arg for a in
                                        [*node.args.args, *node.args.kwonlyargs]]
            return found
        return public(ast.parse(path.read_text()).body)

    def test_stubs_say_the_same(self):
        ours, stubs = self.names(MODULE), self.names(STUBS)
        embedding = stubs.pop('Embedding')  # declared in a function
        self.assertEqual(embedding, {'forward': ['self', 'ids', 'past', 'positions'],
                                     'weight': ['self']})
        stubs['Store'].update(get_tensor=ours['Store'].setdefault('get_tensor',
                                                                  ['self', 'name', 'widen']))
        self.assertEqual(stubs.pop('attach')[:2], ours.pop('attach'))
        self.assertEqual(stubs, ours)

    def test_no_library(self):
        ended = python('import gpt2client', GPT2CLIENT_LIBRARY='/nonexistent.so')
        self.assertIn('ImportError: cannot load libgpt2client', ended.stderr)
        self.assertIn('/nonexistent.so', ended.stderr)
        ended = python('import gpt2client', GPT2CLIENT_LIBRARY='libc.so.6')
        self.assertIn('ImportError: libc.so.6 is no libgpt2client', ended.stderr)

    def test_import_is_light(self):
        ended = python('import sys, gpt2client; print("numpy" in sys.modules, "torch" in sys.modules)')
        self.assertEqual(ended.stdout, 'False False\n', ended.stderr)

    def test_error(self):
        error = gpt2client.Error('a sentence', gpt2client.E_ID, 3, 7)
        self.assertEqual(str(error), 'a sentence')
        again = pickle.loads(pickle.dumps(error))
        self.assertEqual((str(again), again.code, again.index, again.errno),
                         ('a sentence', gpt2client.E_ID, 3, 7))

    def test_lock_is_released(self):
        """ctypes.PyDLL's functions keep it."""
        self.assertIs(type(gpt2client._lib), __import__('ctypes').CDLL)


class Files(support.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.pack = t.make_pack(cls.where / 'a.gpt2w', VOCAB, POSITIONS, EMBD)

    def test_info(self):
        with gpt2client.open(file=self.pack) as store:
            info = store.info
            self.assertEqual(info[:3] + info[5:7],
                             (VOCAB, POSITIONS, EMBD, 2, 0))
            self.assertEqual((info.wte_dtype, info.wpe_dtype), ('f32', 'f32'))
            self.assertEqual((info.sealed, info.daemon, info.verified), (False, False, True))
            self.assertEqual(info.image_bytes, self.pack.stat().st_size)
            self.assertRegex(info.content_id, '^[0-9a-f]{32}$')
            self.assertEqual(store.keys(), ['wpe.weight', 'wte.weight'])
            self.assertIs(store.state, gpt2client.State.CURRENT)
            self.assertFalse(store.writable)
            self.assertIn('a.gpt2w', repr(store))
            self.error(gpt2client.E_ARGUMENT, 'no connection', store.fileno)
        with gpt2client.open(file=self.pack, verify=False) as store:
            self.assertFalse(store.info.verified)
        with gpt2client.open(file=support.GOLDEN / 'bf16-no-wpe.gpt2w') as store:
            self.assertEqual((store.info.wte_dtype, store.info.wpe_dtype), ('bf16', None))
            self.assertEqual(store.info.n_positions, 0)

    def bad_files(self):
        whole = self.pack.read_bytes()
        short, flipped, other = (self.where / name for name in ('short', 'flipped', 'other'))
        short.write_bytes(whole[:-4096])
        flipped.write_bytes(whole[:-5000] + bytes([whole[-5000] ^ 1]) + whole[-4999:])
        other.write_text('no pack' * 4096)
        return [(gpt2client.E_NOT_FOUND, self.where / 'none', {}),
                (gpt2client.E_TRUNCATED, short, {}), (gpt2client.E_CORRUPT, flipped, {}),
                (gpt2client.E_NOT_A_PACK, other, {}),
                (gpt2client.E_ARGUMENT, self.pack, {'model': 'gpt2'}),
                (gpt2client.E_ARGUMENT, self.pack, {'socket': '/s'})]

    def test_errors(self):
        for code, path, options in self.bad_files():
            with self.subTest(path=path, options=options), \
                    self.assertRaises(gpt2client.Error) as caught:
                gpt2client.open(file=path, **options)
            self.assertEqual(caught.exception.code, code)
            self.assertGreater(len(str(caught.exception)), 10)
        with self.assertRaises(gpt2client.Error) as caught:
            gpt2client.open(file=self.where / 'none')
        self.assertEqual(caught.exception.errno, 2)

    def check_rows(self, path, name, offset):
        """That of the blocks of 256 KiB the second is bad, which row 2000 lies in."""
        with gpt2client.open(file=path, verify=False) as store:
            self.error(gpt2client.E_CORRUPT, '', store.verify_rows, name, index=offset)
            self.error(gpt2client.E_CORRUPT, '', store.verify_rows, name, 2000, 1, index=offset)
            self.error(gpt2client.E_CORRUPT, '', store.verify_rows, name, 0, 2000, index=offset)
            self.assertIsNone(store.verify_rows(name, 0, 1000))
            self.assertIsNone(store.verify_rows(name, 0, n=1))
            self.assertIsNone(store.verify_rows(name, first=2900))
            self.assertIsNone(store.verify_rows('wpe.weight'))

    def test_verify_rows(self):
        path = t.make_pack(self.where / 'rows.gpt2w', 3000, POSITIONS, EMBD)
        with gpt2client.open(file=path) as store:
            self.assertIsNone(store.verify_rows('wte.weight'))
            self.assertIsNone(store.verify_rows('wte.weight', 2999, 1))
            for first, n in ((0, 0), (3000, None), (3000, 1), (0, 3001), (2999, 2), (-1, 1), (-1, None),
                             (0, -1), (2**64, 1), (1, 2**64), (0, 2**64 + 1)):
                self.error(gpt2client.E_SIZE, 'the tensor has 3000 rows', store.verify_rows, 'wte.weight',
                           first, n)
            self.error(gpt2client.E_NO_TENSOR, 'there are wpe.weight, wte.weight', store.verify_rows, 'wte')
            for wrong in ((5,), ('wte.weight', 1.0), ('wte.weight', 0, '1')):
                self.error(gpt2client.E_ARGUMENT, '', store.verify_rows, *wrong)
            first, bad = (bytes(store.embed([row], positions=False)) for row in (0, 2000))
        whole = bytearray(path.read_bytes())
        whole[whole.index(bad)] ^= 1
        path.write_bytes(whole)
        self.check_rows(path, 'wte.weight', whole.index(first) + (1 << 18))

    def test_verify_rows_written_to(self):
        with gpt2client.open(file=self.pack, writable=True) as store:
            store.verify_rows('wte.weight')
            table = store._handle.find('wte.weight')
            ctypes.memset(table.data, 7, 1)
            with self.assertRaises(gpt2client.Error) as caught:
                store.verify_rows('wte.weight', 1)
            self.assertEqual(caught.exception.code, gpt2client.E_CORRUPT)

    def test_expanded(self):
        path = self.where / 'small.gpt2w'
        t.run(t.program('GPT2_PACK'), 'pack', '-q', '--zstd', self.pack, '-o', path)
        with gpt2client.open(file=path) as store, gpt2client.open(file=self.pack) as plain:
            self.assertEqual((store.info.expanded, plain.info.expanded), (True, False))
            self.assertEqual(store.info.content_id, plain.info.content_id)
            self.assertEqual(bytes(store.embed([1, 2])), bytes(plain.embed([1, 2])))

    def test_older_library(self):
        """That of 0.1 lacks some functions, and what needs them says so."""
        class Older:
            def __getattr__(self, name):
                if name in gpt2client._SINCE_0_2:
                    raise AttributeError(name)
                return getattr(library, name)
        library = gpt2client._lib
        out = memoryview(bytearray(EMBD * 4)).cast('f', [1, EMBD])
        with gpt2client.open(file=self.pack) as store, \
                unittest.mock.patch.object(gpt2client, '_lib', Older()):
            for name, use in (('refresh', store.refresh), ('prefetch', lambda: store.prefetch([1])),
                              ('verify_rows', lambda: store.verify_rows('wte.weight')),
                              ('embed_part', lambda: store.embed_part([1], 0, 1, out=out))):
                self.error(gpt2client.E_ARGUMENT, f'has no gpt2c_{name}: install a newer one', use)

    def test_arguments(self):
        for options in ({'timeout': 0}, {'timeout': -1}, {'timeout': float('nan')},
                        {'timeout': float('inf')}, {'timeout': 'x'}, {'file': 5}, {'file': 'a\0b'},
                        {'model': 'a\0b'}, {'model': b'x'}, {'model': '\ud800'}, {'socket': object()}):
            with self.subTest(options=options):
                self.error(gpt2client.E_ARGUMENT, '', gpt2client.open, **options)
        with self.assertRaises(TypeError):
            gpt2client.open(fil='x')

    def test_pack_given_as_a_model(self):
        for model in (str(self.pack), 'a.gpt2w'):
            error = self.error(gpt2client.E_NO_DAEMON, 'a pack is opened with file=', gpt2client.open, model,
                               socket=self.where / 'none')
            self.assertEqual(str(pickle.loads(pickle.dumps(error))), str(error))
        error = self.error(gpt2client.E_NO_DAEMON, '', gpt2client.open, 'a', socket=self.where / 'none')
        self.assertNotIn('file=', str(error))

    def test_closed(self):
        store = gpt2client.open(file=self.pack)
        self.assertEqual(support.images(), 1)
        store.close()
        store.close()
        self.assertEqual((support.images(), store.closed), (0, True))
        self.assertIn('closed', repr(store))
        for use in (store.keys, store.__enter__, store.refresh, store.fileno, store.__reduce__,
                    lambda: store.info, lambda: store.state, lambda: store.tensor('wte.weight'),
                    lambda: store.embed([1]), lambda: store.rows([1]),
                    lambda: store.scales('wte.weight'), lambda: store.verify_rows('wte.weight'),
                    lambda: store.prefetch([1]), lambda: store.embed_part([1], 0, 1, out=None),
                    lambda: store.torch('wte.weight'), lambda: store.get_tensor('wte.weight')):
            self.error(gpt2client.E_ARGUMENT, 'closed', use)

    def test_nothing_leaks(self):
        def all_of_it():
            for _, path, options in self.bad_files():
                with self.assertRaises(gpt2client.Error):
                    gpt2client.open(file=path, **options)
            with gpt2client.open(file=self.pack) as store:
                store.embed([1])
                with self.assertRaises(gpt2client.Error):
                    store.embed([VOCAB])
        all_of_it()
        before = support.descriptors(), len(support.mappings())
        for _ in range(20):
            all_of_it()
        fds, maps = support.descriptors(), len(support.mappings())
        self.assertEqual((fds, support.images()), (before[0], 0))
        self.assertLess(maps, before[1] + 10)

    def test_pickle(self):
        folder = os.getcwd()
        os.chdir(self.where)
        try:
            store = gpt2client.open(file='a.gpt2w', writable=True, timeout=7)
        finally:
            os.chdir(folder)
        again = pickle.loads(pickle.dumps(store))
        self.assertEqual(again.info, store.info)
        self.assertTrue(again.writable)
        moved = self.where / 'moved'
        shutil.copy(self.pack, moved)
        with gpt2client.open(file=moved) as gone:
            text = pickle.dumps(gone)
        moved.unlink()
        self.error(gpt2client.E_NOT_FOUND, 'moved', pickle.loads, text)

    def test_without_numpy(self):
        """Lists in, a memoryview out."""
        code = '''
import sys, array
sys.modules['numpy'] = None
import gpt2client as g
with g.open(file=sys.argv[1]) as store:
    out = store.embed([[1, 2], [3, 999]], positions=[5, 6])
    print(type(out).__name__, out.format, out.shape)
    print(bytes(out) == bytes(store.embed([[1, 2], [3, 999]], past=5)))
    given = memoryview(bytearray(2 * 48 * 4)).cast('B').cast('f', [2, 48])
    print(store.embed(array.array('q', [3, 999]), past=5, out=given) is given)
    print(bytes(given) == bytes(out)[2 * 48 * 4:])
    print(store.prefetch([1, 2]), store.prefetch([]), store.verify_rows('wte.weight'))
    part = memoryview(bytearray(2 * 48 * 4)).cast('B').cast('f', [2, 48])
    for k in range(2):
        store.embed_part([3, 999], k, 2, 5, out=part)
    print(bytes(part) == bytes(given))
    for wrong in (lambda: store.tensor('wte.weight'), lambda: store.embed([2**63]),
                  lambda: store.embed([1.5]), lambda: store.embed([[1], [2, 3]]),
                  lambda: store.embed('12'), lambda: store.embed([]), lambda: store.rows([1]),
                  lambda: store.prefetch([1, -1])):
        try:
            wrong()
        except g.Error as error:
            print(error.code, error)
'''
        ended = python(code, self.pack)
        self.assertEqual(ended.stderr, '')
        lines = ended.stdout.splitlines()
        self.assertEqual(lines[:6], ["memoryview f (2, 2, 48)", 'True', 'True', 'True',
                                     'None None None', 'True'])
        self.assertEqual([int(line.split()[0]) for line in lines[6:]],
                         [-1, gpt2client.E_ID, -1, -1, -1, gpt2client.E_SIZE, -1, gpt2client.E_ID])
        self.assertIn('NumPy', lines[6])


class Served(support.Case):
    """By a daemon."""

    def serve(self, *packs):
        for name, seed in packs:
            t.make_pack(self.where / f'{name}.gpt2w', VOCAB, POSITIONS, EMBD, seed=seed)
        daemon = self.enterContext(t.start_daemon(self.where, '--store', self.where))
        self.addCleanup(lambda: [path.unlink() for path in self.where.glob('*.gpt2w')])
        return daemon

    def test_attach_and_errors(self):
        daemon = self.serve(('a', 1), ('b', 2))
        with gpt2client.open('a', socket=daemon.path) as store:
            said = daemon.model('a')
            self.assertEqual((store.info.generation, store.info.content_id),
                             (said['generation'], said['content_id']))
            self.assertTrue(store.info.sealed and store.info.daemon and store.info.verified)
            self.assertGreaterEqual(store.fileno(), 0)
            again = pickle.loads(pickle.dumps(store))
            self.assertEqual(again.info, store.info)
            again.close()
        fds = support.descriptors()
        for model in ('nobody', None):
            error = self.error(gpt2client.E_NO_MODEL, '', gpt2client.open, model,
                               socket=daemon.path)
            self.assertGreater(len(str(error)), 20)
        self.error(gpt2client.E_NO_DAEMON, '/nonexistent/s', gpt2client.open,
                   socket='/nonexistent/s')
        self.assertEqual((support.descriptors(), support.images()), (fds, 0))
        ended = python('import gpt2client; print(gpt2client.open("b").info.generation)',
                       GPT2D_SOCKET=daemon.path)
        self.assertEqual(ended.stdout.strip(), str(daemon.model('b')['generation']), ended.stderr)

    def test_state_and_refresh(self):
        daemon = self.serve(('a', 1))
        with gpt2client.open(socket=daemon.path) as store:
            self.assertIs(store.state, gpt2client.State.CURRENT)
            old = bytes(store.embed([1, 2], positions=False))
            t.make_pack(self.where / 'a.gpt2w', VOCAB, POSITIONS, EMBD, seed=2)
            daemon.hup()
            t.wait_until(lambda: store.state is gpt2client.State.SUPERSEDED, 'news')
            self.assertEqual(bytes(store.embed([1, 2], positions=False)), old)
            self.check_refresh(store, old)
            daemon.kill()
            t.wait_until(lambda: store.state is gpt2client.State.ORPHANED, 'the end')
            self.assertEqual(len(bytes(store.embed([1, 2], positions=False))), len(old))
            with self.assertRaises(gpt2client.Error):
                store.refresh()
            self.assertEqual(store.keys(), ['wpe.weight', 'wte.weight'])

    def check_refresh(self, store, old):
        if not hasattr(gpt2client._lib, 'gpt2c_refresh'):
            self.error(gpt2client.E_ARGUMENT, 'no gpt2c_refresh', store.refresh)
            return
        before = store.info.generation
        self.assertIs(store.refresh(), True)
        self.assertIs(store.state, gpt2client.State.CURRENT)
        self.assertNotEqual(store.info.generation, before)
        self.assertNotEqual(bytes(store.embed([1, 2], positions=False)), old)
        self.assertIs(store.refresh(), False)

    def test_refresh(self):
        if not hasattr(gpt2client._lib, 'gpt2c_refresh'):
            self.skipTest('this library has no gpt2c_refresh')
        daemon = self.serve(('a', 1))
        with gpt2client.open(socket=daemon.path) as store, \
                gpt2client.open(file=self.where / 'a.gpt2w') as file:
            self.error(gpt2client.E_ARGUMENT, '', file.refresh)
            fds = support.descriptors()
            go_on, wrong = threading.Event(), []

            def gather():
                while not go_on.is_set():
                    if len(bytes(store.embed([1, 2]))) != 2 * EMBD * 4:
                        wrong.append(1)
            threads = [threading.Thread(target=gather) for _ in range(4)]
            for thread in threads:
                thread.start()
            for _ in range(20):
                self.assertIs(store.refresh(), False)
            go_on.set()
            for thread in threads:
                thread.join()
            self.assertEqual((wrong, support.descriptors()), ([], fds))
            daemon.kill()
            with t.start_daemon(self.where, '--store', self.where) as other:
                self.assertIs(store.state, gpt2client.State.ORPHANED)
                self.assertIs(store.refresh(), True)
                self.assertIs(store.state, gpt2client.State.CURRENT)
                self.assertEqual(store.info.generation, other.model('a')['generation'])
                self.assertEqual(support.descriptors(), fds)
                again = pickle.loads(pickle.dumps(store))
                self.assertEqual(again.info, store.info)

    def test_arrays_stay(self):
        if not importlib.util.find_spec('numpy') or not hasattr(gpt2client._lib, 'gpt2c_refresh'):
            self.skipTest('NumPy is not installed, or this library has no gpt2c_refresh')
        daemon = self.serve(('a', 1))
        with gpt2client.open(socket=daemon.path) as store:
            table = store.tensor('wte.weight')
            old = table.tobytes()
            t.make_pack(self.where / 'a.gpt2w', VOCAB, POSITIONS, EMBD, seed=2)
            daemon.hup()
            t.wait_until(lambda: store.state is gpt2client.State.SUPERSEDED, 'news')
            self.assertIs(store.refresh(), True)
            self.assertEqual((table.tobytes(), support.images()), (old, 4))  # two boards
            self.assertNotEqual(store.tensor('wte.weight').tobytes(), old)
            del table
            self.assertEqual(support.images(), 2)

    def test_fork(self):
        daemon = self.serve(('a', 1))
        with gpt2client.open(socket=daemon.path) as store:
            expected = bytes(store.embed(array.array('i', [1, 2])))

            def child():
                same = bytes(store.embed([1, 2])) == expected
                state = store.state.name
                store.close()
                return same, state, support.images()
            self.assertEqual(support.in_child(child), str((True, 'CURRENT', 0)))
            self.assertEqual(bytes(store.embed([1, 2])), expected)
            daemon.kill()
            t.wait_until(lambda: store.state is gpt2client.State.ORPHANED, 'the end')
            self.assertEqual(support.in_child(lambda: bytes(store.embed([1, 2])) == expected), 'True')


if __name__ == '__main__':
    support.main()
