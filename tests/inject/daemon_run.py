# SPDX-License-Identifier: MIT
"""One life of a gpt2d whose calls may fail, with the service manager and the journal round it, and what
clients do with it."""
import contextlib
import fcntl
import os
import select
import shutil
import socket
import struct
import subprocess
import time

from injection import t

STEER, STEERED = 10, 11
RELOAD, LOAD, UNLOAD = 1, 2, 3
SERVING, UNLOADED = 2, 4
GONE = (OSError, AssertionError)  # no daemon, no answer, or one that is not what was asked for
# Where nothing else is: bash puts the passed descriptors from there to 3, 4 ...
PASSED_FROM = 200


def told(answer, kind):
    """The daemon's answer, if it is one of that kind."""
    t.check(answer is not None and answer.kind == kind,
            'no answer' if answer is None else getattr(answer, 'text', answer.kind))
    return answer


class Packs:
    """The files that runs begin with, and what their images hold."""

    def __init__(self, where):
        small = {'vocab': 64, 'positions': 8, 'embd': 64}
        self.first = t.make_pack(where / '1', seed=1, **small).read_bytes()
        self.second = t.make_pack(where / '2', seed=2, **small).read_bytes()
        bad = bytearray(self.second)
        bad[-100] ^= 1
        self.bad = bytes(bad)
        t.run(t.program('GPT2_PACK'), 'init', '-q', '--zstd', '-o', where / 'z', '--vocab', 64,
              '--positions', 8, '--embd', 64, '--seed', 3)
        self.zstd = (where / 'z').read_bytes()
        self.zstd_image = None  # of the first run


class Place:
    """A directory of packs with the models a, of a raw pack, and z, of a compressed one, and what a
    service manager keeps beyond a daemon's life."""

    def __init__(self, where, packs):
        self.where, self.store, self.path = where, where / 'store', where / 'd.sock'
        self.store.mkdir()
        (self.store / 'z.gpt2w').write_bytes(packs.zstd)
        self.replace(packs.first)
        self.manager, self.journal = self.listen('notify'), self.listen('journal')
        self.kept = []  # (name, descriptor)
        self.messages = []

    def listen(self, name):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        listener.bind(str(self.where / name))
        listener.setblocking(False)
        return listener

    def close(self):
        for fd in (self.manager, self.journal):
            fd.close()
        for _, fd in self.kept:
            os.close(fd)

    def hear(self):
        """Does what the service manager is told, and reads the journal, so that both have room."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.obey(*socket.recv_fds(self.manager, 4096, 4)[:2])
        with contextlib.suppress(BlockingIOError):
            while True:
                data = self.journal.recv(1 << 16).decode(errors='replace')
                self.messages += [f'gpt2d: {line[8:]}' for line in data.split('\n')
                                  if line.startswith('MESSAGE=')]

    def obey(self, data, fds):
        words = dict(line.split('=', 1) for line in data.decode().split('\n'))
        name = words.get('FDNAME')
        if words.get('FDSTORE') == '1' and fds:
            self.kept.append((name, fds.pop()))
        elif words.get('FDSTOREREMOVE') == '1':
            gone = [fd for kept, fd in self.kept if kept == name]
            self.kept = [(kept, fd) for kept, fd in self.kept if kept != name]
            fds += gone
        for fd in fds:
            os.close(fd)

    def n_kept(self, kind):
        return sum(name.startswith(f'gpt2d/1/{kind}/') for name, _ in self.kept)

    def replace(self, content):
        (self.store / '.next').write_bytes(content)
        os.rename(self.store / '.next', self.store / 'a.gpt2w')


class Client(t.Peer):
    """One who notices that the daemon has ended: the service manager may hold its socket."""

    def __init__(self, run, timeout):
        super().__init__(run.place.path, timeout)
        self.run, self.timeout = run, timeout

    def wait(self):
        deadline = time.monotonic() + self.timeout
        while not select.select([self.socket], [], [], min(self.timeout, 0.1))[0]:
            if self.run.ended():
                raise ConnectionResetError('the daemon has ended')
            if time.monotonic() > deadline:
                raise TimeoutError('no answer')

    def receive(self):
        self.wait()
        return super().receive()


class Run:
    """A daemon's life in a place. program: the environment variable that has its path; passed:
    (name, descriptor) pairs that it gets; journal: whether it is to write there."""

    def __init__(self, place, program, env, *arguments, passed=(), journal=False):
        self.place, self.log_path = place, place.where / f'log of {program}'
        self.was_ready = self.was_alive = False
        env = {**env, 'NOTIFY_SOCKET': str(place.where / 'notify'),
               'GPT2W_INJECT_JOURNAL': str(place.where / 'journal'),
               'LISTEN_FDNAMES': ':'.join(name for name, _ in passed)}
        copies = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, PASSED_FROM) for _, fd in passed]
        moves = ' '.join(f'{3 + i}<&{copy} {copy}<&-' for i, copy in enumerate(copies))
        with open(self.log_path, 'wb') as log:
            status = os.fstat(log.fileno())
            if journal:
                env['JOURNAL_STREAM'] = f'{status.st_dev}:{status.st_ino}'
            self.process = subprocess.Popen(
                [shutil.which('bash'), '-c', f'export LISTEN_PID=$$ LISTEN_FDS={len(copies)}; '
                 f'exec "$0" "$@" {moves}', t.program(program), '--config', os.devnull,
                 '--socket', place.path, '--store', place.store, *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, pass_fds=copies,
                start_new_session=True)
        for copy in copies:
            os.close(copy)

    def log(self):
        return self.log_path.read_text(errors='replace') + '\n'.join(self.place.messages)

    def ended(self):
        return self.process.poll() is not None

    def stop(self):
        """SIGTERM; the manager and the journal are heard until it has ended."""
        if not self.ended():
            self.process.terminate()
        t.wait_until(lambda: self.place.hear() or self.ended(), 'its end')
        self.place.hear()

    def close(self):
        if not self.ended():
            self.process.kill()
        self.process.wait()

    def peer(self, timeout):
        return Client(self, timeout)

    def fds(self):
        return len(os.listdir(f'/proc/{self.process.pid}/fd'))

    # --- what a client does, once; GONE: it did not work out ---

    def listed(self, name, timeout):
        with self.peer(timeout) as peer:
            answers = [peer.list(index) for index in range(2)]
        found = [answer for answer in answers if told(answer, t.LISTED).model == name]
        t.check(found, f'{name} is not listed')
        return found[0]

    def steer(self, action, name, timeout):
        with self.peer(timeout) as peer:
            peer.send(t.encode(STEER, 1, struct.pack('<II256s', action, 0, name.encode())))
            told(peer.receive(), STEERED)

    def attach(self, name, timeout):
        with self.peer(timeout) as peer:
            return told(peer.ask_attach(name), t.ATTACHED)

    def retired(self, timeout):
        with self.peer(timeout) as peer:
            peer.send(t.encode(t.STATUS, 9))
            peer.wait()
            data = peer.socket.recv(4096)
        t.check(len(data) > 400, 'a status')
        return struct.unpack_from('<Q', data, 392)[0]

    def image(self, attached):
        return os.pread(attached.fds[0], attached.image_bytes, 0)
