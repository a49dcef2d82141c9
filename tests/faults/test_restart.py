#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""gpt2d is restarted, or killed, under a service manager that keeps its descriptors: faults 25 and 26.

GPT2W_LONG=1: at full length.
"""
import contextlib
import fcntl
import os
import random
import select
import signal
import socket
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'integration'))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import gpt2w_test as t  # noqa: E402
from test_kill import Clients, reference  # noqa: E402
from test_manager import passed  # noqa: E402

LONG = bool(os.environ.get('GPT2W_LONG'))


class Keeper:
    """Keeps descriptors as systemd does, and hands them on."""

    def __init__(self, where):
        self.where = where
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.socket.bind(str(where / 'notify'))
        self.env = {**os.environ, 'NOTIFY_SOCKET': str(where / 'notify')}
        self.kept, self.lock, self.ending = [], threading.Lock(), False
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def close(self):
        self.ending = True
        self.thread.join()
        self.socket.close()
        for _, fd in self.kept:
            os.close(fd)

    def serve(self):
        while not self.ending:
            if select.select([self.socket], [], [], 0.05)[0]:
                self.obey()

    def obey(self):
        with self.lock:
            data, fds, _, _ = socket.recv_fds(self.socket, 4096, 4, socket.MSG_CMSG_CLOEXEC)
            words = dict(line.split('=', 1) for line in data.decode().split('\n'))
            name = words.get('FDNAME', 'stored')
            if words.get('FDSTOREREMOVE') == '1':
                for _, fd in [kept for kept in self.kept if kept[0] == name]:
                    os.close(fd)
                self.kept = [kept for kept in self.kept if kept[0] != name]
            elif words.get('FDSTORE') == '1' and len(fds) == 1:
                self.kept.append((name, fds.pop()))
            for fd in fds:
                os.close(fd)

    def names(self, kind=''):
        """Once all that was sent has been read."""
        while select.select([self.socket], [], [], 0)[0]:
            time.sleep(0.005)
        with self.lock:
            return sorted(name for name, _ in self.kept if name.startswith(f'gpt2d/1/{kind}'))

    def forget(self, kind):
        self.names()
        with self.lock:
            for _, fd in [kept for kept in self.kept if kept[0].startswith(f'gpt2d/1/{kind}')]:
                os.close(fd)
            self.kept = [k for k in self.kept if not k[0].startswith(f'gpt2d/1/{kind}')]

    @contextlib.contextmanager
    def daemon(self, store, *arguments, more=(), ready=True):
        """more: (name, descriptor) pairs that come before what is kept."""
        self.names()
        pairs = [*more, *self.kept]
        with passed(self.where, [fd for _, fd in pairs], '--store', store, '--socket',
                    self.where / 's', *arguments, env=self.env,
                    names=':'.join(name for name, _ in pairs)) as daemon:
            t.wait_socket(daemon)
            if ready:
                t.wait_until(daemon.settled, 'its models')
                t.wait_until(lambda: not any(m['busy'] for m in daemon.models()), 'its looks')
            yield daemon


@contextlib.contextmanager
def kept(seed=1):
    with contextlib.ExitStack() as stack:
        where = stack.enter_context(t.folder())
        store = where / 'store'
        store.mkdir()
        pack = t.make_pack(store / 'm.gpt2w', seed=seed)
        keeper = Keeper(where)
        stack.callback(keeper.close)
        yield where, store, pack, keeper, Clients(stack)


def inode(daemon):
    """Of the image that is handed out, and its generation."""
    with daemon.peer() as peer:
        answer = peer.ask_attach('m')
        t.check_equal(answer.kind, t.ATTACHED)
        number = os.fstat(answer.fds[0]).st_ino
        answer.close()
        return number, answer.generation


def check_taken(daemon, before):
    t.check_equal(inode(daemon), before, 'image and generation')
    t.check(f'm: generation {before[1]} is taken back: ' in daemon.log(), daemon.log())
    t.check('serving generation' not in daemon.log(), 'loaded', daemon.log())
    t.check(daemon.model('m')['taken_back'], 'gpt2ctl says so')


def test_restarts_under_gathering_clients():
    with kept() as (where, store, pack, keeper, clients):
        right = reference(pack)
        with keeper.daemon(store) as daemon:
            before = inode(daemon)
            clients.add(daemon, right, n=4)
            daemon.stop()
        t.check(os.path.exists(daemon.path), 'the socket is kept')
        clients.check('ORPHANED')
        names = keeper.names()
        t.check_equal([name.split('/')[2] for name in names], ['board', 'image', 'socket'])
        for turn in range(6):
            with keeper.daemon(store) as daemon:
                check_taken(daemon, before)
                clients.check('CURRENT')
                if turn == 3:
                    clients.add(daemon, right, n=2)
                daemon.stop() if turn % 2 else daemon.kill()
            t.wait_until(lambda: keeper.names() == names, 'what is kept')
        with keeper.daemon(store) as daemon:
            metrics = t.run(t.program('GPT2CTL'), '--socket', daemon.path, 'metrics').stdout
            t.check('gpt2d_model_taken_back{model="m"} 1\n' in metrics, metrics)
            daemon.stop()
        clients.end()


def test_killed_at_random_moments():
    """Whatever it was doing: afterwards it serves, and nobody ever reads a wrong value."""
    with kept() as (where, store, pack, keeper, clients):
        packs = [pack.read_bytes(), t.make_pack(where / 'two', seed=2).read_bytes()]
        with keeper.daemon(store) as daemon:
            clients.add(daemon, reference(pack), n=3)
            daemon.kill()
        for turn in range(150 if LONG else 8):
            with keeper.daemon(store, ready=False) as daemon:
                (where / 'next').write_bytes(packs[turn % 2])
                os.rename(where / 'next', pack)
                daemon.hup()
                time.sleep(random.random() * 0.15)
                daemon.kill()
            clients.check('ORPHANED')
            t.check(len(keeper.names('image')) <= 3, keeper.names('image'))
        with keeper.daemon(store) as daemon:
            seen = {helper.ask('state').split()[0] for helper in clients.helpers}
            t.check(len(seen) == 1 and seen <= {'CURRENT', 'SUPERSEDED'}, seen)
            number, generation = inode(daemon)
            states = 'CURRENT' if clients.helpers[0].generation == generation else 'SUPERSEDED'
            t.check_equal(seen, {states}, 'the truth')
            images = keeper.names('image')
            t.check(len(images) <= 2 and any(f'/{generation}/' in n for n in images), images)
            daemon.stop()
        clients.end()


def test_pack_changed_in_the_pause():
    with kept() as (where, store, pack, keeper, clients):
        with keeper.daemon(store) as daemon:
            before = inode(daemon)
            clients.add(daemon, reference(pack), n=2)
            daemon.stop()
        os.rename(t.make_pack(where / 'new', seed=2), pack)
        with keeper.daemon(store, ready=False) as daemon:
            t.wait_until(lambda: daemon.model('m')['generation'] > before[1], 'the new one')
            log = daemon.log()
            t.check(-1 < log.find('is taken back') < log.find('serving generation'), log)
            clients.check('SUPERSEDED')
            new = clients.add(daemon, reference(pack))
            clients.check('CURRENT', new)
            t.check(not daemon.model('m')['taken_back'], 'it is a new one')
            t.check_equal(len(keeper.names('image')), 2, 'the old one is held')
            after = inode(daemon)
            daemon.kill()
        with keeper.daemon(store) as daemon:  # what is held stays accounted for
            check_taken(daemon, after)
            t.check_equal(daemon.model('m')['retired'], 1)
            clients.end()
            t.wait_until(lambda: len(keeper.names('image')) == 1, 'the old one to go')
            t.check_equal(daemon.model('m')['retired'], 0)
            daemon.stop()


def test_pack_gone_in_the_pause():
    with kept() as (where, store, pack, keeper, _):
        with keeper.daemon(store) as daemon:
            daemon.stop()
        pack.unlink()
        with keeper.daemon(store) as daemon:
            t.check_equal(daemon.models(), [])
            t.check('is not used: no model of that name is served' in daemon.log(), daemon.log())
            t.wait_until(lambda: len(keeper.names()) == 1, 'the socket alone to be kept')
            daemon.stop()


def test_any_subset():
    with kept() as (where, store, pack, keeper, clients):
        with keeper.daemon(store) as daemon:
            before = inode(daemon)
            clients.add(daemon, reference(pack), n=2)
            daemon.kill()
        keeper.forget('board')
        with keeper.daemon(store) as daemon:  # the image stays what it was; its old board is nobody's
            check_taken(daemon, before)
            clients.check('ORPHANED')
            clients.check('CURRENT', clients.add(daemon, reference(pack)))
            daemon.kill()
        keeper.forget('image')
        good = pack.read_bytes()
        pack.write_bytes(b'no pack')
        with keeper.daemon(store) as daemon:  # the board alone: readers are told to ask anew
            clients.check('SUPERSEDED', clients.helpers[2:])
            daemon.kill()
        pack.write_bytes(good)
        with keeper.daemon(store) as daemon:
            t.check(inode(daemon)[1] > before[1], 'a new generation')
            clients.check('SUPERSEDED', clients.helpers[2:])
            daemon.kill()
        keeper.forget('socket')
        with keeper.daemon(store) as daemon:
            t.check('is taken back' in daemon.log(), daemon.log())
            daemon.stop()
        clients.end()


def memfd(data, seals, mode=0o444):
    """A read-only descriptor of memory that holds data."""
    made = os.memfd_create('hostile', os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.write(made, data)
    os.fchmod(made, mode)
    fcntl.fcntl(made, fcntl.F_ADD_SEALS, seals)
    reopened = os.open(f'/proc/self/fd/{made}', os.O_RDONLY | os.O_CLOEXEC)
    return made, reopened


def test_hostile_descriptors():
    """Each is refused with its reason, closed and forgotten; the pack is loaded."""
    all_seals = (fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    board_seals = all_seals & ~fcntl.F_SEAL_WRITE
    with kept() as (where, store, pack, keeper, _):
        image, digest = pack.read_bytes(), pack.read_bytes()[4080:4096].hex()
        page = b'GW2BOARD' + bytes(4088)
        opened, cases = [], []

        def add(fd, reason, name='gpt2d/1/image/{ino}/7/1/' + digest + '/m'):
            cases.append((name.format(ino=os.fstat(fd).st_ino), fd, reason))

        def of(*arguments):
            opened.extend(memfd(*arguments))
            return opened[-1]

        pipe = os.pipe()
        opened.extend(pipe)
        board = 'gpt2d/1/board/{ino}/m'
        add(pipe[0], 'it is no shared memory')
        add(pipe[0], 'it is no shared memory', board)
        add(of(image, all_seals & ~fcntl.F_SEAL_GROW), 'its seals are 0xb')
        of(image, all_seals)
        add(opened[-2], 'it is not open for reading only')
        add(of(image, all_seals), 'it is not the memory that its name says',
            'gpt2d/1/image/1/7/1/' + digest + '/m')
        add(of(image, all_seals), "its superblock's digest is not the one in its name",
            'gpt2d/1/image/{ino}/7/1/' + '0' * 32 + '/m')
        add(of(image[:-4096], all_seals), 'bytes')
        add(of(image[:100], all_seals), 'it ends within its superblock')
        add(of(image[:16] + b'x' + image[17:], all_seals), 'digest')
        add(of(page + b'x', board_seals), 'it has 4097 bytes, a notice board 4096', board)
        add(of(page, all_seals), 'its seals are 0xf', board)
        add(of(b'GW3BOARD' + page[8:], board_seals), 'it is no notice board of this version', board)
        add(of(image, all_seals), 'another version stored it', 'gpt2d/2/image/{ino}/m')
        for name in ('gpt2d/1/', 'gpt2d/1/image', 'gpt2d/1/board/01/m', 'gpt2d/1/board/1/m%6d',
                     'gpt2d/1/board/1/%zz', 'gpt2d/1/board/1/', 'gpt2d/1/board/1/%00',
                     'gpt2d/1/image/1/18446744073709551615/1/' + digest + '/m',
                     'gpt2d/1/board/1/m\x1b[2J\nFDSTOREREMOVE=1'):
            add(pipe[0], 'its name is malformed', name)
        add(pipe[0], 'one socket is served', 'stored')
        add(of(page, board_seals), 'no model of that name is served', 'gpt2d/1/board/{ino}/other')
        made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        made.bind(str(where / 'elsewhere'))
        made.listen(1)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listening.bind(str(where / 's'))
        listening.listen(64)
        add(made.fileno(), 'another socket is served', 'gpt2d/1/socket/1/1')
        for name, fd, _ in cases:
            if '\n' not in name:
                keeper.kept.append((name, os.dup(fd)))
        hostile = [(name, fd) for name, fd, _ in cases if '\n' in name]
        with keeper.daemon(store, more=[('gpt2d.sock', listening.fileno()), *hostile]) as daemon:
            log = daemon.log()
            for name, _, reason in cases:
                shown = name.replace('\x1b', '\\x1b').replace('\n', '\\x0a')
                lines = [line for line in log.splitlines() if f'("{shown}") is not used: ' in line]
                t.check_equal(len(lines), 1, f'{shown}\n{log}')
                t.check(reason in lines[0], f'{reason}: {lines[0]}')
            t.check('m: serving generation' in log, log)
            t.wait_until(lambda: len(keeper.kept) == 2, 'nothing else to be kept')
            t.check_equal([name.split('/')[2] for name in keeper.names()], ['board', 'image'])
            before = inode(daemon)
            daemon.kill()
        keeper.names()
        image_name, fd = next(k for k in keeper.kept if '/image/' in k[0])
        with keeper.daemon(store, more=[('gpt2d.sock', listening.fileno()), (image_name, pipe[0]),
                                        (image_name, fd)]) as daemon:
            check_taken(daemon, before)  # one of three of that name
            t.check('is not used: it is there twice' in daemon.log(), daemon.log())
            t.check(image_name in keeper.names(), 'it stays')
            daemon.stop()
        for fd in opened:
            os.close(fd)
        made.close()
        listening.close()


def test_manager_that_never_reads():
    with t.folder() as where:
        t.make_pack(where / 'm.gpt2w')
        deaf = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        deaf.bind(str(where / 'n'))
        with t.start_daemon(where, '--store', where,
                            env={**os.environ, 'NOTIFY_SOCKET': str(where / 'n')}) as daemon:
            for seed in range(2, 8):
                before = daemon.model('m')['generation']
                os.rename(t.make_pack(where / '.next', seed=seed), where / 'm.gpt2w')
                t.wait_until(lambda b=before: daemon.model('m')['generation'] > b, 'a generation')
            daemon.process.send_signal(signal.SIGTERM)
            t.check_equal(daemon.process.wait(t.PATIENCE_S), 0, 'exit code')
        deaf.close()


if __name__ == '__main__':
    t.main()
