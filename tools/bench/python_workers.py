# SPDX-License-Identifier: MIT
"""8 workers at once that load GPT-2's tables in several ways, in turn; then embed() beside the C call.

Each worker imports what its way needs, waits until all have done so, loads, embeds 8 tokens and says how
long that took; when all have done that, reads every row of both tables; and waits while its memory is
measured.
"""
import argparse
import contextlib
import json
import mmap
import resource
import statistics
import struct
import sys
import time
from pathlib import Path

WORKERS = 8
VOCAB, POSITIONS, EMBD = 50257, 1024, 768
IDS = [[15496, 11, 995, 318, 257, 1332, 13, 198]]


def with_numpy(wte, wpe):
    return wte[IDS] + wpe[:len(IDS[0])]


def load_npy(where):
    import numpy
    wte, wpe = (numpy.load(where / f'{name}.npy') for name in ('wte', 'wpe'))
    return with_numpy(wte, wpe), (wte, wpe)


def load_npy_mapped(where):
    import numpy
    wte, wpe = (numpy.load(where / f'{name}.npy', mmap_mode='r') for name in ('wte', 'wpe'))
    return with_numpy(wte, wpe), (wte, wpe)


def load_safetensors(where):
    """As its library does: the header is read, the rest is mapped."""
    import numpy
    with open(where / 'tables.safetensors', 'rb') as file:
        data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    length, = struct.unpack_from('<Q', data)
    header = json.loads(data[8:8 + length])
    wte, wpe = (numpy.frombuffer(data, numpy.float32, entry['shape'][0] * EMBD,
                                 8 + length + entry['data_offsets'][0]).reshape(entry['shape'])
                for entry in (header['wte.weight'], header['wpe.weight']))
    return with_numpy(wte, wpe), (wte, wpe)


def load_torch(where):
    import torch
    state = torch.load(where / 'pytorch_model.bin')
    wte, wpe = state['wte.weight'], state['wpe.weight']
    ids = torch.tensor(IDS)
    return (wte[ids] + wpe[:ids.shape[1]]).numpy(), (wte, wpe)


def attach(where):
    import gpt2client
    store = gpt2client.open(socket=where / 'd.sock')
    out = store.embed(IDS)
    return out, (store.tensor('wte.weight'), store.tensor('wpe.weight'))


def attach_torch(where):
    import gpt2client
    import torch
    store = gpt2client.open(socket=where / 'd.sock', writable=True)
    out = store.embed(torch.tensor(IDS))
    return out.numpy(), (store.torch('wte.weight'), store.torch('wpe.weight'))


def nothing(_):
    import numpy
    return numpy.zeros((1, 8, EMBD), numpy.float32), (numpy.zeros((1, EMBD)),)


# name: (what it is called, modules, function)
WAYS = {
    'numpy': ('NumPy, nothing loaded', ['numpy'], nothing),
    'npy': ('np.load', ['numpy'], load_npy),
    'npy_mmap': ("np.load(mmap_mode='r')", ['numpy'], load_npy_mapped),
    'safetensors': ('mmap, as safetensors', ['numpy'], load_safetensors),
    'attach': ('gpt2client.open', ['numpy', 'gpt2client'], attach),
    'torch': ('PyTorch, nothing loaded', ['numpy', 'torch'], nothing),
    'torch_load': ('torch.load', ['numpy', 'torch'], load_torch),
    'attach_torch': ('gpt2client.open, tensors', ['numpy', 'torch', 'gpt2client'], attach_torch),
}


def worker(way, where):
    _, modules, load = WAYS[way]
    for module in modules:
        __import__(module)
    print(time.monotonic(), flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    out, tables = load(where)
    took = time.perf_counter() - start
    print(took, float(out[0, -1, 0]), flush=True)
    sys.stdin.readline()
    # an element of each cache line
    print(sum(float(table[:, ::16].sum()) for table in tables), flush=True)
    sys.stdin.readline()


def pss_bytes(pid):
    for line in Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines():
        if line.startswith('Pss:'):
            return int(line.split()[1]) * 1024
    raise SystemExit('this kernel tells no Pss')


def go_on(workers):
    """Lets all of them go on at once; what they answer when they are done."""
    for each in workers:
        each.process.stdin.write('\n')
        each.process.stdin.flush()
    return [each.line() for each in workers]


def run_workers(way, where, daemon):
    """(median ms from exec until all is imported, median and largest ms of loading, sum of Pss)"""
    from gpt2w_test import Helper
    with contextlib.ExitStack() as stack:
        start = time.monotonic()
        workers = [stack.enter_context(Helper(sys.executable, __file__, '--worker', way, '--work',
                                              where)) for _ in range(WORKERS)]
        imported = [float(each.line()) - start for each in workers]
        answers = [line.split() for line in go_on(workers)]
        go_on(workers)
        loads = [float(answer[0]) for answer in answers]
        pids = [each.process.pid for each in workers]
        total = sum(map(pss_bytes, pids + ([daemon.pid] if way.startswith('attach') else [])))
    values = {answer[1] for answer in answers}
    return (1e3 * statistics.median(imported), 1e3 * statistics.median(loads), 1e3 * max(loads),
            total), values


def make_files(where):
    import gpt2w_test as t
    import numpy
    import torch
    pack, tables = where / 'gpt2.gpt2w', where / 'tables.safetensors'
    t.make_pack(pack, VOCAB, POSITIONS, EMBD)
    arrays = {name: numpy.fromfile(tables, numpy.float32, n_bytes // 4, offset=offset).reshape(shape)
              for name, (_, shape, offset, n_bytes) in t.tables_of(pack, tables).items()}
    for name, array in arrays.items():
        numpy.save(where / f'{name.split(".")[0]}.npy', array)
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()},
               where / 'pytorch_model.bin')


def measure_workers(where, repetitions):
    """{way: {...}}, medians of as many rounds"""
    import gpt2w_test as t
    rounds = {way: [] for way in WAYS}
    values = set()
    # 4 KiB pages: all of them count in Pss, which those of hugetlb do not
    with t.start_daemon(where, '--store', where, '--pages', 'small') as daemon:
        for _ in range(repetitions):
            for way in WAYS:
                result, seen = run_workers(way, where, daemon)
                rounds[way].append(result)
                values |= set() if way in ('numpy', 'torch') else seen
    t.check_equal(len(values), 1, f'all ways give the same value: {values}')
    return {way: dict(zip(('import_ms', 'load_ms', 'slowest_ms', 'pss_bytes'),
                          map(statistics.median, zip(*found)))) for way, found in rounds.items()}


class Calls:
    """What is compared: the C function by ctypes, its arguments made before, and embed(). Fresh: each
    call gets memory of its own, from the same malloc(), and gives it back when its result is dropped."""

    def __init__(self, store, seq, random):
        import gpt2client
        import numpy
        import torch
        ids, self.shape = random.integers(0, VOCAB, (1, seq)), (1, seq, EMBD)
        self.narrow, self.numpy = ids.astype(numpy.int32), numpy
        self.out, self.error = numpy.empty(self.shape, numpy.float32), gpt2client._c_error()
        self.arguments = (store._handle.pointer, self.narrow.ctypes.data, 1, seq, 0)
        self.function = gpt2client._lib.gpt2c_embed
        tensor, address = torch.from_numpy(ids), self.out.ctypes.data
        self.all = {'C call, reused output': lambda: self.function(*self.arguments, address, self.error),
                    'embed(int32, out=)': lambda: store.embed(self.narrow, out=self.out),
                    'embed(int64, out=)': lambda: store.embed(ids, out=self.out),
                    'C call, fresh output': self.fresh,
                    'embed(int32)': lambda: store.embed(self.narrow),
                    'embed(int64)': lambda: store.embed(ids),
                    'embed(tensor)': lambda: store.embed(tensor)}

    def fresh(self):
        out = self.numpy.empty(self.shape, self.numpy.float32)
        self.function(*self.arguments, out.ctypes.data, self.error)


def measure_embed(where, repetitions):
    """{ids: {what: (median us, page faults per call)}}. In turn, and each time in another order: who comes
    after a call that has just given back its output finds that memory in the caches."""
    import gpt2client
    import numpy
    store = gpt2client.open(file=where / 'gpt2.gpt2w')
    random = numpy.random.default_rng(1)
    found = {}
    for seq in (1, 64, 1024):
        calls = list(Calls(store, seq, random).all.items())
        times, faults = ({name: [] for name, _ in calls} for _ in range(2))
        for _ in range(200 * repetitions):
            random.shuffle(calls)
            for name, call in calls:
                before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
                start = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - start)
                faults[name].append(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before)
        found[seq] = {name: (1e6 * statistics.median(all), statistics.mean(faults[name]))
                      for name, all in times.items()}
    return found


def print_workers(found):
    print(f'{WORKERS} workers at once, GPT-2\'s tables in f32 (157.5 MB); medians\n')
    print(f'{"":26} {"interpreter,":>12} {"then until the first":>21} {"sum of Pss,":>11} '
          f'{"per worker":>10}')
    print(f'{"":26} {"imports":>12} {"embedding (slowest)":>21} {"all rows read":>11} '
          f'{"for tables":>10}')
    for way, row in found.items():
        floor = found['torch' if 'torch' in WAYS[way][1] else 'numpy']['pss_bytes']
        load = f'{row["load_ms"]:.2f} ({row["slowest_ms"]:.2f}) ms'
        print(f'{WAYS[way][0]:26} {row["import_ms"]:9.0f} ms {load:>21} '
              f'{row["pss_bytes"] / 1e6:8.0f} MB {(row["pss_bytes"] - floor) / 8e6:7.1f} MB')
    print(f'\ntorch.load takes {found["torch_load"]["load_ms"] / found["attach_torch"]["load_ms"]:.0f} '
          'times as long as gpt2client.open, tensors')


def print_embed(found):
    print('\nus per call (medians), times the C call with the same kind of output, page faults per call')
    for seq, row in found.items():
        print(f'1 x {seq}')
        for name, (us, faults) in row.items():
            of = 'C call, reused output' if 'out' in name and 'fresh' not in name else \
                'C call, fresh output'
            print(f'    {name:22} {us:8.1f} {us / row[of][0]:6.2f} {faults:7.1f}')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--json', action='store_true')
    parser.add_argument('--repetitions', type=int, default=5)
    parser.add_argument('--worker', choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument('--work', type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.worker, arguments.work)
        return
    import gpt2w_test as t
    with t.folder() as where:
        make_files(where)
        found = {'workers': measure_workers(where, arguments.repetitions),
                 'embed': measure_embed(where, arguments.repetitions)}
    if arguments.json:
        print(json.dumps(found, indent=1))
    else:
        print_workers(found['workers'])
        print_embed(found['embed'])


if __name__ == '__main__':
    main()
