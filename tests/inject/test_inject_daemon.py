#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""gpt2d, with each of its calls made to fail: it ends with a message and an exit code that is documented,
or it serves; after a single failure it serves everything again, and has lost and leaked nothing. Of the
list of faults: 17, 26, 28 and 29.
GPT2W_LONG=1: every call with every error; else a sample."""
import contextlib
import errno
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from daemon_run import (GONE, LOAD, RELOAD, SERVING, UNLOAD, UNLOADED, Packs,  # noqa: E402
                        Place, Run, told)
from injection import LONG, Injection, sweep, t  # noqa: E402

# What a client's own attempts may take while nothing works, and how often it tries where it has to.
IMPATIENCE_S = 0.2
TRIES = 20


def ready(run, patience_s):
    """Whether it answers; False: it has ended, or there was no answer in time."""
    deadline = time.monotonic() + patience_s
    while not run.ended() and time.monotonic() < deadline:
        run.place.hear()
        with contextlib.suppress(*GONE):
            with run.peer(IMPATIENCE_S) as peer:
                return bool(told(peer.status(), t.STATUS_REPLY))
        time.sleep(0.003)
    return False


def begun(run, injection):
    """The same where nothing may work from some call on: no answer is waited for long after that."""
    while True:
        injection.peek()
        hopeless = injection.failed() or run.ended()
        if ready(run, IMPATIENCE_S):
            return True
        if hopeless:
            return False


def again(run, what, action):
    """Does action until it works out, as clients do; its value."""
    for turn in range(TRIES):
        run.place.hear()
        t.check(not run.ended(), f'{what}: the daemon has ended')
        try:
            return action()
        except TimeoutError as error:
            raise AssertionError(f'{what}: no answer') from error
        except GONE as error:
            last = error
        time.sleep(0.001 * 2 ** min(turn, 8))
    raise AssertionError(f'{what} never works out: {last!r}')


def await_state(run, name, action, holds, what):
    """Asks for action until holds(LISTED) does."""
    def attempt():
        run.steer(action, name, t.PATIENCE_S)
        deadline = time.monotonic() + t.PATIENCE_S
        while (now := run.listed(name, t.PATIENCE_S)).busy and time.monotonic() < deadline:
            time.sleep(0.002)
        t.check(holds(now), f'state {now.state}, "{now.text}"')
        return now
    return again(run, what, attempt)


def serve(run, packs, older):
    """The whole scenario, in which everything works out at last. older: the generations that are held by
    others; of those that a daemon before has left, what cannot be checked is let go."""
    zstd = again(run, 'attach z', lambda: loaded(run, 'z'))
    if packs.zstd_image is None:
        packs.zstd_image = run.image(zstd)
    t.check(run.image(zstd) == packs.zstd_image, 'z has other contents')
    zstd.close()
    held = again(run, 'attach a', lambda: loaded(run, 'a'))
    t.check(run.image(held) == packs.first, 'a has other contents')
    run.place.replace(packs.second)
    now = await_state(run, 'a', RELOAD, lambda m: m.state == SERVING and
                      m.generation > held.generation and not m.text, 'reload')
    second = again(run, 'attach the next a', lambda: loaded(run, 'a'))
    t.check(run.image(second) == packs.second, 'the next a has other contents')
    t.check_equal(second.generation, now.generation, 'generation')
    second.close()
    t.check(run.image(held) == packs.first, 'what is held has changed')
    retired = again(run, 'status', lambda: run.retired(t.PATIENCE_S))
    t.check(1 <= retired <= 1 + len(older), f'{retired} retired generations')
    run.place.replace(packs.bad)
    bad = await_state(run, 'a', RELOAD, lambda m: m.text, 'reload of a bad pack')
    t.check_equal((bad.state, bad.generation), (SERVING, now.generation), 'after a bad pack')
    await_state(run, 'z', UNLOAD, lambda m: m.state == UNLOADED, 'unload')
    await_state(run, 'z', LOAD, lambda m: m.state == SERVING and not m.text, 'load')
    for attached in (held, *older):
        attached.close()
    again(run, 'release', lambda: t.check_equal(run.retired(t.PATIENCE_S), 0, 'retired'))
    again(run, 'attach in the end', lambda: loaded(run, 'z')).close()


def loaded(run, name):
    """Attaches; a pack that could not be loaded is to be loaded again."""
    try:
        return run.attach(name, t.PATIENCE_S)
    except GONE:
        run.steer(RELOAD, '', t.PATIENCE_S)
        raise


def idle_fds(run, most):
    """Descriptors of the daemon that has nothing to do; waits for them to be at most most."""
    for turn in range(TRIES):
        run.place.hear()
        fds = run.fds()
        if fds <= most:
            break
        time.sleep(0.001 * 2 ** min(turn, 8))
    return fds


def pester(run, packs):
    """The same while nothing may work: what does not is no matter."""
    steps = (lambda: run.attach('a', IMPATIENCE_S).close(),
             lambda: run.attach('z', IMPATIENCE_S).close(),
             lambda: run.place.replace(packs.second),
             lambda: run.steer(RELOAD, 'a', IMPATIENCE_S),
             lambda: run.listed('a', IMPATIENCE_S),
             lambda: run.place.replace(packs.bad),
             lambda: run.steer(RELOAD, '', IMPATIENCE_S),
             lambda: run.steer(UNLOAD, 'z', IMPATIENCE_S),
             lambda: run.attach('a', IMPATIENCE_S).close())
    failures = 0
    for step in steps:
        run.place.hear()
        if run.ended() or failures == 3:
            return
        try:
            step()
        except GONE:
            failures += 1


def cannot_wait(injection):
    """Whether the loop was told that events are lost, which ends it."""
    failed = injection.failed()
    return failed and failed[0].startswith('io_uring_submit_and_') and failed[1] == errno.EBADR


class Scenario:
    """arguments: the daemon's; restarted: one before it has left what it had to the service manager;
    activated: the manager passes the socket; journal: the log goes there."""

    def __init__(self, packs, *arguments, restarted=False, activated=False, journal=False):
        self.packs, self.arguments = packs, arguments
        self.restarted, self.activated, self.journal = restarted, activated, journal
        self.fds = 1 << 20
        self.calls = 0
        injection = self.run_one('count', 0, 0)
        self.calls = injection.calls()

    def run_one(self, mode, call, variant):
        with t.folder() as where, contextlib.ExitStack() as stack:
            place = Place(where, self.packs)
            stack.callback(place.close)
            activation = self.activation(place, stack)
            older = self.live_before(place, activation, stack)
            injection = Injection(where / 'report', mode, call, variant)
            run = Run(place, 'GPT2D_INJECT', injection.env(), *self.arguments,
                      passed=[*place.kept, *activation], journal=self.journal)
            stack.callback(run.close)
            try:
                try:
                    self.live(run, injection, older)
                finally:
                    injection.finish()
                self.judge(run, injection)
            except (*GONE, subprocess.TimeoutExpired) as error:
                raise AssertionError(f'{injection}: {error}\n{run.log()[-3000:]}') from error
            return injection

    def activation(self, place, stack):
        if not self.activated:
            return ()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        stack.callback(listener.close)
        listener.bind(str(place.path))
        listener.listen(16)
        return (('gpt2d.socket', listener.fileno()),)

    def live_before(self, place, activation, stack):
        """The life of the daemon before, without failures; what of it is still held."""
        if not self.restarted:
            return ()
        place.replace(self.packs.second)
        run = Run(place, 'GPT2D', Injection.env_without(), passed=activation)
        stack.callback(run.close)
        t.check(ready(run, t.PATIENCE_S), run.log())
        run.attach('z', t.PATIENCE_S).close()
        older = run.attach('a', t.PATIENCE_S)
        stack.callback(older.close)
        place.replace(self.packs.first)
        await_state(run, 'a', RELOAD, lambda m: m.generation > older.generation, 'reload')
        run.stop()
        t.check_equal((run.process.returncode, len(place.kept)), (0, 6 - self.activated), run.log())
        return (older,)

    def live(self, run, injection, older):
        mode = injection.mode
        run.was_ready = begun(run, injection) if mode == 'from' else ready(run, t.PATIENCE_S)
        if not run.was_ready:
            t.check(run.ended() or mode == 'from', 'it neither serves nor ends')
        elif mode == 'from':
            pester(run, self.packs)
        elif not self.serve(run, injection, older):
            return
        run.was_alive = not run.ended()
        run.stop()

    def serve(self, run, injection, older):
        """False: the daemon has ended, as it may where it cannot wait any more."""
        try:
            serve(run, self.packs, older)
        except GONE:
            injection.peek()
            if not cannot_wait(injection):
                raise
            t.check_equal(run.process.wait(t.PATIENCE_S), 4, 'exit code')
            run.stop()
            return False
        fds = idle_fds(run, self.fds)
        if injection.mode == 'count':
            self.fds = fds
            t.check_equal(run.log().count(' is taken back: '), 2 * self.restarted, run.log())
            t.check_equal(bool(run.place.messages), self.journal, 'messages in the journal')
        t.check(fds <= self.fds, f'{fds} descriptors are open, {self.fds} without a failure')
        return True

    def judge(self, run, injection):
        code, mode, log = run.process.returncode, injection.mode, run.log()
        t.check('Sanitizer' not in log and 'runtime error' not in log, 'a sanitizer')
        if not run.was_alive:
            # 2: the configuration cannot be opened
            failed = injection.failed()
            allowed = (1, 2, 4) if failed and failed[0] == 'fopen64' else (1, 4)
        else:
            # what served and was asked to end has done what it is for
            allowed = (0, 1, 4) if mode == 'from' else (0, 4) if cannot_wait(injection) else (0,)
        if mode == 'from' and not run.was_ready:
            allowed += (-signal.SIGTERM,)  # it was slow, and has not come to signals yet
        t.check(code in allowed, f'exit code {code}, of {allowed}')
        said = [line for line in log.splitlines() if line.startswith(('gpt2d: ', 'gpt2d-inject: '))]
        t.check(code in (0, -signal.SIGTERM) or said, 'no message')
        t.check('Success' not in log, 'the reason is lost')
        if mode != 'from':
            self.judge_left(run, injection)

    def judge_left(self, run, injection):
        """Of the daemon: a socket that is kept for the next one, and nothing else; what is kept."""
        kept = {kind: run.place.n_kept(kind) for kind in ('board', 'image', 'socket')}
        failed = injection.failed()
        # who cannot look at it cannot tell that it is his own
        if not self.activated and not (failed and failed[0] in ('lstat64', 'unlink')):
            t.check_equal(run.place.path.exists(), kept['socket'] == 1, 'its socket is there')
        if run.was_alive and 'not stored' not in run.log():
            t.check_equal(kept, {'board': 2, 'image': 2, 'socket': int(not self.activated)}, 'kept')


def swept(what, *arguments, samples=16, **more):
    with t.folder() as where:
        scenario = Scenario(Packs(where), *arguments, **more)
        sweep(f'gpt2d, {what}', scenario.calls, scenario.run_one, samples)


def test_io_uring():
    swept('io_uring', '--event-loop', 'io_uring')


def test_epoll():
    swept('epoll', '--event-loop', 'epoll', journal=True)


def test_auto():
    """Where the ring is refused, epoll."""
    if not LONG:
        raise t.Skip('without GPT2W_LONG=1')
    swept('either', '--event-loop', 'auto')


def test_taken_back():
    swept('taken back', '--event-loop', 'io_uring', samples=8, restarted=True, journal=True)


def test_activated():
    swept('activated', '--event-loop', 'epoll', samples=8, restarted=True, activated=True)


if __name__ == '__main__':
    t.main()
