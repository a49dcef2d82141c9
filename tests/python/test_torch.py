#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""gpt2client with PyTorch: tensors, models that take their tables from a store, Embedding modules."""
import copy
import gc
import pickle
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import support  # noqa: E402
from support import EMBD, POSITIONS, VOCAB, gpt2client, t  # noqa: E402

try:
    import numpy
    import torch
    from mini_gpt2 import GPT2
except ImportError:
    torch = None
try:
    import transformers
except ImportError:
    transformers = None

DTYPES = {'f32': 'float32', 'f16': 'float16', 'bf16': 'bfloat16'}


@unittest.skipUnless(torch, 'PyTorch (or NumPy) is not installed')
class TorchCase(support.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        torch.manual_seed(1)
        cls.pack = t.make_pack(cls.where / 'a.gpt2w', VOCAB, POSITIONS, EMBD)
        cls.store = cls.enterClassContext(gpt2client.open(file=cls.pack, writable=True))
        with gpt2client.open(file=cls.pack) as plain:
            cls.wte, cls.wpe = (torch.from_numpy(plain.tensor(f'{name}.weight').copy())
                                for name in ('wte', 'wpe'))

    def same(self, one, other):
        self.assertEqual((one.dtype, one.shape), (other.dtype, other.shape))
        self.assertTrue(torch.equal(one, other))


class Tensors(TorchCase):
    def test_read_only_store(self):
        with gpt2client.open(file=self.pack) as store:
            self.error(gpt2client.E_ARGUMENT, 'writable=True', store.torch, 'wte.weight')
            self.error(gpt2client.E_NO_TENSOR, 'x', store.torch, 'x')

    def test_values(self):
        for dtype, name in DTYPES.items():
            pack = t.make_pack(self.where / f'{dtype}.gpt2w', VOCAB, POSITIONS, EMBD, dtype=dtype)
            with gpt2client.open(file=pack, writable=True) as store:
                tensor, array = store.torch('wte.weight'), store.tensor('wte.weight')
                self.assertEqual(tensor.dtype, getattr(torch, name))
                self.assertEqual(tuple(tensor.shape), array.shape)
                self.assertEqual(tensor.data_ptr(), array.ctypes.data)
                bits = tensor.view(torch.int16) if dtype != 'f32' else tensor.view(torch.int32)
                self.assertEqual(bits.numpy().tobytes(), array.tobytes())
                self.assertTrue(support.lies_in_image(tensor.data_ptr()))

    def test_golden(self):
        for path in sorted(support.GOLDEN.glob('*.gpt2w')):
            with gpt2client.open(file=path, writable=True) as store:
                for name in store.keys():
                    tensor, array = store.torch(name), store.tensor(name)
                    self.assertEqual(tuple(tensor.shape), array.shape)
                    bits = tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor
                    self.assertEqual(bits.numpy().tobytes(), array.tobytes(), (path, name))

    def test_lifetime(self):
        before = support.images()
        with gpt2client.open(file=self.pack, writable=True) as store:
            tensor = store.torch('wte.weight')
            row = tensor[3]
        del store, tensor
        gc.collect()
        self.assertEqual(support.images(), before + 1)
        self.same(row, self.wte[3])
        parameter = torch.nn.Parameter(row)
        del row
        self.same(parameter.data, self.wte[3])
        del parameter
        gc.collect()
        self.assertEqual(support.images(), before)

    def test_writes_are_private(self):
        with gpt2client.open(file=self.pack, writable=True) as store:
            tensor = store.torch('wte.weight')
            tensor[3] = 5
            self.assertTrue((store.embed([3], positions=False) == 5).all())
            self.same(self.store.torch('wte.weight'), self.wte)

            def child():
                seen = float(tensor[3, 0])
                tensor[3] = 6
                return seen
            self.assertEqual(support.in_child(child), '5.0')
            self.assertTrue((tensor[3] == 5).all())

    def test_served(self):
        """Through a daemon, seen by another process."""
        served = self.where / 'served'
        served.mkdir()
        t.make_pack(served / 'a.gpt2w', VOCAB, POSITIONS, EMBD)
        with t.start_daemon(served, '--store', served) as daemon, \
                gpt2client.open('a', socket=daemon.path, writable=True) as store:
            tensor = store.torch('wte.weight')
            tensor.zero_()

            def child():
                other = gpt2client.open('a', socket=daemon.path, writable=True)
                return torch.equal(other.torch('wte.weight'), self.wte)
            self.assertEqual(support.in_child(child), 'True')

    def test_embed(self):
        ids = torch.randint(0, VOCAB, (2, 3))
        expected = self.wte[ids] + self.wpe[:3]
        self.same(self.store.embed(ids), expected)
        self.same(self.store.embed(ids.int()), expected)
        self.same(self.store.embed(ids.t().contiguous().t()), expected)
        self.same(self.store.embed(ids, positions=torch.tensor([3, 4, 5])),
                  self.wte[ids] + self.wpe[3:6])
        out = torch.empty(2, 3, EMBD)
        self.assertIs(self.store.embed(ids, out=out), out)
        self.same(out, expected)
        self.same(torch.from_numpy(self.store.embed(ids.numpy(), out=out.numpy())), expected)
        out = numpy.empty((2, 3, EMBD), numpy.float32)
        self.assertIs(self.store.embed(ids, out=out), out)
        self.same(torch.from_numpy(out), expected)
        self.same(self.store.embed(ids, positions=False), self.wte[ids])
        for options in ({'positions': False, 'past': 1}, {'past': 0.0}):
            self.error(gpt2client.E_ARGUMENT, 'past', self.store.embed, ids, **options)

    def test_defaults_do_not_matter(self):
        ids = torch.randint(0, VOCAB, (2, 3))
        torch.set_default_dtype(torch.float64)
        try:
            self.same(self.store.embed(ids), self.wte[ids] + self.wpe[:3])
            layer = gpt2client.Embedding(self.store)
            self.assertEqual((layer(ids).dtype, layer(ids[:, :0]).dtype), (torch.float32,) * 2)
        finally:
            torch.set_default_dtype(torch.float32)

    def test_wrong(self):
        ids = torch.zeros(2, 3, dtype=torch.int64)
        for wrong in (ids.float(), ids.short(), ids.bool(), ids.to('meta'), ids.to_sparse(),
                      ids.to(torch.uint8)):
            self.error(gpt2client.E_ARGUMENT, 'ids ', self.store.embed, wrong)
        self.error(gpt2client.E_ID, f'id {2**31} of token 1', self.store.embed,
                   torch.tensor([0, 2**31]), index=1)
        shape = (2, 3, EMBD)
        for says, out in (('float32', torch.empty(shape, dtype=torch.float64)),
                          ('no array', torch.empty(shape, dtype=torch.bfloat16)),
                          ('gradient', torch.empty(shape, requires_grad=True)),
                          ('meta', torch.empty(shape, device='meta')),
                          ('contiguous', torch.empty(3, 2, EMBD).transpose(0, 1)),
                          ('shape', torch.empty(2, 3, EMBD + 1))):
            self.error(gpt2client.E_ARGUMENT, says, self.store.embed, ids, out=out)


class Attach(TorchCase):
    NAMES = ['transformer.wte.weight', 'lm_head.weight', 'transformer.wpe.weight']

    def model(self, **options):
        return GPT2(VOCAB, POSITIONS, EMBD, **options).eval()

    def check_shared(self, model):
        transformer = model.transformer
        for name, module in (('wte', transformer.wte), ('wpe', transformer.wpe)):
            self.assertEqual(module.weight.data_ptr(),
                             self.store.torch(f'{name}.weight').data_ptr())
            self.assertIsInstance(module.weight, torch.nn.Parameter)

    def test_model(self):
        model = self.model()
        copied = copy.deepcopy(model)
        copied.transformer.wte.weight.data.copy_(self.wte)
        copied.transformer.wpe.weight.data.copy_(self.wpe)
        head, optimizer = model.lm_head.weight, torch.optim.SGD(model.parameters(), 0.1)
        self.assertEqual(self.store.attach(model), self.NAMES)
        self.check_shared(model)
        # the very same object: for the tie, and for those who hold it
        self.assertIs(model.lm_head.weight, model.transformer.wte.weight)
        self.assertIs(model.lm_head.weight, head)
        self.assertTrue(any(p is head for p in optimizer.param_groups[0]['params']))
        ids = torch.randint(0, VOCAB, (2, POSITIONS))
        with torch.inference_mode():
            self.same(model(ids), copied(ids))
        self.assertEqual(set(model.state_dict()), set(copied.state_dict()))
        self.assertEqual(gpt2client.attach(model, self.store), self.NAMES)

    def test_one_line(self):
        served = self.where / 'served'
        served.mkdir()
        t.make_pack(served / 'a.gpt2w', VOCAB, POSITIONS, EMBD)
        with t.start_daemon(served, '--store', served) as daemon:
            model = self.model()
            self.assertEqual(gpt2client.attach(model, socket=daemon.path), self.NAMES)
            self.assertTrue(support.lies_in_image(model.lm_head.weight.data_ptr()))
            self.same(model.transformer.wte.weight.data, self.wte)
            self.assertEqual(gpt2client.attach(model, 'a', socket=daemon.path), self.NAMES)
            self.error(gpt2client.E_NO_MODEL, 'b', gpt2client.attach, model, 'b', socket=daemon.path)
        gc.collect()
        self.same(model.transformer.wpe.weight.data, self.wpe)

    def test_without_prefix(self):
        transformer = self.model().transformer
        self.assertEqual(self.store.attach(transformer), ['wte.weight', 'wpe.weight'])
        alone = torch.nn.ModuleDict({'wte': torch.nn.Embedding(VOCAB, EMBD)})
        self.assertEqual(self.store.attach(alone), ['wte.weight'])

    def test_tied_by_memory(self):
        model = self.model()
        model.lm_head.weight = torch.nn.Parameter(model.transformer.wte.weight.data)
        self.assertIsNot(model.lm_head.weight, model.transformer.wte.weight)
        self.assertEqual(self.store.attach(model), self.NAMES)
        self.assertEqual(model.lm_head.weight.data_ptr(), model.transformer.wte.weight.data_ptr())
        self.check_shared(model)

    def test_not_tied(self):
        model = self.model(tie=False)
        head = model.lm_head.weight.clone()
        self.assertEqual(self.store.attach(model),
                         ['transformer.wte.weight', 'transformer.wpe.weight'])
        self.same(model.lm_head.weight, head)

    def test_meta(self):
        """A model without memory of its own."""
        model = self.model().to('meta')
        model.lm_head.weight = model.transformer.wte.weight
        self.assertEqual(self.store.attach(model), self.NAMES)
        self.check_shared(model)
        self.assertIs(model.lm_head.weight, model.transformer.wte.weight)
        self.assertTrue(model.lm_head.weight.requires_grad)
        frozen = self.model().requires_grad_(False).to('meta')
        self.store.attach(frozen)
        self.assertFalse(frozen.transformer.wte.weight.requires_grad)

    def test_other_types(self):
        for dtype in ('f16', 'bf16'):
            pack = t.make_pack(self.where / f'{dtype}.gpt2w', VOCAB, POSITIONS, EMBD, dtype=dtype)
            with gpt2client.open(file=pack, writable=True) as store:
                model = self.model().to(getattr(torch, DTYPES[dtype]))
                self.assertEqual(store.attach(model), self.NAMES)
                self.assertIs(model.lm_head.weight, model.transformer.wte.weight)
                self.assertEqual(model.lm_head.weight.data_ptr(), store.torch('wte.weight').data_ptr())
                self.same(model.lm_head.weight.data, store.torch('wte.weight'))

    def test_gradients(self):
        """Training goes on in this process alone; frozen stays frozen."""
        with gpt2client.open(file=self.pack, writable=True) as store:
            model = self.model()
            model.transformer.wpe.weight.requires_grad = False
            store.attach(model)
            self.assertTrue(model.lm_head.weight.requires_grad)
            self.assertFalse(model.transformer.wpe.weight.requires_grad)
            optimizer = torch.optim.SGD(model.parameters(), 0.1)
            model(torch.tensor([[1, 2, 3]])).sum().backward()
            optimizer.step()
            self.assertFalse(torch.equal(model.transformer.wte.weight.data, self.wte))
        self.same(self.store.torch('wte.weight'), self.wte)

    def test_no_position_table(self):
        with gpt2client.open(file=support.GOLDEN / 'bf16-no-wpe.gpt2w', writable=True) as store:
            info = store.info
            model = GPT2(info.n_vocab, 4, info.n_embd, n_head=1).to(torch.bfloat16)
            self.assertEqual(store.attach(model), self.NAMES[:2])

    def test_wrong(self):
        def unchanged(says, model, store=self.store):
            before = {name: value.data_ptr() for name, value in model.state_dict().items()}
            self.error(gpt2client.E_ARGUMENT, says, store.attach, model)
            self.assertEqual(before,
                             {name: value.data_ptr() for name, value in model.state_dict().items()})
        unchanged(f'wte.weight is [{VOCAB + 1}, {EMBD}] in the model and [{VOCAB}, {EMBD}]',
                  GPT2(VOCAB + 1, POSITIONS, EMBD))
        unchanged('wpe.weight is', GPT2(VOCAB, POSITIONS + 1, EMBD))
        unchanged('torch.float16 in the model', self.model().half())
        with gpt2client.open(file=t.make_pack(self.where / 'q.gpt2w', VOCAB, POSITIONS, EMBD, dtype='q8'),
                             writable=True) as int8:
            unchanged('wte.weight is int8 with scales', self.model(), int8)
        unchanged('no parameter called wte.weight', torch.nn.Linear(3, 3))
        unchanged('several', torch.nn.ModuleList([self.model(), self.model()]))
        with gpt2client.open(file=self.pack) as plain:
            unchanged('writable=True', self.model(), plain)
        self.error(gpt2client.E_ARGUMENT, 'Module', self.store.attach, 'model')
        self.error(gpt2client.E_ARGUMENT, 'timeout', gpt2client.attach, self.model(), self.store,
                   timeout=3)

    @unittest.skipUnless(transformers, 'transformers is not installed; mini_gpt2.py stands in')
    def test_transformers(self):
        config = transformers.GPT2Config(vocab_size=VOCAB, n_positions=POSITIONS, n_embd=EMBD,
                                         n_layer=2, n_head=4)
        model = transformers.GPT2LMHeadModel(config).eval()
        self.assertEqual(sorted(self.store.attach(model)), sorted(self.NAMES))
        self.check_shared(model)
        self.assertIs(model.lm_head.weight, model.transformer.wte.weight)
        model.tie_weights()
        self.check_shared(model)


class Embeddings(TorchCase):
    def test_as_nn_embedding(self):
        ours = gpt2client.Embedding(self.store, positions=False).eval()
        theirs = torch.nn.Embedding.from_pretrained(self.wte)
        self.assertEqual((ours.num_embeddings, ours.embedding_dim),
                         (theirs.num_embeddings, theirs.embedding_dim))
        for shape in ((), (1,), (5,), (2, 3), (2, 3, 4), (0,), (2, 0), (0, 3)):
            for dtype in (torch.int32, torch.int64):
                ids = torch.randint(0, VOCAB, shape, dtype=dtype)
                self.same(ours(ids), theirs(ids))
        self.same(ours.weight, self.wte)
        with torch.inference_mode():
            self.assertTrue(ours(torch.tensor([1])).is_inference())

    def test_positions(self):
        layer = gpt2client.Embedding(self.store)
        for shape in ((5,), (2, 3), (2, 3, 4)):
            ids = torch.randint(0, VOCAB, shape)
            self.same(layer(ids), self.wte[ids] + self.wpe[:shape[-1]])
            self.same(layer(ids, past=7), self.wte[ids] + self.wpe[7:7 + shape[-1]])
            places = torch.randint(0, POSITIONS, shape)
            self.same(layer(ids, positions=places), self.wte[ids] + self.wpe[places])
            self.same(layer(ids, positions=places.reshape(-1)[:shape[-1]]),
                      self.wte[ids] + self.wpe[places.reshape(-1)[:shape[-1]]])

    def test_read_only_store(self):
        with gpt2client.open(file=self.pack) as store:
            layer = gpt2client.Embedding(store)
            self.same(layer(torch.tensor([[4]])), self.wte[4][None, None] + self.wpe[0])
            self.error(gpt2client.E_ARGUMENT, 'writable=True', lambda: layer.weight)
        self.error(gpt2client.E_ARGUMENT, 'closed', layer, torch.tensor([1]))

    def test_as_a_module(self):
        model = torch.nn.Sequential(gpt2client.Embedding(self.store), torch.nn.Linear(EMBD, 3))
        self.assertEqual(list(model.state_dict()), ['1.weight', '1.bias'])
        self.assertIn(f'{VOCAB}, {EMBD}, positions=True', repr(model))
        ids = torch.tensor([[1, 2]])
        for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
            self.same(again(ids), model(ids))
            self.assertIsInstance(again[0], gpt2client.Embedding)

    def test_converted(self):
        """As nn.Embedding is, with the model that it is a part of."""
        ids = torch.randint(0, VOCAB, (2, 3))
        for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.float32):
            model = torch.nn.Sequential(gpt2client.Embedding(self.store, positions=False),
                                        torch.nn.Linear(EMBD, 3)).to(dtype)
            theirs = torch.nn.Embedding.from_pretrained(self.wte).to(dtype)
            self.same(model[0](ids), theirs(ids))
            self.same(model[0](ids[:, :0]), theirs(ids[:, :0]))
            self.assertEqual(list(model.state_dict()), ['1.weight', '1.bias'])
            again = copy.deepcopy(model)
            self.same(again[0](ids), theirs(ids))
        self.assertEqual(gpt2client.Embedding(self.store).half()(ids).dtype, torch.float16)

    def test_wrong(self):
        layer = gpt2client.Embedding(self.store)
        bare = gpt2client.Embedding(self.store, positions=False)
        self.error(gpt2client.E_ID, 'id -1 of token 1', layer, torch.tensor([0, -1]), index=1)
        self.error(gpt2client.E_ARGUMENT, 'tensor', layer, [1])
        self.error(gpt2client.E_ARGUMENT, 'without positions', bare, torch.tensor([1]), past=1)
        self.error(gpt2client.E_POSITION, 'position 64 of token 64', layer,
                   torch.zeros(2, POSITIONS + 1, dtype=torch.int64), index=POSITIONS)
        self.error(gpt2client.E_ARGUMENT, 'Store', gpt2client.Embedding, 'gpt2')


if __name__ == '__main__':
    support.main()
