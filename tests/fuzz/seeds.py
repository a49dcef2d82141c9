#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""seeds.py KIND FOLDER: writes small checkpoints of a kind (see main), or files of token ids.

Only the standard library: what other programs write is imitated here, and in tf_writer.py.
"""
import collections
import io
import json
import os
import pickle
import struct
import sys
import types
import zipfile
import zlib

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../unit/tools/pack'))
import tf_writer

WTE = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
WPE = [0.5, 0.25]


def f32(values):
    return struct.pack(f'<{len(values)}f', *values)


def safetensors(header, data=b''):
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(',', ':')).encode()
    return struct.pack('<Q', len(text)) + text + data


def entry(dtype, shape, begin, end):
    return {'dtype': dtype, 'shape': shape, 'data_offsets': [begin, end]}


def safetensors_seeds():
    yield 'both', safetensors({'__metadata__': {'format': 'pt'},
                               'transformer.wte.weight': entry('F32', [3, 2], 0, 24),
                               'transformer.wpe.weight': entry('F32', [1, 2], 24, 32)},
                              f32(WTE) + f32(WPE))
    yield 'half', safetensors({'wte.weight': entry('F16', [2, 2], 0, 8),
                               'wpe.weight': entry('BF16', [2, 2], 8, 16),
                               'h.0.attn.bias': entry('U8', [1, 1, 2, 2], 16, 20),
                               'empty': entry('I64', [0, 5], 20, 20),
                               'scalar': entry('F64', [], 20, 28)}, bytes(28))
    yield 'ambiguous', safetensors({'wte.weight': entry('F32', [3, 2], 0, 24),
                                    'model.wte.weight': entry('F32', [3, 2], 24, 48)}, f32(WTE) * 2)
    yield 'widths', safetensors({'wte.weight': entry('BF16', [3, 4], 0, 24),
                                 'wpe.weight': entry('F32', [3, 2], 24, 48)}, f32(WTE) * 2)
    yield 'ranks', safetensors({'wte.weight': entry('F32', [6], 0, 24),
                                'wpe.weight': entry('I32', [3, 2, 1], 24, 48)}, f32(WTE) * 2)
    yield 'none', safetensors(b'{}  ')
    yield 'large', safetensors({'wte.weight': entry('F32', [50257, 768], 0, 154389504),
                                'wpe.weight': entry('F32', [1024, 768], 154389504, 157535232)})
    yield 'escaped', safetensors(b'{"wte\\u002eweight":{"dtype":"F4","shape":[2,2],"data_offsets":[0,2]}}',
                                 b'ab')


def npy(descr, shape, data, order=False, version=1):
    text = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    head = 10 if version == 1 else 12
    text += b' ' * (-(head + len(text) + 1) % 64) + b'\n'
    size = struct.pack('<H' if version == 1 else '<I', len(text))
    return b'\x93NUMPY' + bytes([version, 0]) + size + text + data


def ids_seeds():
    for stream in (0, 0x40):
        name = 'stream-' if stream else ''

        def choose(ending, vocabulary=0, piece=3):
            return bytes([stream | vocabulary << 2 | ending, piece])
        yield name + 'text', choose(0) + b'15496, 11 995\n+0 00050256\t1\r\n'
        yield name + 'zeros', choose(0, 1) + b'0,' + b'0' * 40 + b' -0'
        yield name + 'long', choose(0, 3) + b'9' * 40
        yield name + 'bin', choose(1) + struct.pack('<3H', 0, 50256, 7)
        yield name + 'i32', choose(2, 2) + struct.pack('<3i', 0, 65535, 7)
        yield name + 'llmc', choose(1) + struct.pack('<256i', 20240520, 1, 3, *[0] * 253) + struct.pack('<3H', 1, 2, 3)
        yield name + 'npy', choose(3) + npy('<i4', '(3,)', struct.pack('<3i', 1, 2, 3))
        yield name + 'npy-fortran', choose(3) + npy('>i8', '(2, 3)', struct.pack('>6q', *range(6)), True, 2)
        yield name + 'npy-column', choose(0) + npy('<i8', '(2, 1)', struct.pack('<2q', 9, 8), False, 3)


def npz(arrays, compression):
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', compression) as archive:
        for name, array in arrays.items():
            archive.writestr(zipfile.ZipInfo(name + '.npy'), array, compression)
    return out.getvalue()


def gguf_string(text):
    return struct.pack('<Q', len(text)) + text.encode()


def gguf(tensors, align=32, version=3):
    """tensors: name, dimensions innermost first, type, data."""
    out = b'GGUF' + struct.pack('<IQQ', version, len(tensors), 4)
    out += gguf_string('general.architecture') + struct.pack('<I', 8) + gguf_string('gpt2')
    out += gguf_string('general.alignment') + struct.pack('<II', 4, align)
    out += gguf_string('gpt2.block_count') + struct.pack('<II', 4, 1)
    out += gguf_string('tokenizer.ggml.tokens') + struct.pack('<IIQ', 9, 8, 2) + gguf_string('a') + gguf_string('b')
    data = b''
    for name, dimensions, kind, values in tensors:
        out += gguf_string(name) + struct.pack('<I', len(dimensions))
        out += struct.pack(f'<{len(dimensions)}Q', *dimensions) + struct.pack('<IQ', kind, len(data))
        data += values + bytes(-len(values) % align)
    return out + bytes(-len(out) % align) + data


class FakeTensor:
    """Pickles like a torch.Tensor."""

    def __init__(self, storage, offset, shape, stride):
        self.arguments = storage, offset, shape, stride, False, {}

    def __reduce__(self):
        return sys.modules['torch._utils']._rebuild_tensor_v2, self.arguments


class FakeStorage:
    def __init__(self, key, n):
        self.key, self.n = key, n


def fake_torch():
    torch, utils = types.ModuleType('torch'), types.ModuleType('torch._utils')

    def _rebuild_tensor_v2():
        pass
    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = 'torch._utils', '_rebuild_tensor_v2'
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    torch._utils, torch.FloatStorage = utils, type('FloatStorage', (), {'__module__': 'torch'})
    sys.modules.update({'torch': torch, 'torch._utils': utils})
    return torch


class TorchPickler(pickle._Pickler):
    def persistent_id(self, value):
        if not isinstance(value, FakeStorage):
            return None
        return 'storage', sys.modules['torch'].FloatStorage, value.key, 'cpu', value.n


def torch_values(wrap):
    fake_torch()
    values = collections.OrderedDict({
        'transformer.wte.weight': FakeTensor(FakeStorage('0', 6), 0, (3, 2), (2, 1)),
        'transformer.wpe.weight': FakeTensor(FakeStorage('1', 2), 0, (1, 2), (2, 1)),
        'wte.weight': FakeTensor(FakeStorage('0', 6), 0, (2, 3), (1, 2)),
        'repeated': FakeTensor(FakeStorage('0', 6), 5, (3, 2), (0, 0))} if wrap else {
        'transformer.wte.weight': FakeTensor(FakeStorage('0', 6), 0, (2, 3), (1, 2)),
        'transformer.wpe.weight': FakeTensor(FakeStorage('1', 2), 1, (4, 3), (0, 0))})
    return {'model': values, 'model_args': {'n_layer': 2, 'n_head': 1}, 'iter_num': 5} if wrap else values


def torch_pickle(value, protocol=2):
    text = io.BytesIO()
    TorchPickler(text, protocol).dump(value)
    return text.getvalue()


def torch_zip(compression=zipfile.ZIP_STORED, wrap=False):
    text = torch_pickle(torch_values(wrap), 4 if wrap else 2)
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', compression) as archive:
        for name, data in (('data.pkl', text), ('byteorder', b'little'), ('data/0', f32(WTE)),
                           ('data/1', f32(WPE)), ('version', b'3\n')):
            archive.writestr(zipfile.ZipInfo('archive/' + name), data, compression)
    return out.getvalue()


def torch_legacy_seeds():
    for name, wrap in (('torch-legacy', False), ('torch-legacy-wrapped', True)):
        machine = {'protocol_version': 1001, 'little_endian': True, 'type_sizes': {'short': 2, 'int': 4, 'long': 8}}
        values = 0x1950a86a20f9469cfc6c, 1001, machine, torch_values(wrap), ['0', '1']
        yield name, (b''.join(map(torch_pickle, values)) + struct.pack('<Q', 6) + f32(WTE) +
                     struct.pack('<Q', 2) + f32(WPE))


def llmc(version=3, width=4):
    header = [20240326, version, 1, 3, 1, 1, 2, 3] + [0] * 248
    n = 3 * 2 + 1 * 2 + 12 * 2 * 2 + 13 * 2 + 4
    return struct.pack('<256i', *header) + bytes(width * n)


def tf(tensors, hparams=b'', state=b'', shards=1, compression=0, per_block=1000, more=()):
    """What fuzz_tf.c takes apart: lengths, index, hparams.json, checkpoint, values. Every data file has the
    same values. tensors: name, type, dimensions, data; more: raw entries of the index."""
    entries, values = [(b'', tf_writer.header(shards))], b''
    for name, kind, dims, data in tensors:
        entries += [(name.encode() + (b'-%d' % shard if shard else b''),
                     tf_writer.entry(kind, dims, len(values), len(data), tf_writer.crc32c(data), shard))
                    for shard in range(shards)]
        values += data
    index = tf_writer.table(sorted([*entries, *more]), compression=compression, per_block=per_block)
    return struct.pack('<3H', len(index), len(hparams), len(state)) + index + hparams + state + values


TF_TABLES = (('model/wpe', tf_writer.FLOAT, [1, 2], f32(WPE)), ('model/wte', tf_writer.FLOAT, [3, 2], f32(WTE)))


def tf_seeds():
    half = (('model/h0/attn/w', tf_writer.HALF, [1] * 6 + [2, 2], bytes(8)),
            ('model/step', tf_writer.INT64, [], bytes(8)),
            ('model/text', tf_writer.STRING, [1], b'\1a\0\0\0\0'),
            ('model/wte', tf_writer.BFLOAT16, [2, 2], bytes(8)))
    yield 'tables', tf(TF_TABLES)
    yield 'types', tf(half)
    yield 'snappy', tf(TF_TABLES, compression=1)
    yield 'blocks', tf((*half[:3], *TF_TABLES), per_block=2)
    yield 'shards', tf(TF_TABLES, shards=2)
    yield 'folder', tf(TF_TABLES, b'{"n_vocab": 3, "n_ctx": 1, "n_embd": 2, "n_head": 1, "n_layer": 2}',
                       b'model_checkpoint_path: "in"\nall_model_checkpoint_paths: "in"\n')
    yield 'slice', tf(TF_TABLES, more=[(b'\0model/wte', tf_writer.entry(1, [3, 2], 0, 24, 0)),
                                       (b'model/wtx', tf_writer.entry(1, [3, 2], 0, 0, 0, more=tf_writer.text(7, b'')))])


def npy_seeds():
    wte = npy('<f4', '(3, 2)', f32(WTE))
    yield 'npy', wte
    yield 'npy-fortran', npy('>f4', '(3, 2)', f32(WTE), True)
    yield 'npy-ranks', npy('<f2', '(2, 3, 1, 2)', bytes(24), True, 2)
    yield 'npy-scalar', npy('|u1', '()', b'1', False, 3)


def npz_seeds():
    wte, wpe = npy('<f4', '(3, 2)', f32(WTE)), npy('<f4', '(1, 2)', f32(WPE))
    turned = npy('>f8', '(3, 2)', struct.pack('>6d', *WTE), True)
    yield 'npz', npz({'wte': wte, 'wpe': wpe}, zipfile.ZIP_STORED)
    yield 'npz-deflated', npz({'wte': wte, 'wpe': wpe}, zipfile.ZIP_DEFLATED)
    yield 'npz-fortran', npz({'wte': turned, 'wpe': wpe}, zipfile.ZIP_DEFLATED)


def torch_zip_seeds():
    yield 'torch', torch_zip()
    yield 'torch-wrapped', torch_zip(wrap=True)
    yield 'torch-deflated', torch_zip(zipfile.ZIP_DEFLATED)


def gguf_seeds():
    yield 'gguf', gguf([('token_embd.weight', [2, 3], 0, f32(WTE)), ('position_embd.weight', [2, 1], 0, f32(WPE))])
    yield 'gguf-q8', gguf([('token_embd.weight', [32, 3], 8, bytes(range(34)) * 3),
                           ('position_embd.weight', [32, 1], 1, bytes(64))])
    for number, size in ((2, 18), (3, 20), (6, 22), (7, 24)):
        yield f'gguf-type-{number}', gguf([('token_embd.weight', [32, 2], number, bytes(range(size)) * 2)])
    for number, size in ((10, 84), (11, 110), (12, 144), (13, 176), (14, 210)):
        yield f'gguf-type-{number}', gguf([('token_embd.weight', [256, 2], number, bytes(range(size)) * 2)])


def llmc_seeds():
    yield 'llmc', llmc()
    yield 'llmc-half', llmc(5, 2)


def source_seeds():
    for name, data in safetensors_seeds():
        yield 'safetensors-' + name, data
    yield 'index', json.dumps({'metadata': {'total_size': 16}, 'weight_map': {
        'wte.weight': 'model-00001-of-00001.safetensors'}}).encode()
    for seeds in npy_seeds, npz_seeds, torch_zip_seeds, torch_legacy_seeds, gguf_seeds, llmc_seeds:
        yield from seeds()
    yield 'tf-index', tf(TF_TABLES)[6:-32]
    yield 'compressed', b'\x1f\x8b\x08' + zlib.compress(b'weights')
    yield 'pointer', b'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n'
    yield 'page', b'<!DOCTYPE html><html>404</html>'
    yield 'pack', b'\x89GPT2W\r\n' + bytes(64)
    yield 'hdf5', b'\x89HDF\r\n\x1a\n' + bytes(64)
    yield 'empty', b''


def main():
    seeds = {'safetensors': safetensors_seeds, 'ids': ids_seeds, 'source': source_seeds,
             'torch_zip': torch_zip_seeds, 'torch_legacy': torch_legacy_seeds, 'npz': npz_seeds,
             'npy': npy_seeds, 'gguf': gguf_seeds, 'llmc': llmc_seeds, 'tf': tf_seeds}
    _, what, folder = sys.argv
    os.makedirs(folder, exist_ok=True)
    for name, data in seeds[what]():
        with open(os.path.join(folder, name), 'wb') as out:
            out.write(data)


main()
