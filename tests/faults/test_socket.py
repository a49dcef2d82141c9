#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The socket's file, and peers that do not behave: others are served all the while.

The numbers in names are those of the list of faults.
"""
import contextlib
import fcntl
import os
import re
import resource
import shutil
import signal
import socket
import struct
import sys
import termios
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'integration'))
import gpt2w_test as t  # noqa: E402


@contextlib.contextmanager
def served(*arguments, **options):
    with t.folder() as where:
        if options.get('uid'):
            os.chown(where, options['uid'], -1)
        pack = t.make_pack(where / 'm.gpt2w')
        with t.start_daemon(where, '--model', f'm={pack}', *arguments, **options) as daemon:
            yield where, daemon


def check_served(daemon):
    """Somebody else, through the library."""
    t.run(t.program('GPT2_EMBED'), '--socket', daemon.path, '0', '999')


def gpt2d(where, *arguments, code, env=None, uid=None):
    """A daemon that is to refuse to start; what it says."""
    def prepare():
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    binary = t.program('GPT2D')
    if uid is not None:
        binary = shutil.copy(binary, where / 'gpt2d')
    done = t.run(binary, '--store', where, *arguments, code=code, env=env,
                 preexec_fn=prepare if uid is not None else None)
    t.say(f'  {done.stderr.strip()}')
    return done.stderr


def quiet(daemon):
    """Waits until nobody is connected but the one who asks."""
    t.wait_until(lambda: daemon.status()['connections'] == 1, 'the connections to end')


# --- the file ---------------------------------------------------------------------------------------

def test_19_stale_socket_is_taken_over():
    with t.folder() as where:
        with t.start_daemon(where, '--store', where) as daemon:
            daemon.kill()
        t.check((where / 'd.sock').is_socket(), 'the stale socket')
        for _ in range(10):  # at once, while the kernel may still be ending the one before
            with t.start_daemon(where, '--store', where) as daemon:
                daemon.kill()
        with t.start_daemon(where, '--store', where) as daemon:
            daemon.stop()
        t.check(not (where / 'd.sock').exists(), 'removed')
        stray = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stray.bind(str(where / 'd.sock'))  # somebody's, without a lock file
        stray.close()
        with t.start_daemon(where, '--store', where) as daemon:
            daemon.stop()


def test_19_live_socket_is_not_stolen():
    with served() as (where, daemon):
        inode = os.stat(daemon.path).st_ino
        said = gpt2d(where, '--socket', daemon.path, code=1)
        t.check('another gpt2d serves' in said, said)
        os.unlink(daemon.path + '.lock')  # without its lock it is found out all the same
        said = gpt2d(where, '--socket', daemon.path, code=1)
        t.check('another program listens' in said, said)
        t.check_equal(os.stat(daemon.path).st_ino, inode, 'the same socket')
        check_served(daemon)
    with t.folder() as where:  # a listener of another kind, that is no gpt2d
        other = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        other.bind(str(where / 's'))
        other.listen()
        gpt2d(where, '--socket', where / 's', code=1)
        t.check((where / 's').is_socket(), 'left alone')
        other.close()


def test_19_no_socket_is_left_alone():
    with t.folder() as where:
        (where / 'file').write_text('precious')
        said = gpt2d(where, '--socket', where / 'file', code=1)
        t.check('no socket' in said, said)
        t.check_equal((where / 'file').read_text(), 'precious')
        (where / 'link').symlink_to(where / 'nowhere')
        gpt2d(where, '--socket', where / 'link', code=1)
        t.check((where / 'link').is_symlink(), 'left alone')
        gpt2d(where, '--socket', where, code=1)


def test_19_path_too_long():
    with t.folder() as where:
        long = str(where / ('x' * (108 - len(str(where)) - 1)))
        t.check_equal(len(long), 108)
        said = gpt2d(where, '--socket', long, code=1)
        t.check('107' in said, said)
        with t.start_daemon(where, '--store', where, socket_path=long[:107]) as daemon:
            daemon.stop()
        t.check_equal(sorted(p.name for p in where.iterdir() if not p.name.endswith('.log')), [])
        gpt2d(where, '--socket', '', code=2)


def test_default_path():
    if not t.is_root():
        raise t.Skip('needs root, to be another user')
    with t.folder() as where:
        os.chown(where, t.DAEMON_UID, -1)
        said = gpt2d(where, code=1, env={'PATH': '/bin'}, uid=t.DAEMON_UID)
        t.check('XDG_RUNTIME_DIR' in said and '--socket' in said, said)
        log = where / 'log'
        with open(log, 'wb') as file:
            process = t.subprocess.Popen(
                [str(where / 'gpt2d'), '--store', str(where)], env={'XDG_RUNTIME_DIR': str(where)},
                stderr=file, user=t.DAEMON_UID, group=t.DAEMON_UID, extra_groups=[])
        daemon = t.Daemon(process, where / 'gpt2d.sock', log)
        try:
            t.wait_socket(daemon)
            t.wait_until(lambda: f'export GPT2D_SOCKET={daemon.path}' in daemon.log(), 'the line')
            t.check_equal(os.stat(daemon.path).st_mode & 0o777, 0o660)
            daemon.stop()
        finally:
            if process.poll() is None:
                daemon.kill()


def test_19_replaced_socket_is_not_removed():
    with served() as (where, daemon):
        os.rename(daemon.path, where / 'away')
        (where / 'd.sock').write_text('mine')
        daemon.stop()
        t.check_equal((where / 'd.sock').read_text(), 'mine')


def test_19_one_of_many_wins():
    with t.folder() as where:
        stale = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stale.bind(str(where / 's'))
        stale.close()
        started = [t.subprocess.Popen([t.program('GPT2D'), '--store', where, '--socket',
                                       where / 's'], stderr=t.subprocess.DEVNULL)
                   for _ in range(6)]
        try:
            t.wait_until(lambda: sum(p.poll() is not None for p in started) >= 5, 'five to end')
            alive = [p for p in started if p.poll() is None]
            t.check_equal(len(alive), 1, 'daemons')
            t.check_equal([p.returncode for p in started if p not in alive], [1] * 5)
            t.check_equal(t.wait_until(lambda: t.served_by(where / 's'), 'the winner'), alive[0].pid)
        finally:
            for process in started:
                if process.poll() is None:
                    process.terminate()
                    process.wait(t.PATIENCE_S)


def test_30_without_standard_descriptors():
    with served(close_fds012=True) as (_, daemon):
        for fd in range(3):
            t.check_equal(os.readlink(f'/proc/{daemon.pid}/fd/{fd}'), '/dev/null')
        check_served(daemon)
        daemon.stop()


def test_socket_mode():
    with served('--socket-mode', '0600') as (_, daemon):
        t.check_equal(os.stat(daemon.path).st_mode & 0o777, 0o600)


# --- peers ------------------------------------------------------------------------------------------

def test_16_silent_peers():
    with served() as (_, daemon):
        before = daemon.fds()
        peers = [daemon.peer() for _ in range(200)]
        check_served(daemon)
        t.wait_until(lambda: daemon.status()['connections'] == 201, 'all of them')
        check_served(daemon)
        for peer in peers:
            peer.socket.close()
        quiet(daemon)
        t.wait_until(lambda: daemon.fds() <= before, 'the descriptors to be closed')


def malformed(daemon, data, reason):
    with daemon.peer() as peer:
        peer.send(data)
        answer = peer.receive()
        t.check(answer and answer.kind == t.REFUSED, 'refused', data[:32], answer)
        t.check_equal(answer.reason, reason, data[:32])
        t.check_equal(answer.version, 1)
        t.check(answer.text, 'no reason is told')
        t.check(peer.receive() is None, 'closed')


def test_16_garbage():
    attach = t.encode(t.ATTACH, 5, bytes(264))
    with served() as (_, daemon):
        before = daemon.fds()
        malformed(daemon, b'x', t.MALFORMED)
        malformed(daemon, os.urandom(280), t.MALFORMED)
        malformed(daemon, bytes(16), t.MALFORMED)
        for n in range(1, len(attach), 31):
            malformed(daemon, attach[:n], t.MALFORMED)
        malformed(daemon, attach + b'\0', t.MALFORMED)
        malformed(daemon, attach + bytes(10000), t.MALFORMED)  # more than any message
        malformed(daemon, os.urandom(100000), t.MALFORMED)
        for version in (0, 2, 65535):
            malformed(daemon, t.encode(t.ATTACH, 5, bytes(264), version=version), t.VERSION)
        for kind in (0, 2, 3, 4, 5, 7, 9, 10, 65535):
            malformed(daemon, t.encode(kind, 5, bytes(264)), t.MALFORMED)
        for size in (0, 15, 279, 281, 2**32 - 1):
            malformed(daemon, t.encode(t.ATTACH, 5, bytes(264), size=size), t.MALFORMED)
        malformed(daemon, t.encode(t.ATTACH, 5, b'\1' + bytes(263)), t.MALFORMED)
        malformed(daemon, t.encode(t.ATTACH, 5, bytes(8) + b'n' * 256), t.MALFORMED)
        malformed(daemon, t.encode(t.ATTACH, 5, bytes(8) + b'a\x1b[2Jb'.ljust(256, b'\0')),
                  t.MALFORMED)
        malformed(daemon, t.encode(t.ATTACH, 5, bytes(8) + b'a\0b'.ljust(256, b'\0')), t.MALFORMED)
        malformed(daemon, t.encode(t.LIST, 5, struct.pack('<II', 0, 1)), t.MALFORMED)
        with daemon.peer() as peer:  # an index past the end is no mistake
            answer = peer.list(2**32 - 1)
            t.check_equal((answer.kind, answer.state, answer.n_models), (t.LISTED, 0, 1))
            peer.send(b'')  # an empty message is the end, as far as can be told
            t.check(peer.receive() is None, 'closed')
        check_served(daemon)
        quiet(daemon)
        t.check('\x1b' not in daemon.log(), 'escape bytes in the log')
        t.wait_until(lambda: daemon.fds() <= before, 'the descriptors to be closed')


def test_30_log_flood():
    with served() as (_, daemon):
        for _ in range(500):
            with daemon.peer() as peer:
                peer.send(b'x')
                peer.receive()
        check_served(daemon)
        lines = daemon.log().count('\n')
        t.say(f'  {lines} lines for 500 mistakes')
        t.check(lines < 400, 'the log is flooded', lines)
        def told():  # by now, or when somebody else connects
            with daemon.peer() as peer:
                peer.status()
            log = daemon.log()
            return log.count('less than a header') + sum(
                int(n) for n in re.findall(r'(\d+) lines about uid \d+ were left out', log))
        t.wait_until(lambda: told() == 500, 'the number of lines that were left out')


def test_30_log_that_nobody_reads():
    """A full pipe on standard error holds up nobody."""
    with t.folder() as where:
        read, write = os.pipe()
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 8192)
        process = t.subprocess.Popen([t.program('GPT2D'), '--store', where, '--socket', where / 's'],
                                     stderr=write)
        os.close(write)
        try:
            t.wait_until(lambda: t.served_by(where / 's'), 'the daemon')
            for _ in range(300):  # a line each
                process.send_signal(signal.SIGHUP)
                t.check_equal(t.served_by(where / 's'), process.pid)
            process.terminate()
            t.check_equal(process.wait(t.PATIENCE_S), 0, 'exit code')
            t.check(len(os.read(read, 65536)) > 3000, 'the pipe was not filled')
        finally:
            os.close(read)
            if process.poll() is None:
                process.kill()
                process.wait()


def test_16_pipelined_and_never_read():
    with served() as (_, daemon):
        before = daemon.fds()
        peers = [daemon.peer() for _ in range(20)]
        for peer in peers:
            peer.socket.settimeout(1)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError, TimeoutError):
                for i in range(100):
                    peer.attach(request=i)
        check_served(daemon)
        t.wait_until(lambda: daemon.model('m')['attached'] == 0, 'them to be let go')
        # their sockets count on as long as they keep descriptors in the kernel
        t.wait_until(lambda: daemon.status()['connections'] == 21, '20 connections and this one')
        for peer in peers:  # what was answered is whole and in order, with its descriptors
            answers = 0
            while (answer := peer.receive()) is not None:
                t.check_equal((answer.kind, answer.request, len(answer.fds)),
                              (t.ATTACHED, answers, 2))
                answers += 1
                answer.close()
            t.check(0 < answers < 100, 'answers', answers)
        quiet(daemon)
        for peer in peers:
            peer.socket.close()
        t.check('does not read its answers' in daemon.log(), 'the log says so')
        t.check(daemon.fds() <= before, 'descriptors', daemon.fds(), before)


def test_16_pipelined_and_read():
    with served() as (_, daemon), daemon.peer() as peer:
        for start in range(0, 100, 5):
            for i in range(start, start + 5):
                peer.attach(request=i)
            for i in range(start, start + 5):
                answer = peer.receive()
                t.check_equal((answer.kind, answer.request), (t.ATTACHED, i))
                answer.close()
        t.check_equal(daemon.model('m')['attached'], 1, 'connections, not answers')


def test_16_half_closed():
    with served() as (_, daemon):
        before = daemon.fds()
        with daemon.peer() as peer:
            peer.attach()
            peer.socket.shutdown(socket.SHUT_WR)
            answer = peer.receive()
            t.check_equal(answer.kind, t.ATTACHED)
            answer.close()
            t.check(peer.receive() is None, 'closed')
        with daemon.peer() as peer:
            peer.attach()
            peer.socket.shutdown(socket.SHUT_RD)
            t.wait_until(lambda: daemon.fds() <= before + 1, 'it to be let go')
        check_served(daemon)
        quiet(daemon)


def test_18_foreign_descriptors():
    with served() as (_, daemon):
        check_served(daemon)
        before = daemon.fds()
        sent = 0
        for n in (1, 2, 3, 100, 253):  # 253: all that one message can carry
            with daemon.peer() as peer:
                read, write = os.pipe()
                os.set_blocking(read, False)
                peer.send(t.encode(t.STATUS), [write] * n)
                os.close(write)
                sent += n
                answer = peer.receive()
                t.check_equal((answer.kind, answer.reason), (t.REFUSED, t.MALFORMED))
                t.check(peer.receive() is None, 'closed')
                t.check_equal(os.read(read, 1), b'', 'end of file: every copy is closed')
                os.close(read)
        t.check_equal(daemon.status()['foreign_fds'], sent, 'counted')
        with daemon.peer() as peer:  # behind a request that is in order
            peer.attach()
            peer.send(b'x', [0, 1])
            peer.receive().close()
            t.check_equal(peer.receive().reason, t.MALFORMED)
        t.check_equal(daemon.status()['foreign_fds'], sent + 2, 'counted')
        metrics = t.run(t.program('GPT2CTL'), '--socket', daemon.path, 'metrics').stdout
        t.check(f'\ngpt2d_foreign_fds_total {sent + 2}\n' in metrics, metrics)
        t.wait_until(lambda: daemon.fds() <= before, 'the descriptors to be closed')


def test_19_gone_while_loading():
    """Peers that wait for a load go away, or pipeline meanwhile."""
    with t.folder() as where:
        store = where / 'store'
        store.mkdir()
        with t.start_daemon(where, '--store', store, '--pages', 'small') as daemon:
            before = daemon.fds()
            t.make_pack(where / 'm.gpt2w', vocab=50257, positions=1024, embd=768)
            t.make_pack(where / 'n.gpt2w', vocab=50257, positions=1024, embd=768, seed=2)
            for name in ('m', 'n'):
                (where / f'{name}.gpt2w').rename(store / f'{name}.gpt2w')
            daemon.hup()
            t.wait_until(lambda: 'looking at the packs' in daemon.log(), 'SIGHUP')
            gone = [daemon.peer() for _ in range(30)]
            stay = daemon.peer()
            for peer in gone:
                peer.attach('n')
            stay.attach('n')
            stay.attach('m', request=2)  # is answered after the first
            stay.send(t.encode(t.STATUS, 3))
            loading = sum(peer.receive().kind == t.LOADING for peer in gone[:10])
            for peer in gone:
                peer.socket.close()
            answers = []
            while not answers or answers[-1].kind != t.STATUS_REPLY:
                answer = stay.receive()
                t.check(answer, 'an answer')
                answer.close()
                if answer.kind != t.LOADING:
                    answers.append(answer)
            t.check_equal([a.kind for a in answers], [t.ATTACHED, t.ATTACHED, t.STATUS_REPLY])
            t.check_equal([a.request for a in answers], [1, 2, 3])
            t.check_equal([a.model for a in answers[:2]], ['n', 'm'])
            t.say(f'  {loading} of the first 10 that went away were told LOADING')
            stay.socket.close()
            quiet(daemon)
            check = lambda: daemon.settled() and daemon.fds() <= before + 5  # noqa: E731
            t.wait_until(check, 'two images, two boards')
            (store / 'm.gpt2w').touch()
            daemon.hup()
            daemon.stop()  # while it is loading


# --- limits -----------------------------------------------------------------------------------------

def taken_in(daemon):
    """A connection that is answered; None: one that has just been closed has its place yet."""
    peer = daemon.peer()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        if peer.status().kind == t.STATUS_REPLY:
            return peer
    peer.socket.close()
    return None


def test_17_limit_per_user():
    root = t.is_root()
    with served('--max-connections-per-user', '8', '--socket-mode', '0666') as (_, daemon):
        peers = [t.wait_until(lambda: taken_in(daemon), 'a place') for _ in range(8)]
        for early in (False, True):
            with daemon.peer() as ninth:
                if early:  # the request is there before the connection is taken in
                    with contextlib.suppress(BrokenPipeError):
                        ninth.attach()
                answer = ninth.receive()
                t.check(answer, 'the refusal is lost')
                t.check_equal((answer.kind, answer.reason), (t.REFUSED, t.LIMIT))
                t.check('this user' in answer.text, answer.text)
                t.check(ninth.receive() is None, 'closed')
        done = t.run(t.program('GPT2_EMBED'), '--socket', daemon.path, '1', code=1)
        t.check('this user' in done.stderr, done.stderr)
        t.say(f'  {done.stderr.strip()}')
        done = t.run(t.program('GPT2CTL'), '--socket', daemon.path, 'status', code=1)
        t.check('this user' in done.stderr, done.stderr)
        if root:
            t.check_equal(as_other_user(daemon.path), t.ATTACHED, 'another user')
        else:
            t.say('  not root: that other users are served is not tested')
        peers.pop().socket.close()
        t.wait_until(lambda: daemon.log() and try_status(daemon), 'the freed place')
        for peer in peers:
            peer.socket.close()


def test_18_limits_of_unread_answers():
    """At the limit, and one more: of answers, and of descriptors in them."""
    limits = ('--max-unread-replies-per-user', '5', '--max-unread-fds-per-user', '4')
    with served(*limits) as (_, daemon):
        lazy, other = daemon.peer(), daemon.peer()
        for request in range(2):
            lazy.attach(request=request)
        t.wait_until(lambda: other.status().unread_fds == 4, 'both answers')
        other.attach()
        answer = other.receive()
        t.check_equal((answer.kind, answer.reason, answer.text),
                      (t.REFUSED, t.LIMIT, 'this user has 4 descriptors in answers that are not read'))
        t.check(other.receive() is None, 'closed')
        other.socket.close()
        for _ in range(3):
            before = unread_bytes(lazy)
            lazy.send(t.encode(t.STATUS))
            t.wait_until(lambda: unread_bytes(lazy) > before, 'an answer')
        with daemon.peer() as other:
            answer = other.status()
            t.check_equal((answer.kind, answer.reason, answer.text),
                          (t.REFUSED, t.LIMIT, 'this user has 5 answers that are not read'))
            t.check(other.receive() is None, 'closed')
        for _ in range(5):
            lazy.receive().close()
        with daemon.peer() as other:  # all is read: as before
            answer = other.ask_attach()
            t.check_equal(answer.kind, t.ATTACHED)
            answer.close()
        t.check_equal(lazy.status().kind, t.STATUS_REPLY)
        lazy.socket.close()


def unread_bytes(peer):
    return struct.unpack('i', fcntl.ioctl(peer.socket, termios.FIONREAD, bytes(4)))[0]


def try_status(daemon):
    with daemon.peer() as peer:
        answer = peer.status()
        return answer is not None and answer.kind == t.STATUS_REPLY


def as_other_user(path, uid=None):
    """What a process of another user is answered to ATTACH."""
    child = os.fork()
    if child == 0:
        kind = 0
        try:
            os.setresuid(*[uid or t.OTHER_UID] * 3)
            with t.Peer(path) as peer:
                kind = peer.ask_attach().kind
        finally:
            os._exit(kind)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_17_limit_of_all():
    with served('--max-connections', '5') as (_, daemon):
        peers = [t.wait_until(lambda: taken_in(daemon), 'a place') for _ in range(5)]
        with daemon.peer() as sixth:
            answer = sixth.receive()
            t.check_equal((answer.kind, answer.reason), (t.REFUSED, t.LIMIT))
        t.check_equal(peers[0].ask_attach().kind, t.ATTACHED)
        for peer in peers:
            peer.socket.close()
        t.wait_until(lambda: try_status(daemon), 'places')
        check_served(daemon)


def test_17_no_descriptor_left():
    """EMFILE in accept: turned away, and the daemon does not spin; afterwards all is as before."""
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))
    for loop in ('epoll', 'auto'):
        with served('--event-loop', loop, preexec=few) as (_, daemon):
            before = daemon.fds()
            peers = []
            for _ in range(100):
                peers.append(daemon.peer())
            refused = 0
            for peer in peers:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    peer.send(t.encode(t.STATUS))
                answer = peer.receive()
                refused += answer is None or answer.kind == t.REFUSED
            t.check(refused >= 50, 'more than 48 were taken in', refused)
            cpu = daemon.cpu_s()
            t.time.sleep(1)
            used = daemon.cpu_s() - cpu
            t.say(f'  {loop}: {refused} of 100 turned away, {used:.2f} s of processor time in 1 s')
            t.check(used < 0.5, 'the daemon spins', used)
            # who is in is answered: he is told that there are no descriptors, or gets them
            first = next(p for p in peers if p.socket.fileno() >= 0)
            with contextlib.suppress(BrokenPipeError):
                first.attach()
                answer = first.receive()
                t.check(answer is None or answer.kind == t.ATTACHED or
                        answer.reason in (t.RESOURCE, t.LIMIT), 'an answer')
            for peer in peers:
                peer.socket.close()
            t.wait_until(lambda: daemon.fds() <= before, 'the descriptors to be closed')
            check_served(daemon)
            daemon.stop()


def test_18_unread_descriptors_of_another_user():
    """Answers that are never read count against the daemon's user (ETOOMANYREFS): others are served."""
    if not t.is_root():
        raise t.Skip('needs root: the kernel exempts no other user, and two users are needed')

    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    with served('--socket-mode', '0666', uid=t.DAEMON_UID, preexec=few) as (_, daemon):
        hoard = []
        for half_close in (False, True):
            for _ in range(150):
                peer = daemon.peer()
                hoard.append(peer)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    for _ in range(4):
                        peer.attach()
                    if half_close:
                        peer.socket.shutdown(socket.SHUT_WR)
            t.check_equal(as_other_user(daemon.path), t.ATTACHED,
                          f'another user is served (half-closed: {half_close})')
        for peer in hoard:
            peer.socket.close()
        t.wait_until(lambda: try_status(daemon), 'places')
        check_served(daemon)


if __name__ == '__main__':
    t.main()
