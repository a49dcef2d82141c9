# SPDX-License-Identifier: MIT
"""Lets bench-embed (C), PyTorch and NumPy take turns, and prints medians, ratios and targets.

Started by tools/bench/run, which has built the programs and started a daemon with models f32, f16, bf16
and q8.
"""
import argparse
import json
import os
import subprocess
import sys
import time

SHAPES = ['1x1', '1x64', '1x1024', '8x1024', '32x1024']
MODELS = ['f32', 'f16', 'bf16', 'q8']
PATIENCE_S = 120
# As bench-embed has it.
WARM_CALLS = 3

# What, the one figure, the other, and what their ratio is to be: at least (>) or at most (<). A figure is
# shape, ids, model, candidate.
ENCODER = [('1x1', 'uniform', 1.0), ('1x64', 'uniform', 1.5), ('1x1024', 'uniform', 1.5),
           ('8x1024', 'uniform', 1.85), ('32x1024', 'uniform', 1.85), ('1x1024', 'prose', 1.25),
           ('32x1024', 'prose', 2.0)]
PYTHON = {'torch-out': [('1x1', 12), ('1x1024', 1.8), ('32x1024', 2.4)],
          'torch': [('1x1', 20), ('32x1024', 15)],
          'numpy': [('1x1', 10), ('1x1024', 1.8), ('32x1024', 2.4)]}


def targets():
    """All of them: (sentence, numerator, denominator, relation, value)."""
    for shape, ids, least in ENCODER:
        yield (f'plain C loop / embed, {shape} {ids}', (shape, ids, 'f32', 'encoder'),
               (shape, ids, 'f32', 'embed'), '>', least)
    for name, cases in PYTHON.items():
        for shape, least in cases:
            yield (f'{name} / embed, {shape}', (shape, 'uniform', 'f32', name),
                   (shape, 'uniform', 'f32', 'embed'), '>', least)
    for shape in ('8x1024', '32x1024'):
        for ids, most in (('uniform', 1.30), ('prose', 1.0)):
            yield (f'embed / streaming copy, {shape} {ids}', (shape, ids, 'f32', 'embed'),
                   (shape, ids, 'f32', 'stream'), '<', most)
    yield ('embed / memcpy, 32x1024', ('32x1024', 'uniform', 'f32', 'embed'),
           ('32x1024', 'uniform', 'f32', 'memcpy'), '<', 1.0)
    for shape in ('1x1024', '8x1024', '32x1024'):
        yield (f'one thread / two, {shape}', (shape, 'uniform', 'f32', 'embed'),
               (shape, 'uniform', 'f32', 'embed-2'), '>', 1.5)
        yield (f'one thread / two with a reader, {shape}', (shape, 'uniform', 'f32', 'embed-read'),
               (shape, 'uniform', 'f32', 'embed-2-read'), '>', 1.0)
    for model, most in (('f16', 0.82), ('bf16', 0.82), ('q8', 0.68)):
        yield (f'{model} / f32, 1x1024', ('1x1024', 'uniform', model, 'embed'),
               ('1x1024', 'uniform', 'f32', 'embed'), '<', most)


class Served:
    """bench-embed, told line by line what to measure."""

    def __init__(self, arguments):
        self.process = subprocess.Popen(
            [f'{arguments.build}/tools/bench/bench-embed', arguments.socket, arguments.raw,
             arguments.prose], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def measure(self, figure, calls):
        shape, ids, model, candidate = figure
        batch, seq = shape.split('x')
        self.process.stdin.write(f'{candidate} {model} {batch} {seq} {ids} {calls}\n')
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise SystemExit('run: bench-embed ended')
        return None if answer == 'none' else float(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Python:
    """What PyTorch and NumPy do, with tables and outputs of their own."""

    def __init__(self, prose, numpy, torch):
        self.numpy, self.torch = numpy, torch
        random = numpy.random.default_rng(1)
        self.wte = random.standard_normal((50257, 768), dtype=numpy.float32)
        self.wpe = random.standard_normal((1024, 768), dtype=numpy.float32)
        self.pools = {'uniform': random.integers(0, 50257, 1 << 18)}
        if prose != '-':
            self.pools['prose'] = numpy.resize(numpy.fromfile(prose, '<i4').astype('i8'), 1 << 18)
        self.out = numpy.zeros((32 * 1024, 768), numpy.float32)
        self.at = 0
        if torch:
            torch.set_num_threads(1)
            torch.set_grad_enabled(False)
            self.t_wte, self.t_wpe = torch.from_numpy(self.wte), torch.from_numpy(self.wpe)
            self.t_out, self.t_positions = torch.from_numpy(self.out), torch.arange(1024)
            self.t_pools = {name: torch.from_numpy(pool) for name, pool in self.pools.items()}

    def names(self):
        return ['numpy'] + (['torch-out', 'torch'] if self.torch else [])

    def next(self, n, size):
        self.at = 0 if self.at + n > size else self.at
        self.at += n
        return slice(self.at - n, self.at)

    def run_numpy(self, ids, batch, seq):
        """NumPy's fastest: mode 'raise' would buffer out."""
        out = self.out[:batch * seq]
        self.numpy.take(self.wte, self.pools[ids][self.next(batch * seq, 1 << 18)], axis=0, out=out,
                        mode='clip')
        view = out.reshape(batch, seq, -1)
        view += self.wpe[:seq]

    def run_torch_out(self, ids, batch, seq):
        out = self.t_out[:batch * seq]
        self.torch.index_select(self.t_wte, 0, self.t_pools[ids][self.next(batch * seq, 1 << 18)],
                                out=out)
        out.view(batch, seq, -1).add_(self.t_wpe[:seq])

    def run_torch(self, ids, batch, seq):
        """As models write it: two embeddings and a sum, each a new tensor."""
        of = self.torch.nn.functional.embedding
        tokens = self.t_pools[ids][self.next(batch * seq, 1 << 18)].view(batch, seq)
        return of(tokens, self.t_wte) + of(self.t_positions[:seq], self.t_wpe)

    def measure(self, figure, calls):
        shape, ids, _, candidate = figure
        batch, seq = (int(n) for n in shape.split('x'))
        run = getattr(self, 'run_' + candidate.replace('-', '_'))
        for _ in range(WARM_CALLS):
            run(ids, batch, seq)
        start = time.perf_counter_ns()
        for _ in range(calls):
            run(ids, batch, seq)
        return (time.perf_counter_ns() - start) / calls


def python_side(prose):
    """PyTorch and NumPy as far as they are installed; None without either."""
    try:
        import numpy
    except ImportError:
        print('run: no NumPy and no PyTorch', file=sys.stderr)
        return None
    try:
        import torch
    except ImportError:
        print('run: no PyTorch', file=sys.stderr)
        torch = None
    return Python(prose, numpy, torch)


def wait_for_images(arguments):
    """Until the daemon serves all four and has put them on huge pages, as far as it can."""
    deadline, before = time.monotonic() + PATIENCE_S, None
    while time.monotonic() < deadline:
        time.sleep(2)
        done = subprocess.run([f'{arguments.build}/tools/gpt2ctl', '--socket', arguments.socket, 'list',
                               '--json'], capture_output=True, text=True, check=False)
        if done.returncode:
            continue
        listed = json.loads(done.stdout)
        if done.stdout == before and all(name in done.stdout for name in MODELS):
            return listed
        before = done.stdout
    raise SystemExit(f'run: the daemon was not ready in {PATIENCE_S} s')


def figures(arguments, python):
    """All figures that are measured, those compared with each other in one list."""
    id_kinds = ['uniform'] + (['prose'] if arguments.prose != '-' else [])
    for shape in arguments.shapes:
        for ids in id_kinds:
            group = [(shape, ids, 'f32', name) for name in
                     ('embed', 'encoder', 'encoder-mmap', 'stream', 'memcpy', 'embed-2', 'embed-read',
                      'embed-2-read', 'round-trip')]
            group += [(shape, ids, 'f32', name) for name in (python.names() if python else [])]
            group += [(shape, ids, model, 'embed') for model in MODELS[1:]]
            yield group
    yield [('1x1024', 'uniform', 'f32', name) for name in ('rows', 'rows-read', 'rows-prefetch-read')]
    yield [('1x1', 'uniform', 'f32', name) for name in ('hot-row', 'hot-embed')]


def calls_of(figure):
    batch, seq = (int(n) for n in figure[0].split('x'))
    return 20000 if figure[3].startswith('hot') else max(1, 4096 // (batch * seq))


def quantile(values, part):
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def measure_all(arguments, served, python):
    results = {}
    for group in figures(arguments, python):
        for _ in range(arguments.rounds):
            for figure in group:
                side = python if python and figure[3] in python.names() else served
                ns = side.measure(figure, calls_of(figure))
                if ns is not None:
                    results.setdefault(figure, []).append(ns)
        print_group(group, results)
    return results


def print_group(group, results):
    print(f'\n{group[0][0]} tokens, {group[0][1]} ids: ns a token, from the 10th to the 90th percentile, '
          f'of {group[0][2]} embed')
    base = quantile(results[group[0]], 0.5)
    for figure in group:
        values = results.get(figure)
        if not values:
            continue
        batch, seq = (int(n) for n in figure[0].split('x'))
        n = 1 if figure[3] == 'round-trip' else batch * seq
        median = quantile(values, 0.5)
        print(f'  {figure[3]:20}{figure[2]:6}{median / n:10.1f}   {quantile(values, 0.1) / n:9.1f} … '
              f'{quantile(values, 0.9) / n:<9.1f}{median / base:7.2f}')
    sys.stdout.flush()


def print_targets(results):
    medians = {figure: quantile(values, 0.5) for figure, values in results.items()}
    print('\nTargets')
    for text, top, bottom, relation, value in targets():
        if top not in medians or bottom not in medians:
            continue
        ratio = medians[top] / medians[bottom]
        reached = ratio >= value if relation == '>' else ratio <= value
        word = 'at least' if relation == '>' else 'at most'
        print(f'  {"reached" if reached else "MISSED":8} {text:46}{ratio:8.2f}   {word} {value}')
    rows = medians.get(('1x1024', 'uniform', 'f32', 'rows'))
    call = {name: medians.get(('1x1', 'uniform', 'f32', name)) for name in ('hot-row', 'hot-embed')}
    if rows:
        print(f'  {"reached" if rows / 1024 <= 5 else "MISSED":8} {"gpt2c_rows, ns an id":46}'
              f'{rows / 1024:8.2f}   at most 5')
    if all(call.values()):
        over = call['hot-embed'] - call['hot-row']
        print(f'  {"reached" if over <= 40 else "MISSED":8} {"gpt2c_embed above the bare row, ns":46}'
              f'{over:8.1f}   at most 40')


def write_tsv(path, results):
    with open(path, 'w', encoding='utf-8') as file:
        print('shape\tids\tmodel\tcandidate\tmedian_ns\tp10_ns\tp90_ns\trounds', file=file)
        for figure, values in results.items():
            numbers = '\t'.join(f'{quantile(values, part):.1f}' for part in (0.5, 0.1, 0.9))
            print('\t'.join(figure) + f'\t{numbers}\t{len(values)}', file=file)


def main():
    parser = argparse.ArgumentParser(prog='tools/bench/run')
    for name in ('build', 'socket', 'raw', 'prose', 'output'):
        parser.add_argument('--' + name, required=True, help=argparse.SUPPRESS if name != 'output' else
                            'file for all figures')
    parser.add_argument('--rounds', type=int, default=15, help='at least 11; default 15')
    parser.add_argument('--shapes', type=lambda text: text.split(','), default=SHAPES)
    arguments = parser.parse_args()
    if arguments.rounds < 11:
        parser.error('fewer than 11 rounds say nothing')
    for model in wait_for_images(arguments).get('models', []):
        print(f'{model.get("name")}: {model.get("huge_bytes")} of {model.get("image_bytes")} bytes on '
              'huge pages')
    print(f'{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}')
    served, python = Served(arguments), python_side(arguments.prose)
    results = measure_all(arguments, served, python)
    served.close()
    print_targets(results)
    write_tsv(arguments.output, results)


if __name__ == '__main__':
    main()
