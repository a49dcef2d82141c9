#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""gpt2client with NumPy: every value against tables that NumPy loads itself, ids of all kinds, outputs,
what is shared and what is not."""
import array
import concurrent.futures
import gc
import itertools
import sys
import threading
import unittest
import unittest.mock
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import support  # noqa: E402
from support import EMBD, POSITIONS, VOCAB, gpt2client, t  # noqa: E402

try:
    import numpy as np
except ImportError:
    np = None

if np:
    NUMPY = {'F32': np.float32, 'F16': np.float16, 'BF16': np.uint16, 'I8': np.int8}


def loaded(pack, where):
    """{name: array} by way of gpt2-pack unpack, without any of our code."""
    out = where / 'tables.safetensors'
    return {name: np.fromfile(out, NUMPY[dtype], size // np.dtype(NUMPY[dtype]).itemsize,
                              offset=offset).reshape(shape)
            for name, (dtype, shape, offset, size) in t.tables_of(pack, out).items()}


def widened(values):
    if values.dtype == np.uint16:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)


def same_bits(one, other):
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


@unittest.skipUnless(np, 'NumPy is not installed')
class NumpyCase(support.Case):
    DTYPE = 'f32'

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.pack = t.make_pack(cls.where / 'a.gpt2w', VOCAB, POSITIONS, EMBD, dtype=cls.DTYPE)
        cls.tables = loaded(cls.pack, cls.where)
        cls.wte, cls.wpe = (widened(cls.tables[f'{name}.weight']) for name in ('wte', 'wpe'))
        cls.store = cls.enterClassContext(gpt2client.open(file=cls.pack))

    def setUp(self):
        self.random = np.random.default_rng(1)

    def some_ids(self, *shape):
        return self.random.integers(0, VOCAB, shape)


class Values(NumpyCase):
    def test_tensors(self):
        self.assertEqual(self.store.keys(), sorted(self.tables))
        for name, expected in self.tables.items():
            self.assertTrue(same_bits(self.store.tensor(name), expected), name)
            self.assertTrue(same_bits(self.store.get_tensor(name), expected), name)
            self.assertTrue(same_bits(self.store.tensor(name, widen=True), widened(expected)), name)
            self.assertIsNone(self.store.scales(name))

    def test_embed(self):
        for shape, past in itertools.product([(1,), (7,), (1, 1), (3, 5), (2, POSITIONS - 9)], [0, 9]):
            ids = self.some_ids(*shape)
            expected = self.wte[ids] + self.wpe[past:past + shape[-1]]
            self.assertTrue(same_bits(self.store.embed(ids, past), expected), (shape, past))
            self.assertTrue(same_bits(self.store.embed(ids, positions=False), self.wte[ids]))
            places = self.random.integers(0, POSITIONS, shape)
            self.assertTrue(same_bits(self.store.embed(ids, positions=places),
                                      self.wte[ids] + self.wpe[places]))

    def test_positions_for_all_sequences(self):
        ids, places = self.some_ids(3, 5), self.random.integers(0, POSITIONS, 5)
        expected = self.wte[ids] + self.wpe[places]
        for given in (places, places[None], places.tolist(), [places.tolist()],
                      places.astype(np.int32), np.broadcast_to(places, (3, 5))):
            self.assertTrue(same_bits(self.store.embed(ids, positions=given), expected))
            self.assertTrue(same_bits(self.store.embed(ids.tolist(), positions=given), expected))

    def test_rows(self):
        table = self.store.tensor('wte.weight')
        ids = self.some_ids(4)
        rows = self.store.rows(ids)
        self.assertEqual(len(rows), 4)
        for token, row in zip(ids, rows):
            self.assertTrue(same_bits(row, table[token]))
            self.assertEqual(row.ctypes.data, table[token].ctypes.data)
            self.assertFalse(row.flags.writeable)
        nested = self.store.rows([[1, 2, 3], [4, 5, 6]])
        self.assertEqual([len(part) for part in nested], [3, 3])
        self.assertTrue(same_bits(nested[1][2], table[6]))
        for wrong in (-1, VOCAB, 2**31, 2**63):
            self.error(gpt2client.E_ID, f'id {wrong} ', self.store.rows, [0, wrong], index=1)
            if wrong < 2**63:
                self.error(gpt2client.E_ID, f'id {wrong} ', self.store.rows, np.array([0, wrong]),
                           index=1)


class ValuesF16(Values):
    DTYPE = 'f16'


class ValuesBf16(Values):
    DTYPE = 'bf16'


class ValuesInt8(NumpyCase):
    """Against what gpt2-pack writes as f32."""
    DTYPE = 'q8'
    test_embed, test_positions = Values.test_embed, Values.test_positions_for_all_sequences

    def test_tensors(self):
        for name, expected in self.tables.items():
            self.assertEqual(self.store.tensor(name).dtype, np.int8)
            self.assertTrue(same_bits(self.store.tensor(name, widen=True), expected), name)


class Golden(NumpyCase):
    """Packs of other shapes: padded rows, int8, ranks 0 to 8."""

    def test_int8(self):
        with gpt2client.open(file=support.GOLDEN / 'i8.gpt2w') as store:
            self.assertEqual((store.info.wte_dtype, store.info.wpe_dtype), ('i8', 'i8'))
            wide = {}
            for name in store.keys():
                values, scales = store.tensor(name), store.scales(name)
                self.assertEqual((values.dtype, scales.dtype), (np.int8, np.float32))
                self.assertEqual(scales.shape, values.shape[:-1])
                self.assertTrue(support.lies_in_image(scales.ctypes.data))
                self.assertFalse(scales.flags.writeable)
                wide[name] = values.astype(np.float32) * scales[..., None]
                self.assertTrue(same_bits(store.tensor(name, widen=True), wide[name]))
            ids = np.arange(min(4, store.info.n_positions)) % store.info.n_vocab
            self.assertTrue(same_bits(store.embed(ids),
                                      wide['wte.weight'][ids] + wide['wpe.weight'][:len(ids)]))

    def test_all(self):
        for path in sorted(support.GOLDEN.glob('*.gpt2w')):
            if path.name == 'i8.gpt2w':
                continue
            with gpt2client.open(file=path, writable=True) as store:
                for name, expected in loaded(path, self.where).items():
                    array = store.tensor(name)
                    self.assertTrue(same_bits(array, expected), (path, name))
                    self.assertTrue(array.flags.writeable)

    def test_ranks(self):
        arrays = {'wte': self.random.random((9, 5), np.float32)}
        arrays.update((f'rank{rank}', self.random.random(range(2, 2 + rank), np.float32))
                      for rank in range(6))
        np.savez(self.where / 'ranks.npz', **arrays)
        pack = self.where / 'ranks.gpt2w'
        t.run(t.program('GPT2_PACK'), 'pack', '-q', '--all', '--wpe', 'none',
              self.where / 'ranks.npz', '-o', pack)
        arrays['wte.weight'] = arrays.pop('wte')
        with gpt2client.open(file=pack) as store:
            self.assertEqual(store.keys(), sorted(arrays))
            self.assertEqual(store.tensor('wte.weight').strides, (64, 4))
            for name, expected in arrays.items():
                self.assertTrue(same_bits(store.tensor(name), expected), name)

    def test_no_position_table(self):
        with gpt2client.open(file=support.GOLDEN / 'bf16-no-wpe.gpt2w') as store:
            wte = widened(store.tensor('wte.weight'))
            for options in ({}, {'past': 10**6}, {'positions': False}):
                self.assertTrue(same_bits(store.embed([0, 1], **options), wte[:2]), options)
            for positions in ([0, 1], [2**63, 0], np.array([0, 2**40])):
                self.error(gpt2client.E_POSITION, 'no position table', store.embed, [0, 1],
                           positions=positions)


class Ids(NumpyCase):
    def test_layouts(self):
        ids = self.some_ids(6, 8)
        wide = np.zeros((12, 24), np.int64)
        wide[::2, ::3] = ids
        for dtype in (np.int32, np.int64, '>i4', '>i8'):
            fixed = ids.astype(dtype)
            readonly = fixed.copy()
            readonly.flags.writeable = False
            for given in (fixed, readonly, np.asfortranarray(fixed), fixed.T.copy().T,
                          fixed[:, ::-1].copy()[:, ::-1], wide.astype(dtype)[::2, ::3],
                          np.ma.masked_array(fixed)):
                self.assertTrue(same_bits(self.store.embed(given),
                                          self.wte[ids] + self.wpe[:8]), (dtype, given.strides))
        odd = np.frombuffer(b'x' + ids.tobytes(), np.uint8)[1:].view(np.int64).reshape(6, 8)
        self.assertFalse(odd.flags.aligned)
        self.assertTrue(same_bits(self.store.embed(odd), self.wte[ids] + self.wpe[:8]))
        one = np.broadcast_to(np.int64(5), (2, 3))
        self.assertTrue(same_bits(self.store.embed(one), self.wte[one] + self.wpe[:3]))

    def test_lists(self):
        expected = self.wte[[1, 2, 3]] + self.wpe[:3]
        for given in ([1, 2, 3], (1, 2, 3), range(1, 4), [np.int64(1), 2, np.int32(3)],
                      array.array('i', [1, 2, 3]), array.array('q', [1, 2, 3]),
                      memoryview(np.arange(1, 4))):
            self.assertTrue(same_bits(self.store.embed(given), expected), given)
        for given in ([[1, 2, 3]], ((1, 2, 3),), [np.arange(1, 4)]):
            self.assertTrue(same_bits(self.store.embed(given), expected[None]), given)

    def test_out_of_range(self):
        for wrong in (-1, VOCAB, 2**31 - 1, 2**31, -2**31, 2**32, 2**32 + 5, -2**63, 2**63 - 1):
            self.error(gpt2client.E_ID, f'id {wrong} of token 4 does not exist: the model has '
                       f'{VOCAB} ids (0 to {VOCAB - 1})', self.store.embed,
                       np.array([[0, 1, 2], [3, wrong, -7]]), index=4)
        for wrong in (-1, VOCAB, 2**31, 2**63, 2**64, -2**70):
            self.error(gpt2client.E_ID, f'id {wrong} of token 1 ', self.store.embed, [0, wrong, -1],
                       index=1)
        # the first one is named, also where a later one does not fit into 32 bits
        self.error(gpt2client.E_ID, 'id -3 of token 0', self.store.embed, np.array([-3, 2**40]),
                   index=0)

    def test_only_the_low_half_is_right(self):
        for wrong in (2**32 + 5, -2**32 + 5, -2**63, 2**62):
            self.error(gpt2client.E_ID, f'id {wrong} of token 1', self.store.embed,
                       np.array([0, wrong, 1]), index=1)

    def test_ids_that_change(self):
        """What another thread writes after the call began does not reach the library."""
        for dtype, positions in ((np.int32, None), (np.int64, None), (np.int32, [3, 4])):
            ids, library = np.array([1, 2], dtype), gpt2client._lib

            class Late:
                def __getattr__(self, name):
                    ids[:] = VOCAB
                    return getattr(library, name)
            with unittest.mock.patch.object(gpt2client, '_lib', Late()):
                got = self.store.embed(ids, positions=positions)
            self.assertEqual(ids[0], VOCAB)
            self.assertTrue(same_bits(got, self.wte[1:3] + self.wpe[positions or [0, 1]]))

    def test_positions_out_of_range(self):
        ids = self.some_ids(2, 3)
        for wrong in (-1, POSITIONS, 2**31, 2**32, -2**63):
            self.error(gpt2client.E_POSITION, f'position {wrong} of token 2 does not exist: the model '
                       f'has {POSITIONS} positions (0 to {POSITIONS - 1})', self.store.embed, ids,
                       positions=np.array([0, 1, wrong]), index=2)
        self.error(gpt2client.E_POSITION, f'position {2**63} ', self.store.embed, ids,
                   positions=[[0, 1, 2], [3, 4, 2**63]], index=5)
        for past, index in ((POSITIONS - 2, 2), (POSITIONS, 0), (2**31, 0), (2**63 - 1, 0),
                            (2**63, 0), (2**64, 0), (-1, 0), (-2**64, 0)):
            self.error(gpt2client.E_POSITION, 'position ', self.store.embed, ids, past, index=index)

    def test_wrong(self):
        for wrong in (5, np.int64(5), [[[1]]], np.zeros((1, 1, 1), int), np.array([1.0]),
                      np.array([True]), np.array([1], np.int16), np.array([1], np.uint64),
                      np.array([1], object), np.array([1j]), 'abc', b'abc', None, {1: 2},
                      [[1], [1, 2]], iter([1])):
            self.error(gpt2client.E_ARGUMENT, 'ids ', self.store.embed, wrong, index=None)
        for wrong in (None, 'abc', {1: 2}, {1, 2}, iter([1])):
            self.error(gpt2client.E_ARGUMENT, f'int64, not {type(wrong).__name__}', self.store.embed, wrong)
        for wrong, index in (([1.5], 0), ([1, 2.0], 1), ([True], 0), (['a'], 0), ([None], 0), ([[1, 2], 3], 0)):
            self.error(gpt2client.E_ARGUMENT, 'ids must be integers', self.store.embed, wrong,
                       index=index)
        for empty in ([], [[]], [[], []], np.zeros(0, int), np.zeros((0, 5), int),
                      np.zeros((5, 0), np.int32)):
            self.error(gpt2client.E_SIZE, 'no tokens', self.store.embed, empty)
        for options in ({'past': 1.5}, {'past': 'x'}, {'past': None},
                        {'past': 1, 'positions': [0, 0]}, {'past': 1, 'positions': False},
                        {'positions': [0]}, {'positions': [[0, 0], [0, 0]]}, {'positions': True},
                        {'positions': [0.5, 1.0]}, {'positions': np.zeros((2, 1), int)}):
            for ids in ([1, 2], np.array([1, 2])):
                with self.subTest(options=options), self.assertRaises(gpt2client.Error) as caught:
                    self.store.embed(ids, **options)
                self.assertEqual(caught.exception.code, gpt2client.E_ARGUMENT)
        self.error(gpt2client.E_NO_TENSOR, 'wte.weight', self.store.tensor, 'wte')
        self.error(gpt2client.E_NO_TENSOR, '', self.store.tensor, 'a\0b')
        self.error(gpt2client.E_NO_TENSOR, '', self.store.tensor, 'wte.weight\0')
        self.error(gpt2client.E_ARGUMENT, 'int', self.store.tensor, 0)


class Outputs(NumpyCase):
    def test_out(self):
        ids = self.some_ids(2, 3)
        expected = self.wte[ids] + self.wpe[:3]
        out = np.empty((2, 3, EMBD), np.float32)
        self.assertIs(self.store.embed(ids, out=out), out)
        self.assertTrue(same_bits(out, expected))
        large = np.empty((5, 3, EMBD), np.float32)
        self.assertTrue(same_bits(self.store.embed(ids, out=large[1:3]), expected))
        self.assertTrue(same_bits(large[1:3], expected))
        view = memoryview(bytearray(expected.nbytes)).cast('B').cast('f', expected.shape)
        self.assertIs(self.store.embed(ids, out=view), view)
        self.assertEqual(bytes(view), expected.tobytes())

    def wrong_outputs(self, shape):
        readonly = np.empty(shape, np.float32)
        readonly.flags.writeable = False
        odd = np.frombuffer(bytearray(4 * EMBD * 6 + 1), np.uint8)[1:].view(np.float32)
        return [('float32', np.empty(shape)), ('float32', np.empty(shape, np.int32)),
                ('float32', np.empty(shape, np.float16)), ('float32', np.empty(shape, '>f4')),
                ('shape', np.empty((3, 2, EMBD), np.float32)),
                ('shape', np.empty((2, 3, EMBD + 1), np.float32)),
                ('shape', np.empty((6, EMBD), np.float32)), ('shape', np.empty(0, np.float32)),
                ('read-only', readonly),
                ('contiguous', np.asfortranarray(np.empty(shape, np.float32))),
                ('contiguous', np.empty((2, 3, 2 * EMBD), np.float32)[..., ::2]),
                ('contiguous', np.empty((2, 6, EMBD), np.float32)[:, ::2]),
                ('aligned', odd.reshape(shape)), ('no array', [0.0]), ('no array', object()),
                ('float32', bytearray(4))]

    def test_wrong(self):
        ids = self.some_ids(2, 3)
        for says, out in self.wrong_outputs((2, 3, EMBD)):
            self.error(gpt2client.E_ARGUMENT, says, self.store.embed, ids, out=out)

    def test_overlap(self):
        memory = np.zeros(6 * EMBD * 4, np.uint8)
        out = memory.view(np.float32).reshape(2, 3, EMBD)
        for dtype in (np.int32, np.int64):
            inside = memory[:6 * np.dtype(dtype).itemsize].view(dtype).reshape(2, 3)
            self.error(gpt2client.E_ARGUMENT, 'out overlaps ids', self.store.embed, inside, out=out)
            self.error(gpt2client.E_ARGUMENT, 'out overlaps positions', self.store.embed,
                       self.some_ids(2, 3), positions=inside, out=out)
        with gpt2client.open(file=self.pack, writable=True) as store:
            table = store.tensor('wte.weight')
            before = table.copy()
            self.error(gpt2client.E_ARGUMENT, 'overlaps the tables', store.embed,
                       self.some_ids(6), out=table[:6])
            self.assertTrue(same_bits(table, before))

    def test_untouched(self):
        out = np.full((2, EMBD), 7, np.float32)
        for ids, options in (([0, VOCAB], {}), ([0, 1], {'past': POSITIONS - 1}),
                             ([0, 1], {'positions': [0, POSITIONS]})):
            with self.assertRaises(gpt2client.Error):
                self.store.embed(ids, out=out, **options)
            self.assertTrue((out == 7).all())


class Parts(NumpyCase):
    def test_values(self):
        for shape, past in itertools.product([(1,), (7,), (3, 5), (2, POSITIONS - 9)], [0, 9]):
            ids = self.some_ids(*shape)
            expected = self.wte[ids] + self.wpe[past:past + shape[-1]]
            for given, n_parts in itertools.product((ids, ids.tolist(), ids.astype(np.int32)), (1, 2, 9)):
                out = np.full(expected.shape, np.nan, np.float32)
                for part in reversed(range(n_parts)):
                    self.assertIs(self.store.embed_part(given, part, n_parts, past, out=out), out)
                self.assertTrue(same_bits(out, expected), (shape, n_parts))

    def test_one_part(self):
        # on cache lines: else a part writes the end of its last line too
        memory = np.zeros(4 * 6 * EMBD * 4 + 64, np.uint8)
        start = -memory.ctypes.data % 64
        out = memory[start:start + 4 * 6 * EMBD * 4].view(np.float32).reshape(4, 6, EMBD)
        ids, out[:] = self.some_ids(4, 6), 7
        self.store.embed_part(ids, 1, 2, out=out)
        self.assertTrue((out[:, :3] == 7).all())
        self.assertTrue(same_bits(out[:, 3:], (self.wte[ids] + self.wpe[:6])[:, 3:]))

    def test_threads(self):
        ids = self.some_ids(8, POSITIONS)
        out = np.full((8, POSITIONS, EMBD), np.nan, np.float32)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for done in pool.map(lambda part: self.store.embed_part(ids, part, 4, out=out), range(4)):
                self.assertIs(done, out)
        self.assertTrue(same_bits(out, self.wte[ids] + self.wpe))

    def test_wrong(self):
        out, embed_part = np.full((1, 3, EMBD), 7, np.float32), self.store.embed_part
        for part, n_parts in ((2, 2), (0, 0), (-1, 2), (2**64, 2**65), (0, 2**64)):
            self.error(gpt2client.E_ARGUMENT, f'no part {part} of {n_parts}', embed_part, [[1, 2, 3]], part,
                       n_parts, out=out)
        for part, n_parts in ((0.0, 2), (0, '2'), (None, 2)):
            self.error(gpt2client.E_ARGUMENT, 'must be an integer', embed_part, [[1, 2, 3]], part, n_parts,
                       out=out)
        for part in range(2):
            self.error(gpt2client.E_ID, f'id {VOCAB} of token 2', embed_part, [[1, 2, VOCAB]], part, 2,
                       out=out, index=2)
            self.error(gpt2client.E_POSITION, f'position {POSITIONS} of token 1', embed_part, [[1, 2, 3]],
                       part, 2, POSITIONS - 1, out=out, index=1)
            self.error(gpt2client.E_SIZE, 'no tokens', embed_part, [], part, 2, out=out)
            self.error(gpt2client.E_ARGUMENT, 'shape', embed_part, [1, 2, 3], part, 2, out=out)
            self.error(gpt2client.E_ARGUMENT, 'out is needed', embed_part, [1, 2, 3], part, 2, out=None)
        self.assertTrue((out == 7).all())
        with self.assertRaises(TypeError):
            embed_part([[1, 2, 3]], 0, 2)


class Prefetch(NumpyCase):
    def test_ids(self):
        for ids in ([], 5, [5], [[1, 2], [3, 4]], np.zeros((2, 3, 4), int), np.arange(VOCAB)[::-3],
                    np.zeros((0, 3), np.int32), range(VOCAB)):
            self.assertIsNone(self.store.prefetch(ids))

    def test_wrong(self):
        for wrong in (-1, VOCAB, 2**31 - 1, 2**31, 2**63 - 1, -2**63):
            self.error(gpt2client.E_ID, f'id {wrong} of token 4 does not exist: the model has '
                       f'{VOCAB} ids (0 to {VOCAB - 1})', self.store.prefetch,
                       np.array([[0, 1, 2], [3, wrong, -7]]), index=4)
            self.error(gpt2client.E_ID, f'id {wrong} of token 1 ', self.store.prefetch, [0, wrong],
                       index=1)
        for wrong in ('abc', None, np.array([1.0]), True, np.array([1], np.uint8)):
            self.error(gpt2client.E_ARGUMENT, 'ids ', self.store.prefetch, wrong)
        self.error(gpt2client.E_ARGUMENT, 'ids must be integers', self.store.prefetch, [1.5], index=0)


class Sharing(NumpyCase):
    def test_no_copy(self):
        for name, expected in self.tables.items():
            first, second = self.store.tensor(name), self.store.tensor(name)
            self.assertTrue(support.lies_in_image(first.ctypes.data))
            self.assertTrue(support.lies_in_image(first.ctypes.data + first.nbytes - 1))
            self.assertEqual(first.ctypes.data, second.ctypes.data)
            self.assertEqual(first.ctypes.data,
                             self.store.tensor(name, widen=True).ctypes.data)

    def test_read_only(self):
        table = self.store.tensor('wte.weight')
        for view in (table, table[1], table[1:3].T, table.view(np.int32)):
            with self.assertRaises(ValueError):
                view[...] = 0
            with self.assertRaises(ValueError):
                view.flags.writeable = True
        with self.assertRaises(ValueError):
            np.add(table, 1, out=table)

    def test_lifetime(self):
        for keep in (lambda table: table, lambda table: table[5:7].T[1:],
                     lambda table: table.view(np.int32)[1], memoryview,
                     lambda table: np.asarray(memoryview(table))[3]):
            with gpt2client.open(file=self.pack) as store:
                kept = keep(store.tensor('wte.weight'))
                expected = bytes(np.asarray(kept).tobytes())
            del store
            gc.collect()
            self.assertEqual(support.images(), 2)  # the class's, and this one
            self.assertEqual(np.asarray(kept).tobytes(), expected)
            del kept
            self.assertEqual(support.images(), 1)
        rows = gpt2client.open(file=self.pack).rows([3])
        self.assertTrue(same_bits(rows[0], self.wte[3]))

    def test_writes_are_private(self):
        with gpt2client.open(file=self.pack, writable=True) as store, \
                gpt2client.open(file=self.pack, writable=True) as other:
            table = store.tensor('wte.weight')
            table[3] = 5
            self.assertTrue(same_bits(other.tensor('wte.weight'), self.wte))
            self.assertTrue(same_bits(self.store.tensor('wte.weight'), self.wte))
            self.assertEqual(store.embed([3], positions=False).tolist(), [[5.0] * EMBD])

            def child():
                seen = float(table[3, 0])
                table[3] = 6
                return seen
            self.assertEqual(support.in_child(child), '5.0')
            self.assertEqual(table[3, 0], 5)
        with gpt2client.open(file=self.pack) as again:
            self.assertTrue(same_bits(again.tensor('wte.weight'), self.wte))

    def test_threads(self):
        """Gathering while other threads close and open."""
        stores = [gpt2client.open(file=self.pack)]
        expected = self.wte[:POSITIONS] + self.wpe
        wrong, ids = [], np.arange(POSITIONS)
        go_on = threading.Event()

        def gather():
            while not go_on.is_set():
                try:
                    if not same_bits(stores[0].embed(ids), expected):
                        wrong.append('values')
                except gpt2client.Error as error:
                    if 'closed' not in str(error):
                        wrong.append(error)
        threads = [threading.Thread(target=gather) for _ in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(200):
            old, stores[0] = stores[0], gpt2client.open(file=self.pack, verify=False)
            old.close()
        go_on.set()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])
        stores.clear()
        self.assertEqual(support.images(), 1)


WORKER = '''
import sys
sys.path.insert(0, sys.argv[1])
import numpy, support
from support import gpt2client
warm = numpy.add(numpy.ones(9), 1)
before = support.private_bytes()
store = gpt2client.open(socket=sys.argv[2])
tables = [store.tensor('wte.weight'), store.tensor('wpe.weight')]
out = numpy.empty((1, 4, 768), numpy.float32)
for start in range(0, 50257 - 4, 4):
    store.embed(numpy.arange(start, start + 4)[None], out=out)
touched = sum(int(table.view(numpy.uint8)[:, ::512].sum()) for table in tables)
print('touched', all(support.lies_in_image(table.ctypes.data) for table in tables), flush=True)
sys.stdin.readline()
print(support.private_bytes() - before, flush=True)
sys.stdin.readline()
'''


class RealSize(NumpyCase):
    def test_private_memory(self):
        """A worker that has read all of GPT-2's tables has less than 1 MiB more to itself."""
        where = self.where / 'real'
        where.mkdir()
        t.make_pack(where / 'gpt2.gpt2w', 50257, 1024, 768)
        # small pages: huge ones of some kinds do not count as anybody's. Two workers: what only one
        # process maps counts as its own.
        daemon = self.enterContext(t.start_daemon(where, '--store', where, '--pages', 'small'))
        workers = [self.enterContext(t.Helper(sys.executable, '-c', WORKER, Path(__file__).parent,
                                              daemon.path)) for _ in range(2)]
        for worker in workers:
            self.assertEqual(worker.line(), 'touched True')
        grown = [int(worker.ask('')) for worker in workers]
        t.say(f'  private memory grew by {", ".join(f"{n >> 10} KiB" for n in grown)}')
        self.assertLess(max(grown), 1 << 20)


if __name__ == '__main__':
    support.main()
