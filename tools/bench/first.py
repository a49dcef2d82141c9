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
# What, how the file is in the page cache, tokens, and what attached / mapped is to be at most.
CASES = [('first row', 'whole', 1, 1.05),
         ('first 1x1024 pass', 'whole', 1024, 0.6),
         ('first 1x1024 pass, file in small pages', 'small', 1024, 0.6),
         ('first row, file not in memory', 'none', 1, 0.25),
         ('first 1x1024 pass, file not in memory', 'none', 1024, None)]
SMALL_PAGE_BYTES = 4096


def offsets(path):
    """Where the data of wte and wpe begin, and wte's shape."""
    with open(path, 'rb') as file:
        n = struct.unpack('<Q', file.read(8))[0]
        header = json.loads(file.read(n))
    return ([8 + n + header[f'{name}.weight']['data_offsets'][0] for name in ('wte', 'wpe')] +
            header['wte.weight']['shape'])


def write_in_small_pages(path, to):
    """A copy that has a page of the page cache for every 4 KiB, as Linux before 6.16 has them on ext4. Newer
    ones keep what is written or read at once together, and map all of it at the first touch."""
    with open(path, 'rb') as file, open(to, 'wb', buffering=0) as copy:
        while piece := file.read(SMALL_PAGE_BYTES):
            copy.write(piece)
    os.sync()


def forget(path):
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def run(command, library):
    """Milliseconds from before its exec until it has ended, page faults, and what it printed.

    An installed library is found at once, in the linker's cache; preloading by path is as quick, and leaves
    out the search of a build's folders, which is the build's and not the library's."""
    env = {**os.environ, **({'LD_PRELOAD': library} if library else {})}
    read, write = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, write, 1), (os.POSIX_SPAWN_CLOSE, read)]
    start = time.monotonic_ns()
    pid = os.posix_spawn(command[0], command, env, file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    ms = (time.monotonic_ns() - start) / 1e6
    os.close(write)
    said = os.read(read, 4096)
    os.close(read)
    if status:
        raise SystemExit(f'{command[0]} ended with status {status}')
    return ms, usage.ru_minflt + usage.ru_majflt, said


def measure(attach, mapped, library, paths, rounds):
    for what, cached, n, most in CASES:
        times, faults, path = {'attached': [], 'mapped': []}, {}, paths[cached]
        for i in range(rounds):
            said = {}
            runs = [('attached', attach + [str(n)], library),
                    ('mapped', [mapped[0], path, *mapped[1:], str(n)], None)]
            for name, command, preloaded in runs[::1 if i % 2 else -1]:
                if cached == 'none':
                    forget(path)
                ms, faults[name], said[name] = run(command, preloaded)
                times[name].append(ms)
            if said['attached'] != said['mapped']:
                raise SystemExit(f'{what}: {said}')
        middle = {name: statistics.median(values) for name, values in times.items()}
        ratio = middle['attached'] / middle['mapped']
        verdict = '' if most is None else f'at most {most}  ' + ('met' if ratio <= most else 'MISSED')
        print(f'{what:39} attached {middle["attached"]:7.2f} ms, {faults["attached"]:4} faults; mapped '
              f'{middle["mapped"]:7.2f} ms, {faults["mapped"]:4} faults; ratio {ratio:.2f}  {verdict}')


def at_ordinary_priority():
    """gpt2d as it runs everywhere, even if this benchmark runs at real-time priority."""
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--build', required=True)
    parser.add_argument('--rounds', type=int, default=21)
    arguments = parser.parse_args()
    build = Path(arguments.build).resolve()
    with tempfile.TemporaryDirectory(prefix='gpt2f.') as folder:
        pack, raw, small, socket = (f'{folder}/{name}' for name in
                                    ('m.gpt2w', 'm.safetensors', 'small.safetensors', 's'))
        converter = build / 'tools/pack/gpt2-pack'
        subprocess.run([converter, 'init', '-q', '-o', pack], check=True)
        subprocess.run([converter, 'unpack', '-q', pack, '-o', raw], check=True)
        write_in_small_pages(raw, small)
        with open(f'{folder}/log', 'wb') as log:
            daemon = subprocess.Popen([build / 'daemon/gpt2d', '--config', '/dev/null', '--socket', socket,
                                       '--model', f'm={pack}'], stderr=log,
                                      preexec_fn=at_ordinary_priority)
        try:
            end = time.monotonic() + PATIENCE_S
            while b'serving generation' not in Path(f'{folder}/log').read_bytes():
                if daemon.poll() is not None or time.monotonic() > end:
                    raise SystemExit(Path(f'{folder}/log').read_text())
                time.sleep(0.05)
            time.sleep(1)  # 2 MiB pages are asked for after READY
            print(Path(f'{folder}/log').read_text().splitlines()[-1])
            measure([str(build / 'tools/bench/bench-first-attach'), socket],
                    [str(build / 'tools/bench/bench-first-map'), *map(str, offsets(raw))],
                    str(build / 'client/libgpt2client.so.0'),
                    {'whole': raw, 'small': small, 'none': raw}, arguments.rounds)
        finally:
            daemon.terminate()
            daemon.wait()


if __name__ == '__main__':
    main()
