#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fault 28: io_uring is refused, as container runtimes and old kernels do: the daemon serves as before, and says
so. The same small scenario runs on every event loop."""
import errno
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'integration'))
import gpt2w_test as t  # noqa: E402


def scenario(where, daemon, pack):
    """Attach, embed, a load that is waited for, a new generation with news, SIGTERM."""
    first = t.run(t.program('GPT2_EMBED'), '--socket', daemon.path, '1', '2', '999').stdout
    t.check_equal(first, t.run(t.program('GPT2_EMBED'), '--file', pack, '1', '2', '999').stdout,
                  'the embeddings')
    with daemon.peer() as peer:
        attached = peer.ask_attach('m')
        t.check_equal((attached.kind, len(attached.fds)), (t.ATTACHED, 2))
        attached.close()
        t.make_pack(where / 'new', seed=2).rename(pack)
        daemon.hup()
        t.check_equal(peer.receive().kind, t.NEWS)
        t.check(t.run(t.program('GPT2_EMBED'), '--socket', daemon.path, '1', '2', '999').stdout
                != first, 'the new generation')
    peers = [daemon.peer() for _ in range(60)]
    for peer in peers:
        peer.attach()
    for peer in peers:
        with peer:
            answer = peer.receive()
            t.check_equal(answer.kind, t.ATTACHED)
            answer.close()
    t.wait_until(lambda: daemon.status()['connections'] == 1, 'the connections to end')
    daemon.stop()


def run_with(backend, note, *arguments, before=()):
    with t.folder() as where:
        pack = t.make_pack(where / 'm.gpt2w')
        with t.start_daemon(where, '--model', f'm={pack}', *arguments, before=before) as daemon:
            status = daemon.status()
            t.check_equal(status['backend'], backend)
            if note is None:
                t.check_equal(status['note'], None)
            else:
                t.check(note in status['note'] and 'epoll' in status['note'], status['note'])
                t.check('io_uring is refused' in daemon.log(), 'the log says so', daemon.log())
                text = t.run(t.program('GPT2CTL'), '--socket', daemon.path, 'status').stdout
                t.check('io_uring is refused' in text, text)
                t.say(f'  {status["note"]}')
            scenario(where, daemon, pack)


def deny(number):
    """The words that run a program without io_uring; checks that the filter can be had."""
    done = t.subprocess.run([t.program('DENY_URING'), str(number), '/bin/true'], check=False)
    if done.returncode == 77:
        raise t.Skip('no seccomp filter on this machine')
    t.check_equal(done.returncode, 0, 'deny_uring')
    return t.program('DENY_URING'), number


def have_uring():
    """Whether this machine lets us have a ring."""
    with t.folder() as where, t.start_daemon(where, '--store', where) as daemon:
        return daemon.status()['backend'] == 'io_uring'


def test_eperm():
    run_with('epoll', 'Operation not permitted', before=deny(errno.EPERM))


def test_enosys():
    run_with('epoll', 'Function not implemented', before=deny(errno.ENOSYS))


def test_epoll_wanted():
    run_with('epoll', None, '--event-loop', 'epoll')


def test_io_uring_wanted():
    if not have_uring():
        raise t.Skip('io_uring is refused on this machine')
    run_with('io_uring', None, '--event-loop', 'io_uring')


def test_io_uring_wanted_but_refused():
    with t.folder() as where:
        pack = t.make_pack(where / 'm.gpt2w')
        done = t.run(*deny(errno.EPERM), t.program('GPT2D'), '--socket', where / 's', '--model',
                     f'm={pack}', '--event-loop', 'io_uring', code=4)
        t.check('io_uring' in done.stderr and 'not permitted' in done.stderr, done.stderr)
        t.say(f'  {done.stderr.strip()}')
        t.check(not (where / 's').exists(), 'no socket is left')


if __name__ == '__main__':
    t.main()
