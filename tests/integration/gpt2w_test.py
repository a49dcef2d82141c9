# SPDX-License-Identifier: MIT
"""What the tests of the real programs share: running them, a daemon, its messages (WIRE.md).

A test program defines functions called test_... and ends in gpt2w_test.main(). The programs' paths come
from the environment, which meson sets: GPT2D, GPT2_PACK, GPT2_EMBED, GPT2CTL, GPT2W_SOURCE, ...
"""
import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

# Only a hang takes as long; sanitizers and slow machines do not.
PATIENCE_S = 60
# Ids that no user has on an ordinary system; root runs daemons and clients as these.
DAEMON_UID, OTHER_UID = 61234, 61235

ATTACH, ATTACHED, LOADING, REFUSED, NEWS, LIST, LISTED, STATUS, STATUS_REPLY = range(1, 10)
MALFORMED, VERSION, UNKNOWN_MODEL, NAME_NEEDED, LOAD_FAILED, LIMIT, NO_MODEL, RESOURCE = range(1, 9)


class Skip(Exception):
    """The machine lacks something; says what."""


def say(*words):
    print(*words, flush=True)


def program(name):
    """The path of a program, by the name of its environment variable."""
    path = os.environ.get(name)
    if not path:
        raise SystemExit(f'{name} is not set: run this through meson test')
    return path


def check(condition, *words):
    if not condition:
        raise AssertionError(' '.join(str(word) for word in words))


def check_equal(got, expected, what=''):
    check(got == expected, f'{what}: {got!r} instead of {expected!r}')


def wait_until(condition, what):
    """Polls condition until it holds; its value."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        value = condition()
        if value:
            return value
        check(time.monotonic() < deadline, f'still waiting after {PATIENCE_S} s: {what}')
        time.sleep(0.01)


def run(*command, code=0, **options):
    """Runs a program to its end and checks its exit code; the CompletedProcess, with text."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          timeout=4 * PATIENCE_S, check=False, **options)
    check(done.returncode == code, f'{command} ended with {done.returncode}, not {code}\n'
          f'{done.stdout[-2000:]}{done.stderr[-4000:]}')
    return done


@contextlib.contextmanager
def folder(parent=None):
    """A fresh directory that every user may enter, removed in the end."""
    path = Path(tempfile.mkdtemp(prefix='gpt2w-test-', dir=parent))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def make_pack(path, vocab=1000, positions=64, embd=64, seed=1, dtype='f32'):
    run(program('GPT2_PACK'), 'init', '-q', '--force', '-o', path, '--vocab', vocab,
        '--positions', positions, '--embd', embd, '--seed', seed, '--dtype', dtype)
    return path


def write_npy(path, rows, columns, number):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}"
    header = header.ljust(128 - 11) + '\n'
    path.write_bytes(b'\x93NUMPY\1\0' + struct.pack('<H', len(header)) + header.encode() +
                     struct.pack('<f', number) * (rows * columns))


def uniform_pack(where, number, vocab=400, positions=32, embd=96):
    """A pack in which every element of both tables is the number."""
    source = where / f'source{number}'
    source.mkdir()
    write_npy(source / 'wte.npy', vocab, embd, number)
    write_npy(source / 'wpe.npy', positions, embd, number)
    out = where / f'{number}.gpt2w'
    run(program('GPT2_PACK'), 'pack', '-q', source / 'wte.npy', source / 'wpe.npy', '-o', out)
    shutil.rmtree(source)
    return out


def tables_of(pack, out):
    """Unpacks a pack at out, a .safetensors file; {name: (dtype, shape, offset in the file, bytes)}."""
    run(program('GPT2_PACK'), 'unpack', '-q', '--force', pack, '-o', out)
    return read_safetensors(out)


def read_safetensors(path):
    with open(path, 'rb') as file:
        length = struct.unpack('<Q', file.read(8))[0]
        header = json.loads(file.read(length))
    header.pop('__metadata__', None)
    return {name: (entry['dtype'], entry['shape'], 8 + length + entry['data_offsets'][0],
                   entry['data_offsets'][1] - entry['data_offsets'][0])
            for name, entry in header.items()}


def encode(kind, request=1, body=b'', version=1, magic=b'GW2d', size=None):
    return struct.pack('<4sHHII', magic, version, kind,
                       16 + len(body) if size is None else size, request) + body


def text_of(field):
    return field.split(b'\0', 1)[0].decode()


class Message:
    """A decoded message of the daemon; its descriptors are closed by close()."""

    def __init__(self, data, fds):
        self.fds = list(fds)
        magic, self.version, self.kind, size, self.request = struct.unpack_from('<4sHHII', data)
        check(magic == b'GW2d' and size == len(data), 'a header that is none', data[:16])
        if self.kind == ATTACHED:
            self.generation, self.image_bytes = struct.unpack_from('<QQ', data, 16)
            self.content_id = data[32:48]
            self.share, self.epoch = struct.unpack_from('<II', data, 48)
            self.model = text_of(data[56:312])
        elif self.kind == REFUSED:
            self.reason = struct.unpack_from('<I', data, 16)[0]
            self.text = text_of(data[24:280])
        elif self.kind == NEWS:
            self.generation, self.epoch = struct.unpack_from('<QI', data, 16)
        elif self.kind == LISTED:
            self.index, self.n_models, self.state, self.share = struct.unpack_from('<4I', data, 16)
            self.generation = struct.unpack_from('<Q', data, 32)[0]
            self.attached = struct.unpack_from('<Q', data, 88)[0]
            self.model, self.text = text_of(data[136:392]), text_of(data[1416:1672])
            self.busy = struct.unpack_from('<I', data, 1672)[0]
        elif self.kind == STATUS_REPLY:
            self.pid = struct.unpack_from('<Q', data, 16)[0]
            self.connections = struct.unpack_from('<Q', data, 40)[0]
            self.refused_total, self.foreign_fds = struct.unpack_from('<QQ', data, 64)
            self.note = text_of(data[136:392])
            self.unread_fds = struct.unpack_from('<Q', data, 440)[0]

    def close(self):
        while self.fds:
            os.close(self.fds.pop())


class Peer:
    """A connection that speaks the protocol, or anything else."""

    def __init__(self, path, timeout=PATIENCE_S):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            self.socket.connect(str(path))  # waits while the queue of those to be accepted is full
            self.socket.settimeout(timeout)
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data, fds=()):
        if fds:
            socket.send_fds(self.socket, [data], list(fds))
        else:
            self.socket.send(data)

    def receive(self):
        """The next message; None: the daemon has closed."""
        for _ in range(2):
            try:
                data, fds, _, _ = socket.recv_fds(self.socket, 4096, 8,
                                                  socket.MSG_CMSG_CLOEXEC)
                return Message(data, fds) if data else None
            except ConnectionResetError:
                continue  # told before what was sent first; asked once more
        return None

    def attach(self, model='', request=1):
        self.send(encode(ATTACH, request, bytes(8) + model.encode().ljust(256, b'\0')))

    def ask_attach(self, model=''):
        """Attaches and waits for a load; ATTACHED or REFUSED."""
        self.attach(model)
        while True:
            answer = self.receive()
            if answer is None or answer.kind not in (LOADING, NEWS):
                return answer

    def list(self, index=0):
        self.send(encode(LIST, 7, struct.pack('<II', index, 0)))
        return self.receive()

    def status(self):
        self.send(encode(STATUS, 9))
        return self.receive()


class Daemon:
    """A gpt2d that was started for a test, and ends with it."""

    def __init__(self, process, path, log):
        self.process, self.path, self.log_path = process, str(path), log

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        return Path(self.log_path).read_text(errors='replace')

    def peer(self):
        return Peer(self.path)

    def models(self):
        return json.loads(run(program('GPT2CTL'), '--socket', self.path, 'list', '--json')
                          .stdout)['models']

    def model(self, name):
        return next((model for model in self.models() if model['name'] == name), None)

    def status(self):
        return json.loads(run(program('GPT2CTL'), '--socket', self.path, 'status', '--json').stdout)

    def fds(self):
        return len(os.listdir(f'/proc/{self.pid}/fd'))

    def cpu_s(self):
        fields = Path(f'/proc/{self.pid}/stat').read_text().rsplit(')', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def hup(self):
        self.process.send_signal(signal.SIGHUP)

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def stop(self, code=0):
        """SIGTERM; checks that it ends, and how."""
        self.process.terminate()
        check_equal(self.process.wait(PATIENCE_S), code, f'exit code\n{self.log()}')

    def settled(self):
        """Whether no model is being loaded any more."""
        with self.peer() as peer:
            first = peer.list()
            return first.kind == LISTED and all(
                peer.list(i).state != 1 for i in range(first.n_models))


def served_by(path):
    """The pid of the daemon that answers, or None. The socket of one that was killed may take connections
    for some milliseconds, until the kernel has ended its ring."""
    try:
        with Peer(path) as peer:
            answer = peer.status()
            return answer and answer.pid
    except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError, PermissionError,
            BrokenPipeError):
        return None


def wait_socket(daemon):
    def listens():
        check(daemon.process.poll() is None,
              f'the daemon ended with {daemon.process.returncode}:\n{daemon.log()}')
        return daemon.pid == served_by(daemon.path)
    wait_until(listens, f'the daemon at {daemon.path}')


@contextlib.contextmanager
def start_daemon(where, *arguments, socket_path=None, before=(), uid=None, ready=True, env=None,
                 preexec=None, close_fds012=False):
    """A gpt2d with its socket and log in the folder where. before: words in front of the program's
    name. uid: the user to be (root only)."""
    path = socket_path or where / 'd.sock'
    log = where / f'gpt2d-{time.monotonic_ns()}.log'
    binary = program('GPT2D')
    if uid is not None:
        # a copy, as the build folder may lie where that user cannot go
        binary = shutil.copy(binary, where / 'gpt2d')
        os.chown(where, uid, -1)

    def prepare():
        if preexec:
            preexec()
        if uid is not None:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        if close_fds012:
            os.closerange(0, 3)

    if '--config' not in arguments:
        arguments = ('--config', os.devnull, *arguments)  # not this machine's
    command = [*before, binary, '--socket', path, *arguments]
    with open(log, 'wb') as file:
        # a session of its own: the terminal's ^C is the test's alone
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                   stdout=file, stderr=file, preexec_fn=prepare, env=env,
                                   start_new_session=True)
    daemon = Daemon(process, path, log)
    try:
        if ready:
            wait_socket(daemon)
            wait_until(daemon.settled, 'its models')
        yield daemon
    except BaseException:
        say(f'--- log of gpt2d\n{daemon.log()[-4000:]}---')
        raise
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    for word in ('Sanitizer', 'runtime error:'):
        check(word not in daemon.log(), f'a sanitizer spoke up:\n{daemon.log()}')


class Helper:
    """A program of this folder's that answers one line for each line it is told."""

    def __init__(self, *command, **options):
        self.process = subprocess.Popen([str(word) for word in command], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def line(self):
        text = self.process.stdout.readline().strip()
        if not text:
            code = self.process.wait(PATIENCE_S)
            raise AssertionError(f'{self.process.args[0]} ended with {code}')
        return text

    def ask(self, command):
        self.process.stdin.write(command + '\n')
        self.process.stdin.flush()
        return self.line()

    def end(self):
        """Tells it to stop; its last line."""
        last = self.ask('stop')
        check_equal(self.process.wait(PATIENCE_S), 0, 'exit code')
        return last


def is_root():
    return os.geteuid() == 0


def shared_data(relative):
    """A file of ../shared/data beside the project, or None."""
    path = Path(program('GPT2W_SOURCE')).resolve().parent / 'shared' / 'data' / relative
    return path if path.is_file() else None


def main():
    """Runs every test_... function of the calling program, or those named on its command line. Exit
    code 0, 1, or 77 if all were skipped."""
    module = sys.modules['__main__']
    names = sys.argv[1:] or [name for name in vars(module) if name.startswith('test_')]
    failed, skipped = [], []
    for name in names:
        start = time.monotonic()
        try:
            getattr(module, name)()
            say(f'ok      {name} ({time.monotonic() - start:.1f} s)')
        except Skip as why:
            skipped.append(name)
            say(f'SKIPPED {name}: {why}')
        except Exception:
            failed.append(name)
            say(f'FAILED  {name}\n{traceback.format_exc()}')
    say(f'{len(names) - len(failed) - len(skipped)} ok, {len(failed)} failed, {len(skipped)} skipped')
    raise SystemExit(1 if failed else 77 if len(skipped) == len(names) else 0)
