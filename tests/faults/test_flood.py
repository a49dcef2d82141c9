#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Faults 16 to 18 and 20 all at once, from one user: another one is served all the while, and what the
flood took is given back without anybody's doing. How long he waits is tools/bench/clients' affair.
"""
import contextlib
import os
import resource
import signal
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'integration'))
import gpt2w_test as t  # noqa: E402

FLOODER_UID = t.OTHER_UID + 1
ATTACHES = 40
LIMIT_FDS = 512
# Of the daemon's heap; a connection is 200 bytes.
MOST_KB = 8192


def never_read(peer):
    for _ in range(100):
        peer.attach()


def garbage(peer):
    for n in (1, 16, 280, 4096):
        peer.send(os.urandom(n))


def descriptors(peer):
    for _ in range(4):
        peer.send(b'x', [0] * 253)


def half_closed(peer):
    peer.attach()
    peer.socket.shutdown(socket.SHUT_WR)


def questions(peer):
    for _ in range(20):
        peer.send(t.encode(t.STATUS))


def silent(_):
    pass


def keep(peer):
    """Holds what it is given, for ever."""
    peer.kept = peer.ask_attach().fds


KINDS = [never_read, garbage, descriptors, half_closed, questions, silent, keep]


def flood(path):
    """Until it is killed; the last hundred connections stay open."""
    os.setgroups([])
    os.setresgid(*[FLOODER_UID] * 3)
    os.setresuid(*[FLOODER_UID] * 3)
    peers, turn = [], 0
    while True:
        with contextlib.suppress(OSError, AttributeError, AssertionError):
            peer = t.Peer(path)
            peer.socket.setblocking(False)
            peers.append(peer)
            KINDS[turn % len(KINDS)](peer)
        turn += 1
        while len(peers) > 100:
            old = peers.pop(0)
            for fd in getattr(old, 'kept', ()):
                os.close(fd)
            old.socket.close()
        for _ in range(3):  # and a storm
            with contextlib.suppress(OSError):
                t.Peer(path).socket.close()


def rss_kb(daemon):
    for line in Path(f'/proc/{daemon.pid}/status').read_text().splitlines():
        if line.startswith('RssAnon:'):
            return int(line.split()[1])
    raise t.Skip('this kernel tells no RssAnon')


def as_neighbour(path):
    """Attaches again and again as somebody else; returns how often that went well."""
    child = os.fork()
    if child == 0:
        good = 0
        try:
            os.setresuid(*[t.OTHER_UID] * 3)
            for _ in range(ATTACHES):
                with t.Peer(path) as peer:
                    answer = peer.ask_attach()
                    good += answer is not None and (answer.kind, len(answer.fds)) == (t.ATTACHED, 2)
                    answer.close()
        finally:
            os._exit(good)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def under_flood(*arguments):
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT_FDS, LIMIT_FDS))
    if not t.is_root():
        raise t.Skip('needs root: two users and a daemon of a third are NOT TESTED')
    with t.folder() as where:
        os.chown(where, t.DAEMON_UID, -1)
        pack = t.make_pack(where / 'm.gpt2w')
        with t.start_daemon(where, '--model', f'm={pack}', '--socket-mode', '0666', *arguments,
                            uid=t.DAEMON_UID, preexec=few) as daemon:
            t.check_equal(as_neighbour(daemon.path), ATTACHES, 'before the flood')
            fds, kb = daemon.fds(), rss_kb(daemon)
            flooder = os.fork()
            if flooder == 0:
                try:
                    flood(daemon.path)
                finally:
                    os._exit(1)
            try:
                t.wait_until(lambda: daemon.fds() > fds + 20, 'the flood')
                for _ in range(3):
                    t.check_equal(as_neighbour(daemon.path), ATTACHES, 'attached under flood')
                    t.check(daemon.fds() <= LIMIT_FDS, 'descriptors', daemon.fds())
                    t.check(rss_kb(daemon) - kb < MOST_KB, 'memory', kb, rss_kb(daemon))
            finally:
                os.kill(flooder, signal.SIGKILL)
                status = os.waitpid(flooder, 0)[1]
            t.check_equal(status, signal.SIGKILL, 'the flooder ended by itself')
            t.wait_until(lambda: daemon.fds() <= fds, 'descriptors to be given back')
            # a moment later, through a connection: counted right, too
            status = t.wait_until(lambda: (s := daemon.status())['connections'] == 1 and s,
                                  'the connections to end')
            t.say(f'  {status["connections_total"]} connections, {status["foreign_fds"]} foreign '
                  f'descriptors, memory {rss_kb(daemon) - kb:+} kB')
            t.check(status['foreign_fds'] >= 253, 'no descriptors came', status)
            daemon.stop()


def test_16_17_18_20_flood_of_another_user():
    under_flood()


def test_16_17_18_20_flood_with_epoll():
    under_flood('--event-loop', 'epoll')


def test_18_a_client_without_room():
    """Its descriptor table is full: the kernel throws them away, and nothing is left of them."""
    with t.folder() as where:
        pack = t.make_pack(where / 'm.gpt2w')
        with t.start_daemon(where, '--model', f'm={pack}') as daemon:
            fds = daemon.fds()
            with daemon.peer() as peer:
                before = resource.getrlimit(resource.RLIMIT_NOFILE)
                for room in (0, 1):
                    peer.attach()
                    free = os.dup(0)
                    os.close(free)
                    resource.setrlimit(resource.RLIMIT_NOFILE, (free + room, before[1]))
                    _, got, flags, _ = socket.recv_fds(peer.socket, 4096, 8)
                    resource.setrlimit(resource.RLIMIT_NOFILE, before)
                    for fd in got:
                        os.close(fd)
                    t.check_equal(len(got), room, 'descriptors')
                    t.check(flags & socket.MSG_CTRUNC, 'MSG_CTRUNC', flags)
                answer = peer.ask_attach()  # it goes on
                t.check_equal((answer.kind, len(answer.fds)), (t.ATTACHED, 2))
                answer.close()
            t.wait_until(lambda: daemon.fds() <= fds, 'descriptors')
            done = t.run(t.program('GPT2_EMBED'), '--socket', daemon.path, '1', code=1, preexec_fn=lambda:
                         resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4)))
            t.say(f'  {done.stderr.strip()}')
            t.run(t.program('GPT2_EMBED'), '--socket', daemon.path, '1')


if __name__ == '__main__':
    t.main()
