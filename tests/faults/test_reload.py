#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Reloads: noticed, refused, steered, and a thousand of them under clients that gather.

The numbers in names are those of the list of faults. GPT2W_LONG=1: at full length.
"""
import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'integration'))
import gpt2w_test as t  # noqa: E402

LONG = bool(os.environ.get('GPT2W_LONG'))
STEER = 10
RELOAD, LOAD, UNLOAD = 1, 2, 3
PERMISSION = 9


@contextlib.contextmanager
def served(*arguments, **options):
    with t.folder() as where:
        store = where / 'store'
        store.mkdir()
        pack = t.make_pack(store / 'm.gpt2w')
        with t.start_daemon(where, '--store', store, *arguments, **options) as daemon:
            yield where, store, pack, daemon


def ctl(daemon, *arguments, code=0):
    return t.run(t.program('GPT2CTL'), '--socket', daemon.path, *arguments, code=code)


def replace(pack, **options):
    """Another pack in its place, by rename."""
    os.rename(t.make_pack(pack.parent / '.next', **options), pack)


def generation(daemon):
    return daemon.model('m')['generation']


def await_generation(daemon, after):
    return t.wait_until(lambda: (g := generation(daemon)) > after and g, 'a generation')


def attach(daemon):
    """An ATTACHED, on a connection that is over: what holds the generation is its descriptor."""
    with daemon.peer() as peer:
        answer = peer.ask_attach('m')
        t.check_equal(answer.kind, t.ATTACHED)
        return answer


def steer(daemon, action, model=''):
    with daemon.peer() as peer:
        peer.send(t.encode(STEER, 1, struct.pack('<II256s', action, 0, model.encode())))
        return peer.receive()


# --- what is noticed ------------------------------------------------------------------------------

def test_directory_is_watched():
    with served() as (where, store, pack, daemon):
        first = generation(daemon)
        replace(pack, seed=2)  # renamed in
        second = await_generation(daemon, first)
        shutil.copyfile(t.make_pack(where / 'three', seed=3), pack)  # written in place and closed
        third = await_generation(daemon, second)
        (store / 'link.tmp').symlink_to(where / 'three')
        os.rename(store / 'link.tmp', store / 'n.gpt2w')  # a link, resolved anew
        t.wait_until(lambda: (m := daemon.model('n')) and m['state'] == 'serving', 'the link')
        before = daemon.model('n')['generation']
        (store / 'link.tmp').symlink_to(t.make_pack(where / 'four', seed=4))
        os.rename(store / 'link.tmp', store / 'n.gpt2w')
        t.wait_until(lambda: daemon.model('n')['generation'] > before, 'the new target')
        t.check_equal(generation(daemon), third)  # the other stays as it is
        pack.unlink()  # by accident: only who asks for a reload means it
        (store / 'unrelated.txt').write_text('x')
        replace(store / 'o.gpt2w', seed=5)
        t.wait_until(lambda: (m := daemon.model('o')) and m['state'] == 'serving', 'another')
        t.check_equal(generation(daemon), third)
        ctl(daemon, 'reload')
        t.check_equal([m['name'] for m in daemon.models()], ['n', 'o'])


def test_equal_contents_are_no_generation():
    with served() as (_, _, pack, daemon):
        before = generation(daemon)
        holder = attach(daemon)
        for change in (lambda: os.utime(pack), lambda: replace(pack)):
            change()
            ctl(daemon, 'reload')
            t.check_equal(generation(daemon), before)
        t.check_equal(daemon.status()['published_total'], 1)
        holder.close()


# --- steering -------------------------------------------------------------------------------------

def test_27_bad_pack():
    with served() as (_, store, pack, daemon):
        before = generation(daemon)
        good = pack.read_bytes()
        bad = bytearray(good)
        bad[-4096 - 17] ^= 1
        (store / '.next').write_bytes(bad)
        os.rename(store / '.next', pack)
        for arguments in (['reload'], ['reload', 'm'], ['load', 'm']):
            said = ctl(daemon, *arguments, code=1).stderr
            t.check('m: ' in said and 'stays in service' in said, said)
            t.check('rows' in said, 'which rows is said', said)
        t.check_equal(generation(daemon), before)
        t.check(daemon.model('m')['message'], 'in list')
        t.check(daemon.status()['failed_total'] >= 3, 'counted')
        t.check('cannot load' in daemon.log(), 'in the log')
        attach(daemon).close()  # served on
        (store / '.next').write_bytes(good)
        os.rename(store / '.next', pack)
        ctl(daemon, 'reload')
        t.check_equal(daemon.model('m')['message'], None)


def test_27_reload_storm_and_shutdown():
    """SIGHUP, STEER and renames at once, then SIGTERM twice in the middle of it."""
    with served() as (_, _, pack, daemon):
        for turn in range(30):
            replace(pack, seed=turn + 2)
            for _ in range(5):
                daemon.hup()
                t.check_equal(steer(daemon, RELOAD).kind, 11)
        last = daemon.model('m')
        t.wait_until(lambda: not daemon.model('m')['busy'], 'the last load')
        t.check(daemon.model('m')['generation'] >= last['generation'], 'never back')
        replace(pack, seed=99)
        steer(daemon, RELOAD)
        daemon.process.terminate()
        daemon.process.terminate()
        t.check_equal(daemon.process.wait(t.PATIENCE_S), 0, 'exit code')


def test_unload_and_load():
    with served() as (_, _, pack, daemon):
        before = generation(daemon)
        holder = attach(daemon)
        ctl(daemon, 'unload', 'm')
        model = daemon.model('m')
        t.check_equal((model['state'], model['generation'], model['retired']), ('unloaded', 0, 1))
        with daemon.peer() as peer:
            answer = peer.ask_attach('m')
            t.check_equal((answer.kind, answer.reason), (t.REFUSED, t.LOAD_FAILED))
            t.check('unloaded by uid' in answer.text, answer.text)
        replace(pack, seed=7)
        ctl(daemon, 'reload')  # that alone changes nothing
        t.check_equal(daemon.model('m')['state'], 'unloaded')
        ctl(daemon, 'load', 'm')
        t.check(generation(daemon) > before, 'a new generation')
        holder.close()
        ctl(daemon, 'wait', 'm', '--drained', before)
        said = ctl(daemon, 'load', 'nobody', code=1).stderr
        t.check('no such model' in said, said)


def test_wait():
    with served() as (_, _, pack, daemon):
        first = generation(daemon)
        holder = attach(daemon)
        waiter = subprocess.Popen([t.program('GPT2CTL'), '--socket', daemon.path, 'wait', 'm',
                                   '--generation', str(first + 1)])
        replace(pack, seed=2)
        t.check_equal(waiter.wait(t.PATIENCE_S), 0, 'the new generation')
        said = ctl(daemon, 'wait', 'm', '--drained', first, '--timeout', '0', code=1).stderr
        t.check(str(first) in said, said)
        waiter = subprocess.Popen([t.program('GPT2CTL'), '--socket', daemon.path, 'wait', 'm',
                                   '--drained', str(first)])
        holder.close()
        t.check_equal(waiter.wait(t.PATIENCE_S), 0, 'drained')
        t.check_equal(daemon.status()['retired'], 0)


def asked_as(daemon, uid, groups, action, model):
    """What somebody else is answered: the type, or 100 + the reason of a refusal."""
    child = os.fork()
    if child == 0:
        kind = 0
        try:
            os.setgroups(groups)
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            answer = steer(daemon, action, model)
            kind = answer.kind if answer.kind != t.REFUSED else 100 + answer.reason
        finally:
            os._exit(kind)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_admin_group():
    if not t.is_root():
        raise t.Skip('needs root, to be other users')
    group = 61240
    with served('--socket-mode', '0666', '--admin-group', group, uid=t.DAEMON_UID) as (
            _, _, _, daemon):
        for action in (RELOAD, LOAD, UNLOAD):
            t.check_equal(asked_as(daemon, t.OTHER_UID, [], action, 'm'), 100 + PERMISSION, 'other')
            t.check_equal(asked_as(daemon, t.OTHER_UID, [group + 1], action, 'm'), 100 + PERMISSION)
        for uid, groups in ((t.OTHER_UID, [5, group]), (group, []), (t.DAEMON_UID, []), (0, [])):
            t.check_equal(asked_as(daemon, uid, groups, RELOAD, 'm'), 11, uid)
    with served('--socket-mode', '0666', uid=t.DAEMON_UID) as (_, _, _, daemon):
        t.check_equal(asked_as(daemon, group, [group], RELOAD, ''), 100 + PERMISSION, 'no group')


# --- old generations ------------------------------------------------------------------------------

def test_20_a_client_holds_old_generations():
    """Until the ceiling, and no further; others go on, and all is freed when it ends."""
    count = 1000 if LONG else 100
    with served('--retired-max', '2G', '--memory-max', '4G') as (_, _, pack, daemon):
        packs = [t.make_pack(pack.parent / f'.{i}', vocab=100, seed=i).read_bytes()
                 for i in range(2)]
        size = None
        held = []
        refused = 0
        for turn in range(count):
            held.append(attach(daemon))
            (pack.parent / '.next').write_bytes(packs[(turn - refused) % 2])  # not what is served
            os.rename(pack.parent / '.next', pack)
            done = subprocess.run([t.program('GPT2CTL'), '--socket', daemon.path, 'reload'],
                                  capture_output=True, text=True, check=False)
            if done.returncode:
                refused += 1
                t.check('old generations' in done.stderr, done.stderr)
        status = daemon.status()
        t.say(f'  {status["retired"]} held, {refused} of {count} reloads refused')
        t.check_equal(status['retired'] + refused, count)
        attach(daemon).close()  # served all the while
        size = daemon.model('m')['image_bytes']
        for one in held:
            one.close()
        t.wait_until(lambda: daemon.status()['retired'] == 0, 'the end of them all')
        ctl(daemon, 'reload')
        t.check_equal([g['life'] for g in daemon.status()['generations']], ['current'])
        t.check_equal(daemon.status()['generations'][0]['resident_bytes'], size)


def test_20_ceiling_in_bytes():
    with served('--retired-max', '1M') as (_, _, pack, daemon):
        first = generation(daemon)
        replace(pack, vocab=4000, seed=2)  # 1 MB: this one may not be left behind
        second = await_generation(daemon, first)
        holder = attach(daemon)
        replace(pack, vocab=1000, seed=3)
        said = ctl(daemon, 'reload', code=1).stderr
        t.check('--retired-max is 1048576' in said and 'stays in service' in said, said)
        t.say(f'  {said.strip()}')
        t.check_equal(generation(daemon), second)
        holder.close()
        await_generation(daemon, second)  # by itself


def test_20_memory_max():
    with served('--memory-max', '700K') as (_, _, pack, daemon):
        first = generation(daemon)
        replace(pack, vocab=4000, seed=2)
        said = ctl(daemon, 'reload', code=1).stderr
        t.check('--memory-max is 716800' in said and 'stays in service' in said, said)
        t.say(f'  {said.strip()}')
        t.check_equal(generation(daemon), first)


@contextlib.contextmanager
def memory_group(limit):
    """A memory control group with that limit within our own; the file to write a process's id to."""
    groups = dict(line.split(':', 2)[1:] for line in
                  Path('/proc/self/cgroup').read_text().splitlines())
    controller = 'memory' if 'memory' in groups else ''
    group = Path(f'/sys/fs/cgroup/{controller}/{groups.get(controller, "")}/gpt2w-{os.getpid()}')
    try:
        group.mkdir()
    except OSError as error:
        raise t.Skip(f'no control group of our own can be made: {error}') from error
    try:
        file = group / ('memory.limit_in_bytes' if controller else 'memory.max')
        if not file.exists():
            raise t.Skip('there is no memory controller for control groups within ours')
        file.write_text(str(limit))
        yield group / 'cgroup.procs'
    finally:
        t.wait_until(lambda: not (group / 'cgroup.procs').read_text(), 'the group to be empty')
        group.rmdir()


def test_29_control_group_smaller_than_the_tables():
    """They are refused with both sizes, whatever --memory-max says, and what was there is served on."""
    with memory_group(48 << 20) as processes:
        for limits in (), ('--memory-max', '4G'):
            with served(*limits, preexec=lambda: processes.write_text(str(os.getpid()))) as \
                    (_, _, pack, daemon):
                t.check_equal(daemon.status()['memory_max'], 4 << 30 if limits else 48 << 20)
                first = generation(daemon)
                replace(pack, vocab=20000, embd=768, seed=2)
                said = ctl(daemon, 'reload', code=1).stderr
                t.say(f'  {said.strip()}')
                t.check('63537152' in said and 'stays in service' in said, said)
                t.check(limits or '50331648' in said, said)
                t.check_equal(generation(daemon), first)
                attach(daemon).close()


def test_22_descriptions_of_their_own():
    """Locks, offset and flags of a client's descriptors are nobody else's; nor do they end a reload."""
    with served() as (_, _, pack, daemon):
        one, two = attach(daemon), attach(daemon)
        for a, b in zip(one.fds, two.fds):
            fcntl.flock(a, fcntl.LOCK_EX)
            t.check_equal(os.readlink(f'/proc/self/fd/{a}'), os.readlink(f'/proc/self/fd/{b}'))
            os.lseek(a, 17, os.SEEK_SET)
            fcntl.fcntl(a, fcntl.F_SETFL, os.O_NONBLOCK)
            t.check_equal(os.lseek(b, 0, os.SEEK_CUR), 0, 'offset')
            t.check_equal(fcntl.fcntl(b, fcntl.F_GETFL) & os.O_NONBLOCK, 0, 'flags')
            t.check_equal(fcntl.fcntl(b, fcntl.F_GETFL) & os.O_ACCMODE, os.O_RDONLY)
        first = generation(daemon)
        replace(pack, seed=2)
        await_generation(daemon, first)
        with attach_again(daemon) as other:
            t.check_equal(os.lseek(other.fds[0], 0, os.SEEK_CUR), 0)
        one.close()
        two.close()


@contextlib.contextmanager
def attach_again(daemon):
    answer = attach(daemon)
    try:
        yield answer
    finally:
        answer.close()


# --- many reloads ---------------------------------------------------------------------------------

def mappings(pid):
    return sum('gpt2d-image' in line for line in Path(f'/proc/{pid}/maps').read_text().splitlines())


def test_27_thousand_reloads_under_gathering_clients():
    reloads, clients = (1000, 50) if LONG else (60, 6)
    with contextlib.ExitStack() as stack:
        where, store, pack, daemon = stack.enter_context(served())
        packs = [t.uniform_pack(where, number).read_bytes() for number in range(1, 6)]

        def put(turn):
            (where / 'next').write_bytes(packs[turn % len(packs)])
            os.rename(where / 'next', pack)
        before = generation(daemon)
        put(0)
        await_generation(daemon, before)
        helpers = [stack.enter_context(t.Helper(t.program('REFRESH_LOOP'), daemon.path, 'm'))
                   for _ in range(clients)]
        for helper in helpers:
            t.check_equal(helper.line().split()[0], 'ready')
        fds, maps = daemon.fds(), len(Path(f'/proc/{daemon.pid}/maps').read_text().splitlines())
        start = time.monotonic()
        peer = stack.enter_context(daemon.peer())
        last = generation(daemon)
        for turn in range(1, reloads + 1):
            put(turn)
            peer.send(t.encode(STEER, 1, struct.pack('<II256s', RELOAD, 0, b'm')))
            t.check_equal(peer.receive().kind, 11)
            while (now := peer.list().generation) == last:
                time.sleep(0.001)
            last = now
        seconds = time.monotonic() - start
        peer.socket.close()
        t.wait_until(lambda: all(int(h.ask('state').split()[0]) == last for h in helpers),
                     'the clients to have the last one')
        t.wait_until(lambda: daemon.status()['retired'] == 0, 'old generations to end')
        status = daemon.status()
        t.check_equal(len(status['generations']), 1)
        one = status['generations'][0]
        t.check_equal((one['resident_bytes'], one['attached']), (one['image_bytes'], clients))
        t.check_equal(status['published_total'], reloads + 2)
        t.check_equal(status['failed_total'], 0)
        t.wait_until(lambda: daemon.fds() <= fds, 'no descriptor leaked')
        t.wait_until(lambda: len(Path(f'/proc/{daemon.pid}/maps').read_text().splitlines()) <=
                     maps + 4, 'no mapping leaked')  # the workers' stacks come and go
        t.check_equal(mappings(daemon.pid), 0)
        t.check_equal([mappings(h.process.pid) for h in helpers], [1] * clients, 'mappings')
        t.check_equal({len(os.listdir(f'/proc/{h.process.pid}/fd')) for h in helpers}, {4})
        totals = [list(map(int, helper.end().split())) for helper in helpers]
        t.say(f'  {reloads} reloads in {seconds:.1f} s under {clients} clients: '
              f'{sum(x[1] for x in totals)} rounds, {sum(x[2] for x in totals)} refreshes')
        t.check(all(x[2] for x in totals), 'each refreshed')


if __name__ == '__main__':
    t.main()
