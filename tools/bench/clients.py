# SPDX-License-Identifier: MIT
"""Starts gpt2d, a minimal daemon and their clients, and lets them take turns.

Started by tools/bench/clients, which has built the programs.
"""
import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Ids that no user has on an ordinary system.
DAEMON_UID, CLIENT_UID, NEIGHBOUR_UID = 61234, 61235, 61236
IDLE = 10000
IDLE_FDS = 20000
PATIENCE_S = 30
FLOODS = ['never-read', 'garbage', 'descriptors', 'loris', 'questions']
# A connect storm is measured by itself: these connect less often.
PAUSES_US = {'garbage': 100, 'loris': 500}
GENERATIONS = 10
# What thousands of connections may take of the daemon's heap, and what may stay of it.
MOST_KB, LEFT_KB = 16384, 4096


def median(values):
    return statistics.median(values)


def as_user(uid, n_fds=IDLE_FDS):
    """What a child does before its exec: another user with as many descriptors, where we may."""
    def prepare():
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if os.geteuid() == 0:
            resource.setrlimit(resource.RLIMIT_NOFILE, (n_fds, n_fds))
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        else:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(n_fds, most),) * 2)
    return prepare


class Daemon:
    def __init__(self, name, path, command, log):
        self.name, self.path, self.log = name, path, log
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                        stderr=log, preexec_fn=as_user(DAEMON_UID))

    def status(self, key):
        for line in Path(f'/proc/{self.process.pid}/status').read_text().splitlines():
            if line.startswith(key + ':'):
                return int(line.split()[1])
        raise SystemExit(f'no {key} in /proc/PID/status')

    def rss_kb(self):
        """Without what it shares with others: images are not in it."""
        return self.status('RssAnon')

    def fds(self):
        return len(os.listdir(f'/proc/{self.process.pid}/fd'))

    def end(self):
        self.process.terminate()
        self.process.wait(PATIENCE_S)


class Client:
    """bench-clients, told line by line."""

    def __init__(self, bench, daemon, uid):
        self.process = subprocess.Popen([str(bench.where / 'bench-clients'), str(daemon.path)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        preexec_fn=as_user(uid))

    def tell(self, line):
        self.process.stdin.write(line + '\n')
        self.process.stdin.flush()

    def hear(self):
        answer = self.process.stdout.readline().split()
        if not answer:
            raise SystemExit('clients: bench-clients has ended')
        return [int(word) for word in answer]

    def ask(self, line):
        self.tell(line)
        return self.hear()

    def attach(self, n, pause_us):
        """p50 and p99 in microseconds."""
        p50, p99, _, failed = self.ask(f'attach {n} {pause_us}')
        if failed:
            raise SystemExit(f'clients: {failed} of {n} hellos failed')
        return p50 / 1e3, p99 / 1e3

    def end(self):
        self.process.stdin.close()
        self.process.wait(PATIENCE_S)


class Bench:
    def __init__(self, arguments, where):
        self.arguments, self.where = arguments, where
        self.rows, self.started = [], []
        self.rounds = 3 if arguments.quick else 9
        where.chmod(0o755)
        for program in ('tools/bench/bench-clients', 'tools/bench/bench-clients-minimal',
                        'daemon/gpt2d'):
            shutil.copy(Path(arguments.build) / program, where)
        (where / 'sockets').mkdir()
        (where / 'store').mkdir()
        if os.geteuid() == 0:
            os.chown(where / 'sockets', DAEMON_UID, DAEMON_UID)
        self.pack(where / 'store' / 'm.gpt2w', 1)

    def pack(self, path, seed):
        subprocess.run([f'{self.arguments.build}/tools/pack/gpt2-pack', 'init', '-q', '--force',
                        '-o', str(path), '--vocab', '1000', '--positions', '64', '--embd', '64',
                        '--seed', str(seed)], check=True)

    def add(self, name, value, unit, most=None, least=None):
        """A figure, with what was asked of it."""
        met = '' if most is None and least is None else \
            'met' if (value <= most if most is not None else value >= least) else 'MISSED'
        asked = '' if not met else f'at most {most}' if most is not None else f'at least {least}'
        self.rows.append((name, value, unit, asked, met))
        print(f'  {name:58} {value:12,.2f} {unit:4} {asked:14} {met}', flush=True)

    def daemon(self, name, *options):
        path = self.where / 'sockets' / name
        path.unlink(missing_ok=True)  # of a minimal daemon before
        if name == 'minimal':
            command = [self.where / 'bench-clients-minimal', path]
        else:
            command = [self.where / 'gpt2d', '--socket', path, '--socket-mode', '0666', '--store',
                       self.where / 'store', *self.arguments.gpt2d.split(), *options]
        with open(self.where / f'{name}.log', 'wb') as log:
            daemon = Daemon(name, path, command, log)
        self.started.append(daemon)
        probe = self.client(daemon)
        deadline = time.monotonic() + PATIENCE_S
        while probe.ask('attach 1 0')[3]:
            if daemon.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f'clients: {name} does not serve\n'
                                 + (self.where / f'{name}.log').read_text())
            time.sleep(0.01)
        return daemon

    def client(self, daemon, uid=CLIENT_UID):
        client = Client(self, daemon, uid)
        self.started.append(client)
        return client

    def end_all(self):
        while self.started:
            self.started.pop().end()

    def kill_all(self):
        for started in self.started:
            if started.process.poll() is None:
                started.process.kill()
                started.process.wait()


def idle(bench):
    """Two daemons; 10,000 clients are connected to the one and attached."""
    print(f'attach with {IDLE:,} clients connected, and with none')
    options = ('--max-connections-per-user', IDLE + 1000)
    quiet, full = bench.daemon('quiet', *options), bench.daemon('full', *options)
    holder = bench.client(full, NEIGHBOUR_UID)
    clients = {daemon.name: bench.client(daemon) for daemon in (quiet, full)}
    before = full.rss_kb()
    held, = holder.ask(f'hold {IDLE}')
    bench.add('clients connected at once', held, '', least=IDLE)
    bench.add('memory of the daemon for each', (full.rss_kb() - before) * 1024 / max(held, 1), 'B')
    times = {name: [] for name in clients}
    for _ in range(bench.rounds):
        for name, client in clients.items():
            times[name].append(client.attach(2000, 0))
    for i, percentile in enumerate(('p50', 'p99')):
        one, other = (median([t[i] for t in times[name]]) for name in ('quiet', 'full'))
        bench.add(f'attach {percentile}, none connected', one, 'us')
        bench.add(f'attach {percentile}, {held} connected', other, 'us')
        bench.add(f'attach {percentile}, ratio', other / one, '',
                  most=1.5 if percentile == 'p99' else None)
    holder.ask('release')
    bench.end_all()


def rate(bench):
    print('connections a second, beside the minimal daemon')
    daemons = [bench.daemon('gpt2d'), bench.daemon('minimal')]
    clients = [bench.client(daemon) for daemon in daemons]
    for n in (1, 8):
        rates, ratios = [[], []], []
        for _ in range(bench.rounds):
            for each, client in zip(rates, clients):
                done, failed, ns = client.ask(f'rate {n} 300')
                if failed:
                    raise SystemExit(f'clients: {failed} of {done + failed} hellos failed')
                each.append(done * 1e9 / ns)
            ratios.append(rates[0][-1] / rates[1][-1])
        for daemon, each in zip(daemons, rates):
            bench.add(f'hellos a second of {n} clients, {daemon.name}', median(each), '/s')
        bench.add(f'hellos a second of {n} clients, ratio', median(ratios), '', least=0.9)
    bench.end_all()


class Flood:
    """A daemon, a client of it, and another user's that misbehaves."""

    def __init__(self, bench, daemon):
        self.daemon = daemon
        self.client, self.neighbour = bench.client(daemon), bench.client(daemon, NEIGHBOUR_UID)
        self.most_kb = self.most_fds = 0

    def round(self, kind):
        """p99 before, p99 meanwhile, and how often the other did it."""
        quiet = self.client.attach(500, 200)[1]
        self.neighbour.ask(f'flood {kind} {PAUSES_US.get(kind, 0)} 5000')
        time.sleep(0.05)
        loud = self.client.attach(500, 200)[1]
        self.most_kb = max(self.most_kb, self.daemon.rss_kb())
        self.most_fds = max(self.most_fds, self.daemon.fds())
        return quiet, loud, self.neighbour.ask('end')[0]


def report(bench, kind, rounds, most=2):
    quiet, loud = (median([r[i] for r in rounds]) for i in (0, 1))
    bench.add(f'{kind}: attach p99 before', quiet, 'us')
    bench.add(f'{kind}: attach p99 ({sum(r[2] for r in rounds)} acts)', loud, 'us')
    bench.add(f'{kind}: ratio', loud / quiet, '', most=most)


def hold_generations(bench, ours):
    """The neighbour keeps each of some generations, and asks about them."""
    store = bench.where / 'store'
    for seed in range(2, 2 + GENERATIONS):
        bench.pack(bench.where / 'next', seed)
        os.rename(bench.where / 'next', store / 'm.gpt2w')
        time.sleep(0.25)  # the daemon waits until the directory is calm
        held, = ours.neighbour.ask('keep')
    bench.add('descriptors that the neighbour holds of generations', held, '')
    report(bench, 'generations', [ours.round('questions') for _ in range(bench.rounds)])
    ours.neighbour.ask('release')


def flood(bench):
    if os.geteuid() != 0:
        print('clients: not started by root: NO FLOOD by another user is measured', file=sys.stderr)
        return
    print('attach while another user floods (he has the least share of the processors)')
    daemons = [bench.daemon('gpt2d'), bench.daemon('minimal')]
    floods = [Flood(bench, daemon) for daemon in daemons]
    ours = floods[0]
    ours.client.attach(500, 200)
    fds, kb = ours.daemon.fds(), ours.daemon.rss_kb()
    # for comparison: who only computes, and talks to nobody
    report(bench, 'spin', [ours.round('spin') for _ in range(bench.rounds)], most=None)
    for kind in FLOODS:
        report(bench, kind, [ours.round(kind) for _ in range(bench.rounds)])
        released(bench, kind, ours, fds)
    hold_generations(bench, ours)
    released(bench, 'generations', ours, fds)
    rounds = [[each.round('storm')[1] for each in floods] for _ in range(2 * bench.rounds)]
    storms = [median(each) for each in zip(*rounds)]
    for daemon, p99 in zip(daemons, storms):
        bench.add(f'storm: attach p99, {daemon.name}', p99, 'us')
    bench.add('storm: ratio', storms[0] / storms[1], '', most=2)
    released(bench, 'storm', ours, fds)
    bench.add('most descriptors of the daemon', ours.most_fds, '', most=IDLE_FDS)
    bench.add('most memory of the daemon, images apart', ours.most_kb / 1024, 'MB',
              most=MOST_KB / 1024)
    bench.add('memory left behind', (ours.daemon.rss_kb() - kb) / 1024, 'MB', most=LEFT_KB / 1024)
    bench.end_all()


def released(bench, kind, ours, fds):
    """Nobody connects meanwhile: the daemon lets go by itself."""
    deadline = time.monotonic() + PATIENCE_S
    while ours.daemon.fds() > fds and time.monotonic() < deadline:
        time.sleep(0.02)
    bench.add(f'{kind}: descriptors left behind', ours.daemon.fds() - fds, '', most=0)


def main():
    parser = argparse.ArgumentParser(prog='tools/bench/clients')
    parser.add_argument('--build', required=True)
    parser.add_argument('--output', required=True)
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--gpt2d', default='', help='more options for gpt2d')
    parser.add_argument('parts', nargs='*')
    arguments = parser.parse_args()
    if os.geteuid() == 0:
        os.nice(-15)  # all alike, and ahead of other programs
    where = Path(tempfile.mkdtemp(prefix='gpt2b.'))
    bench = Bench(arguments, where)
    parts = {'idle': idle, 'rate': rate, 'flood': flood}
    try:
        for part in arguments.parts or parts:
            parts[part](bench)
    finally:
        bench.kill_all()
        shutil.rmtree(where, ignore_errors=True)
    with open(arguments.output, 'w', encoding='utf-8') as out:
        print('name\tvalue\tunit\tasked\tmet', file=out)
        for row in bench.rows:
            print(*row, sep='\t', file=out)
    raise SystemExit(any(row[4] == 'MISSED' for row in bench.rows))


if __name__ == '__main__':
    main()
