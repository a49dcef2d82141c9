# SPDX-License-Identifier: MIT
"""Runs bench-first-attach and bench-first-map in turn. Started by tools/bench/first, which has built them."""
import argparse
import json
import os
import statistics
import struct
import subprocess
import tempfile
import time
from pathlib import Path

PATIENCE_S = 60
# What, whether the file is in the page cache, tokens, and what attached / mapped is to be at most.
CASES = [('first row', True, 1, 1.05), ('first row, file not in memory', False, 1, 0.25),
         ('first 1x1024 pass', True, 1024, 0.6), ('first 1x1024 pass, file not in memory', False, 1024, None)]


def offsets(path):
    """Where the data of wte and wpe begin, and wte's shape."""
    with open(path, 'rb') as file:
        n = struct.unpack('<Q', file.read(8))[0]
        header = json.loads(file.read(n))
    return ([8 + n + header[f'{name}.weight']['data_offsets'][0] for name in ('wte', 'wpe')] +
            header['wte.weight']['shape'])


def forget(path):
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def run(command):
    """Milliseconds from before its exec until it has ended, page faults, and what it printed."""
    read, write = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, write, 1), (os.POSIX_SPAWN_CLOSE, read)]
    start = time.monotonic_ns()
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    ms = (time.monotonic_ns() - start) / 1e6
    os.close(write)
    said = os.read(read, 4096)
    os.close(read)
    if status:
        raise SystemExit(f'{command[0]} ended with status {status}')
    return ms, usage.ru_minflt + usage.ru_majflt, said


def measure(attach, mapped, path, rounds):
    for what, cached, n, most in CASES:
        times, faults = {'attached': [], 'mapped': []}, {}
        for _ in range(rounds):
            said = {}
            for name, command in (('attached', attach + [str(n)]), ('mapped', mapped + [str(n)])):
                if not cached:
                    forget(path)
                ms, faults[name], said[name] = run(command)
                times[name].append(ms)
            if said['attached'] != said['mapped']:
                raise SystemExit(f'{what}: {said}')
            if cached:
                Path(path).read_bytes()
        middle = {name: statistics.median(values) for name, values in times.items()}
        ratio = middle['attached'] / middle['mapped']
        verdict = '' if most is None else f'at most {most}  ' + ('met' if ratio <= most else 'MISSED')
        print(f'{what:38} attached {middle["attached"]:7.2f} ms, {faults["attached"]:4} faults; mapped '
              f'{middle["mapped"]:7.2f} ms, {faults["mapped"]:4} faults; ratio {ratio:.2f}  {verdict}')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--build', required=True)
    parser.add_argument('--rounds', type=int, default=21)
    arguments = parser.parse_args()
    build = Path(arguments.build).resolve()
    with tempfile.TemporaryDirectory(prefix='gpt2f.') as folder:
        pack, raw, socket = f'{folder}/m.gpt2w', f'{folder}/m.safetensors', f'{folder}/s'
        converter = build / 'tools/pack/gpt2-pack'
        subprocess.run([converter, 'init', '-q', '-o', pack], check=True)
        subprocess.run([converter, 'unpack', '-q', pack, '-o', raw], check=True)
        os.sync()
        with open(f'{folder}/log', 'wb') as log:
            daemon = subprocess.Popen([build / 'daemon/gpt2d', '--config', '/dev/null', '--socket', socket,
                                       '--model', f'm={pack}'], stderr=log)
        try:
            end = time.monotonic() + PATIENCE_S
            while b'serving generation' not in Path(f'{folder}/log').read_bytes():
                if daemon.poll() is not None or time.monotonic() > end:
                    raise SystemExit(Path(f'{folder}/log').read_text())
                time.sleep(0.05)
            time.sleep(1)  # 2 MiB pages are asked for after READY
            print(Path(f'{folder}/log').read_text().splitlines()[-1])
            measure([str(build / 'tools/bench/bench-first-attach'), socket],
                    [str(build / 'tools/bench/bench-first-map'), raw, *map(str, offsets(raw))],
                    raw, arguments.rounds)
        finally:
            daemon.terminate()
            daemon.wait()


if __name__ == '__main__':
    main()
