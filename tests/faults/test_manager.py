#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""gpt2d under a service manager, played by this program: faults 26, 27, 29, 30 and 31."""
import contextlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'integration'))
import gpt2w_test as t  # noqa: E402


class Manager:
    """Listens where NOTIFY_SOCKET says."""

    def __init__(self, path):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.socket.bind(self.path)
        self.socket.settimeout(t.PATIENCE_S)
        self.env = {**os.environ, 'NOTIFY_SOCKET': self.path}
        self.seen = []

    def close(self):
        self.socket.close()

    def wait(self, line):
        """Reads until a message has a line that begins so; that line."""
        while True:
            message = self.socket.recv(65536).decode()
            self.seen.append(message)
            for got in message.split('\n'):
                if got.startswith(line):
                    return got


def listener(path, kind=socket.SOCK_SEQPACKET, backlog=64):
    made = socket.socket(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC)
    made.bind(str(path))
    if backlog is not None:
        made.listen(backlog)
    return made


@contextlib.contextmanager
def passed(where, fds, *arguments, env=None, names=None, pid=None, count=None):
    """A daemon that gets fds as descriptors 3, 4 ...; pid: what LISTEN_PID says instead of its own."""
    def place():
        copies = [os.dup2(fd, 100 + i, inheritable=False) for i, fd in enumerate(fds)]
        for i, copy in enumerate(copies):
            os.dup2(copy, 3 + i, inheritable=True)
    # the shell's pid is that of the program it becomes
    script = f'export LISTEN_PID={"$$" if pid is None else pid} LISTEN_FDS=' \
             f'{len(fds) if count is None else count}; exec "$0" "$@"'
    env = dict(env or os.environ)
    if names is not None:
        env['LISTEN_FDNAMES'] = names
    log = where / 'log'
    with open(log, 'wb') as file:
        process = subprocess.Popen(
            ['/bin/sh', '-c', script, t.program('GPT2D'), *map(str, arguments)], env=env,
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, close_fds=False, preexec_fn=place)
    daemon = t.Daemon(process, where / 's', log)
    try:
        yield daemon
    except BaseException:
        t.say(f'--- log of gpt2d\n{daemon.log()[-4000:]}---')
        raise
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    t.check('Sanitizer' not in daemon.log(), daemon.log())


def test_27_ready_status_reload_stop():
    """READY once every pack is served or refused; RELOADING and READY round SIGHUP (fault 27)."""
    with t.folder() as where:
        manager = Manager(where / 'n')
        t.make_pack(where / 'a.gpt2w')
        (where / 'b\x01.gpt2w').write_bytes(b'no pack')
        (where / 'c.gpt2w').write_bytes(b'no pack')
        with t.start_daemon(where, '--store', where, env=manager.env) as daemon:
            manager.wait('READY=1')
            status = manager.seen[-1].split('STATUS=')[1]
            t.check(status.startswith('Serving 1 model, ') and '; 1 failed, c: ' in status, status)
            t.check('loading' not in status, status)
            first = daemon.model('a')['generation']
            t.make_pack(where / 'a.gpt2w', seed=2)
            t.wait_until(lambda: daemon.model('a')['generation'] != first, 'the next generation')
            daemon.hup()
            stamp = manager.wait('MONOTONIC_USEC=')
            t.check(re.fullmatch(r'MONOTONIC_USEC=[1-9]\d*', stamp), stamp)
            t.check(manager.seen[-1].startswith('RELOADING=1\n'), manager.seen[-1])
            manager.wait('READY=1')
            daemon.stop()
            manager.wait('STOPPING=1')
        manager.close()


def test_29_watchdog_is_fed_by_the_loop():
    """A stopped loop feeds nobody (fault 29)."""
    with t.folder() as where:
        manager = Manager(where / 'n')
        env = {**manager.env, 'WATCHDOG_USEC': '400000'}
        with t.start_daemon(where, '--store', where, env=env) as daemon:
            for _ in range(5):
                manager.wait('WATCHDOG=1')
            daemon.process.send_signal(signal.SIGSTOP)
            t.wait_until(lambda: ' (gpt2d) T ' in Path(f'/proc/{daemon.pid}/stat').read_text(),
                         'it to be stopped')
            manager.socket.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    manager.socket.recv(65536)
            manager.socket.settimeout(1)  # more than twice its time
            with contextlib.suppress(TimeoutError):
                t.check(False, f'a stopped daemon sent {manager.socket.recv(65536)}')
            manager.socket.settimeout(t.PATIENCE_S)
            daemon.process.send_signal(signal.SIGCONT)
            manager.wait('WATCHDOG=1')
            daemon.stop()
        manager.close()


def test_30_hostile_environment():
    """Fault 30: whatever the variables say, it starts and serves."""
    with t.folder() as where:
        pack = t.make_pack(where / 'm.gpt2w')
        for address in ('', '/', 'x', '/' + 'x' * 300, '@' + 'x' * 300, '/nowhere/at/all', str(pack)):
            env = {**os.environ, 'NOTIFY_SOCKET': address, 'WATCHDOG_USEC': '-1',
                   'LISTEN_PID': '1', 'LISTEN_FDS': '1', 'LISTEN_FDNAMES': ':' * 1000}
            with t.start_daemon(where, '--store', where, env=env) as daemon:
                t.check(daemon.model('m')['generation'] > 0, daemon.log())
                daemon.stop()
        manager = Manager(where / 'n')  # one that never reads
        with t.start_daemon(where, '--store', where,
                            env={**manager.env, 'WATCHDOG_USEC': '4'}) as daemon:
            for _ in range(20):
                daemon.hup()
                t.check(daemon.model('m')['generation'] > 0, daemon.log())
            daemon.stop()
        manager.close()


def test_activation():
    """The manager's socket is served; it stays when the daemon goes, and clients wait in it."""
    with t.folder() as where:
        t.make_pack(where / 'm.gpt2w')
        made = listener(where / 's')
        inode = os.stat(where / 's').st_ino
        for _ in range(2):
            with t.Peer(where / 's') as early:  # before there is a daemon
                with passed(where, [made.fileno()], '--store', where, names='gpt2d.sock') as daemon:
                    t.check_equal(early.ask_attach('m').kind, t.ATTACHED, 'kind')
                    t.check_equal(daemon.status()['pid'], daemon.pid, 'pid')
                    daemon.stop()
            t.check_equal(os.stat(where / 's').st_ino, inode, 'the same socket')
            t.check(not (where / 's.lock').exists(), 'no lock')
        made.close()


def link_of(pid, fd):
    """What descriptor `fd` of `pid` is, or None where it has none: it may be closed meanwhile."""
    try:
        return os.readlink(f'/proc/{pid}/fd/{fd}')
    except FileNotFoundError:
        return None


def test_26_30_passed_descriptors_are_checked():
    """Faults 26 and 30: what is no socket of ours is closed and named; a socket twice is one."""
    with t.folder() as where:
        t.make_pack(where / 'm.gpt2w')
        made = listener(where / 's')
        others = [listener(where / 'stream', socket.SOCK_STREAM),
                  listener(where / 'idle', backlog=None), open('/dev/null', 'rb')]
        fds = [other.fileno() for other in others] + [made.fileno()] * 2
        with passed(where, fds, '--store', where, names='stream:\x1b[2J\n:null') as daemon:
            t.wait_socket(daemon)
            links = [link for i in range(len(fds)) if (link := link_of(daemon.pid, 3 + i))]
            t.check_equal(sum(f'[{os.fstat(fd).st_ino}]' in link for fd in fds[:2] for link in links),
                          0, 'closed')
            t.check('\x1b' not in daemon.log() and '\\x1b[2J\\x0a' in daemon.log(), daemon.log())
            t.check_equal(daemon.log().count('it is no listening Unix socket'), 3, daemon.log())
            daemon.stop()
        for count, pid in ((-1, None), ('1x', None), (99999999, None), (1, 1), (1, 'x'), ('', None)):
            with passed(where, [made.fileno()], '--store', where, '--socket', where / 'own',
                        count=f"'{count}'", pid=pid) as daemon:
                daemon.path = str(where / 'own')
                t.wait_socket(daemon)  # nothing was passed: it listens by itself
                daemon.stop()
        with passed(where, [made.fileno()], '--store', where, count=5000) as daemon:
            t.wait_socket(daemon)  # most of them are not open
            daemon.stop()
        for other in (made, *others):
            other.close()


def journal_record(message):
    """The fields of a message in the journal's native protocol."""
    record = {}
    while message:
        line, message = message.split(b'\n', 1)
        name, equals, value = line.partition(b'=')
        if not equals:  # the value's length, and the value
            n = struct.unpack_from('<Q', message)[0]
            value, message = message[8:8 + n], message[9 + n:]
        t.check(name.decode() not in record, name, 'twice')
        record[name.decode()] = value.decode()
    return record


def test_30_journal():
    """Fault 30: fields in the journal, played by this program; hostile text makes no fields."""
    if not t.is_root():
        raise t.Skip('needs root, to put a socket in place of the journal\'s')
    with t.folder() as where:
        journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        journal.bind(str(where / 'journal'))
        journal.settimeout(t.PATIENCE_S)
        pack = t.make_pack(where / 'm.gpt2w')
        (where / 'bad\nPRIORITY=0.gpt2w').write_bytes(b'no pack')
        script = ('mount -t tmpfs none /run && mkdir -p /run/systemd/journal && '
                  f'ln -s {where}/journal /run/systemd/journal/socket && '
                  'export JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2) && exec "$0" "$@"')
        with t.start_daemon(where, '--store', where, ready=False,
                            before=['unshare', '-m', 'sh', '-c', script]) as daemon:
            found = {}
            while len(found) < 3:
                t.check(daemon.process.poll() is None, daemon.log())
                record = journal_record(journal.recv(65536))
                t.check_equal(record['SYSLOG_IDENTIFIER'], 'gpt2d')
                for word in ('serving', 'is not served', 'a header'):
                    if word in record['MESSAGE']:
                        found[word] = record
                if record['MESSAGE'].startswith('listening'):
                    with daemon.peer() as peer:
                        peer.send(b'x')
                        peer.receive()
            t.check_equal(daemon.log(), '', 'no lines')
            daemon.stop()
        journal.close()
    record = found['serving']
    t.check_equal((record['PRIORITY'], record['GPT2D_MODEL'], record['GPT2D_FILE']),
                  ('6', 'm', str(pack)))
    t.check(int(record['GPT2D_GENERATION']) > 0 and len(record['MESSAGE_ID']) == 32, record)
    t.check_equal((found['a header']['GPT2D_UID'], found['a header']['PRIORITY']), ('0', '4'))
    record = found['is not served']
    t.check('bad\\x0aPRIORITY=0' in record['MESSAGE'], record)
    t.check_equal((record['PRIORITY'], Path(record['GPT2D_FILE']).name),
                  ('3', 'bad\nPRIORITY=0.gpt2w'))


def test_message_ids_are_documented():
    daemon = Path(t.program('GPT2W_SOURCE')) / 'daemon'
    ids = re.findall(r'"([0-9a-f]{32})"', (daemon / 'log.c').read_text())
    t.check_equal(len(set(ids)), 10, 'distinct')
    t.check_equal(re.findall(r'^\.It Li ([0-9a-f]{32})$', (daemon / 'gpt2d.8').read_text(), re.M), ids)


def test_27_unit_reload_has_a_result():
    """What ExecReload= says is what `systemctl reload` gives: 0, or not (fault 27)."""
    unit = Path(t.program('GPT2D_SERVICE')).read_text()
    words = re.search(r'^ExecReload=\S+/gpt2ctl (.+)$', unit, re.M).group(1).split()
    start = re.search(r'^ExecStart=\S+/gpt2d(.*)$', unit, re.M).group(1).split()
    with t.folder() as where:
        t.make_pack(where / 'm.gpt2w')
        made = listener(where / 's')
        config = where / 'c'
        config.write_text(f'[gpt2d]\nstore = {where}\nadmin-group = 0\n')
        words[words.index('--socket=/run/gpt2d/gpt2d.sock')] = f'--socket={where / "s"}'
        with passed(where, [made.fileno()], *start, '--config', config) as daemon:
            t.wait_socket(daemon)
            t.run(t.program('GPT2CTL'), *words)
            (where / 'bad.gpt2w').write_bytes(b'no pack')
            t.run(t.program('GPT2CTL'), *words, code=1)
            daemon.stop()
        made.close()


def test_31_files_are_not_kept_by_seccomp_alone():
    """A filter that denies openat stops no ring: what the unit's daemon may open is its mounts' affair."""
    unit = Path(t.program('GPT2D_SERVICE')).read_text()
    set_to = dict(re.findall(r'^(\w+)=(.*)$', unit, re.M))
    for name, value in (('ProtectSystem', 'strict'), ('ProtectHome', 'yes'), ('PrivateTmp', 'yes'),
                        ('PrivateDevices', 'yes'), ('ProtectProc', 'invisible'), ('User', 'gpt2d'),
                        ('NoNewPrivileges', 'yes'), ('CapabilityBoundingSet', '')):
        t.check_equal(set_to.get(name), value, name)
    t.check(not re.search('^ReadWritePaths=', unit, re.M), 'there is nothing that it writes to')
    filters = re.findall(r'^SystemCallFilter=(.*)$', unit, re.M)
    t.check(not any('openat' in words for words in filters), 'no protection', filters)
    t.check('@system-service' in filters, 'io_uring and openat are in it, both', filters)


def test_30_daemon_that_cannot_start():
    """It ends a little later than it could: clients that wait have it started again at once."""
    with t.folder() as where:
        (where / 'c').write_text('[gpt2d]\nmemory-min = 1\n')
        for more in ('--config', where / 'c'), ('--config', os.devnull, '--socket', '/nowhere/at/all'):
            manager = Manager(where / f'n{len(more)}')
            start = time.monotonic()
            said = t.run(t.program('GPT2D'), '--store', where, *more, env=manager.env,
                         code=2 if len(more) == 2 else 4).stderr
            t.check(time.monotonic() - start >= 1, 'ended at once')  # a machine cannot be too slow
            t.check('memory-min' in said or '/nowhere/at/all' in said, said)
            manager.close()


def test_unit_is_confined():
    if not shutil.which('systemd-analyze'):
        raise t.Skip('there is no systemd-analyze')
    unit = t.program('GPT2D_SERVICE')
    with t.folder() as where:
        copy = shutil.copy(unit, where / 'gpt2d.service')
        done = t.run('systemd-analyze', 'security', '--offline=true', '--no-pager', copy)
    level = float(re.search(r'exposure level for gpt2d\.service: ([\d.]+)', done.stdout).group(1))
    t.say(f'  exposure {level}, at most 1.5')
    t.check(level <= 1.5, done.stdout)


if __name__ == '__main__':
    t.main()
