#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""gpt2-pack, with each of its calls made to fail: an exit code that is documented, a message, and either
all of the output or none (faults 9 and 11). GPT2W_LONG=1: every call with every error; else a sample."""
import contextlib
import errno
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from injection import END, Injection, sweep, t  # noqa: E402

OLD = b'what was there before'
# name: (arguments, output or None); with --force something is there before
SCENARIOS = {
    'pack': (('pack', 'in.safetensors', '-o', 'out.gpt2w'), 'out.gpt2w'),
    'pack --zstd': (('pack', 'in.safetensors', '--zstd', '--force', '-o', 'out.gpt2w'), 'out.gpt2w'),
    'init': (('init', '--vocab', '64', '--positions', '8', '--embd', '64', '--seed', '1', '--force',
              '-o', 'out.gpt2w'), 'out.gpt2w'),
    'init --zstd': (('init', '--vocab', '64', '--positions', '8', '--embd', '64', '--zstd',
                     '-o', 'out.gpt2w'), 'out.gpt2w'),
    'verify': (('verify', 'in.gpt2w', 'in.zstd.gpt2w'), None),
    'unpack': (('unpack', 'in.gpt2w', '-o', 'out.safetensors'), 'out.safetensors'),
    'unpack of zstd': (('unpack', 'in.zstd.gpt2w', '--force', '-o', 'out.safetensors'),
                       'out.safetensors'),
}


class Scenario:
    def __init__(self, inputs, name):
        self.inputs, self.name = inputs, name
        self.arguments, self.output = SCENARIOS[name]
        with t.folder() as where:
            injection, done = self.start(where, 'count', 0, 0)
            t.check_equal(done.returncode, 0, done.stderr)
            self.calls = injection.calls()
            self.stdout = done.stdout
            self.good = (where / self.output).read_bytes() if self.output else None

    def start(self, where, mode, call, variant):
        for path in self.inputs.iterdir():
            (where / path.name).symlink_to(path)
        if '--force' in self.arguments:
            (where / self.output).write_bytes(OLD)
        injection = Injection(where / 'report', mode, call, variant)
        done = subprocess.run([t.program('GPT2_PACK_INJECT'), *self.arguments], cwd=where,
                              env={**injection.env(), 'TMPDIR': str(where)}, capture_output=True,
                              text=True, timeout=t.PATIENCE_S, check=False)
        injection.finish()
        return injection, done

    def run_one(self, mode, call, variant):
        with t.folder() as where:
            injection, done = self.start(where, mode, call, variant)
            try:
                self.judge(where, injection, done)
            except AssertionError as error:
                raise AssertionError(f'{injection}: {error}\n    exit {done.returncode}: '
                                     f'{done.stderr[-3000:]}') from error
            return injection

    def judge(self, where, injection, done):
        t.check('Sanitizer' not in done.stderr and 'runtime error' not in done.stderr, 'a sanitizer')
        self.judge_code(injection, done)
        if self.output:
            self.judge_output(where, injection, done)
        elif done.returncode == 0:
            t.check_equal(done.stdout, self.stdout, 'standard output')

    def judge_code(self, injection, done):
        # wrong usage is no consequence of a failure; a bad or a shorter file only if that was brought about
        ends = injection.error() == END or (injection.mode == 'from' and injection.variant % 2)
        allowed = (0, 1, 3, 4, 5) if ends else (0, 1, 4)
        t.check(done.returncode in allowed, 'a wrong exit code')
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith('gpt2-pack: ')]
            t.check(lines, 'no message')
            t.check(any(word in line for line in lines for word in (
                'in.', 'out.', 'temporary', 'memory', 'director', 'standard output', 'random',
                'thread')), 'nothing is named')
            t.check('Success' not in done.stderr, 'the reason is lost')

    def judge_output(self, where, injection, done):
        there = sorted(path.name for path in where.iterdir() if not path.is_symlink())
        out = where / self.output
        if injection.failed() and injection.failed()[0].startswith('unlink'):
            there = [name for name in there if not name.endswith('.tmp')]  # recognisable
        t.check(there in ([], [self.output]), 'left behind:', there)
        if done.returncode == 0:
            t.check(out.read_bytes() == self.good, 'exit 0, and another output')
            return
        before = OLD if '--force' in self.arguments else None
        now = out.read_bytes() if out.exists() else None
        # once it has its name nothing takes it away again; only its directory may not be on the disk
        late = 'cannot sync the directory' in done.stderr or 'standard output' in done.stderr
        t.check(now == before or (late and now == self.good), 'the output was touched')


@contextlib.contextmanager
def inputs():
    with t.folder() as where:
        folder = where / 'inputs'
        folder.mkdir()
        small = ('--vocab', 64, '--positions', 8, '--embd', 64, '--seed', 3)
        pack = t.program('GPT2_PACK')
        t.run(pack, 'init', '-q', '-o', folder / 'in.gpt2w', *small)
        t.run(pack, 'init', '-q', '--zstd', '-o', folder / 'in.zstd.gpt2w', *small)
        t.run(pack, 'unpack', '-q', folder / 'in.gpt2w', '-o', folder / 'in.safetensors')
        yield folder


def swept(name):
    with inputs() as folder:
        scenario = Scenario(folder, name)
        sweep(f'gpt2-pack {name}', scenario.calls, scenario.run_one, samples=12)


def test_pack():
    swept('pack')


def test_pack_zstd():
    swept('pack --zstd')


def test_init():
    swept('init')


def test_init_zstd():
    swept('init --zstd')


def test_verify():
    swept('verify')


def test_unpack():
    swept('unpack')


def test_unpack_zstd():
    swept('unpack of zstd')


def test_disk_full_is_said():
    """That errors are brought about, and that one has its words."""
    with inputs() as folder:
        scenario = Scenario(folder, 'pack')
        for call in range(1, scenario.calls + 1):
            for variant in range(8):
                with t.folder() as place:
                    injection, done = scenario.start(place, 'once', call, variant)
                    if injection.failed() == ('pwrite', errno.ENOSPC):
                        t.check_equal(done.returncode, 4)
                        t.check('No space left' in done.stderr, done.stderr)
                        return
                    if injection.failed()[0] != 'pwrite':
                        break
        raise AssertionError('no pwrite')


if __name__ == '__main__':
    t.main()
